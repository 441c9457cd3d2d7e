"""Which folders of a tree are scans, and what they may be called."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from volumetry.batch.ids import safe_scan_id, scan_ids, text_of

__all__ = ["ScanFolder", "find_scans", "safe_scan_id"]

_MOST_DEPTH = 32
"""Folders below each other; what lies deeper is left to the reader of the scan, which has a limit of its own."""


@dataclass(frozen=True, slots=True)
class ScanFolder:
    """One scan to measure.

    Parameters
    ----------
    scan_id
        Unique in its batch, usable as a file name, and free of the patient's identity.
    path
        Where the files are; never written into a result.
    subject, visit, site
        The study's own keys, if a manifest gives them.
    folder
        The same place as the user names it, relative to the tree or as in the manifest; only scans.csv has it.
    """

    scan_id: str
    path: Path
    subject: str = ""
    visit: str = ""
    site: str = ""
    folder: str = ""


def find_scans(root: Path) -> list[ScanFolder]:
    """Every scan below a folder, in the order of their paths.

    A folder that directly holds a DICOM file is one scan, whatever lies below it. A folder without sub-folders is
    one scan too, even if it is empty: it is owed a row. So is one that cannot be listed, or that lies too deep to
    be looked into. Other folders are only looked into; links are not followed.
    """
    paths = list(_scan_paths(root))
    names = [path.relative_to(root) if path != root else Path(root.resolve().name) for path in paths]
    ids = scan_ids(list(zip(paths, names, strict=True)))
    return [
        ScanFolder(scan_id, path, folder=text_of(path.relative_to(root)))
        for scan_id, path in zip(ids, paths, strict=True)
    ]


def _scan_paths(root: Path) -> Iterator[Path]:
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            files, below = _listed(folder)
        except OSError:
            yield folder
            continue
        is_one = any(_is_part10(path) for path in files) or (not below and (files or folder != root))
        if is_one or depth == _MOST_DEPTH:
            yield folder
        else:
            waiting += [(path, depth + 1) for path in reversed(below)]


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders directly in a folder, by the bytes of their names."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    files = [Path(e.path) for e in entries if e.is_file(follow_symlinks=False)]
    return files, [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


def _is_part10(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
