"""What survives between runs, and what makes a scan be done again. The line itself is replaced by a stand-in."""

import csv
import errno
import hashlib
import json
import os
import shutil
import signal

import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.batch import audit, decide, find_scans, run_batch, verify
from volumetry.batch.audit import chain_faults
from volumetry.codes import Outcome
from volumetry.domain import Finding, ScanRefusedError
from volumetry.errors import OutputError, UsageError
from volumetry.segment.hu_segmenter import ThresholdSegmenter


class _Line:
    """A stand-in for the reader; says which scans it was asked for, and may be told to fail."""

    def __init__(self):
        self.read = []
        self.then = {}

    def __call__(self, folder, _config):
        self.read.append(folder.name)
        if folder.name in self.then:
            raise self.then[folder.name]
        if folder.name == "refused":
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "RescaleSlope (0028,1053) is missing")])
        return scan_of(chest()[0], AXIAL)


@pytest.fixture
def line(monkeypatch):
    line = _Line()
    monkeypatch.setattr("volumetry.pipeline.read_scan", line)
    return line


@pytest.fixture
def scans(tmp_path):
    for name in ("a", "b", "refused"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1").write_bytes(b"x")
    return find_scans(tmp_path / "in")


@pytest.fixture
def batch(tmp_path, line, scans, config):
    """Runs the batch; the number of scans that it computed."""
    out = tmp_path / "out"

    def run(settings=config, segmenter=None, **more):
        line.read.clear()
        run_batch(scans, out, segmenter or ThresholdSegmenter(), settings, **more)
        return len(line.read)

    run.out = out
    return run


def _state(out):
    """Every path with its time of change and content."""
    return {
        path.relative_to(out): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [out, *out.rglob("*")]
    }


def _log(out):
    return [json.loads(line) for line in (out / "audit.jsonl").read_text("utf-8").splitlines()]


def _rows(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def _statuses(out):
    return {row["scan_id"]: row["status"] for row in _rows(out / "results.csv")}


def test_a_finished_batch_run_again_computes_nothing_and_changes_nothing(batch):
    assert batch() == 3
    before = _state(batch.out)
    assert batch() == 0
    assert _state(batch.out) == before
    assert not (batch.out / ".work").exists()
    assert verify(batch.out).passed


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("mask.nii.gz", "flipped"),
        ("mask.nii.gz", "gone"),
        ("record.json", "flipped"),
        ("record.json", "torn"),
        ("record.json", "gone"),
        ("result.json", "torn"),
        ("run.json", "flipped"),
    ],
)
def test_a_damaged_file_is_named_and_its_scan_alone_is_done_again(batch, line, name, damage):
    batch()
    path = batch.out / "scans" / "a" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(flipped if damage == "flipped" else content[:middle])
    fault = verify(batch.out).faults
    assert [f.path for f in fault] == [f"scans/a/{name}"]
    assert fault[0].kind == ("missing" if damage == "gone" else "changed")
    assert batch() == 1
    assert line.read == ["a"]
    aside = [entry for entry in _log(batch.out) if entry["action"] == "scan_set_aside"]
    assert [(entry["scan_id"], entry["to"]) for entry in aside] == [("a", "earlier/a/1")]
    assert name in aside[0]["reason"]
    assert verify(batch.out).passed


def test_a_table_that_was_edited_is_derived_again(batch):
    batch()
    path = batch.out / "results.csv"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"measured", b"perfect!").replace(b"review", b"great!"))
    assert [(f.kind, f.path) for f in verify(batch.out).faults] == [("changed", "results.csv")]
    assert batch() == 0
    assert path.read_bytes() == content
    assert verify(batch.out).passed


def test_added_files_and_folders_are_named(batch):
    batch()
    (batch.out / "scans" / "a" / "note.txt").write_text("x")
    shutil.copytree(batch.out / "scans" / "b", batch.out / "scans" / "c")
    (batch.out / "extra.csv").write_text("x")
    shutil.rmtree(batch.out / "scans" / "refused")
    found = {(f.kind, f.path) for f in verify(batch.out).faults}
    assert found == {
        ("added", "scans/a/note.txt"),
        ("added", "scans/c"),
        ("added", "extra.csv"),
        ("missing", "scans/refused"),
    }


def test_a_record_forged_with_a_right_digest_is_not_the_one_in_the_log(batch):
    batch()
    path = batch.out / "scans" / "a" / "record.json"
    record = json.loads(path.read_text("utf-8"))
    record["code"] = "METAL"
    record["sha256"] = audit.digest(record)
    path.write_text(json.dumps(record))
    assert [(f.kind, f.path) for f in verify(batch.out).faults] == [("changed", "scans/a/record.json")]
    assert batch() == 1


