"""The tables of a paper: participants, baseline, events, subgroups, readers, Word, define.xml."""

import importlib.util
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from trial_tables import RESULTS, VISITS, rows_of, scan, visit, write_csv

from volumetry.errors import ConfigError
from volumetry.storage.tables_in import TableError
from volumetry.trial import run_trial

SETTINGS = """
[subgroups]
columns = [{column = "sex"}, {column = "age", cuts = [50.0]}]
[adverse_events]
tables = [{title = "Adverse events", file = "ae.csv"}]
[sets]
flags = [{name = "per protocol", column = "pprotfl"}]
[output]
adam_study = "ABC"
"""
EVENTS = [
    {"USUBJID": "00", "AEDECOD": "Fever", "AESOC": "General", "AETOXGR": "1", "AESER": "N"},
    {"USUBJID": "00", "AEDECOD": "fever", "AESOC": "General", "AETOXGR": "3", "AESER": "Y"},
    {"USUBJID": "00", "AEDECOD": "Rash", "AESOC": "Skin", "AETOXGR": "", "AESER": "N"},
    {"USUBJID": "02", "AEDECOD": "Fever", "AESOC": "General", "AETOXGR": "moderate", "AESER": "N"},
    {"USUBJID": "01", "AEDECOD": "Fever", "AESOC": "General", "AETOXGR": "2", "AESER": "N"},
    {"USUBJID": "01", "AEDECOD": "Fever", "AESOC": "General", "AETOXGR": "2", "AESER": "N"},
]


