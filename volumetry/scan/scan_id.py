"""What scans are called: the names of their folders, readable in any script and safe as names of files."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from volumetry.scan.patient_words import Identities, identities_of, patients_of

MOST_BYTES = 120
"""Of a name in UTF-8. File systems take 255 bytes, encrypted ones 143, and unfinished work has longer names."""
_DIGEST_LENGTH = 12
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees; what else cannot be seen is neither a letter nor a mark."""
_SUFFIXES = re.compile(r"(\.(nii|nrrd|nhdr|mha|mhd|zip|dcm|ima|gz))+$", re.IGNORECASE)
"""Of a scan that is one file."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
"""Names of devices on Windows, with any extension."""


def readable_id(name: str) -> str:
    """A name as an id: its letters, digits, marks, dots, dashes and underlines; anything else is an underline.

    NFC, at most `MOST_BYTES` long (a longer one ends in a digest of the whole), no device's name, and empty if the
    name holds no letter and no digit.

    >>> readable_id("患者甲/基线"), readable_id("S 01 (v2)"), readable_id("../con")
    ('患者甲_基线', 'S_01_v2', 'scan-con')
    """
    seen = "".join(sign for sign in _INVISIBLE.sub("", name) if unicodedata.category(sign) != "Cf")
    kept = "".join(sign if _is_kept(sign) else " " for sign in unicodedata.normalize("NFC", seen))
    scan_id = re.sub(" +", "_", kept).strip("._-")
    while scan_id and unicodedata.combining(scan_id[0]):
        scan_id = scan_id[1:].strip("._-")
    if _RESERVED.fullmatch(scan_id):
        scan_id = f"scan-{scan_id}"
    if len(scan_id.encode()) > MOST_BYTES:
        scan_id = _with_digest(scan_id, name)
    return scan_id if _can_be_a_file(scan_id) else ""


def safe_scan_id(folder: Path, name: Path | None = None, patient: Identities | None = None) -> str:
    """The folder's name as a scan id, or a digest of it where it holds what the headers say of the patient.

    Folders of a study are usually named by subject key and visit, and a batch's rows must be found again by them;
    folders that come straight from an archive may be named after the patient, and no result may carry that on.

    Parameters
    ----------
    folder
        Folder or file of one scan.
    name
        What to name the scan after, such as a path below the batch's root; by default the folder's own name.
    patient
        Whose name the id must not hold; by default as the scan's own headers state it.

    Returns
    -------
    str
        Letters, digits, marks, dots, dashes and underlines alone.
    """
    relative = name if name is not None else Path(folder.resolve().name)
    text = text_of(without_suffixes(relative) if folder.is_file() else relative)
    scan_id = readable_id(text)
    if not scan_id or (identities_of(folder) if patient is None else patient).stand_in(text):
        return f"scan-{digest_of(text)}"
    return scan_id


def without_suffixes(name: PurePath) -> PurePath:
    """The name of a file that is a scan without the suffixes of volumes, archives and slices."""
    return name.with_name(_SUFFIXES.sub("", name.name) or name.name)


def scan_ids(scans: Sequence[tuple[Path, Path]], patients: Sequence[Identities] | None = None) -> list[str]:
    """An id for each pair of a scan's path and its name; they differ also where a file system knows no case.

    All that would share an id get a digest of their name: none of them can be taken for another, whatever comes
    into the tree later.

    Parameters
    ----------
    scans
        Path and name.
    patients
        From `patients_of`, where it is known already.

    Returns
    -------
    list[str]
        In their order.
    """
    patients = patients_of([path for path, _ in scans]) if patients is None else patients
    ids = [safe_scan_id(path, name, patient) for (path, name), patient in zip(scans, patients, strict=True)]
    shared = Counter(map(_folded, ids))
    return [
        scan_id if shared[_folded(scan_id)] == 1 else _with_digest(scan_id, text_of(name))
        for scan_id, (_, name) in zip(ids, scans, strict=True)
    ]


def text_of(path: PurePath) -> str:
    """A path as text that every encoding of UTF-8 takes; bytes that are none of UTF-8 stand as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def digest_of(text: str) -> str:
    """Twelve digits for a name."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST_LENGTH]


def _is_kept(sign: str) -> bool:
    return sign in "._-" or unicodedata.category(sign)[0] in "LMN"


def _with_digest(scan_id: str, name: str) -> str:
    """The id, as much of it as there is room for, and a digest of the whole name."""
    start = scan_id.encode()[: MOST_BYTES - _DIGEST_LENGTH - 1].decode("utf-8", "ignore")
    return f"{start.rstrip('._-')}-{digest_of(name)}"


def _folded(scan_id: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", scan_id).casefold())


def _can_be_a_file(scan_id: str) -> bool:
    """False where this machine's file names have an encoding that lacks a letter of it."""
    try:
        os.fsencode(scan_id)
    except UnicodeEncodeError:
        return False
    return True
