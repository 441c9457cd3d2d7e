"""`check` where its results cannot be written: words, exit 7, and no half file under a final name."""

import contextlib
import errno
import os
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from delivered import deliver
from faults.conftest import finished, none_is_half, numbers_of, require_root, unfinished_or_whole
from small_results import measured_phantom

from volumetry.errors import OutputError
from volumetry.storage import atomic


@contextmanager
def mounted(folder: Path, *options: str):
    """A memory file system at a folder; skips where the system does not let us."""
    require_root("a memory file system must be mounted")
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:  # noqa: S603  a fixed call
        pytest.skip("this system does not let us mount a memory file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)  # noqa: S603, S607  a fixed call


def _must_say_output(ended: tuple[int, str, str], out: Path) -> None:
    code, _, said = ended
    assert code == 7, said
    assert "[OUTPUT]" in said
    assert "Traceback" not in said
    if out.exists():
        none_is_half(out)
        assert not unfinished_or_whole(out)


def test_full_disk(start, small_scan, reference, tmp_path):
    with mounted(tmp_path / "disk", "size=2m") as disk:
        out = disk / "out"
        filler = disk / "filler"
        filler.write_bytes(bytes(2 * 2**20 - 60_000))  # the mask and the result fit, the page does not
        ended = finished(start("check", small_scan, "--out", out))
        assert ended[0] == 7, ended[2]
        assert "Traceback" not in ended[2]
        none_is_half(out)
        filler.unlink()
        assert finished(start("check", small_scan, "--out", out))[0] == 0
        assert unfinished_or_whole(out)
        assert numbers_of(out) == reference


def test_disk_that_is_full_from_the_start(start, small_scan, tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        (disk / "out").mkdir()
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(2**17))
        _must_say_output(finished(start("check", small_scan, "--out", disk / "out")), disk / "out")


def test_no_inodes_left(start, small_scan, tmp_path):
    with mounted(tmp_path / "disk", "nr_inodes=4") as disk:
        ended = finished(start("check", small_scan, "--out", disk / "out"))
        _must_say_output(ended, disk / "out")


def test_read_only_from_the_start_costs_no_work(start, small_scan, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        code, _, said = finished(start("check", small_scan, "--out", disk / "out"))
        assert code == 7, said
        assert '"stage"' not in said  # the probe comes before any stage


def test_read_only_in_the_middle(start, small_scan, reference, tmp_path):
    with mounted(tmp_path / "disk", "size=20m") as disk:
        process = start("check", small_scan, "--out", disk / "out", bufsize=0)
        for line in process.stderr:
            if b'"segment"' in line:
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: S603, S607  a fixed call
                break
        _must_say_output(finished(process), disk / "out")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)  # noqa: S603, S607  a fixed call
        assert finished(start("check", small_scan, "--out", disk / "out"))[0] == 0
        assert numbers_of(disk / "out") == reference


def test_file_size_limit(start, small_scan, tmp_path):
    """`ulimit -f` also bounds the memory shared with the decoding child: words, no traceback, no number."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    out = tmp_path / "out"
    code, _, said = finished(start("check", small_scan, "--out", out, preexec_fn=limit))
    assert code == 9, said
    assert "[MEMORY_LIMIT]" in said
    assert "Traceback" not in said
    none_is_half(out)
    assert not unfinished_or_whole(out)


def test_quota_while_writing(measured, config, tmp_path):
    """A file may not become larger than 2000 bytes: the mask is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            deliver(measured.analysis.result, measured.analysis.tissue, config, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def test_few_descriptors(start, small_scan, reference, tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    ended = finished(start("check", small_scan, "--out", tmp_path / "out", preexec_fn=limit))
    assert ended[0] == 0, ended[2]
    assert numbers_of(tmp_path / "out") == reference


@pytest.mark.parametrize("broken", ["stdout", "stderr", "both"])
def test_a_terminal_that_takes_no_word_loses_no_result(start, small_scan, reference, tmp_path, broken):
    """What cannot be said (a full disk behind the log) does not cost what was measured."""
    with Path("/dev/full").open("wb") as full:
        streams = {"stdout": full} if broken == "stdout" else {"stderr": full}
        process = start(
            "check",
            small_scan,
            "--out",
            tmp_path,
            **({"stdout": full, "stderr": full} if broken == "both" else streams),
        )
        finished(process)
    assert unfinished_or_whole(tmp_path)
    assert numbers_of(tmp_path) == reference


# --- every single system call, failing once ----------------------------------------------------------------

CALLS = {
    "fsync": (errno.EIO, errno.ENOSPC),
    "replace": (errno.EACCES, errno.EIO, errno.ENOSPC),
    "open": (errno.ENOSPC, errno.EMFILE, errno.EROFS),
    "fdopen": (errno.ENOMEM,),
}


class _FailsOnce:
    """A function of `os` that raises at its n-th call."""

    def __init__(self, function, at: int, number: int) -> None:
        self._function, self._at, self._number = function, at, number
        self.calls = 0

    def __call__(self, *arguments, **named):
        self.calls += 1
        if self.calls == self._at:
            raise OSError(self._number, os.strerror(self._number))
        return self._function(*arguments, **named)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("m") / "scan", config)


@pytest.mark.parametrize(("name", "number"), [(n, e) for n, errors in CALLS.items() for e in errors])
def test_one_failing_call_is_an_output_error_and_the_next_run_is_whole(
    name, number, measured, config, tmp_path, monkeypatch
):
    """The n-th call fails, for every n there is. An error of the folder's own fsync harms nothing."""
    result, tissue = measured.analysis.result, measured.analysis.tissue
    original, stopped = getattr(os, name), 0
    for at in range(1, 60):
        out = tmp_path / str(at)
        fails = _FailsOnce(original, at, number)
        monkeypatch.setattr(atomic.os, name, fails)
        try:
            deliver(result, tissue, config, out)
        except OutputError:
            stopped += 1
            assert not unfinished_or_whole(out)
        else:
            assert unfinished_or_whole(out)
        finally:
            monkeypatch.setattr(atomic.os, name, original)
        if out.exists():
            none_is_half(out)
            assert [p.name for p in out.rglob("*.part")] == []
        deliver(result, tissue, config, out)
        assert unfinished_or_whole(out)
        if fails.calls < at:
            break
    assert fails.calls < at, "the calls did not come to an end"
    assert stopped >= 4  # mask, result, row and record each have one such call


def test_an_error_of_a_cache_on_close_is_noticed(measured, config, tmp_path, monkeypatch):
    """Network file systems report a full disk at close; the file then never gets its final name."""

    class Stream:
        def __init__(self, stream):
            self._stream = stream

        def __getattr__(self, name):
            return getattr(self._stream, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._stream.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    fdopen = os.fdopen
    monkeypatch.setattr(atomic.os, "fdopen", lambda *a, **k: Stream(fdopen(*a, **k)))
    with pytest.raises(OutputError, match="No space"):
        deliver(measured.analysis.result, measured.analysis.tissue, config, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == []
