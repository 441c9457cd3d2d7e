"""Where a scan stands in the schedule of its trial."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The visit of one scan.

    Parameters
    ----------
    visit
        Its name in the trial.
    number
        Its place in the order of visits, from 1.
    day
        Whole days from the first treatment, which is day 0; None where days are not counted from it.
    """

    visit: str
    number: int
    day: int | None


def study_day(day: float | None) -> int | None:
    """Study day of CDISC: the day of the first treatment is 1, the day before it -1, and there is no day 0.

    Parameters
    ----------
    day
        Days from the first treatment, which is day 0; None if unknown.

    Returns
    -------
    int or None
        Whole.

    Examples
    --------
    >>> [study_day(day) for day in (-1, 0, 28.5, None)]
    [-1, 1, 29, None]
    """
    if day is None:
        return None
    whole = math.floor(day)
    return whole + 1 if whole >= 0 else whole
