"""A core lab's work as its guide describes it, from what sites send to the trial's table, and every number traced.

Only the commands of ``docs/core-lab.md`` are used, and what a person does between them: confirm the manifest, edit
masks, decide, complete visits.csv. ``tests/benchmarks/core_lab_walk.py`` does the same with thirty scans, and is
killed in between.
"""

import shutil

import pytest
from core_lab import (
    CONFIG,
    LAYOUT,
    VISITS,
    Model,
    adjudicated,
    do,
    edited,
    rows_of,
    series,
    traced,
    values_of,
    write_rows,
    zipped,
)
from dictionaries import not_described

from volumetry.cli import common

ARMS = {"S1": "A", "S2": "B", "S3": "A", "S4": "B"}


def _deliver(root, packed):
    """Two sites: two kernels of one study, zips, a study delivered twice, two visits on one CD, a mix-up."""
    one, two = root / "Site 01", root / "Site 02"
    series(one / "S1" / "baseline" / "a", 1, 15.0, subject="S1", study="1a", series="1")
    series(one / "S1" / "baseline" / "b", 2, 15.0, subject="S1", study="1a", series="2", kernel="B31f")
    series(packed / "S1d28", 3, 11.5, subject="S1", study="1b", series="3", study_date="20260129")
    zipped(one / "S1" / "day 28.zip", packed / "S1d28")
    series(one / "S2" / "baseline", 4, 14.5, subject="S2", study="2a", series="4")
    zipped(one / "S2" / "baseline again.zip", one / "S2" / "baseline")
    series(one / "S2" / "day 28", 5, 12.5, subject="S2", study="2b", series="5", study_date="20260129")
    series(packed / "S3v1", 6, 15.5, subject="S3", study="3a", series="6")
    series(packed / "S3v2", 7, 11.0, subject="S3", study="3b", series="7", study_date="20260129")
    zipped(two / "S3" / "CD.zip", packed / "S3v1", packed / "S3v2")
    series(two / "S4" / "baseline", 8, 14.0, subject="S4", study="4a", series="8")
    shutil.copytree(two / "S4" / "baseline", two / "S4" / "day 28")


def _confirmed(manifest):
    """What the data manager does with the proposal: visits of the CD, and the duplicate left out."""
    rows = rows_of(manifest)
    on_cd = [row for row in rows if row["subject"] == "S3"]
    assert len(on_cd) == 2, "two studies on one CD are two lines"
    for row in on_cd:
        row["visit"] = "baseline" if row["acquisition_date"] == "20260101" else "day 28"
        row["scan_id"] = f"S3_{row['visit'].replace(' ', '_')}"
    for row in rows:
        if row["visit"] == "baseline again":
            assert "S2_baseline" in row["same_images_as"]
            row["use"] = "no"
    return write_rows(manifest, list(rows[0]), rows)


