"""One row of the table is all that a measure needs; the bins of other HU cuts have their own names."""

import csv
import io
import json
import re
from dataclasses import fields

import jsonschema
import numpy as np
import pytest
from scenes import scan_of

from volumetry.cli import show
from volumetry.deliver import as_document, columns, result_schema, row_of, schema
from volumetry.deliver.dictionary import result_dictionary, result_dictionary_markdown
from volumetry.deliver.report import report_page
from volumetry.deliver.row import table_bytes
from volumetry.domain import (
    SHARES,
    VOLUMES,
    ComponentSplit,
    Grid,
    Provenance,
    ScanFailure,
    ScanResult,
    SeriesInfo,
    Side,
    Status,
    Tissue,
    TissueMap,
    Volumes,
)
from volumetry.export.cdisc import domains
from volumetry.measure import measure, table
from volumetry.measure.components import REGISTERED_CUTS, bin_names, cuts_named, stored_bins
from volumetry.trial.results import read_results

CUBE = Grid((10, 10, 10), (10.0, 10.0, 10.0))  # voxels of 1 mL
REFUSED = ScanFailure("s2", Status.REFUSED, "NO_RESCALE", "RescaleSlope (0028,1053) is missing", "Ask.")
OTHER_CUTS = (-700.0, -200.5, 30.0)


def low_attenuation_percent(counted):
    """Share of the lung below -950 HU, in %."""
    lung = counted.tissue.labels_kji > 0
    return 100 * np.count_nonzero(counted.scan.hu_kji[lung] < -950) / counted.lung_voxels


ROW = table.Measure(
    *("low_attenuation_percent", "%", "Lung below -950 HU", "LAA950"),
    "Share of both lungs below -950 HU.",
    "Low Attenuation Area",
    of=low_attenuation_percent,
    needs_hu=True,
)


def measured(config, labels=None):
    """500 mL of lung at -850 HU, of which 25 mL at -960 HU: 5 % below -950 HU."""
    if labels is None:
        labels = np.zeros(CUBE.shape_kji, np.uint8)
        labels[:5] = Tissue.AERATED
    hu = np.full(CUBE.shape_kji, -850, np.float32)
    hu[0, :5, :5] = -960
    scan = scan_of(hu, CUBE)
    side = np.where(labels > 0, Side.LEFT, Side.NONE).astype(np.uint8)
    return ScanResult(
        scan_id="s1",
        status=Status.MEASURED,
        findings=(),
        measurement=measure(TissueMap(labels, CUBE, side), scan, config.measure),
        series=scan.series,
        provenance=Provenance("0", "threshold-1", None, "c", "i", "p", "m", "cpu", "fp32", {"numpy": "2"}, "now"),
        dropped_ml={},
        timing_s={"read": 1.0, "segment": 2.0, "measure": 0.5, "total": 3.5},
        peak_memory_mb=None,
    )


def configured(config, cuts):
    return config.model_copy(update={"measure": config.measure.model_copy(update={"hu_cuts": cuts})})


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page.decode(), flags=re.S))


@pytest.fixture
def new_row(monkeypatch):
    monkeypatch.setattr(table, "MEASURES", (*table.MEASURES, ROW))


def test_a_new_row_comes_out_everywhere(config, new_row, tmp_path, capsys):
    document = as_document(measured(config))
    assert document[ROW.key] == pytest.approx(5.0)
    jsonschema.validate(document, result_schema())
    content = table_bytes([document, as_document(REFUSED)], config.measure.hu_cuts)
    cells, refused = csv.DictReader(io.StringIO(content.decode("utf-8")))
    assert (float(cells[ROW.key]), refused[ROW.key]) == (pytest.approx(5.0), "")
    assert "Lung below \u2212950 HU 5.0 %" in text_of(report_page(document, config)).replace("-950", "\u2212950")
    show.result(document)
    assert "Lung below -950 HU: 5.0 %" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "results.csv").write_bytes(content)
    assert read_results(tmp_path)["s1"].numbers[ROW.key] == pytest.approx(5.0)
    keys = {"subject": "", "visit": "", "decision": ""}
    records = domains([cells | keys, refused | keys], "ST")["re"]
    done, absent = (record for record in records if record["RETESTCD"] == ROW.code)
    assert (done["RETEST"], done["RESTRESN"], done["RESTRESU"]) == (ROW.sdtm, pytest.approx(5.0), "%")
    assert (absent["RESTAT"], absent["REREASND"]) == ("NOT DONE", "NO_RESCALE")
    (entry,) = (entry for entry in result_dictionary() if entry.key == ROW.key)
    assert (entry.kind, entry.unit, entry.meaning, entry.sas) == ("number", "%", ROW.meaning, "LAA950")


