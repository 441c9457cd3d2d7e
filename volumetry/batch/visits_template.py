"""``visits.csv``, begun for the trial: a row for each scan with its subject and visit; the arms are a person's.

It is written anew as long as it is what a run wrote. Once a person has edited it, it is theirs and stays.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date

from volumetry.batch.ledger import Ledger
from volumetry.batch.tables import Rows
from volumetry.storage.atomic import write_whole
from volumetry.storage.csv_tables import Cell, csv_bytes
from volumetry.storage.digests import file_sha256

NAME = "visits.csv"
COLUMNS = ("subject", "visit", "day", "arm", "scan_id", "day_from")
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
    content = csv_bytes(COLUMNS if any(row["day_from"] for row in table) else COLUMNS[:-1], table)
    if ledger.enter_template(NAME, content) or not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)  # the log knows it already: a kill before this leaves an older one, also ours
    return True


def _rows(rows: Rows) -> list[dict[str, Cell]]:
    """By subject in the order of the batch, and by date within a subject where all of its dates are known."""
    dates = [_date(document) for document in rows]
    by_subject: dict[str, list[int]] = defaultdict(list)
    for index, scan in enumerate(rows.scans):
        by_subject[scan.subject].append(index)
    table: list[dict[str, Cell]] = []
    for subject, indices in by_subject.items():
        known = [dates[index] for index in indices]
        days = [when for when in known if when is not None]
        dated = bool(subject) and len(days) == len(indices)
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


def _date(document: Mapping[str, object]) -> date | None:
    series = document.get("series")
    text = str(series.get("acquisition_date") or "") if isinstance(series, Mapping) else ""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 and text.isdecimal() else None
    except ValueError:
        return None
