"""How far a batch is: counts, speed, and how long it will take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from volumetry.domain import Status


@dataclass(slots=True)
class Tally:
    """Counts of a running batch; give it every scan that `OnScan` is called with.

    Parameters
    ----------
    total
        Scans in all.
    counts
        Scans by status.
    done
        Scans finished, those of earlier runs included.
    computed
        Scans measured in this run.

    Examples
    --------
    >>> tally = Tally(3)
    >>> tally.add({"status": "measured"}, known=True)
    >>> tally.counts["measured"], tally.done, tally.left_s
    (1, 1, None)
    """

    total: int
    counts: dict[str, int] = field(default_factory=lambda: {status.value: 0 for status in Status})
    done: int = 0
    computed: int = 0
    _first: float = field(default_factory=monotonic)
    _last: float = field(default_factory=monotonic)

    def add(self, document: Mapping[str, Any], *, known: bool) -> None:
        """Count one scan.

        Parameters
        ----------
        document
            Content of the scan's result.json.
        known
            Whether an earlier run had measured it: then it says nothing about the speed of this one.
        """
        self.counts[document["status"]] += 1
        self.done += 1
        self._last = monotonic()
        if not known:
            self.computed += 1

    @property
    def per_minute(self) -> float | None:
        """Scans measured per minute in this run; None before the first."""
        elapsed = self._last - self._first
        return 60 * self.computed / elapsed if self.computed and elapsed > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds to go at this speed; None while it is unknown."""
        rate = self.per_minute
        return None if rate is None else 60 * (self.total - self.done) / rate

    def as_document(self) -> dict[str, Any]:
        """The counts for a line of JSON.

        Returns
        -------
        dict[str, Any]
            What is unknown is None.
        """
        rate, left = self.per_minute, self.left_s
        return {
            "done": self.done,
            "total": self.total,
            **self.counts,
            "per_minute": None if rate is None else round(rate, 2),
            "left_s": None if left is None else round(left),
        }