def _tables(folder: Path) -> Path:
    """24 subjects, the even ones treated; 04 died, 05 withdrew, 06 has no age, 07 is not per protocol."""
    scans, visits = [], []
    rng = np.random.default_rng(8)
    for n in range(24):
        subject, base = f"{n:02d}", 10.0 + n
        facts = {"arm": "placebo" if n % 2 else "cells", "sex": "FM"[n // 2 % 2], "age": "" if n == 6 else 40 + n}
        facts |= {"site": 1 + n % 3, "pprotfl": "N" if n == 7 else "Y"}
        for name, day in (("baseline", 0), ("d28", 28)):
            scan_id = f"{subject}-{name}"
            if name == "d28" and n in (4, 5):
                visits.append(visit(subject, name, day, status="died" if n == 4 else "withdrawn", **facts))
                continue
            row = dict(scan(scan_id, base if name == "baseline" else base * (0.7 + 0.1 * rng.standard_normal())))
            if n < 2:  # a reader's share is 1 point, or 2, above the automatic one
                row |= {
                    "reading": "reader",
                    "automatic.percent_of_lung.lesion": row["percent_of_lung.lesion"] - 1 - n,
                }
            scans.append(row)
            visits.append(visit(subject, name, day, scan_id, **facts))
    write_csv(folder / "results.csv", RESULTS, scans)
    write_csv(folder / "visits.csv", VISITS, visits)
    write_csv(folder / "ae.csv", ["USUBJID"], EVENTS)
    (folder / "mine.toml").write_text(SETTINGS, "utf-8")
    return folder


def _run(folder: Path, out: str = "out") -> Path:
    return run_trial(folder / "results.csv", folder / "visits.csv", folder / out, folder / "mine.toml").folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return _run(_tables(tmp_path_factory.mktemp("paper")))


def test_every_participant_is_counted_at_every_stage(done):
    counts = {(r["stage"], r["visit"], r["reason"], r["arm"]): int(r["n"]) for r in rows_of(done / "consort.csv")}
    assert {arm: counts["randomised", "", "", arm] for arm in ("cells", "placebo")} == {"cells": 12, "placebo": 12}
    assert counts["set", "", "per protocol", "placebo"] == 11
    assert (counts["scanned", "d28", "", "cells"], counts["scanned", "d28", "", "placebo"]) == (11, 11)
    assert (counts["died", "d28", "DIED", "cells"], counts["died", "d28", "DIED", "placebo"]) == (1, 0)
    assert counts["withdrawn", "d28", "WITHDRAWN", "placebo"] == 1
    for arm in ("cells", "placebo"):
        not_analysed = sum(n for key, n in counts.items() if key[0] == "not_analysed" and key[3] == arm)
        assert counts["analysed", "d28", "", arm] + not_analysed == counts["randomised", "", "", arm]


def test_those_outside_the_primary_set_are_counted_once(tmp_path):
    _tables(tmp_path)
    text = SETTINGS.replace("[sets]\n", '[sets]\nprimary = "per protocol"\n')
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    rows = rows_of(_run(tmp_path) / "consort.csv")
    left = {r["arm"]: r["n"] for r in rows if r["stage"] == "not_in_primary_set"}
    assert left == {"cells": "0", "placebo": "1"}


def test_table_1_describes_numbers_and_counts_groups(done):
    rows = {(r["characteristic"], r["level"], r["arm"]): r for r in rows_of(done / "baseline.csv")}
    ages = np.array([40.0 + n for n in range(0, 24, 2) if n != 6])
    age = rows["age", "", "cells"]
    assert (age["n"], age["missing"]) == ("11", "1")
    expected = (ages.mean(), ages.std(ddof=1), *np.quantile(ages, [0.5, 0.25, 0.75]))
    assert [float(age[name]) for name in ("mean", "sd", "median", "q1", "q3")] == pytest.approx(expected)
    assert (rows["sex", "F", "cells"]["count"], rows["sex", "F", "cells"]["percent"]) == ("6", "50.0")
    assert rows["site", "1", "all arms"]["count"] == "8"  # a number that is a group
    assert float(rows["Total lesion, % of lung", "", "placebo"]["mean"]) == pytest.approx(22.0)
    assert ("pprotfl", "Y", "cells") not in rows


def test_subjects_and_events_are_counted_separately(done):
    rows = {
        (r["term"], r["grade"], r["arm"]): (r["subjects"], r["n"], r["events"])
        for r in rows_of(done / "adverse_events.csv")
    }
    assert rows["", "", "cells"] == ("2", "12", "4")
    assert rows["", "serious", "cells"] == ("1", "12", "1")
    assert (rows["Fever", "", "cells"], rows["Fever", "", "placebo"]) == (("2", "12", "3"), ("1", "12", "2"))
    assert (rows["Fever", "1", "cells"], rows["Fever", "3", "cells"]) == (("0", "12", "1"), ("1", "12", "1"))
    assert rows["Fever", "2", "placebo"] == ("1", "12", "2")
    assert ("Rash", "unknown", "cells") not in rows  # a term without any grade is not divided


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ({"USUBJID": "99"}, "row 2, column subject: is not a subject"),
        ({"AETOXGR": "7"}, "row 2, column grade: must be empty, 1 to 5"),
        ({"AEDECOD": ""}, "row 2, column term: is empty"),
        ({"AESER": "perhaps"}, "row 2, column serious: must be empty, yes or no"),
    ],
)
def test_a_faulty_event_is_named(tmp_path, cell, says):
    _tables(tmp_path)
    write_csv(tmp_path / "ae.csv", ["USUBJID"], [EVENTS[0] | cell])
    with pytest.raises(TableError, match=f"ae.csv: {says}"):
        _run(tmp_path)


def test_a_table_of_events_without_an_event_counts_none(tmp_path):
    _tables(tmp_path)
    (tmp_path / "ae.csv").write_text("USUBJID,AEDECOD,AESOC,AETOXGR,AESER\n")
    rows = rows_of(_run(tmp_path) / "adverse_events.csv")
    assert [(r["term"], r["arm"], r["subjects"], r["n"], r["events"], r["percent"]) for r in rows] == [
        ("", "cells", "0", "12", "0", "0.0"),
        ("", "placebo", "0", "12", "0", "0.0"),
    ]
    assert "Any event" in (tmp_path / "out" / "report.html").read_text("utf-8")
    (tmp_path / "ae.csv").write_text("")
    with pytest.raises(TableError, match=r"ae.csv: row 1 must hold the names of the columns"):
        _run(tmp_path)


def test_hu_bins_are_shares_of_the_lungs_by_arm_and_visit(tmp_path):
    names = ("below_-750", "-750_to_-300", "-300_to_50", "above_50")
    bins = {"a0": (1000, 700, 200, 100), "a28": (1200, 600, 150, 50), "b0": (800, 800, 300, 100)}
    scans = [
        scan(name, lung=2000.0, **{f"hu_bins_ml.{n}": ml for n, ml in zip(names, of, strict=True)})
        for name, of in bins.items()
    ]
    scans.append(scan("c0", lung=2000.0, **{"hu_bins_ml.below_-750": 1000}))  # one bin is no histogram
    rows = [visit("1", "baseline", 0, "a0", arm="cells"), visit("1", "d28", 28, "a28", arm="cells")]
    rows += [visit("2", "baseline", 0, "b0", arm="cells"), visit("3", "baseline", 0, "c0", arm="placebo")]
    write_csv(tmp_path / "results.csv", RESULTS, scans)
    write_csv(tmp_path / "visits.csv", VISITS, rows)
    found = run_trial(tmp_path / "results.csv", tmp_path / "visits.csv", tmp_path / "out")
    shares = {(r["hu_bin"], r["visit"], r["arm"]): r for r in rows_of(found.folder / "hu_bins.csv")}
    assert float(shares["hu_below_-750", "baseline", "cells"]["median"]) == pytest.approx(45)  # of 50 and 40 %
    assert float(shares["hu_-750_to_-300", "d28", "cells"]["mean"]) == pytest.approx(30)
    assert (shares["hu_above_50", "d28", "cells"]["median"], shares["hu_above_50", "d28", "placebo"]["n"]) == (
        "2.5",
        "0",
    )
    assert shares["hu_below_-750", "baseline", "placebo"]["n"] == "0"
    report = (found.folder / "report.html").read_text("utf-8")
    assert "\N{MINUS SIGN}750 to \N{MINUS SIGN}300 HU" in report
    assert (found.folder / "figures" / "hu-bins.svg").is_file()


