"""Which row of a subject serves which visit.

The rule: a planned visit takes, among the subject's rows with a scan whose day lies in its window (ends included),
the one nearest to the planned day; of two equally near ones the earlier. Under ``assign = "label"`` only rows that
name the visit, or are called unscheduled, may serve it; under ``"day"`` every row may, but serves one visit only.
A visit without a window takes the row that names it.
"""

from dataclasses import dataclass

from volumetry.trial.config import PlannedVisit, TrialConfig, Windows, plain
from volumetry.trial.visits import VisitRow, Visits


@dataclass(frozen=True, slots=True)
class Placement:
    """The row of visits.csv that serves a visit of a subject.

    Parameters
    ----------
    subject, visit
        Subject, and analysis visit.
    row
        None if no row serves the visit.
    reason
        Why there is no scan; None if there is one.
    """

    subject: str
    visit: str
    row: VisitRow | None
    reason: str | None


def analysis_visits(visits: Visits, config: TrialConfig) -> tuple[str, ...]:
    """The visits that tables have a row for, in time order, the baseline first."""
    windows = config.windows
    if windows.assign == "day":
        days = [row.day for rows in visits.rows.values() for row in rows if row.day is not None]
        hit = [v for v in windows.planned if any(v.earliest <= day <= v.latest for day in days)]
        return (visits.baseline, *(v.visit for v in sorted(hit, key=lambda v: v.day)))
    return tuple(v for v in visits.visits if not _is_unscheduled(v, windows))


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
    names = analysis_visits(visits, config)
    return [placed for subject in visits.rows for placed in _placements(subject, visits, names, config.windows)]


def _placements(subject: str, visits: Visits, names: tuple[str, ...], windows: Windows) -> list[Placement]:
    rows = visits.rows[subject]
    base = next(row for row in rows if row.visit == visits.baseline)
    placed = [Placement(subject, visits.baseline, base, _absence(base))]
    used = {base.row}
    for name in names[1:]:
        row = _serving(name, [r for r in rows if r.row not in used], _window_of(name, windows), windows)
        if row is None:
            reason: str | None = _why_absent(name, rows, placed, names, windows)
        else:
            used.add(row.row)
            dead = row.scan_id is None and any(p.reason == "DIED" for p in placed)
            reason = "DIED" if dead else _absence(row)
        placed.append(Placement(subject, name, row, reason))
    return placed


def _absence(row: VisitRow) -> str | None:
    """Why a row has no scan; None if it has one."""
    if row.scan_id is not None:
        return None
    return row.status.upper() if row.status else "NO_SCAN"


def _window_of(name: str, windows: Windows) -> PlannedVisit | None:
    if windows.assign == "day":
        return next(v for v in windows.planned if v.visit == name)
    return windows.named(name)


def _serving(name: str, rows: list[VisitRow], planned: PlannedVisit | None, windows: Windows) -> VisitRow | None:
    labelled = next((row for row in rows if row.visit == name), None)
    if planned is None:
        return labelled
    free = windows.assign == "day"
    may = [r for r in rows if free or r is labelled or _is_unscheduled(r.visit, windows)]
    near = [r for r in may if r.day is not None and planned.earliest <= r.day <= planned.latest]
    with_scan = [r for r in near if r.scan_id is not None]
    if with_scan:
        return min(with_scan, key=lambda r: (abs((r.day or 0.0) - planned.day), r.day or 0.0))
    if labelled is not None and labelled.scan_id is None:
        return labelled  # says why the visit has no scan, and may carry other outcomes
    return min(near, key=lambda r: abs((r.day or 0.0) - planned.day), default=None)


def _why_absent(
    name: str, rows: tuple[VisitRow, ...], placed: list[Placement], names: tuple[str, ...], windows: Windows
) -> str:
    if any(row.visit == name for row in rows):
        return "OUT_OF_WINDOW"
    planned = _window_of(name, windows)
    for status, reason in (("died", "DIED"), ("withdrawn", "WITHDRAWN")):
        for row in (row for row in rows if row.status == status):
            earlier = any(p.row is row for p in placed)
            before = planned is not None and row.day is not None and row.day <= planned.latest
            ranked = row.visit in names and names.index(row.visit) < names.index(name)
            if earlier or before or ranked:
                return reason
    return "NO_VISIT"


def _is_unscheduled(visit: str, windows: Windows) -> bool:
    # "unscheduled-1" and "unscheduled-2" are two visits of one kind
    return plain(visit).rstrip("0123456789") in {plain(name) for name in windows.unscheduled}
