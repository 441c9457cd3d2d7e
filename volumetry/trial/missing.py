"""The listing of every value that is missing or not evaluable, each with its reason."""

from collections.abc import Sequence

from volumetry.storage.csv_tables import Cell
from volumetry.trial.change import Change
from volumetry.trial.outcomes import values_at
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

COLUMNS = ("subject", "arm", "visit", "day", "what", "scan_id", "reason")


def missing_values(
    changes: Sequence[Change], placements: Sequence[Placement], visits: Visits
) -> list[dict[str, Cell]]:
    """Rows of missing.csv: shares and changes by measure, then further columns where someone has a value.

    Parameters
    ----------
    changes
        From `changes_of`.
    placements
        From `place`.
    visits
        From `read_visits`.

    Returns
    -------
    list[dict[str, Cell]]
        By column, with the reason of each.
    """
    rows: list[dict[str, Cell]] = []
    for change in changes:
        scan_id = change.scan.scan_id if change.scan else None
        whats = ("percent",) if change.is_baseline else ("percent", "relative_percent", "absolute_points")
        for what in whats:
            reason = change.empty.get("value_percent" if what == "percent" else what)
            if reason:
                rows.append(
                    {
                        "subject": change.subject,
                        "arm": change.arm,
                        "visit": change.visit,
                        "day": change.day,
                        "what": f"{change.measure}.{what}",
                        "scan_id": scan_id,
                        "reason": reason,
                    }
                )
    for extra in (e for e in visits.extras if e.kind != "text"):
        known = values_at(placements, extra.column)
        asked = {visit for _subject, visit in known}
        for p in placements:
            if p.visit in asked and (p.subject, p.visit) not in known:
                rows.append(
                    {
                        "subject": p.subject,
                        "arm": visits.arms.get(p.subject),
                        "visit": p.visit,
                        "day": p.row.day if p.row else None,
                        "what": extra.column,
                        "reason": _why(p, extra.column, visits),
                    }
                )
    return rows


def _why(placement: Placement, column: str, visits: Visits) -> str | None:
    """Why a further column has no value at a visit."""
    rows = visits.rows[placement.subject]
    if any(row.visit == placement.visit and column in row.values for row in rows):
        return "OUT_OF_WINDOW"
    says_why = placement.row is None or placement.reason not in (None, "NO_SCAN")
    return placement.reason if says_why else "EMPTY_CELL"