def test_from_deliveries_to_a_table_whose_every_number_is_traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ["1"]
    monkeypatch.setattr(common, "segmenter_of", lambda _settings: Model(model[0]))
    config = tmp_path / "mytrial.toml"
    config.write_text(CONFIG, "utf-8")
    deliveries, taken, results = tmp_path / "deliveries", tmp_path / "taken", tmp_path / "results"
    _deliver(deliveries, tmp_path / "packed")
    wanted = [(subject, visit) for subject in ARMS for visit in ("baseline", "day 28")]
    expected = write_rows(
        tmp_path / "expected.csv", ("subject", "visit"), [{"subject": s, "visit": v} for s, v in wanted]
    )

    # intake, and the manifest confirmed
    do("intake", deliveries, "--out", taken, "--config", config, "--layout", LAYOUT, "--expected", expected)
    manifest = taken / "manifest.csv"
    proposed = rows_of(manifest)
    assert {
        row["kernel"]: row["use"] for row in proposed if row["subject"] == "S1" and row["visit"] == "baseline"
    } == {
        "B70f": "yes",
        "B31f": "no",
    }
    _confirmed(manifest)

    # measure; ask the site about the images that came under two visits; decide
    given = ("batch", manifest, "--out", results, "--config", config, "--expected", expected, "--quiet")
    do(*given)
    assert {row["state"] for row in rows_of(results / "visit_status.csv")} <= {"measured", "review"}
    assert len(rows_of(results / "results.csv")) == len(wanted)
    do("letters", results, "--out", tmp_path / "letters", "--name", "A. Manager", "--study", "T1")
    (query,) = [row for row in rows_of(results / "queries.csv") if row["code"] == "SAME_IMAGES"]
    assert query["state"] == "sent"
    do("answer", results, query["query_id"], "--text", "day 28 was not done", "--name", "A. Manager", "--close")
    do("decide", results, "S4_day_28", "exclude", "--name", "A. Manager", "--reason", "images of the baseline")

    # two readers edit one scan, blinded and on their own, and a third decides
    visits = write_rows(
        tmp_path / "visits.csv",
        VISITS,
        [
            {**row, "day": 0 if row["visit"] == "baseline" else 28, "arm": ARMS[row["subject"]]}
            for row in rows_of(results / "visits.csv")
        ],
    )
    package, key = tmp_path / "package", tmp_path / "package.key" / "key.csv"
    do("blind", manifest, "--out", package, "--visits", visits, "--config", config, "--quiet")
    reading = {row["scan_id"]: row["reading_id"] for row in rows_of(key)}
    for reader, grow in (("R1", False), ("R2", True)):
        folder = tmp_path / reader
        folder.mkdir()
        edited(results / "scans" / "S2_day_28", folder / f"{reading['S2_day_28']}.nii.gz", grow=grow)
        do(
            *("unblind", package, "--key", key, "--masks", folder, "--results", results, "--scans", manifest),
            *("--reader", reader, "--reason", "border of the lesion"),
        )
    assert [row["reader"] for row in rows_of(results / "corrections.csv")] == ["R1", "R2"]
    do("decide", results, "S2_day_28", "accept", "--name", "R3", "--reason", "R2 is right at the lower border")
    adjudicated(tmp_path, package, key, values_of(results), "S2_day_28")

    # another model: compared before it is adopted, with the trial by both, and what people did stays
    first = values_of(results)
    model[0] = "2"
    new = tmp_path / "results-new"
    do("batch", manifest, "--out", new, "--config", config, "--quiet")
    do("compare", results, new, "--out", tmp_path / "bridge", "--visits", visits, "--quiet")
    readings = {row["scan_id"]: row for row in rows_of(tmp_path / "bridge" / "trial-old" / "readings.csv")}
    assert readings["S2_day_28"]["corrected_by"] == "R2"
    assert readings["S4_day_28"]["left_out"] == "yes"
    shifts = [row for row in rows_of(tmp_path / "bridge" / "shifts.csv") if row["quantity"] == "solid"]
    assert all(float(row["difference"]) < 0 for row in shifts)
    do(*given)
    after = {row["scan_id"]: row for row in rows_of(results / "results.csv")}
    assert after["S2_day_28"]["corrected_by"] == "R2"
    assert (after["S2_day_28"]["decision"], after["S4_day_28"]["decision"]) == ("accept", "exclude")

    # the trial, and each of its numbers back to a file and a person
    do("trial", results, "--visits", visits, "--out", tmp_path / "trial", "--quiet")
    second = values_of(results)
    assert len(list(traced(tmp_path / "trial", results))) > 30
    assert {row["reason"] for row in rows_of(tmp_path / "trial" / "missing.csv")} == {"EXCLUDED"}
    assert second["S2_day_28"] == pytest.approx(first["S2_day_28"]), "the reader's value outlives the model"
    assert second["S1_baseline"]["solid"] < first["S1_baseline"]["solid"]

    # lock
    assert "everything is as recorded" in do("verify", results)
    assert do("replay", results, "--scans", manifest).count("identical") == len(wanted)
    do("export", "cdisc", results, "--out", tmp_path / "sdtm", "--study", "T1", "--visits", visits)
    for folder in (results, tmp_path / "trial", tmp_path / "bridge", tmp_path / "agreed", tmp_path / "sdtm"):
        assert not_described(folder) == [], folder.name
