"""A scan done again: its new folder takes the place of the old one, which goes to ``earlier/<scan_id>/<n>/``.

The new folder first lies beside the earlier ones, under a hidden name that says whose record it holds. Then the
two change places in one call, where the system can, and else in two. Killed between any two calls, the scan's
folder is the old one or the new one, or, for a moment in the second way, waits for the next run to put it into its
place.

A worker does this much. The run that holds the batch's folder gives the old one its number and enters it in the
log.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from volumetry.batch.records import Record, TornError, read_record
from volumetry.storage.atomic import next_numbered
from volumetry.storage.placing import exchange


def take_place(folder: Path, record: Record, final: Path, earlier: Path) -> None:
    """Put a whole new folder where an old one is.

    Parameters
    ----------
    folder
        The new one, with its record in it.
    record
        That record.
    final
        The scan's folder.
    earlier
        ``earlier/<scan_id>``, which is there.
    """
    waiting = earlier / f".{record['sha256']}"
    os.rename(folder, waiting)
    if not exchange(waiting, final):
        os.rename(final, next_numbered(earlier))
        os.rename(waiting, final)


def settle(earlier: Path, final: Path, attic: Path) -> None:
    """Bring to its end what `take_place` began, or undo it; what was replaced then has its number.

    Parameters
    ----------
    attic
        Where a new folder goes whose turn never came. It was never a result.
    """
    for hidden in sorted(earlier.glob(".*")):
        if not _is_new(hidden):
            os.rename(hidden, next_numbered(earlier))
        elif final.exists():
            os.rename(hidden, attic / hidden.name)
        else:
            os.rename(hidden, final)


@contextlib.contextmanager
def alone(earlier: Path) -> Iterator[None]:
    """Keep a second worker that was given the same scan out; the folder is made if it is missing."""
    earlier.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(earlier, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_new(hidden: Path) -> bool:
    """Whether the folder that lay there from the first still does."""
    try:
        return bool(f".{read_record(hidden)['sha256']}" == hidden.name)
    except (FileNotFoundError, TornError):
        return False
