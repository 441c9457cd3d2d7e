"""Shares of the lung over the visits, as lines: plain numbers that the template draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from volumetry.deliver.report.text import name_of

WIDTH, HEIGHT = 640, 170
MEASURES = ("lesion", "ground_glass", "solid")
_STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_MOST_TICKS = 5
_DATES_APART = 62


@dataclass(frozen=True, slots=True)
class Point:
    """One visit in drawing units, y downward; the ends of its interval where it has one."""

    x: float
    y: float
    high: float | None
    low: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """One measure over the visits."""

    key: str
    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """For the attribute ``points`` of a polyline."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Trend:
    """Lines, ticks of both axes, and the size of the drawing."""

    lines: tuple[Line, ...]
    dates: tuple[tuple[float, str], ...]
    shares: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT


def trend_of(document: Mapping[str, Any]) -> Trend | None:
    """The shares over the earlier visits and the present one; None without an earlier one.

    Parameters
    ----------
    document
        result.json.

    Returns
    -------
    Trend or None
        A day has the same width everywhere.
    """
    earlier = (document.get("prior") or {}).get("visits") or []
    if not earlier:
        return None
    visits = [*earlier, {**document, "days_before": 0}]
    longest = visits[0]["days_before"]
    top, step = _scale(max(_highest(visit) for visit in visits))
    xs = [round(WIDTH * (1 - visit["days_before"] / longest), 2) for visit in visits]
    lines = tuple(
        Line(
            key,
            name_of(document, key),
            tuple(_point(visit, key, x, top) for visit, x in zip(visits, xs, strict=True)),
        )
        for key in MEASURES
    )
    today = datetime.strptime(earlier[0]["acquisition_date"], "%Y%m%d") + timedelta(longest)  # noqa: DTZ007  a day
    dates = [
        (x, f"{today - timedelta(visit['days_before']):%Y-%m-%d}") for visit, x in zip(visits, xs, strict=True)
    ]
    shares = tuple((_y(n * step, top), f"{n * step:g}") for n in range(round(top / step) + 1))
    return Trend(lines, _apart(dates), shares)


def _apart(dates: list[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """The first, the last, and of those between what has room."""
    kept = [dates[-1]]
    for x, text in reversed(dates[:-1]):
        if kept[-1][0] - x >= _DATES_APART and (x == dates[0][0] or x - dates[0][0] >= _DATES_APART):
            kept.append((x, text))
    return tuple(reversed(kept))


def _highest(visit: Mapping[str, Any]) -> float:
    ends = (visit.get("interval_percent") or {}).values()
    highest: float = max([*visit["percent_of_lung"].values(), *(end[1] for end in ends)])
    return highest


def _scale(highest: float) -> tuple[float, float]:
    """Upper end of the axis and distance of its ticks, in percent of lung."""
    step = next((step for step in _STEPS if highest / step <= _MOST_TICKS), _STEPS[-1])
    count = max(1, -int(-highest // step))
    return count * step, step


def _point(visit: Mapping[str, Any], key: str, x: float, top: float) -> Point:
    low, high = (visit.get("interval_percent") or {}).get(key) or (None, None)
    ends = (None if high is None else _y(high, top), None if low is None else _y(low, top))
    return Point(x, _y(visit["percent_of_lung"][key], top), *ends)


def _y(percent: float, top: float) -> float:
    y: float = round(HEIGHT * (1 - percent / top), 2)
    return y
