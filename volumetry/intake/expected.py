"""What was delivered against the visits that were expected."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.batch.manifest import ALIASES
from volumetry.errors import UsageError
from volumetry.intake.proposal import NO, Line
from volumetry.intake.series import MEASURABLE
from volumetry.storage.any_table import columns_by_name, read_lines, shown

COLUMNS = ("subject", "visit", "state", "scan_ids")
DELIVERED, MISSING, NOT_EXPECTED = "delivered", "missing", "not expected"
NOT_MEASURABLE, NO_IMAGES = "delivered, not measurable", "delivered without images"
_Visit = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of the list, or one that was delivered without being in it.

    Parameters
    ----------
    subject, visit
        As in the list, or as delivered.
    state
        ``missing``, ``not expected``, or ``delivered``, with what is wrong if no series of it can be measured.
    scan_ids
        Proposed for it.
    """

    subject: str
    visit: str
    state: str
    scan_ids: tuple[str, ...] = ()


def read_expected(path: Path) -> list[tuple[str, str]]:
    """Subject and visit of each line of a list of expected visits.

    Parameters
    ----------
    path
        CSV or XLSX with the columns subject and visit, or their names in SDTM; others are passed over.

    Returns
    -------
    list
        Pairs, each once.

    Raises
    ------
    UsageError
        If a column is missing or a line is not whole.
    """
    lines = read_lines(path)
    wanted = {name: ALIASES[name] for name in ("subject", "visit")}
    try:
        places, _ = columns_by_name(lines[0].cells if lines else (), wanted)
    except ValueError as twice:
        raise UsageError(f"{path.name} has the column {twice} twice") from None
    if set(places) != set(wanted):
        raise UsageError(f"{path.name} needs the columns subject and visit")
    found: dict[_Visit, tuple[str, str]] = {}
    for line in lines[1:]:
        if len(line.cells) != len(lines[0].cells):
            raise UsageError(f"{path.name} line {line.number}: not as many cells as columns")
        pair = (shown(line.cells[places["subject"]], path), shown(line.cells[places["visit"]], path))
        if not all(pair):
            raise UsageError(f"{path.name} line {line.number}: subject or visit is empty")
        found.setdefault(plain_visit(*pair), pair)
    if not found:
        raise UsageError(f"{path.name} lists no visit")
    return list(found.values())


def compared(expected: Sequence[tuple[str, str]], lines: Sequence[Line]) -> list[Visit]:
    """Every expected visit, and every other one that was delivered.

    Parameters
    ----------
    expected
        Pairs of subject and visit; case, blanks and punctuation do not count.
    lines
        Of the manifest; those without subject or visit cannot be compared.

    Returns
    -------
    list[Visit]
        In the order of the list, then of the delivery.
    """
    there: dict[_Visit, list[Line]] = defaultdict(list)
    named: dict[_Visit, tuple[str, str]] = {}
    for line in lines:
        place = line.series.place
        if place.subject and place.visit:
            key = plain_visit(place.subject, place.visit)
            named.setdefault(key, (place.subject, place.visit))
            there[key].append(line)
    wanted = {plain_visit(*pair): pair for pair in expected}
    found = [Visit(*pair, _state(there.get(key, ())), _ids(there.get(key, ()))) for key, pair in wanted.items()]
    others = {key: pair for key, pair in named.items() if key not in wanted}
    return found + [Visit(*pair, NOT_EXPECTED, _ids(there[key])) for key, pair in others.items()]


def _state(lines: Sequence[Line]) -> str:
    if not lines:
        return MISSING
    if any(line.series.verdict == MEASURABLE for line in lines):
        return DELIVERED
    return NOT_MEASURABLE if any(line.series.images for line in lines) else NO_IMAGES


def _ids(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(line.scan_id for line in lines if line.use != NO)


def plain_visit(subject: str, visit: str) -> _Visit:
    """A visit for comparison: case, blanks and punctuation do not count.

    Parameters
    ----------
    subject, visit
        As people write them.

    Returns
    -------
    tuple[str, str]
        Equal where the same is meant.
    """
    one, other = (
        re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text)).casefold() for text in (subject, visit)
    )
    return one, other
