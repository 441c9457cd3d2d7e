"""Whether the visits table and the batch say the same of a scan: whose it is, and of which visit."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from volumetry.storage.csv_tables import Problems
from volumetry.trial.config import plain
from volumetry.trial.results import PIXELS, ScanRow
from volumetry.trial.visits import VisitRow, Visits

_NAMED = 8


def require_agreement(visits: Visits, scans: Mapping[str, ScanRow], table: str) -> None:
    """Stop where the batch gives a scan to another subject or visit of the table.

    Names that the table does not have are no contradiction, since a batch may write them otherwise;
    `disagreements` says so.

    Parameters
    ----------
    visits
        From `read_visits`.
    scans
        From `read_results`; of a batch they know their subject and visit.
    table
        Name of the visits table for the message.

    Raises
    ------
    TableError
        Naming row and column of each contradiction.
    """
    problems = Problems(table)
    for row, column, ours, theirs in _differences(visits, scans):
        if plain(theirs) in _known(visits)[column]:
            problems.add(row.row, column, f"{ours!r}, but in the batch {row.scan_id!r} is of {column} {theirs!r}")
    problems.raise_if_any()


def disagreements(visits: Visits, scans: Mapping[str, ScanRow]) -> Iterator[str]:
    """What a reader must know of names that differ, and of images that stand in several rows.

    Parameters
    ----------
    visits, scans
        As for `require_agreement`.

    Yields
    ------
    str
        A sentence each.
    """
    differing = list(_differences(visits, scans))
    for column in ("subject", "visit"):
        numbers = [str(row.row) for row, of, _, _ in differing if of == column]
        if numbers:
            yield f"The batch names the {column} otherwise than the visits table in rows {_some(numbers)}."
    for rows in same_images(visits, scans).values():
        if len(rows) > 1:
            listed = "; ".join(f"row {row.row} ({row.subject}, {row.visit}, {row.scan_id})" for row in rows)
            yield f"The same images occur in several rows of the visits table: {listed}. Their pairs have grade C."


def same_images(visits: Visits, scans: Mapping[str, ScanRow]) -> Mapping[str, list[VisitRow]]:
    """Rows of the visits table by the digest of their images, as far as the results state it.

    Parameters
    ----------
    visits, scans
        As for `require_agreement`.

    Returns
    -------
    Mapping[str, list[VisitRow]]
        In the order of the table.
    """
    found: dict[str, list[VisitRow]] = defaultdict(list)
    for rows in visits.rows.values():
        for row in rows:
            digest = scans[row.scan_id].facts.get(PIXELS) if row.scan_id else None
            if digest:
                found[digest].append(row)
    return found


def _differences(visits: Visits, scans: Mapping[str, ScanRow]) -> Iterator[tuple[VisitRow, str, str, str]]:
    """Row, column, the table's name and the batch's, where both have one and they differ."""
    for rows in visits.rows.values():
        for row in rows:
            facts = scans[row.scan_id].facts if row.scan_id else {}
            for column, ours in (("subject", row.subject), ("visit", row.visit)):
                theirs = facts.get(column)
                if theirs and plain(theirs) != plain(ours):
                    yield row, column, ours, theirs


def _known(visits: Visits) -> Mapping[str, set[str]]:
    return {"subject": {plain(name) for name in visits.rows}, "visit": {plain(name) for name in visits.visits}}


def _some(rows: list[str]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(rows[:_NAMED]) + more
