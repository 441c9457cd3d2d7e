"""Which row of a subject serves which visit.

One rule for all that a visit holds, the scan and every further column, each placed by itself: a planned visit
takes, among the subject's rows that hold it and whose day lies in its window (ends included), the one nearest to
the planned day; of two equally near ones the earlier. Under ``assign = "label"`` only rows that name the visit,
or are called unscheduled, may serve it; under ``"day"`` every row may. What serves one visit serves no other. A
row without a day serves the visit that it names, as if on the planned day. A visit without a window takes the row
that names it.

A visit without a scan counts as lost to a death (or a withdrawal) that any row of the subject states, if that was
on or before the last day of the visit, or at an earlier visit; a death goes before a withdrawal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from volumetry.trial.config import PlannedVisit, TrialConfig, Windows
from volumetry.trial.visits import VisitRow, Visits, is_unscheduled

_SCAN = "scan_id"


@dataclass(frozen=True, slots=True)
class Placement:
    """What serves a visit.

    Parameters
    ----------
    subject, visit
        Subject, and analysis visit.
    row
        The row that gives the scan; without a scan the one that says most about why.
    reason
        Why there is no scan; None if there is one.
    values
        Of the further columns, each from the row that serves it.
    rows
        Numbers of all rows that serve the visit with anything.
    """

    subject: str
    visit: str
    row: VisitRow | None
    reason: str | None
    values: Mapping[str, float | bool]
    rows: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A visit, its window if it has one, and the day on which it is over, if that is known."""

    visit: str
    window: PlannedVisit | None
    last_day: float | None


def analysis_visits(visits: Visits, config: TrialConfig) -> tuple[str, ...]:
    """The visits that tables have a row for, in time order, the baseline first.

    A visit of its own that only records deaths or withdrawals is none of them.
    """
    windows = config.windows
    every_row = [row for rows in visits.rows.values() for row in rows]
    if windows.assign == "day":
        days = [row.day for row in every_row if row.day is not None]
        hit = [v for v in windows.planned if any(v.earliest <= day <= v.latest for day in days)]
        return (visits.baseline, *(v.visit for v in sorted(hit, key=lambda v: v.day)))
    examined = {row.visit for row in every_row if row.values or row.status not in ("died", "withdrawn")}
    return tuple(
        v
        for v in visits.visits
        if not is_unscheduled(v, windows) and (v in examined or windows.named(v) is not None)
    )


def place(visits: Visits, config: TrialConfig) -> list[Placement]:
    """Every subject at every analysis visit, in the order of the table and of time.

    Parameters
    ----------
    visits
        From `read_visits`.
    config
        ``[windows]``.

    Returns
    -------
    list[Placement]
        One for each subject and analysis visit.
    """
    windows = config.windows
    plans = [_plan(name, visits, windows) for name in analysis_visits(visits, config)]
    return [placed for subject in visits.rows for placed in _placements(subject, visits, plans, windows)]


def ct_visits(placements: Sequence[Placement], baseline: str) -> frozenset[str]:
    """The baseline, and every visit but those of the laboratory alone.

    At a visit of the laboratory alone some subject has other values, and not one has a scan, or should have had
    one: no scan lies outside the window, and none is entered as missing.
    """
    expected = {p.visit for p in placements if p.reason in (None, "MISSING", "OUT_OF_WINDOW")}
    laboratory = {p.visit for p in placements if p.values} - expected
    return frozenset({p.visit for p in placements} - laboratory | {baseline})


def _plan(name: str, visits: Visits, windows: Windows) -> _Plan:
    if windows.assign == "day":
        window = next((v for v in windows.planned if v.visit == name), None)
    else:
        window = windows.named(name)
    days = [row.day for rows in visits.rows.values() for row in rows if row.visit == name and row.day is not None]
    return _Plan(name, window, window.latest if window else median(days) if days else None)


