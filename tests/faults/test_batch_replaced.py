"""A scan done again, killed between any two system calls: its folder is the old result or the new one, whole.

A decision and a reader's correction were entered before, and are as they were.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from volumetry.batch import audit, records, verify
from volumetry.storage import placing

# For every n: measures one scan again under other settings, killed right before the n-th call that changes a
# folder or the log; then once more, to its end.
SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
import volumetry.pipeline as pipeline
from volumetry.batch import decide, find_scans, records, run_batch, succession
from volumetry.batch.ledger import held
from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import Finding, ScanRefusedError
from volumetry.segment.hu_segmenter import ThresholdSegmenter

base, way = Path(sys.argv[1]), sys.argv[2]
(base / "in" / "a").mkdir(parents=True)
(base / "in" / "a" / "1").write_bytes(b"x")
scans, calls = find_scans(base / "in"), 0

def read(folder, config):
    code = "NO_RESCALE" if config.profile == "default" else "NOT_CT"
    raise ScanRefusedError([Finding(code, Outcome.REFUSE, "message")])

def counted(function, at):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

def batch(profile, out):
    run_batch(scans, out, ThresholdSegmenter(), load_config(overrides={"profile": profile}))

pipeline.read_scan = read
if way == "one by one":
    succession.exchange = lambda *_: False
batch("default", base / "first")
corrected = base / "first" / "corrections" / "a" / "1"
corrected.mkdir(parents=True)
(corrected / "result.json").write_bytes(b"{}")
with held(base / "first") as ledger:
    record = records.read_record(base / "first" / "scans" / "a")["sha256"]
    ledger.audit.append(
        "correction_recorded", "reason", scan_id="a", correction=1, place="corrections/a/1", reader="R1",
        corrected="2026-01-01", measured_with="1", record_sha256=record, input_sha256="0",
        files_sha256=records.digests_of(corrected),
    )
decide(base / "first", "a", "exclude", "A. Reader", "motion")
for at in range(1, 200):
    out = base / f"{at:03d}"
    shutil.copytree(base / "first", out)
    pid = os.fork()
    if pid == 0:
        for name in ("rename", "replace", "mkdir", "rmdir", "unlink", "write", "truncate"):
            setattr(os, name, counted(getattr(os, name), at))
        succession.exchange = counted(succession.exchange, at)
        batch("trial", out)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    shutil.copytree(out, out / "as_killed" / "out", ignore=lambda *_: ["as_killed"])
    shutil.move(out / "as_killed", base / "as_killed" / out.name)
    batch("trial", out)
    if ended == 0:
        sys.exit(0)
    assert ended == -signal.SIGKILL, ended
sys.exit("the calls did not come to an end")
"""


def _code_of(folder: Path) -> str | None:
    """Which whole result is in a scan's folder; None if there is none."""
    try:
        record = records.read_record(folder)
    except FileNotFoundError:
        assert not folder.exists(), folder
        return None
    assert records.file_faults(folder, record) == [], folder
    return str(record["code"])


@pytest.mark.parametrize("way", ["exchange", "one by one"])
def test_killed_anywhere_a_scan_done_again_keeps_a_whole_result(way: str, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if way == "exchange" and not placing.exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot exchange two folders")
    script, base = tmp_path / "again.py", tmp_path / "at"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run([sys.executable, "-B", script, base, way], capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    first = records.read_record(base / "first" / "scans" / "a")
    seen = []
    for out in sorted(base.glob("[0-9]*")):
        seen.append(_code_of(base / "as_killed" / out.name / "out" / "scans" / "a"))
        assert _code_of(out / "scans" / "a") == "NOT_CT", out
        _is_all_there(out, first)
    assert len(seen) > 15
    assert set(seen) == ({"NO_RESCALE", "NOT_CT"} if way == "exchange" else {"NO_RESCALE", "NOT_CT", None})
    assert seen.count(None) <= 1  # the moment between the two renames


def _is_all_there(out: Path, first: records.Record) -> None:
    """The old result is kept, once, and entered; the log and every file are proved."""
    kept = [records.read_record(place)["sha256"] for place in (out / "earlier" / "a").iterdir()]
    assert kept.count(first["sha256"]) == 1, out
    assert audit.chain_faults(out / "audit.jsonl") == []
    assert verify(out).faults == (), out
    log = [json.loads(line) for line in (out / "audit.jsonl").read_text("utf-8").splitlines()]
    aside = [entry for entry in log if entry["action"] == "scan_set_aside"]
    assert [entry["to"] for entry in aside] == ["earlier/a/1"], out
    assert [path for path in out.rglob(".*") if path.name != ".lock"] == [], out
    (row,) = csv.DictReader((out / "results.csv").read_text("utf-8").splitlines())
    assert (row["decision"], row["decided_by"]) == ("exclude", "A. Reader"), out
    assert (
        "correction 1 by R1 is not counted: the present automatic result has no number" in row["correction_note"]
    )


# For every n: enters one correction and decides on it, killed right before the n-th call that changes a folder
# or the log; then the folder is held once more, as the next command would.
CORRECT = """
import os, shutil, signal, sys
from pathlib import Path
from volumetry.batch import correct, decide
from volumetry.batch.ledger import held
sys.path.insert(0, sys.argv[3])
from small_corrections import batch_of_one, write_correction

base, calls = Path(sys.argv[1]), 0
batch_of_one(base / "first")
(base / "first" / "report.html").unlink()  # slow to make anew each time

def counted(function, at):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

for at in range(1, 200):
    out = base / f"{at:03d}"
    shutil.copytree(base / "first", out)
    pid = os.fork()
    if pid == 0:
        for name in ("rename", "replace", "mkdir", "rmdir", "unlink", "write", "truncate"):
            setattr(os, name, counted(getattr(os, name), at))
        correct(out, "a", lambda parent: write_correction(out, parent))
        decide(out, "a", "accept", "B. Reader", "looked")
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with held(out) as ledger:
        pass
    if ended == 0:
        sys.exit(0)
    assert ended == -signal.SIGKILL, ended
sys.exit("the calls did not come to an end")
"""


def test_killed_anywhere_a_correction_is_entered_whole_or_not_there(tmp_path: Path) -> None:
    script, base = tmp_path / "correct.py", tmp_path / "at"
    script.write_text(CORRECT, "utf-8")
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(  # noqa: S603  our own script
        [sys.executable, "-B", script, base, "-", tests], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    entered = []
    for out in sorted(base.glob("[0-9]*")):
        log = [json.loads(line) for line in (out / "audit.jsonl").read_text("utf-8").splitlines()]
        places = [entry["place"] for entry in log if entry["action"] == "correction_recorded"]
        present = sorted(str(path.relative_to(out)) for path in out.glob("corrections/a/*"))
        assert places == present, out
        entered.append(len(places))
        assert audit.chain_faults(out / "audit.jsonl") == []
        faults = {fault.path for fault in verify(out).faults}
        derived = {"results.csv", "queries.csv", "report.html", "corrections.csv", "decisions.csv"}
        assert faults <= derived | {"dictionary.csv", "visit_status.csv"}, out
    assert entered == sorted(entered)
    assert set(entered) == {0, 1}
    last = next(csv.DictReader((out / "results.csv").read_text("utf-8").splitlines()))
    assert (last["reading"], last["decision"]) == ("reader", "accept")
