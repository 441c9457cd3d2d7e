"""What people decide and correct in a batch: it reaches every table, outlives a rerun, and is proved."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from dictionaries import not_described
from scenes import AXIAL, chest, scan_of
from trial_tables import rows_of, write_csv

from volumetry.batch import audit, batch_of, correct, decide, find_scans, replay, run_batch, verify
from volumetry.batch.manifest import read_manifest
from volumetry.cli.viewing import _saved
from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import Finding, ScanRefusedError
from volumetry.errors import BusyError, UsageError
from volumetry.explain import as_text, explain
from volumetry.export import export_cdisc
from volumetry.export.source import said_by_people
from volumetry.prior import corrections_place
from volumetry.remeasure import remeasure
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.trial import run_trial
from volumetry.web.cases import load_case
from volumetry.web.corrections import Edit

VOXEL_ML = 5.0**3 / 1000
BALL = "volumes_ml.lung"


class Line:
    """In the reader's place: every scan is the same drawn chest, unless a test says otherwise."""

    def __init__(self):
        self.refused, self.images = set(), {}

    def __call__(self, folder, _config):
        if folder.name in self.refused:
            raise ScanRefusedError([Finding("NOT_CT", Outcome.REFUSE, "message")])
        scan = scan_of(chest()[0], AXIAL)
        digest = hashlib.sha256(self.images.get(folder.name, folder.name).encode()).hexdigest()
        object.__setattr__(scan, "input_sha256", digest)
        return scan


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A batch of three scans, as it was first measured."""
    root = tmp_path_factory.mktemp("whole")
    for name in ("a", "b", "c"):
        (root / "in" / name).mkdir(parents=True)
        (root / "in" / name / "1").write_bytes(name.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volumetry.pipeline.read_scan", Line())
        run_batch(find_scans(root / "in"), root / "out", ThresholdSegmenter(), load_config())
    return root


class Batch:
    """A copy of that batch, and what a test does with it."""

    def __init__(self, root, line):
        self.root, self.out, self.line = root, root / "out", line

    def run(self, **overrides):
        return run_batch(
            find_scans(self.root / "in"), self.out, ThresholdSegmenter(), load_config(overrides=overrides)
        )

    def corrected(self, scan_id, voxels, reader, label=3, **overrides):
        """As a reader would: so many voxels of the lung are given a label, and the mask is measured."""
        image = nib.load(self.out / "scans" / scan_id / "mask.nii.gz")
        labels = np.asarray(image.dataobj).copy()
        labels[tuple(np.argwhere(labels == 1)[:voxels].T)] = label
        mask = self.root / "edited.nii.gz"
        nib.save(nib.Nifti1Image(labels, image.affine), mask)
        result = self.out / "scans" / scan_id

        def make(parent):
            settings = load_config(overrides=overrides) if overrides else None
            return remeasure(result, None, mask, reader, f"seen by {reader}", settings, corrections=parent)

        return correct(self.out, scan_id, make)

    def row(self, scan_id, table="results.csv"):
        return next(row for row in rows_of(self.out / table) if row["scan_id"] == scan_id)

    def log(self, action):
        lines = (self.out / "audit.jsonl").read_text("utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["action"] == action]


@pytest.fixture
def batch(whole, tmp_path, monkeypatch):
    line = Line()
    monkeypatch.setattr("volumetry.pipeline.read_scan", line)
    monkeypatch.setattr("volumetry.batch.report.histogram_picture", lambda *_: "data:,")  # slow, and not looked at
    shutil.copytree(whole, tmp_path / "work")
    return Batch(tmp_path / "work", line)


def test_a_decision_is_in_every_table_at_once_and_a_rerun_changes_nothing(batch):
    before = batch.row("a")
    decide(batch.out, "a", "exclude", "A. Reader", "=motion")
    after = batch.row("a")
    assert (after["decision"], after["decided_by"], after["decision_reason"]) == (
        "exclude",
        "A. Reader",
        "'=motion",
    )
    assert {name: cell for name, cell in after.items() if not name.startswith("deci")} == {
        name: cell for name, cell in before.items() if not name.startswith("deci")
    }
    assert batch.row("b")["decision"] == ""
    assert "exclude by A. Reader" in (batch.out / "report.html").read_text("utf-8")
    asked = [row for row in rows_of(batch.out / "queries.csv") if row["scan_id"] == "a"]
    assert {row["decision"] for row in asked} == {"exclude"}
    (line,) = [row for row in asked if row["code"] == "SCAN_EXCLUDED"]
    assert "=motion" in line["what_is_wrong"]
    assert batch.row("a", "decisions.csv")["holds"] == "yes"
    assert verify(batch.out).passed
    head = verify(batch.out).head
    batch.run()
    assert verify(batch.out).head == head


def test_the_columns_that_were_there_keep_their_order(batch):
    from volumetry.deliver import columns

    with (batch.out / "results.csv").open(encoding="utf-8") as stream:
        names = next(csv.reader(stream))
    assert tuple(names[: len(columns())]) == columns()


def test_the_last_readers_value_counts_and_the_automatic_one_stands_beside_it(batch):
    automatic = batch.row("a")
    batch.corrected("a", 80, "R1")
    (document, folder), entry, note = batch.corrected("a", 200, "R2", label=2)
    assert note == ""
    assert folder == batch.out / "corrections" / "a" / "2"
    row = batch.row("a")
    lung = float(automatic["volumes_ml.lung"])
    assert float(row["volumes_ml.ground_glass"]) == pytest.approx(200 * VOXEL_ML)
    assert float(row["percent_of_lung.lesion"]) == pytest.approx(100 * 200 * VOXEL_ML / lung)
    assert float(row["volumes_ml.lung"]) == pytest.approx(lung)
    assert float(row["automatic.percent_of_lung.lesion"]) == float(automatic["percent_of_lung.lesion"]) == 0
    assert (row["reading"], automatic["reading"]) == ("reader", "automatic")
    assert (row["corrected_by"], row["correction_reason"], row["correction"]) == (
        *("R2", "seen by R2"),
        "corrections/a/2",
    )
    assert row["correction_version"] == document["provenance"]["software_version"]
    assert row["corrected_at"]
    listed = rows_of(batch.out / "corrections.csv")
    assert [(r["reader"], r["counted"]) for r in listed] == [("R1", "no"), ("R2", "yes")]
    assert [e["n"] for e in batch.log("correction_recorded")][-1] == entry["n"]
    assert verify(batch.out).passed
    page = (batch.out / "report.html").read_text("utf-8")
    assert "corrected by R2: seen by R2" in page
    assert {
        line.verdict for line in replay(batch.out, find_scans(batch.root / "in"), lambda _: ThresholdSegmenter())
    } == {"identical"}


def test_the_viewer_shows_the_mask_that_counts(batch):
    result = batch.out / "scans" / "a"

    def readings():
        return load_case(result, load_config(), corrections=corrections_place(result)).readings()

    assert readings().current is None
    batch.corrected("a", 80, "R1")
    batch.corrected("a", 200, "R2", label=2)
    assert [one.number for one in readings().corrections] == [1, 2]
    assert readings().current.facts()["reader"] == "R2"
    assert load_case(result, load_config(), corrections=corrections_place(result)).readings().last == 2
    batch.run(measure={"hu_cuts": [-760.0, -300.0, 50.0]})
    assert readings().current is None
    assert readings().notes == (f"Batch: {batch.row('a')['correction_note']}.",)
    assert "not counted" in batch.row("a")["correction_note"]
    # What a batch keeps can be looked at, although it cannot be corrected.
    kept = batch.out / "corrections" / "a" / "1"
    assert load_case(kept, load_config(), corrections=corrections_place(kept)).mask_name == "the mask of R1"


def test_an_edit_in_the_viewer_enters_the_log_and_passes_no_other_readers(batch):
    result = batch.out / "scans" / "a"
    drawn_on = json.loads((result / "result.json").read_text("utf-8"))["provenance"]["mask_sha256"]
    edit = Edit(result / "mask.nii.gz", "R1", "agree", drawn_on, 0)
    document, name = _saved(result, None, edit, None)
    assert (name, document["drawn_on"]) == ("1", drawn_on)
    assert [entry["reader"] for entry in batch.log("correction_recorded")] == ["R1"]
    with pytest.raises(UsageError, match="correction 1 was written") as stop:
        _saved(result, None, replace(edit, reader="R2"), None)
    assert stop.value.code == "CORRECTED_MEANWHILE"
    assert [path.name for path in (batch.out / "corrections" / "a").iterdir()] == ["1"]
    _saved(result, None, replace(edit, reader="R2", last=1), None)
    assert [entry["reader"] for entry in batch.log("correction_recorded")] == ["R1", "R2"]
    assert verify(batch.out).passed


def test_under_other_settings_what_was_said_of_images_and_of_a_readers_value_stays(batch):
    batch.corrected("a", 80, "R1")
    decide(batch.out, "a", "accept", "B. Senior", "agreed")
    decide(batch.out, "b", "exclude", "B. Senior", "motion")
    decide(batch.out, "c", "accept", "B. Senior", "looks right")
    assert batch.row("a")["decision"] == "accept"
    kept = {p.name: p.read_bytes() for p in (batch.out / "corrections" / "a" / "1").iterdir()}
    batch.run(tidy={"min_lung_island_mm3": 1.0})
    row = batch.row("a")
    assert float(row["volumes_ml.solid"]) == pytest.approx(80 * VOXEL_ML)
    assert (row["reading"], row["decision"], row["outdated_decision"]) == ("reader", "accept", "")
    assert "earlier automatic result" in row["correction_note"]
    assert (batch.row("b")["decision"], batch.row("b")["outdated_decision"]) == ("exclude", "")
    assert batch.row("b", "decisions.csv")["holds"] == "yes"
    assert batch.row("c")["decision"] == ""
    assert batch.row("c")["outdated_decision"].startswith("accept by B. Senior")
    assert {p.name: p.read_bytes() for p in (batch.out / "corrections" / "a" / "1").iterdir()} == kept
    codes = {(r["scan_id"], r["code"]) for r in rows_of(batch.out / "queries.csv")}
    assert {("a", "CORRECTION_OF_EARLIER"), ("c", "DECISION_OUTDATED")} <= codes
    assert not {("a", "DECISION_OUTDATED"), ("b", "DECISION_OUTDATED")} & codes
    assert verify(batch.out).passed
    assert _left_out_of_the_trial(batch) == {"b": "EXCLUDED"}


def _left_out_of_the_trial(batch, said=""):
    """What the trial's tables leave out and why; the sentence that its warnings must have."""
    rows = [
        *({"subject": s, "visit": "baseline", "day": "0", "scan_id": s} for s in ("a", "b", "c")),
        {"subject": "a", "visit": "day 28", "day": "28"},
    ]
    table = write_csv(batch.root / "visits.csv", ("subject", "visit", "day", "scan_id"), rows)
    outcome = run_trial(batch.out, table, batch.root / "trial")
    assert said in " ".join(outcome.warnings)
    with_value = {row["scan_id"] for row in rows_of(batch.root / "trial" / "changes.csv") if row["value_percent"]}
    missing = {
        row["scan_id"]: row["reason"] for row in rows_of(batch.root / "trial" / "missing.csv") if row["scan_id"]
    }
    assert with_value == {"a", "b", "c"} - set(missing)
    return missing


