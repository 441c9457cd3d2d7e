"""Tables for print: one shape for the report, the Word document and whatever comes next."""

from collections.abc import Sequence
from dataclasses import dataclass

from volumetry.trial.compare import Comparison, Contrast
from volumetry.trial.layout import SCALE_TITLES, TITLES, Block, event_cells, line_of
from volumetry.trial.outcomes import Events


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """One row: its cells, the first of which names it.

    Parameters
    ----------
    cells
        As they are printed.
    is_heading
        Whether it stands above the rows of a group; it has one cell.
    is_strong
        Whether it is the primary endpoint.
    level
        How far its name is set in.
    """

    cells: tuple[str, ...]
    is_heading: bool = False
    is_strong: bool = False
    level: int = 0


@dataclass(frozen=True, slots=True)
class Printed:
    """A table for print.

    Parameters
    ----------
    title
        Its caption.
    head
        Names of the columns.
    rows
        In their order.
    notes
        What stands below it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    notes: tuple[str, ...] = ()


def endpoint_tables(tables: Sequence[tuple[Contrast, Sequence[Block]]], level: float) -> list[Printed]:
    """The endpoint table of every contrast.

    Parameters
    ----------
    tables
        Blocks of `volumetry.trial.layout.blocks_of` by contrast.
    level
        Of the confidence intervals.

    Returns
    -------
    list[Printed]
        One table for each contrast.
    """
    printed = []
    for contrast, blocks in tables:
        rows = []
        for block in blocks:
            rows.append(PrintedRow((block.title,), is_heading=True))
            for line in block.lines:
                name = f"{line.label} (primary)" if line.primary else line.label
                cells = line.cells if contrast[1] else line.cells[:2]
                rows.append(PrintedRow((name, *cells), is_strong=line.primary, level=1))
        title = "Share of the lungs and its change from baseline"
        printed.append(Printed(_titled(title, contrast), _head(contrast, level), tuple(rows)))
    return printed


def comparison_tables(
    title: str, rows: Sequence[Comparison], contrasts: Sequence[Contrast], level: float
) -> list[Printed]:
    """Comparisons of any outcomes, a table for each contrast, grouped by outcome and scale; without empty groups.

    Parameters
    ----------
    title
        Of the tables.
    rows
        Comparisons in the order in which they are printed.
    contrasts
        From `volumetry.trial.compare.contrasts_of`.
    level
        Of the confidence intervals.

    Returns
    -------
    list[Printed]
        Without the contrasts that have no row.
    """
    printed = []
    for contrast in contrasts:
        groups: dict[tuple[str, str], list[Comparison]] = {}
        for row in (r for r in rows if (r.arm_a, r.arm_b) == contrast):
            groups.setdefault((row.measure, row.scale), []).append(row)
        lines: list[PrintedRow] = []
        for (measure, scale), of in groups.items():
            if not any(row.a.n or (row.b and row.b.n) for row in of):
                continue  # not in the results, such as the mass
            name = f"{TITLES.get(measure, measure)}, {SCALE_TITLES.get(scale, scale)}"
            lines.append(PrintedRow((name,), is_heading=True))
            for row in of:
                cells = line_of(row, "").cells if contrast[1] else line_of(row, "").cells[:2]
                lines.append(PrintedRow((row.visit, *cells), level=1))
        if lines:
            printed.append(Printed(_titled(title, contrast), _head(contrast, level), tuple(lines)))
    return printed


def event_tables(rows: Sequence[Events], contrasts: Sequence[Contrast], level: float) -> list[Printed]:
    """Yes/no outcomes, a table for each contrast, grouped by outcome.

    Parameters
    ----------
    rows
        From `volumetry.trial.outcomes.event_outcomes`.
    contrasts
        From `volumetry.trial.compare.contrasts_of`.
    level
        Of the confidence intervals.

    Returns
    -------
    list[Printed]
        Without the contrasts that have no row.
    """
    printed = []
    ci = f"{100 * level:g} % CI"
    for arm_a, arm_b in contrasts:
        head: tuple[str, ...] = ("", f"{arm_a}: n/N (%)")
        if arm_b:
            head = (
                *head,
                f"{arm_b}: n/N (%)",
                f"difference, points ({ci})",
                f"odds ratio ({ci})",
                "exact odds ratio",
            )
            head = (*head, "Fisher p")
        lines: list[PrintedRow] = []
        group = None
        for row in (r for r in rows if (r.arm_a, r.arm_b) == (arm_a, arm_b)):
            if row.outcome != group:
                group = row.outcome
                lines.append(PrintedRow((group,), is_heading=True))
            lines.append(PrintedRow((row.visit, *event_cells(row)[: len(head) - 1]), level=1))
        if lines:
            printed.append(Printed(_titled("Yes/no outcomes", (arm_a, arm_b)), head, tuple(lines)))
    return printed


def _titled(title: str, contrast: Contrast) -> str:
    return f"{title}: {contrast[0]} minus {contrast[1]}" if contrast[1] else title


def _head(contrast: Contrast, level: float) -> tuple[str, ...]:
    arm_a, arm_b = contrast
    first = ("", f"{arm_a}: n", "median (Q1, Q3)")
    return (
        (*first, f"{arm_b}: n", "median (Q1, Q3)", f"difference ({100 * level:g} % CI)", "p") if arm_b else first
    )
