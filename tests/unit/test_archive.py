"""When a study is whole, who may send, and what may leave this machine."""

import contextlib
import gc
import json
import os
import socket
import subprocess
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from archive_node import PATIENCE_S, Running, small_image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from web_browser import absent

from volumetry.archive import acceptor, associations
from volumetry.archive.dicomweb import Access, _pull_series, pull, push, require_safe
from volumetry.archive.inbox import Inbox
from volumetry.archive.outbox import Outbox
from volumetry.archive.receive import Node, Peer, receive, store
from volumetry.archive.study_folders import Left
from volumetry.cli import main
from volumetry.errors import ConfigError, InputError, OutputError, ScanFailedError, UsageError
from volumetry.phantom import SeriesSpec, write_series
from volumetry.storage import in_memory
from volumetry.storage.in_memory import can_be_swapped, filesystem_of, require_in_memory


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def inbox(tmp_path):
    clock = Clock()
    return Inbox(tmp_path / "in", quiet_s=10.0, max_instances=3, clock=clock), clock


def test_a_study_is_whole_when_its_senders_left_and_nothing_came_for_a_while(inbox):
    box, clock = inbox
    assert box.add(1, "1.2", "1.2.1", b"first")
    clock.now += 100
    assert box.whole() == [], "the sender is still there"
    box.left(1, properly=True)
    clock.now += 9.9
    assert box.whole() == []
    assert box.add(2, "1.2", "1.2.2", b"second")
    box.left(2, properly=True)
    clock.now += 9.9
    assert box.whole() == [], "more came"
    clock.now += 0.2
    (study,) = box.whole()
    assert sorted(path.read_bytes() for path in study.folder.iterdir()) == [b"first", b"second"]
    assert not study.broken_off
    assert box.whole() == []


def test_studies_do_not_wait_for_each_other_and_are_named_by_digests(inbox):
    box, clock = inbox
    box.add(1, "1.2", "1", b"a")
    box.add(2, "1.3", "2", b"b")
    box.left(1, properly=True)
    clock.now += 11
    (study,) = box.whole()
    assert "1.2" not in study.folder.name
    assert [path.read_bytes() for path in study.folder.iterdir()] == [b"a"]


def test_a_broken_off_study_is_marked_until_it_is_taken_up_again(inbox):
    box, clock = inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=False)
    clock.now += 11
    assert box.whole()[0].broken_off
    box.add(2, "1.3", "1", b"a")
    box.left(2, properly=False)
    box.add(3, "1.3", "2", b"b")
    box.left(3, properly=True)
    clock.now += 11
    assert not box.whole()[0].broken_off


def test_an_instance_sent_again_is_one_and_a_conflict_is_kept_for_the_gate(inbox):
    box, clock = inbox
    for content in (b"a", b"a", b"other"):
        assert box.add(1, "1.2", "1", content)
    box.left(1, properly=True)
    clock.now += 11
    (study,) = box.whole()
    assert study.instances == 2
    assert len(list(study.folder.iterdir())) == 2


@pytest.fixture
def patient_inbox(tmp_path):
    clock = Clock()
    return Inbox(tmp_path / "in", quiet_s=10.0, max_instances=9, late_s=60.0, clock=clock), clock


def taken(box, clock):
    clock.now += 11
    return box.whole()


def test_what_comes_late_joins_its_study(patient_inbox, tmp_path):
    box, clock = patient_inbox
    for number, content in enumerate((b"first", b"second", b"third")):
        box.add(number, "1.2", f"1.2.{number}", content)
        box.left(number, properly=True)
        (study,) = taken(box, clock)
        assert study.instances == number + 1
        assert study.again == (number > 0)
        box.done(study, answered=True)
        box.expire()
    assert sorted(path.read_bytes() for path in study.folder.iterdir()) == [b"first", b"second", b"third"]
    clock.now += 61
    box.expire()
    assert not list((tmp_path / "in").rglob("*.dcm"))
    box.add(9, "1.2", "1.2.9", b"too late")
    box.left(9, properly=True)
    assert not taken(box, clock)[0].again


def test_what_comes_while_a_study_is_measured_joins_it(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=True)
    (study,) = taken(box, clock)
    box.add(2, "1.2", "2", b"b")
    box.left(2, properly=True)
    assert [path.read_bytes() for path in study.folder.iterdir()] == [b"a"], "what is measured does not change"
    box.done(study, answered=True)
    (whole,) = taken(box, clock)
    assert sorted(path.read_bytes() for path in whole.folder.iterdir()) == [b"a", b"b"]


