"""An archive that refuses the transfer syntax of a SEG is sent the same instance uncompressed."""

import http.server
import io
import json
import threading
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from archive_node import small_image
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode

from volumetry.archive import syntaxes
from volumetry.archive.dicomweb import push
from volumetry.archive.receive import Peer, store
from volumetry.archive.syntaxes import kinds_to_offer, uids_in
from volumetry.errors import OutputError
from volumetry.phantom import SeriesSpec, write_series


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One image in three transfer syntaxes, each made by pydicom."""
    folder = tmp_path_factory.mktemp("image")
    plain = write_series(small_image(), folder / "scan", SeriesSpec())[0]
    files = {ExplicitVRLittleEndian: plain}
    for syntax in (DeflatedExplicitVRLittleEndian, RLELossless):
        ds = pydicom.dcmread(plain)
        if syntax == RLELossless:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = syntax
        files[syntax] = folder / f"{syntax}.dcm"
        ds.save_as(files[syntax], enforce_file_format=True)
    return files


@contextmanager
def node(*syntaxes, refuses=()):
    """A node that takes these syntaxes in negotiation, and does not understand objects in some of them."""
    got = []

    def stored(event):
        if event.context.transfer_syntax in refuses:
            return 0xC000
        ds = event.dataset
        ds.file_meta = event.file_meta
        got.append(ds)
        return 0x0000

    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(CTImageStorage, list(syntaxes))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    try:
        yield Peer("127.0.0.1", server.server_address[1], "ARCHIVE"), got
    finally:
        server.shutdown()


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize(
    ("taken", "not_understood", "arrives"),
    [
        ("its own", False, "its own"),
        ("explicit", False, ExplicitVRLittleEndian),
        ("implicit", False, ImplicitVRLittleEndian),
        ("both", False, ExplicitVRLittleEndian),
        ("its own and explicit", True, ExplicitVRLittleEndian),
    ],
)
def test_a_node_gets_the_instance_in_a_syntax_that_it_takes(written, syntax, taken, not_understood, arrives):
    takes = {
        "its own": [syntax],
        "explicit": [ExplicitVRLittleEndian],
        "implicit": [ImplicitVRLittleEndian],
        "both": [ImplicitVRLittleEndian, ExplicitVRLittleEndian],
        "its own and explicit": [syntax, ExplicitVRLittleEndian],
    }[taken]
    with node(*takes, refuses=[syntax] if not_understood else []) as (peer, got):
        assert store(peer, [written[syntax]]) == 1
    assert_same_instance(got, written, syntax if arrives == "its own" else arrives)


def assert_same_instance(got, written, syntax):
    (ds,) = got
    original = pydicom.dcmread(written[ExplicitVRLittleEndian])
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.SOPInstanceUID == original.SOPInstanceUID
    assert np.array_equal(ds.pixel_array, original.pixel_array)


def test_a_node_that_understands_no_form_is_said(written):
    with (
        node(DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, refuses=written) as (peer, got),
        pytest.raises(OutputError, match="refused file 1 of 1"),
    ):
        store(peer, [written[DeflatedExplicitVRLittleEndian]])
    assert got == []


def test_a_jpeg_is_offered_as_it_is_and_in_no_other_form():
    kinds = [("1.2", str(JPEG2000Lossless)), ("1.3", str(RLELossless)), ("1.3", str(ExplicitVRLittleEndian))]
    offered = list(kinds_to_offer(kinds))
    assert set(offered) == {*kinds, ("1.3", str(ImplicitVRLittleEndian))}
    assert len(offered) == 4


class Stow(http.server.BaseHTTPRequestHandler):
    """An archive that answers to what it does not take as its class says: 0 lists it as failed."""

    answer = 409
    got: list[pydicom.Dataset] = []  # noqa: RUF012  set anew by each test

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        start = body.index(b"DICM") - 128
        ds = pydicom.dcmread(io.BytesIO(body[start : body.rindex(b"\r\n--")]))
        plain = ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        if plain:
            self.got.append(ds)
        elif self.answer:
            self.send_response(self.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        # PS3.18, annex I: stored instances in (0008,1199), failed ones in (0008,1198).
        item = {"00081155": {"vr": "UI", "Value": [ds.SOPInstanceUID]}}
        said = json.dumps({"00081199" if plain else "00081198": {"vr": "SQ", "Value": [item]}}).encode()
        self.send_response(200 if plain else 202)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_arguments):
        pass


@contextmanager
def stow(answer):
    class Handler(Stow):
        got = []  # noqa: RUF012

    Handler.answer = answer
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/dicom-web", Handler.got
        finally:
            server.shutdown()


@pytest.mark.parametrize("answer", [0, 400, 409, 415])
@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, RLELossless])
def test_dicomweb_that_refuses_the_syntax_gets_the_instance_uncompressed(written, syntax, answer):
    with stow(answer) as (url, got):
        assert push(url, [written[syntax]]) == 1
    assert_same_instance(got, written, ExplicitVRLittleEndian)


@pytest.mark.parametrize("answer", [401, 403, 413, 500])
def test_any_other_answer_is_the_answer(written, answer):
    with stow(answer) as (url, got), pytest.raises(OutputError, match=f"answered {answer}"):
        push(url, [written[DeflatedExplicitVRLittleEndian]])
    assert got == []


RECEIVED = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", RECEIVED)
def test_the_uids_of_a_received_object_are_read_without_its_pixels(written, syntax, monkeypatch):
    ds = pydicom.dcmread(written[ExplicitVRLittleEndian])
    ds.PixelData = bytes(8_000_000)
    content = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    monkeypatch.setattr(syntaxes, "MOST_INFLATED", 1 << 16)
    tracemalloc.start()
    uids = uids_in(content, syntax)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (uids.StudyInstanceUID, uids.SOPInstanceUID) == (ds.StudyInstanceUID, ds.SOPInstanceUID)
    assert peak < 1_000_000
