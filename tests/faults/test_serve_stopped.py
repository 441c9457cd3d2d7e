"""`serve` told to stop while it is at work: it ends, whatever it waits for, and leaves nothing half-written.

Every stand-in waits for an hour inside a library call that no signal reaches, in the scan's thread and in a thread
pool of its own, as the network does. That the process ends at all shows that nobody waits for them.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

LONG_S = 3600
ENDS_WITHIN_S = 300
"""Far more than it takes, and far less than the stand-ins wait."""
SERVE = """
import ctypes, sys
from concurrent.futures import ThreadPoolExecutor
import volumetry.cli.common as common
import volumetry.deliver.report as report
from volumetry.cli import main
from volumetry.segment.hu_segmenter import ThresholdSegmenter

def deep_in_a_library(*_):
    with ThreadPoolExecutor(1) as thread:
        thread.submit(ctypes.CDLL(None).sleep, {long_s})
        ctypes.CDLL(None).sleep({long_s})

class Slow(ThresholdSegmenter):
    def __call__(self, scan):
        deep_in_a_library()

slow_stage = sys.argv.pop(1)
common.segmenter_of = lambda settings: Slow() if slow_stage == "segment" else ThresholdSegmenter()
if slow_stage == "deliver":
    report.write_report = deep_in_a_library
main(sys.argv[1:])
"""


class Server:
    """The command in a process of its own, and a page that has used its link."""

    def __init__(self, folder, slow_stage):
        self.keep, self.temporary, script = folder / "keep", folder / "tmp", folder / "serve.py"
        self.temporary.mkdir(exist_ok=True)
        script.write_text(SERVE.format(long_s=LONG_S), "utf-8")
        command = [sys.executable, str(script), slow_stage, "serve", "--no-browser", "--keep", str(self.keep)]
        self.process = subprocess.Popen(  # noqa: S603  our own script
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
        )
        link = self.process.stdout.readline().decode().split()[1]
        self.port = int(re.search(r":(\d+)/", link)[1])
        self.headers = {}
        answer, _ = self.ask("GET", link.split(str(self.port), 1)[1])
        self.headers = {"cookie": answer.getheader("set-cookie").split(";")[0]}
        csrf = json.loads(self.ask("GET", "/session.json")[1])["csrf"]
        self.headers |= {"origin": f"http://127.0.0.1:{self.port}", "x-csrf-token": csrf}
        self.job = json.loads(self.ask("POST", "/jobs")[1])["job"]

    def ask(self, method, path, body=None):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            return answer, answer.read()

    def measure(self, scan, until):
        """Drop the scan and return when it is in a stage."""
        for path in sorted(scan.iterdir()):
            self.ask("PUT", f"/jobs/{self.job}/files", path.read_bytes())
        self.ask("POST", f"/jobs/{self.job}/start")
        while (facts := json.loads(self.ask("GET", f"/jobs/{self.job}")[1]))["stage"] != until:
            assert facts["state"] in ("waiting", "running"), facts
            time.sleep(0.02)

    def stopped_by(self, number):
        """Exit code and standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=ENDS_WITHIN_S)
        return self.process.returncode, said.decode()


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(slow_stage):
            server = Server(tmp_path, slow_stage)
            stack.callback(server.process.communicate)
            stack.callback(server.process.kill)
            return server

        yield start


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_it_ends_while_a_scan_is_segmented(serve, small_scan, number, code):
    server = serve("segment")
    server.measure(small_scan, "segment")
    assert server.stopped_by(number) == (code, "")
    assert list(server.temporary.iterdir()) == []
    assert list(server.keep.iterdir()) == []


def test_it_ends_while_a_result_is_written_and_leaves_none_of_it(serve, small_scan):
    server = serve("deliver")
    server.measure(small_scan, "deliver")
    while not list(server.keep.glob(".*/run.json")):
        time.sleep(0.02)  # all but the report is written
    assert server.stopped_by(signal.SIGTERM) == (143, "")
    assert list(server.temporary.iterdir()) == []
    assert list(server.keep.iterdir()) == []


def test_it_ends_while_a_browser_stands_still_in_an_upload(serve):
    server = serve("nothing")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.putrequest("PUT", f"/jobs/{server.job}/files")
        for name, value in (server.headers | {"content-length": "1000"}).items():
            connection.putheader(name, value)
        connection.endheaders(b"half")
        while not [path for path in server.temporary.rglob("scan/*") if path.stat().st_size]:
            time.sleep(0.02)
        code, said = server.stopped_by(signal.SIGTERM)
    assert code == 143
    assert "Traceback" not in said
    assert list(server.temporary.iterdir()) == []


def test_what_a_killed_server_left_goes_with_the_next_one(serve, small_scan):
    """An unfinished result, and the upload, which names the patient."""
    server = serve("deliver")
    server.measure(small_scan, "deliver")
    while not list(server.keep.glob(".*/run.json")):
        time.sleep(0.02)
    server.stopped_by(signal.SIGKILL)
    assert len(list(server.keep.iterdir())) == 1
    assert len(list(server.temporary.rglob("scan/*"))) == len(list(small_scan.iterdir()))
    (server.temporary / "of-another-program").write_text("theirs")
    again = serve("nothing")
    assert list(again.keep.iterdir()) == []
    assert not list(again.temporary.rglob("scan/*"))
    assert again.stopped_by(signal.SIGTERM)[0] == 143
    assert [path.name for path in again.temporary.iterdir()] == ["of-another-program"]
