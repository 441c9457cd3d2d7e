"""Killed between any two system calls that move a result: the folder holds the old one or the new one, whole."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from delivered import deliver_failure
from faults.conftest import unfinished_or_whole

from volumetry.config import load_config
from volumetry.deliver import new_result, settle
from volumetry.deliver.corrections import new_scan_result
from volumetry.domain import ScanFailure, Status
from volumetry.storage import placing
from volumetry.storage.placing import PLACING

# For every n: delivers a result over earlier ones, killed right before the n-th call that changes a folder.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from volumetry.config import load_config
from delivered import deliver_failure
from volumetry.storage import placing
from volumetry.domain import ScanFailure, Status

base, way, new, *old = sys.argv[1:]
config, calls = load_config(), 0

def counted(function, at):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

def deliver(code, out):
    deliver_failure(ScanFailure("S1", Status.REFUSED, code, "message", "hint"), config, out)

for at in range(1, 80):
    out = Path(base, f"{at:02d}", "out")
    for code in old:
        if code == "corrected":
            (out / "corrections" / "1").mkdir(parents=True)
            (out / "corrections" / "1" / "result.json").write_text("{}")
        else:
            deliver(code, out)
    pid = os.fork()
    if pid == 0:
        for name in ("rename", "replace", "mkdir", "rmdir", "unlink"):
            setattr(os, name, counted(getattr(os, name), at))
        placing.exchange = counted(placing.exchange, at) if way == "exchange" else lambda *_: False
        deliver(new, out)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended == 0:
        sys.exit(0)
    assert ended == -signal.SIGKILL, ended
sys.exit("the calls did not come to an end")
"""
WAYS = ("exchange", "one by one")


def _failure(code: str) -> ScanFailure:
    return ScanFailure("S1", Status.REFUSED, code, "message", "hint")


def _killed_at_each_call(tmp_path: Path, way: str, new: str, *old: str) -> list[Path]:
    """The result's folder of every run; the last was not killed."""
    script = tmp_path / "deliver.py"
    script.write_text(SCRIPT, "utf-8")
    command = [sys.executable, "-B", str(script), str(tmp_path / "at"), way, new, *old]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent)))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603  our own script
    assert done.returncode == 0, done.stderr
    outs = [folder / "out" for folder in sorted((tmp_path / "at").iterdir())]
    assert len(outs) > 5
    return outs


def _code_of(folder: Path) -> str | None:
    """Which whole result is in a folder; None if there is none."""
    if not unfinished_or_whole(folder):
        return None
    return str(json.loads((folder / "result.json").read_text("utf-8"))["code"])


def _every_result(out: Path) -> list[str | None]:
    return [_code_of(out), *(_code_of(place) for place in sorted((out / "earlier").glob("*")))]


def _drawn_on(out: Path, images: str) -> None:
    (out / "corrections" / "1").mkdir(parents=True)
    document = {"provenance": {"pixels_sha256": images}}
    (out / "corrections" / "1" / "result.json").write_text(json.dumps(document), "utf-8")


def _places_of_the_correction(out: Path) -> list[str]:
    """Names of the folders whose correction it is."""
    return [path.parents[2].name for path in out.rglob("corrections/1/result.json")]


def _deliver_images(out: Path, images: str) -> list[str]:
    """A result of these images, with no more in it; what was said of corrections."""
    said: list[str] = []
    with new_scan_result(out, said.append) as making:
        document = {"code": images[0], "provenance": {"pixels_sha256": images}}
        (making / "result.json").write_text(json.dumps(document), "utf-8")
    return said


