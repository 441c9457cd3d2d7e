"""Images that do not say what they are: counted where they are refused, and the log states them now and then."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from pydicom import Dataset

from volumetry.scan.findings import named, plural
from volumetry.scan.headers.values import quiet_pydicom

EVERY_S = 60.0
"""Between two statements, so that no sender fills the log."""
_MOST_KINDS = 20


class UnusableError(Exception):
    """An image cannot be filed; the text names the tag and no value."""


class Refusals:
    """Counts of refused images by calling AE title and reason.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._due_s = clock()

    def count(self, title: str, reason: str) -> None:
        """One more; what a sender calls itself is a title and no text for the log."""
        title = title.strip() if title.isascii() and title.isprintable() else "an unreadable title"
        with self._lock:
            if len(self._counts) >= _MOST_KINDS and (title, reason) not in self._counts:
                title = "other titles"
            self._counts[title, reason] += 1

    def lines(self, *, last: bool = False) -> list[str]:
        """A line for each title and reason since the last lines; none before it is time, or the node ends."""
        with self._lock:
            if not self._counts or not (last or self._clock() >= self._due_s):
                return []
            counts, self._counts = self._counts, Counter()
            self._due_s = self._clock() + EVERY_S
        return [f"refused {plural(n, 'image')} from {title}: {reason}" for (title, reason), n in counts.items()]


def uid_of(dataset: Dataset, keyword: str) -> str:
    """A UID without which an image cannot be filed.

    Parameters
    ----------
    dataset
        As received.
    keyword
        Of the UID.

    Returns
    -------
    str
        Not empty.

    Raises
    ------
    UnusableError
        If there is none, or it cannot be read.
    """
    try:
        with quiet_pydicom():
            uid = str(dataset.get(keyword) or "").strip()
    except Exception as damaged:  # a damaged dataset raises anything
        raise UnusableError(f"{named(keyword)} cannot be read") from damaged
    if not uid:
        raise UnusableError(f"no {named(keyword)}")
    return uid
