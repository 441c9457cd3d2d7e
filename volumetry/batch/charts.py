"""Control charts of single values, and figures as pictures that a page carries inside itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from volumetry.image.pictures import data_uri, figure_png

_D2 = 1.128
"""Mean range of two values of a normal distribution, in standard deviations (NIST/SEMATECH handbook 6.3.2.2)."""
_LEAST = 4
"""Fewer values have no limits worth drawing."""
_RUN = 8
"""So many values in a row on one side of the centre are not chance (Western Electric rule 4)."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Limits of a chart of single values, and which values are outside what chance explains.

    Parameters
    ----------
    centre, low, high
        Mean, and three standard deviations to each side as the moving range gives them; None if there are too few.
    alarms
        Indices of values beyond the limits, or that end a run of eight on one side.
    """

    centre: float | None
    low: float | None
    high: float | None
    alarms: tuple[int, ...]


def individuals_chart(values: Sequence[float]) -> Chart:
    """Limits from the mean moving range of neighbours in time, which a slow drift hardly widens.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2.

    Examples
    --------
    >>> individuals_chart([1.0, 2.0]).centre is None
    True
    """
    if len(values) < _LEAST:
        return Chart(None, None, None, ())
    series = np.asarray(values, float)
    centre = float(series.mean())
    spread = 3 * float(np.abs(np.diff(series)).mean()) / _D2
    beyond = np.abs(series - centre) > spread
    run, sign, alarms = 0, 0.0, []
    for index, value in enumerate(series):
        side = math.copysign(1, value - centre) if value != centre else 0.0
        run = run + 1 if side == sign != 0 else 1
        sign = side
        if beyond[index] or (run >= _RUN and sign != 0):
            alarms.append(index)
    return Chart(centre, centre - spread, centre + spread, tuple(alarms))


def chart_picture(labels: Sequence[str], values: Sequence[float], chart: Chart, unit: str) -> str:
    """A control chart as a data URI; alarms are filled red."""
    figure = Figure(figsize=(7.2, 2.1), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(values, color="#35618f", marker="o", markersize=3.5, linewidth=0.9)
    axes.plot(
        chart.alarms, [values[i] for i in chart.alarms], "o", color="#c0263c", markersize=6, linestyle="none"
    )
    for level, style in ((chart.centre, "-"), (chart.low, "--"), (chart.high, "--")):
        if level is not None:
            axes.axhline(level, color="#777777", linestyle=style, linewidth=0.8)
    step = max(1, len(labels) // 8)
    axes.set_xticks(range(0, len(labels), step), labels[::step], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylabel(unit, fontsize=8)
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
