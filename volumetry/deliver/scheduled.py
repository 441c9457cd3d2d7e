"""Where a scan stands in the schedule of its trial."""

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

    @property
    def study_day(self) -> int | None:
        """Study day of CDISC: the day of the first treatment is 1, the day before it -1, and there is no day 0.

        Examples
        --------
        >>> [Scheduled("", 1, day).study_day for day in (-1, 0, 28, None)]
        [-1, 1, 29, None]
        """
        return None if self.day is None else self.day + 1 if self.day >= 0 else self.day
