"""The way back: reads joined with the scans, visits and arms they are of, once the key has been checked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from volumetry.blinding.package import KEY_COLUMNS, PLAN_COLUMNS
from volumetry.codes import CATALOGUE
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.storage.atomic import write_whole
from volumetry.storage.csv_tables import Problems, Table, csv_bytes, read_table
from volumetry.storage.digests import file_sha256


def unblind(package: Path, key: Path, reads: Path) -> list[dict[str, str]]:
    """Join reads with the scans, visits and arms they are of.

    Parameters
    ----------
    package
        Folder that `make_reading_package` made; its manifest proves that the key is still the one it was.
    key
        The key file.
    reads
        The filled ``reads.csv``: one row per reading, or one per reading and reader; further columns are welcome.

    Returns
    -------
    list of dict
        One per read, in the order of the scans' ids: the key's ``scan_id``, ``subject``, ``visit``, ``day`` and
        ``arm``, then the columns of the reads. A reading that nobody read has empty cells.

    Raises
    ------
    InputError
        ``KEY_MISMATCH`` if the key is not the one that was written with this package.
    TableError
        If `reads` names an unknown reading, or one reader's read twice.
    """
    require_key(package, key)
    reading_of = {row.cells["reading_id"]: row.cells for row in read_table(key, KEY_COLUMNS).rows}
    reading_of.pop("", None)
    table = read_table(reads, ("reading_id",))
    _check_reads(table, reading_of)
    by_reading: dict[str, list[Mapping[str, str]]] = {reading: [] for reading in reading_of}
    for row in table.rows:
        by_reading[row.cells["reading_id"]].append(row.cells)
    nothing = dict.fromkeys(table.columns, "")
    joined = []
    for reading, secret in sorted(reading_of.items(), key=lambda pair: pair[1]["scan_id"]):
        whose = {name: secret[name] for name in ("scan_id", *PLAN_COLUMNS)}
        joined += [{**cells, **whose} for cells in by_reading[reading] or [{**nothing, "reading_id": reading}]]
    return joined


def write_unblinded(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write joined reads as CSV, and what its columns hold as ``<name>.dictionary.csv``.

    Parameters
    ----------
    rows
        From `unblind`.
    path
        Must not exist.

    Raises
    ------
    OutputError
        If the file is there already, or cannot be written.
    """
    if path.exists():
        raise OutputError(f"{path.name} exists already and is not overwritten", hint="Give another name by --out.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    first = [name for name in ("scan_id", *PLAN_COLUMNS) if name in columns]
    header = [*first, *(c for c in columns if c not in first)]
    write_whole(path, csv_bytes(header, rows))
    described = dictionary_bytes("adjudication", {path.name: header})
    write_whole(path.with_name(f"{path.stem}.{DICTIONARY}"), described)


def require_key(package: Path, key: Path) -> None:
    """Stop unless a key is the one that was written with a package.

    Parameters
    ----------
    package
        Its manifest has the key's digest.
    key
        The key file.

    Raises
    ------
    InputError
        ``KEY_MISMATCH`` if it is another.
    UsageError
        If one of them cannot be read.
    """
    try:
        manifest = json.loads((package / "manifest.json").read_text("utf-8"))
        expected = manifest["key_sha256"]
        found = file_sha256(key)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise UsageError(f"the package's manifest or the key cannot be read ({type(wrong).__name__})") from wrong
    if found != expected:
        message = "the key is not the one that was written with this reading package: its sha256 differs"
        raise InputError(message, "KEY_MISMATCH", CATALOGUE["KEY_MISMATCH"].hint)


def _check_reads(table: Table, known: Mapping[str, object]) -> None:
    problems = Problems(table.name)
    seen: set[tuple[str, str]] = set()
    for row in table.rows:
        reading, reader = row.cells["reading_id"], row.cells.get("reader", "")
        if reading not in known:
            problems.add(row.number, "reading_id", "is not a reading of this package")
        if (reading, reader) in seen:
            problems.add(row.number, "reading_id", "is read twice by one reader")
        seen.add((reading, reader))
    problems.raise_if_any()
