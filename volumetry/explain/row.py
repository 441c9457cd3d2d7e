"""The row that is asked for, what made its table, and whether the table is still as it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from volumetry.batch.audit import NAME as AUDIT
from volumetry.batch.audit import Audit
from volumetry.errors import InputError, UsageError
from volumetry.storage.csv_tables import Row, Table, read_table
from volumetry.storage.digests import file_sha256

TRIAL = "trial.json"
Kind = Literal["trial", "batch", "table"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One row of a table.

    Parameters
    ----------
    path, table, row
        The table, and the row in it.
    kind
        ``trial`` for a table of a trial's folder, ``batch`` for one of a batch's, ``table`` for any other.
    made
        What the folder's own record says of the table; empty where it has none.
    """

    path: Path
    table: Table
    row: Row
    kind: Kind
    made: Mapping[str, Any]


_RUN_AGAIN = "Run `volumetry trial` again, or restore the file."


def asked(path: Path, which: str) -> Asked:
    """The row of a table by its number, as a spreadsheet counts, or by the scan that it is of.

    Raises
    ------
    UsageError
        If there is no such row, or several are of the scan.
    """
    table = read_table(path, ())
    kind, made = _made(path)
    return Asked(path, table, _row(table, which), kind, made)


def _row(table: Table, which: str) -> Row:
    by_scan = [row for row in table.rows if row.cells.get("scan_id") == which]
    if len(by_scan) > 1:
        numbers = ", ".join(str(row.number) for row in by_scan[:20])
        raise UsageError(f"several rows of {table.name} are of this scan", hint=f"Give one of the rows {numbers}.")
    by_number = [row for row in table.rows if which.isdecimal() and row.number == int(which)]
    found = by_scan or by_number
    if not found:
        last = table.rows[-1].number
        raise UsageError(
            f"{table.name} has no row {which!r}",
            hint=f"Give a row from 2 to {last}, as a spreadsheet counts (the header is row 1), or a scan_id.",
        )
    return found[0]


def _made(path: Path) -> tuple[Kind, dict[str, Any]]:
    folder = path.resolve().parent
    digest = file_sha256(path)
    if (folder / TRIAL).is_file():
        try:
            record = json.loads((folder / TRIAL).read_bytes())
            known = record["files_sha256"].get(path.name)
            return "trial", {
                "software_version": record["software_version"],
                "config_sha256": record["config_sha256"],
                "results_sha256": record["inputs_sha256"]["results"],
                "visits_sha256": record["inputs_sha256"]["visits"],
                "table_sha256": digest,
                "as_it_was_made": digest == known,
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise InputError(f"{TRIAL} beside the table cannot be read", hint=_RUN_AGAIN) from wrong
    if (folder / AUDIT).is_file():
        log = Audit.opened(folder)
        known = log.tables.get(path.name)
        return "batch", {"log_entries": log.count, "table_sha256": digest, "as_it_was_made": digest == known}
    return "table", {"table_sha256": digest}