@pytest.mark.parametrize("what", ["other images", "a new mask", "a repeat"])
def test_an_exclusion_that_is_in_doubt_keeps_the_scan_out_of_use_until_a_person_decides(batch, what):
    decide(batch.out, "a", "exclude", "A. Manager", "motion")
    match what:
        case "other images":
            batch.line.images["a"] = "the series that the site sent instead"
            (batch.root / "in" / "a" / "1").write_bytes(b"other")
        case "a new mask":
            batch.corrected("a", 80, "R1")
        case "a repeat":
            decide(batch.out, "a", "repeat", "A. Manager", "after an update")
            assert _left_out_of_the_trial(batch) == {"a": "EXCLUSION_OUTDATED"}
    batch.run()
    row = batch.row("a")
    assert row["decision"] == ""
    assert row["outdated_decision"].startswith("exclude by A. Manager")
    asked = {row["code"]: row["state"] for row in rows_of(batch.out / "queries.csv") if row["scan_id"] == "a"}
    assert asked["DECISION_OUTDATED"] == "open"
    said = "excluded and nobody has decided on what is there now: a (exclude by A. Manager"
    assert _left_out_of_the_trial(batch, said) == {"a": "EXCLUSION_OUTDATED"}
    assert any("nobody has decided" in line and line.endswith(": a") for line in said_by_people(batch.out))
    decide(batch.out, "a", "accept", "A. Manager", "it is good now")
    assert _left_out_of_the_trial(batch) == {}


