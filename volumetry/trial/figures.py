"""Figures a journal would take: colour-blind safe, with shapes too, the same bytes from the same table."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from volumetry.trial.change import Change
from volumetry.trial.compare import arm_of, primary_visit
from volumetry.trial.config import TrialConfig
from volumetry.trial.layout import SCALE_TITLES, TITLES
from volumetry.trial.results import MEASURES, ScanRow
from volumetry.trial.statistics import median_interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":", "-", "--")
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
_STYLE = {
    "font.size": 8,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so every machine draws the same
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "svg.hashsalt": "volumetry",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "hatch.linewidth": 0.6,
}
_NO_DATES: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
_LEAST_GAP = 0.15
"""Of the time axis: visits closer than this have their labels upright."""
WIDTH_IN = 7.2  # two columns of a journal
_CROWDED = 3000
"""From so many points on, a shade for their number says more than points that cover each other."""
_MANY = 500
"""From so many subjects or points on, they are drawn as pixels: as lines they would make files of many MB."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure in every format, with the words that stand for it."""

    name: str
    caption: str
    alt: str
    files: dict[str, bytes]


def pictures(changes: Sequence[Change], scans: Iterable[ScanRow], config: TrialConfig) -> list[Picture]:
    """Every figure that the data allow; one without data is left out."""
    drawn = [
        _trajectories(changes, config),
        _waterfall(changes, config),
        _individuals(changes, config),
        _bland_altman(list(scans)),
    ]
    return [picture for picture in drawn if picture is not None]


def _arms(changes: Sequence[Change], config: TrialConfig) -> list[str]:
    """Arms in the order of their colours: the reference last."""
    names = sorted({arm_of(change) for change in changes})
    return sorted(names, key=lambda name: name.casefold() in {r.casefold() for r in config.arms.reference})


def _trajectories(changes: Sequence[Change], config: TrialConfig) -> Picture | None:
    if not any(change.levels.get("value_percent") is not None for change in changes):
        return None
    level = config.statistics.ci_level
    visits = list(dict.fromkeys(change.visit for change in changes))
    arms = _arms(changes, config)
    of: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        of.setdefault((change.measure, arm_of(change), change.visit), []).append(change)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2, len(MEASURES), sharex=True, sharey="row", squeeze=False)
        for column, measure in enumerate(MEASURES):
            axes[0, column].set_title(TITLES[measure])
            for row, scale in enumerate(("percent", "relative_percent")):
                for n, arm in enumerate(arms):
                    at = {visit: of.get((measure, arm, visit), []) for visit in visits}
                    _median_line(axes[row, column], at, scale, level, (n, arm))
            axes[1, column].axhline(0, color="0.6", linewidth=0.6, zorder=0)
            axes[1, column].set_xticks(range(len(visits)), visits, rotation=30 if len(visits) > 4 else 0)
        axes[0, 0].set_ylabel("share of lung, %")
        axes[1, 0].set_ylabel("relative change, %")
        axes[0, 0].set_ylim(bottom=0)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(arms))

    text = (
        "Medians by visit and arm with distribution-free confidence intervals of the median, at least "
        f"{100 * level:g} % (no bar: too few values for one; summary.csv has the level of each). Top: share of "
        "the lungs; bottom: relative change from baseline. "
        "Visits are evenly spaced."
    )
    alt = "Median share of lung and relative change by visit, one line per arm, for each measure; see summary.csv."
    return picture_of("trajectories", (WIDTH_IN, 4.4), draw, text, alt)


def _median_line(
    axis: Axes, by_visit: Mapping[str, Sequence[Change]], scale: str, level: float, look: tuple[int, str]
) -> None:
    n, arm = look
    places, medians, low, high = [], [], [], []
    for place, at in enumerate(by_visit.values()):
        values = [c.levels.get("value_percent") if scale == "percent" else c.changes.get(scale) for c in at]
        known = np.array([value for value in values if value is not None])
        if known.size:
            median = float(np.median(known))
            ends = median_interval(known, level)
            places.append(place + 0.07 * n)
            medians.append(median)
            low.append(median - ends.low if ends else 0.0)
            high.append(ends.high - median if ends else 0.0)
    axis.errorbar(
        places,
        medians,
        yerr=[low, high],
        capsize=2,
        markersize=4,
        linewidth=1.2,
        label=arm,
        color=COLOURS[n % 6],
        marker=_MARKERS[n % 6],
        linestyle=_LINES[n % 6],
    )


