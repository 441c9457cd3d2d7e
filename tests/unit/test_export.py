"""A batch's results as Parquet and as SDTM: nothing invented, nothing lost."""

import csv
import json
import os
import shutil

import pytest
from scenes import chest, scan_of

from volumetry.batch import ScanFolder, decide, run_batch
from volumetry.codes import Outcome
from volumetry.deliver.scheduled import study_day
from volumetry.domain import Finding, ScanRefusedError
from volumetry.errors import UsageError
from volumetry.export import export_cdisc, export_parquet, table_schema
from volumetry.export.cdisc import COLUMNS
from volumetry.measure.table import MEASURES
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.storage.unfinished import unfinished_file
from volumetry.trial.config import load_trial_config
from volumetry.trial.schedule import schedule_of

DOMAINS = ("pr", "re", "di", "du", "suppre")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Two scans of one subject and one refused scan of another; the first scan's header is known."""
    from volumetry.config import load_config

    root = tmp_path_factory.mktemp("batch")

    def read_scan(folder, _config):
        if folder.name == "c":
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "RescaleSlope (0028,1053) is missing")])
        scan = scan_of(chest()[0])
        if folder.name == "a":
            for name, value in (
                ("manufacturer", "Acme"),
                ("model_name", "=CT 1"),
                ("acquisition_date", "20260131"),
                ("kvp", 120.0),
            ):
                object.__setattr__(scan.series, name, value)
        return scan

    scans = [
        ScanFolder(name, root / "in" / name, subject, visit, "007")
        for name, subject, visit in (("a", "S01", "WEEK 0"), ("b", "S01", "WEEK 4"), ("c", "S02", "WEEK 0"))
    ]
    for scan in scans:
        scan.path.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volumetry.pipeline.read_scan", read_scan)
        run_batch(scans, root / "out", ThresholdSegmenter(), load_config())
    decide(root / "out", "b", "exclude", "A. Reader", "=motion")
    return root / "out"


def _table(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_every_column_of_the_table_has_a_type():
    schema = table_schema()
    assert set(schema.values()) <= {"number", "integer", "boolean", "text"}
    kinds = {"percent_of_lung.solid": "number", "series.slice_count": "integer", "series.contrast": "boolean"}
    assert {name: schema[name] for name in kinds} == kinds


def test_parquet_is_on_the_disk_before_it_has_its_name_and_leftovers_go(batch, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow.parquet")
    with unfinished_file(tmp_path / "results.parquet") as (left, _):
        killed = left.name  # a killed run leaves such a name, and no lock on it
    (tmp_path / killed).write_bytes(b"half")
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*given, name=name, real=real):
            done.append(name)
            return real(*given)

        monkeypatch.setattr(os, name, noted)
    export_parquet(batch, tmp_path / "results.parquet")
    assert done == 2 * ["fsync", "replace", "fsync"], "the content, the name, the folder; and of the dictionary"
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "results.dictionary.csv"}


def test_parquet_holds_the_table_with_types_and_nulls(batch, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    assert export_parquet(batch, tmp_path / "results.parquet") == 3
    found = pq.read_table(tmp_path / "results.parquet").to_pylist()
    expected = _table(batch / "results.csv")
    assert [row["scan_id"] for row in found] == ["a", "b", "c"]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["status"] == theirs["status"]
        text = theirs["volumes_ml.lung"]
        assert ours["volumes_ml.lung"] == (float(text) if text else None)
    assert found[2]["volumes_ml.lung"] is None
    assert found[0]["site"] == "007"
    assert [(row["decision"], row["decision_reason"]) for row in found] == [
        (None, None),
        ("exclude", "=motion"),
        (None, None),
    ]
    assert found[0]["series.model_name"] == "=CT 1"
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "results.dictionary.csv"}


