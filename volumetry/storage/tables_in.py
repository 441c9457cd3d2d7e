"""Tables as databases and spreadsheets deliver them, as lines of text: CSV of several kinds, and XLSX.

Text is UTF-8 or, where a byte-order mark says so, UTF-16. Columns are separated by commas, semicolons or tabs: the
one that divides the header into the most columns, or that a first line such as ``sep=;`` names. In a table with
semicolons or tabs, as spreadsheets write them where the comma is the decimal sign, a column whose numbers have
commas is rewritten with points. A column that has both is refused, because nobody can tell 1.234 from 1,234; so is
one whose numbers are all written like 1.234, unless another column shows that its sign is the decimal one.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.errors import InputError, UsageError
from volumetry.storage.xlsx import BadWorkbook, first_sheet, sheet_names

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t")
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_STATED_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_NOT_SEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
"""Characters without width, which copying from a page or a document brings along."""


class TableError(InputError):
    """A table does not say what it must; the message names row and column."""

    code = "TABLE"
    hint = "Mend the named cells; rows are counted as a spreadsheet does, the header is row 1."


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a table, the header first, without blanks around a cell and with plain blanks in it.

    Parameters
    ----------
    name
        Of the file.
    cells
        As they were read; an empty line is an empty list.
    separator
        ``,``, ``;``, a tab, or ``xlsx``.
    sheets
        Visible sheets of a workbook; empty for other files.
    """

    name: str
    cells: tuple[tuple[str, ...], ...]
    separator: str
    sheets: tuple[str, ...] = ()


def read_lines(path: Path, sheet: str = "") -> Lines:
    """Every line of a table, whatever program wrote it.

    Parameters
    ----------
    path
        CSV with commas, semicolons or tabs, in UTF-8 or UTF-16; or XLSX.
    sheet
        Name of the sheet of a workbook; empty for the first visible one.

    Returns
    -------
    Lines
        Numbers with a decimal point; dates of a workbook as YYYY-MM-DD.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        If it is not one of these kinds, or a column mixes decimal commas and points.
    """
    content = _content(path)
    if content.startswith(b"PK\x03\x04"):
        try:
            found = first_sheet(content, sheet)
        except BadWorkbook as wrong:
            raise TableError(f"{path.name}: {wrong}") from wrong
        except (ValueError, IndexError, OverflowError) as wrong:
            raise TableError(f"{path.name}: is a workbook with a cell that cannot be read") from wrong
        return Lines(
            path.name,
            _cleaned(found),
            "xlsx",
            tuple(sheet_names(content)),
        )
    text, separator = _separated(_text(path.name, content))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = _cleaned(reader)
    except csv.Error as wrong:
        raise TableError(f"{path.name}: near row {reader.line_num}: {wrong}") from wrong
    return Lines(path.name, lines if separator == "," else _with_points(path.name, lines), separator)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as wrong:
        raise UsageError(f"there is no file {path.name}") from wrong
    except OSError as wrong:
        raise UsageError(f"cannot read {path.name}: {wrong.strerror}") from wrong


def _text(name: str, content: bytes) -> str:
    if content.startswith(_UTF_16):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as wrong:
            raise TableError(f"{name}: begins as UTF-16 and is not; save the table as 'CSV UTF-8'") from wrong
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        row = content[: wrong.start].count(b"\n") + 1
        raise TableError(f"{name}: row {row} is not UTF-8; save the table as 'CSV UTF-8'") from wrong
    if "\0" in text:
        raise TableError(f"{name}: holds zero bytes, as UTF-16 without its mark does; save it as 'CSV UTF-8'")
    return text


def _separated(text: str) -> tuple[str, str]:
    """The table, and what divides its header, or what a first line for a spreadsheet says; else a comma."""
    stated = _STATED_SEPARATOR.match(text)
    if stated is not None and stated[1] in _SEPARATORS:
        return text[stated.end() :], stated[1]
    first = text.partition("\n")[0]
    columns = {s: len(next(csv.reader([first], delimiter=s), [])) for s in _SEPARATORS}
    return text, max(_SEPARATORS, key=lambda s: columns[s])


def _cleaned(lines: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Cells without characters that are not seen, with plain blanks; the names of columns on one line."""
    cleaned = [tuple(_clean(cell) for cell in line) for line in lines]
    return tuple(tuple(" ".join(cell.split()) for cell in line) for line in cleaned[:1]) + tuple(cleaned[1:])


def _clean(cell: str) -> str:
    if not cell.isascii():
        cell = "".join(" " if c.isspace() and c not in "\r\n\t" else c for c in _NOT_SEEN.sub("", cell))
    return cell.strip()


def _with_points(name: str, lines: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Lines with decimal points in every column whose numbers have commas."""
    first_of: dict[int, int] = {}
    points: dict[int, int] = {}
    certain: dict[int, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        for place, cell in enumerate(line):
            text = cell.lstrip("<>= ")
            sign = "," if _COMMA_NUMBER.fullmatch(text) else "." if _POINT_NUMBER.fullmatch(text) else ""
            if sign:
                (first_of if sign == "," else points).setdefault(place, number)
                if not _THOUSANDS.fullmatch(text):
                    certain.setdefault(place, sign)
    for place in sorted(first_of.keys() | points.keys()):
        column = lines[0][place] if place < len(lines[0]) else str(place + 1)
        if place in first_of and place in points:
            raise TableError(
                f"{name}: column {column}: row {first_of[place]} has a decimal comma and row {points[place]} a "
                "decimal point; write all its numbers alike"
            )
        row, sign = (first_of[place], ",") if place in first_of else (points[place], ".")
        if place not in certain and sign not in certain.values():
            raise TableError(
                f"{name}: column {column}: row {row} may be a thousand or a fraction, and no number of the table "
                f"shows what {sign!r} is; write the column without it, or with another number of decimals"
            )
    return lines[:1] + tuple(
        tuple(
            cell.replace(",", ".") if n in first_of and _COMMA_NUMBER.fullmatch(cell.lstrip("<>= ")) else cell
            for n, cell in enumerate(line)
        )
        for line in lines[1:]
    )
