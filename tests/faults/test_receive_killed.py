"""`receive` killed: the next start removes every received image, and asks again only for what has no answer."""

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pydicom
import pytest
from archive_node import PATIENCE_S
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt

from volumetry.archive.receive import Peer, store
from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_series

RECEIVE = """
import time
from pathlib import Path
import volumetry.cli.common as common
from volumetry.cli import main
from volumetry.segment.hu_segmenter import ThresholdSegmenter

class Stopping(ThresholdSegmenter):
    def __call__(self, scan):
        if scan.series.slice_count == {slow_slices}:
            Path({at_work!r}).touch()
            time.sleep(3600)
        return super().__call__(scan)

common.segmenter_of = lambda settings: Stopping()
main()
"""
SLOW_SLICES = 58

# pynetdicom leaves the socket of a connection that a killed node had to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


class Command:
    """`volumetry receive` in a process of its own."""

    def __init__(self, folder, config, archive_port):
        self.at_work = folder / "at-work"
        script, temporary = folder / "receive.py", folder / "tmp"
        temporary.mkdir(exist_ok=True)
        script.write_text(RECEIVE.format(slow_slices=SLOW_SLICES, at_work=str(self.at_work)), "utf-8")
        command = [
            *(sys.executable, "-u", script, "receive", "--out", folder / "out", "--port", "0", "--quiet-s", "0.3"),
            *("--send-to", f"127.0.0.1:{archive_port}:ARCHIVE", *config),
        ]
        self.process = subprocess.Popen(  # noqa: S603  our own script
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)}
        )
        self.said, self._told = [], threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", self.wait_for("listening"))[1])

    def _listen(self):
        for line in self.process.stdout:
            with self._told:
                self.said.append(line)
                self._told.notify_all()

    def wait_for(self, word):
        with self._told:
            assert self._told.wait_for(lambda: any(word in line for line in self.said), PATIENCE_S), self.said
        return next(line for line in self.said if word in line)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def archive():
    """Takes everything; what it was sent."""
    got = []
    ae = AE(ae_title="ARCHIVE")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax)
    handlers = [(evt.EVT_C_STORE, lambda event: got.append(event.request.AffectedSOPInstanceUID) or 0x0000)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()


def chest(folder, slices, subject):
    spec = PhantomSpec((slices, 64, 64), (5.0, 5.0, 5.0), (), vessels=False, seed=3)
    return write_series(make_phantom(spec), folder, SeriesSpec(subject=subject, seed=slices))


def received_images(*folders):
    """CT images anywhere below, whatever their name."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with contextlib.suppress(pydicom.errors.InvalidDicomError):
            if pydicom.dcmread(path, stop_before_pixels=True).get("Modality") == "CT":
                found.append(path)
    return found


@pytest.mark.parametrize("transit", [False, True], ids=["on disk", "in memory"])
def test_after_a_kill_no_image_stays_and_only_what_has_no_answer_is_asked_for(tmp_path, transit):
    with contextlib.ExitStack() as stack:
        config, places = [], [tmp_path / "out", tmp_path / "tmp"]
        if transit:
            memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
            (tmp_path / "s.toml").write_text(f'[receive]\ntransit = "{memory}"\n')
            config, places = ["--config", tmp_path / "s.toml"], [*places, memory]
        measured = chest(tmp_path / "measured", 60, "SYN-MEASURED")
        refused = chest(tmp_path / "refused", 62, "SYN-REFUSED")[::10]  # too few slices, far apart
        slow = chest(tmp_path / "slow", SLOW_SLICES, "SYN-SLOW")
        waiting = chest(tmp_path / "waiting", 56, "SYN-WAITING")[:2]
        port, got = stack.enter_context(archive())
        node = Command(tmp_path, config, port)
        stack.callback(node.kill)
        peer = Peer("127.0.0.1", node.port, "VOLUMETRY")
        store(peer, measured)
        node.wait_for("2 files sent back")
        store(peer, refused)
        node.wait_for("not measured:")
        store(peer, slow)
        while not node.at_work.exists():
            assert node.process.poll() is None, node.said
            threading.Event().wait(0.02)
        ae = AE(ae_title="SENDER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        link = ae.associate("127.0.0.1", node.port, ae_title="VOLUMETRY")
        assert [link.send_c_store(path).Status for path in waiting] == [0, 0]
        before = received_images(*places)
        assert len(before) == len(measured) + len(refused) + len(slow) + len(waiting)
        if transit:
            assert all(path.is_relative_to(memory) for path in before)
        node.kill()
        link.join(PATIENCE_S)
        again = Command(tmp_path, config, port)
        stack.callback(again.kill)
        asked = again.wait_for("send these studies again")
        assert f"removed {SLOW_SLICES + 2} images of 2 studies that a killed node had not measured" in asked
        assert "removed images of 2 studies that a killed node had measured" in "".join(again.said)
        assert received_images(*places) == []
        assert len(got) == 2, "what was delivered is not sent a second time"
        assert "SYN-" not in "".join(node.said + again.said)
