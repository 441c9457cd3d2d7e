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
from volumetry.storage.any_table import columns_by_name, read_lines

COLUMNS = ("subject", "visit", "state", "scan_ids")
DELIVERED, MISSING, NOT_EXPECTED = "delivered", "missing", "not expected"
_Visit = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of the list, or one that was delivered without being in it.

    Parameters
    ----------
    subject, visit
        As in the list, or as delivered.
    state
        ``delivered``, ``missing`` or ``not expected``.
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
        pair = (line.cells[places["subject"]], line.cells[places["visit"]])
        if not all(pair):
            raise UsageError(f"{path.name} line {line.number}: subject or visit is empty")
        found.setdefault(_plain(*pair), pair)
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
    there: dict[_Visit, list[str]] = defaultdict(list)
    named: dict[_Visit, tuple[str, str]] = {}
    for line in lines:
        place = line.series.place
        if place.subject and place.visit:
            key = _plain(place.subject, place.visit)
            named.setdefault(key, (place.subject, place.visit))
            there[key] += [line.scan_id] if line.use != NO else []
    wanted = {_plain(*pair): pair for pair in expected}
    found = [
        Visit(*pair, DELIVERED if key in named else MISSING, tuple(there.get(key, ())))
        for key, pair in wanted.items()
    ]
    return found + [
        Visit(*pair, NOT_EXPECTED, tuple(there[key])) for key, pair in named.items() if key not in wanted
    ]


def _plain(subject: str, visit: str) -> _Visit:
    one, other = (
        re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text)).casefold() for text in (subject, visit)
    )
    return one, other
