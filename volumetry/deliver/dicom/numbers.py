"""How a number is written into the report: as many digits as the report page prints, and its uncertainty."""

from collections.abc import Mapping
from typing import Any

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.coding import Code

from volumetry.deliver.dicom.concepts import coded

Number = tuple[Code, float, Code]
"""Concept, value, unit."""

_WHOLE_FROM_ML = 100
_UNCERTAINTY_DIGITS = 2


def millilitres(ml: float) -> float:
    """A volume in whole mL, below 100 mL with one decimal; a trace has one digit, so that it is not zero.

    >>> millilitres(5986.07), millilitres(41.26), millilitres(0.0234), millilitres(0.0)
    (5986, 41.3, 0.02, 0.0)
    """
    return round(ml) if ml >= _WHOLE_FROM_ML else _one_decimal(ml)


def share(percent: float) -> float:
    """A percentage with one decimal; a trace has one digit.

    >>> share(41.26), share(0.0234)
    (41.3, 0.02)
    """
    return _one_decimal(percent)


def significant(uncertainty: float) -> float:
    """An uncertainty with two significant digits.

    >>> significant(282.84), significant(4.725), significant(0.0616)
    (280, 4.7, 0.062)
    """
    rounded = float(f"{uncertainty:.{_UNCERTAINTY_DIGITS}g}")
    return round(rounded) if rounded >= 10 ** (_UNCERTAINTY_DIGITS - 1) else rounded


def reach_of(name: str, document: Mapping[str, Any]) -> tuple[float, float] | None:
    """How far the interval of a share reaches above and below it, in points of lung; None without an interval.

    Parameters
    ----------
    name
        Of the share, such as ``lesion``.
    document
        result.json.
    """
    limits = (document.get("interval_percent") or {}).get(name)
    if limits is None:
        return None
    percent = document["percent_of_lung"][name]
    return limits[1] - percent, percent - limits[0]


def measurement(
    number: Number, method: Code | None = None, properties: hd.sr.MeasurementProperties | None = None
) -> hd.sr.Measurement:
    """A number as an item of the report.

    Parameters
    ----------
    number
        As it is written.
    method, properties
        How it was measured, and its uncertainty, if these are stated.
    """
    concept, value, unit = number
    made = hd.sr.Measurement(
        name=coded(concept),
        value=value,
        unit=coded(unit),
        method=None if method is None else coded(method),
        properties=properties,
    )
    _write_digits(made[0], value)
    return made


def properties_of(upper: float, lower: float, unit: Code) -> hd.sr.MeasurementProperties:
    """How far a number reaches above and below, in a unit of its own."""
    properties = hd.sr.MeasurementProperties(
        upper_measurement_uncertainty=upper, lower_measurement_uncertainty=lower
    )
    for item, value in zip(properties, (upper, lower), strict=True):
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [coded(unit)]  # highdicom writes no unit
        _write_digits(item, value)
    return properties


def _write_digits(item: Dataset, value: float) -> None:
    """As many as the number has: highdicom writes 280 as 280.0."""
    item.MeasuredValueSequence[0].NumericValue = str(value)


def _one_decimal(value: float) -> float:
    rounded = round(value, 1)
    return float(f"{value:.1g}") if rounded == 0 and value else rounded
