"""Which folders of a tree are scans, and what they may be called."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from volumetry.scan import FileKind, kind_of_file
from volumetry.scan.scan_id import safe_scan_id, scan_ids, text_of

__all__ = ["ScanFolder", "find_scans", "is_scan_file", "safe_scan_id"]

_MOST_DEPTH = 32
"""Folders below each other; what lies deeper is left to the reader of the scan, which has a limit of its own."""
_ALONE = (FileKind.ZIP, FileKind.ARCHIVE, FileKind.VOLUME)
"""An archive that is not read gets a row that says so."""
"""Each such file is a scan of its own."""


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
    """Every scan below a folder, in the order of their paths; or the one scan that a file is.

    A folder that directly holds a DICOM file, gzipped or not, is one scan, whatever lies below it. In other
    folders every archive and every NIfTI, NRRD or MetaImage file is a scan of its own. A folder with neither, and
    without sub-folders, is one scan too, even if it is empty: it must get a row. So is one that cannot be listed,
    or that lies too deep to be read. Other folders are only searched; links are not followed.

    Parameters
    ----------
    root
        Folder, or file of one scan.

    Returns
    -------
    list[ScanFolder]
        With ids that differ.
    """
    paths = list(_scan_paths(root))
    names = [path.relative_to(root) if path != root else Path(root.resolve().name) for path in paths]
    ids = scan_ids(list(zip(paths, names, strict=True)))
    return [
        ScanFolder(scan_id, path, folder=text_of(path.relative_to(root)))
        for scan_id, path in zip(ids, paths, strict=True)
    ]


def _scan_paths(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            files, below = _listed(folder)
        except OSError:
            yield folder
            continue
        kinds = [kind_of_file(path) for path in files]
        alone = [path for path, kind in zip(files, kinds, strict=True) if kind in _ALONE]
        empty = not below and not alone and (files or folder != root)
        if FileKind.PART10 in kinds or empty or depth == _MOST_DEPTH:
            yield folder
            continue
        yield from alone
        waiting += [(path, depth + 1) for path in reversed(below)]


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders directly in a folder, by the bytes of their names."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    files = [Path(e.path) for e in entries if e.is_file(follow_symlinks=False)]
    return files, [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


def is_scan_file(path: Path) -> bool:
    """Whether a file is a scan of its own, or a slice of one."""
    return path.is_file() and kind_of_file(path) in (*_ALONE, FileKind.PART10)