def test_the_schema_judges_a_new_row(config, new_row):
    document = as_document(measured(config))
    wrong = [document | {ROW.key: "much"}, document | {ROW.key: None}, as_document(REFUSED) | {ROW.key: 5.0}]
    note = {"code": "HU_NOT_MEASURED", "severity": "look", "message": "", "value": None}
    without = {key: value for key, value in document.items() if key not in table.hu_keys()}
    without |= {"components_by_rule": {"network": document["components_by_rule"]["network"]}}
    without |= {"corrected_by": "A. Reader", "flags": [note]}
    jsonschema.validate(without, result_schema())
    for bad in (*wrong, without | {ROW.key: 5.0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, result_schema())
    older = {key: value for key, value in document.items() if key != ROW.key}
    jsonschema.validate(older, result_schema())


def test_a_new_column_moves_no_other(monkeypatch):
    """It comes last of the measures, in front of what stood behind them before."""
    before = columns()
    monkeypatch.setattr(table, "MEASURES", (*table.MEASURES, ROW))
    at = columns().index(ROW.key)
    assert columns() == (*before[:at], ROW.key, *before[at:])
    assert columns()[at + 1] == "blood_pool_hu"
    first = [name for name in before if name in ("lesion_weight_hu_ml", "lesion_mass_g", "mean_lung_hu")]
    assert first == ["lesion_weight_hu_ml", "lesion_mass_g", "mean_lung_hu"]


def test_the_base_of_the_schema_says_nothing_that_the_table_says():
    base = json.loads(schema.FILE.read_text("utf-8"))
    measures = {row.key for row in table.computed()}
    assert all(base["properties"][key] == {} for key in measures & set(base["properties"]))
    assert not measures & {*base["else"]["properties"], *base["then"]["then"]["properties"]}
    assert all(result_schema()["properties"][row.key]["description"] == row.meaning for row in table.computed())


def test_the_schema_names_what_the_nouns_hold():
    properties = result_schema()["properties"]
    for key, noun in (("series", SeriesInfo), ("provenance", Provenance)):
        assert list(properties[key]["properties"]) == [field.name for field in fields(noun)]
    assert list(properties["components_by_rule"]["properties"]["hu"]["properties"]) == [
        field.name for field in fields(ComponentSplit)
    ]
    assert tuple(properties["volumes_ml"]["properties"]) == (*VOLUMES, "fluid")
    volumes = [*properties["sides"]["properties"].values(), *properties["zones"]["properties"].values()]
    assert all(tuple(region["properties"]) == VOLUMES for region in volumes)
    for key in ("percent_of_lung", "interval_percent"):
        assert tuple(properties[key]["properties"]) == SHARES
    assert properties["status"]["enum"] == [status.value for status in Status]


def test_every_row_is_a_column_and_its_names_fit():
    keys, codes = [m.key for m in table.MEASURES], [m.code for m in table.MEASURES]
    assert set(keys) <= set(columns())
    assert len(set(keys)) == len(keys)
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]{0,7}", code) for code in codes)
    assert all(len(m.sdtm) <= 40 for m in table.MEASURES)


def test_the_dictionary_has_every_column_once_with_names_that_sas_and_stata_take():
    entries = result_dictionary()
    assert tuple(entry.key for entry in entries) == columns()
    for names, pattern in (
        ([entry.sas for entry in entries], r"[A-Z_][A-Z0-9_]{0,7}"),
        ([entry.stata for entry in entries], r"[A-Za-z_]\w{0,31}"),
    ):
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(pattern, name, re.ASCII) for name in names)
    assert all(entry.meaning for entry in entries)
    units = {entry.key: entry.unit for entry in entries}
    expected = {"sides.left.lung": "mL", "percent_of_lung.solid": "%", "series.kvp": "kV", "scan_id": ""}
    assert {key: units[key] for key in expected} == expected
    page = result_dictionary_markdown().splitlines()
    assert len(page) == len(entries) + 2
    assert {line.count(" | ") for line in page} == {5}


def test_two_columns_of_one_short_name_are_refused(monkeypatch):
    twin = table.Measure("lesion_twin", "mL", "Twin", "LESVOL", "The same name.", of=lambda counted: 0.0)
    monkeypatch.setattr(table, "MEASURES", (*table.MEASURES, twin))
    with pytest.raises(ValueError, match="LESVOL"):
        result_dictionary()


