"""What was delivered against the visits that were expected."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from volumetry.batch.expected import ExpectedVisit, plain_visit
from volumetry.intake.proposal import NO, Line
from volumetry.intake.series import MEASURABLE

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


def compared(expected: Sequence[ExpectedVisit], lines: Sequence[Line]) -> list[Visit]:
    """Every expected visit, and every other one that was delivered.

    Parameters
    ----------
    expected
        The list; case, blanks and punctuation do not count.
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
    wanted = {plain_visit(visit.subject, visit.visit): (visit.subject, visit.visit) for visit in expected}
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
