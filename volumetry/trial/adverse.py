"""Adverse events and symptoms: long tables with any number of rows per subject, counted by term and grade.

Subjects and events are counted separately: a subject counts once for a term however often it happened, and by
grade once, at its worst. Nothing is tested: the trial was not planned to compare events.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.storage.csv_tables import Cell, Problems, read_table
from volumetry.trial.analysis_config import AdverseEvents
from volumetry.trial.compare import POOLED
from volumetry.trial.config import TrialConfig, plain
from volumetry.trial.consort import arms_of
from volumetry.trial.estimands import members
from volumetry.trial.layout import number
from volumetry.trial.other_outcomes import NO, YES
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.visits import Visits

COLUMNS = ("table", "system", "term", "grade", "arm", "subjects", "n", "percent", "events")
_GRADES = {"mild": 1, "moderate": 2, "severe": 3, "lifethreatening": 4, "fatal": 5, "death": 5}
_SERIOUS = "serious"
_NOTES = (
    "n: subjects of the arm. Subjects are counted once for a term, and by grade at their worst; events are all "
    "rows of the table.",
)


@dataclass(frozen=True, slots=True)
class AdverseEvent:
    """One row of the table of events; `grade` is 0 where it is not known."""

    subject: str
    system: str
    term: str
    grade: int
    is_serious: bool


@dataclass(frozen=True, slots=True)
class EventTable:
    """A table of events as it was read, by the title under which it is printed."""

    title: str
    path: Path
    events: tuple[AdverseEvent, ...]


@dataclass(frozen=True, slots=True)
class EventCount:
    """Subjects and events of one term and grade in one arm.

    Parameters
    ----------
    table, system, term
        Title of the table, system of organs, term; the term is empty for any event.
    grade
        Empty for any grade; ``serious``, ``unknown``, or 1 to 5.
    arm, n
        The arm and how many subjects it has.
    subjects, events
        Subjects with the event, and events.
    """

    table: str
    system: str
    term: str
    grade: str
    arm: str
    n: int
    subjects: int
    events: int

    def row(self) -> dict[str, Cell]:
        """The cells of adverse_events.csv."""
        cells: dict[str, Cell] = {name: getattr(self, name) for name in COLUMNS if name != "percent"}
        return cells | {"percent": 100 * self.subjects / self.n if self.n else None}


def read_events(folder: Path, subjects: Container[str], config: TrialConfig) -> list[EventTable]:
    """Every table of events that the settings name.

    Parameters
    ----------
    folder
        Of the table of visits, where files of the settings are looked for.
    subjects
        Of the table of visits.
    config
        ``[adverse_events]``, and ``[input]`` for the names of the subject's column.

    Returns
    -------
    list[EventTable]
        In the order of the settings.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        Naming row and column of every cell that is wrong.
    """
    return [
        EventTable(table.title, folder / table.file, _events(folder / table.file, table.sheet, subjects, config))
        for table in config.adverse_events.tables
    ]


def event_counts(tables: Sequence[EventTable], visits: Visits, config: TrialConfig) -> list[EventCount]:
    """Counts of every term and grade.

    Parameters
    ----------
    tables
        From `read_events`.
    visits
        The whole table of visits.
    config
        ``[adverse_events]`` analysis_set: the analysis set that is counted.

    Returns
    -------
    list[EventCount]
        Any event, serious ones, then every system and term with its grades; the most frequent term first.
    """
    name = config.adverse_events.analysis_set
    kept = members(visits, name, config) if name else frozenset(visits.rows)
    sizes = Counter(visits.arms.get(subject, POOLED) for subject in kept)
    arms = arms_of(visits)
    rows: list[EventCount] = []

    def count(title: str, key: tuple[str, str, str], of: Sequence[AdverseEvent], subjects: set[str]) -> None:
        with_event = Counter(visits.arms.get(subject, POOLED) for subject in subjects)
        events_of = Counter(visits.arms.get(event.subject, POOLED) for event in of)
        rows.extend(EventCount(title, *key, arm, sizes[arm], with_event[arm], events_of[arm]) for arm in arms)

    for table in tables:
        events = [event for event in table.events if event.subject in kept]
        count(table.title, ("", "", ""), events, {e.subject for e in events})
        if any(event.is_serious for event in table.events):
            serious = [e for e in events if e.is_serious]
            count(table.title, ("", "", _SERIOUS), serious, {e.subject for e in serious})
        for (system, term), of in _by_term(events):
            worst: dict[str, int] = {}
            for event in of:
                worst[event.subject] = max(event.grade, worst.get(event.subject, 0))
            count(table.title, (system, term, ""), of, set(worst))
            for grade in sorted({e.grade for e in of}) if any(e.grade for e in of) else ():
                at_worst = {subject for subject, most in worst.items() if most == grade}
                same = [e for e in of if e.grade == grade]
                count(table.title, (system, term, str(grade or "unknown")), same, at_worst)
    return rows


def printed_events(counts: Sequence[EventCount]) -> list[Printed]:
    """A table for print of each table of events."""
    printed = []
    for title in dict.fromkeys(c.table for c in counts):
        of: dict[tuple[str, str, str], dict[str, EventCount]] = {}
        for c in (c for c in counts if c.table == title):
            of.setdefault((c.system, c.term, c.grade), {})[c.arm] = c
        sizes = {arm: c.n for arm, c in of["", "", ""].items()}
        head = [""]
        for arm, n in sizes.items():
            head += [f"{arm} (n = {n}): subjects", "events"]
        rows: list[PrintedRow] = []
        group = ""
        for (system, term, grade), by_arm in of.items():
            if system != group:
                rows.append(PrintedRow((system,), is_heading=True))
                group = system
            name = f"grade {grade}" if term and grade else term or ("Any serious event" if grade else "Any event")
            cells: list[str] = []
            for arm in sizes:
                c = by_arm[arm]
                cells += [f"{c.subjects} ({number(100 * c.subjects / c.n, 1)} %)" if c.n else "0", str(c.events)]
            rows.append(PrintedRow((name, *cells), level=(1 if group else 0) + (1 if term and grade else 0)))
        printed.append(Printed(title, tuple(head), tuple(rows), _NOTES))
    return printed


def _by_term(events: Sequence[AdverseEvent]) -> list[tuple[tuple[str, str], list[AdverseEvent]]]:
    """Events of each system and term: systems by name, within each the term of the most subjects first."""
    found: dict[tuple[str, str], list[AdverseEvent]] = {}
    for event in events:
        found.setdefault((event.system, event.term), []).append(event)
    most = {key: len({event.subject for event in of}) for key, of in found.items()}
    return sorted(found.items(), key=lambda item: (item[0][0].casefold(), -most[item[0]], item[0][1].casefold()))


def _events(path: Path, sheet: str, subjects: Container[str], config: TrialConfig) -> tuple[AdverseEvent, ...]:
    settings = config.adverse_events
    aliases = {"subject": config.input.subject, **_aliases(settings)}
    table = read_table(path, ("subject", "term"), aliases, sheet, may_be_empty=True)
    problems = Problems(table.name)
    spelling: dict[str, str] = {}
    found = []
    for row in table.rows:
        cells = row.cells
        if cells["subject"] not in subjects:
            problems.add(row.number, "subject", "is not a subject of the table of visits")
        if not cells["term"]:
            problems.add(row.number, "term", "is empty")
        grade, serious = cells.get("grade", ""), cells.get("serious", "").casefold()
        if grade and _grade(grade) is None:
            problems.add(row.number, "grade", "must be empty, 1 to 5, or a word such as mild or severe")
        if serious and serious not in YES | NO:
            problems.add(row.number, "serious", "must be empty, yes or no")
        system, term = (spelling.setdefault(t.casefold(), t) for t in (cells.get("system", ""), cells["term"]))
        found.append(AdverseEvent(cells["subject"], system, term, _grade(grade) or 0, serious in YES))
    problems.raise_if_any()
    return tuple(found)


def _aliases(settings: AdverseEvents) -> dict[str, tuple[str, ...]]:
    return {name: getattr(settings, name) for name in ("term", "system", "grade", "serious")}


def _grade(text: str) -> int | None:
    """Grade of CTCAE, 1 to 5, from its number or its word."""
    word = plain(text).removeprefix("grade")
    return int(word) if word in {"1", "2", "3", "4", "5"} else _GRADES.get(word)