def test_an_accepted_value_of_a_reader_is_accepted_until_another_counts(batch):
    batch.corrected("a", 80, "R1")
    decide(batch.out, "a", "accept", "R3", "agreed")
    batch.run(measure={"component_rule": "hu"})  # the correction is not counted under these settings
    assert batch.row("a")["reading"] == "automatic"
    assert batch.row("a")["outdated_decision"].startswith("accept by R3")


@pytest.mark.parametrize("why", ["other images", "no number", "other [measure] settings", "were changed"])
def test_a_correction_that_cannot_be_of_the_present_scan_is_not_counted_and_not_lost(batch, why):
    batch.corrected("a", 80, "R1")
    overrides = {"tidy": {"min_lung_island_mm3": 1.0}}
    match why:
        case "other images":
            batch.line.images["a"] = "another series"
        case "no number":
            batch.line.refused.add("a")
        case "other [measure] settings":
            overrides = {"measure": {"component_rule": "hu"}}
        case "were changed":
            path = batch.out / "corrections" / "a" / "1" / "result.json"
            path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    batch.run(**overrides)
    row = batch.row("a")
    assert row["reading"] in ("automatic", "")
    assert row["volumes_ml.solid"] in ("0.0", "")
    assert "correction 1 by R1 is not counted" in row["correction_note"]
    assert why in row["correction_note"]
    assert ("a", "CORRECTION_NOT_COUNTED") in {
        (r["scan_id"], r["code"]) for r in rows_of(batch.out / "queries.csv")
    }
    faults = [fault.path for fault in verify(batch.out).faults]
    assert faults == (["corrections/a/1/result.json"] if why == "were changed" else [])


