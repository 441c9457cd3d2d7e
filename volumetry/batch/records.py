"""One scan's record: the last file of its folder to be written, and the proof that the others are whole.

The truth of a batch is ``scans/<scan_id>/record.json``. A record never changes; a scan that is done again gets a
new folder, and the old one, record and all, moves to ``earlier/<scan_id>/<n>/``.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from volumetry import __version__
from volumetry.batch.audit import digest
from volumetry.batch.find import ScanFolder
from volumetry.config import Config
from volumetry.deliver.files import write_whole
from volumetry.domain import SegmenterFacts

NAME = "record.json"

Stamp = Mapping[str, str]
Record = Mapping[str, Any]
FileFault = Literal["changed", "missing", "added"]

_CANNOT_CHANGE_A_NUMBER = {"limits": {"scan_timeout_s", "worker_memory_gb"}}


class TornError(Exception):
    """A scan's folder is not what its record says; the text names the file."""


def stamp_of(scan: ScanFolder, facts: SegmenterFacts, config: Config) -> Stamp:
    """What a result depends on, as far as it can be told without reading the pixels.

    Files count by relative name, size and time of change. Reading terabytes to find that nothing changed would
    cost as much as measuring; a file whose content changed while size and time stayed (a restored time stamp, a
    silent disk fault) is therefore not seen here. `volumetry replay` reads everything and does see it.
    """
    listing = hashlib.sha256()
    for parent, below, names in os.walk(scan.path):
        below.sort()
        for name in sorted(names, key=os.fsencode):
            path = Path(parent, name)
            try:
                status = path.lstat()
            except FileNotFoundError:  # gone since the folder was listed: the reader will find out
                continue
            entry = (os.fsencode(path.relative_to(scan.path)).hex(), status.st_size, status.st_mtime_ns)
            listing.update(repr(entry).encode())
    settings = config.model_dump(mode="json", exclude=_CANNOT_CHANGE_A_NUMBER)
    return {
        "software_version": __version__,
        "settings_sha256": digest(settings),
        "model": f"{facts.name}-{facts.version}",
        "model_sha256": facts.sha256 or "",
        "precision": facts.precision,
        "listing_sha256": listing.hexdigest(),
    }


def write_record(folder: Path, document: Mapping[str, Any], stamp: Stamp, control: Mapping[str, float]) -> Record:
    """Seal a scan's folder: digests of every file in it, and of the record itself.

    Parameters
    ----------
    document
        As written to result.json.
    control
        Figures for the control charts, in HU.
    """
    record = {
        "scan_id": document["scan_id"],
        "status": document["status"],
        "code": document["code"],
        "stamp": dict(stamp),
        "input_sha256": document.get("provenance", {}).get("input_sha256"),
        "control": dict(control),
        "files_sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()},
    }
    record["sha256"] = digest(record)
    write_whole(folder / NAME, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())
    return record


def read_record(folder: Path) -> Record:
    """The record of a scan's folder, without looking at the other files.

    Raises
    ------
    FileNotFoundError
        If there is none.
    TornError
        If it is no record, or not the one that was written.
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
            same = sha256_of(folder / name) == expected[name]
        except OSError:
            same = False
        if not same:
            faults.append(("changed", name))
    return faults


def sha256_of(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
