"""`check` killed, interrupted and disturbed at any moment, and injected faults of the system below it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.conftest import finished, none_is_half, numbers_of, unfinished_or_whole
from scan_series import series, write

from volumetry.domain import ScanRefusedError
from volumetry.scan import read, read_scan

ROUNDS = 5
TESTS = Path(__file__).resolve().parents[1]

# Delivers a result without the network's libraries, so that a system call can be counted and a round is short.
DELIVER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import numpy as np
from volumetry.config import load_config
from delivered import deliver_failure
from volumetry.domain import ScanFailure, Status
out = Path(sys.argv[1])
deliver_failure(ScanFailure("S1", Status.REFUSED, "NOT_CT", "message", "hint", (), None), load_config(), out)
"""


def test_killed_at_any_moment_and_started_again_nothing_is_half(start, small_scan, reference, tmp_path):
    dice = random.Random(20261122)  # noqa: S311  no secret
    out, killed = tmp_path / "out", 0
    took_s = time.monotonic()
    assert finished(start("check", small_scan, "--out", tmp_path / "timed"))[0] == 0
    took_s = time.monotonic() - took_s
    for _ in range(ROUNDS):
        process = start("check", small_scan, "--out", out)
        time.sleep(dice.uniform(0.05, took_s))
        if process.poll() is None:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if out.exists():
            none_is_half(out)
            unfinished_or_whole(out)
    assert killed >= 2
    assert finished(start("check", small_scan, "--out", out))[0] == 0
    assert unfinished_or_whole(out)
    assert numbers_of(out) == reference
    assert _hidden(out) == []


KILLED_AT_ITS_FIRST_FILE = """
import os, signal, sys
import volumetry.storage.atomic as files
files.os = type("System", (), {**vars(os), "replace": lambda *_: os.kill(os.getpid(), signal.SIGKILL)})
exec(open(sys.argv.pop(1)).read())
"""


def test_what_a_killed_run_left_is_gone_after_the_next(start, small_scan, stand_in, tmp_path):
    """Killed with a file written whole, but still under its hidden name."""
    script, out = tmp_path / "killed.py", tmp_path / "out"
    script.write_text(KILLED_AT_ITS_FIRST_FILE, "utf-8")
    command = [sys.executable, str(script), str(stand_in), "check", str(small_scan), "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  our own script
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [path.name.startswith(".") for path in out.iterdir()] == [True]  # the folder of the unfinished result
    assert finished(start("check", small_scan, "--out", out))[0] == 0
    assert _hidden(out) == []
    assert unfinished_or_whole(out)


def _hidden(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".*")]


def _interruptible() -> None:
    """A shell that starts us in the background has Ctrl-C ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_with_the_signals_code_and_no_traceback(start, small_scan, tmp_path, number, code):
    process = start("check", small_scan, "--out", tmp_path / "out", bufsize=0, preexec_fn=_interruptible)
    for line in process.stderr:
        if b'"read"' in line:
            os.kill(process.pid, number)
            break
    ended, _, said = finished(process)
    assert ended == code, said
    assert "Traceback" not in said
    none_is_half(tmp_path / "out")
    assert not unfinished_or_whole(tmp_path / "out")


def test_its_decoding_child_goes_with_it(start, small_scan, tmp_path):
    """The child of a killed run ends by itself: its pipe is gone, and so are its limits' hours."""
    process = start("check", small_scan, "--out", tmp_path / "out", bufsize=0)
    for line in process.stderr:
        if b'"read"' in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + 60
    while _children_of_nobody(small_scan) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _children_of_nobody(small_scan) == []


def _children_of_nobody(scan: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if b"decode_child.py" in words and parent == 1 and ".part" in cwd:
                found.append(int(entry.name))
    return found


# --- what strace injects -----------------------------------------------------------------------------------


def _strace(tmp_path: Path) -> str:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True)  # noqa: S603  a fixed call
    if probe.returncode != 0:
        pytest.skip("this system does not let us trace a process")
    return strace


@pytest.mark.parametrize(
    ("call", "fault"),
    [("fsync", "error=EIO"), ("write", "error=ENOSPC"), ("rename", "error=EACCES"), ("rename", "signal=KILL")],
)
def test_an_injected_fault_of_each_call_leaves_no_half_file(tmp_path, call, fault):
    """The n-th such call on a file of the output folder fails in the kernel's stead, n = 1, 2, 3, ..."""
    strace = _strace(tmp_path)
    script = tmp_path / "deliver.py"
    script.write_text(DELIVER.format(tests=str(TESTS)), "utf-8")
    python = [sys.executable, "-B"]  # compiled modules, which it writes and renames, would be counted too
    ended = {}
    for n in range(1, 4):
        out = tmp_path / f"out{n}"
        out.mkdir()
        calls = {"rename": "rename,renameat,renameat2"}.get(call, call)
        command = [strace, "-f", "-o", os.devnull, "-e", f"inject={calls}:{fault}:when={n}", *python]
        done = subprocess.run([*command, str(script), str(out)], capture_output=True, text=True)  # noqa: S603  our own script
        ended[n] = done.returncode
        none_is_half(out)
        unfinished_or_whole(out)
        again = subprocess.run([*python, str(script), str(out)], capture_output=True, text=True)  # noqa: S603  our own script
        assert again.returncode == 0, again.stderr
        assert _hidden(out) == []
        assert unfinished_or_whole(out)
        assert json.loads((out / "result.json").read_text("utf-8"))["code"] == "NOT_CT"
    assert any(ended.values()), f"no run was hit: {ended}"


# --- the input changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["deleted", "appended", "added", "touched", "replaced"])
def test_input_that_changes_during_the_reading_gives_no_number(change, tmp_path, config, monkeypatch):
    folder = write(tmp_path / "scan", series())
    victim = sorted(folder.iterdir())[30]
    decode = read.decode

    def meanwhile(slices, limits):
        found = decode(slices, limits)
        if change == "deleted":
            victim.unlink()
        elif change == "appended":
            with victim.open("ab") as stream:
                stream.write(b"\0")
        elif change == "added":
            (folder / "late").write_bytes(victim.read_bytes())
        elif change == "touched":
            os.utime(victim, ns=(1, 1))
        else:
            copy = victim.with_name("copy")
            copy.write_bytes(victim.read_bytes())
            copy.rename(victim)
        return found

    monkeypatch.setattr(read, "decode", meanwhile)
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    assert stop.value.code == "INPUT_CHANGED"