def test_other_images_under_a_name_are_said(batch):
    decide(batch.out, "c", "repeat", "A", "again")
    batch.line.images["a"] = "another scan that was given the same name"
    (batch.root / "in" / "a" / "1").write_bytes(b"other")
    assert batch.run().other_images == ("a",)
    assert (batch.out / "earlier" / "c" / "1").is_dir()
    assert batch.run().other_images == ()


def test_a_correction_leaves_a_decision_outdated_and_a_repeat_is_done_once(batch):
    decide(batch.out, "a", "exclude", "A", "wrong lung mask")
    decide(batch.out, "b", "repeat", "A", "wrong series")
    batch.corrected("a", 80, "R1")
    batch.corrected("b", 80, "R1")
    assert batch.row("a")["decision"] == ""
    assert batch.row("a")["outdated_decision"].startswith("exclude by A")
    assert batch.row("b")["decision"] == "repeat"
    assert "SCAN_TO_REPEAT" in {row["code"] for row in rows_of(batch.out / "queries.csv") if row["scan_id"] == "b"}
    batch.run()
    assert (batch.out / "earlier" / "b" / "1").is_dir()
    assert not (batch.out / "earlier" / "a").exists()
    row = batch.row("b")
    assert (row["decision"], row["outdated_decision"], row["reading"]) == ("", "", "reader")
    assert batch.row("b", "decisions.csv")["holds"] == "no"
    batch.run()
    assert not (batch.out / "earlier" / "b" / "2").exists()
    assert verify(batch.out).passed


