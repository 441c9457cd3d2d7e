"""The scan list: a folder tree, or a CSV that names scans, their folders and the study's own keys."""

import csv
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from volumetry.batch.find import ScanFolder, find_scans, is_scan_file
from volumetry.errors import UsageError
from volumetry.scan.scan_id import MOST_BYTES, readable_id

COLUMNS = ("scan_id", "path", "subject", "visit", "site")
REQUIRED = ("scan_id", "path")


def list_scans(source: Path) -> list[ScanFolder]:
    """Every scan of a folder tree or of a CSV manifest; or the one scan that a file is.

    Parameters
    ----------
    source
        Folder, manifest, or file of one scan.

    Returns
    -------
    list[ScanFolder]
        With ids that differ.

    Raises
    ------
    UsageError
        If it is neither, or the manifest is wrong; every wrong line is named.
    """
    if source.is_dir() or is_scan_file(source):
        return find_scans(source)
    if source.is_file():
        return read_manifest(source)
    raise UsageError(f"{source.name} is neither a folder, nor a scan in one file, nor a CSV manifest")


def read_manifest(path: Path) -> list[ScanFolder]:
    """Scans of a CSV with the columns ``scan_id,path`` and, if wanted, ``subject,visit,site``.

    Paths are relative to the manifest's own folder. The ids are the user's: what is in the manifest is taken to be
    free of identity. A folder that is missing still gets a row.

    Parameters
    ----------
    path
        Of the CSV file.

    Returns
    -------
    list[ScanFolder]
        In the order of the lines.

    Raises
    ------
    UsageError
        Naming line and column, never a value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, strict=True)
            scans = list(_scans(table, path))
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise UsageError(f"{path.name} cannot be read as a CSV in UTF-8") from wrong
    if not scans:
        raise UsageError(f"{path.name} lists no scan")
    return scans


def _scans(table: "csv.DictReader[str]", path: Path) -> Iterator[ScanFolder]:
    names = table.fieldnames or []
    absent = [name for name in REQUIRED if name not in names]
    if absent or len(set(names)) != len(names):
        raise UsageError(f"{path.name} needs the columns {', '.join(REQUIRED)}, each once")
    unknown = set(names) - set(COLUMNS)
    if unknown:
        raise UsageError(f"{path.name} has columns that are none of {', '.join(COLUMNS)}")
    used: dict[str, int] = {}
    for row in table:
        line = table.line_num
        if None in row or None in row.values():
            raise UsageError(f"{path.name} line {line}: not as many cells as columns")
        cells = {name: row[name].strip() for name in names}
        scan_id = unicodedata.normalize("NFC", cells["scan_id"])
        if not _is_safe(scan_id):
            raise UsageError(f"{path.name} line {line}: scan_id must be letters, digits, dot, dash, underline")
        if not cells["path"]:
            raise UsageError(f"{path.name} line {line}: path is empty")
        if scan_id.casefold() in used:
            raise UsageError(f"{path.name} line {line}: the scan_id of line {used[scan_id.casefold()]} again")
        used[scan_id.casefold()] = line
        more = {name: cells.get(name, "") for name in ("subject", "visit", "site")}
        yield ScanFolder(scan_id, path.parent / cells["path"], **more, folder=cells["path"])


def _is_safe(scan_id: str) -> bool:
    """Whether an id is a name of a file everywhere; that of a folder would be the same."""
    readable = readable_id(scan_id)
    return bool(readable) and readable == scan_id.rstrip("._-") and len(scan_id.encode()) <= MOST_BYTES
