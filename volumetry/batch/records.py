"""One scan's record: the last file of its folder to be written, and the proof that the others are whole.

The truth of a batch is ``scans/<scan_id>/record.json``. A record never changes; a scan that is done again gets a
new folder, and the old one, record and all, moves to ``earlier/<scan_id>/<n>/``.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from volumetry import __version__
from volumetry.batch.audit import digest
from volumetry.batch.find import ScanFolder
from volumetry.config import Config
from volumetry.domain import SegmenterFacts
from volumetry.scan import files_of_input
from volumetry.storage.atomic import write_json
from volumetry.storage.digests import file_sha256
from volumetry.storage.walk import walk

NAME = "record.json"

Stamp = Mapping[str, str]
Record = Mapping[str, Any]
FileFault = Literal["changed", "missing", "added"]

LIMITS = "limits_sha256"
"""Part of a stamp that matters only where a scan gave no number: under other limits it may give one."""


class TornError(Exception):
    """A scan's folder is not what its record says; the text names the file."""


def stamp_of(scan: ScanFolder, facts: SegmenterFacts, config: Config) -> Stamp:
    """What a result depends on, as far as it can be known without reading the pixels."""
    return {
        "software_version": __version__,
        "settings_sha256": config.sha256,
        LIMITS: config.limits_sha256,
        "model": f"{facts.name}-{facts.version}",
        "model_sha256": facts.sha256 or "",
        "precision": facts.precision,
        "listing_sha256": listing_of(scan),
    }


def listing_of(scan: ScanFolder) -> str:
    """sha256 of every file's relative name, size, and times of change of its content and of itself.

    The last of these, which only the kernel sets, changes with every write, whatever the other is set back to. It
    also changes when files are copied or moved: `content_of` then shows whether the input is another. Only a
    disk's silent fault passes unseen; `volumetry replay` reads everything and does see it.
    """
    listing = hashlib.sha256()
    for name, path in _files_of(scan.path):
        try:
            status = path.lstat()
        except OSError:  # gone since it was listed, denied, or too deep for a path: the reader will find out
            listing.update(repr((name.hex(), "unseen")).encode())
            continue
        entry = (name.hex(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        listing.update(repr(entry).encode())
    return listing.hexdigest()


def content_of(scan: ScanFolder) -> str | None:
    """sha256 of every regular file's relative name and content; None if one cannot be read."""
    content = hashlib.sha256()
    try:
        for name, path in _files_of(scan.path):
            if path.is_symlink() or not path.is_file():
                continue
            content.update(f"{name.hex()} {file_sha256(path)}\n".encode())
    except OSError:
        return None
    return content.hexdigest()


def _files_of(folder: Path) -> Iterator[tuple[bytes, Path]]:
    """Relative name and path of every file, in a fixed order; of a scan that is one file, its own."""
    if folder.is_file():
        for path in files_of_input(folder):
            yield os.fsencode(path.name), path
        return
    for path in walk(folder):
        yield os.fsencode(path.relative_to(folder)), path


def write_record(
    folder: Path,
    document: Mapping[str, Any],
    stamp: Stamp,
    control: Mapping[str, float],
    content_sha256: str | None,
) -> Record:
    """Seal a scan's folder: digests of every file in it, and of the record itself.

    Parameters
    ----------
    document
        As written to result.json.
    control
        Figures for the control charts, in HU.
    content_sha256
        Of the input's files, if the scan was measured.
    """
    record = {
        "scan_id": document["scan_id"],
        "status": document["status"],
        "code": document["code"],
        "stamp": dict(stamp),
        "input_sha256": document.get("provenance", {}).get("input_sha256"),
        "content_sha256": content_sha256,
        "control": dict(control),
        "files_sha256": digests_of(folder),
    }
    record["sha256"] = digest(record)
    write_json(folder / NAME, record)
    return record


def read_record(folder: Path) -> Record:
    """The record of a scan's folder, without looking at the other files.

    Raises
    ------
    FileNotFoundError
        If there is none.
    TornError
        If it is not a record, or not the one that was written.
    """
    try:
        record: dict[str, Any] = json.loads((folder / NAME).read_bytes())
        if record["sha256"] != digest(record) or not isinstance(record["files_sha256"], dict):
            raise TornError(f"{NAME} was changed")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise TornError(f"{NAME} cannot be read") from wrong
    return record


def file_faults(folder: Path, record: Record) -> list[tuple[FileFault, str]]:
    """Pairs of ``changed``, ``missing`` or ``added`` and a file name."""
    expected = record["files_sha256"]
    present = {path.name for path in folder.iterdir()} - {NAME}
    faults: list[tuple[FileFault, str]] = [("missing", name) for name in sorted(set(expected) - present)]
    faults += [("added", name) for name in sorted(present - set(expected))]
    for name in sorted(present & set(expected)):
        try:
            same = file_sha256(folder / name) == expected[name]
        except OSError:
            same = False
        if not same:
            faults.append(("changed", name))
    return faults


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}