def test_an_exclusion_before_a_repeat_is_not_forgotten(batch):
    decide(batch.out, "a", "exclude", "A", "wrong patient")
    decide(batch.out, "a", "repeat", "B", "try once more")
    assert batch.row("a")["decision"] == "repeat"
    batch.run()
    row = batch.row("a")
    assert row["decision"] == ""
    assert row["outdated_decision"].startswith("exclude by A")
    codes = {row["code"] for row in rows_of(batch.out / "queries.csv") if row["scan_id"] == "a"}
    assert "DECISION_OUTDATED" in codes
    decide(batch.out, "a", "accept", "B", "right patient after all")
    assert (batch.row("a")["decision"], batch.row("a")["outdated_decision"]) == ("accept", "")


def test_a_decision_drops_no_row_of_a_scan_that_lost_its_files(batch):
    (batch.out / "scans" / "b" / "results.csv").unlink()
    before = (batch.out / "results.csv").read_bytes()
    decide(batch.out, "a", "exclude", "A", "motion")
    assert (batch.out / "results.csv").read_bytes() == before
    assert batch.row("a", "decisions.csv")["decision"] == "exclude"
    batch.run()
    assert batch.row("a")["decision"] == "exclude"
    assert batch.row("b")["status"] == "measured"


@pytest.mark.parametrize("kept", ["earlier", "corrections"])
def test_a_kept_result_is_no_place_for_a_correction(batch, kept):
    batch.corrected("a", 80, "R1")
    decide(batch.out, "a", "repeat", "A", "again")
    batch.run()
    folder = batch.out / kept / "a" / "1"
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match=f"{kept}/a/1 .* is not counted") as stop:
        batch_of(folder)
    assert "scans/a" in str(stop.value.hint)
    assert batch_of(batch.out / "scans" / "a") == batch.out.resolve()
    assert batch_of(batch.root / "in" / "a") is None
    assert sorted(folder.rglob("*")) == before
    assert verify(batch.out).passed


@pytest.mark.parametrize("what", ["gone", "edited", "results.csv edited", "results.csv edited and it is gone"])
def test_a_decision_takes_no_keys_from_a_table_that_was_edited_and_loses_none(batch, what):
    keys = {"a": ("P1", "v1"), "b": ("P1", "v2"), "c": ("P2", "v1")}
    (batch.root / "in.csv").write_text(
        "scan_id,path,subject,visit\n" + "".join(f"{s},in/{s},{p},{v}\n" for s, (p, v) in keys.items()), "utf-8"
    )
    run_batch(read_manifest(batch.root / "in.csv"), batch.out, ThresholdSegmenter(), load_config())
    table = batch.out / "scans.csv"
    if what.startswith("results.csv"):
        results = batch.out / "results.csv"
        results.write_text(results.read_text("utf-8").replace(",P2,", ",P9,"), "utf-8")
    if what.endswith("gone"):
        table.unlink()
    if what == "edited":
        table.write_text(table.read_text("utf-8").replace("P2", "P9"), "utf-8")
    decide(batch.out, "a", "accept", "A", "fine")
    assert batch.row("a", "decisions.csv")["holds"] == "yes"
    if what.endswith("it is gone"):  # nothing says whose the scans are: the table stays, and verify names it
        assert {fault.path for fault in verify(batch.out).faults} == {"results.csv", "scans.csv"}
        assert len(rows_of(batch.out / "results.csv")) == 3
        return
    assert {r["scan_id"]: (r["subject"], r["visit"]) for r in rows_of(batch.out / "results.csv")} == keys
    assert batch.row("a")["decision"] == "accept"


def test_files_of_a_correction_are_proved(batch):
    batch.corrected("a", 80, "R1")
    folder = batch.out / "corrections" / "a"
    (folder / "1" / "mask.nii.gz").unlink()
    (folder / "1" / "note.txt").write_text("x")
    (folder / "7").mkdir()
    found = {(fault.kind, fault.path) for fault in verify(batch.out).faults}
    assert found == {
        ("missing", "corrections/a/1/mask.nii.gz"),
        ("added", "corrections/a/1/note.txt"),
        ("added", "corrections/a/7"),
    }


