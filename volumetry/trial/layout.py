"""The paper's table: a block per measure, rounded for print, as CSV, HTML rows and LaTeX.

Rows are the baseline share, then per visit the share, its relative change and its absolute change. Baselines and
shares are not tested: randomisation made the groups, and the change is the endpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from volumetry.storage.csv_tables import csv_bytes
from volumetry.trial.change import Change
from volumetry.trial.compare import Comparison, Contrast
from volumetry.trial.outcomes import ArmSummary, Events
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Interval, Summary

TITLES = {"lesion": "Total lesion", "solid": "Solid component", "ground_glass": "Ground glass"}
SCALE_TITLES = {
    "percent": "% of lung",
    "relative_percent": "relative change, %",
    "absolute_points": "absolute change, points",
    "change_ml": "change, mL",
    "relative_ml_percent": "relative change of mL, %",
    "change_mass_g": "change of mass, g",
    "relative_mass_percent": "relative change of mass, %",
    "change_weight_hu_ml": "change of weight, HU mL",
    "value": "value",
    "change": "change",
}
MINUS = "\N{MINUS SIGN}"  # no spreadsheet takes it for the start of a formula
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # without it a spreadsheet would not read the minus sign
HEADINGS = ("row", "n_a", "median_a (q1, q3)", "n_b", "median_b (q1, q3)", "difference (CI)", "p")


@dataclass(frozen=True, slots=True)
class Line:
    """One printed row: its label and six cells; `primary` marks the primary endpoint."""

    label: str
    cells: tuple[str, str, str, str, str, str]
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """The printed rows of one measure."""

    title: str
    lines: tuple[Line, ...]


def number(value: float | None, digits: int = 2) -> str:
    """A number for print, with a true minus sign; empty if unknown, and never minus zero.

    >>> number(-0.001), number(2.345, 1), number(None)
    ('0.00', '2.3', '')
    """
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", MINUS)


def p_value(p: float | None) -> str:
    """A p-value with three decimals, the smallest as a bound.

    >>> p_value(0.0004), p_value(0.0427), p_value(None)
    ('<0.001', '0.043', '')
    """
    return "" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}"


def quartiles(summary: Summary | None, digits: int = 2) -> str:
    """Median (Q1, Q3) for print; empty without values."""
    if summary is None or summary.median is None:
        return ""
    return f"{number(summary.median, digits)} ({number(summary.q1, digits)}, {number(summary.q3, digits)})"


def with_interval(value: float | None, interval: Interval | None, digits: int = 2) -> str:
    """A difference or a ratio with its interval for print."""
    if value is None:
        return ""
    ends = f"{number(interval.low, digits)}, {number(interval.high, digits)}" if interval else "-"
    return f"{number(value, digits)} ({ends})"


def line_of(row: Comparison, label: str) -> Line:
    """One comparison as a printed row."""
    n_b = "" if row.b is None else str(row.b.n)
    digits = 0 if row.scale == "change_weight_hu_ml" else 2
    shift = with_interval(row.shift, row.interval, digits)
    p = p_value(row.test.p if row.test else None)
    if row.p_holm is not None:
        p += f" (Holm {p_value(row.p_holm)})"
    return Line(
        label, (str(row.a.n), quartiles(row.a, digits), n_b, quartiles(row.b, digits), shift, p), row.primary
    )


def blocks_of(
    rows: Sequence[Comparison], summaries: Sequence[ArmSummary], changes: Sequence[Change], contrast: Contrast
) -> tuple[Block, ...]:
    """The trial's table for one contrast, a block per measure."""
    share = {(s.measure, s.visit, s.arm): s.summary for s in summaries if s.quantity == "percent"}
    visits = list(dict.fromkeys(c.visit for c in changes))
    blocks = []
    for measure in MEASURES:
        lines = []
        for visit in visits:
            a, b = (share.get((measure, visit, arm), Summary(0)) if arm else None for arm in contrast)
            cells = (
                "" if a is None else str(a.n),
                quartiles(a),
                "" if b is None else str(b.n),
                quartiles(b),
                "",
                "",
            )
            lines.append(Line(f"{visit}, % of lung", cells))
            for row in rows:
                if (row.measure, row.visit, (row.arm_a, row.arm_b)) == (measure, visit, contrast):
                    lines.append(line_of(row, f"{visit}, {SCALE_TITLES[row.scale]}"))
        blocks.append(Block(TITLES[measure], tuple(lines)))
    return tuple(blocks)