def _waterfall(changes: Sequence[Change], config: TrialConfig) -> Picture | None:
    endpoint, visit = config.endpoint, primary_visit(changes, config)
    measure, scale = endpoint.primary_measure, endpoint.primary_scale
    of = [c for c in changes if c.measure == measure and c.visit == visit and scale in c.changes]
    if not of:
        return None
    if len(of) >= _MANY:
        return _ordered_curves(of, config)
    ordered = sorted(of, key=lambda c: (-c.changes[scale], c.subject))
    arms = _arms(changes, config)

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for n, arm in enumerate(arms):
            bars = [(place, c.changes[scale]) for place, c in enumerate(ordered) if arm_of(c) == arm]
            if bars:
                axis.bar(
                    [place for place, _value in bars],
                    [value for _place, value in bars],
                    width=0.85,
                    linewidth=0,
                    label=arm,
                    facecolor=COLOURS[n % 6],
                    hatch=_HATCHES[n % 6],
                    edgecolor="white",
                )
        doubtful = [(place, c.changes[scale]) for place, c in enumerate(ordered) if c.pair and c.pair.grade == "C"]
        if doubtful:
            reach = max(abs(c.changes[scale]) for c in ordered)
            offset = [value + (0.05 if value >= 0 else -0.05) * reach for _place, value in doubtful]
            places = [place for place, _value in doubtful]
            axis.plot(places, offset, "x", color="black", markersize=4, label="pair of grade C")
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_xticks([])
        axis.set_xlabel(f"subjects in order of change (n = {len(ordered)})")
        axis.set_ylabel(SCALE_TITLES[scale])
        axis.set_title(f"{TITLES[measure]}, {visit}")
        figure.legend(loc="outside upper right", ncols=len(arms) + 1)  # "best" would warn on a slow machine

    text = (
        f"{TITLES[measure]}, {SCALE_TITLES[scale]}, at {visit}: one bar per subject. "
        "Crosses mark scans that are not comparable with their baseline (grade C)."
    )
    alt = f"Bars of {len(ordered)} subjects sorted from the largest increase to the largest decrease, by arm."
    return picture_of("waterfall", (WIDTH_IN, 3.0), draw, text, alt)


def _ordered_curves(at_visit: list[Change], config: TrialConfig) -> Picture:
    """What a waterfall of thousands of bars would show: each arm's changes in order, over its own subjects."""
    measure, scale = config.endpoint.primary_measure, config.endpoint.primary_scale
    visit = at_visit[0].visit

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for n, arm in enumerate(_arms(at_visit, config)):
            values = np.sort([c.changes[scale] for c in at_visit if arm_of(c) == arm])[::-1]
            shares = 100 * (np.arange(values.size) + 0.5) / values.size
            look = {"color": COLOURS[n % 6], "linestyle": _LINES[n % 6], "linewidth": 1.2}
            axis.step(shares, values, where="mid", label=f"{arm} (n = {values.size})", **look)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_xlim(0, 100)
        axis.set_xlabel("subjects of the arm in order of change, %")
        axis.set_ylabel(SCALE_TITLES[scale])
        axis.set_title(f"{TITLES[measure]}, {visit}")
        figure.legend(loc="outside upper right", ncols=4)

    text = (
        f"{TITLES[measure]}, {SCALE_TITLES[scale]}, at {visit}: the changes of each arm from the largest increase "
        "to the largest decrease, over the share of its subjects."
    )
    alt = f"Ordered changes of {len(at_visit)} subjects, one falling line per arm; changes.csv has every value."
    return picture_of("waterfall", (WIDTH_IN, 3.0), draw, text, alt)


