"""Whose scan it is: layouts of folder names, lists as people send them, and what a batch says of both."""

import csv
import json
import zipfile
from dataclasses import replace
from pathlib import PurePath

import pytest
from scenes import chest, scan_of

from volumetry.batch import ScanFolder, find_scans, list_scans, read_manifest, run_batch, verify
from volumetry.batch.expected import read_expected
from volumetry.batch.layout import Layout
from volumetry.batch.leftovers import keys_lost
from volumetry.batch.visits_template import not_in_visits
from volumetry.deliver import people
from volumetry.errors import UsageError
from volumetry.export import export_cdisc
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

HEADER = ("scan_id", "path", "subject", "visit", "site")
ROW = ("id-1", "in/über 1", "S001", "week 4", "07")


@pytest.mark.parametrize(
    ("pattern", "path", "keys"),
    [
        (
            "{site}/{subject}/{visit}",
            "01/S 1/Tag 28/IMG/series",
            {"site": "01", "subject": "S 1", "visit": "Tag 28"},
        ),
        ("Site{site}/{subject}_{visit}", "SITE 7/Müller_d28", {"site": "7", "subject": "Müller", "visit": "d28"}),
        ("{subject}", "S1/anything", {"subject": "S1"}),
        ("*/{subject}-V{visit}", "x/S1-V2", {"subject": "S1", "visit": "2"}),
        ("{subject}_{visit}", "S_1_d28", "two divisions"),
        ("{site}/{subject}/{visit}", "01/S1", "fewer folders"),
        ("Site{site}/{subject}", "Center1/S1", "does not fit"),
        ("Site{site}", "Site ", "does not fit"),
    ],
)
def test_a_layout_gives_the_keys_or_says_why_not(pattern, path, keys):
    found = Layout.of(pattern).keys(PurePath(path))
    assert found == keys if isinstance(keys, dict) else keys in found


@pytest.mark.parametrize("pattern", ["{site}{subject}", "{patient}", "a/b", "{site}/{site}", "{subject}*"])
def test_a_layout_that_cannot_be_meant_is_refused(pattern):
    with pytest.raises(UsageError, match="layout"):
        Layout.of(pattern)


def _csv(delimiter):
    return "\r\n".join(delimiter.join(row) for row in (HEADER, ROW)) + "\r\n"


