"""What associations may hold in memory together, and which of them gives way when all are in use."""

import gc
import threading
import time
from io import BytesIO

import pydicom
import pytest
from archive_node import PATIENCE_S, Running, small_image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification

from volumetry.archive import associations
from volumetry.archive.inbox import Inbox
from volumetry.archive.receive import Node, store
from volumetry.errors import OutputError
from volumetry.phantom import SeriesSpec, write_series

LIMIT = 1_000_000
LIMIT_GB = LIMIT / 2**30

# pynetdicom leaves the socket of a connection that the node closed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(on_study=lambda _: [], **node):
        running.append(Running(Node(port=0, quiet_s=0.3, **node), tmp_path / "out", on_study))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def files(tmp_path):
    return write_series(small_image(), tmp_path / "scan", SeriesSpec(seed=3))


@pytest.fixture
def open_to():
    """Open associations, which are aborted in the end."""
    links = []

    def associate(node):
        ae = AE(ae_title="SENDER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.add_requested_context(Verification)
        links.append(ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY"))
        return links[-1]

    yield associate
    for link in links:
        link.abort()
    links.clear()
    gc.collect()


def eventually(holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def of_nodes():
    """The node's associations that have not ended."""
    return [one for one in threading.enumerate() if isinstance(one, Association) and one.is_acceptor]


def received():
    """Bytes of objects that these hold, as pynetdicom does: unfinished, then in its queue."""
    total = 0
    for one in of_nodes():
        message = one.dimse.message
        total += 0 if message is None else message.data_set.tell()
        waiting = [request for _, request in list(one.dimse.msg_queue.queue) if isinstance(request, C_STORE)]
        total += sum(len(request.DataSet.getvalue()) for request in waiting)
    return total


@pytest.fixture
def most_received(monkeypatch):
    """What `received` gave after each PDU with data, over all associations."""
    seen, original = [0], DIMSEServiceProvider.receive_primitive

    def receive_primitive(self, primitive):
        original(self, primitive)
        seen.append(received())

    monkeypatch.setattr(DIMSEServiceProvider, "receive_primitive", receive_primitive)
    return seen


def pdus(link, content, instance="1.2.3"):
    """A C-STORE request as P-DATA primitives."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, instance
    request.DataSet = BytesIO(content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(each for each in link.accepted_contexts if each.abstract_syntax == CTImageStorage)
    return list(message.encode_msg(context.context_id, link.dimse.maximum_pdu_size))


def send_unfinished(link, nr_bytes):
    for pdu in pdus(link, bytes(nr_bytes))[:-1]:
        link.dul.send_pdu(pdu)


def large(path, nr_bytes, instance):
    ds = pydicom.dcmread(path)
    ds.PixelData, ds.SOPInstanceUID = bytes(nr_bytes), f"1.2.3.{instance}"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def test_unfinished_objects_stay_within_the_limit_in_total_and_a_study_still_arrives(
    start, files, open_to, most_received
):
    node = start(max_incoming_gb=LIMIT_GB)
    links = [open_to(node) for _ in range(4)]
    for link in links:
        send_unfinished(link, 400_000)
    eventually(lambda: sum(each.is_established for each in links) == 2)
    node.wait_for(
        f"from SENDER: the largest unfinished object, as objects of more than {LIMIT_GB:g} GB in total were being "
        "received; to allow more, raise max_incoming_gb under [receive]"
    )
    assert store(node.peer(), files) == len(files)
    node.wait_for("measured;")
    assert 600_000 < max(most_received) <= LIMIT
    assert sum(each.is_established for each in links) == 2, "a sender of slices costs them nothing"


def test_an_object_larger_than_the_limit_closes_its_own_association_alone(start, files, open_to, most_received):
    node = start(max_incoming_gb=LIMIT_GB)
    bystander, greedy = open_to(node), open_to(node)
    send_unfinished(bystander, 300_000)
    eventually(lambda: received() > 200_000)
    send_unfinished(greedy, 2_000_000)
    greedy.join(PATIENCE_S)
    assert not greedy.is_established
    assert bystander.is_established
    assert max(most_received) <= LIMIT


def lost(link):
    link.dul.socket.socket.close()


@pytest.mark.parametrize("end", [Association.abort, Association.release, lost])
def test_what_an_association_held_is_released_when_it_ends(start, files, open_to, end):
    node = start(max_incoming_gb=LIMIT_GB)
    link = open_to(node)
    send_unfinished(link, 900_000)
    eventually(lambda: received() > 800_000)
    (held,) = of_nodes()
    end(link)
    held.join(PATIENCE_S)
    assert held.dimse.message is None, "or it waits for the garbage collector"
    assert open_to(node).send_c_store(large(files[0], 900_000, 1)).Status == 0
    node.stop()
    assert not any("closed" in line for line in node.said)


def test_objects_that_were_answered_are_not_counted(start, files, open_to):
    node = start(max_incoming_gb=LIMIT_GB)
    link = open_to(node)
    assert [link.send_c_store(large(files[0], 600_000, n)).Status for n in range(3)] == [0, 0, 0]
    assert link.send_c_echo().Status == 0


@pytest.fixture
def storing(monkeypatch):
    """Holds the node while it stores an image, until it is set."""
    go_on, original = threading.Event(), Inbox.add
    go_on.begun = threading.Event()

    def add(*args):
        go_on.begun.set()
        assert go_on.wait(PATIENCE_S)
        return original(*args)

    monkeypatch.setattr(Inbox, "add", add)
    yield go_on
    go_on.set()


def test_an_object_is_not_read_before_the_last_one_is_answered(start, files, open_to, most_received, storing):
    measured = []
    node = start(lambda folder: measured.append(len(list(folder.glob("*.dcm")))) or [], max_incoming_gb=LIMIT_GB)
    link = open_to(node)
    for n in range(3):  # as no sender may without negotiating it (PS3.7, D.3.3.3)
        for pdu in pdus(link, encode(large(files[0], 600_000, n), False, True), f"1.2.3.{n}"):
            link.dul.send_pdu(pdu)
    assert storing.begun.wait(PATIENCE_S)
    storing.set()
    eventually(lambda: len(list(node.out.rglob("*.dcm"))) == 3)
    link.release()
    node.wait_for("measured;")
    assert measured == [3]
    assert max(most_received) <= LIMIT


def test_the_association_that_was_silent_longest_gives_way_when_all_are_in_use(start, files, open_to, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    node = start(max_associations=3)
    first, second, third = (open_to(node) for _ in range(3))
    assert first.send_c_echo().Status == 0
    assert store(node.peer(), files) == len(files)
    second.join(PATIENCE_S)
    assert [each.is_established for each in (first, second, third)] == [True, False, True]
    node.wait_for("closed 1 association from SENDER: silent, while all 3 associations were in use")


def test_ten_silent_associations_keep_no_study_out(start, files, open_to, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    node = start()
    for _ in range(Node().max_associations):
        assert open_to(node).is_established
    assert store(node.peer(), files) == len(files)
    node.wait_for("measured;")


def test_a_silent_sender_keeps_its_association_while_others_are_free(start, files, open_to, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    node = start(max_associations=2)
    pausing = open_to(node)
    assert pausing.send_c_store(files[0]).Status == 0
    for _ in range(3):
        assert store(node.peer(), files[:1]) == 1
        eventually(lambda: len(of_nodes()) == 1)
    assert pausing.send_c_store(files[1]).Status == 0


def test_in_an_object_a_sender_may_pause_for_longer(start, files, open_to, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    node = start(max_associations=1)
    link = open_to(node)
    *most, last = pdus(link, encode(large(files[0], 60_000, 1), False, True))
    for pdu in most:
        link.dul.send_pdu(pdu)
    eventually(lambda: received() > 0)
    assert not open_to(node).is_established
    link.dul.send_pdu(last)
    eventually(lambda: list(node.out.rglob("*.dcm")))
    monkeypatch.setattr(associations, "STALLED_S", 0.0)
    send_unfinished(link, 60_000)
    eventually(lambda: received() > 0)
    assert open_to(node).is_established


def test_a_sender_that_waits_for_our_answer_is_not_silent(start, files, open_to, storing, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    monkeypatch.setattr(associations, "STALLED_S", 0.0)
    node = start(max_associations=1)
    link, statuses = open_to(node), []
    sending = threading.Thread(target=lambda: statuses.append(link.send_c_store(files[0]).Status))
    sending.start()
    assert storing.begun.wait(PATIENCE_S)
    assert not open_to(node).is_established
    storing.set()
    sending.join(PATIENCE_S)
    assert statuses == [0]


def test_a_caller_whom_the_node_refuses_costs_nobody_an_association(start, files, open_to, monkeypatch):
    monkeypatch.setattr(associations, "SILENT_S", 0.0)
    node = start(max_associations=1, callers=("SENDER",))
    link = open_to(node)
    for peer, title in ((node.peer("OTHER"), "SENDER"), (node.peer(), "STRANGER")):
        with pytest.raises(OutputError, match="refuses us"):
            store(peer, files, ae_title=title)
    assert link.send_c_store(files[0]).Status == 0
