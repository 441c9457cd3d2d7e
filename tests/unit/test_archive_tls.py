"""Associations with TLS: who is heard, who is believed. Certificates are made here; the other side is not ours."""

import contextlib
import gc
import http.server
import socket
import ssl
import threading
from types import SimpleNamespace

import pydicom
import pytest
from archive_node import PATIENCE_S, Running, small_image
from certificates import certificate, expired, openssl
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from volumetry.archive import acceptor
from volumetry.archive import refusals as refusals_module
from volumetry.archive import tls as tls_module
from volumetry.archive.dicomweb import Access, push
from volumetry.archive.receive import Node, Peer, store
from volumetry.archive.tls import Tls
from volumetry.errors import ConfigError, OutputError, UsageError
from volumetry.phantom import SeriesSpec, write_series

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    ours, theirs = certificate(folder, "hospital"), certificate(folder, "stranger")
    return SimpleNamespace(
        folder=folder,
        authority=ours.certificate,
        hospital=ours,
        node=certificate(folder, "node", ours),
        sender=certificate(folder, "sender", ours),
        stranger=certificate(folder, "mallory", theirs),
        misnamed=certificate(folder, "misnamed", ours, "DNS:pacs.example"),
    )


@pytest.fixture
def files(tmp_path):
    return write_series(small_image(), tmp_path / "scan", SeriesSpec(seed=3))


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


def context(purpose, keys, own):
    """The other side's TLS, by the standard library alone."""
    made = ssl.create_default_context(purpose, cafile=keys.authority)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(own.certificate, own.key)
    return made


@contextlib.contextmanager
def archive(keys, own):
    """A storage node of pynetdicom that takes TLS with certificates alone."""
    kept = []

    def stored(event):
        kept.append(event.dataset.SOPInstanceUID)
        return 0

    ae = AE(ae_title="PACS")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=context(ssl.Purpose.CLIENT_AUTH, keys, own),
        evt_handlers=[(evt.EVT_C_STORE, stored)],
    )
    try:
        yield server.server_address[1], kept
    finally:
        server.shutdown()


def send(node, files, tls_args):
    """pynetdicom as the sender; how many were taken."""
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.acse_timeout = ae.network_timeout = 5
    link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY", tls_args=tls_args)
    if not link.is_established:
        return 0
    taken = sum(link.send_c_store(path).Status == 0 for path in files)
    link.release()
    return taken


def test_a_connection_without_a_handshake_keeps_nobody_waiting(start, files, keys, monkeypatch):
    monkeypatch.setattr(acceptor, "GREETING_S", 600.0)  # none of them is closed for its silence
    node = start(lambda _: [], tls=Tls.from_files(keys.node.certificate, keys.node.key, keys.authority))
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(acceptor.MOST_SILENT + 6)]
    assert send(node, files, (context(ssl.Purpose.SERVER_AUTH, keys, keys.sender), "127.0.0.1")) == len(files)
    for one in silent:
        one.close()


def test_a_study_comes_in_and_its_results_go_back_over_tls(start, files, keys, tmp_path):
    results = write_series(small_image(), tmp_path / "results", SeriesSpec(seed=4))
    seen = []

    def on_study(folder):
        seen.extend(pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir())
        return results

    with archive(keys, keys.node) as (port, kept):
        back = Peer("127.0.0.1", port, "PACS", keys.node)
        node = start(on_study, lambda some: store(back, some), tls=keys.node)
        assert any("with TLS" in line for line in node.said)
        arguments = (context(ssl.Purpose.SERVER_AUTH, keys, keys.sender), "127.0.0.1")
        assert send(node, files, arguments) == len(files)
        node.wait_for("sent back")
    assert set(seen) == {pydicom.dcmread(path).SOPInstanceUID for path in files}
    assert set(kept) == {pydicom.dcmread(path).SOPInstanceUID for path in results}


def test_the_wire_carries_no_dicom_in_clear(start, files, keys):
    """What a listener on the line hears: TLS records and no UID."""
    node = start(lambda _: [], tls=keys.node)
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay():
            caller, _ = listener.accept()
            with caller, socket.create_connection(("127.0.0.1", node.port)) as called:
                for one, other in ((caller, called), (called, caller)):
                    threading.Thread(target=pump, args=(one, other), daemon=True).start()
                done.wait(PATIENCE_S)

        def pump(one, other):
            with contextlib.suppress(OSError):
                while some := one.recv(65536):
                    heard.append(some)
                    other.sendall(some)

        done = threading.Event()
        threading.Thread(target=relay, daemon=True).start()
        peer = Peer("127.0.0.1", listener.getsockname()[1], "VOLUMETRY", keys.sender)
        assert store(peer, files) == len(files)
        done.set()
    node.wait_for("measured;")
    said = b"".join(heard)
    assert len(said) > sum(len(pydicom.dcmread(path).PixelData) for path in files)
    assert str(pydicom.dcmread(files[0]).SOPInstanceUID).encode() not in said
    assert b"VOLUMETRY" not in said