def test_the_tables_of_a_batch_name_the_hu_cuts_in_force(tmp_path, config):
    """Lung at -850 HU: cuts at -900 and -800 put all of it into the second bin."""
    cuts = (-900.0, -800.0, 0.5)
    other = config.model_copy(update={"measure": config.measure.model_copy(update={"hu_cuts": cuts})})
    scans = [ScanFolder(name, tmp_path / name, "S01", name, "007") for name in ("good", "bad")]
    for scan in scans:
        scan.path.mkdir()

    def read_scan(folder, _config):
        if folder.name == "bad":
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "RescaleSlope (0028,1053) is missing")])
        return scan_of(chest()[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volumetry.pipeline.read_scan", read_scan)
        run_batch(scans, tmp_path / "out", ThresholdSegmenter(), other)
    good, bad = _table(tmp_path / "out" / "results.csv")
    assert [name for name in good if name.startswith("hu_bins_ml")] == [
        *("hu_bins_ml.below_-900", "hu_bins_ml.-900_to_-800", "hu_bins_ml.-800_to_0.5", "hu_bins_ml.above_0.5")
    ]
    lung = float(good["volumes_ml.lung"])
    assert float(good["hu_bins_ml.-900_to_-800"]) == pytest.approx(lung)
    assert bad["hu_bins_ml.-900_to_-800"] == ""
    pq = pytest.importorskip("pyarrow.parquet")
    export_parquet(tmp_path / "out", tmp_path / "results.parquet")
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert rows[0]["hu_bins_ml.-900_to_-800"] == pytest.approx(lung)
    assert len(rows) == 2
    assert "hu_bins_ml.below_-750" not in rows[0]


def test_every_scan_is_a_procedure_and_every_test_is_done_or_says_why_not(batch, tmp_path):
    export_cdisc(batch, tmp_path, "STUDY1", xpt=False)
    procedures = _table(tmp_path / "pr.csv")
    assert [(row["USUBJID"], row["PRSEQ"], row["PRREFID"], row["VISIT"]) for row in procedures] == [
        ("STUDY1-S01", "1", "a", "WEEK 0"),
        ("STUDY1-S01", "2", "b", "WEEK 4"),
        ("STUDY1-S02", "1", "c", "WEEK 0"),
    ]
    assert procedures[0]["PRSTDTC"] == "2026-01-31"
    results = _table(tmp_path / "re.csv")
    exported = {row.code for row in MEASURES if row.sdtm}
    assert {"LUNGVOL", "LESVOL", "LUNGHU"} <= exported
    assert sorted(row["RETESTCD"] for row in results) == sorted(3 * list(exported))
    rows = {row["scan_id"]: row for row in _table(batch / "results.csv")}
    lung = {row["REREFID"]: row for row in results if row["RETESTCD"] == "LUNGVOL"}
    assert float(lung["a"]["RESTRESN"]) == float(rows["a"]["volumes_ml.lung"])
    assert (lung["a"]["RESTRESU"], lung["a"]["RESTAT"]) == ("mL", "")
    undone = [row for row in results if row["REREFID"] == "c"]
    assert {(row["RESTAT"], row["REREASND"], row["REORRES"], row["RESTRESN"]) for row in undone} == {
        ("NOT DONE", "NO_RESCALE", "", "")
    }
    for subject in ("STUDY1-S01", "STUDY1-S02"):
        numbers = [int(row["RESEQ"]) for row in results if row["USUBJID"] == subject]
        assert numbers == list(range(1, len(numbers) + 1))
    hu = [float(row["RESTRESN"]) for row in results if row["RETESTCD"] == "LUNGHU" and row["RESTRESN"]]
    assert all(value < 0 for value in hu)
    assert len(hu) == 2


def test_devices_and_their_use_come_from_the_header_or_are_said_to_be_missing(batch, tmp_path):
    export_cdisc(batch, tmp_path, "STUDY1", xpt=False)
    devices = {(row["SPDEVID"], row["DIPARMCD"]): row["DIVAL"] for row in _table(tmp_path / "di.csv")}
    assert devices["ACME =CT 1", "MODEL"] == "'=CT 1"  # no spreadsheet takes it for a formula
    assert ("VOLUMETRY", "SFTWRVER") in devices
    use = {(row["DUREFID"], row["DUTESTCD"]): row for row in _table(tmp_path / "du.csv")}
    assert (use["a", "KVP"]["DUORRES"], use["a", "KVP"]["DUORRESU"]) == ("120.0", "kV")
    assert (use["b", "KVP"]["DUSTAT"], use["b", "KVP"]["DUREASND"]) == ("NOT DONE", "NOT IN HEADER")
    assert ("c", "KVP") not in use  # no series was found


def test_what_a_reader_must_see_and_what_one_decided_qualifies_the_results(batch, tmp_path):
    export_cdisc(batch, tmp_path, "STUDY1", xpt=False)
    found = _table(tmp_path / "suppre.csv")
    assert {(row["RDOMAIN"], row["IDVAR"]) for row in found} == {("RE", "REREFID")}
    statuses = {row["scan_id"]: row["status"] for row in _table(batch / "results.csv")}
    asked = [row["IDVARVAL"] for row in found if row["QVAL"] == "READER REVIEW NEEDED"]
    assert asked == [scan_id for scan_id, status in statuses.items() if status == "review"]
    decided_at = next(row["decided_at"] for row in _table(batch / "results.csv") if row["decision"])
    decided = [
        (row["USUBJID"], row["IDVARVAL"], row["QNAM"], row["QVAL"]) for row in found if "DEC" in row["QNAM"]
    ]
    assert decided == [
        ("STUDY1-S01", "b", "REDECIS", "EXCLUDE"),
        ("STUDY1-S01", "b", "REDECRSN", "'=motion"),
        ("STUDY1-S01", "b", "REDECBY", "A. Reader"),
        ("STUDY1-S01", "b", "REDECDTC", decided_at[:19]),
    ]
    assert {row["QEVAL"] for row in found if "DEC" in row["QNAM"]} == {"INDEPENDENT ASSESSOR"}
    assert {row["QEVAL"] for row in found if row["QORIG"] == "DERIVED"} <= {""}


def test_of_another_result_an_exclusion_is_exported_and_an_acceptance_is_not(batch, tmp_path):
    out = tmp_path / "batch"
    shutil.copytree(batch, out)
    record = json.loads((out / "scans" / "b" / "record.json").read_text("utf-8"))
    (out / "scans" / "b" / "record.json").write_text(json.dumps({**record, "sha256": "0" * 64}))
    for decision, qualified in (("exclude", ["REDECIS", "REDECRSN", "REDECBY", "REDECDTC"]), ("accept", [])):
        for name in ("results.csv", "decisions.csv"):
            table = (out / name).read_text("utf-8")
            (out / name).write_text(table.replace(",exclude,", f",{decision},"), "utf-8")
        export_cdisc(out, tmp_path / decision, "STUDY1", xpt=False)
        rows = _table(tmp_path / decision / "suppre.csv")
        assert [row["QNAM"] for row in rows if "DEC" in row["QNAM"]] == qualified


def test_names_and_texts_keep_to_the_lengths_of_sdtm(batch, tmp_path):
    export_cdisc(batch, tmp_path, "STUDY1", xpt=False)
    for domain in DOMAINS:
        rows = _table(tmp_path / f"{domain}.csv")
        assert all(len(name) <= 8 for name in rows[0])
        for row in rows:
            assert all(len(row[name]) <= 8 for name in row if name.endswith(("TESTCD", "PARMCD")))
            assert all(len(row[name]) <= 40 for name in row if name.endswith(("TEST", "PARM", "QLABEL")))
            assert all(len(row[name]) <= 8 for name in row if name == "QNAM")


def test_transport_files_say_the_same_as_the_tables(batch, tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    names = export_cdisc(batch, tmp_path, "STUDY1", xpt=True)
    assert sorted(names) == sorted(
        ["dictionary.csv", *(f"{d}.{kind}" for d in DOMAINS for kind in ("csv", "xpt"))]
    )
    for domain in DOMAINS:
        frame, _ = pyreadstat.read_xport(str(tmp_path / f"{domain}.xpt"))
        table = _table(tmp_path / f"{domain}.csv")
        assert list(frame.columns) == list(table[0])
        assert len(frame) == len(table)
    frame, _ = pyreadstat.read_xport(str(tmp_path / "re.xpt"))
    table = _table(tmp_path / "re.csv")
    for n, row in enumerate(table):
        value = frame["RESTRESN"][n]
        assert (
            (value != value)
            if row["RESTRESN"] == ""
            else value == pytest.approx(float(row["RESTRESN"]), rel=1e-12)
        )


VISITS = """subject,visit,day,arm,scan_id
S01,Baseline,{first},A,a
S01,Week 4,28,A,b
S02,Baseline,0,B,c
"""


@pytest.mark.parametrize(("first", "study_day"), [("-3", "-3"), ("0", "1")])
def test_study_days_have_no_day_0_and_the_last_value_before_treatment_is_flagged(
    batch, tmp_path, first, study_day
):
    """SDTMIG 3.4, 4.4.4: the day of RFSTDTC is 1, the day before it -1."""
    (tmp_path / "visits.csv").write_text(VISITS.format(first=first), "utf-8")
    schedule = schedule_of(tmp_path / "visits.csv", ["a", "b", "c"], load_trial_config())
    export_cdisc(batch, tmp_path, "STUDY1", xpt=False, schedule=schedule)
    procedures = _table(tmp_path / "pr.csv")
    assert [(row["VISITNUM"], row["VISIT"], row["PRSTDY"]) for row in procedures] == [
        ("1", "Baseline", study_day),
        ("2", "Week 4", "29"),
        ("1", "Baseline", "1"),
    ]
    results = _table(tmp_path / "re.csv")
    flagged = {(row["REREFID"], row["RETESTCD"]) for row in results if row["RELOBXFL"] == "Y"}
    done = {row["RETESTCD"] for row in results if row["REREFID"] == "a" and row["RESTRESN"]}
    assert flagged == {("a", code) for code in done}, "b is after the treatment, c has no value"
    assert {row["REDY"] for row in results if row["REREFID"] == "b"} == {"29"}


def test_days_that_do_not_count_from_the_treatment_are_no_study_days(tmp_path):
    rows = "S01,Baseline,0,a,first scan\nS01,Week 4,28,b,first scan\n"
    (tmp_path / "visits.csv").write_text(f"subject,visit,day,scan_id,day_from\n{rows}", "utf-8")
    found = schedule_of(tmp_path / "visits.csv", ["a", "b"], load_trial_config())
    assert {scan_id: (of.number, study_day(of.day)) for scan_id, of in found.items()} == {
        "a": (1, None),
        "b": (2, None),
    }


PUBLISHED = {
    "pr": """STUDYID Study Identifier|DOMAIN Domain Abbreviation|USUBJID Unique Subject Identifier
        PRSEQ Sequence Number|PRTRT Reported Name of Procedure|VISITNUM Visit Number|VISIT Visit Name
        PRSTDTC Start Date/Time of Procedure|PRSTDY Study Day of Start of Procedure""",
    "re": """STUDYID Study Identifier|DOMAIN Domain Abbreviation|USUBJID Unique Subject Identifier
        RESEQ Sequence Number|REREFID Reference ID|RETESTCD Short Name of Respiratory Test
        RETEST Name of Respiratory Test|REORRES Result or Finding in Original Units|REORRESU Original Units
        RESTRESC Character Result/Finding in Std Format|RESTRESN Numeric Result/Finding in Standard Units
        RESTRESU Standard Units|RESTAT Completion Status|REREASND Reason Not Done
        REMETHOD Method of Test or Examination|RELOBXFL Last Observation Before Exposure Flag
        VISITNUM Visit Number|VISIT Visit Name|REDTC Date/Time of Collection
        REDY Study Day of Visit/Collection/Exam""",
    "di": """STUDYID Study Identifier|DOMAIN Domain Abbreviation|SPDEVID Sponsor Device Identifier
        DISEQ Sequence Number|DIPARMCD Device Identifier Element Short Name
        DIPARM Device Identifier Element Name|DIVAL Device Identifier Element Value""",
    "du": """STUDYID Study Identifier|DOMAIN Domain Abbreviation|USUBJID Unique Subject Identifier
        SPDEVID Sponsor Device Identifier|DUSEQ Sequence Number|DUREFID Reference ID
        DUTESTCD Device-In-Use Test Short Name""",
    "suppre": """STUDYID Study Identifier|RDOMAIN Related Domain Abbreviation|USUBJID Unique Subject Identifier
        IDVAR Identifying Variable|IDVARVAL Identifying Variable Value|QNAM Qualifier Variable Name
        QLABEL Qualifier Variable Label|QVAL Data Value|QORIG Origin|QEVAL Evaluator""",
}
"""Variables and labels in the order of their tables. PR and RE: SDTMIG 3.4 as transcribed in the public repository
hakupao/sdtm-pedia (knowledge_base/domains). DI, and DU as far as could be read: SDTMIG-MD 1.1 on wiki.cdisc.org
("SDTMIG-MD v1.1 scraping for specifications") and clinedc.com (docs/sdtmigmd11). SUPP: pharmaversesdtm."""


@pytest.mark.parametrize("domain", PUBLISHED)
def test_labels_and_their_order_are_those_that_cdisc_publishes(domain):
    lines = PUBLISHED[domain].replace("\n", "|").split("|")
    published = [tuple(text.strip().split(" ", 1)) for text in lines]
    names = [name for name, _ in published]
    assert [(name, COLUMNS[domain][name]) for name in COLUMNS[domain] if name in names] == published


def test_transport_files_have_labels_of_at_most_40_characters(batch, tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    export_cdisc(batch, tmp_path, "STUDY1", xpt=True)
    for domain in DOMAINS:
        _, meta = pyreadstat.read_xport(str(tmp_path / f"{domain}.xpt"))
        assert meta.table_name == domain.upper()
        assert 3 < len(meta.file_label) <= 40
        assert all(label and 3 < len(label) <= 40 for label in meta.column_labels)
    named = dict(zip(meta.column_names, meta.column_labels, strict=True))
    assert (named["QEVAL"], named["STUDYID"]) == ("Evaluator", "Study Identifier")


def test_a_folder_that_is_no_batchs_and_a_study_without_a_name_are_refused(batch, tmp_path):
    with pytest.raises(UsageError, match=r"results\.csv"):
        export_cdisc(tmp_path, tmp_path / "out", "STUDY1")
    with pytest.raises(UsageError, match="study"):
        export_cdisc(batch, tmp_path / "out", " ")


def test_without_the_extras_the_tables_still_come_and_the_rest_says_what_to_install(batch, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert sorted(export_cdisc(batch, tmp_path, "STUDY1")) == [
        "di.csv",
        "dictionary.csv",
        "du.csv",
        "pr.csv",
        "re.csv",
        "suppre.csv",
    ]
    with pytest.raises(UsageError, match="pyarrow"):
        export_parquet(batch, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="pyreadstat"):
        export_cdisc(batch, tmp_path, "STUDY1", xpt=True)
