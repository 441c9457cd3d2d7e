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
from volumetry.storage.xlsx import BadWorkbook, Hidden, first_sheet, sheet_names

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
    """The lines of a table, the header first, without blanks around a cell.

    Parameters
    ----------
    name
        Of the file.
    cells
        As they were read; an empty line is an empty list.
    numbers
        Of each line as a text editor or a spreadsheet counts; of a quoted cell with several lines, the last.
    separators
        ``,``, ``;`` or a tab: what divides the header into the most columns, several if they do so alike; or
        ``xlsx``.
    sheets
        Visible sheets of a workbook; empty for other files.
    """

    name: str
    cells: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    separators: tuple[str, ...]
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
        Texts. Dates of a workbook are YYYY-MM-DD; a cell is `volumetry.storage.xlsx.Hidden` where the sheet shows
        another text.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        If it is not one of these kinds.
    """
    content = _content(path)
    if content.startswith(b"PK\x03\x04"):
        try:
            found = first_sheet(content, sheet)
        except BadWorkbook as wrong:
            raise TableError(f"{path.name}: {wrong}") from wrong
        except (ValueError, IndexError, OverflowError) as wrong:
            raise TableError(
                f"{path.name}: is a workbook with a cell that cannot be read; save the sheet as 'CSV UTF-8'"
            ) from wrong
        cells = tuple(tuple(map(_stripped, line)) for line in found)
        return Lines(path.name, cells, tuple(range(1, len(cells) + 1)), ("xlsx",), tuple(sheet_names(content)))
    text, before, separators = _separated(_text(path.name, content))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separators[0], strict=True)
    try:
        lines = [(before + reader.line_num, tuple(map(_stripped, line))) for line in reader]
    except csv.Error as wrong:
        row = before + reader.line_num
        raise TableError(f"{path.name}: cannot be read as CSV near row {row}: {wrong}") from wrong
    return Lines(path.name, tuple(c for _, c in lines), tuple(n for n, _ in lines), separators)


def plain_cells(read: Lines) -> tuple[tuple[str, ...], ...]:
    """Cells without characters that are not seen, with plain blanks, and with decimal points.

    Columns whose numbers have commas are rewritten in a table with semicolons or tabs.

    Parameters
    ----------
    read
        From `read_lines`.

    Returns
    -------
    tuple
        Cells, line by line; the names of columns on one line each.

    Raises
    ------
    TableError
        If a column mixes decimal commas and points, or may hold thousands as well as fractions.
    """
    cells = _cleaned(read.cells)
    return _with_points(read.name, cells) if read.separators[0] in (";", "\t") else cells


def _stripped(cell: str) -> str:
    return cell if isinstance(cell, Hidden) else cell.strip()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as wrong:
        raise UsageError(f"the file {path.name} does not exist") from wrong
    except OSError as wrong:
        raise UsageError(f"cannot read {path.name}: {wrong.strerror}") from wrong


def _text(name: str, content: bytes) -> str:
    """The text; UTF-16 without a mark is recognised by the zero bytes that its ASCII letters have."""
    start = content[:64]
    try:
        if content.startswith(_UTF_16):
            text = content.decode("utf-16")
        elif b"\0" in start:
            text = content.decode("utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be")
        else:
            text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        if b"\0" in start or content.startswith(_UTF_16):
            raise TableError(f"{name}: begins as UTF-16 and is not; save the table as 'CSV UTF-8'") from wrong
        row = content[: wrong.start].count(b"\n") + 1
        raise TableError(f"{name}: row {row} is not UTF-8; save the table as 'CSV UTF-8'") from wrong
    if "\0" in text:
        raise TableError(f"{name}: cannot be read: it is not text")
    return text


def _separated(text: str) -> tuple[str, int, tuple[str, ...]]:
    """The table, the lines before it, and what divides it: a first line for a spreadsheet says so, or the header.

    A comma where nothing does, because a list of one column needs none.
    """
    stated = _STATED_SEPARATOR.match(text)
    if stated is not None and stated[1] in _SEPARATORS:
        return text[stated.end() :], 1, (stated[1],)
    first = next((line for line in text.splitlines() if line.strip()), "")
    columns = {s: len(next(csv.reader([first], delimiter=s), [])) for s in _SEPARATORS}
    most = max(columns.values())
    return text, 0, tuple(s for s in _SEPARATORS if columns[s] == most) if most > 1 else _SEPARATORS[:1]


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
