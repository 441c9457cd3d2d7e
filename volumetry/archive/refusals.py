"""What is refused: images that do not say what they are, and callers without TLS or a certificate that is trusted.

Associations that are closed because of a limit are counted here as well.

They are counted where they are refused, and the log states them now and then.
"""

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
_DONE = {"image": "refused", "TLS connection": "refused", "association": "closed"}


class UnusableError(Exception):
    """An image cannot be filed; the text names the tag and no value."""


class Refusals:
    """Counts of refused images and closed associations by calling AE title, and of refused callers by address.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, Counter[tuple[str, str]]] = {what: Counter() for what in _DONE}
        self._lock = threading.Lock()
        self._due_s = clock()

    def count(self, title: str, reason: str) -> None:
        """One image more."""
        self._count("image", _readable(title), reason, "other titles")

    def count_closed(self, title: str, reason: str) -> None:
        """One association more that was closed."""
        self._count("association", _readable(title), reason, "other titles")

    def count_caller(self, address: str, reason: str) -> None:
        """One caller more whose TLS was refused."""
        self._count("TLS connection", address, reason, "other addresses")

    def _count(self, what: str, sender: str, reason: str, others: str) -> None:
        with self._lock:
            counts = self._counts[what]
            if len(counts) >= _MOST_KINDS and (sender, reason) not in counts:
                sender = others
            counts[sender, reason] += 1

    def lines(self, *, last: bool = False) -> list[str]:
        """A line for each sender and reason since the last lines; none before it is time, or the node ends."""
        with self._lock:
            if not any(self._counts.values()) or not (last or self._clock() >= self._due_s):
                return []
            counts, self._counts = self._counts, {what: Counter() for what in self._counts}
            self._due_s = self._clock() + EVERY_S
        return [
            f"{_DONE[what]} {plural(n, what)} from {sender}: {reason}"
            for what, some in counts.items()
            for (sender, reason), n in some.items()
        ]


def _readable(title: str) -> str:
    """What a sender calls itself is a title, and no text for the log."""
    return title.strip() if title.isascii() and title.isprintable() else "an unreadable title"


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