def test_names_of_bins_state_their_cuts():
    assert bin_names(REGISTERED_CUTS) == ("below_-750", "-750_to_-300", "-300_to_50", "above_50")
    assert bin_names((-0.0, 1e-05, 0.1)) == ("below_0", "0_to_1e-05", "1e-05_to_0.1", "above_0.1")
    for cuts in (REGISTERED_CUTS, OTHER_CUTS, (-1.0, 0.0, 1e-05), (-700.0001, -700.0, 12.5)):
        assert cuts_named(bin_names(cuts)) == cuts
    one, other = bin_names(REGISTERED_CUTS), bin_names(OTHER_CUTS)
    for mixed in ((*one, *other), one[:3], (one[0], *other[1:]), ()):
        assert cuts_named(mixed) is None


def test_bins_of_an_older_result_are_read_under_the_names_it_has():
    older = dict(zip(bin_names(REGISTERED_CUTS), (1.0, 2.0, 3.0, 4.0), strict=True))
    newer = dict(zip(bin_names(OTHER_CUTS), (1.0, 2.0, 3.0, 4.0), strict=True))
    in_file = json.loads(json.dumps(newer, sort_keys=True))
    assert stored_bins(older, OTHER_CUTS) == stored_bins(in_file, OTHER_CUTS) == [1.0, 2.0, 3.0, 4.0]


def test_other_cuts_name_their_bins_in_result_table_and_report(config):
    """Of 500 mL, 25 mL lie at -960 HU and 475 mL at -850 HU: cuts at -900 and -800 put them into two bins."""
    cuts = (-900.0, -800.5, 30.0)
    document = as_document(measured(configured(config, cuts)))
    names = ("below_-900", "-900_to_-800.5", "-800.5_to_30", "above_30")
    assert document["hu_bins_ml"] == pytest.approx(dict(zip(names, (25, 475, 0, 0), strict=True)))
    jsonschema.validate(document, result_schema())
    jsonschema.validate(document, result_schema(cuts))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"hu_bins_ml": {"below_-900": -1.0}}, result_schema())
    for row in (row_of(document), row_of(document, cuts)):
        assert [float(row[f"hu_bins_ml.{name}"]) for name in names] == pytest.approx([25, 475, 0, 0])
        assert tuple(row) == columns(cuts)
    assert tuple(row_of(as_document(REFUSED), cuts)) == columns(cuts)
    assert [name for name in columns(cuts) if "hu_bins" not in name] == [
        name for name in columns() if "hu_bins" not in name
    ]
    said = text_of(report_page(document, configured(config, cuts)))
    assert "below \u2212900 25.0 5.0 \u2212900 to \u2212800.5 475 95.0" in said
    assert "The whole lung by the configured bins" in said
    assert "by the registered bins" in text_of(report_page(as_document(measured(config)), config))


def test_a_lung_of_no_voxel_has_no_mean_and_not_a_number_of_zero(config):
    found = measured(config, np.zeros(CUBE.shape_kji, np.uint8))
    assert found.measurement.volumes_ml == Volumes(0, 0, 0)
    assert as_document(found)["mean_lung_hu"] is None


def test_the_terminal_names_the_rows_as_the_report_does_and_cuts_none(config, capsys) -> None:
    document = as_document(measured(config))
    spans = {key: [10.25, 100.0] for key in ("lesion", "ground_glass", "solid")}
    for rule, name in (("network", "consolidation"), ("hu", "solid component")):
        show.result({**document, "component_rule": rule, "interval_percent": spans, "interval_level": 0.95})
        said = capsys.readouterr().out
        assert all(len(line) <= 80 for line in said.splitlines())
        assert "\u2026" not in said
        assert re.search(rf"{name} +\S? +[\d.]+", said)
        assert f"{name} and all disease are solid and lesion in the files" in " ".join(said.split())


def test_no_fluid_found_is_not_a_measured_zero() -> None:
    """The limit of detection is said where nothing lies above it; where nobody looked, nothing is said."""
    said = table.fluid_shown({"volumes_ml": {"fluid": 0.0}})
    assert said.startswith("Pleural fluid: none found")
    assert table.fluid_shown({"volumes_ml": {"fluid": 123.4}}) == "Pleural fluid: 123.4 mL"
    assert not table.fluid_shown({"volumes_ml": {}})
