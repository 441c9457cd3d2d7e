"""A real archive for the length of a test: Debian's Orthanc on free ports of this machine."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from web_browser import need


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Orthanc:
    http: int
    dimse: int
    ae_title: str = "ORTHANC"

    @property
    def dicom_web(self):
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def ask(self, path, body=None):
        return json.loads(self.fetch(path, body))

    def delete(self, path):
        """Take what lies at a path out of the archive."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310  our own Orthanc

    def answers(self):
        """OSError while it does not; one that asks for a password does answer."""
        try:
            self.ask("/system")
        except urllib.error.HTTPError as refused:
            if refused.code != 401:
                raise

    def fetch(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  our own Orthanc
            return answer.read()


@contextlib.contextmanager
def orthanc(folder: Path, node_port=0, **more):
    """An Orthanc that knows our node as VOL; nothing of it stays on the disk but `folder`."""
    need("Orthanc")
    command = ["dpkg", "-L", "orthanc-dicomweb"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  our own fixed call
    plugin = next(line for line in listed.splitlines() if line.endswith(".so"))
    made = Orthanc(free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder),
        "HttpPort": made.http, "DicomPort": made.dimse, "DicomAet": made.ae_title,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "UnknownSopClassAccepted": True,
        "DicomModalities": {"VOL": ["VOLUMETRY", "127.0.0.1", node_port]},
        "Plugins": [plugin], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **more,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        server = subprocess.Popen([shutil.which("Orthanc"), folder / "orthanc.json"], stdout=log, stderr=log)  # noqa: S603  our own fixed call
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                made.answers()
                break
            time.sleep(0.1)
        else:
            raise RuntimeError((folder / "orthanc.log").read_text()[-2000:])
        yield made
    finally:
        server.terminate()
        server.wait(timeout=30)