def _placements(subject: str, visits: Visits, plans: list[_Plan], windows: Windows) -> list[Placement]:
    rows = visits.rows[subject]
    base = next(row for row in rows if row.visit == visits.baseline)
    placed = [Placement(subject, visits.baseline, base, _absence(base), base.values, frozenset({base.row}))]
    free = [row for row in rows if row is not base]
    held = {row.row: {*row.values, *([_SCAN] if row.scan_id is not None else [])} for row in free}
    columns = sorted(set().union(*held.values()))
    used: set[tuple[str, int]] = set()
    order = [plan.visit for plan in plans]
    for plan in plans[1:]:
        near = _candidates(plan, free, windows)
        found = {c: [r for r in near if c in held[r.row] and (c, r.row) not in used] for c in columns}
        giving = {column: best[0] for column, best in found.items() if best}
        used |= {(column, row.row) for column, row in giving.items()}
        scanned = giving.pop(_SCAN, None)
        row, reason = (scanned, None) if scanned else _why_absent(plan, rows, near, order, windows)
        values = {column: given.values[column] for column, given in giving.items()}
        numbers = frozenset(r.row for r in (row, *giving.values()) if r is not None)
        placed.append(Placement(subject, plan.visit, row, reason, values, numbers))
    return placed


def _candidates(plan: _Plan, rows: list[VisitRow], windows: Windows) -> list[VisitRow]:
    """Rows that may serve a visit, the best first."""
    window = plan.window
    if window is None:
        return [row for row in rows if _is_named(row, plan, windows)]
    by_day = windows.assign == "day"
    dated = [
        (abs(row.day - window.day), row.day, row)
        for row in rows
        if row.day is not None
        and window.earliest <= row.day <= window.latest
        and (by_day or _is_named(row, plan, windows) or is_unscheduled(row.visit, windows))
    ]
    undated = [(0.0, window.day, row) for row in rows if row.day is None and _is_named(row, plan, windows)]
    return [row for *_near, row in sorted(undated + dated, key=lambda found: found[:2])]


def _why_absent(
    plan: _Plan, rows: tuple[VisitRow, ...], near: list[VisitRow], order: list[str], windows: Windows
) -> tuple[VisitRow | None, str]:
    """The row that says most about a visit without a scan, and the reason."""
    named = next((row for row in rows if _is_named(row, plan, windows)), None)
    empty = [row for row in near if row.scan_id is None]
    spoken = named if named is not None and named.scan_id is None else next(iter(empty), None)
    for status in ("died", "withdrawn"):
        if any(row.status == status and _is_over(row, plan, named, order, windows) for row in rows):
            return spoken, status.upper()
    if named is not None and named.scan_id is not None:
        return spoken, "OUT_OF_WINDOW"
    return spoken, (_absence(spoken) or "NO_SCAN") if spoken else "NO_VISIT"


def _is_over(event: VisitRow, plan: _Plan, named: VisitRow | None, order: list[str], windows: Windows) -> bool:
    """Whether a death or a withdrawal was by the last day of a visit, or stands at it or at an earlier one."""
    last_day = named.day if plan.window is None and named is not None else None
    last_day = plan.last_day if last_day is None else last_day
    if event.day is not None and last_day is not None and event.day <= last_day:
        return True
    if windows.assign == "label":
        return event.visit in order and order.index(event.visit) <= order.index(plan.visit)
    stated = windows.named(event.visit) if event.day is None else None
    return stated is not None and plan.window is not None and stated.day <= plan.window.day


def _is_named(row: VisitRow, plan: _Plan, windows: Windows) -> bool:
    """Whether a row belongs to a visit by its name; where days decide, only if it has none."""
    if windows.assign == "label":
        return row.visit == plan.visit
    return row.day is None and windows.named(row.visit) == plan.window


def _absence(row: VisitRow) -> str | None:
    """Why a row has no scan; None if it has one."""
    if row.scan_id is not None:
        return None
    return row.status.upper() if row.status else "NO_SCAN"
