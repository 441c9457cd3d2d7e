"""``visits.csv``: who was seen when, in which arm, with which scan. Read whole, and doubted whole."""

import re
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from volumetry.storage.csv_tables import Cell, Problems, Row, Table, TableError, read_table
from volumetry.trial.config import TrialConfig, Windows, plain
from volumetry.trial.other_outcomes import Extra, covariates_of, kinds_of, replaced_cells, values_of
from volumetry.trial.study_days import StudyDays, study_days

COLUMNS = ("subject", "visit", "scan_id")
_DAYS = ("day", "study_day", "date")
_OPTIONAL = (*_DAYS, "first_treatment", "arm", "status")
_ENDS = ("died", "withdrawn")
ABSENCES = (*_ENDS, "missing")
_SUMS = {"total", "totals", "sum", "mean", "average", "median", "sd", "count", "gesamt", "summe", "mittelwert"}
"""What a spreadsheet writes below its columns: no name of a subject."""
_SHORTENED = re.compile(r"\d(\.\d+)?E\+\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class VisitRow:
    """One row of the table.

    Parameters
    ----------
    row
        Its number, as a spreadsheet counts.
    visit
        The visit's name as first spelt in the table: "Day 28" and "day-28" are one visit.
    day
        Days from the first treatment; None only where there is no scan.
    scan_id, status
        None where the cell is empty.
    values
        Of the further columns: a number, or True/False; a cell without a value is absent.
    """

    row: int
    subject: str
    visit: str
    day: float | None
    scan_id: str | None
    status: str | None
    values: dict[str, float | bool]


@dataclass(frozen=True, slots=True)
class Visits:
    """The whole table.

    Parameters
    ----------
    rows
        By subject, in the order of the table; every subject has a baseline row.
    arms
        Arm by subject; empty while the trial is blinded.
    visits
        Every visit's name in time order, the baseline first.
    baseline
        The baseline visit's name.
    extras
        What the further columns are.
    covariates
        Facts of a subject by column and subject, as text.
    replaced
        Rows of replaced.csv: words that were read as numbers.
    day_source
        From what days were counted: see `StudyDays`.
    sheets
        Visible sheets of the workbook that was read; empty for other files.
    """

    rows: dict[str, tuple[VisitRow, ...]]
    arms: dict[str, str]
    visits: tuple[str, ...]
    baseline: str
    extras: tuple[Extra, ...]
    covariates: dict[str, dict[str, str]] = field(default_factory=dict)
    replaced: tuple[dict[str, Cell], ...] = ()
    day_source: str = "days"
    sheets: tuple[str, ...] = ()


def read_visits(path: Path, scan_ids: Container[str], config: TrialConfig) -> Visits:
    """Read and check the table.

    Parameters
    ----------
    path
        visits.csv.
    scan_ids
        The scans that the results know.
    config
        Names of baseline, columns and windows.

    Returns
    -------
    Visits
        By subject, in the order of the table and of time.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        Naming row and column of everything wrong: columns, days, states, scans that the results do not know,
        duplicates, a subject without baseline or in two arms, a visit before the baseline or after a death, a
        death or a withdrawal without a place in time.
    """
    table = read_table(path, COLUMNS, config.input.aliases, config.input.sheet)
    problems = Problems(table.name)
    if not set(_DAYS) & set(table.columns):
        raise TableError(f"{table.name}: row 1, column day: this column is missing")
    spelling = _spellings(table)
    days = study_days(table, config.input, config.baseline.names, problems)
    covariates = covariates_of(table, config, problems)
    extras = kinds_of(table, (*COLUMNS, *_OPTIONAL, *covariates), config.columns, problems)
    rows = [_visit_row(row, days, spelling, extras, problems) for row in table.rows]
    _check_days(rows, table, config.windows.max_day, problems)
    _check_scans(rows, scan_ids, problems)
    arms = _arms_of(table, problems)
    problems.raise_if_any()

    baseline = _baseline_name(table, spelling, config)
    by_subject: dict[str, list[VisitRow]] = defaultdict(list)
    for row in rows:
        by_subject[row.subject].append(row)
    for subject_rows in by_subject.values():
        _check_subject(subject_rows, baseline, problems)
    _check_ends(rows, config, problems)
    problems.raise_if_any()
    if len(spelling) < 2:
        raise TableError(f"{table.name}: row {table.rows[-1].number}, column visit: no visit but {baseline!r}")
    subjects = {subject: tuple(of) for subject, of in by_subject.items()}
    in_order = _in_time_order(rows, baseline, config)
    replaced = tuple(replaced_cells(table, extras))
    return Visits(subjects, arms, in_order, baseline, extras, covariates, replaced, days.source, table.sheets)


def is_unscheduled(visit: str, windows: Windows) -> bool:
    """Whether a visit is called unscheduled: "unscheduled-1" and "unscheduled-2" are two visits of one kind."""
    return plain(visit).rstrip("0123456789") in {plain(name) for name in windows.unscheduled}


def _spellings(table: Table) -> dict[str, str]:
    """First spelling of every visit's name."""
    first: dict[str, str] = {}
    for row in table.rows:
        first.setdefault(plain(row.cells["visit"]), row.cells["visit"])
    return first


def _visit_row(
    row: Row, days: StudyDays, spelling: dict[str, str], extras: tuple[Extra, ...], problems: Problems
) -> VisitRow:
    cells = row.cells
    for column in ("subject", "visit"):
        if not cells[column]:
            problems.add(row.number, column, "is empty")
    if cells["subject"].casefold().rstrip(": ") in _SUMS:
        problems.add(row.number, "subject", f"{cells['subject']!r} is a row of totals and no subject: remove it")
    if _SHORTENED.fullmatch(cells["subject"]):
        problems.add(row.number, "subject", "is a number that a spreadsheet has shortened: export it as text")
    status = cells.get("status", "").casefold() or None
    if status is not None and status not in ABSENCES:
        problems.add(row.number, "status", f"must be empty or one of {', '.join(ABSENCES)}")
    if status is not None and cells["scan_id"]:
        problems.add(row.number, "status", f"{status!r}, yet the row names a scan: one of the two is wrong")
    visit, scan_id = spelling[plain(cells["visit"])], cells["scan_id"] or None
    values = values_of(row, extras)
    return VisitRow(row.number, cells["subject"], visit, days.days.get(row.number), scan_id, status, values)


def _check_days(rows: list[VisitRow], table: Table, largest: float, problems: Problems) -> None:
    column = next(c for c in _DAYS if c in table.columns)
    for row, of in zip(rows, table.rows, strict=True):
        if row.scan_id is not None and not of.cells[column]:
            problems.add(row.row, column, "is empty, yet the row names a scan")
        elif row.day is not None and abs(row.day) > largest:
            problems.add(row.row, column, f"{of.cells[column]} is more than {largest:g} days away: is it a date?")


def _check_scans(rows: list[VisitRow], scan_ids: Container[str], problems: Problems) -> None:
    seen: dict[str, int] = {}
    visits: dict[tuple[str, str], int] = {}
    for row in rows:
        here = (row.subject, row.visit)
        if here in visits:
            problems.add(row.row, "visit", f"{row.visit!r} stands in row {visits[here]} for this subject already")
        visits.setdefault(here, row.row)
        if row.scan_id is None:
            continue
        if row.scan_id not in scan_ids:
            problems.add(row.row, "scan_id", f"{row.scan_id!r} is not in the results")
        if row.scan_id in seen:
            problems.add(row.row, "scan_id", f"the same scan as in row {seen[row.scan_id]}")
        seen.setdefault(row.scan_id, row.row)


def _arms_of(table: Table, problems: Problems) -> dict[str, str]:
    """Arm by subject; a blank arm is filled from the subject's other rows, a subject without any is a problem."""
    arms: dict[str, tuple[str, int]] = {}
    spelling: dict[str, str] = {}
    for row in table.rows:
        arm = row.cells.get("arm", "")
        if not arm:
            continue
        arm = spelling.setdefault(arm.casefold(), arm)
        known, first = arms.setdefault(row.cells["subject"], (arm, row.number))
        if known != arm:
            problems.add(row.number, "arm", f"{arm!r}, but {known!r} in row {first} for the same subject")
    if arms:
        without = {row.cells["subject"]: row.number for row in reversed(table.rows)}
        for subject, number in without.items():
            if subject not in arms:
                problems.add(number, "arm", "is empty for this subject while others have an arm")
    return {subject: arm for subject, (arm, _row) in arms.items()}


def _baseline_name(table: Table, spelling: dict[str, str], config: TrialConfig) -> str:
    for name in config.baseline.names:
        if plain(name) in spelling:
            return spelling[plain(name)]
    wanted = ", ".join(config.baseline.names)
    raise TableError(
        f"{table.name}: row {table.rows[0].number}, column visit: no visit is called {wanted}; the table has "
        f"{', '.join(spelling.values())}",
        hint="Name the baseline visit under [baseline] names in the file given with --config.",
    )


def _check_subject(rows: list[VisitRow], baseline: str, problems: Problems) -> None:
    base = next((row for row in rows if row.visit == baseline), None)
    if base is None:
        problems.add(rows[0].row, "visit", f"this subject has no visit {baseline!r}")
        return
    for row in rows:
        if row is base or row.day is None:
            continue
        if base.day is not None and row.day <= base.day:
            problems.add(row.row, "day", f"{row.day:g} is not after the baseline's day {base.day:g}")
    deaths = [row for row in rows if row.status == "died"]
    for death in deaths:
        if death is base:
            problems.add(death.row, "status", "died at baseline: the subject has no change to measure")
        for row in rows:
            known = row.day is not None and death.day is not None
            if known and row.scan_id and row.day > death.day:  # type: ignore[operator]  # both are known here
                problems.add(row.row, "scan_id", f"a scan after the death in row {death.row}")


def _check_ends(rows: list[VisitRow], config: TrialConfig, problems: Problems) -> None:
    """A death or a withdrawal whose place in time nobody could tell would be lost from every analysis."""
    windows = config.windows
    placed = {visit for visit in {row.visit for row in rows} if windows.named(visit) is not None}
    if windows.assign == "label":
        alive = [row for row in rows if row.day is not None and row.status not in _ENDS]
        placed |= {row.visit for row in alive if not is_unscheduled(row.visit, windows)}
    for row in rows:
        if row.status in _ENDS and row.day is None and row.visit not in placed:
            problems.add(row.row, "day", f"is empty, and the visit {row.visit!r} has no place in time of its own")


def _in_time_order(rows: list[VisitRow], baseline: str, config: TrialConfig) -> tuple[str, ...]:
    """Visits by their planned day, or by the median day of their rows; a visit without any day comes last."""
    days: dict[str, list[float]] = {row.visit: [] for row in rows}
    for row in rows:
        if row.day is not None:
            days[row.visit].append(row.day)

    def when(visit: str) -> tuple[bool, float]:
        planned = config.windows.named(visit)
        if visit == baseline:
            return (False, float("-inf"))
        if planned is not None:
            return (False, planned.day)
        return (False, median(days[visit])) if days[visit] else (True, 0.0)

    return tuple(sorted(days, key=when))
