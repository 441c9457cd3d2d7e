"""An earlier measurement of the same person, and how far the present one is from it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriorVisit:
    """One earlier visit.

    Parameters
    ----------
    scan_id, acquisition_date
        Of the earlier scan; YYYYMMDD.
    days_before
        Days from it to the present scan, at least 1.
    reading
        Whose mask was counted: ``automatic`` or ``reader``.
    volumes_ml, percent_of_lung, interval_percent
        As in its result.json.
    change_ml, change_points
        Present minus earlier, in mL and in percentage points of lung; a component is absent where the two results
        do not divide the lesion by the same rule.
    grade
        A comparable, B look, C not comparable.
    reasons, unknown
        Codes of what lowers the grade, such as ``KERNEL_CHANGED:B``, and of what could not be compared.
    lung_volume_ratio
        Present lung volume over the earlier one.
    predicted_shift_percent
        Relative change of every share, in percent, if only the breath had changed.
    """

    scan_id: str
    acquisition_date: str
    days_before: int
    reading: str
    volumes_ml: Mapping[str, float]
    percent_of_lung: Mapping[str, float]
    interval_percent: Mapping[str, tuple[float, float]]
    change_ml: Mapping[str, float]
    change_points: Mapping[str, float]
    grade: str
    reasons: tuple[str, ...]
    unknown: tuple[str, ...]
    lung_volume_ratio: float
    predicted_shift_percent: float
