"""Days from the first treatment, from what a study database holds: days, study days of CDISC, or dates.

A study day of CDISC (ADY) has no day 0: its day 1 is the first treatment, which is our day 0. Of dates, the
subject's first treatment (column ``first_treatment``) is day 0; without that column the date of the baseline
visit is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from volumetry.storage.csv_tables import Problems, Row, Table, number_in
from volumetry.trial.config import Input, plain

_ISO = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d%b%Y", "%d-%b-%Y")


@dataclass(frozen=True, slots=True)
class StudyDays:
    """Day of every row, by its number, and where the days came from.

    Parameters
    ----------
    days
        Of the rows that have one.
    source
        ``days``, ``cdisc``, ``first_treatment`` or ``baseline``.
    """

    days: Mapping[int, float]
    source: str


def study_days(table: Table, settings: Input, baseline_names: tuple[str, ...], problems: Problems) -> StudyDays:
    """The day of every row that states one.

    Parameters
    ----------
    table
        With the columns ``subject`` and ``visit``, and ``day``, ``study_day`` or ``date``.
    settings
        ``[input]``: the format of dates.
    baseline_names
        Names of the baseline visit.
    problems
        Takes what is wrong with a cell.

    Returns
    -------
    StudyDays
        ``day`` is used where the table has it, then ``study_day``, then ``date``.
    """
    if "day" in table.columns:
        stated = [row.cells["day"] for row in table.rows if row.cells["day"]]
        are_dates = [_date(text, settings) is not None for text in stated]
        if all(are_dates) if settings.date_format else any(are_dates):
            return _from_dates(table, "day", settings, baseline_names, problems)
        return StudyDays(_from_numbers(table, "day", problems), "days")
    if "study_day" in table.columns:
        return StudyDays(_from_cdisc(table, problems), "cdisc")
    return _from_dates(table, "date", settings, baseline_names, problems)


def _from_numbers(table: Table, column: str, problems: Problems) -> dict[int, float]:
    days = {}
    for row in table.rows:
        text = row.cells[column]
        value = number_in(text)
        if value is not None:
            days[row.number] = value
        elif text:
            problems.add(row.number, column, f"{text!r} is not a number of days")
    return days


def _from_cdisc(table: Table, problems: Problems) -> dict[int, float]:
    days = _from_numbers(table, "study_day", problems)
    for number, day in days.items():
        if day == 0:
            problems.add(number, "study_day", "is 0, but a study day of CDISC goes from -1 to 1")
    return {number: day - 1 if day > 0 else day for number, day in days.items()}


def _from_dates(
    table: Table, column: str, settings: Input, baseline_names: tuple[str, ...], problems: Problems
) -> StudyDays:
    dates = {row.number: _date_of(row, column, settings, problems) for row in table.rows}
    start: dict[str, date] = {}
    by_treatment = "first_treatment" in table.columns
    names = {plain(name) for name in baseline_names}
    for row in table.rows:
        subject = row.cells["subject"]
        if by_treatment:
            found = _date_of(row, "first_treatment", settings, problems)
        else:
            found = dates[row.number] if plain(row.cells["visit"]) in names else None
        if found is not None and start.setdefault(subject, found) != found:
            problems.add(row.number, "first_treatment" if by_treatment else column, "another date in another row")
    days = {}
    for row in table.rows:
        when, first = dates[row.number], start.get(row.cells["subject"])
        if when is not None and first is not None:
            days[row.number] = float((when - first).days)
        elif when is not None:
            what = "first_treatment" if by_treatment else column
            problems.add(row.number, what, "this subject has no date from which days could be counted")
    return StudyDays(days, "first_treatment" if by_treatment else "baseline")


def _date_of(row: Row, column: str, settings: Input, problems: Problems) -> date | None:
    text = row.cells.get(column, "")
    found = _date(text, settings) if text else None
    if text and found is None:
        hint = settings.date_format or "YYYY-MM-DD or 05MAR2020"
        problems.add(row.number, column, f"is not a date in the format {hint} ([input] date_format)")
    return found


def _date(text: str, settings: Input) -> date | None:
    if not settings.date_format and number_in(text) is not None:
        return None
    for shape in (settings.date_format,) if settings.date_format else _ISO:
        try:
            return datetime.strptime(text, shape).date()  # noqa: DTZ007  a calendar day has no time zone
        except ValueError:
            continue
    return None
