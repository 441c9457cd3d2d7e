"""report.html: everything on one page that needs nothing from elsewhere; table.html: the table alone, for Word."""

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from volumetry.trial.change import Change
from volumetry.trial.compare import OPEN_END, SENSITIVITIES, Comparison, Contrast, arm_of, follow_ups
from volumetry.trial.families import Decision
from volumetry.trial.figures import Picture
from volumetry.trial.layout import (
    SCALE_TITLES,
    TITLES,
    Block,
    Line,
    event_cells,
    line_of,
    number,
    p_value,
    with_interval,
)
from volumetry.trial.mixed import ModelDifference
from volumetry.trial.models import Model
from volumetry.trial.outcomes import Events
from volumetry.trial.pages import page
from volumetry.trial.printed import Printed
from volumetry.trial.statistics import Interval

_LARGEST_SVG = 400_000  # bytes; figures/ has every picture as SVG
_MOST_ROWS = 500
"""Of a list on the page; the CSV files have all."""
_SENSITIVITY_TITLES = dict(
    zip(
        SENSITIVITIES,
        ("without pairs of grade C", "deaths ranked worst (p only)", "last observation carried forward"),
        strict=True,
    )
)


def report_html(  # noqa: PLR0913  one argument per part of the page, all by name
    *,
    title: str,
    tables: Sequence[tuple[Contrast, Sequence[Block]]],
    endpoint: Sequence[Comparison],
    sensitivity: Sequence[Comparison],
    secondary: Sequence[Comparison],
    numeric: Sequence[Comparison],
    events: Sequence[Events],
    models: Sequence[ModelDifference],
    analyses: Sequence[Model],
    decisions: Sequence[Decision],
    before: Sequence[Printed],
    after: Sequence[Printed],
    changes: Sequence[Change],
    missing: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
    methods: Sequence[str],
    footnotes: Sequence[str],
    warnings: Sequence[str],
    level: float,
) -> bytes:
    """The report; every text that came from a table is escaped."""
    subjects = {change.subject: arm_of(change) for change in changes}
    return (
        page("report.html.j2")
        .render(
            title=title,
            level=f"{100 * level:g}",
            several=len(tables) > 1,
            arms=sorted(Counter(subjects.values()).items()),
            visits=list(dict.fromkeys(change.visit for change in changes)),
            scans=len({change.scan.scan_id for change in changes if change.scan}),
            primary=[sentence(row, level) for row in endpoint if row.primary],
            tables=tables,
            before=before,
            after=after,
            footnotes=footnotes,
            warnings=warnings,
            sensitivity=_sensitivity_rows(endpoint, sensitivity),
            measured=_measurement_rows(endpoint),
            secondary=[(_title(row), _arms_of(row), line_of(row, "")) for row in secondary],
            numeric=[(_title(row), _arms_of(row), line_of(row, "")) for row in numeric],
            events=[(row, event_cells(row)) for row in events],
            models=[(_title(row), _arms_of(row), row.n_subjects, *_model_cells(row, level)) for row in models],
            analyses=[(row, _title(row), _arms_of(row), *_analysis_cells(row)) for row in analyses],
            decisions=[(row, number(row.p_adjusted, 4) if row.p is not None else "") for row in decisions],
            grades=_grades(changes),
            doubtful=_doubtful(changes),
            missing=missing,
            pictures=[(picture, _embedded(picture)) for picture in pictures],
            most=_MOST_ROWS,
            methods=methods,
        )
        .encode("utf-8")
    )


def table_html(
    tables: Sequence[tuple[Contrast, Sequence[Block]]], footnotes: Sequence[str], level: float
) -> bytes:
    """The endpoint table alone, plain enough to be opened or pasted in a word processor."""
    text = page("table.html.j2").render(tables=tables, footnotes=footnotes, level=f"{100 * level:g}")
    return text.encode("utf-8")


def _embedded(picture: Picture) -> str:
    """A picture as the address of an image: drawn lines, or pixels where lines would swell the page."""
    kind, media = ("svg", "svg+xml") if len(picture.files["svg"]) <= _LARGEST_SVG else ("png", "png")
    return f"data:image/{media};base64,{base64.b64encode(picture.files[kind]).decode()}"


