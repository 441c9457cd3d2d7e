"""A delivered manifest that lists other instances or counts is a refusal; a file that lists none is junk."""

import pydicom
import pytest

from volumetry.domain import ScanRefusedError
from volumetry.phantom import PhantomSpec, make_phantom, write_series
from volumetry.scan import read_scan


@pytest.fixture
def series(tmp_path):
    paths = write_series(make_phantom(PhantomSpec((62, 72, 72), (2.5, 1.1, 1.1), allow_cut=True)), tmp_path)
    return tmp_path, [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]


def _write(folder, text):
    (folder / "Manifest.csv").write_text(text, "utf-8")


def test_a_manifest_that_agrees_changes_nothing(series, config):
    folder, headers = series
    _write(folder, "SOPInstanceUID\n" + "\n".join(h.SOPInstanceUID for h in headers))
    read_scan(folder, config)
    _write(folder, f"SeriesInstanceUID,NumberOfSeriesRelatedInstances\n{headers[0].SeriesInstanceUID},62\n")
    read_scan(folder, config)


@pytest.mark.parametrize("extra", ["", "\n1.2.3.4"])
def test_listed_and_delivered_instances_must_be_the_same(series, config, extra):
    folder, headers = series
    listed = headers if extra else headers[1:]
    _write(folder, "SOPInstanceUID\n" + "\n".join(h.SOPInstanceUID for h in listed) + extra)
    with pytest.raises(ScanRefusedError, match="the delivered manifest lists") as stop:
        read_scan(folder, config)
    assert stop.value.code == "MANIFEST_MISMATCH"


def test_another_count_is_refused(series, config):
    folder, headers = series
    _write(folder, f"SeriesInstanceUID,NumberOfSeriesRelatedInstances\n{headers[0].SeriesInstanceUID},70\n")
    with pytest.raises(ScanRefusedError, match="counts 70 instances in a series of which 62 are here"):
        read_scan(folder, config)


@pytest.mark.parametrize("text", ["scan_id,path\na,b\n", "", "\x00\xff", "SOPInstanceUID\n"])
def test_a_file_of_that_name_that_lists_no_instance_is_junk(series, config, text):
    folder, _ = series
    _write(folder, text)
    read_scan(folder, config)