def test_a_result_finished_just_before_a_kill_is_kept_and_entered(batch):
    batch()
    lines = (batch.out / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (batch.out / "audit.jsonl").write_bytes(lines[0] + lines[1])  # began, first scan; the rest was never logged
    assert batch() == 0
    found = [(e["scan_id"], e["reason"]) for e in _log(batch.out) if e["action"] == "scan_recorded"]
    assert [scan_id for scan_id, _ in found] == ["a", "b", "refused"]
    assert "interruption" in found[1][1]
    assert verify(batch.out).passed


def test_a_torn_last_line_of_the_log_is_cut_off_and_said_so(batch):
    batch()
    path = batch.out / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert not verify(batch.out).passed
    batch()
    assert "log_repaired" in [entry["action"] for entry in _log(batch.out)]
    assert chain_faults(path) == []
    assert verify(batch.out).passed


def test_what_a_killed_run_left_is_swept_away(batch):
    batch()
    work = batch.out / ".work" / "0badcafe" / "a.xyz"
    work.mkdir(parents=True)
    (work / "mask.nii.gz").write_bytes(b"half")
    (batch.out / ".results.csv.0badcafe.part").write_bytes(b"half")
    (batch.out / ".lock").write_text('{"process": 1, "host": "gone"}')
    assert batch() == 0
    assert (batch.out / ".lock").read_bytes() == b""
    assert not (batch.out / ".work").exists()
    assert verify(batch.out).passed


def test_input_is_known_by_its_content_wherever_it_is_copied_and_however_its_times_are_set(
    batch, line, scans, tmp_path, config
):
    batch()
    shutil.copytree(tmp_path / "in", tmp_path / "copy")  # other times, same content
    copied = find_scans(tmp_path / "copy")
    line.read.clear()
    run_batch(copied, batch.out, ThresholdSegmenter(), config)
    assert line.read == ["refused"]  # only a measured scan knows its content
    file = tmp_path / "copy" / "a" / "1"
    before = file.stat()
    file.write_bytes(b"y")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    line.read.clear()
    run_batch(copied, batch.out, ThresholdSegmenter(), config)
    assert line.read == ["a"]
    entries = [e for e in _log(batch.out) if e["action"] == "scan_recorded" and e["scan_id"] == "a"]
    x, y = (hashlib.sha256(f"{b'1'.hex()} {hashlib.sha256(c).hexdigest()}\n".encode()) for c in (b"x", b"y"))
    assert [e["content_sha256"] for e in entries] == [x.hexdigest(), y.hexdigest()]


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_what_was_set_aside_is_proved_too(batch, config, damage):
    batch()
    batch(config.model_copy(update={"profile": "trial"}))
    assert verify(batch.out).passed
    folder = batch.out / "earlier" / "a" / "1"
    match damage:
        case "changed":
            (folder / "result.json").write_bytes(b"{}")
            name = "result.json"
        case "missing":
            (folder / "mask.nii.gz").unlink()
            name = "mask.nii.gz"
        case "added":
            (folder / "note.txt").write_bytes(b"")
            name = "note.txt"
    assert [(f.kind, f.path) for f in verify(batch.out).faults] == [(damage, f"earlier/a/1/{name}")]


def test_a_run_killed_while_it_set_a_result_aside_is_entered_by_the_next(batch):
    batch()
    (batch.out / "earlier" / "a").mkdir(parents=True)
    (batch.out / "scans" / "a").rename(batch.out / "earlier" / "a" / "1")
    assert {f.path for f in verify(batch.out).faults} == {"scans/a", "earlier/a/1"}
    assert batch() == 1
    aside = [entry for entry in _log(batch.out) if entry["action"] == "scan_set_aside"]
    assert [(entry["to"], "interruption" in entry["reason"]) for entry in aside] == [("earlier/a/1", True)]
    assert verify(batch.out).passed


def test_settings_that_decide_no_number_do_not_make_measured_scans_be_done_again(batch, config):
    batch()
    segment = config.segment.model_copy(update={"batch_slices": 1, "device": "cpu"})
    change_map = config.change_map.model_copy(update={"working_mm": 2.5})
    assert batch(config.model_copy(update={"segment": segment, "change_map": change_map})) == 0


@pytest.mark.parametrize("changed", [{"max_files": 60000}, {"scan_timeout_s": 5.0}, {"worker_memory_gb": 3.0}])
def test_under_other_limits_only_a_scan_without_a_number_is_tried_again(batch, line, config, changed):
    batch()
    limits = config.limits.model_copy(update=changed)
    assert batch(config.model_copy(update={"limits": limits})) == 1
    assert line.read == ["refused"]


def test_a_setting_that_decides_a_number_makes_every_scan_be_done_again(batch, config):
    batch()
    tidy = config.tidy.model_copy(update={"min_lung_island_mm3": 1.0})
    assert batch(config.model_copy(update={"tidy": tidy})) == 3


def test_other_weights_make_every_scan_be_done_again(batch):
    class Other(ThresholdSegmenter):
        __slots__ = ()

        @property
        def facts(self):
            from dataclasses import replace

            return replace(ThresholdSegmenter().facts, sha256="1" * 64)

    batch()
    assert batch(segmenter=Other()) == 3
    assert "model_sha256" in next(e["reason"] for e in _log(batch.out) if e["action"] == "scan_set_aside")


def test_our_own_failure_is_done_again_only_if_asked(batch, line):
    line.then["a"] = MemoryError()
    batch()
    assert _statuses(batch.out)["a"] == "failed"
    line.then.clear()
    assert batch() == 0
    assert batch(retry_failed=True) == 1
    assert _statuses(batch.out)["a"] in ("measured", "review")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_batch_leaves_whole_scans_only_and_goes_on(batch, line, stop):
    line.then["b"] = stop()
    with pytest.raises(stop):
        batch()
    assert sorted(p.name for p in (batch.out / "scans").iterdir()) == ["a"]
    assert not (batch.out / ".work").exists()
    assert (batch.out / ".lock").read_bytes() == b""
    line.then.clear()
    assert batch() == 2
    assert len(_statuses(batch.out)) == 3
    assert verify(batch.out).passed


def test_a_clock_set_back_changes_nothing(batch, line, monkeypatch):
    from datetime import datetime

    line.then["b"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        batch()
    line.then.clear()

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1999, 1, 1, tzinfo=tz)

    monkeypatch.setattr("volumetry.batch.audit.datetime", Past)
    assert batch() == 2
    times = [entry["time"][:4] for entry in _log(batch.out)]
    assert times == sorted(times, reverse=True)
    assert times[-1] == "1999"
    assert verify(batch.out).passed
    assert batch() == 0


def test_a_full_disk_ends_the_run_and_keeps_every_row_so_far(batch, line, monkeypatch):
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 25:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left") as end:
        batch()
    assert end.value.exit_code == 7
    monkeypatch.undo()
    done = sorted(p.name for p in (batch.out / "scans").iterdir())
    assert 0 < len(done) < 3
    monkeypatch.setattr("volumetry.pipeline.read_scan", line)
    assert batch() == 3 - len(done)
    assert verify(batch.out).passed


def test_a_folder_that_cannot_be_written_is_found_before_any_work(batch, line, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    batch.out.mkdir()
    monkeypatch.setattr("volumetry.storage.atomic.unfinished_file", refuse)
    with pytest.raises(OutputError, match="Read-only"):
        batch()
    assert line.read == []


def test_ids_that_differ_in_case_only_are_one_too_many(scans, tmp_path, config):
    from dataclasses import replace

    twice = [*scans, replace(scans[0], scan_id="A")]
    with pytest.raises(ValueError, match="id of its own"):
        run_batch(twice, tmp_path / "out", ThresholdSegmenter(), config)


def test_a_decision_is_appended_and_overwrites_nothing(batch):
    batch()
    before = {path: path.read_bytes() for path in (batch.out / "scans").rglob("*") if path.is_file()}
    decide(batch.out, "a", "exclude", "A. Reader", "=breathing artefact")
    decide(batch.out, "a", "accept", "B. Reader", "usable after all")
    decisions = [entry for entry in _log(batch.out) if entry["action"] == "decision"]
    assert [(e["decision"], e["name"]) for e in decisions] == [("exclude", "A. Reader"), ("accept", "B. Reader")]
    assert {path: path.read_bytes() for path in before} == before
    rows = _rows(batch.out / "decisions.csv")
    assert [(row["scan_id"], row["decision"], row["reason"]) for row in rows] == [
        ("a", "accept", "usable after all")
    ]
    assert verify(batch.out).passed
    assert batch() == 0


def test_a_scan_to_repeat_is_done_again_once(batch, line):
    batch()
    decide(batch.out, "b", "repeat", "A. Reader", "was the wrong series")
    assert batch() == 1
    assert line.read == ["b"]
    assert batch() == 0
    assert (batch.out / "earlier" / "b" / "1" / "record.json").is_file()


@pytest.mark.parametrize(
    ("scan_id", "decision", "name", "reason"),
    [
        ("zz", "accept", "A", "why"),
        ("../../in", "accept", "A", "why"),
        ("a", "delete", "A", "why"),
        ("a", "accept", " ", "why"),
        ("a", "accept", "A", ""),
    ],
)
def test_a_decision_without_a_result_a_name_or_a_reason_is_none(batch, scan_id, decision, name, reason):
    batch()
    before = (batch.out / "audit.jsonl").read_bytes()
    with pytest.raises(UsageError):
        decide(batch.out, scan_id, decision, name, reason)
    assert (batch.out / "audit.jsonl").read_bytes() == before


def test_the_holder_of_the_lock_is_named_and_a_dead_one_blocks_nobody(batch, line):
    from volumetry.batch.ledger import held
    from volumetry.errors import BusyError

    batch.out.mkdir()
    child = os.fork()
    if child == 0:
        with held(batch.out) as ledger:
            ledger.lease.begin()
            signal.pause()
        os._exit(0)
    try:
        while not (batch.out / ".lock").exists() or not (batch.out / ".lock").read_bytes().endswith(b"}"):
            pass
        with pytest.raises(BusyError, match=f"process {child}"):
            batch()
        assert line.read == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert batch() == 3