def _individuals(changes: Sequence[Change], config: TrialConfig) -> Picture | None:
    measure = config.endpoint.primary_measure
    of = [c for c in changes if c.measure == measure and "value_percent" in c.levels]
    if not of:
        return None
    points = [(c, c.day, c.levels["value_percent"]) for c in of if c.day is not None]  # a scan has its day
    visits = list(dict.fromkeys(c.visit for c, _day, _value in points))
    days = {visit: float(np.median([day for c, day, _value in points if c.visit == visit])) for visit in visits}
    highest = max(value for _c, _day, value in points)
    first, last = (end(day for _c, day, _value in points) for end in (min, max))
    margin = max(0.04 * (last - first), 0.5)
    gaps = np.diff(sorted(days.values()))
    crowded = bool(gaps.size) and float(gaps.min()) < _LEAST_GAP * (last - first)
    arms = _arms(changes, config)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for n, (axis, arm) in enumerate(zip(axes, arms, strict=True)):
            mine = [point for point in points if arm_of(point[0]) == arm]
            lines: dict[str, list[tuple[float, float]]] = {}
            for change, day, value in mine:
                lines.setdefault(change.subject, []).append((day, value))
            many = len(lines) >= _MANY
            look: dict[str, Any] = {"color": COLOURS[n % 6], "alpha": 0.05 if many else 0.5, "rasterized": many}
            axis.add_collection(LineCollection([sorted(line) for line in lines.values()], linewidths=0.7, **look))
            dots = [point for line in lines.values() for point in line]
            axis.plot([x for x, _y in dots], [y for _x, y in dots], ".", markersize=2.5, **look)
            known = {visit: [value for c, _day, value in mine if c.visit == visit] for visit in visits}
            medians = [(days[visit], float(np.median(values))) for visit, values in known.items() if values]
            if medians:
                x, y = zip(*sorted(medians), strict=True)
                axis.plot(x, y, color="black", linewidth=1.8, marker=_MARKERS[n % 6], markersize=4, label="median")
            axis.set_title(f"{arm} (n = {len(lines)})")
            labels = [f"{visit}{' ' if crowded else chr(10)}(n = {len(known[visit])})" for visit in visits]
            axis.set_xticks(list(days.values()), labels, rotation=90 if crowded else 0, fontsize=6)
            axis.set_xlim(first - margin, last + margin)
            axis.set_ylim(0, 1.05 * highest or 1)  # of every arm: the axis is shared
        axes[0].set_ylabel(f"{TITLES[measure].lower()}, % of lung")
        axes[-1].legend(loc="upper right")

    text = (
        f"{TITLES[measure]} of every subject, share of the lungs, at the day of each scan (days to scale; visits "
        "are marked at their median day, with the scans in the arm); black: median of the arm."
    )
    alt = "One thin line per subject over the days, a panel per arm, with the arm's median in black."
    return picture_of("individuals", (WIDTH_IN, 3.3), draw, text, alt)


def _bland_altman(scans: list[ScanRow]) -> Picture | None:
    """Network's rule against the HU rule, for the two components, where the results hold both."""
    pairs: dict[str, list[tuple[float, float]]] = {"solid": [], "ground_glass": []}
    for scan in scans:
        for component, found in pairs.items():
            by_rule = [scan.numbers.get(f"components_by_rule.{rule}.{component}_ml") for rule in ("network", "hu")]
            if scan.is_evaluable and by_rule[0] is not None and by_rule[1] is not None:
                lung_ml = scan.ml["lung"]
                found.append((100 * by_rule[0] / lung_ml, 100 * by_rule[1] / lung_ml))
    if len(pairs["solid"]) < 3 or len(pairs["ground_glass"]) < 3:
        return None
    crowded = len(pairs["solid"]) >= _CROWDED

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, squeeze=False)[0]
        for axis, (component, found) in zip(axes, pairs.items(), strict=True):
            network, hu = np.array(found).T
            difference, mean = network - hu, (network + hu) / 2
            bias, reach = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
            if crowded:
                axis.hist2d(mean, difference, bins=90, cmin=1, cmap="Blues", norm="log", rasterized=True)
            else:
                axis.plot(mean, difference, "o", color=COLOURS[0], alpha=0.6, markersize=3, markeredgewidth=0,
                          rasterized=len(found) >= _MANY)  # fmt: skip
            for y, line in ((bias, "-"), (bias - reach, "--"), (bias + reach, "--")):
                axis.axhline(y, color="black", linewidth=0.8, linestyle=line)
                right = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
                axis.annotate(f"{y:.2f}", (1, y), xytext=(2, 0), va="center", annotation_clip=False, **right)
            axis.set_title(f"{TITLES[component]} (n = {len(found)} scans)")
            axis.set_xlabel("mean of both rules, % of lung")
        axes[0].set_ylabel("network - HU, points")

    text = (
        "Bland-Altman plot of the two component rules on every measured scan: network's classes minus the HU cut. "
        "Lines: mean difference and mean +/- 1.96 SD; several scans of a subject are counted as they come."
        + (" Darker where there are more scans." if crowded else "")
    )
    alt = "Difference of the two component rules against their mean, for solid and ground glass, with limits."
    return picture_of("component-rules", (WIDTH_IN, 2.9), draw, text, alt)


def picture_of(
    name: str, size_in: tuple[float, float], draw: Callable[[Figure], None], caption: str, alt: str
) -> Picture:
    """A figure in every format, from what draws it."""
    files = {}
    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE}):
        figure = Figure(figsize=size_in, layout="constrained")
        draw(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, so that every format is the same figure
        for kind, metadata in _NO_DATES.items():
            target = io.BytesIO()
            figure.savefig(target, format=kind, metadata=metadata)
            files[kind] = target.getvalue()
    return Picture(name, caption, alt, files)
