"""``visits.csv``, begun for the trial: a row for each scan with its subject and visit; the arms are a person's.

It is written anew as long as it is what a run wrote. Once a person has edited it, it is theirs and stays.
"""

from collections import defaultdict

from volumetry.batch.ledger import Ledger
from volumetry.batch.status import day_of
from volumetry.batch.tables import VISITS, Rows
from volumetry.errors import UsageError
from volumetry.storage.atomic import write_whole
from volumetry.storage.csv_tables import Cell, TableError, csv_bytes, read_table
from volumetry.storage.digests import file_sha256

NAME = "visits.csv"
DAY_FROM = "first scan"
"""``day`` of a template counts from the subject's first scan, and not from the first treatment; this says so."""


def write_template(rows: Rows, ledger: Ledger) -> bool:
    """Write the template unless a person has edited it, or no scan has a subject.

    Parameters
    ----------
    rows
        The scans of the batch.
    ledger
        Its folder; the log knows what was written.

    Returns
    -------
    bool
        False where a file that is not ours was left as it is.
    """
    path = ledger.out / NAME
    if path.exists() and (not path.is_file() or file_sha256(path) not in ledger.audit.templates):
        return False
    if not any(scan.subject for scan in rows.scans):
        return True
    table = _rows(rows)
    content = csv_bytes(VISITS if any(row["day_from"] for row in table) else VISITS[:-1], table)
    if ledger.enter_template(NAME, content) or not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)  # the log knows it already: a kill before this leaves an older one, also ours
    return True


def not_in_visits(rows: Rows) -> list[str]:
    """Scans that the visits table beside the results does not name, where there is one.

    Parameters
    ----------
    rows
        The scans of the batch.

    Returns
    -------
    list[str]
        Their ids: a person has edited the table, and it stays as it is.
    """
    try:
        table = read_table(rows.out / NAME, ("scan_id",))
    except (UsageError, TableError):
        return []
    named = {row.cells["scan_id"] for row in table.rows}
    return [scan.scan_id for scan in rows.scans if scan.scan_id not in named]


def _rows(rows: Rows) -> list[dict[str, Cell]]:
    """By subject in the order of the batch, and by date within a subject whose dates are all known.

    Dates that are the same at every visit were put there when the scans were de-identified, and are none.
    """
    dates = [day_of(document) for document in rows]
    by_subject: dict[str, list[int]] = defaultdict(list)
    for index, scan in enumerate(rows.scans):
        by_subject[scan.subject].append(index)
    table: list[dict[str, Cell]] = []
    for subject, indices in by_subject.items():
        known = [dates[index] for index in indices]
        days = [when for when in known if when is not None]
        visits = {rows.scans[index].visit for index in indices}
        dated = bool(subject) and len(days) == len(indices) and len(set(days)) >= len(visits)
        if dated:
            indices = sorted(indices, key=lambda index: (str(dates[index]), index))
        for index in indices:
            when = dates[index]
            table.append(
                {
                    "subject": subject,
                    "visit": rows.scans[index].visit,
                    "day": (when - min(days)).days if dated and when is not None else None,
                    "scan_id": rows.scans[index].scan_id,
                    "day_from": DAY_FROM if dated else None,
                }
            )
    return table
