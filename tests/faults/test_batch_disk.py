"""The output on a real disk that is full, fills up or becomes read-only: exit 7 in words, and then it goes on."""

import subprocess
import time

import pytest
from batch_command import BatchCommand
from trees import tree_of

from volumetry.batch import verify

KERNELS = ["B50f", "WAIT", "B50f"]


def _mount(*arguments):
    done = subprocess.run(  # noqa: S603  the arguments are ours
        ["mount", *map(str, arguments)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


def _unmount(folder):
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


@pytest.fixture
def small_disk(request, tmp_path):
    """A memory file system that holds little: 2 MB, or what a test says."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", getattr(request, "param", "size=2m"), "tmpfs", folder)
    yield folder
    _unmount(folder)


def _fill(folder, leave):
    """Take what is left of a disk, in bytes or in names, but for a little."""
    ballast = folder / "ballast"
    ballast.mkdir()
    taken = []
    try:
        while True:
            taken.append(ballast / str(len(taken)))
            taken[-1].write_bytes(bytes(4096))
    except OSError:
        pass
    for path in taken[len(taken) - leave :]:
        path.unlink(missing_ok=True)
    return ballast


def _free(ballast):
    for path in ballast.iterdir():
        path.unlink()
    ballast.rmdir()


def _said_so(said, words):
    last = said.strip().splitlines()[-2:]  # the message and its hint
    assert words in last[0]
    assert last[0].endswith("[OUTPUT]")
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    batch = BatchCommand(tmp_path_factory.mktemp("reference"), KERNELS)
    batch.go.touch()
    assert batch.run()[0] == 0
    return batch


def test_a_full_disk_ends_the_run_before_any_work(tmp_path, small_disk):
    batch = BatchCommand(tmp_path, ["B50f"], small_disk / "out")
    ballast = _fill(small_disk, leave=0)
    code, said = batch.run()
    assert code == 7
    _said_so(said, "No space left on device")
    assert batch.whole() == []
    _free(ballast)
    code, said = batch.run()
    assert code == 0, said
    assert verify(batch.out).passed


@pytest.mark.parametrize(
    ("small_disk", "workers"),
    [("size=2m", "0"), ("size=2m", "1"), ("nr_inodes=60", "0")],
    indirect=["small_disk"],
)
def test_a_disk_that_fills_up_during_the_run_keeps_every_row_so_far(tmp_path, small_disk, reference, workers):
    batch = BatchCommand(tmp_path, KERNELS, small_disk / "out")
    process = batch.start("--workers", workers)
    deadline = time.monotonic() + 120
    while batch.whole() != ["s00"] or not list(batch.out.glob(".work/*/s01.*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ballast = _fill(small_disk, leave=2)
    before = {path.name: path.read_bytes() for path in (batch.out / "scans" / "s00").iterdir()}
    batch.go.touch()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 7, said
    _said_so(said, "No space left on device")
    assert batch.whole() == ["s00"]
    assert not list(batch.out.glob("scans/*/.*")), "no half file under any name"
    _free(ballast)
    code, said = batch.run("--workers", workers)
    assert code == 0, said
    assert {path.name: path.read_bytes() for path in (batch.out / "scans" / "s00").iterdir()} == before
    assert tree_of(batch.out) == tree_of(reference.out)
    assert verify(batch.out).passed


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(tmp_path, reference):
    batch = BatchCommand(tmp_path, KERNELS)
    batch.go.touch()
    code, said = batch.run(prefix=("prlimit", "--fsize=3000"))
    assert code == 7, said
    _said_so(said, "File too large")
    code, said = batch.run()
    assert code == 0, said
    assert tree_of(batch.out) == tree_of(reference.out)
    assert verify(batch.out).passed


def test_a_read_only_folder_is_found_before_any_work(tmp_path):
    batch = BatchCommand(tmp_path, ["B50f"])
    batch.out.mkdir()
    _mount("-t", "tmpfs", "-o", "ro", "tmpfs", batch.out)
    try:
        code, said = batch.run()
    finally:
        _unmount(batch.out)
    assert code == 7
    _said_so(said, "Read-only file system")
    assert list(batch.out.iterdir()) == []


def test_a_folder_that_becomes_read_only_during_the_run_keeps_every_row_so_far(tmp_path, reference):
    batch = BatchCommand(tmp_path, KERNELS)
    process = batch.start()
    deadline = time.monotonic() + 120
    while batch.whole() != ["s00"] or not list(batch.out.glob(".work/*/s01.*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        _mount("--bind", batch.out, batch.out)
        _mount("-o", "remount,bind,ro", batch.out)
        batch.go.touch()
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
        _unmount(batch.out)
    assert process.returncode == 7, said
    _said_so(said, "Read-only file system")
    assert batch.whole() == ["s00"]
    code, said = batch.run()
    assert code == 0, said
    assert tree_of(batch.out) == tree_of(reference.out)
    assert verify(batch.out).passed
