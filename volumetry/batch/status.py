"""``visit_status.csv``: subject by subject and visit by visit, what came of each visit, and what is still open.

Where a list of expected visits is known, a visit of which nothing came has a row too. The states in the order in
which the best scan of a visit counts:

``accepted``  a person accepted its value
``measured``  it has a value without a flag that asks for a reader
``review``    it has a value, and a reader must look: at its flags, or because its exclusion is outdated
``received``  it came, and has no value
``excluded``  a person excluded every scan of the visit
``missing``   it was expected, and nothing came
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from statistics import median

from volumetry.batch.current import Current
from volumetry.batch.expected import ExpectedVisit, plain_visit
from volumetry.batch.find import ScanFolder
from volumetry.domain import Status

STATES = ("accepted", "measured", "review", "received", "excluded", "missing")
COLUMNS = {
    "site": "Site of the visit's scans, or from the list of expected visits; empty if unknown.",
    "subject": "Subject, as in the list of expected visits or, without one, as in the results.",
    "visit": "Visit, as in the list of expected visits or, without one, as in the results.",
    "expected": "Whether the visit is in the list of expected visits: yes or no; empty without a list.",
    "state": "accepted, measured, review (a reader must check), received (without a value), excluded or missing.",
    "scan_ids": "Scans of this visit, separated by semicolons.",
    "queries_open": "Number of queries on these scans that are not closed.",
    "corrected_by": "Readers whose masks are counted.",
    "decision": "Decisions that apply to the current values.",
}
"""Meaning by name, in the order of the table."""


@dataclass(frozen=True, slots=True)
class ScanState:
    """What became of one scan.

    Parameters
    ----------
    scan
        Of the batch.
    status
        Of the value that counts; empty if there is no result at all.
    current
        What people said of it.
    queries
        Not closed.
    day
        Of the acquisition, if the header states it.
    """

    scan: ScanFolder
    status: str
    current: Current
    queries: int
    day: date | None = None

    @property
    def decision(self) -> str:
        """That holds now; empty without one."""
        return str((self.current.decision or {}).get("decision", ""))

    @property
    def state(self) -> str:
        """One of `STATES`."""
        outdated = self.current.outdated
        if self.decision == "exclude":
            return "excluded"
        if self.status not in (Status.MEASURED, Status.REVIEW):
            return "received"
        if outdated is not None and outdated["decision"] == "exclude":
            return Status.REVIEW
        return "accepted" if self.decision == "accept" else self.status


@dataclass(frozen=True, slots=True)
class VisitState:
    """What became of one visit of one subject.

    Parameters
    ----------
    site, subject, visit
        Its keys.
    expected
        Whether the list has it; None without a list.
    scans
        That came for it.
    place
        Of the visit in the order of visits.
    """

    site: str
    subject: str
    visit: str
    expected: bool | None
    scans: tuple[ScanState, ...] = ()
    place: int = 0

    @property
    def state(self) -> str:
        """That of its best scan; ``missing`` without any."""
        return min((scan.state for scan in self.scans), key=STATES.index, default="missing")

    @property
    def queries(self) -> int:
        """Not closed, of all its scans."""
        return sum(scan.queries for scan in self.scans)

    @property
    def readers(self) -> tuple[str, ...]:
        """Whose masks are counted."""
        made = (scan.current.correction for scan in self.scans)
        return tuple(dict.fromkeys(str(entry["reader"]) for entry in made if entry is not None))

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of `COLUMNS`."""
        decisions = dict.fromkeys(scan.decision for scan in self.scans if scan.decision)
        return (
            *(self.site, self.subject, self.visit),
            "" if self.expected is None else "yes" if self.expected else "no",
            self.state,
            ";".join(scan.scan.scan_id for scan in self.scans),
            str(self.queries),
            ";".join(self.readers),
            ";".join(decisions),
        )


def day_of(document: Mapping[str, object]) -> date | None:
    """The day of a scan's acquisition.

    Parameters
    ----------
    document
        Content of result.json.

    Returns
    -------
    date or None
        None if the header has none, or one that does not exist.
    """
    series = document.get("series")
    text = str(series.get("acquisition_date") or "") if isinstance(series, Mapping) else ""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 and text.isdecimal() else None
    except ValueError:
        return None


def visit_states(scans: Sequence[ScanState], expected: Sequence[ExpectedVisit]) -> list[VisitState]:
    """Every visit that was expected or came, by site, then by subject, then in the order of the visits.

    Scans without subject or visit belong to none.

    Parameters
    ----------
    scans
        Of the batch.
    expected
        The list; empty if there is none.

    Returns
    -------
    list[VisitState]
        Visits in the order of the list; others in the order of their days since the subject's first scan, and
        where dates are unknown, in the order of the batch.
    """
    came: dict[tuple[str, str], list[ScanState]] = defaultdict(list)
    for scan in scans:
        if scan.scan.subject and scan.scan.visit:
            came[plain_visit(scan.scan.subject, scan.scan.visit)].append(scan)
    listed = {plain_visit(visit.subject, visit.visit): visit for visit in expected}
    own = {
        key: ExpectedVisit(group[0].scan.subject, group[0].scan.visit, group[0].scan.site)
        for key, group in came.items()
    }
    subjects, visits = _first_names(chain(listed.items(), own.items()))
    places = _order(listed, came)
    sites: dict[str, str] = {}
    for key, named in chain(own.items(), listed.items()):
        sites[key[0]] = sites.get(key[0]) or named.site
    found = [
        VisitState(
            (own[key].site if key in own else "") or sites[key[0]],
            subjects[key[0]],
            visits[key[1]],
            key in listed if expected else None,
            tuple(came.get(key, ())),
            places[key[1]],
        )
        for key in sorted(listed | own, key=lambda key: places[key[1]])
    ]
    order = {name: (not sites[key], sites[key], place) for place, (key, name) in enumerate(subjects.items())}
    return sorted(found, key=lambda visit: order[visit.subject])


def _first_names(
    named: Iterator[tuple[tuple[str, str], ExpectedVisit]],
) -> tuple[dict[str, str], dict[str, str]]:
    """Subjects and visits as they are written first, by how they are compared."""
    subjects: dict[str, str] = {}
    visits: dict[str, str] = {}
    for (subject, visit), line in named:
        subjects.setdefault(subject, line.subject)
        visits.setdefault(visit, line.visit)
    return subjects, visits


def _order(
    listed: Mapping[tuple[str, str], ExpectedVisit], came: Mapping[tuple[str, str], Sequence[ScanState]]
) -> dict[str, int]:
    """Place of each visit."""
    first: dict[str, date] = {}
    for (subject, _), group in came.items():
        for scan in group:
            if scan.day is not None:
                first[subject] = min(first.get(subject, scan.day), scan.day)
    since: dict[str, list[int]] = defaultdict(list)
    for (subject, visit), group in came.items():
        since[visit] += [(scan.day - first[subject]).days for scan in group if scan.day is not None]
    by_list = list(dict.fromkeys(visit for _, visit in listed))
    others = list(dict.fromkeys(visit for _, visit in came if visit not in set(by_list)))
    if all(since[visit] for visit in others):
        others.sort(key=lambda visit: median(since[visit]))
    return {visit: place for place, visit in enumerate((*by_list, *others))}
