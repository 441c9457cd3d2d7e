"""Scans of an earlier run that this run's list does not name: kept in the tables, moved aside, or asked about.

A shorter manifest or a renamed folder must not let a row disappear: nobody would miss it.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from volumetry.batch import records
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger
from volumetry.batch.records import TornError
from volumetry.errors import UsageError
from volumetry.scan.findings import plural
from volumetry.storage.csv_tables import unguarded

Leftovers = Literal["ask", "append", "replace", "prune"]
_NAMED = 20


def leftovers_of(*, append: bool, prune: bool, replace: bool = False) -> Leftovers:
    """What the options say; raises UsageError if they contradict each other."""
    if append and prune:
        raise UsageError(
            "--append keeps earlier scans in the tables, and --prune moves them out: give one of them"
        )
    if replace and not append:
        raise UsageError("--replace belongs to --append; without that a scan of the list replaces its result")
    return "replace" if replace else "append" if append else "prune" if prune else "ask"


def with_leftovers(scans: Sequence[ScanFolder], ledger: Ledger, leftovers: Leftovers) -> list[ScanFolder]:
    """The scans of the tables: those of the list, and with ``append`` those that only an earlier list named.

    Parameters
    ----------
    scans
        Of this run's list.
    ledger
        The batch's folder.
    leftovers
        ``append`` keeps earlier scans in the tables, ``prune`` moves their folders to ``earlier/``; ``replace`` is
        ``append`` for scans that were sent again under their name.

    Returns
    -------
    list[ScanFolder]
        Those of the list first.

    Raises
    ------
    UsageError
        With ``ask`` where there are any, naming them; with ``append`` if the files of one are not whole, or if a
        scan of the list has other files than the result under its name.
    """
    if leftovers == "append":
        _refuse_other_images(scans, ledger)
    listed = {scan.scan_id for scan in scans}
    folder = ledger.out / "scans"
    present = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    left = [scan_id for scan_id in present if scan_id not in listed]
    if not left:
        return list(scans)
    if leftovers == "prune":
        for scan_id in left:
            ledger.prune(scan_id)
        return list(scans)
    if leftovers == "ask":
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        raise UsageError(
            f"the list lacks {plural(len(left), 'scan')} of this output folder: {', '.join(left[:_NAMED])}{more}",
            hint="Run with --append to keep them in the tables, or with --prune to move them to earlier/.",
        )
    keys = _keys(ledger.out / "scans.csv")
    return [*scans, *(_kept(folder / scan_id, keys.get(scan_id, {})) for scan_id in left)]


def _refuse_other_images(scans: Sequence[ScanFolder], ledger: Ledger) -> None:
    """A later delivery whose scan has the name of an earlier one: the row of the earlier one would disappear."""
    others = ledger.with_other_images(scans)
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise UsageError(
            f"other files than before under the same scan_id: {', '.join(others[:_NAMED])}{more}",
            hint="Give another scan its own scan_id in the manifest; if the scan was sent again, add --replace.",
        )


def keys_lost(scans: Sequence[ScanFolder], out: Path) -> list[str]:
    """Scans whose subject and visit an earlier run knew, and this run's list does not.

    Parameters
    ----------
    scans
        Of this run's list.
    out
        The batch's folder.

    Returns
    -------
    list[str]
        Their ids; nothing if the table of the earlier run cannot be read.
    """
    try:
        known = _keys(out / "scans.csv")
    except UsageError:
        return []
    unnamed = [scan.scan_id for scan in scans if not scan.subject and not scan.visit]
    return [scan_id for scan_id in unnamed if known.get(scan_id, {}).get("subject")]


def _kept(folder: Path, keys: Mapping[str, str]) -> ScanFolder:
    try:
        records.read_record(folder)
    except (FileNotFoundError, NotADirectoryError, TornError) as wrong:
        raise UsageError(
            f"{folder.name} is not in the list, and its result is not whole",
            hint="List the scan again to measure it, or run with --prune to move it to earlier/.",
        ) from wrong
    own = {name: keys.get(name) or "" for name in ("subject", "visit", "site", "folder")}
    return ScanFolder(folder.name, folder, **own)


def _keys(table: Path) -> dict[str, dict[str, str]]:
    """Rows of the earlier scans.csv by scan; the table is derived, so its loss costs the keys alone."""
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            rows = [{k: unguarded(text or "") for k, text in row.items() if k} for row in csv.DictReader(stream)]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise UsageError(
            "scans.csv of this output folder cannot be read: it has the subjects and visits of the earlier scans",
            hint="Restore the file, or list all scans again.",
        ) from wrong
    return {row["scan_id"]: row for row in rows if row.get("scan_id")}