def _can_exchange(tmp_path: Path) -> bool:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    return placing.exchange(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("way", WAYS)
def test_killed_anywhere_the_folder_is_the_old_result_or_the_new_one(way, tmp_path):
    if way == "exchange" and not _can_exchange(tmp_path):
        pytest.skip("this file system cannot exchange two folders")
    seen = set()
    for out in _killed_at_each_call(tmp_path, way, "NO_RESCALE", "NOT_CT", "EMPTY_INPUT"):
        if way == "exchange":  # at every moment, for whoever looks
            assert _code_of(out) in ("EMPTY_INPUT", "NO_RESCALE"), out
        settle(out)
        now = _code_of(out)
        seen.add(now)
        assert now in ("EMPTY_INPUT", "NO_RESCALE"), out
        assert {"NOT_CT", "EMPTY_INPUT"} <= set(_every_result(out)), out
        deliver_failure(_failure("MALFORMED"), load_config(), out)
        assert _code_of(out) == "MALFORMED"
        assert {"NOT_CT", "EMPTY_INPUT", now} <= set(_every_result(out)), out
        assert [path.name for path in (*out.rglob(".*"), *out.parent.glob(".*"))] == [], out
    assert seen == {"EMPTY_INPUT", "NO_RESCALE"}


@pytest.mark.parametrize("way", WAYS)
def test_killed_anywhere_a_correction_stays_where_the_new_result_gives_no_number(way, tmp_path):
    seen = set()
    for out in _killed_at_each_call(tmp_path, way, "NO_RESCALE", "corrected", "EMPTY_INPUT"):
        assert _places_of_the_correction(out) == ["out"], out
        settle(out)
        seen.add(_code_of(out))
        assert _places_of_the_correction(out) == ["out"], out
        assert "EMPTY_INPUT" in _every_result(out), out
        assert not (out / PLACING).exists()
    assert seen == {"EMPTY_INPUT", "NO_RESCALE"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("measured", "drawn", "place", "word"),
    [("a", "a", "out", "kept"), ("b", "a", "1", "moved"), ("b", "b", "out", "kept"), ("a", "b", "out", "kept")],
)
def test_a_correction_goes_only_with_a_result_of_other_images(
    way, measured, drawn, place, word, tmp_path, monkeypatch
):
    """The first result is of the images "a"; each second one of its own."""
    if way == "one by one":
        monkeypatch.setattr(placing, "exchange", lambda *_: False)
    out = tmp_path / "out"
    assert _deliver_images(out, "a" * 64) == []
    _drawn_on(out, drawn * 64)
    (said,) = _deliver_images(out, measured * 64)
    assert said.startswith(f"1 correction of a reader was {word}")
    assert "counts" not in said  # it has no mask
    assert _places_of_the_correction(out) == [place]
    assert json.loads((out / "result.json").read_text("utf-8"))["code"] == measured


@pytest.mark.parametrize("way", WAYS)
def test_a_first_result_is_there_whole_or_not_at_all(way, tmp_path):
    outs = _killed_at_each_call(tmp_path, way, "NO_RESCALE")
    for out in outs:
        settle(out)
        visible = [path.name for path in out.glob("*") if not path.name.startswith(".")]
        assert _code_of(out) == "NO_RESCALE" or visible == [], out
    assert _code_of(outs[-1]) == "NO_RESCALE"


@pytest.mark.parametrize("way", WAYS)
def test_what_else_lies_there_stays(way, tmp_path, monkeypatch):
    if way == "one by one":
        monkeypatch.setattr(placing, "exchange", lambda *_: False)
    out = tmp_path / "out"
    deliver_failure(_failure("NOT_CT"), load_config(), out)
    (out / "notes.txt").write_text("mine", "utf-8")
    _drawn_on(out, "1" * 64)
    deliver_failure(_failure("NO_RESCALE"), load_config(), out)
    assert (out / "notes.txt").read_text("utf-8") == "mine"
    assert _every_result(out) == ["NO_RESCALE", "NOT_CT"]
    assert _places_of_the_correction(out) == ["out"]


def test_a_folder_keeps_its_mode_and_a_process_that_stands_in_it_its_place(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o2750)
    deliver_failure(_failure("NOT_CT"), load_config(), out)
    assert out.stat().st_mode & 0o7777 == 0o2750
    monkeypatch.chdir(out)
    inode = out.stat().st_ino
    deliver_failure(_failure("NO_RESCALE"), load_config(), Path())
    assert Path.cwd().stat().st_ino == out.stat().st_ino == inode
    assert _every_result(out) == ["NO_RESCALE", "NOT_CT"]


def test_a_link_to_the_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for code in ("NOT_CT", "NO_RESCALE"):
        deliver_failure(_failure(code), load_config(), tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert _every_result(tmp_path / "disk") == ["NO_RESCALE", "NOT_CT"]


def test_an_error_while_the_new_one_is_made_leaves_the_old_one(tmp_path):
    out = tmp_path / "out"
    deliver_failure(_failure("NOT_CT"), load_config(), out)

    def broken_off() -> None:
        with new_result(out, ("result.json", "run.json")) as making:
            (making / "result.json").write_text("{}", "utf-8")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        broken_off()
    assert _every_result(out) == ["NOT_CT"]
    assert [path.name for path in out.rglob(".*")] == []


def test_a_reader_does_not_disturb_a_run_that_is_moving_its_files(tmp_path, monkeypatch):
    """Another process settles the folder while the files move: the lock of the one at work keeps it out."""
    monkeypatch.setattr(placing, "exchange", lambda *_: False)
    out = tmp_path / "out"
    deliver_failure(_failure("NOT_CT"), load_config(), out)
    rename, looked = os.rename, []

    def meanwhile(source, target, **named):
        rename(source, target, **named)
        if (out / PLACING).is_dir():
            script = f"from pathlib import Path; from volumetry.deliver import settle; settle(Path({str(out)!r}))"
            if not looked:
                looked.append(sorted(path.name for path in (out / PLACING).iterdir()))
                subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603  our own
                looked.append(sorted(path.name for path in (out / PLACING).iterdir()))

    monkeypatch.setattr(os, "rename", meanwhile)
    deliver_failure(_failure("NO_RESCALE"), load_config(), out)
    monkeypatch.undo()
    assert looked[0] == looked[1]
    assert _every_result(out) == ["NO_RESCALE", "NOT_CT"]


def test_where_nothing_can_be_moved_the_old_result_stays(tmp_path, monkeypatch):
    from volumetry.errors import OutputError

    out = tmp_path / "out"
    deliver_failure(_failure("NOT_CT"), load_config(), out)
    real = os.rename

    def refused(source, target, **named):
        if ".part" in str(source) or ".replaced" in str(target):
            raise PermissionError(13, "Permission denied")
        real(source, target, **named)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(OutputError, match="Permission denied"):
        deliver_failure(_failure("NO_RESCALE"), load_config(), out)
    monkeypatch.undo()
    with contextlib.suppress(OutputError):
        settle(out)
    assert _every_result(out) == ["NOT_CT"]