def test_a_subgroup_is_the_comparison_of_its_members(done):
    rows = {(r["subgroup"], r["level"]): r for r in rows_of(done / "subgroups.csv")}
    whole = next(r for r in rows_of(done / "endpoint.csv") if r["primary"] == "yes")
    assert rows["", ""]["shift"] == whole["shift"]
    assert list(rows)[1:] == [("sex", "F"), ("sex", "M"), ("age", "below 50"), ("age", "50 and above")]
    changes = [r for r in rows_of(done / "changes.csv") if (r["measure"], r["visit"]) == ("lesion", "d28")]
    women = [r for r in changes if int(r["subject"]) // 2 % 2 == 0 and r["relative_percent"]]
    a, b = (
        np.array([float(r["relative_percent"]) for r in women if r["arm"] == arm]) for arm in ("cells", "placebo")
    )
    assert float(rows["sex", "F"]["shift"]) == pytest.approx(np.median(np.subtract.outer(a, b)))
    assert rows["sex", "F"]["p_interaction"] == rows["sex", "M"]["p_interaction"] != ""
    assert (done / "figures" / "subgroups.svg").is_file()


def test_a_subgroup_needs_a_covariate(tmp_path):
    _tables(tmp_path)
    for columns, says in (
        ('{column = "race"}', "no covariate"),
        ('{column = "sex", cuts = [1.0]}', "cannot be cut"),
    ):
        (tmp_path / "mine.toml").write_text(f"[subgroups]\ncolumns = [{columns}]", "utf-8")
        with pytest.raises(ConfigError, match=says):
            _run(tmp_path)


def test_reader_and_automatic_shares_are_compared_where_a_reader_corrected(done):
    (row,) = rows_of(done / "agreement.csv")
    assert (row["measure"], row["n"]) == ("lesion", "4")
    sd = (4 * 0.25 / 3) ** 0.5  # of 1, 1, 2, 2
    figures = [float(row[name]) for name in ("mean_difference", "sd", "limit_low", "limit_high")]
    assert figures == pytest.approx([1.5, sd, 1.5 - 1.96 * sd, 1.5 + 1.96 * sd])


def test_the_report_has_the_tables(done):
    page = (done / "report.html").read_text("utf-8")
    for words in (
        "Flow of participants",
        "Baseline characteristics",
        "Adverse events",
        "interaction p",
        "Any event",
    ):
        assert words in page
    methods = (done / "methods.txt").read_text("utf-8")
    assert "Subgroups by sex, age (cut at 50)" in methods
    assert "Counts of adverse events are of all subjects" in methods


def test_the_word_document_repeats_its_heads_and_breaks_between_rows(done):
    docx = pytest.importorskip("docx")
    document = docx.Document(done / "tables.docx")
    captions = [p.text for p in document.paragraphs if p.text.startswith("Table ")]
    assert len(captions) == len(document.tables) >= 5
    assert captions[0] == "Table 1. Flow of participants (subjects)"
    tag = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    for table in document.tables:
        rows = table._tbl.findall(f"{tag}tr")
        heads = [row.find(f"{tag}trPr/{tag}tblHeader") is not None for row in rows]
        assert heads == [True] + [False] * (len(rows) - 1)
        assert all(row.find(f"{tag}trPr/{tag}cantSplit") is not None for row in rows)
    endpoint = next(t for t in document.tables if "Total lesion" in t.rows[1].cells[0].text)
    printed = [cell.text for row in endpoint.rows for cell in row.cells]
    shift = float(next(r["shift"] for r in rows_of(done / "endpoint.csv") if r["primary"] == "yes"))
    assert any(text.startswith(f"{shift:.2f}".replace("-", "\N{MINUS SIGN}")) for text in printed)
    fields = [f.get(f"{tag}instr") for f in document.sections[0].footer._element.iter(f"{tag}fldSimple")]
    assert fields == ["PAGE", "NUMPAGES"]
    widths = [column.width.cm for column in endpoint.columns]
    assert sum(widths) == pytest.approx(25.7, abs=0.01)  # A4 across, less 2 cm on both sides
    assert widths[1] < widths[2] / 2  # n against a median with its quartiles
    volumes = [r.cells[0].text for t in document.tables for r in t.rows if "change of mass" in r.cells[0].text]
    assert not volumes  # the results have no mass


def test_the_same_tables_give_the_same_document(done, tmp_path):
    pytest.importorskip("docx")
    again = _run(_tables(tmp_path))
    for name in ("tables.docx", "define.xml"):
        assert (again / name).read_bytes() == (done / name).read_bytes()
    with zipfile.ZipFile(io.BytesIO((done / "tables.docx").read_bytes())) as archive:
        assert archive.testzip() is None


def test_define_xml_is_valid_by_its_published_schema(done, tmp_path):
    etree = pytest.importorskip("lxml.etree")
    wheels = sorted(Path(os.environ.get("VOLUMETRY_ZOO") or tmp_path).glob("odmlib-*.whl"))
    if not wheels:
        pytest.skip("odmlib, whose wheel holds the schema, is not here (VOLUMETRY_ZOO): .ci/run fetches it")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(tmp_path, [name for name in wheel.namelist() if name.endswith(".xsd")])
    folder = tmp_path / "odmlib" / "schemas" / "define" / "2.1"
    schema = etree.XMLSchema(etree.parse(folder / "define2-1-0.xsd"))
    document = etree.parse(done / "define.xml")
    schema.assertValid(document)
    spaces = {"o": "http://www.cdisc.org/ns/odm/v1.3", "d": "http://www.cdisc.org/ns/def/v2.1"}
    for name in ("ADSL", "ADQS"):
        group = document.xpath(f"//o:ItemGroupDef[@Name='{name}']", namespaces=spaces)[0]
        names = [ref.get("ItemOID").rpartition(".")[2] for ref in group.iterfind("o:ItemRef", spaces)]
        assert names == list(rows_of(done / f"{name.lower()}.csv")[0])
        leaf = group.find("d:leaf", spaces).get("{http://www.w3.org/1999/xlink}href")
        assert (done / leaf).is_file()
    codes = document.xpath("//o:CodeList[@OID='CL.PARAMCD.ADQS']/o:CodeListItem/@CodedValue", namespaces=spaces)
    assert set(codes) == {row["PARAMCD"] for row in rows_of(done / "adqs.csv")}
    for item in document.iterfind(".//o:ItemDef[@DataType='text']", spaces):
        dataset, column = item.get("OID").split(".")[1:]
        longest = max(len(row[column]) for row in rows_of(done / f"{dataset.lower()}.csv"))
        assert int(item.get("Length")) == max(1, longest)


def test_without_the_extra_there_is_no_document(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "docx" else found(name, *more)
    )
    out = _run(_tables(tmp_path))
    assert not (out / "tables.docx").exists()
    assert (out / "consort.csv").is_file()
