"""How a number is written into the report: as many digits as mean something, and its uncertainty."""

from collections.abc import Mapping
from typing import Any

from pydicom.sr.coding import Code

Number = tuple[Code, float, Code]
"""Concept, value, unit."""

DIGITS = 2
"""Decimals of mL and of percent: 0.01 mL is less than the smallest lesion that is counted."""


def sensible(value: float) -> float:
    """A number with two decimals; of less than that, one digit, so that a trace is not written as nothing.

    >>> sensible(1234.56789), sensible(0.00234), sensible(0.0)
    (1234.57, 0.002, 0.0)
    """
    rounded = round(value, DIGITS)
    return float(f"{value:.1g}") if rounded == 0 and value else rounded


def reach_of(name: str, document: Mapping[str, Any], scale: float = 1.0) -> tuple[float, float] | None:
    """How far the interval of a share reaches above and below it; None where there is no interval.

    Parameters
    ----------
    name
        Of the share, such as ``lesion``.
    document
        result.json.
    scale
        What a point of lung is in the unit wanted.
    """
    limits = (document.get("interval_percent") or {}).get(name)
    if limits is None:
        return None
    percent = document["percent_of_lung"][name]
    return sensible((limits[1] - percent) * scale), sensible((percent - limits[0]) * scale)