@pytest.mark.parametrize("caller", ["in clear", "no certificate", "a stranger's certificate", "silent"])
def test_who_is_not_known_is_not_heard_and_the_next_one_is(caller, start, files, keys, monkeypatch):
    monkeypatch.setattr(tls_module, "_HANDSHAKE_S", 0.5)
    node = start(lambda _: [], tls=keys.node)
    nobody = ssl.create_default_context(cafile=keys.authority)
    stranger = ssl.create_default_context(cafile=keys.authority)
    stranger.load_cert_chain(keys.stranger.certificate, keys.stranger.key)
    how = {
        "in clear": None,
        "no certificate": (nobody, "127.0.0.1"),
        "a stranger's certificate": (stranger, "127.0.0.1"),
    }
    if caller == "silent":
        silent = socket.create_connection(("127.0.0.1", node.port))
    else:
        assert send(node, files, how[caller]) == 0
    assert store(node.peer(tls=keys.sender), files) == len(files)
    node.wait_for("measured;")
    if caller == "silent":
        silent.close()
    assert sum("whole" in line for line in node.said) == 1


def handshake(node, made):
    """A caller that begins with TLS and reads until the node closes."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", node.port), PATIENCE_S) as plain,
        made.wrap_socket(plain, server_hostname="127.0.0.1") as caller,
    ):
        caller.recv(1)


def test_the_log_states_why_a_caller_was_refused_and_nothing_of_a_probe(start, files, keys, tmp_path, monkeypatch):
    """In OpenSSL's words for a certificate; a load balancer's probe connects and closes."""
    monkeypatch.setattr(refusals_module, "EVERY_S", 0.0)
    node = start(lambda _: [], tls=keys.node)
    socket.create_connection(("127.0.0.1", node.port)).close()
    untrusted = "its certificate is not trusted"
    alone, old = certificate(tmp_path, "alone"), expired(tmp_path, "old", keys.hospital)
    for caller, said in (
        (
            context(ssl.Purpose.SERVER_AUTH, keys, keys.stranger),
            f"{untrusted} (unable to get local issuer certificate)",
        ),
        (context(ssl.Purpose.SERVER_AUTH, keys, alone), f"{untrusted} (self-signed certificate)"),
        (context(ssl.Purpose.SERVER_AUTH, keys, old), f"{untrusted} (certificate has expired)"),
        (ssl.create_default_context(cafile=keys.authority), "it presents no certificate"),
        (
            ssl.create_default_context(cafile=keys.stranger.authorities),
            "it ended the handshake (tlsv1 alert unknown ca)",
        ),
    ):
        handshake(node, caller)
        node.wait_for(f"refused 1 TLS connection from 127.0.0.1: {said}")
    assert send(node, files, None) == 0
    node.wait_for("refused 1 TLS connection from 127.0.0.1: it does not use TLS")
    node.stop()
    assert sum(line.startswith("refused") for line in node.said) == 6


@pytest.mark.parametrize("other", ["stranger", "misnamed", "in clear"])
def test_nothing_is_sent_to_an_archive_that_is_not_the_one_named(other, files, keys, start):
    if other == "in clear":
        node = start(lambda _: [])
        with pytest.raises(OutputError, match="cannot be reached"):
            store(node.peer(tls=keys.sender), files)
        return
    with archive(keys, getattr(keys, other)) as (port, kept):
        with pytest.raises(OutputError, match="cannot be reached") as stop:
            store(Peer("127.0.0.1", port, "PACS", keys.sender), files)
        assert "TLS" in stop.value.hint
        assert kept == []


def test_without_authorities_any_caller_is_heard_but_encrypted(start, files, keys):
    node = start(lambda _: [], tls=Tls(keys.node.certificate, keys.node.key))
    assert send(node, files, None) == 0
    assert send(node, files, (ssl.create_default_context(cafile=keys.authority), "127.0.0.1")) == len(files)
    node.wait_for("measured;")


def test_files_come_together_and_must_be_what_they_are_said_to_be(keys, tmp_path):
    pem, key = keys.node.certificate, keys.node.key
    assert Tls.from_files(None, None, None) is None
    for half in ((pem, None, None), (None, key, None), (None, None, pem)):
        with pytest.raises(UsageError, match="both"):
            Tls.from_files(*half)
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
    (tmp_path / "text.pem").write_text("no certificate")
    for wrong in (
        Tls(pem, locked),
        Tls(pem, keys.sender.key),
        Tls(pem, tmp_path / "missing.key"),
        Tls(tmp_path / "text.pem", key),
        Tls(pem, key, tmp_path / "text.pem"),
    ):
        for made in (wrong.for_callers, wrong.for_calling):
            with pytest.raises(ConfigError, match="cannot be used"):
                made()


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(self.headers["Authorization"])
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_dicomweb_archive_is_believed_by_the_given_bundle_and_sees_our_certificate(files, keys):
    server = http.server.HTTPServer(("127.0.0.1", 0), _Refusing)
    server.heard = []
    server.socket = context(ssl.Purpose.CLIENT_AUTH, keys, keys.node).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"https://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        with pytest.raises(OutputError, match="cannot be reached"):
            push(address, files[:1], Access("token"))
        with pytest.raises(OutputError, match="cannot be reached"):
            push(address, files[:1], Access("token", keys.authority))
        assert server.heard == [], "the token went to an archive that was not believed"
        with pytest.raises(OutputError, match="401"):
            push(address, files[:1], Access("token", keys.authority, keys.sender.certificate, keys.sender.key))
        assert server.heard == ["Bearer token"]
    finally:
        server.shutdown()
        server.server_close()
