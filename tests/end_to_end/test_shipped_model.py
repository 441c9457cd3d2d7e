"""The line with the model that ships, on the sample that ships and on real scans where they are at hand."""

import json
from pathlib import Path

import pytest

from volumetry.cli import main
from volumetry.config import load_config
from volumetry.pipeline import analyse_scan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def segmenter():
    from volumetry.segment.network import load_segmenter

    return load_segmenter(load_config())


def test_the_sample_scan_is_measured(tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["check", str(ROOT / "data-sample" / "phantom-001"), "--out", str(tmp_path), "--quiet"])
    assert not end.value.code
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    truth = json.loads((ROOT / "data-sample" / "truth.json").read_text("utf-8"))["phantom-001"]
    # A network that learned from patients is asked to find a drawn chest: roughly right is what can be asked.
    assert document["volumes_ml"]["lung"] == pytest.approx(truth["lung_ml"], rel=0.10)
    assert document["volumes_ml"]["lesion"] > 0


@pytest.mark.real_data
def test_a_covid_scan_is_measured_and_a_normal_one_has_little_lesion(shared, segmenter, config):
    covid = analyse_scan(shared / "data" / "hrct" / "covid-p001", segmenter, config).result
    normal = analyse_scan(shared / "data" / "hrct" / "normal-001", segmenter, config).result
    covid_percent, normal_percent = (r.measurement.volumes_ml.percent_of_lung()["lesion"] for r in (covid, normal))
    assert normal_percent < 3.0
    assert covid_percent > normal_percent
    for result in (covid, normal):
        assert 2000 < result.measurement.volumes_ml.lung < 8000
