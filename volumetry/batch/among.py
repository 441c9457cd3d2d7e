"""Findings across the scans of a batch: which subject and visit they belong to, and whether one came twice.

They belong to the batch and not to a scan: the result of a scan does not depend on the others. They follow from
scans.csv and the records alone.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from volumetry.batch.find import ScanFolder
from volumetry.codes import CATALOGUE
from volumetry.scan.findings import plural

SAME_IMAGES, SAME_VISIT, NO_VISIT_KEYS = "SAME_IMAGES", "SAME_VISIT", "NO_VISIT_KEYS"
_NAMED = 12
"""Scans that a sentence names; the column ``batch_flags`` marks them all."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a person must answer about one scan or several.

    Parameters
    ----------
    code
        Of the catalogue.
    scans
        Whom it concerns, in the order of the batch.
    message
        What is wrong, in a sentence without its full stop.
    """

    code: str
    scans: tuple[ScanFolder, ...]
    message: str

    @property
    def ask(self) -> str:
        """Who can answer."""
        return CATALOGUE[self.code].ask

    @property
    def what_to_do(self) -> str:
        """Advice from the catalogue."""
        return CATALOGUE[self.code].hint


def questions_among(scans: Sequence[ScanFolder], out: Path) -> tuple[Question, ...]:
    """Every question about the scans of a batch as a whole.

    Parameters
    ----------
    scans
        In the order of the batch.
    out
        Its folder, for the digests of the pixels; a scan without a number has none.

    Returns
    -------
    tuple[Question, ...]
        Same images first, one question for each group.
    """
    images = _groups((_pixels_sha256(out / "scans" / scan.scan_id), scan) for scan in scans)
    found = [Question(SAME_IMAGES, group, _same_images(group)) for group in images]
    of_images = [{scan.scan_id for scan in group} for group in images]
    visits = _groups(
        (f"{scan.subject}\0{scan.visit}" if scan.subject and scan.visit else "", scan) for scan in scans
    )
    for group in visits:
        if not any({scan.scan_id for scan in group} <= same for same in of_images):
            message = f"{plural(len(group), 'scan')} of one visit ({_keys(group[0])}): {_listed(group)}"
            found.append(Question(SAME_VISIT, group, message))
    without = tuple(scan for scan in scans if not scan.subject or not scan.visit)
    if without and len(without) < len(scans):
        message = f"{plural(len(without), 'scan')} without subject or visit, which other scans of the batch have"
        found.append(Question(NO_VISIT_KEYS, without, f"{message}: {_listed(without, keys=False)}"))
    return tuple(found)


def codes_by_scan(questions: Sequence[Question]) -> Mapping[str, Sequence[str]]:
    """Codes of the questions that concern a scan, by its id.

    Parameters
    ----------
    questions
        From `questions_among`.

    Returns
    -------
    Mapping[str, Sequence[str]]
        A scan without a question is not in it.
    """
    codes: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        for scan in question.scans:
            codes[scan.scan_id].append(question.code)
    return codes


def _groups(keyed: Iterator[tuple[str, ScanFolder]]) -> list[tuple[ScanFolder, ...]]:
    """Scans that share a key that is not empty."""
    by_key: dict[str, list[ScanFolder]] = defaultdict(list)
    for key, scan in keyed:
        if key:
            by_key[key].append(scan)
    return [tuple(group) for group in by_key.values() if len(group) > 1]


def _same_images(group: Sequence[ScanFolder]) -> str:
    subjects = {scan.subject for scan in group if scan.subject}
    visits = {scan.visit for scan in group if scan.visit}
    where = "under two subjects" if len(subjects) > 1 else "under two visits" if len(visits) > 1 else "twice"
    where = where.replace("two", str(len(subjects))) if len(subjects) > 2 else where
    return f"the same images occur {where}: {_listed(group)}"


def _listed(group: Sequence[ScanFolder], *, keys: bool = True) -> str:
    shown = [
        f"{scan.scan_id} ({_keys(scan)})" if keys and _keys(scan) else scan.scan_id for scan in group[:_NAMED]
    ]
    more = len(group) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _keys(scan: ScanFolder) -> str:
    named = (("site", scan.site), ("subject", scan.subject), ("visit", scan.visit))
    return ", ".join(f"{name} {text}" for name, text in named if text)


def _pixels_sha256(folder: Path) -> str:
    """Digest of the pixels measured; empty where there is no number yet, or the file is not what it should be."""
    path = folder / "result.json"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, AttributeError):
        return ""


@lru_cache(maxsize=2**16)
def _read(result: Path, _changed_ns: int) -> str:
    """Of a file as it was then; every table of a run asks again."""
    document = json.loads(result.read_bytes())
    return str(document.get("provenance", {}).get("pixels_sha256") or "")