def test_the_rest_of_a_study_that_was_broken_off_may_follow(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=False)
    (study,) = taken(box, clock)
    assert study.broken_off
    box.done(study, answered=False)
    box.add(2, "1.2", "2", b"b")
    box.left(2, properly=True)
    (study,) = taken(box, clock)
    assert (study.instances, study.broken_off) == (2, False)


def test_what_a_killed_node_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    left = tmp_path / "in" / "killed" / "study"
    left.mkdir(parents=True)
    (left / "image.dcm").write_bytes(b"identified")
    living = Inbox(tmp_path / "in", 10.0, 3)
    assert (living.left_by_killed.unanswered, living.left_by_killed.images) == (1, 1)
    assert not left.exists()
    living.add(1, "1.2", "1", b"a")
    assert Inbox(tmp_path / "in", 10.0, 3).left_by_killed == Left()
    assert [path.read_bytes() for path in (tmp_path / "in").rglob("*.dcm")] == [b"a"]
    assert living.remove_all() == 1


def test_only_what_a_killed_node_had_not_measured_is_to_be_sent_again(tmp_path):
    clock = Clock()
    killed = Inbox(tmp_path / "in", quiet_s=10.0, max_instances=9, late_s=60.0, clock=clock)
    for study in ("measured", "refused", "measured, then more came", "at work", "broken off", "on its way"):
        for image in ("1", "2"):
            killed.add(1, study, image, f"{study} {image}".encode())
        killed.left(1, properly=study != "broken off")
        if study == "on its way":
            break
        clock.now += 11
        (arrival,) = killed.whole()
        if study != "at work":
            killed.done(arrival, answered=study != "broken off")
        if study == "measured, then more came":
            killed.add(2, study, "3", b"late")  # its sender has not left yet
    os.close(killed._alive)  # as the kernel does when a process is killed
    left = Inbox(tmp_path / "in", 10.0, 9).left_by_killed
    assert (left.answered, left.unanswered, left.images) == (2, 4, 9)
    assert not list((tmp_path / "in").rglob("*.dcm"))
    first, last = map(datetime.fromisoformat, (left.first, left.last))
    assert timedelta(0) <= last - first < timedelta(minutes=1)
    assert timedelta(0) <= datetime.now(UTC) - last < timedelta(minutes=1)


def test_what_the_archive_does_not_take_waits_and_survives_a_restart(tmp_path):
    clock, sent, up = Clock(), [], []

    def send(files):
        if not up:
            raise OutputError("the archive is down", "ARCHIVE", "wait")
        sent.append(list(files))

    result = tmp_path / "seg.dcm"
    result.write_bytes(b"seg")
    outbox = Outbox(tmp_path / "outbox", send, clock)
    outbox.add([result])
    waits = []
    for _ in range(8):
        (line,) = outbox.deliver()
        assert "archive is down" in line
        assert outbox.deliver() == [], "not at once again"
        waits.append(next(wait for wait in (30, 60, 120, 240, 480, 960, 1800) if f"in {wait} s" in line))
        clock.now += waits[-1]
    assert waits == [30, 60, 120, 240, 480, 960, 1800, 1800]
    restarted = Outbox(tmp_path / "outbox", send, clock)
    up.append(True)
    assert restarted.deliver() == ["1 files sent back"]
    assert sent == [[result]]
    assert len(Outbox(tmp_path / "outbox", send, clock)) == 0


@pytest.mark.parametrize("content", [b"", b"{\n", b"[]", b"{}", b'{"files": [1]}', b'{"files": 1}', b"\xff\x00"])
def test_a_broken_list_in_the_outbox_is_set_aside_and_the_others_are_sent(tmp_path, content):
    sent = []
    result = tmp_path / "seg.dcm"
    result.write_bytes(b"seg")
    Outbox(tmp_path / "outbox", sent.append).add([result])
    broken = tmp_path / "outbox" / "broken.json"
    broken.write_bytes(content)
    outbox = Outbox(tmp_path / "outbox", sent.append)
    said = outbox.deliver()
    assert [line.partition(" in the outbox")[0] for line in sorted(said)] == ["1 files sent back", "broken.json"]
    assert sent == [[result]]
    assert broken.with_suffix(".broken").read_bytes() == content
    assert outbox.deliver() == []
    assert len(Outbox(tmp_path / "outbox", sent.append)) == 0


