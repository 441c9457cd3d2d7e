"""A sign of life beside the lock, for file systems that keep no lock between machines.

The kernel's lock decides on one machine. Between machines some network file systems ignore it: there the lock's
file shows whether its holder lives. It names process and host and counts beats while the run goes on. A count that
moves is a living holder, whatever the clocks of the two machines say; one that stands still is a dead one.
"""

import contextlib
import json
import os
import socket
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

from volumetry.errors import BusyError

BEAT_S = 5.0
PATIENCE_S = 4 * BEAT_S
"""A holder on another machine that is not heard for so long is dead; only such a one is waited for."""


class Lease:
    """The holder's name in the lock's file, kept alive by a thread from `begin` to `end`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._me = {"process": os.getpid(), "host": socket.gethostname()}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Write the name, and keep writing it; only a run with work to do does, so that others change nothing."""
        self._write(0)
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise BusyError if a run on another machine wrote its name over ours."""
        if self._thread is not None and self._lost():
            raise BusyError(f"another run took this output folder{named(holder(self._path))}")

    def end(self) -> None:
        """Leave the file empty, also of a dead holder's name, unless it is another's by now."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):  # the lock is let go of whatever its file says
            if not (self._thread is not None and self._lost()) and self._path.stat().st_size:
                os.truncate(self._path, 0)

    def _keep(self) -> None:
        for beat in count(1):
            if self._over.wait(BEAT_S) or self._lost():
                return
            self._write(beat)

    def _write(self, beat: int) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the run here: the next result will
            line = json.dumps({**self._me, "beat": f"{beat:012}"}).encode("ascii")
            descriptor = os.open(self._path, os.O_WRONLY)
            try:
                os.pwrite(descriptor, line, 0)
                os.ftruncate(descriptor, len(line))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _lost(self) -> bool:
        who = holder(self._path)
        return who is not None and any(who[key] != self._me[key] for key in self._me)


def holder(path: Path) -> dict[str, Any] | None:
    """Who is named in a lock's file; None if nobody is."""
    try:
        who: dict[str, Any] = json.loads(path.read_bytes())
        return {"process": int(who["process"]), "host": str(who["host"]), "beat": str(who.get("beat", ""))}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def named(who: dict[str, Any] | None) -> str:
    """A holder for a message."""
    return "" if who is None else f": process {who['process']} on {who['host']}"


def require_dead(path: Path) -> None:
    """Raise BusyError if the file names a run on another machine that is alive; waits for a beat only then."""
    first = holder(path)
    if first is None or first["host"] == socket.gethostname():  # here the kernel's lock has decided already
        return
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 10)
        if holder(path) not in (first, None):
            raise BusyError(f"another run holds this output folder{named(first)}")
