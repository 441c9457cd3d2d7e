"""The tables of a batch as they are read back: every cell a text, and what the schema says it means."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from volumetry.deliver.people import DECISION, EXCLUSION_OUTDATED, NAMES, left_out
from volumetry.deliver.row import kind_of, leaves
from volumetry.errors import UsageError
from volumetry.measure.components import REGISTERED_CUTS, HuCuts, cuts_named
from volumetry.storage.csv_tables import unguarded

Row = Mapping[str, str]


def table_schema(hu_cuts: HuCuts = REGISTERED_CUTS) -> dict[str, str]:
    """Type of each column of results.csv, in order: ``number``, ``integer``, ``boolean`` or ``text``.

    The table is the schema of result.json (`volumetry.deliver.result_schema`), flattened with dots.

    Parameters
    ----------
    hu_cuts
        HU cuts that name the columns of the HU bins.

    Returns
    -------
    dict[str, str]
        By column.

    Examples
    --------
    >>> table_schema()["volumes_ml.lung"], table_schema()["scan_id"]
    ('number', 'text')
    """
    return {name: kind_of(schema) for name, (_, schema) in leaves(hu_cuts).items()}


def hu_cuts_of(row: Row) -> HuCuts:
    """The cuts, in HU, that the columns of a row name; the registered ones where they name none."""
    bins = "hu_bins_ml."
    return cuts_named(name.removeprefix(bins) for name in row if name.startswith(bins)) or REGISTERED_CUTS


def results_of(folder: Path) -> Iterator[Row]:
    """Rows of a batch's results.csv, with what else is known of each scan.

    ``subject``, ``visit`` and ``site`` come from scans.csv. What people decided and corrected stands in the row
    itself; a table of an earlier version, without these columns, takes decisions from decisions.csv. No
    automatic value is given as accepted that is not the very result that was accepted.

    Raises
    ------
    UsageError
        If the folder holds no results.csv with its columns.
    """
    keys = _by_scan(folder / "scans.csv")
    decisions = _by_scan(folder / "decisions.csv")
    for row in _rows(folder / "results.csv"):
        if "scan_id" not in row or "status" not in row:
            raise UsageError("results.csv lacks its columns")
        known = keys.get(row["scan_id"], {})
        more = {name: known.get(name) or row.get(name, "") for name in ("subject", "visit", "site")}
        decided = decisions.get(row["scan_id"], {})
        accepts = decided and decided["decision"] == "accept" and not row.get("corrected_by")
        if accepts and decided["record_sha256"] != _record_sha256(folder, row["scan_id"]):
            more |= dict.fromkeys(DECISION, "")
        elif decided and "decision" not in row:
            more |= {"decision": decided["decision"], "decision_reason": decided["reason"]}
        yield {**dict.fromkeys(NAMES, ""), **row, **more}


def said_by_people(folder: Path) -> Iterator[str]:
    """What a user of the export must know of decisions and corrections, in sentences."""
    rows = list(results_of(folder))
    for decision, words in (
        ("exclude", "excluded by decision, and in the export with the decision"),
        ("repeat", "to be measured again by decision, and in the export as they are"),
    ):
        found = [row["scan_id"] for row in rows if row["decision"] == decision]
        if found:
            yield f"{words}: {', '.join(found)}"
    undecided = [row["scan_id"] for row in rows if left_out(row) == EXCLUSION_OUTDATED]
    if undecided:
        words = "excluded, and nobody has decided on what is there now; in the export as they are"
        yield f"{words}: {', '.join(undecided)}"
    corrected = [row["scan_id"] for row in rows if row["corrected_by"]]
    if corrected:
        yield f"with a reader's value in place of the automatic one: {', '.join(corrected)}"


def _by_scan(table: Path) -> dict[str, Row]:
    return {row["scan_id"]: row for row in _rows(table)} if table.is_file() else {}


def _record_sha256(folder: Path, scan_id: str) -> str | None:
    try:
        record = json.loads((folder / "scans" / scan_id / "record.json").read_bytes())
        return str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield {name: unguarded(cell) for name, cell in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise UsageError(f"cannot read {path.name}: is this a batch's folder?") from wrong
