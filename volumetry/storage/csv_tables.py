"""CSV in and out. Every cell is text until someone asks for a number, so subject 007 stays 007."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.storage.tables_in import TableError as TableError
from volumetry.storage.tables_in import plain_cells, read_lines

Cell = str | float | int | bool | None
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LISTED_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Parameters
    ----------
    number
        As a spreadsheet shows it; the header is row 1.
    cells
        By column.
    """

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read.

    Parameters
    ----------
    name
        Of the file.
    columns
        In their order.
    rows
        Without empty lines.
    sheets
        Visible sheets of a workbook; empty for other files.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    sheets: tuple[str, ...] = ()


class Problems:
    """Everything wrong with a table, so that one reading finds it all.

    Parameters
    ----------
    table
        Name of the table in the message.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._found: list[tuple[int, str]] = []

    def add(self, row: int, column: str, what: str) -> None:
        """Note one problem.

        Parameters
        ----------
        row
            Its number as a spreadsheet shows it.
        column
            Its name.
        what
            What is wrong, without the value.
        """
        self._found.append((row, f"row {row}, column {column}: {what}"))

    def raise_if_any(self) -> None:
        """Stop with all problems found, in the order of the rows.

        Raises
        ------
        TableError
            If there is any.
        """
        if not self._found:
            return
        lines = [text for _row, text in sorted(self._found, key=lambda found: found[0])]
        more = len(lines) - _LISTED_PROBLEMS
        shown = [*lines[:_LISTED_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])]
        raise TableError(f"{self._table}: " + "; ".join(shown))


def read_table(
    path: Path,
    required: Sequence[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
    sheet: str = "",
    *,
    may_be_empty: bool = False,
) -> Table:
    """A table with a header: CSV of any kind that `read_lines` knows, or a sheet of a workbook.

    A byte-order mark is taken off, blanks around a cell too, and the apostrophe that disarms a formula is undone.
    Empty lines are passed over but counted.

    Parameters
    ----------
    path
        Of the file.
    required
        Columns that must be there.
    aliases
        Further names of a column by its own name, compared without case, spaces, ``-`` and ``_``. A column under
        its own name goes first, then the names in their order; only one is taken.
    sheet
        Name of the sheet of a workbook; empty for the first visible one.
    may_be_empty
        Whether a header without a row is a table: of events, of which there may be none.

    Returns
    -------
    Table
        Texts by row and column.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        If it is not a table, a column is missing or named twice, or a row has too many or too few cells.
    """
    read = read_lines(path, sheet)
    lines = [[unguarded(str(cell)) for cell in line] for line in plain_cells(read)]
    if not lines or not any(lines[0]):
        raise TableError(f"{path.name}: row 1 must hold the names of the columns; the table is empty")
    named = max((place for place, name in enumerate(lines[0], start=1) if name), default=0)
    header = renamed(lines[0][:named], aliases or {})  # separators at the end of a line make no column
    problems = Problems(path.name)
    _check_header(header, required, problems)
    problems.raise_if_any()
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        while len(line) > len(header) and not line[-1]:
            line.pop()
        if len(line) != len(header):
            last = header[min(len(line), len(header)) - 1]
            problems.add(number, last, f"{len(line)} cells where the header has {len(header)}")
        else:
            rows.append(Row(number, dict(zip(header, line, strict=True))))
    problems.raise_if_any()
    if not rows and not may_be_empty:
        raise TableError(f"{path.name}: row 2, column {header[0]}: there is a header and no row")
    return Table(path.name, header, tuple(rows), read.sheets)


def renamed(header: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A header whose columns have their own names.

    Parameters
    ----------
    header
        As the table has it.
    aliases
        Further names of a column by its own name.

    Returns
    -------
    tuple[str, ...]
        The names, in the order of the header; a column that is no alias keeps its name.

    Examples
    --------
    >>> renamed(["USUBJID", "Trt 01 P", "crp"], {"subject": ["usubjid"], "arm": ["trt01p", "arm code"]})
    ('subject', 'arm', 'crp')
    """
    found = list(header)
    plain = ["".join(c for c in name.casefold() if c not in " \t-_") for name in header]
    for name, others in aliases.items():
        wanted = ["".join(c for c in other.casefold() if c not in " \t-_") for other in (name, *others)]
        here = next((w for w in wanted if w in plain), None)
        if here is not None and name not in header:
            found[plain.index(here)] = name
    return tuple(found)


def number_in(text: str) -> float | None:
    """The finite decimal number in a cell.

    Parameters
    ----------
    text
        No thousands separator, no other digits than 0-9.

    Returns
    -------
    float or None
        None if the text is not such a number.

    Examples
    --------
    >>> number_in("-1.5e1"), number_in("-0"), number_in("1_000"), number_in("nan")
    (-15.0, 0.0, None, None)
    """
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value + 0.0 if math.isfinite(value) else None  # there is no -0


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> bytes:
    r"""A table as UTF-8 with LF.

    Numbers are written with all their digits, absent values stay empty, and a text that a spreadsheet would take
    for a formula is guarded.

    Parameters
    ----------
    columns
        Names, in order.
    rows
        Cells by column; others are left out.

    Returns
    -------
    bytes
        The header and one line for each row.

    Examples
    --------
    >>> csv_bytes(("a", "b", "c"), [{"a": 0.1, "b": "=1+1", "c": None}])
    b"a,b,c\n0.1,'=1+1,\n"
    """
    lines = _Lines([csv_line(columns).decode()])
    writer = csv.writer(lines, lineterminator="\r\n")  # as csv_line, without a writer for each line
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return "".join(lines).encode()


def csv_line(cells: Iterable[str | float | int | None]) -> bytes:
    """One line as UTF-8 with LF; numbers with all their digits, no guard against formulas.

    Parameters
    ----------
    cells
        In order; None is empty.

    Returns
    -------
    bytes
        Ends in LF; a cell is quoted where it must be.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(list(cells))  # quotes a cell with either; "\n" alone does not
    return f"{text.getvalue()[:-2]}\n".encode()


def guarded(text: str) -> str:
    """A text cell behind an apostrophe where a spreadsheet would take it for a formula.

    Parameters
    ----------
    text
        Of a cell.

    Returns
    -------
    str
        The text, or an apostrophe and the text.

    Examples
    --------
    >>> guarded("=1+1"), guarded("day 28")
    ("'=1+1", 'day 28')
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def unguarded(text: str) -> str:
    """A text cell as it was before `guarded`.

    Parameters
    ----------
    text
        Of a cell.

    Returns
    -------
    str
        Without the apostrophe of `guarded`.
    """
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


class _Lines(list[str]):
    """What a writer of the csv module writes, line by line, with LF."""

    def write(self, line: str) -> None:
        self.append(f"{line[:-2]}\n")


def _check_header(header: tuple[str, ...], required: Sequence[str], problems: Problems) -> None:
    for place, name in enumerate(header, start=1):
        if not name:
            problems.add(1, str(place), "the column has no name")
        elif header.count(name) > 1 and header.index(name) + 1 == place:
            problems.add(1, name, "two columns have this name")
    for name in required:
        if name not in header:
            problems.add(1, name, "this column is missing")


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as a number: an unknown value is None")
    return repr(float(value)) if isinstance(value, float) else repr(value)
