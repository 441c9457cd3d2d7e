"""Which folders of a tree are scans, and what they may be called."""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_partial

from volumetry.scan import FileKind, archive_heads, head_of, kind_of_file

_IDENTITY = ("PatientID", "PatientName", "AccessionNumber", "OtherPatientNames")
_BEHIND_PATIENT = 0x0010FFFF
_SHORTEST_IDENTITY = 3
"""Shorter values (``1``, ``M``) would be found in almost any folder name."""


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
    """

    scan_id: str
    path: Path
    subject: str = ""
    visit: str = ""
    site: str = ""


def find_scans(root: Path) -> list[ScanFolder]:
    """Every scan below a folder, in the order of their paths; or the one scan that a file is.

    A folder that directly holds a DICOM file, gzipped or not, is one scan, whatever lies below it. In other
    folders every ZIP archive and every NIfTI, NRRD or MetaImage file is a scan of its own. A folder with neither,
    and without sub-folders, is one scan too, even if it is empty: it is owed a row. Other folders are only looked
    into.
    """
    scans: list[ScanFolder] = []
    used: set[str] = set()
    for path in _scan_paths(root, is_root=True):
        scan_id = safe_scan_id(path, path.relative_to(root) if path != root else Path(path.name))
        if scan_id.casefold() in used:
            scan_id = f"{scan_id}-{_digest(path.relative_to(root))}"
        used.add(scan_id.casefold())
        scans.append(ScanFolder(scan_id, path))
    return scans


def safe_scan_id(folder: Path, name: Path | None = None) -> str:
    """The folder's name as a scan id, unless it holds what the headers call the patient: then a digest of it.

    Folders of a study are usually named by subject key and visit, and a batch's rows must be found again by them;
    folders that come straight from an archive may be named after the patient, and no result may carry that on.
    """
    relative = name if name is not None else Path(folder.resolve().name)
    if folder.is_file():
        relative = _without_suffixes(relative)
    text = os.fsencode(relative).decode("utf-8", "backslashreplace")
    scan_id = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:120]
    plain = _plain(text)
    if not scan_id or any(identity in plain for identity in _identities(folder)):
        return f"scan-{_digest(relative)}"
    return scan_id


def _scan_paths(folder: Path, *, is_root: bool = False) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    files = [Path(e.path) for e in entries if e.is_file(follow_symlinks=False)]
    below = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    if any(kind_of_file(path) is FileKind.PART10 for path in files):
        yield folder
        return
    alone = [path for path in files if kind_of_file(path) in _ALONE]
    if not below and not alone and (files or not is_root):
        yield folder
        return
    yield from alone
    for path in below:
        yield from _scan_paths(path)


def is_scan_file(path: Path) -> bool:
    """Whether a file is a scan of its own, or a slice of one."""
    return path.is_file() and kind_of_file(path) in (*_ALONE, FileKind.PART10)


_ALONE = (FileKind.ZIP, FileKind.VOLUME)
_SUFFIXES = re.compile(r"(\.(nii|nrrd|nhdr|mha|mhd|zip|dcm|ima|gz))+$", re.IGNORECASE)


def _without_suffixes(name: Path) -> Path:
    return name.with_name(_SUFFIXES.sub("", name.name) or name.name)


def _identities(scan: Path) -> set[str]:
    """What the first readable header says of the patient, reduced to letters and digits."""
    for start in _dicom_starts(scan):
        try:
            stream = io.BytesIO(start)
            header = read_partial(stream, lambda tag, *_: tag > _BEHIND_PATIENT)
            values = [str(header.get(keyword, "")) for keyword in _IDENTITY]
        except Exception:  # noqa: BLE001, S112  a damaged header raises anything; the gate will say so later
            continue
        parts = {_plain(part) for value in values for part in [value, *re.split(r"[\^=]", value)]}
        return {part for part in parts if len(part) >= _SHORTEST_IDENTITY}
    return set()


def _dicom_starts(scan: Path) -> Iterator[bytes]:
    """The beginnings of the DICOM files of a scan; the patient stands well within them."""
    if scan.is_file():
        starts = archive_heads(scan) if kind_of_file(scan) is FileKind.ZIP else iter([head_of(scan)])
    else:
        starts = (head_of(path) for path in _files_below(scan))
    yield from (start for start in starts if start[128:132] == b"DICM")


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names, key=os.fsencode):
            path = Path(parent, name)
            if not path.is_symlink() and path.is_file():
                yield path


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _digest(name: Path) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
