"""A list as people send it, read by `volumetry.storage.tables_in`; no cell is taken for what it does not show.

What is wrong with a list is a wrong call, because a person wrote it for this command.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.errors import UsageError
from volumetry.storage import tables_in
from volumetry.storage.csv_tables import unguarded
from volumetry.storage.xlsx import Hidden


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list.

    Parameters
    ----------
    number
        As a text editor or a spreadsheet counts.
    cells
        Without white space around them.
    """

    number: int
    cells: tuple[str, ...]


def read_list(path: Path) -> list[Line]:
    """Every line of a list that is not empty; the first is its header.

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
        If it cannot be read, or its delimiter cannot be decided; a value is never named.
    """
    try:
        read = tables_in.read_lines(path)
    except tables_in.TableError as wrong:
        raise UsageError(wrong.message) from wrong
    if len(read.separators) > 1:
        raise UsageError(f"{path.name}: the header is divided by several of comma, semicolon and tab alike")
    lines = [
        Line(number, tuple(cell if isinstance(cell, Hidden) else unguarded(cell) for cell in cells))
        for number, cells in zip(read.numbers, read.cells, strict=True)
    ]
    return [line for line in lines if any(line.cells)]


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