LISTS = {
    "comma": _csv(",").encode(),
    "semicolon with mark": _csv(";").encode("utf-8-sig"),
    "tab in UTF-16": _csv("\t").encode("utf-16"),
    "UTF-16 without mark": _csv(";").encode("utf-16-le"),
    "names of SDTM": "\n".join(
        ("USUBJID;SUBJID;SiteID;VISITNUM;VISIT;Folder;SCAN", f"S001;x;07;4;{ROW[3]};{ROW[1]};{ROW[0]}")
    ).encode(),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_is_read_however_a_spreadsheet_saved_it(tmp_path, kind):
    (tmp_path / "list.csv").write_bytes(LISTS[kind])
    (scan,) = list_scans(tmp_path / "list.csv")
    assert (scan.scan_id, scan.folder, scan.subject, scan.visit, scan.site) == ROW
    assert scan.path == tmp_path / ROW[1]


def _workbook(path, cells, styles=("0",)):
    """As Excel writes it (ECMA-376 part 1, 18.3): strings in a table of their own, styles by their index."""
    texts = [text for row in cells for text in row if isinstance(text, str)]
    rows = ""
    for n, row in enumerate(cells, 1):
        rows += f'<row r="{n}">'
        for letter, cell in zip("ABCDEFG", row, strict=False):
            at = f'r="{letter}{n}"'
            if isinstance(cell, str):
                rows += f'<c {at} t="s"><v>{texts.index(cell)}</v></c>'
            elif cell is not None:
                rows += f'<c {at} s="{cell[1]}"><v>{cell[0]}</v></c>'
        rows += "</row>"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="old" state="hidden" r:id="rId9"/>'
            '<sheet name="list" r:id="rId1"/></sheets></workbook>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        shared = "".join(f"<si><r><t>{text[:1]}</t></r><r><t>{text[1:]}</t></r></si>" for text in texts)
        book.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")
        formats = "".join(f'<xf numFmtId="{number}"/>' for number in styles)
        book.writestr("xl/styles.xml", f"<styleSheet {main}><cellXfs>{formats}</cellXfs></styleSheet>")
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>")
    return path


def test_a_workbook_is_a_list_too(tmp_path):
    (scan,) = list_scans(_workbook(tmp_path / "list.xlsx", [HEADER, (*ROW[:2], (1001, 0), ROW[3], None)]))
    assert (scan.scan_id, scan.subject, scan.visit, scan.site) == ("id-1", "1001", "week 4", "")


def test_a_number_that_is_shown_otherwise_than_it_is_stored_is_no_key(tmp_path):
    """14 is a date, 164 a format of the workbook's own such as 000."""
    for style in ("14", "164"):
        path = _workbook(tmp_path / "list.xlsx", [HEADER, (*ROW[:2], (7, 1))], ("0", style))
        with pytest.raises(UsageError, match="C2"):
            list_scans(path)
    path = _workbook(
        tmp_path / "visits.xlsx", [("date", "Subject", "Visit"), ((46000, 1), "S1", "v1")], ("0", "14")
    )
    assert read_expected(path) == [("S1", "v1", "")], "a date that is not read does no harm"


def test_without_ids_they_are_made_as_for_a_folder_and_nothing_else_is_guessed(tmp_path):
    (tmp_path / "list.csv").write_text("path;subject\nS 1/v1;S1\nS_1/v1;S1\n", "utf-8")
    made = [scan.scan_id for scan in read_manifest(tmp_path / "list.csv")]
    assert len(set(made)) == 2
    assert all(scan_id.startswith("S_1_v1-") for scan_id in made)
    for text, message in (
        ("path,subject,comment\na,b,c\n", "comment"),
        ("path;a,b;c,d\nx;y;z\n", "alike"),
        ("path,use\na,perhaps\n", "line 2: use"),
    ):
        (tmp_path / "list.csv").write_text(text, "utf-8")
        with pytest.raises(UsageError, match=message):
            read_manifest(tmp_path / "list.csv")


# --- a batch -----------------------------------------------------------------------------------------------


@pytest.fixture
def batch(tmp_path, monkeypatch, config):
    """Runs a batch of scans whose folders say which images they hold and when they were made."""

    def read_scan(folder, _config):
        pixels, date = (folder / "1").read_text("utf-8").split()
        scan = scan_of(chest()[0])
        return replace(scan, pixels_sha256=pixels * 64, series=replace(scan.series, acquisition_date=date))

    monkeypatch.setattr("volumetry.pipeline.read_scan", read_scan)

    def run(layout="{site}/{subject}/{visit}", **more):
        return run_batch(
            find_scans(tmp_path / "in", layout), tmp_path / "out", ThresholdSegmenter(), config, **more
        )

    run.root, run.out = tmp_path / "in", tmp_path / "out"
    return run


def _scan(root, place, pixels, date):
    (root / place).mkdir(parents=True)
    (root / place / "1").write_text(f"{pixels} {date}", "utf-8")


def _rows(path):
    return {row["scan_id"]: row for row in csv.DictReader(path.read_text("utf-8").splitlines())}


def test_keys_stand_in_every_table_and_the_template_is_a_visits_table(batch):
    _scan(batch.root, "7/S 1/baseline", "a", "20260105")
    _scan(batch.root, "7/S 1/day 28", "b", "20260202")
    batch()
    row = _rows(batch.out / "results.csv")["7_S_1_day_28"]
    assert (row["site"], row["subject"], row["visit"], row["batch_flags"]) == ("7", "S 1", "day 28", "")
    of_the_batch = ["site", "subject", "visit", "batch_flags"]
    assert list(row)[-len(people.NAMES) :] == list(people.NAMES)
    assert list(row)[-len(people.NAMES) - 4 : -len(people.NAMES)] == of_the_batch
    assert "subject S 1, visit day 28" in (batch.out / "report.html").read_text("utf-8")
    export_cdisc(batch.out, batch.out.parent / "sdtm", "T", xpt=False)
    records = csv.DictReader((batch.out.parent / "sdtm" / "pr.csv").read_text("utf-8").splitlines())
    assert [(r["USUBJID"], r["PRREFID"], r["VISIT"]) for r in records] == [
        ("T-S 1", "7_S_1_baseline", "baseline"),
        ("T-S 1", "7_S_1_day_28", "day 28"),
    ]
    visits = read_visits(batch.out / "visits.csv", read_results(batch.out), load_trial_config())
    assert [(v.visit, v.day, v.scan_id) for v in visits.rows["S 1"]] == [
        ("baseline", 0, "7_S_1_baseline"),
        ("day 28", 28, "7_S_1_day_28"),  # from 5 January to 2 February
    ]
    assert verify(batch.out).passed


def test_a_template_that_a_person_has_edited_stays(batch):
    _scan(batch.root, "7/S1/baseline", "a", "20260105")
    rows = batch()
    _scan(batch.root, "7/S1/day 28", "b", "20260202")
    assert not_in_visits(rows) == []
    rows = batch()
    assert "day 28" in (batch.out / "visits.csv").read_text("utf-8"), "nobody has edited it: it grows"
    edited = (batch.out / "visits.csv").read_text("utf-8").replace("first scan", "first dose")
    (batch.out / "visits.csv").write_text(edited, "utf-8")
    _scan(batch.root, "7/S2/baseline", "c", "20260105")
    rows = batch()
    assert (batch.out / "visits.csv").read_text("utf-8") == edited
    assert not_in_visits(rows) == ["7_S2_baseline"]
    assert verify(batch.out).passed


def test_the_same_images_under_two_names_are_one_question_and_change_no_result(batch):
    _scan(batch.root, "7/S1/baseline", "a", "20260105")
    batch()
    before = json.loads((batch.out / "scans" / "7_S1_baseline" / "record.json").read_bytes())
    _scan(batch.root, "7/S1/day 28", "a", "20260105")
    _scan(batch.root, "8/S2/baseline", "a", "20260105")
    _scan(batch.root, "8/S2/day 28", "b", "20260105")
    _scan(batch.root, "odd", "c", "20260105")
    rows = batch()
    assert json.loads((batch.out / "scans" / "7_S1_baseline" / "record.json").read_bytes()) == before
    flags = {scan_id: row["batch_flags"] for scan_id, row in _rows(batch.out / "results.csv").items()}
    same = dict.fromkeys(("7_S1_baseline", "7_S1_day_28", "8_S2_baseline"), "SAME_IMAGES")
    assert flags == {**same, "8_S2_day_28": "", "odd": "NO_VISIT_KEYS"}
    queries = list(csv.DictReader((batch.out / "queries.csv").read_text("utf-8").splitlines()))
    asked = [(q["scan_id"], q["ask"], q["what_is_wrong"]) for q in queries if q["code"] == "SAME_IMAGES"]
    ((scan_id, ask, wrong),) = asked
    assert (scan_id, ask) == ("7_S1_baseline", "site")
    assert all(name in wrong for name in ("two subjects", "S1", "S2", "7_S1_day_28", "8_S2_baseline"))
    assert [question.code for question in rows.questions()] == ["SAME_IMAGES", "NO_VISIT_KEYS"]
    assert "the same images occur under two subjects" in (batch.out / "report.html").read_text("utf-8")


def test_two_scans_of_one_visit_are_a_question(batch):
    _scan(batch.root, "7/S1/baseline/B31", "a", "20260105")
    _scan(batch.root, "7/S1/baseline/B70", "b", "20260105")
    (question,) = batch().questions()
    assert (question.code, len(question.scans)) == ("SAME_VISIT", 2)


def test_a_shorter_list_asks_what_becomes_of_the_others(batch, tmp_path):
    for pixels, name in zip("abc", ("7/S1/baseline", "7/S1/day 28", "7/S2/baseline"), strict=True):
        _scan(batch.root, name, pixels, "20260105")
    batch()
    before = (batch.out / "results.csv").read_bytes()
    (batch.root / "7" / "S1" / "day 28").rename(batch.root / "7" / "S1" / "d28")
    with pytest.raises(UsageError, match="7_S1_day_28") as stop:
        batch()
    assert "--append" in stop.value.hint
    assert (batch.out / "results.csv").read_bytes() == before
    assert len(batch(leftovers="append")) == 4
    kept = _rows(batch.out / "results.csv")
    assert kept["7_S1_day_28"]["visit"] == "day 28"
    assert kept["7_S1_day_28"]["batch_flags"] == kept["7_S1_d28"]["batch_flags"] == "SAME_IMAGES"
    assert verify(batch.out).passed
    whole = {path.name: path.read_bytes() for path in (batch.out / "scans" / "7_S1_day_28").iterdir()}
    assert len(batch(leftovers="prune")) == 3
    assert set(_rows(batch.out / "results.csv")) == {"7_S1_baseline", "7_S1_d28", "7_S2_baseline"}
    aside = batch.out / "earlier" / "7_S1_day_28" / "1"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == whole
    entries = [json.loads(line) for line in (batch.out / "audit.jsonl").read_text("utf-8").splitlines()]
    assert [entry["to"] for entry in entries if entry["action"] == "scan_set_aside"] == ["earlier/7_S1_day_28/1"]
    assert verify(batch.out).passed
    assert len(batch()) == 3


def test_keys_that_a_run_would_lose_are_named_and_a_stray_file_is_no_scan(batch):
    for name in ("7/S1/baseline", "7/S1/day 28"):
        _scan(batch.root, name, name[6], "20260105")
    assert keys_lost(find_scans(batch.root), batch.out) == []
    batch()
    assert keys_lost(find_scans(batch.root, "{site}/{subject}/{visit}"), batch.out) == []
    assert keys_lost(find_scans(batch.root), batch.out) == ["7_S1_baseline", "7_S1_day_28"]
    (batch.out / "scans" / ".DS_Store").write_bytes(b"x")
    assert len(batch()) == 2
    assert [fault.path for fault in verify(batch.out).faults] == ["scans/.DS_Store"]
    batch(layout=None)
    assert keys_lost(find_scans(batch.root), batch.out) == []


def test_a_run_killed_while_it_pruned_is_entered_by_the_next(batch):
    for name in ("7/S1/baseline", "7/S1/day 28"):
        _scan(batch.root, name, name[6], "20260105")
    batch()
    (batch.root / "7" / "S1" / "day 28" / "1").unlink()
    (batch.root / "7" / "S1" / "day 28").rmdir()
    (batch.out / "earlier" / "7_S1_day_28").mkdir(parents=True)
    (batch.out / "scans" / "7_S1_day_28").rename(batch.out / "earlier" / "7_S1_day_28" / "1")
    assert len(batch()) == 1
    assert verify(batch.out).passed


def test_a_zip_in_a_scan_folder_is_a_scan_of_its_own_and_an_office_list_is_none(tmp_path):
    (tmp_path / "S1").mkdir()
    dicom = bytes(128) + b"DICM" + bytes(200)
    (tmp_path / "S1" / "1.dcm").write_bytes(dicom)
    for name, member in (("S1/more.zip", "1.dcm"), ("S1/viewer.zip", "run.exe"), ("S2.zip", "a/1")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, b"MZ" + bytes(200) if member == "run.exe" else dicom)
    _workbook(tmp_path / "expected.xlsx", [HEADER])
    found = {scan.folder for scan in find_scans(tmp_path)}
    assert found == {"S1", "S1/more.zip", "S2.zip"}


def test_a_kept_scan_without_whole_files_is_named(batch):
    for name in ("7/S1/baseline", "7/S1/day 28"):
        _scan(batch.root, name, name[6], "20260105")
    batch()
    (batch.out / "scans" / "7_S1_day_28" / "record.json").unlink()
    scans = [scan for scan in find_scans(batch.root, "{site}/{subject}/{visit}") if scan.visit == "baseline"]
    from volumetry.config import load_config

    with pytest.raises(UsageError, match="7_S1_day_28 is not in the list"):
        run_batch(scans, batch.out, ThresholdSegmenter(), load_config(), leftovers="append")


def test_a_question_names_no_more_scans_than_can_be_read(tmp_path):
    from volumetry.batch.among import questions_among

    scans = [ScanFolder(f"s{n}", tmp_path, "S1", "v1") for n in range(40)]
    (question,) = questions_among(scans, tmp_path)
    assert len(question.scans) == 40
    assert question.message.endswith("and 28 more")