def _title(row: Comparison | ModelDifference | Model) -> str:
    return f"{TITLES.get(row.measure, row.measure)}, {row.visit}, {SCALE_TITLES.get(row.scale, row.scale)}"


def _arms_of(row: Comparison | ModelDifference | Model) -> str:
    return f"{row.arm_a} - {row.arm_b}" if row.arm_b else row.arm_a


def sentence(row: Comparison, level: float) -> str:
    """The result of one comparison as a sentence."""
    start = f"{_title(row)}: "
    if row.shift is None:
        return start + f"no difference is given ({', '.join(row.reasons)}); n = {row.a.n}."
    interval = (
        f" ({100 * level:g} % CI {number(row.interval.low)} to {number(row.interval.high)})"
        if row.interval
        else ""
    )
    p = p_value(row.test.p if row.test else None)
    p_text = f", p {p if p.startswith('<') else '= ' + p}" if p else ""
    n_b = row.b.n if row.b else 0
    more = " The end 0 lies outside the interval: p is that of a shift of 0." if OPEN_END in row.reasons else ""
    if row.interval and row.interval.method == "exact":
        more += f" The interval is exact and covers {100 * row.interval.level:.1f} %."
    sizes = f"n = {row.a.n} and {n_b}."
    return f"{start}{row.arm_a} minus {row.arm_b} {number(row.shift)}{interval}{p_text}; {sizes}{more}"


def _sensitivity_rows(
    endpoint: Sequence[Comparison], sensitivity: Sequence[Comparison]
) -> list[tuple[str, str, list[tuple[str, Line]]]]:
    """Every line of the table with what each sensitivity analysis makes of it."""
    groups = []
    for row in endpoint:
        key = (row.measure, row.scale, row.visit, row.arm_a, row.arm_b)
        same = [s for s in sensitivity if (s.measure, s.scale, s.visit, s.arm_a, s.arm_b) == key]
        if row.measure in TITLES:
            lines = [("observed cases", line_of(row, ""))]
            lines += [(_SENSITIVITY_TITLES.get(s.analysis, s.analysis), line_of(s, "")) for s in same]
            groups.append((_title(row), _arms_of(row), lines))
    return groups


def _measurement_rows(endpoint: Sequence[Comparison]) -> list[tuple[str, str, str, str]]:
    return [
        (
            _title(row),
            _arms_of(row),
            with_interval(row.shift, row.interval),
            f"{number(row.measurement[0])} to {number(row.measurement[1])}",
        )
        for row in endpoint
        if row.measurement
    ]


def _model_cells(row: ModelDifference, level: float) -> tuple[str, str, str]:
    if row.difference is None or row.ci_low is None or row.ci_high is None:
        return "", "", row.reason
    interval = Interval(row.ci_low, row.ci_high, "model", level)
    return with_interval(row.difference, interval), p_value(row.p), ""


def _analysis_cells(row: Model) -> tuple[str, str]:
    of = row.effect
    if of is None:
        return "", ""
    interval = (
        Interval(of.low, of.high, row.method, row.level) if of.low is not None and of.high is not None else None
    )
    return with_interval(of.estimate, interval), p_value(of.p if math.isfinite(of.p) else None)


def _grades(changes: Sequence[Change]) -> list[tuple[str, str, int, int, int, int]]:
    """Visit, arm, pairs of grade A, B and C, and follow-ups without a pair."""
    rows = []
    for visit in follow_ups(changes):
        at = [c for c in changes if c.visit == visit and c.measure == "lesion"]
        for arm in sorted({arm_of(c) for c in at}):
            counts = Counter(c.pair.grade if c.pair else "" for c in at if arm_of(c) == arm)
            rows.append((visit, arm, counts["A"], counts["B"], counts["C"], counts[""]))
    return rows


def _doubtful(changes: Sequence[Change]) -> list[tuple[Change, str, str]]:
    """Pairs below grade A: the change, its volume ratio and the shift that breath alone predicts."""
    of = [c for c in changes if c.measure == "lesion" and c.pair and c.pair.grade != "A"]
    return [(c, number(c.pair.volume_ratio, 3), number(c.pair.predicted_shift_percent, 1)) for c in of if c.pair]
