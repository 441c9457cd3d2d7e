"""Further columns of visits.csv: numbers (6-minute walk, biomarkers) and yes/no findings (fibrosis features)."""

import re
from dataclasses import dataclass
from typing import Literal

from volumetry.storage.csv_tables import Cell, Problems, Row, Table, number_in
from volumetry.trial.config import Columns, TrialConfig, Word, plain

_LIMIT = re.compile(r"([<>])\s*=?\s*(\S+)")
REPLACED_COLUMNS = ("row", "subject", "visit", "column", "stated", "used", "rule")
YES = {"yes", "y", "true", "1"}
NO = {"no", "n", "false", "0"}
_UNKNOWN = 9.0
_CODES = {_UNKNOWN, 999.0, 9999.0, -9.0, -99.0, -999.0, -9999.0}
"""Codes of a missing value in REDCap, SPSS and others."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One further column: numbers, yes/no, or text, which no table can summarise."""

    column: str
    kind: Literal["numeric", "yes_no", "text"]
    missing_words: frozenset[str]
    words: tuple[Word, ...] = ()


def covariates_of(table: Table, config: TrialConfig, problems: Problems) -> dict[str, dict[str, str]]:
    """Facts of a subject by column and subject, from any of its rows; two different ones are a problem."""
    settings = config.columns
    more = (*config.estimands.columns, *(flag.column for flag in config.sets.flags))
    wanted = {plain(name) for name in (*settings.covariates, *more)}
    missing = {word.casefold() for word in settings.missing_words}
    found: dict[str, dict[str, str]] = {}
    for column in (c for c in table.columns if plain(c) in wanted and c not in settings.ignore):
        of = found.setdefault(column, {})
        for row in table.rows:
            text = row.cells[column]
            if text.casefold() not in missing and of.setdefault(row.cells["subject"], text) != text:
                problems.add(row.number, column, "a covariate has one value per subject, this is another one")
    return found


def replaced_cells(table: Table, extras: tuple[Extra, ...]) -> list[dict[str, Cell]]:
    """Rows of replaced.csv: every word that was read as a number, and by which rule."""
    rows: list[dict[str, Cell]] = []
    for extra in (e for e in extras if e.words):
        for row in table.rows:
            text = row.cells[extra.column]
            word = _word(text, extra.words)
            if word is not None:
                where = (row.number, row.cells["subject"], row.cells["visit"], extra.column)
                rule = f"{word.word} = {word.value}"
                rows.append(
                    dict(zip(REPLACED_COLUMNS, (*where, text, _number(text, extra.words), rule), strict=True))
                )
    return rows


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
        kind = _kind(column, [text for _row, text in present], settings)
        words = tuple(w for w in settings.words if w.column == column) if kind == "numeric" else ()
        for number, text in present if kind != "text" else []:
            if _value(text, kind, words) is None:
                problems.add(number, column, f"{text!r} is no {'number' if kind == 'numeric' else 'yes or no'}")
        if kind == "numeric":
            _check_signs(column, present, problems)
        if kind == "numeric" and column not in settings.numeric:
            _check_codes(column, present, problems)
        extras.append(Extra(column, kind, missing, words))
    for column in (*settings.yes_no, *settings.numeric, *(word.column for word in settings.words)):
        if column not in table.columns:
            problems.add(1, column, "the settings name this column, the table has none")
    return tuple(extras)


def _check_signs(column: str, present: list[tuple[int, str]], problems: Problems) -> None:
    """A column of percentages has the sign everywhere: 0.97 beside 96 % would be another number."""
    signed = [number for number, text in present if text.endswith("%")]
    if signed and len(signed) < len(present):
        problems.add(signed[0], column, "has a percent sign, and other rows of this column have none")


def _check_codes(column: str, present: list[tuple[int, str]], problems: Problems) -> None:
    """Numbers that databases write for a missing value, where the other numbers say that they are none."""
    numbers = {number: value for number, text in present if (value := number_in(text)) is not None}
    others = [value for value in numbers.values() if value not in _CODES]
    for number, value in numbers.items() if others else ():
        if value not in _CODES or not _is_a_code(value, others):
            continue
        problems.add(
            number,
            column,
            f"{value:g} is what databases write for a missing value: name it under [columns] missing_words, or "
            "the column under [columns] numeric if it is a number",
        )


def _is_a_code(value: float, others: list[float]) -> bool:
    if value < 0:
        return min(others) >= 0
    return set(others) <= {0.0, 1.0} if value == _UNKNOWN else value >= 9 * max(others)


def values_of(row: Row, extras: tuple[Extra, ...]) -> dict[str, float | bool]:
    """The row's values by column; a cell without a value, and every text, is left out."""
    values: dict[str, float | bool] = {}
    for extra in extras:
        text = row.cells[extra.column]
        if extra.kind == "text" or text.casefold() in extra.missing_words:
            continue
        value = _value(text, extra.kind, extra.words)
        if value is not None:
            values[extra.column] = value
    return values


def _kind(column: str, texts: list[str], settings: Columns) -> Literal["numeric", "yes_no", "text"]:
    if column in settings.numeric or column in {word.column for word in settings.words}:
        return "numeric"
    if column in settings.yes_no:
        return "yes_no"
    if texts and all(text.casefold() in YES | NO for text in texts):
        return "yes_no"
    return "numeric" if any(_number(text, ()) is not None for text in texts) else "text"


def _value(text: str, kind: str, words: tuple[Word, ...]) -> float | bool | None:
    if kind == "numeric":
        return _number(text, words)
    word = text.casefold()
    return True if word in YES else False if word in NO else None


def _number(text: str, words: tuple[Word, ...]) -> float | None:
    """The number in a cell, or what the settings say that its word stands for."""
    word = _word(text, words)
    if word is None:
        return number_in(text.removesuffix("%").rstrip())  # 96 % is 96 in a column of percentages
    if not isinstance(word.value, str):
        return word.value
    stated = _LIMIT.fullmatch(text)
    limit = number_in(stated[2]) if stated else None
    return None if limit is None else limit / 2 if word.value == "half" else limit


def _word(text: str, words: tuple[Word, ...]) -> Word | None:
    stated = _LIMIT.fullmatch(text)
    wanted = stated[1] if stated and number_in(stated[2]) is not None else plain(text)
    return next((word for word in words if (word.word if stated else plain(word.word)) == wanted), None)
