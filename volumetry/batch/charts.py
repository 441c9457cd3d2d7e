"""Control charts as a statistician draws them, and figures as pictures that a page carries inside itself.

A chart of single values (individuals) has its limits from the mean moving range; a chart of shares (p-chart) from
the binomial distribution. Both are computed from the values that they show, the suspicious ones included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby, pairwise

import numpy as np
from matplotlib.dates import AutoDateLocator, DateFormatter, date2num
from matplotlib.figure import Figure
from scipy.special import bdtr

from volumetry.image.pictures import data_uri, figure_png

_D2 = 1.128
"""Mean range of two values of a normal distribution, in standard deviations (NIST/SEMATECH handbook 6.3.2.2)."""
LEAST = 8
"""Fewer values have no limits worth drawing."""
FEW = 20
"""With fewer values the limits are provisional (Montgomery, Introduction to Statistical Quality Control, 6.2)."""
RUN = 8
"""So many values in a row on one side of the centre are not chance (Western Electric rule 4)."""
TAIL = 0.00135
"""Probability of a normal value beyond three standard deviations on one side; the same for shares."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Limits of a chart of single values, and which values are outside what chance explains.

    Parameters
    ----------
    centre, low, high
        Mean, and three standard deviations to each side as the moving range gives them; None if there are too few.
    beyond
        Indices of values beyond the limits.
    runs
        Indices of values that end a run of eight on one side, or are a later part of it.
    """

    centre: float | None = None
    low: float | None = None
    high: float | None = None
    beyond: tuple[int, ...] = ()
    runs: tuple[int, ...] = ()

    @property
    def alarms(self) -> tuple[int, ...]:
        """Indices of every value to look at."""
        return tuple(sorted({*self.beyond, *self.runs}))


def individuals_chart(values: Sequence[float], days: Sequence[date] | None = None) -> Chart:
    """Limits from the mean moving range of neighbours in time, which a slow drift hardly widens.

    The order of the values of one day is not known, so each moving range that depends on it is the mean over all
    orders of that day. A run goes on over a day only if all its values lie on the same side of the centre.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2.

    Parameters
    ----------
    values
        In the order of time.
    days
        Of the values, in the same order; without them each value has a day of its own.

    Returns
    -------
    Chart
        Without limits if there are fewer than `LEAST` values.

    Examples
    --------
    >>> individuals_chart([1.0, 2.0]).centre is None
    True
    """
    if len(values) < LEAST:
        return Chart()
    series = np.asarray(values, float)
    of_days = [
        series[list(group)]
        for _, group in groupby(range(len(values)), key=lambda index: days[index] if days else index)
    ]
    centre = float(series.mean())
    spread = 3 * _mean_moving_range(of_days) / _D2
    beyond = tuple(int(index) for index in np.flatnonzero(np.abs(series - centre) > spread))
    return Chart(centre, centre - spread, centre + spread, beyond, _runs(of_days, centre))


def _mean_moving_range(of_days: Sequence[np.ndarray]) -> float:
    """Mean distance of neighbours, over all orders of the values within their days."""
    steps = sum(float(np.abs(np.subtract.outer(a, b)).mean()) for a, b in pairwise(of_days))
    for values in of_days:
        if values.size > 1:  # size - 1 steps, each with the mean distance of two different values of the day
            steps += float(np.abs(np.subtract.outer(values, values)).sum()) / values.size
    return steps / (sum(values.size for values in of_days) - 1)


def _runs(of_days: Sequence[np.ndarray], centre: float) -> tuple[int, ...]:
    run, side, index, found = 0, 0.0, 0, []
    for values in of_days:
        sides = set(np.sign(values - centre))
        now = sides.pop() if len(sides) == 1 else 0.0
        run = run if now == side else 0
        side = now
        for _ in values:
            run += 1
            if side and run >= RUN:
                found.append(index)
            index += 1
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Share:
    """One point of a p-chart.

    Parameters
    ----------
    count, of
        Scans with the property, and all.
    low, high
        Limits in per cent, of a group of this size whose scans have the pooled share.
    is_beyond
        Whether the count is too improbable for that, on either side.
    """

    count: int
    of: int
    low: float
    high: float
    is_beyond: bool

    @property
    def percent(self) -> float:
        """Of the group."""
        return 100 * self.count / self.of


def shares_chart(counts: Sequence[tuple[int, int]]) -> tuple[float, tuple[Share, ...]]:
    """Pooled share in per cent, and each group against the limits that its size gives.

    The limits are exact: a group of this size lies above or below them with a probability of at most 0.135 % each,
    the same as three standard deviations of a normal distribution. The approximation by three standard deviations
    (NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.3.2) is wrong for a dozen scans of a site.

    Parameters
    ----------
    counts
        Scans with the property, and all scans, of each group; none is empty.

    Returns
    -------
    tuple
        The pooled share, and one `Share` for each group.
    """
    pooled = sum(count for count, _ in counts) / sum(of for _, of in counts)
    points = []
    for count, of in counts:
        at_most = bdtr(np.arange(of + 1), of, pooled)
        low, high = (int(np.argmax(at_most >= tail)) for tail in (TAIL, 1 - TAIL))
        points.append(Share(count, of, 100 * low / of, 100 * high / of, not low <= count <= high))
    return 100 * pooled, tuple(points)


def chart_figure(days: Sequence[date], values: Sequence[float], chart: Chart, unit: str) -> Figure:
    """A chart of single values: every value at its date, none joined, alarms red and larger."""
    figure = Figure(figsize=(7.2, 2.3))
    axes = figure.add_axes((0.09, 0.11, 0.84, 0.85))  # found by a layout engine it would take half as long again
    at = [float(date2num(day)) for day in days]
    alarms = set(chart.alarms)
    for chosen, colour, size in (
        ([i for i in range(len(values)) if i not in alarms], "#35618f", 3.5),
        (sorted(alarms), "#c0263c", 6),
    ):
        x, y = [at[i] for i in chosen], [values[i] for i in chosen]
        axes.plot(x, y, "D" if size > 4 else "o", color=colour, markersize=size, linestyle="none")
    for level, style in ((chart.centre, "-"), (chart.low, "--"), (chart.high, "--")):
        if level is not None:
            axes.axhline(level, color="#777777", linestyle=style, linewidth=0.8)
            words = f"{level:.4g}"
            axes.annotate(
                words,
                (1.005, level),
                xycoords=("axes fraction", "data"),
                fontsize=6.5,
                va="center",
                color="#555555",
            )
    margin = max(1.0, 0.03 * (max(at) - min(at)))
    axes.set_xlim(min(at) - margin, max(at) + margin)
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=1, maxticks=7, interval_multiples=True))
    axes.xaxis.set_major_formatter(DateFormatter("%Y-%m-%d"))
    axes.tick_params(labelsize=7)
    axes.set_ylabel(unit, fontsize=8)
    return figure


def picture_of(figure: Figure) -> str:
    """A figure as a data URI."""
    return data_uri(figure_png(figure, dpi=110))


def shares_picture(names: Sequence[str], pooled: float, points: Sequence[Share], title: str) -> str:
    """A p-chart as a data URI: groups side by side, each with its own limits, in no order and so not joined."""
    figure = Figure(figsize=(7.2, 0.9 + 0.24 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.hlines(places, [p.low for p in points], [p.high for p in points], color="#b9c4d2", linewidth=5)
    axes.axvline(pooled, color="#777777", linewidth=0.8)
    for is_beyond, colour, marker in ((False, "#35618f", "o"), (True, "#c0263c", "D")):
        chosen = [i for i, point in enumerate(points) if point.is_beyond is is_beyond]
        axes.plot(
            [points[i].percent for i in chosen], chosen, marker, color=colour, markersize=5, linestyle="none"
        )
    axes.set_yticks(places, names, fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel(title, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    return data_uri(figure_png(figure, dpi=110))


def histogram_picture(values: Sequence[float], title: str) -> str:
    """A distribution as a data URI."""
    figure = Figure(figsize=(3.4, 2.1), layout="constrained")
    axes = figure.add_subplot()
    shown = np.round(values, 6)  # what differs by rounding alone leaves no room for bins
    axes.hist(shown, bins=min(30, max(5, len(values) // 2)), color="#35618f")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return data_uri(figure_png(figure, dpi=110))
