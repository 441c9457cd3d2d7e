"""A part of a study is never measured for the whole: after a restart."""

import os

import pytest

from volumetry.archive.inbox import REMEMBERED_S, Inbox
from volumetry.archive.study_folders import sweep


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


# --- after a restart ---------------------------------------------------------------------------------------


def started(folder, late_s=60.0):
    clock = Clock()
    return Inbox(folder, quiet_s=10.0, max_instances=9, late_s=late_s, clock=clock), clock


def come(box, clock, *instances, study="1.2", properly=True):
    for instance in instances:
        assert box.add(1, study, instance, instance.encode())
    box.left(1, properly=properly)
    clock.now += 11
    (arrival,) = box.whole()
    return arrival


def killed(box):
    os.close(box._alive)  # as the kernel does


def stopped(box):
    box.remove_all()


ENDS = pytest.mark.parametrize("end", [killed, stopped])


def no_image_left(folder):
    return all(path.stat().st_size == 0 for path in folder.rglob("*") if path.is_file())


@ENDS
def test_refused_images_are_missing_after_a_restart_until_they_come(tmp_path, end):
    box, _ = started(tmp_path)
    box.refuse(1, "1.2", "b", "No space left on device")
    assert box.add(1, "1.2", "a", b"a")
    end(box)
    box, clock = started(tmp_path)
    assert no_image_left(tmp_path)
    study = come(box, clock, "b")
    assert len(study.refused) == 1, "a is gone"
    box.done(study, answered=False)
    end(box)
    box, clock = started(tmp_path)
    assert len(come(box, clock, "c").refused) == 2
    box.add(1, "1.2", "a", b"a")
    assert come(box, clock, "b").refused == {}


@ENDS
@pytest.mark.parametrize("properly", [True, False])
def test_of_a_study_on_its_way_to_a_node_that_ended_the_rest_alone_is_no_study(tmp_path, end, properly):
    box, clock = started(tmp_path)
    if properly:
        box.add(1, "1.2", "a", b"a")
        box.add(1, "1.2", "b", b"b")
    else:
        box.done(come(box, clock, "a", "b", properly=False), answered=False)
    end(box)
    box, clock = started(tmp_path)
    assert len(come(box, clock, "c").refused) == 2
    assert come(box, clock, "d", study="1.3").refused == {}, "another study"


@ENDS
def test_a_measured_study_is_not_missing_after_a_restart(tmp_path, end):
    box, clock = started(tmp_path)
    box.done(come(box, clock, "a", "b"), answered=True)
    end(box)
    box, clock = started(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".dcm", ".missing")]
    assert come(box, clock, "c").refused == {}


@ENDS
def test_what_was_removed_of_a_study_that_was_broken_off_is_missing(tmp_path, end):
    box, clock = started(tmp_path)
    box.done(come(box, clock, "a", properly=False), answered=False)
    clock.now += 61
    assert len(box.expire()) == 1
    assert no_image_left(tmp_path)
    end(box)
    box, clock = started(tmp_path)
    assert box.left_by_killed.unanswered == 0, "it was said before"
    assert len(come(box, clock, "b").refused) == 1


def test_restarts_do_not_make_the_day_longer(tmp_path):
    box, _ = started(tmp_path)
    box.refuse(1, "1.2", "a", "No space left on device")
    for _ in range(2):
        stopped(box)
        for mark in tmp_path.rglob("*.missing"):
            before = mark.stat().st_mtime - 0.6 * REMEMBERED_S
            os.utime(mark, (before, before))
        box, clock = started(tmp_path)
        box.expire()
    assert not list(tmp_path.rglob("*.missing"))
    assert come(box, clock, "b").refused == {}


def test_what_a_node_with_another_setting_left_is_known_too(tmp_path):
    box, _ = started(tmp_path / "disk")
    box.refuse(1, "1.2", "a", "No space left on device")
    box.refuse(1, "1.3", "c", "No space left on device")
    killed(box)
    other, _ = started(tmp_path / "memory")
    other.refuse(1, "1.2", "b", "No space left on device")
    killed(other)
    box, clock = started(tmp_path / "memory")
    box.adopt(sweep(tmp_path / "disk").incomplete)
    assert list((tmp_path / "disk").iterdir()) == []
    stopped(box)
    box, clock = started(tmp_path / "memory")
    assert len(come(box, clock, "d", study="1.2").refused) == 2
    assert len(come(box, clock, "d", study="1.3").refused) == 1


def test_names_of_marks_are_digests(tmp_path):
    box, _ = started(tmp_path)
    box.refuse(1, "1.2.840.1", "1.2.840.1.9", "No space left on device")
    stopped(box)
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert any(name.endswith(".missing") for name in left)
    assert not any("840" in name for name in left)
