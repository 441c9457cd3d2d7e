"""The forest plot of the subgroups: the primary difference and its interval in every level."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from volumetry.trial.compare import Comparison
from volumetry.trial.figures import COLOURS, WIDTH_IN, Picture, picture_of
from volumetry.trial.layout import SCALE_TITLES, TITLES, p_value, with_interval
from volumetry.trial.subgroups import SubgroupRow

_ROW_IN, _LEAST_IN = 0.24, 1.0


def forest_plots(rows: Sequence[SubgroupRow], level: float) -> list[Picture]:
    """A forest plot for each comparison of arms.

    Parameters
    ----------
    rows
        From `volumetry.trial.subgroups.subgroup_rows`.
    level
        Of the intervals.

    Returns
    -------
    list[Picture]
        Named ``subgroups``, with a number where there are several.
    """
    arms = list(dict.fromkeys((r.comparison.arm_a, r.comparison.arm_b) for r in rows))
    drawn = []
    for place, pair in enumerate(arms, start=1):
        of = [r for r in rows if (r.comparison.arm_a, r.comparison.arm_b) == pair]
        drawn.append(_forest("subgroups" if len(arms) == 1 else f"subgroups-{place}", of, level))
    return drawn


def _forest(name: str, rows: Sequence[SubgroupRow], level: float) -> Picture:
    whole = rows[0].comparison
    lines: list[tuple[str, SubgroupRow | None]] = []
    for row in rows:
        if row.subgroup and row.subgroup not in {r.subgroup for _label, r in lines if r is not None}:
            p = p_value(row.p_interaction)
            lines.append((f"{row.subgroup}: interaction " + (f"p {p}" if p else "not estimable"), None))
        lines.append((f"   {row.level}" if row.level else "All subjects", row))
    largest = max(_size(row.comparison) for row in rows)

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for place, (_label, row) in enumerate(lines):
            if row is not None:
                _draw_row(axis, place, row.comparison, largest)
        _beside(axis, -0.9, "n, difference (CI)", "bottom")
        axis.axvline(0, color="black", linewidth=0.8)
        if whole.shift is not None:
            axis.axvline(whole.shift, color="0.5", linewidth=0.8, linestyle="--")
        axis.set_yticks(range(len(lines)), [label for label, _row in lines])
        for label, (_text, row) in zip(axis.get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if row is None or not row.subgroup else "normal")
        axis.tick_params(axis="y", length=0)
        axis.set_ylim(len(lines) - 0.4, -0.9)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(f"{whole.arm_a} minus {whole.arm_b}: {SCALE_TITLES.get(whole.scale, whole.scale)}")
        axis.set_title(f"{TITLES.get(whole.measure, whole.measure)}, {whole.visit}")

    caption = (
        f"Primary endpoint in subgroups: Hodges-Lehmann shift with its {100 * level:g} % interval, n of "
        f"{whole.arm_a} / {whole.arm_b}. Squares grow with the number of subjects; dashed: all subjects. "
        "Interaction: F test of arm by subgroup in a linear model with the baseline value."
    )
    alt = "Difference between the arms and its interval for all subjects and each subgroup; see subgroups.csv."
    return picture_of(name, (WIDTH_IN, _LEAST_IN + _ROW_IN * len(lines)), draw, caption, alt)


def _draw_row(axis: Axes, place: int, c: Comparison, largest: int) -> None:
    if c.interval:
        axis.plot([c.interval.low, c.interval.high], [place, place], color=COLOURS[0], linewidth=1.2)
    if c.shift is not None:
        axis.plot(c.shift, place, "s", color=COLOURS[0], markersize=3 + 5 * (_size(c) / largest) ** 0.5)
    said = with_interval(c.shift, c.interval) or "one arm only"
    _beside(axis, place, f"{c.a.n} / {c.b.n if c.b else 0}   {said}", "center")


def _beside(axis: Axes, y: float, text: str, vertical: str) -> None:
    """Text to the right of the axis."""
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axis.annotate(text, (1, y), xytext=(6, 0), va=vertical, annotation_clip=False, **where)


def _size(c: Comparison) -> int:
    return c.a.n + (c.b.n if c.b else 0)