def event_cells(events: Events) -> tuple[str, ...]:
    """Counts of both arms, their difference, odds ratio by Woolf and exact, and p for print."""
    counts = [
        "" if n is None else f"{yes}/{n}" + (f" ({number(100 * (yes or 0) / n, 1)} %)" if n else "")
        for yes, n in ((events.events_a, events.n_a), (events.events_b, events.n_b))
    ]
    of = events.difference
    percent = Interval(100 * of.low, 100 * of.high, of.method, of.level) if of else None
    difference = with_interval(events.risk_difference_percent, percent, 1)
    exact = events.exact
    ratio = ""
    if exact:
        value = "unbounded" if exact.value is None else number(exact.value)
        ratio = f"{value} ({number(exact.low)}, {'unbounded' if exact.high is None else number(exact.high)})"
    return *counts, difference, with_interval(events.odds_ratio, events.interval), ratio, p_value(events.p)


def as_csv(tables: Sequence[tuple[Contrast, Sequence[Block]]]) -> bytes:
    """The printed tables as CSV, rounded; endpoint.csv has all digits."""
    rows = [
        dict(
            zip(
                ("arm_a", "arm_b", "measure", *HEADINGS),
                (*contrast, block.title, line.label, *line.cells),
                strict=True,
            )
        )
        for contrast, blocks in tables
        for block in blocks
        for line in block.lines
    ]
    return _BYTE_ORDER_MARK + csv_bytes(("arm_a", "arm_b", "measure", *HEADINGS), rows)


def as_latex(tables: Sequence[tuple[Contrast, Sequence[Block]]], notes: Sequence[str], level: float) -> bytes:
    """The printed tables as LaTeX (packages booktabs and longtable), one per contrast, breaking over pages."""
    text = ["% needs \\usepackage{booktabs,longtable}; fits A4 with margins of 2 cm"]
    for (arm_a, arm_b), blocks in tables:
        a, b = _latex(arm_a), _latex(arm_b or "-")
        head = [
            f" & \\multicolumn{{2}}{{l}}{{{a}}} & \\multicolumn{{2}}{{l}}{{{b}}} & & \\\\",
            f" & n & median (Q1, Q3) & n & median (Q1, Q3) & difference ({100 * level:g}\\% CI) & $p$ \\\\",
        ]
        text += ["{\\scriptsize\\setlength{\\tabcolsep}{3pt}", "\\begin{longtable}{lrlrlll}"]
        text += ["\\caption{CT endpoint: share of the lungs and its change from baseline} \\\\"]
        text += ["\\toprule", *head, "\\endfirsthead", "\\toprule", *head, "\\midrule", "\\endhead"]
        text += ["\\bottomrule", "\\endfoot"]
        for block in blocks:
            text.append(f"\\midrule\n\\multicolumn{{7}}{{l}}{{\\textbf{{{_latex(block.title)}}}}} \\\\*")
            text += [
                " & ".join(_latex(cell) for cell in (line.label, *line.cells)) + " \\\\" for line in block.lines
            ]
        text.append("\\end{longtable}")
        text += [f"\\par\\noindent {_latex(note)}" for note in notes]
        text.append("}")
    return ("\n".join(text) + "\n").encode("utf-8")


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "\\": "\\textbackslash{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    MINUS: "$-$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
