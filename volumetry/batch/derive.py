"""Tables and report of a batch, derived by a run, or again from its folder when a person decided or corrected."""

import csv
from functools import partial
from pathlib import Path

from volumetry.batch import tables
from volumetry.batch.audit import REPORT, pages_of
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger
from volumetry.measure.components import REGISTERED_CUTS, cuts_named
from volumetry.storage.csv_tables import unguarded
from volumetry.storage.digests import file_sha256

_BINS = "hu_bins_ml."


def derive_again(ledger: Ledger) -> None:
    """Derive what changes with a decision or a correction: the rows that results.csv has, with what counts now.

    Before a run has written results.csv there is nothing but the tables of decisions and corrections; the run
    derives the others.
    """
    rows = rows_of(ledger)
    if rows is None:
        tables.write_derived(tables.people_tables(ledger), ledger)
        return
    tables.write_answers(rows, ledger)
    if (ledger.out / REPORT).is_file():
        derive_report(rows, ledger)


def derive_report(rows: tables.Rows, ledger: Ledger) -> None:
    """Make the pages anew if the tables that they show are new, or they are not those that were made."""
    log = ledger.audit
    pages = pages_of(log.tables)
    shown = {name: log.tables[name] for name in log.tables.keys() - pages}
    places = {ledger.out / name: sha256 for name, sha256 in pages.items()}
    whole = REPORT in pages and all(at.is_file() and file_sha256(at) == sha256 for at, sha256 in places.items())
    if shown != log.report_shows or not whole:
        from volumetry.batch.report import report_pages  # matplotlib is slow to load

        made = {name: page.encode("utf-8") for name, page in report_pages(rows).items()}
        lines: dict[str, tables.Lines] = {name: partial(list, (page,)) for name, page in made.items()}
        tables.write_derived(lines, ledger, gone=pages.keys() - made.keys())


def rows_of(ledger: Ledger) -> tables.Rows | None:
    """The scans of results.csv in its order; if somebody edited it, those of scans.csv.

    Subject, visit and site come from the same table as the scans.

    Parameters
    ----------
    ledger
        Of the batch, held.

    Returns
    -------
    Rows or None
        With what counts now; None without these tables, if both were edited or taken away, or if a scan with a row
        lost its files: the next run derives them anew.
    """
    if not (ledger.out / "results.csv").is_file():
        return None
    folder = ledger.out / "scans"
    rows = _read(ledger, "results.csv")
    listed = rows or _read(ledger, "scans.csv")
    whole = [row for row in listed if (folder / row["scan_id"] / "results.csv").is_file()]
    if not listed or (rows and len(whole) < len(rows)):  # a row must not go because its files did
        return None
    named = [row for row in listed[:1] if "status" in row] or [
        row for of in whole[:1] for row in _rows_in(folder / of["scan_id"] / "results.csv")
    ]
    bins = [name.removeprefix(_BINS) for row in named for name in row if name.startswith(_BINS)]
    scans = [_scan(row["scan_id"], row) for row in whole]
    return tables.Rows(ledger.out, scans, cuts_named(bins) or REGISTERED_CUTS, ledger.audit)


def scans_without_files(out: Path) -> list[str]:
    """Scans that results.csv has and whose own files are gone: until the next run the tables stay as they are.

    Parameters
    ----------
    out
        A batch's folder.

    Returns
    -------
    list[str]
        Their ids.
    """
    listed = [row["scan_id"] for row in _rows_in(out / "results.csv")]
    return [scan_id for scan_id in listed if not (out / "scans" / scan_id / "results.csv").is_file()]


def _scan(scan_id: str, known: dict[str, str]) -> ScanFolder:
    return ScanFolder(scan_id, Path(), **{name: known.get(name, "") for name in ("subject", "visit", "site")})


def _read(ledger: Ledger, name: str) -> list[dict[str, str]]:
    """Rows of a table that is as it was written; none of another."""
    path = ledger.out / name
    if not path.is_file() or file_sha256(path) != ledger.audit.tables.get(name):
        return []
    return _rows_in(path)


def _rows_in(table: Path) -> list[dict[str, str]]:
    """Rows with a scan; none if the table is not there or cannot be read, for the next run derives it anew."""
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            rows = [
                {name: unguarded(cell) for name, cell in row.items()}
                for row in csv.DictReader(stream, strict=True)
            ]
    except (OSError, UnicodeDecodeError, csv.Error, TypeError, AttributeError):
        return []
    return [row for row in rows if row.get("scan_id")]
