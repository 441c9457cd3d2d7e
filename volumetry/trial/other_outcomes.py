"""Further columns of visits.csv: numbers (6-minute walk, biomarkers) and yes/no findings (fibrosis features)."""

from dataclasses import dataclass
from typing import Literal

from volumetry.storage.csv_tables import Problems, Row, Table, number_in
from volumetry.trial.config import Columns

YES = {"yes", "y", "true", "1"}
NO = {"no", "n", "false", "0"}


@dataclass(frozen=True, slots=True)
class Extra:
    """One further column: numbers, yes/no, or text, which no table can summarise."""

    column: str
    kind: Literal["numeric", "yes_no", "text"]
    missing_words: frozenset[str]


def kinds_of(table: Table, known: tuple[str, ...], settings: Columns, problems: Problems) -> tuple[Extra, ...]:
    """What each column that is not in `known` holds.

    Yes/no if every value is a word for yes or no (0 and 1 too); numbers if any value is one, and then each must
    be; else text. The settings decide where they name a column.
    """
    missing = frozenset(word.casefold() for word in settings.missing_words)
    extras = []
    for column in table.columns:
        if column in known or column in settings.ignore:
            continue
        cells = [(row.number, row.cells[column]) for row in table.rows]
        present = [(number, text) for number, text in cells if text.casefold() not in missing]
        kind = _kind(column, [text for _number, text in present], settings)
        for number, text in present if kind != "text" else []:
            if _value(text, kind) is None:
                problems.add(number, column, f"{text!r} is no {'number' if kind == 'numeric' else 'yes or no'}")
        extras.append(Extra(column, kind, missing))
    for column in (*settings.yes_no, *settings.numeric):
        if column not in table.columns:
            problems.add(1, column, "the settings name this column, the table has none")
    return tuple(extras)


def values_of(row: Row, extras: tuple[Extra, ...]) -> dict[str, float | bool]:
    """The row's values by column; a cell without a value, and every text, is left out."""
    values: dict[str, float | bool] = {}
    for extra in extras:
        text = row.cells[extra.column]
        if extra.kind == "text" or text.casefold() in extra.missing_words:
            continue
        value = _value(text, extra.kind)
        if value is not None:
            values[extra.column] = value
    return values


def _kind(column: str, texts: list[str], settings: Columns) -> Literal["numeric", "yes_no", "text"]:
    if column in settings.numeric:
        return "numeric"
    if column in settings.yes_no:
        return "yes_no"
    if texts and all(text.casefold() in YES | NO for text in texts):
        return "yes_no"
    return "numeric" if any(number_in(text) is not None for text in texts) else "text"


def _value(text: str, kind: str) -> float | bool | None:
    if kind == "numeric":
        return number_in(text)
    word = text.casefold()
    return True if word in YES else False if word in NO else None
