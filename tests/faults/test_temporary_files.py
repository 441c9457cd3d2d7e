"""Images that a killed command had unpacked go with the next command, never those of one that still runs."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from batch_command import BatchCommand
from faults.conftest import finished

# The process gets a signal when its input is unpacked and nothing of it has been read.
SIGNALLED = """
import os, sys
from volumetry.scan.inputs import opening
given = opening._given
def signalled(*arguments):
    found = given(*arguments)
    os.kill(os.getpid(), {number})
    return found
opening._given = signalled
exec(open({stand_in!r}).read())
"""


@pytest.fixture(scope="module")
def archive(small_scan, tmp_path_factory):
    """The small scan as a ZIP archive."""
    return shutil.make_archive(str(tmp_path_factory.mktemp("archive") / "scan"), "zip", small_scan)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files of all commands of a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def signalled(stand_in, tmp_path):
    """Start a command that gets a signal once its input is unpacked."""
    started = []

    def call(number, *arguments):
        script = tmp_path / "signalled.py"
        script.write_text(SIGNALLED.format(number=int(number), stand_in=str(stand_in)), "utf-8")
        command = [sys.executable, str(script), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603  our own
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def images(temporary):
    return sorted(
        path for path in temporary.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM"
    )


def _command(name, archive, tmp_path):
    return {
        "check": ("check", archive, "--out", tmp_path / "killed"),
        "inspect": ("inspect", archive),
        "intake": ("intake", archive, "--out", tmp_path / "killed"),
        "batch": ("batch", archive, "--out", tmp_path / "killed"),
    }[name]


@pytest.mark.parametrize("name", ["check", "inspect", "intake", "batch"])
def test_what_a_killed_command_had_unpacked_goes_with_the_next_command(
    start, signalled, small_scan, archive, temporary, tmp_path, name
):
    process = signalled(signal.SIGKILL, *_command(name, archive, tmp_path))
    said = finished(process)[2]
    assert process.returncode == -signal.SIGKILL, said
    assert len(images(temporary)) == len(list(small_scan.iterdir()))
    (temporary / "of-another-program").write_text("theirs")
    assert finished(start("inspect", small_scan))[0] == 0  # a folder: it unpacks nothing itself
    assert [path.name for path in temporary.iterdir()] == ["of-another-program"]


def test_two_commands_at_once_keep_what_each_has_unpacked(
    start, signalled, small_scan, archive, temporary, tmp_path
):
    halted = signalled(signal.SIGSTOP, "check", archive, "--out", tmp_path / "halted")
    os.waitid(os.P_PID, halted.pid, os.WSTOPPED)
    unpacked = images(temporary)
    assert len(unpacked) == len(list(small_scan.iterdir()))
    code, _, said = finished(start("check", archive, "--out", tmp_path / "other"))
    assert code == 0, said
    assert images(temporary) == unpacked
    halted.send_signal(signal.SIGCONT)
    code, _, said = finished(halted)
    assert code == 0, said
    assert list(temporary.iterdir()) == []


@pytest.fixture
def batch(tmp_path):
    """A batch of four archives."""
    made = BatchCommand(tmp_path, ["B50f"] * 4)
    for folder in sorted(made.scans.iterdir()):
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    return made


def test_the_workers_of_a_batch_and_other_commands_keep_what_each_has_unpacked(batch, start, archive, temporary):
    stop, ended = threading.Event(), set()

    def inspect():
        while not stop.is_set():
            ended.add(finished(start("inspect", archive))[0])

    beside = threading.Thread(target=inspect)
    beside.start()
    code, said = batch.run("--workers", "2")
    stop.set()
    beside.join()
    assert (code, ended) == (0, {0}), said
    assert {row["status"] for row in batch.rows().values()} <= {"measured", "review"}
    assert not [path for path in temporary.iterdir() if path.suffix == ".part"]


def test_what_a_killed_batch_had_unpacked_goes_when_it_is_run_again(batch, temporary):
    process = batch.start("--workers", "2")
    deadline = time.monotonic() + 120
    while not list(temporary.glob(".*.part/archive/*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert list(temporary.glob(".*.part"))
    code, said = batch.run("--workers", "2")
    assert code == 0, said
    assert not list(temporary.glob(".*.part"))
