"""The sample trial, and odd ones, from two tables to a folder."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from tools.trial_sample import write_sample
from trial_tables import RESULTS, VISITS, rows_of, scan, visit, write_csv

from volumetry.errors import OutputError
from volumetry.storage.csv_tables import TableError
from volumetry.trial import run_trial

SAMPLE = Path(__file__).resolve().parents[2] / "data-sample" / "trial"
CONTRACT = (
    *("measure", "scale", "visit", "arm_a", "arm_b", "n_a", "n_b", "median_a", "q1_a", "q3_a"),
    *("median_b", "q1_b", "q3_b", "shift", "ci_low", "ci_high", "p"),
)
MINUS = " \N{MINUS SIGN}"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("trial")
    return run_trial(SAMPLE, SAMPLE / "visits.csv", out)


def test_the_sample_is_what_its_program_makes(tmp_path):
    write_sample(tmp_path)
    for name in ("results.csv", "visits.csv", "truth.csv"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_planted_effects_are_found(done):
    rows = {(r["measure"], r["scale"], r["visit"]): r for r in rows_of(done.folder / "endpoint.csv")}
    truth = rows_of(SAMPLE / "truth.csv")
    assert len(truth) == 9
    for planted in truth:
        row = rows[planted["measure"], planted["scale"], planted["visit"]]
        shift = float(planted["shift"])
        assert (row["arm_a"], row["arm_b"]) == (planted["arm_a"], planted["arm_b"])
        assert float(row["ci_low"]) < shift < float(row["ci_high"])
        if planted["exact"] == "yes":
            assert float(row["shift"]) == pytest.approx(shift, abs=1e-9)


def test_tables_have_the_columns_of_the_contract(done):
    rows = rows_of(done.folder / "endpoint.csv")
    assert tuple(rows[0])[: len(CONTRACT)] == CONTRACT
    assert {(r["measure"], r["scale"]) for r in rows if r["measure"] != "walk_m"} == {
        (m, s) for m in ("lesion", "solid", "ground_glass") for s in ("relative_percent", "absolute_points")
    }
    assert [r for r in rows if r["primary"] == "yes"] == [rows[1]]
    changes = rows_of(done.folder / "changes.csv")
    assert len(changes) == 24 * 4 * 3
    for row in changes:
        if row["relative_percent"]:
            base, value = float(row["baseline_percent"]), float(row["value_percent"])
            assert float(row["relative_percent"]) == pytest.approx(100 * (value - base) / base, abs=1e-9)
            assert float(row["absolute_points"]) == pytest.approx(value - base, abs=1e-12)
            assert row["grade"] in {"A", "B", "C"}
        else:
            assert row["reason"]
        for column in ("value_ml", "change_ml", "absolute_points"):
            assert row[column] or f"{column}=" in row["empty"]


def test_nothing_is_written_for_what_is_not_known(done):
    for name in ("endpoint.csv", "changes.csv", "events.csv", "summary.csv", "sensitivity.csv", "secondary.csv"):
        text = (done.folder / name).read_text("utf-8")
        assert not re.search(r"(?i)(^|,)[+-]?(nan|inf|none|infinity)(,|$)", text, re.MULTILINE), name


def test_every_planted_gap_is_listed_with_its_reason(done):
    found = {(r["subject"], r["visit"], r["reason"]) for r in rows_of(done.folder / "missing.csv")}
    assert {
        ("006", "d90", "MISSING_SLICES"),
        ("021", "d90", "LUNG_TRUNCATED_BASE"),
        ("012", "d90", "WITHDRAWN"),
        ("016", "d90", "DIED"),
        ("023", "d90", "MISSING"),
        ("008", "d28", "BASELINE_ZERO"),
        ("020", "d28", "BASELINE_ZERO"),
    } <= found
    grades = {(r["subject"], r["visit"]): r for r in rows_of(done.folder / "changes.csv")}
    assert (grades["019", "d28"]["grade"], grades["019", "d28"]["grade_reasons"]) == ("C", "LUNG_VOLUME:C")
    assert grades["014", "d10"]["grade_reasons"] == "KERNEL_CHANGED:B"


def test_yes_no_outcomes(done):
    rows = {(r["outcome"], r["visit"]): r for r in rows_of(done.folder / "events.csv")}
    row = rows["honeycomb", "d90"]
    assert [row[c] for c in ("events_a", "n_a", "events_b", "n_b")] == ["3", "11", "2", "10"]
    assert float(row["odds_ratio"]) == pytest.approx(3 * 8 / (8 * 2))
    assert {visit for outcome, visit in rows if outcome == "normal_ct"} == {"d10", "d28", "d90"}


def test_report_needs_nothing_from_elsewhere_and_holds_the_primary_result(done):
    html = (done.folder / "report.html").read_text("utf-8")
    assert "http" not in html
    assert "<script" not in html
    assert (
        "UC-MSC minus placebo -13.00 (95 % CI -24.00 to -2.00), p = 0.020; n = 12 and 12.".replace(
            " -", MINUS
        ).replace("(-", "(" + MINUS[1:])
        in html
    )
    assert html.count("data:image/svg+xml;base64,") == 4
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}"', html)) == 4
    names = {path.name for path in (done.folder / "figures").iterdir()}
    assert names == {
        f"{n}.{k}"
        for n in ("trajectories", "waterfall", "individuals", "component-rules")
        for k in ("svg", "pdf", "png")
    }
    measured = html[html.index("measurement error of the scans alone") :]
    assert measured[: measured.index("</table>")].count("<tr>") == 1 + 18  # a line per measure, scale and visit


def test_print_tables_agree_with_the_numbers(done):
    text = (done.folder / "table.csv").read_text("utf-8-sig")
    rows = {(r["measure"], r["row"]): r for r in csv.DictReader(io.StringIO(text))}
    row = rows["Total lesion", "d28, relative change, %"]
    assert row["difference (CI)"] == "-13.00 (-24.00, -2.00)".replace("-", MINUS[1:])
    assert (row["n_a"], row["p"]) == ("12", "0.020")
    tex = (done.folder / "table.tex").read_text("utf-8")
    assert "d28, relative change, \\% & 12 & $-$38.00 ($-$45.37, $-$30.63) & 12 & $-$25.00" in tex
    assert tex.count("{longtable}") == 2  # and one in the comment
    assert tex.count("endhead") == 1
    methods = (done.folder / "methods.txt").read_text("utf-8")
    for words in ("Hodges-Lehmann", "No p-value is adjusted", "d28 28 (21 to 35)", done.analysis.config.sha256):
        assert words in methods


def test_the_record_names_every_file_and_both_inputs(done):
    record = json.loads((done.folder / "trial.json").read_text("utf-8"))
    files = {str(p.relative_to(done.folder)) for p in done.folder.rglob("*") if p.is_file()}
    assert set(record["files_sha256"]) == files - {"trial.json"}
    assert set(record["inputs_sha256"]) == {"results", "visits"}
    assert record["config"]["statistics"]["multiplicity"] == "none"


def test_again_gives_the_same_bytes_and_keeps_the_earlier_run(done, tmp_path):
    again = run_trial(SAMPLE / "results.csv", SAMPLE / "visits.csv", tmp_path)
    assert again.files_sha256 == done.files_sha256
    (tmp_path / "endpoint.csv").write_text("mine")
    run_trial(SAMPLE, SAMPLE / "visits.csv", tmp_path)
    assert (tmp_path / "earlier" / "1" / "endpoint.csv").read_text() == "mine"


def _small(folder, arms, subject="1", **columns):
    scans, visits = [], []
    for n, arm in enumerate(arms):
        for name, day, lesion in (("baseline", 0, 20 + n), ("V2", 40, 15 - n)):
            scans.append(scan(f"{n}-{name}", lesion=lesion))
            visits.append(visit(f"{subject}{n}", name, day, f"{n}-{name}", arm=arm) | columns)
    write_csv(folder / "results.csv", RESULTS, scans)
    return write_csv(folder / "visits.csv", VISITS, visits)


def test_a_blinded_trial_is_pooled(tmp_path):
    done = run_trial(tmp_path, _small(tmp_path, ["", "", ""]), tmp_path / "out")
    row = rows_of(tmp_path / "out" / "endpoint.csv")[0]
    assert (row["arm_a"], row["arm_b"], row["n_a"], row["n_b"], row["shift"], row["p"]) == (
        "all",
        "",
        "3",
        "",
        "",
        "",
    )
    assert row["reason"] == "ONE_ARM"
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "values are pooled" in html
    assert any("'d28' is not in the table; 'V2'" in warning for warning in done.warnings)
    assert any("unknown, of 3 pairs" in warning for warning in done.warnings)


def test_text_of_the_tables_is_neither_code_nor_formula(tmp_path):
    visits = _small(tmp_path, ["<b>&A", "placebo"], subject="=cmd<script>", note="=1+1")
    run_trial(tmp_path, visits, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<script" not in html
    assert "<b>&A" not in html
    assert "&lt;b&gt;&amp;A" in html
    for path in (tmp_path / "out").glob("*.csv"):
        for row in rows_of(path):
            assert not any(str(cell).startswith(("=", "@", "\t", "\r")) for cell in row.values()), path.name
    assert rows_of(tmp_path / "out" / "changes.csv")[0]["subject"] == "'=cmd<script>0"


def test_three_arms_give_two_tables(tmp_path):
    run_trial(tmp_path, _small(tmp_path, ["high", "low", "placebo"]), tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "difference high minus placebo" in html
    assert "difference low minus placebo" in html


def test_a_wrong_table_writes_nothing(tmp_path):
    visits = _small(tmp_path, ["A", "B"])
    visits.write_text(visits.read_text().replace("0-V2", "lost"))
    with pytest.raises(TableError, match="row 3, column scan_id"):
        run_trial(tmp_path, visits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_told(tmp_path):
    visits = _small(tmp_path, ["A", "B"])
    (tmp_path / "out").write_text("a file, no folder")
    with pytest.raises(OutputError):
        run_trial(tmp_path, visits, tmp_path / "out")


def test_scans_that_were_all_refused_still_give_a_report(tmp_path):
    scans = [scan(name, status="refused", code="NO_RESCALE") for name in ("a", "b")]
    write_csv(tmp_path / "results.csv", RESULTS, scans)
    rows = [visit("1", "baseline", 0, "a", arm="A"), visit("1", "d28", 28, "b", arm="A")]
    rows += [visit("2", "baseline", 0, "", arm="B", status="missing")]
    run_trial(tmp_path, write_csv(tmp_path / "visits.csv", VISITS, rows), tmp_path / "out")
    row = rows_of(tmp_path / "out" / "endpoint.csv")[0]
    assert (row["n_a"], row["n_b"], row["median_a"], row["reason"]) == ("0", "0", "", "NO_VALUES:A;NO_VALUES:B")
    assert "no difference is given" in (tmp_path / "out" / "report.html").read_text("utf-8")
