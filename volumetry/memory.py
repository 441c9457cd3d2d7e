"""What a process does with memory that was freed, and the most that one scan held at once.

A scan goes through some hundred arrays of 10 to 100 MB. By default the C library gives each of them back to the
system when it is freed, and gets it back page by page, zeroed: about a tenth of a scan's CPU time went there.
"""

import atexit
import contextlib
import ctypes
import gc
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 64 << 20
_LONG_SCAN_BYTES = 256 << 20
"""256 slices of 512 x 512 in 32 bits."""
FREED_MEMORY_KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_ARENA_MAX": "1",
}
"""Environment of a process that shall keep freed memory from its start: a thread has its own store by the time
that the process could ask for one."""


def keep_freed_memory() -> bool:
    """Tell the C library to keep up to 64 MiB of freed blocks; False where it has no such setting.

    Larger ones are the volumes of long scans: kept in pieces, they would cost more memory than time is saved. All
    threads share one store: by default each keeps its own.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # not glibc
        return False
    wanted = ((_M_MMAP_THRESHOLD, _KEPT_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, 1))
    return all(set_option(*option) for option in wanted)


def collect_garbage_seldom() -> None:
    """Let the interpreter look for garbage seldom, before torch and MONAI are imported, and not at its end.

    They are some 400 000 objects. A fifth of their import was looking for garbage among them, and half a second at
    the end of every command, when the system takes all of it anyway.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)


class PeakMemory:
    """The most memory that one piece of work held at once, in this process or in a child that worked for it."""

    def __init__(self) -> None:
        self._reset = _reset_peak()
        self._before_kb = _peak_kb()
        self._children_kb: list[int | None] = []

    def add_child(self, kb: int | None) -> None:
        """Count a child in; None if that failed."""
        self._children_kb.append(kb)

    @property
    def mb(self) -> float | None:
        """The peak so far; None where this system does not report it, or only that of earlier work too."""
        own_kb = _peak_kb()
        peaks = [own_kb, *self._children_kb]
        known = [kb for kb in peaks if kb is not None]
        if len(known) < len(peaks) or not (self._reset or (own_kb or 0) > (self._before_kb or 0)):
            return None
        return max(known) / 1024


_CURRENT: ContextVar[PeakMemory | None] = ContextVar("peak_memory", default=None)


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Watch the memory of what is done inside; what the process needed before does not count."""
    peak = PeakMemory()
    token = _CURRENT.set(peak)
    try:
        yield peak
    finally:
        _CURRENT.reset(token)


def note_child(kb: int | None) -> None:
    """Report to the work that is being watched, if any is, how much a child of it held at most."""
    peak = _CURRENT.get()
    if peak is not None:
        peak.add_child(kb)


def give_back_freed_memory(scan_bytes: int) -> None:
    """Return to the system what the C library keeps of freed blocks, before a stage of a long scan.

    What one stage freed in pieces is of no use to the large arrays of the next: 200 MB of a scan of 800 slices. A
    shorter scan is faster with what is kept.

    Parameters
    ----------
    scan_bytes
        Of the scan's HU.
    """
    if scan_bytes >= _LONG_SCAN_BYTES:
        _trim()


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_peak() -> bool:
    """Let the kernel forget the peak so far, once what earlier work freed is given back; False where it cannot."""
    _trim()
    try:
        _CLEAR.write_text(_RESET_PEAK, "ascii")
    except OSError:
        return False
    return True


def _peak_kb() -> int | None:
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text("ascii", "replace"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
