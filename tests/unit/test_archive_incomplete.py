"""A part of a study is never measured for the whole: after a restart, after its result, without its UIDs."""

import os
import threading

import pydicom
import pytest
from archive_node import PATIENCE_S, Running, small_image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, _config

from volumetry.archive import refusals as refusals_module
from volumetry.archive.earlier import Part, part_of, result_folder, write_received
from volumetry.archive.inbox import REMEMBERED_S, Inbox
from volumetry.archive.receive import Node, store
from volumetry.archive.refusals import Refusals
from volumetry.archive.study_folders import study_of, sweep
from volumetry.deliver.delivery import NAMES, RECEIVED
from volumetry.phantom import SeriesSpec, write_series
from volumetry.storage.placing import EARLIER, new_result


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


# --- after its result --------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    return write_series(small_image(), tmp_path / "scan", SeriesSpec(seed=3))


class Studies:
    """Folders of received images: letters name images, and the series of each."""

    def __init__(self, tmp_path, template):
        self.template, self.root, self.result = pydicom.dcmread(template), tmp_path, tmp_path / "study-1"
        self.count = 0

    def received(self, images):
        self.count += 1
        folder = self.root / f"received-{self.count}"
        folder.mkdir()
        for series, instance in images.split():
            self.template.SeriesInstanceUID = f"1.2.{ord(series)}"
            self.template.SOPInstanceUID = f"1.2.{ord(series)}.{ord(instance)}"
            self.template.save_as(folder / f"{series}{instance}.dcm")
        return folder

    def measured(self, images):
        with new_result(self.result, NAMES) as making:
            (making / "result.json").write_text("{}")
            write_received(self.received(images), making)

    def refused(self):
        with new_result(self.result, NAMES) as making:
            (making / "result.json").write_text("{}")


@pytest.fixture
def studies(tmp_path, files):
    return Studies(tmp_path, files[0])


@pytest.mark.parametrize(
    ("measured", "comes", "part"),
    [
        ("A1 A2 A3", "A1 A2 A3", None),
        ("A1 A2 A3", "A1 A2 A3 A4", None),
        ("A1 A2 A3", "A2", Part(2, 3)),
        ("A1 A2", "A3 A4 A5", Part(2, 2)),  # the rest of a slow transfer, more than what was measured
        ("A1 A2 A3", "B1 B2", None),  # another series, which replaces the result as before
        ("A1 A2 A3", "A1 A2 A3 B1", None),
        ("A1 A2 B1 B2", "A1 A2", None),
        ("A1 A2 B1 B2", "A1 A2 B1", Part(1, 4)),
        ("A1 A2 B1 B2", "B2", Part(1, 2)),
        ("A1 B1 C1 D1", "A1 B1", Part(2, 4)),  # every slice has a series of its own
        ("A1 B1 C1 D1", "A1 B1 C1 D1", None),
        ("A1 A2 B1 C1", "A1 A2 B1", None),  # two localisers in a series each
    ],
)
def test_a_part_of_what_was_measured_is_known(studies, measured, comes, part):
    assert part_of(studies.received(comes), studies.result) is None, "nothing was measured yet"
    studies.measured(measured)
    assert part_of(studies.received(comes), studies.result) == part


def test_a_refusal_has_no_images_and_does_not_hide_what_was_measured_before_it(studies):
    studies.refused()
    assert part_of(studies.received("A1"), studies.result) is None
    studies.measured("A1 A2")
    studies.measured("B1 B2")
    studies.refused()
    assert (studies.result / EARLIER / "2" / RECEIVED).is_file()
    assert part_of(studies.received("A1"), studies.result) == Part(1, 2)
    assert part_of(studies.received("B1 B2"), studies.result) is None
    studies.measured("A1 A2 A3")
    assert part_of(studies.received("A1 A2"), studies.result) == Part(1, 3), "the latest of a series counts"
    studies.result.rename(studies.root / "away")
    assert part_of(studies.received("A1"), studies.result) is None


