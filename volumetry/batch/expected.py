"""The list of visits that a trial expects scans of, from its protocol or its visit log."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from volumetry.batch.manifest import ALIASES
from volumetry.errors import UsageError
from volumetry.storage.any_table import columns_by_name, read_list, shown


class ExpectedVisit(NamedTuple):
    """One line of the list.

    Parameters
    ----------
    subject, visit, site
        As it names them; the site may be unknown.
    """

    subject: str
    visit: str
    site: str = ""


def read_expected(path: Path) -> list[ExpectedVisit]:
    """Subject, visit and site of each line of a list of expected visits.

    Parameters
    ----------
    path
        CSV or XLSX with the columns subject and visit and, if wanted, site, or their names in SDTM; others are
        passed over.

    Returns
    -------
    list[ExpectedVisit]
        Each once.

    Raises
    ------
    UsageError
        If a column is missing or a line is not whole.
    """
    lines = read_list(path)
    wanted = {name: ALIASES[name] for name in ("subject", "visit", "site")}
    try:
        places, _ = columns_by_name(lines[0].cells if lines else (), wanted)
    except ValueError as twice:
        raise UsageError(f"{path.name} has the column {twice} twice") from None
    if not {"subject", "visit"} <= set(places):
        raise UsageError(f"{path.name} needs the columns subject and visit")
    found: dict[tuple[str, str], ExpectedVisit] = {}
    for line in lines[1:]:
        if len(line.cells) != len(lines[0].cells):
            raise UsageError(f"{path.name} line {line.number}: not as many cells as columns")
        visit = ExpectedVisit(**{name: shown(line.cells[place], path) for name, place in places.items()})
        if not visit.subject or not visit.visit:
            raise UsageError(f"{path.name} line {line.number}: subject or visit is empty")
        found.setdefault(plain_visit(visit.subject, visit.visit), visit)
    if not found:
        raise UsageError(f"{path.name} lists no visit")
    return list(found.values())


def subjects_of(visits: Iterable[ExpectedVisit]) -> Callable[[str], bool]:
    """Whether a text is a subject of the list.

    Parameters
    ----------
    visits
        Of the list.

    Returns
    -------
    Callable
        Compares as `plain_visit` does; nothing is a subject of an empty list.
    """
    known = {plain_visit(visit.subject, "")[0] for visit in visits}
    return lambda text: plain_visit(text, "")[0] in known


def plain_visit(subject: str, visit: str) -> tuple[str, str]:
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
