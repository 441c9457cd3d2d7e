"""What runs inside a worker: one scan under a time and a memory limit, with a model that is loaded once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

from volumetry.batch.work import Brief, Order, carry_out
from volumetry.config import Config
from volumetry.domain import Segmenter, SegmenterFacts
from volumetry.errors import UsageError
from volumetry.memory import collect_garbage_seldom, keep_freed_memory
from volumetry.scan import remove_private_folders
from volumetry.segment.factory import segmenter_from

_LOOK_EVERY_S = 0.1
_GRACE_S = 15.0
"""After the time limit the worker ends itself; if its threads cannot, the kernel ends it so much later."""
_OF_MEMORY = 0.9
"""Share of the worker's memory at which it ends itself; at 0.95 its nanny would, without a word."""


def measure_in_worker(order: Order, factory: str, settings: str) -> Brief:
    """Measure one scan under this worker's limits.

    Parameters
    ----------
    order
        The scan.
    factory
        ``module:function`` that makes the segmenter from the settings.
    settings
        The settings as JSON.
    """
    segmenter, config = _bench(factory, settings)
    with _limited(order, config.limits.scan_timeout_s, _memory_limit()):
        return carry_out(order, segmenter, config)


def facts_of(factory: str, settings: str) -> SegmenterFacts:
    """Which segmenter this worker has; loads it.

    Raises
    ------
    UsageError
        If the worker has several threads: two scans in one process share its limits and die together.
    """
    from distributed import get_worker

    with suppress(ValueError):  # outside a worker there is nothing to ask
        if get_worker().state.nthreads > 1:
            raise UsageError("a worker of a batch has one thread", hint="Start it with: dask worker --nthreads 1")
    return _bench(factory, settings)[0].facts


@lru_cache(maxsize=1)
def _bench(factory: str, settings: str) -> tuple[Segmenter, Config]:
    os.umask(0o077)
    keep_freed_memory()
    collect_garbage_seldom()
    config = Config.model_validate_json(settings)
    return segmenter_from(factory, config), config


def _memory_limit() -> int | None:
    """Bytes that this worker may hold, if it was given a limit."""
    from distributed import get_worker

    with suppress(ValueError, AttributeError):
        limit: int | None = get_worker().memory_manager.memory_limit
        return limit
    return None


@contextmanager
def _limited(order: Order, timeout_s: float, memory_bytes: int | None) -> Iterator[None]:
    """End this process if the scan takes too long or too much, leaving a note that says which it was.

    Nothing gentler is certain: a thread cannot be stopped, and native code need not listen.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(order, over, timeout_s, memory_bytes), daemon=True)
    watch.start()
    signal.setitimer(signal.ITIMER_REAL, timeout_s + _GRACE_S)  # its default action ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        over.set()
        watch.join()


def _watch(order: Order, over: threading.Event, timeout_s: float, memory_bytes: int | None) -> None:
    import psutil

    process = psutil.Process()
    waited_s = 0.0
    while not over.wait(_LOOK_EVERY_S):
        waited_s += _LOOK_EVERY_S  # not the clock's: a machine that slept did not work
        if waited_s > timeout_s:
            _end(order, "TIMEOUT")
        if memory_bytes is not None and process.memory_info().rss > _OF_MEMORY * memory_bytes:
            _end(order, "MEMORY_LIMIT")


def _end(order: Order, code: str) -> None:
    import psutil

    with suppress(OSError):
        order.stop_note.write_text(code, "ascii")
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    remove_private_folders()
    os._exit(1)
