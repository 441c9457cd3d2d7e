"""Which folders of a tree are scans, and what they may be called."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from volumetry.batch.layout import Layout
from volumetry.scan import FileKind, kind_of_file, zip_may_hold_scan
from volumetry.scan.patient_words import patients_of
from volumetry.scan.scan_id import safe_scan_id, scan_ids, text_of
from volumetry.storage.walk import walk

__all__ = ["ScanFolder", "find_scans", "is_scan_file", "safe_scan_id"]

_MOST_DEPTH = 32
"""Folders below each other; what lies deeper is left to the reader of the scan, which has a limit of its own."""
_ALONE = (FileKind.ZIP, FileKind.ARCHIVE, FileKind.VOLUME)
"""Each such file is a scan of its own; an archive that is not read gets a row that says so."""

MEND_KEYS = "give site, subject and visit in a manifest, or list the trial's subjects with --expected"
"""What to do where a name in a path is also that of the patient in the headers."""
_DOCUMENTS = (".xlsx", ".xlsm", ".docx", ".pptx", ".ods", ".odt", ".odp")


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
    key_fault
        Why subject, visit or site are unknown although they were asked for, in words.
    """

    scan_id: str
    path: Path
    subject: str = ""
    visit: str = ""
    site: str = ""
    folder: str = ""
    key_fault: str = ""


def find_scans(
    root: Path, layout: str | None = None, is_own_code: Callable[[str], bool] = lambda _: False
) -> list[ScanFolder]:
    """Every scan below a folder, in the order of their paths; or the one scan that a file is.

    A folder that directly holds a DICOM file, gzipped or not, is one scan, whatever lies below it; only a ZIP in
    or below it that may hold a scan is one of its own, as it is not read with the folder. In other folders every
    archive and every NIfTI, NRRD or MetaImage file is a scan of its own. A folder with neither, and without
    sub-folders, is one scan too, even if it is empty: it must get a row. So is one that cannot be listed,
    or that lies too deep to be read. Other folders are only searched; links are not followed.

    Parameters
    ----------
    root
        Folder, or file of one scan.
    layout
        Pattern of `volumetry.batch.layout.Layout` by which site, subject and visit are read from the paths.
    is_own_code
        Whether a subject is one of the trial's: in such a name nobody is named, also where sites put it into the
        headers as the patient's.

    Returns
    -------
    list[ScanFolder]
        With ids that differ.

    Raises
    ------
    UsageError
        If the layout is none.
    """
    paths = list(_scan_paths(root))
    names = [path.relative_to(root) if path != root else Path(root.resolve().name) for path in paths]
    patients = patients_of(paths)
    ids = scan_ids(list(zip(paths, names, strict=True)), patients)
    wanted = None if layout is None else Layout.of(layout)
    found = []
    for scan_id, path, name, patient in zip(ids, paths, names, patients, strict=True):
        keys, fault = wanted.keys_of(name, is_file=path.is_file()) if wanted else ({}, "")
        foreign = [key for of, key in keys.items() if of != "subject" or not is_own_code(key)]
        if any(patient.only_names().stand_in(key) for key in foreign):
            keys, fault = {}, f"its folder is named after the patient: {MEND_KEYS}"
        folder = text_of(path.relative_to(root))
        found.append(ScanFolder(scan_id, path, **keys, folder=folder, key_fault=fault))
    return found


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
        alone = [
            path for path, kind in zip(files, kinds, strict=True) if kind in _ALONE and not _is_document(path)
        ]
        empty = not below and not alone and (files or folder != root)
        if FileKind.PART10 in kinds:
            yield folder
            yield from _zips_of_scans(folder, files, kinds)
            continue
        if empty or depth == _MOST_DEPTH:
            yield folder
            continue
        yield from alone
        waiting += [(path, depth + 1) for path in reversed(below)]


def _is_document(path: Path) -> bool:
    """Whether a file is an office document, which is a ZIP too, such as a list that lies beside the scans."""
    return path.suffix.casefold() in _DOCUMENTS and not zip_may_hold_scan(path)


def _zips_of_scans(folder: Path, files: list[Path], kinds: list[FileKind | None]) -> Iterator[Path]:
    """ZIPs that may hold a scan, in a folder that is itself a scan or, by their suffix, below it."""
    own = set(files)
    direct = [path for path, kind in zip(files, kinds, strict=True) if kind is FileKind.ZIP]
    below = [path for path in walk(folder) if path not in own and path.suffix.casefold() == ".zip"]
    for path in (*direct, *below):
        if not path.is_symlink() and path.is_file() and zip_may_hold_scan(path):
            yield path


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders directly in a folder, by the bytes of their names."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    files = [Path(e.path) for e in entries if e.is_file(follow_symlinks=False)]
    return files, [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


def is_scan_file(path: Path) -> bool:
    """Whether a file is a scan of its own, or a slice of one."""
    return path.is_file() and kind_of_file(path) in (*_ALONE, FileKind.PART10)