def test_what_is_listed_names_nobody_and_nothing_damaged_stops_it(studies):
    folder = studies.received("A1 A2")
    (folder / "damaged.dcm").write_bytes(b"\0" * 200)
    with new_result(studies.result, NAMES) as making:
        write_received(folder, making)
    text = (studies.result / RECEIVED).read_text()
    assert not any(str(studies.template[tag].value) in text for tag in ("SeriesInstanceUID", "PatientID"))
    assert part_of(studies.received("A1"), studies.result) == Part(1, 2)
    (studies.result / RECEIVED).write_text("[]")
    assert part_of(studies.received("A1"), studies.result) is None


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(on_study, **node):
        running.append(Running(Node(port=0, quiet_s=0.3, **node), tmp_path / "out", on_study))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def test_a_part_that_is_sent_again_keeps_the_result_until_all_of_it_came(start, files, tmp_path):
    measured = []

    def on_study(folder):
        with new_result(result_folder(tmp_path / "out", study_of(folder)), NAMES) as making:
            write_received(folder, making)
        measured.append(len(list(folder.glob("*.dcm"))))
        return []

    node = start(on_study)
    store(node.peer(), files)
    node.wait_for("measured; 0 files")
    node.stop()
    node = start(on_study)
    store(node.peer(), files[:1])
    node.wait_for("3 of the 4 images from which study-")
    (said,) = [line for line in node.said if "incomplete" in line]
    assert "the earlier result is kept: send the rest within 300 s" in said
    assert measured == [4]
    store(node.peer(), files[1:])
    node.wait_for("measured; 0 files")
    assert measured == [4, 4]


def test_a_part_that_stays_one_is_removed_with_a_word(start, files, tmp_path):
    def on_study(folder):
        with new_result(result_folder(tmp_path / "out", study_of(folder)), NAMES) as making:
            write_received(folder, making)
        return []

    node = start(on_study)
    store(node.peer(), files)
    node.wait_for("measured; 0 files")
    node.stop()
    node = start(on_study, late_s=0.0)
    store(node.peer(), files[:1])
    node.wait_for("removed 1 images of a study that was not measured: send all of it again")
    assert not any("measured;" in line for line in node.said)


# --- without its UIDs --------------------------------------------------------------------------------------


def changed(path, keyword, value, folder):
    """A copy whose file meta information still names the instance, as the C-STORE command does."""
    folder.mkdir(exist_ok=True)
    ds = pydicom.dcmread(path)
    if value is None:
        delattr(ds, keyword)
    else:
        setattr(ds, keyword, value)
    copy = folder / f"{keyword}-{path.name}"
    with copy.open("wb") as stream:
        pydicom.dcmwrite(stream, ds, enforce_file_format=False, force_encoding=False)
    return copy


def statuses(node, files, title="SENDER"):
    ae = AE(ae_title=title)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    answers = [link.send_c_store(path).Status for path in files]
    link.release()
    return answers


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_an_image_without_its_uids_is_refused_in_the_log(start, files, tmp_path, monkeypatch, keyword, value):
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # sends a file as it is
    measured = []
    node = start(lambda folder: measured.append(folder) or [])
    odd = changed(files[0], keyword, value, tmp_path / "odd")
    assert statuses(node, [odd, *files[1:]]) == [0xC000, 0, 0, 0]
    tag = {"StudyInstanceUID": "(0020,000D)", "SOPInstanceUID": "(0008,0018)"}[keyword]
    node.wait_for(f"refused 1 image from SENDER: no {keyword} {tag}")
    header = pydicom.dcmread(files[0])
    named = (str(header.PatientName), str(header.PatientID), str(header.StudyInstanceUID))
    if keyword == "SOPInstanceUID":  # known to be of the study, which is not measured without it
        node.wait_for("this node could not keep 1 images of it (no SOPInstanceUID (0008,0018): 1) and has 3")
        assert measured == []
        assert statuses(node, files[:1]) == [0]
    node.wait_for("measured; 0 files")
    assert not any(value in line for line in node.said for value in named)


def test_refusals_are_said_at_once_and_then_once_in_a_while():
    clock = Clock()
    counts = Refusals(clock)
    assert counts.lines() == []
    counts.count("ONE ", "no X")
    assert counts.lines() == ["refused 1 image from ONE: no X"]
    for _ in range(3):
        counts.count("ONE", "no X")
    counts.count("Doe\nJane", "no X")
    clock.now += refusals_module.EVERY_S - 1
    assert counts.lines() == []
    clock.now += 1
    assert counts.lines() == ["refused 3 images from ONE: no X", "refused 1 image from an unreadable title: no X"]
    counts.count("ONE", "no X")
    assert counts.lines(last=True) == ["refused 1 image from ONE: no X"]


def test_titles_without_end_do_not_fill_the_log():
    counts = Refusals(Clock())
    threads = [threading.Thread(target=counts.count, args=(f"T{n}", "no X")) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    lines = counts.lines()
    assert len(lines) == 21
    assert "refused 80 images from other titles: no X" in lines
    for n in range(100):
        counts.count_caller(f"10.0.0.{n}", "no Y")
    counts.count("ONE", "no X")
    lines = counts.lines(last=True)
    assert len(lines) == 22
    assert {"refused 80 TLS connections from other addresses: no Y", "refused 1 image from ONE: no X"} <= set(
        lines
    )
