"""Hidden names of what is being written: the next run clears away a dead writer's, and never a living one's."""

import os
import signal
import subprocess
import sys

import pytest

from volumetry.storage import unfinished
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.unfinished import (
    sweep,
    sweep_temporary,
    temporary_folder,
    unfinished_file,
    unfinished_folder,
)

WRITER = """
import os, sys
from pathlib import Path
from volumetry.storage.unfinished import unfinished_file, unfinished_folder
folder = Path(sys.argv[1])
with unfinished_file(folder / "result.json") as (path, descriptor), unfinished_folder(folder) as hidden:
    os.write(descriptor, b"half")
    (hidden / "mask.nii.gz").write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""
DAY_S = 86_400


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.fixture
def writer(tmp_path):
    """A process that has begun to write a file and a folder, and goes on until it is ended."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  our own
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_a_living_writers_file_and_folder_stay(writer, tmp_path):
    before = hidden(tmp_path)
    assert len(before) == 2
    prepare_folder(tmp_path)
    assert hidden(tmp_path) == before
    writer.communicate()  # its input ends: it ends by itself
    assert hidden(tmp_path) == []


def test_a_killed_writers_file_and_folder_go(writer, tmp_path):
    (tmp_path / "result.json").write_text("{}", "utf-8")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(hidden(tmp_path)) == 2
    prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_only_looks_like_ours_stays(tmp_path):
    names = [".part", ".notes.part", "x.0123456789abcdef.part", ".film.mkv.0badcafe.part", ".0badcafe.probe"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_link_under_such_a_name_is_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    name = f".{unfinished._HERE}0badcafe.part"
    (tmp_path / name).symlink_to(kept)
    sweep(tmp_path)
    assert (kept / "file").exists()
    assert hidden(tmp_path) == [name]


@pytest.mark.parametrize(("age_s", "goes"), [(DAY_S / 2, False), (DAY_S + 60, True)])
@pytest.mark.parametrize("name", [".mask.nii.gz.{other}0badcafe.part", ".seg.dcm.0badcafe.unchecked"])
def test_what_no_lock_of_this_machine_can_prove_dead_goes_after_a_day(tmp_path, monkeypatch, name, age_s, goes):
    left = tmp_path / name.format(other="00000000")
    left.touch()
    os.utime(left, (tmp_path.stat().st_mtime - age_s,) * 2)
    prepare_folder(tmp_path)
    assert left.exists() is not goes


@pytest.mark.parametrize(("age_s", "goes"), [(DAY_S / 2, False), (DAY_S + 60, True)])
def test_a_folder_of_another_machine_goes_after_a_day_unless_its_writer_is_there(
    tmp_path, monkeypatch, age_s, goes
):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(unfinished, "_HERE", "00000000")
        with unfinished_folder(tmp_path) as written:
            left = tmp_path / ".000000000badcafe.part"
            left.mkdir()
            elsewhere.undo()
            for folder in (written, left):
                os.utime(folder, (tmp_path.stat().st_mtime - age_s,) * 2)
            sweep(tmp_path)
            assert (written.exists(), left.exists()) == (True, not goes)


def test_what_another_user_left_stays(tmp_path, monkeypatch):
    left = tmp_path / f".{unfinished._HERE}0badcafe.part"
    left.mkdir()
    us = os.geteuid()
    monkeypatch.setattr(unfinished.os, "geteuid", lambda: us + 1)
    sweep(tmp_path)
    assert left.exists()
    monkeypatch.undo()
    sweep(tmp_path)
    assert not left.exists()


def test_a_temporary_folder_is_private_and_takes_what_killed_writers_left_along(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f".{unfinished._HERE}0badcafe.part"
    left.mkdir()
    with temporary_folder() as ours:
        assert not left.exists()
        assert ours.stat().st_mode & 0o777 == 0o700
        (ours / "image").touch()
        with temporary_folder() as other:  # of the same process
            assert (ours / "image").exists()
            assert other.parent == ours.parent == tmp_path
    assert hidden(tmp_path) == []


def test_a_missing_folder_for_temporary_files_stops_nobody_who_needs_none(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    sweep_temporary()


def test_a_writer_that_a_sweep_overtook_takes_another_name(tmp_path, monkeypatch):
    """A sweep between the making of a file and its locking: the first two names are lost."""
    opened, real = [], os.open

    def swept(path, *arguments, **options):
        descriptor = real(path, *arguments, **options)
        opened.append(path)
        if len(opened) < 3:
            os.unlink(path)
        return descriptor

    monkeypatch.setattr(unfinished.os, "open", swept)
    with unfinished_file(tmp_path / "result.json") as (path, _):
        assert path.exists()
    assert len(set(opened)) == 3


def test_a_folder_is_there_while_it_is_filled_and_then_renamed_or_gone(tmp_path):
    with unfinished_folder(tmp_path) as making:
        (making / "file").touch()
        sweep(tmp_path)
        making.rename(tmp_path / "1")
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    with pytest.raises(RuntimeError, match="stopped"), unfinished_folder(tmp_path):
        raise RuntimeError("stopped")
    assert hidden(tmp_path) == []


def test_where_no_locks_are_results_are_written_and_nothing_is_swept(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(38, "no locks here")

    left = tmp_path / f".result.json.{unfinished._HERE}0badcafe.part"
    left.touch()
    monkeypatch.setattr(unfinished.fcntl, "flock", none)
    prepare_folder(tmp_path)
    write_whole(tmp_path / "result.json", b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [left.name, "result.json"]
