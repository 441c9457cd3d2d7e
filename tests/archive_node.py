"""A receiving node in a thread, and a series small enough to send to it again and again."""

import threading

import numpy as np

from volumetry.archive.receive import Peer, receive
from volumetry.domain import Grid

PATIENCE_S = 60


def small_image():
    grid = Grid((4, 16, 16), (5.0, 2.0, 2.0))
    return np.zeros(grid.shape_kji, np.float32), grid


class Running:
    """A node in a thread."""

    def __init__(self, node, out, on_study, send_back=None, **more):
        self.said, self.port, self.out = [], 0, out
        self._stop, ready = threading.Event(), threading.Event()

        def on_ready(port):
            self.port = port
            ready.set()

        self.told = threading.Condition()
        more |= {"say": self._say, "stop": self._stop, "on_ready": on_ready}
        self._thread = threading.Thread(
            target=receive, args=(node, out, on_study, send_back), kwargs=more, daemon=True
        )
        self._thread.start()
        assert ready.wait(PATIENCE_S)

    def _say(self, line):
        with self.told:
            self.said.append(line)
            self.told.notify_all()

    def wait_for(self, word):
        with self.told:
            assert self.told.wait_for(lambda: any(word in line for line in self.said), PATIENCE_S), self.said

    def peer(self, title="VOLUMETRY", tls=None):
        return Peer("127.0.0.1", self.port, title, tls)

    def stop(self):
        self._stop.set()
        self._thread.join(PATIENCE_S)
