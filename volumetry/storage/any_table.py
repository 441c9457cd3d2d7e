"""A list as people send it: CSV with commas, semicolons or tabs, in UTF-8 or UTF-16, or an Excel workbook."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.errors import UsageError
from volumetry.storage.csv_tables import unguarded
from volumetry.storage.xlsx import BadWorkbook, Hidden, first_sheet

MAGIC = b"PK\x03\x04"
"""With which a workbook begins, as every ZIP does."""
_DELIMITERS = (",", ";", "\t")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list.

    Parameters
    ----------
    number
        As a text editor or a spreadsheet counts; where a quoted cell spans several lines, that of the last.
    cells
        Without white space around them.
    """

    number: int
    cells: tuple[str, ...]


def read_lines(path: Path) -> list[Line]:
    """Every line of a list that is not empty; the first is its header.

    The delimiter is the one that divides the header into most cells.

    Parameters
    ----------
    path
        Of the CSV file or workbook.

    Returns
    -------
    list[Line]
        Texts; the apostrophe that disarms a formula is undone. A cell that matters goes through `shown`.

    Raises
    ------
    UsageError
        If it cannot be read, is neither, or its delimiter cannot be decided; a value is never named.
    """
    try:
        content = path.read_bytes()
    except OSError as wrong:
        raise UsageError(f"{path.name} cannot be read: {wrong.strerror}") from wrong
    if content.startswith(MAGIC):
        lines = list(enumerate(_from_sheet(content, path), 1))
    else:
        text = _decoded(content, path)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, path), strict=True)
        try:
            lines = [(reader.line_num, line) for line in reader]
        except csv.Error as wrong:
            raise UsageError(f"{path.name} cannot be read as CSV near line {reader.line_num}") from wrong
    stripped = [Line(number, tuple(map(_stripped, cells))) for number, cells in lines]
    return [line for line in stripped if any(line.cells)]


def shown(cell: str, path: Path) -> str:
    """The text of a cell that matters.

    Parameters
    ----------
    cell
        Of a line.
    path
        Of the list, for the message.

    Returns
    -------
    str
        The cell.

    Raises
    ------
    UsageError
        If the workbook shows something else than it holds.
    """
    if isinstance(cell, Hidden):
        raise UsageError(
            f"{path.name}: cell {cell.reference} is a number, a date or an error that is shown as something else",
            hint="Format the column as text and type the cells anew, or save the sheet as CSV UTF-8.",
        )
    return cell


def columns_by_name(
    header: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> tuple[dict[str, int], dict[int, str]]:
    """Where the known columns of a header are, whatever they are called.

    Parameters
    ----------
    header
        Names as they stand in the list.
    aliases
        By the column's own name, what else it may be called, the preferred first; SDTM has a long and a short
        name for one thing, and of two such columns the preferred is taken. Case, blanks and punctuation of a name
        do not count.

    Returns
    -------
    found, others
        Index by own name, and the remaining columns by index.

    Raises
    ------
    ValueError
        Naming the column, if two columns have one name.
    """
    plain = [re.sub(r"[\W_]+", "", name).casefold() for name in header]
    found: dict[str, int] = {}
    meant: set[int] = set()
    for own, names in aliases.items():
        for name in dict.fromkeys(re.sub(r"[\W_]+", "", other).casefold() for other in (*names, own)):
            places = [at for at, text in enumerate(plain) if text == name]
            if len(places) > 1:
                raise ValueError(own)
            if places:
                found.setdefault(own, places[0])
                meant.add(places[0])
    return found, {at: name for at, name in enumerate(header) if at not in meant}


def _stripped(cell: str) -> str:
    return cell if isinstance(cell, Hidden) else unguarded(cell.strip())


def _from_sheet(content: bytes, path: Path) -> list[list[str]]:
    try:
        return first_sheet(content)
    except (BadWorkbook, ValueError, IndexError, OverflowError) as wrong:
        said = wrong if isinstance(wrong, BadWorkbook) else "a cell cannot be read; save the sheet as 'CSV UTF-8'"
        raise UsageError(f"{path.name}: {said}") from wrong


def _decoded(content: bytes, path: Path) -> str:
    """The text; UTF-16 without a mark is recognised by the zero bytes that its ASCII letters have."""
    start = content[:64]
    encoding = "utf-8-sig"
    if content[:2] in _UTF16:
        encoding = "utf-16"
    elif b"\0" in start:
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as wrong:
        raise UsageError(
            f"{path.name} cannot be read: it is neither UTF-8 nor UTF-16; save it as 'CSV UTF-8'"
        ) from wrong
    if "\0" in text:
        raise UsageError(f"{path.name} cannot be read: it is no text")
    return text


def _delimiter(text: str, path: Path) -> str:
    """Comma where nothing divides the header: a list of one column needs none."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in _DELIMITERS}
    most = max(counts.values())
    best = [sign for sign, count in counts.items() if count == most]
    if most > 1 and len(best) > 1:
        raise UsageError(f"{path.name}: the header is divided by several of comma, semicolon and tab alike")
    return best[0]