@pytest.mark.parametrize(
    "wrong", [ConfigError("the key cannot be read"), ValueError("Doe^Jane"), OSError(5, "I/O")]
)
def test_whatever_stops_sending_is_tried_again(tmp_path, wrong):
    def send(_files):
        raise wrong

    result = tmp_path / "seg.dcm"
    result.write_bytes(b"seg")
    outbox = Outbox(tmp_path / "outbox", send)
    outbox.add([result])
    (line,) = outbox.deliver()
    assert "tried again in 30 s" in line
    assert "Doe" not in line
    assert len(outbox) == 1


def test_a_study_without_end_is_refused(inbox):
    box, _ = inbox
    assert [box.add(1, "1.2", str(n), b"%d" % n) for n in range(5)] == [True, True, True, False, False]


def stored(study):
    return sorted(path.read_bytes() for path in study.folder.glob("*.dcm"))


@contextlib.contextmanager
def full():
    """No instance can be written."""

    def write_bytes(_path, _content):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_bytes)
        yield


def test_a_study_of_which_instances_were_refused_is_incomplete_until_they_come_again(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    with full():
        assert not box.add(1, "1.2", "2", b"b")
        assert not box.add(1, "1.2", "3", b"c")
    assert box.add(1, "1.2", "3", b"c"), "within the same association"
    box.left(1, properly=True)
    (study,) = taken(box, clock)
    assert (study.instances, list(study.refused.values())) == (2, ["No space left on device"])
    box.done(study, answered=False)
    box.add(2, "1.2", "2", b"b")
    box.left(2, properly=True)
    (study,) = taken(box, clock)
    assert (stored(study), study.refused) == ([b"a", b"b", b"c"], {})


def test_refused_images_that_come_alone_after_the_others_were_removed_are_no_study(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    with full():
        box.add(1, "1.2", "2", b"b")
    box.left(1, properly=True)
    for content, lacks in ((None, 1), ({"2": b"b"}, 1), ({"1": b"a", "2": b"b"}, 0)):
        for instance, data in (content or {}).items():
            assert box.add(2, "1.2", instance, data)
        box.left(2, properly=True)
        (study,) = taken(box, clock)
        assert len(study.refused) == lacks
        box.done(study, answered=not lacks)
        clock.now += 61
        assert box.expire() == ([study] if lacks else [])
    box.add(3, "1.2", "3", b"c")
    box.left(3, properly=True)
    assert taken(box, clock)[0].refused == {}, "it was measured whole"


def test_an_incomplete_study_is_forgotten_after_a_day(patient_inbox):
    box, clock = patient_inbox
    with full():
        box.add(1, "1.2", "1", b"a")
    box.left(1, properly=True)
    box.done(*taken(box, clock), answered=False)
    clock.now += 61
    box.expire()
    clock.now += 86400
    box.expire()
    box.add(2, "1.2", "2", b"b")
    box.left(2, properly=True)
    assert taken(box, clock)[0].refused == {}


def test_what_was_refused_while_a_study_was_looked_at_makes_it_incomplete(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=True)
    (study,) = taken(box, clock)
    with full():
        box.add(2, "1.2", "1", b"a")  # kept already
        box.add(2, "1.2", "2", b"b")
    box.left(2, properly=True)
    box.done(study, answered=True)
    (study,) = taken(box, clock)
    assert (stored(study), len(study.refused), study.answered) == ([b"a"], 1, False)


def test_a_measured_study_sent_again_to_a_full_folder_is_no_empty_study(patient_inbox):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=True)
    box.done(*taken(box, clock), answered=True)
    with full():
        assert box.add(2, "1.2", "1", b"a"), "it is there already"
    box.left(2, properly=True)
    (study,) = taken(box, clock)
    assert (stored(study), study.refused) == ([b"a"], {})


def test_a_folder_that_cannot_be_made_costs_its_study_alone(patient_inbox, monkeypatch):
    box, clock = patient_inbox

    def no_inode(_path, **_how):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", no_inode)
        assert not box.add(1, "1.2", "1", b"a")
    box.add(1, "1.3", "1", b"b")
    box.left(1, properly=True)
    lost, other = taken(box, clock)
    assert (lost.instances, len(lost.refused), stored(other)) == (0, 1, [b"b"])
    for study in (lost, other):
        box.done(study, answered=False)
    clock.now += 61
    assert box.expire() == [other], "of the other one there is nothing to remove"


def test_a_node_without_room_for_its_folder_says_so(tmp_path, monkeypatch):
    def full(_path, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="received images can be made: No space left"):
        Inbox(tmp_path / "in", quiet_s=10.0, max_instances=3)
    assert list((tmp_path / "in").iterdir()) == []


def test_a_study_that_may_be_measured_later_is_given_again_and_then_expires(patient_inbox, tmp_path):
    box, clock = patient_inbox
    box.add(1, "1.2", "1", b"a")
    box.left(1, properly=True)
    (study,) = taken(box, clock)
    waits = []
    while (wait_s := box.done(study, answered=False, repeat=True)) is not None:
        waits.append(wait_s)
        clock.now += wait_s - 1
        assert (box.expire(), box.whole()) == ([], [])
        clock.now += 1
        assert box.whole() == [study]
        assert stored(study) == [b"a"]
    assert waits == [30, 60, 120, 240, 480, 960, *[1800] * 6]
    clock.now += 61
    assert box.expire() == [study]
    assert not list((tmp_path / "in").rglob("*.dcm"))


@pytest.mark.parametrize(
    ("url", "token", "error"),
    [
        ("ftp://pacs/dicom-web", None, UsageError),
        ("pacs/dicom-web", None, UsageError),
        ("https://user:secret@pacs/dicom-web", None, UsageError),
        ("http://pacs.example/dicom-web", "secret", ConfigError),
        ("http://127.0.0.1.evil.example/dicom-web", "secret", ConfigError),
    ],
)
def test_no_secret_travels_unencrypted(url, token, error):
    with pytest.raises(error) as stop:
        require_safe(url, Access(token))
    assert "secret" not in str(stop.value)


def test_what_is_safe_passes():
    for url, token in (
        ("https://pacs.example/dicom-web", "secret"),
        ("http://127.0.0.1:8042/dicom-web", "secret"),
        ("http://localhost/dicom-web", "secret"),
        ("http://pacs.example/dicom-web", None),
    ):
        require_safe(url, Access(token))


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"VOLUMETRY_DICOMWEB_TOKEN": "abc"}, b"Authorization: Bearer abc\r\n"),
        # RFC 7617, section 2: its own example of a user and a password.
        (
            {"VOLUMETRY_DICOMWEB_USER": "Aladdin", "VOLUMETRY_DICOMWEB_PASSWORD": "open sesame"},
            b"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n",
        ),
    ],
)
def test_what_the_archive_asks_for_comes_from_the_environment(tmp_path, environment, header):
    """A socket in the archive's place sees the header."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard = []

    def answer():
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    files = write_series(small_image(), tmp_path / "scan", SeriesSpec())
    access = Access.from_environment(environment)
    with pytest.raises(OutputError, match=r"401|cannot be reached") as stop:
        push(f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web", files[:1], access)
    thread.join(PATIENCE_S)
    listener.close()
    assert header in heard[0]
    assert not any(value in str(stop.value) for value in environment.values())


def test_a_password_does_not_travel_unencrypted_and_a_user_needs_one():
    access = Access(user="reader", password="secret")  # noqa: S106  a password of the test
    with pytest.raises(ConfigError, match="unencrypted"):
        require_safe("http://pacs.example/dicom-web", access)
    require_safe("https://pacs.example/dicom-web", access)
    for environment in ({"VOLUMETRY_DICOMWEB_USER": "reader"}, {"VOLUMETRY_DICOMWEB_USER": "a:b"}):
        with pytest.raises(ConfigError, match="PASSWORD"):
            Access.from_environment(environment)


class Pages(BaseHTTPRequestHandler):
    """An archive of five series that gives two at a time, whatever is asked for."""

    uids = tuple(f"1.2.{n}" for n in range(5))

    def do_GET(self):
        start = int(parse_qs(urlsplit(self.path).query).get("offset", ["0"])[0])
        found = [
            {"0020000E": {"vr": "UI", "Value": [uid]}, "00080060": {"vr": "CS", "Value": ["CT"]}}
            for uid in self.uids[start : start + 2]
        ]
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def test_every_page_of_a_studys_series_is_asked_for(tmp_path, monkeypatch):
    pulled = []
    monkeypatch.setattr(
        "volumetry.archive.dicomweb._pull_series", lambda _client, _study, uid, _out: pulled.append(uid) or 1
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        count = pull(f"http://127.0.0.1:{server.server_port}/dicom-web", "1.2", None, tmp_path / "out")
        server.shutdown()
    assert (count, pulled) == (5, list(Pages.uids))


class ForgetfulArchive:
    """Lists some instances of a series, gives some, and may state how many there are (PS3.18, table 10.6.3-4)."""

    def __init__(self, files, lists, gives, states):
        self.datasets = [pydicom.dcmread(path) for path in files]
        self.lists, self.gives, self.states = lists, gives, states

    def search_for_instances(self, *_uids, **_how):
        return [{"00080018": {"vr": "UI", "Value": [ds.SOPInstanceUID]}} for ds in self.datasets[: self.lists]]

    def search_for_series(self, *_uids, **_how):
        return [] if self.states is None else [{"00201209": {"vr": "IS", "Value": [self.states]}}]

    def iter_series(self, *_uids, **_how):
        yield from self.datasets[: self.gives]


@pytest.mark.parametrize(("lists", "gives", "states"), [(4, 3, None), (4, 3, 4), (3, 3, 4), (2, 3, 4)])
def test_a_series_that_comes_incomplete_is_refused_and_leaves_nothing(files, tmp_path, lists, gives, states):
    with pytest.raises(InputError, match="lists 4 instances and gave 3") as stop:
        _pull_series(ForgetfulArchive(files, lists, gives, states), "1.2", "1.3", tmp_path / "out")
    assert stop.value.code == "MANIFEST_MISMATCH"
    assert "sent to it again" in stop.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def test_a_series_of_which_a_capped_archive_lists_a_part_is_pulled_whole(files, tmp_path):
    assert _pull_series(ForgetfulArchive(files, 2, 4, 4), "1.2", "1.3", tmp_path / "out") == 4


def test_what_is_not_dicom_is_not_pushed(tmp_path):
    (tmp_path / "notes.txt").write_text("Doe")
    with pytest.raises(InputError):
        push("http://127.0.0.1:1/dicom-web", [tmp_path / "notes.txt"])
    with pytest.raises(UsageError, match="nothing"):
        push("http://127.0.0.1:1/dicom-web", [])


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(on_study, send_back=None, **node):
        running.append(Running(Node(port=0, quiet_s=0.3, **node), tmp_path / "out", on_study, send_back))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
    assert not list((tmp_path / "out").rglob("*.dcm")), "a received file was left"


@pytest.fixture
def memory():
    """A folder of this test in memory."""
    place = Path("/dev/shm")  # noqa: S108  what is tested lies there
    kind = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True)  # noqa: S603, S607
    if kind.stdout.strip() != "tmpfs":
        absent("this machine has no tmpfs for shared memory")
    with tempfile.TemporaryDirectory(dir=place, prefix="volumetry-test-") as folder:
        yield Path(folder)


def test_images_in_transit_lie_in_memory_and_are_gone_afterwards(files, memory, tmp_path):
    (memory / "another-program").mkdir()
    (memory / "another-program" / "file").write_text("theirs")
    for place in (memory / "volumetry-incoming", tmp_path / "out" / "incoming"):
        left = place / "killed" / "study"
        left.mkdir(parents=True)
        (left / "a.dcm").write_bytes(b"Doe^Jane")
    seen = []

    def on_study(folder):
        seen.append((filesystem_of(folder), len(list(folder.glob("*.dcm")))))
        return []

    node = Running(Node(port=0, quiet_s=0.3), tmp_path / "out", on_study, transit=memory)
    store(node.peer(), files)
    node.wait_for("measured;")
    assert seen == [("tmpfs", len(files))]
    assert len(list(memory.rglob("*.dcm"))) == len(files)  # kept for what may come late
    assert not list(tmp_path.glob("out/**/*.dcm"))
    assert len([line for line in node.said if "removed 1 images of 1 studies" in line]) == 2
    node.stop()
    held = [path for path in memory.rglob("*") if path.is_file() and path.read_bytes()]
    assert held == [memory / "another-program" / "file"]


def test_a_node_does_not_start_if_its_images_would_lie_on_a_disk(tmp_path, monkeypatch):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(in_memory, "_MOUNTS", mounts)
    for kind, says in (
        ("ext4", "lies on ext4"),
        ("fuse.encfs", "lies on fuse.encfs"),
        ("", "an unknown filesystem"),
    ):
        line = f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw,noatime master:1 - {kind} /dev/sda1 rw\n"
        mounts.write_text("21 1 0:0 / / rw - rootfs rootfs rw\n" + (line if kind else ""))
        listening = []
        with pytest.raises(ConfigError, match=says):
            receive(
                Node(port=0),
                tmp_path / "out",
                lambda _: [],
                transit=tmp_path / "a" / "b",
                on_ready=listening.append,
            )
        assert not listening
        assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="whole path"):
        require_in_memory(Path("shm"))


@pytest.mark.parametrize(
    ("swaps", "kind", "expected"), [(1, "tmpfs", True), (0, "tmpfs", False), (1, "ramfs", False)]
)
def test_memory_that_can_be_swapped_is_known(tmp_path, monkeypatch, swaps, kind, expected):
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n" + "/dev/sda2 partition 1 0 -2\n" * swaps)
    device = tmp_path.stat().st_dev
    (tmp_path / "mounts").write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /m rw - {kind} none rw\n")
    monkeypatch.setattr(in_memory, "_SWAPS", tmp_path / "swaps")
    monkeypatch.setattr(in_memory, "_MOUNTS", tmp_path / "mounts")
    assert can_be_swapped(tmp_path) is expected


def test_filesystems_are_those_that_the_system_names():
    for place in ("/proc", "/sys"):
        said = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=True)  # noqa: S603, S607
        assert filesystem_of(Path(place)) == said.stdout.strip()


def test_the_setting_reaches_the_node(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: None)
    (tmp_path / "s.toml").write_text('[receive]\ntransit = "/proc/volumetry"\n')
    with pytest.raises(SystemExit) as end:
        main(["receive", "--out", str(tmp_path / "out"), "--port", "0", "--config", str(tmp_path / "s.toml")])
    assert end.value.code == 4
    assert "lies on proc, not in memory" in capsys.readouterr().err


def test_no_torn_image_stays_where_the_folder_is_full(inbox, monkeypatch):
    box, _ = inbox
    box.add(1, "1.2", "1.2.1", b"first")

    def full(path, content):
        with path.open("wb") as stream:
            stream.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert not box.add(1, "1.2", "1.2.2", b"second")
    (study,) = box._studies.values()
    assert stored(study) == [b"first"]
    assert sum(path.stat().st_size for path in study.folder.iterdir()) == len(b"first")
    assert study.instances == 1
    assert list(study.refused.values()) == ["No space left on device"]


@pytest.fixture
def files(tmp_path):
    return write_series(small_image(), tmp_path / "scan", SeriesSpec(seed=3))


def test_what_is_received_is_what_was_sent_byte_for_byte_of_pixels(start, files):
    seen = []

    def on_study(folder):
        seen.append([pydicom.dcmread(path) for path in folder.iterdir()])
        return []

    node = start(on_study)
    assert store(node.peer(), files) == len(files)
    node.wait_for("measured;")
    sent = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, files)}
    assert {ds.SOPInstanceUID for ds in seen[0]} == set(sent)
    for ds in seen[0]:
        assert ds.PixelData == sent[ds.SOPInstanceUID].PixelData
        assert ds.preamble == bytes(128)
    assert any("whole: 4 instances" in line for line in node.said)


def test_a_study_that_cannot_be_measured_costs_only_itself(start, files, tmp_path):
    calls = []

    def on_study(_folder):
        calls.append(1)
        if len(calls) == 1:
            raise ScanFailedError("too slow", "TIMEOUT")
        if len(calls) == 2:
            raise KeyError("Doe^Jane")
        return [tmp_path / "result"]

    (tmp_path / "result").write_bytes(b"seg")
    sent = []
    node = start(on_study, sent.append)
    for word in ("TIMEOUT", "INTERNAL_ERROR", "sent back"):
        store(node.peer(), files)
        node.wait_for(word)
    assert sent == [[tmp_path / "result"]]
    assert "Doe" not in " ".join(node.said)


def test_a_sender_that_breaks_off_is_not_measured(start, files):
    called = []
    node = start(lambda folder: called.append(folder) or [])
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    assert link.send_c_store(files[0]).Status == 0
    link.abort()
    node.wait_for("broken off")
    assert called == []


def send(node, files):
    """Statuses of an association that goes on after a refusal."""
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    statuses = [link.send_c_store(path).Status for path in files]
    link.release()
    return statuses


def test_what_is_left_of_a_study_after_refusals_is_not_measured(start, files):
    measured = []
    node = start(lambda folder: measured.append(len(list(folder.glob("*.dcm")))) or [])
    with full():
        assert send(node, files) == [0xA700] * 4
        node.wait_for("could not keep 4 images of it (No space left on device: 4) and has 0;")
    assert send(node, files[:3]) == [0] * 3
    node.wait_for("could not keep 1 images of it (No space left on device: 1) and has 3; it is not measured")
    assert measured == []
    assert send(node, files[3:]) == [0]
    node.wait_for("measured; 0 files")
    assert measured == [4]
    assert not any("Doe" in line or str(pydicom.dcmread(files[0]).PatientID) in line for line in node.said)


def test_a_study_whose_images_were_removed_by_others_is_not_measured(start, files):
    measured = []
    node = start(lambda folder: measured.append(folder) or [])
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    assert [link.send_c_store(path).Status for path in files] == [0] * 4
    for path in list(node.out.rglob("*.dcm"))[:3]:
        path.unlink()
    link.release()
    node.wait_for("3 of 4 images of a study are gone from its folder; it is not measured: send all of it again")
    assert measured == []
    store(node.peer(), files)
    node.wait_for("measured; 0 files")


def test_a_study_is_measured_again_when_its_results_could_not_be_written(start, files, monkeypatch):
    monkeypatch.setattr("volumetry.archive.inbox.FIRST_S", 0.3)
    calls = []

    def on_study(folder):
        calls.append(len(list(folder.glob("*.dcm"))))
        if len(calls) == 1:
            raise OutputError("cannot write report.html: No space left on device")
        return []

    node = start(on_study, late_s=0.0)
    store(node.peer(), files)
    node.wait_for("its 4 images are kept; measured again in 0.3 s")
    node.wait_for("measured; 0 files")
    assert calls == [4, 4]
    assert not any("removed" in line for line in node.said)


def test_images_without_a_result_are_removed_with_a_word(start, files):
    def on_study(_folder):
        raise ScanFailedError("too slow", "TIMEOUT")

    node = start(on_study, late_s=0.0)
    store(node.peer(), files)
    node.wait_for("removed 4 images of a study that was not measured: send all of it again")


def test_images_of_a_study_not_measured_are_not_removed_in_silence(start, files):
    node = start(lambda _: [], late_s=0.0)
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    assert link.send_c_store(files[0]).Status == 0
    node.stop()
    assert any("stopped with 1 images of studies not measured" in line for line in node.said)


def test_connections_that_say_nothing_keep_nobody_out(start, files, monkeypatch):
    monkeypatch.setattr(acceptor, "GREETING_S", 600.0)  # none of them is closed meanwhile, nor a slow sender
    node = start(lambda _: [])
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(3 * node_limit())]
    probes = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(3 * node_limit())]
    for probe in probes:  # as a load balancer looks whether somebody listens
        probe.close()
    assert store(node.peer(), files) == len(files)
    for one in silent:
        one.close()


HALF_A_REQUEST = b"\x01\x00" + (300).to_bytes(4, "big") + b"\x00\x01"  # PS3.8, 9.3.2: length, protocol version


def test_half_a_request_takes_no_association(start, files, monkeypatch):
    monkeypatch.setattr(acceptor, "GREETING_S", 600.0)  # none of them is closed meanwhile
    node = start(lambda _: [])
    halves = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(2 * node_limit())]
    for half in halves:
        half.sendall(HALF_A_REQUEST)
    assert store(node.peer(), files) == len(files)
    for half in halves:
        half.close()


def test_a_request_must_come_within_seconds_not_byte_by_byte(start, monkeypatch):
    monkeypatch.setattr(acceptor, "GREETING_S", 0.5)
    node = start(lambda _: [])
    request, sent = HALF_A_REQUEST + bytes(292), 0
    with socket.create_connection(("127.0.0.1", node.port)) as slow:
        slow.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            for byte in request:
                slow.sendall(bytes([byte]))
                sent += 1
                with contextlib.suppress(TimeoutError):
                    if not slow.recv(1):
                        break
    assert sent < len(request), "closed before they came, each a tenth of a second after the other"


@pytest.mark.parametrize("begins", [b"", HALF_A_REQUEST], ids=["silent", "half a request"])
def test_of_too_many_silent_connections_the_oldest_is_closed(start, files, begins, monkeypatch):
    monkeypatch.setattr(acceptor, "GREETING_S", 600.0)  # nor is any closed for its silence
    node = start(lambda _: [])
    silent = []
    for _ in range(acceptor.MOST_SILENT + 6):
        silent.append(socket.create_connection(("127.0.0.1", node.port)))
        silent[-1].sendall(begins)
    assert store(node.peer(), files) == len(files)
    silent[0].settimeout(PATIENCE_S)
    with contextlib.suppress(ConnectionResetError):
        assert silent[0].recv(1) == b""
    for one in silent:
        one.close()


def node_limit():
    return Node().max_associations


def test_one_association_too_many_is_asked_to_come_again(start, files, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 600.0)  # none has been silent for so long
    node = start(lambda _: [], max_associations=2)
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    open_ones = [ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY") for _ in range(3)]
    assert [link.is_established for link in open_ones] == [True, True, False]
    answer = open_ones[2].acceptor.primitive
    # PS3.8, 9.3.4: transient, by the provider's presentation part, local limit exceeded.
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    open_ones[0].release()
    assert store(node.peer(), files) == len(files)
    open_ones[1].release()


@pytest.mark.parametrize("kind", [b"\x01\x00", b"\x04\x00"], ids=["A-ASSOCIATE-RQ", "P-DATA-TF"])
def test_no_peer_decides_how_much_is_buffered(start, files, kind):
    node = start(lambda _: [])
    if kind[0] == 1:
        connection = socket.create_connection(("127.0.0.1", node.port))
    else:
        ae = AE(ae_title="SENDER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
        connection = link.dul.socket.socket
    connection.sendall(kind + b"\xff\xff\xff\xff")
    if kind[0] == 1:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b"", "closed, without waiting for 4 GB"
        connection.close()
    else:
        link.join(PATIENCE_S)
        assert not link.is_established
    assert store(node.peer(), files) == len(files)


def test_only_those_who_name_us_and_are_allowed_may_call(start, files):
    node = start(lambda _: [], callers=("FRIEND",))
    with pytest.raises(OutputError, match="refuses us"):
        store(node.peer("OTHER"), files, ae_title="FRIEND")
    with pytest.raises(OutputError, match="refuses us"):
        store(node.peer(), files, ae_title="STRANGER")
    assert store(node.peer(), files, ae_title="FRIEND") == len(files)
    ae = AE(ae_title="FRIEND")
    ae.add_requested_context(Verification)
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
    assert link.send_c_echo().Status == 0
    link.release()
    node.wait_for("measured;")


def test_the_node_listens_on_this_machine_alone_by_default():
    assert Node().host == "127.0.0.1"
    with pytest.raises(UsageError):
        Node(ae_title="")
    with pytest.raises(UsageError):
        Node(ae_title="MORE THAN SIXTEEN")


def test_a_taken_port_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="cannot be used"):
        receive(Node(port=taken.getsockname()[1]), tmp_path, lambda _: [])


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unknown_peer_is_said(files):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(OutputError, match="cannot be reached"):
        store(Peer("127.0.0.1", port, "NOBODY"), files)
    gc.collect()


def test_without_the_extra_the_command_says_what_to_install(files, monkeypatch, tmp_path):
    monkeypatch.setattr("volumetry.archive.extra.find_spec", lambda _: None)
    for attempt in (
        lambda: push("http://127.0.0.1:1/dicom-web", files),
        lambda: store(Peer("127.0.0.1", 1, "X"), files),
        lambda: receive(Node(port=0), tmp_path / "out", lambda _: []),
    ):
        with pytest.raises(UsageError, match="not installed") as stop:
            attempt()
        assert "volumetry[archive]" in stop.value.hint