def test_a_correction_written_beside_the_result_is_taken_in_by_the_next_run(batch):
    result = batch.out / "scans" / "a"
    remeasure(result, None, result / "mask.nii.gz", "R1", "agree")
    assert ("added", "scans/a/corrections") in {(f.kind, f.path) for f in verify(batch.out).faults}
    batch.run()
    assert batch.row("a")["correction"] == "corrections/a/1"
    assert not (result / "corrections").exists()
    assert verify(batch.out).passed


def test_a_correction_under_other_measure_settings_is_said_to_be_not_counted(batch):
    *_, note = batch.corrected("a", 80, "R1", measure={"hu_cuts": [-800.0, -300.0, 50.0]})
    assert "not counted: it was counted under other [measure] settings" in note
    assert batch.row("a")["reading"] == "automatic"
    assert batch.row("a")["correction_note"] == note


def test_a_correction_needs_the_recorded_result_and_a_free_folder(batch):
    from volumetry.batch.ledger import held

    with pytest.raises(UsageError, match="does not hold"):
        correct(batch.out, "zz", lambda parent: pytest.fail("made"))
    with held(batch.out), pytest.raises(BusyError):
        correct(batch.out, "a", lambda parent: pytest.fail("made"))


def test_an_excluded_scan_is_left_out_of_the_trial_with_its_reason_and_a_readers_value_is_used(batch):
    batch.corrected("a", 100, "R1")
    batch.corrected("b", 150, "R2")
    batch.corrected("b", 50, "R3")
    decide(batch.out, "c", "exclude", "A. Manager", "motion")
    visits = [("P1", "baseline", 0, "a"), ("P1", "day 28", 28, "b"), ("P2", "baseline", 0, "c")]
    rows = [dict(zip(("subject", "visit", "day", "scan_id"), visit, strict=True)) for visit in visits]
    table = write_csv(batch.root / "visits.csv", ("subject", "visit", "day", "scan_id"), rows)
    outcome = run_trial(batch.out, table, batch.root / "trial")
    assert not_described(batch.root / "trial") == []
    changes = {(r["subject"], r["visit"], r["measure"]): r for r in rows_of(batch.root / "trial" / "changes.csv")}
    assert float(changes["P1", "day 28", "solid"]["relative_percent"]) == pytest.approx(-50.0)
    assert "VALUE_OF_A_READER" in changes["P1", "day 28", "solid"]["notes"]
    assert changes["P2", "baseline", "solid"]["value_percent"] == ""
    missing = {(r["scan_id"], r["reason"]) for r in rows_of(batch.root / "trial" / "missing.csv")}
    assert ("c", "EXCLUDED") in missing
    listed = {r["scan_id"]: r for r in rows_of(batch.root / "trial" / "readings.csv")}
    assert (listed["c"]["left_out"], listed["c"]["decided_by"]) == ("yes", "A. Manager")
    assert (listed["b"]["left_out"], listed["b"]["corrected_by"]) == ("no", "R3")
    assert float(listed["b"]["automatic.percent_of_lung.solid"]) == 0
    said = " ".join(outcome.warnings)
    assert "excluded by decision: c (A. Manager: motion)" in said
    assert "a (R1: seen by R1), b (R3: seen by R3)" in said
    _explained(batch, changes["P1", "day 28", "solid"])


def _explained(batch, change):
    """The number of the trial, back to its readers; and what does not fit any more."""
    table = batch.root / "trial" / "changes.csv"
    number = 2 + rows_of(table).index(change)
    trace = explain(table, str(number))
    assert trace["made"]["as_it_was_made"] is True
    assert trace["batch"] == {"folder": "out", "results_are_those_used": True}
    assert "remarks" not in trace
    first, second = trace["scans"]
    assert (first["scan_id"], second["scan_id"]) == ("a", "b")
    assert [(c["reader"], c["counted"]) for c in second["corrections"]] == [("R2", False), ("R3", True)]
    assert second["value"]["volumes_ml"]["solid"] == pytest.approx(50 * VOXEL_ML)
    assert second["automatic"]["volumes_ml"]["solid"] == 0
    record = json.loads((batch.out / "scans" / "b" / "record.json").read_text("utf-8"))
    assert second["record_sha256"] == record["sha256"]
    assert second["automatic"]["model"] == "threshold-1"
    text = as_text(trace)
    assert "reader: R3" in text
    assert "reason: seen by R3" in text
    of_day_28 = [row for row in rows_of(batch.root / "trial" / "summary.csv") if row["visit"] == "day 28"]
    rows = rows_of(batch.root / "trial" / "summary.csv")
    whole = explain(batch.root / "trial" / "summary.csv", str(2 + rows.index(of_day_28[0])))
    assert {(row["subject"], row.get("scan_id")) for row in whole["stands_on"]} == {("P1", "b"), ("P2", None)}
    assert [scan["scan_id"] for scan in whole["scans"]] == ["a", "b", "c"]
    lung = next(row for row in of_day_28 if row["measure"] == "lung")  # changes.csv has no rows of the lung
    of_lung = explain(batch.root / "trial" / "summary.csv", str(2 + rows.index(lung)))
    assert [scan["scan_id"] for scan in of_lung["scans"]] == ["a", "b", "c"]
    assert not [name for row in of_lung["stands_on"] for name in row if "percent" in name]
    batch.corrected("b", 10, "R4")
    with pytest.raises(UsageError, match="not found beside it"):
        explain(table, str(number))
    remarks = " ".join(explain(table, str(number), batch.out)["remarks"])
    assert "another now" in remarks
    assert "b: the row has solid" in remarks


def test_a_row_of_the_batch_is_traced_too(batch):
    decide(batch.out, "a", "exclude", "A", "motion")
    batch.run(tidy={"min_lung_island_mm3": 1.0})
    trace = explain(batch.out / "results.csv", "a")
    assert trace["made"]["as_it_was_made"] is True
    (scan,) = trace["scans"]
    assert [(d["decision"], d["holds"], d["by"]) for d in scan["decisions"]] == [("exclude", True, "A")]
    (aside,) = scan["set_aside"]
    assert aside["folder"] == "earlier/a/1"
    assert aside["reason"].startswith("made with another settings_sha256")
    for wrong in ("1", "99", "nobody"):
        with pytest.raises(UsageError, match="has no row"):
            explain(batch.out / "results.csv", wrong)
    edited = (batch.out / "results.csv").read_bytes().replace(b"threshold-1", b"threshold-2")
    (batch.out / "results.csv").write_bytes(edited)
    remarks = explain(batch.out / "results.csv", "2")["remarks"]
    assert any("not as it was made" in remark for remark in remarks)


def test_the_export_says_what_people_said(batch, tmp_path):
    batch.corrected("a", 80, "R1")
    decide(batch.out, "b", "exclude", "A. Manager", "motion")
    export_cdisc(batch.out, tmp_path / "sdtm", "X", xpt=False)
    said = {(r["IDVARVAL"], r["QNAM"]): r["QVAL"] for r in rows_of(tmp_path / "sdtm" / "suppre.csv")}
    assert said["a", "RECORBY"] == "R1"
    assert said["a", "RECORRSN"] == "seen by R1"
    assert float(said["a", "REAUTO"]) == 0
    assert (said["b", "REDECIS"], said["b", "REDECBY"]) == ("EXCLUDE", "A. Manager")
    found = {(r["REREFID"], r["RETESTCD"]): r["REORRES"] for r in rows_of(tmp_path / "sdtm" / "re.csv")}
    assert float(found["a", "SOLIDVOL"]) == pytest.approx(80 * VOXEL_ML)
    assert found["b", "LUNGVOL"]


def test_a_decision_without_the_tables_is_kept_for_the_next_run(batch):
    for name in ("results.csv", "report.html"):
        (batch.out / name).unlink()
    decide(batch.out, "a", "accept", "A", "looked")
    assert not (batch.out / "results.csv").exists()
    batch.run()
    assert batch.row("a")["decision"] == "accept"
    (batch.out / "results.csv").write_text("edited by hand")
    decide(batch.out, "b", "accept", "A", "looked")
    assert batch.row("b")["decision"] == "accept"
    assert audit.chain_faults(batch.out / "audit.jsonl") == []
    assert verify(batch.out).passed
