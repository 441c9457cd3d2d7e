"""The first sheet of an Excel workbook as lines of text cells: what a data manager's list needs, and nothing more.

A workbook is a ZIP of XML files (ECMA-376). A cell is taken where what Excel shows is what is stored: text, a
truth value, or a number in the format General, 0 or text. A number in another format is `Hidden`: 7 shown as
``007`` or as a date would become another key.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from volumetry.storage.csv_tables import TableError

MAGIC = b"PK\x03\x04"
_MOST_BYTES = 64 * 2**20
"""Of one XML file: a list of a million cells has less."""
_PLAIN_FORMATS = {"0", "1", "49"}
"""General, 0 and text, by their fixed numbers in every workbook."""
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d+)")
_MOST_COLUMNS = 1024


class Hidden(str):
    """A cell that does not show what it holds: a formatted number, a date, an error. The text is its reference."""

    __slots__ = ()


def sheet_lines(path: Path) -> list[list[str]]:
    """The lines of a workbook's first sheet.

    Parameters
    ----------
    path
        Of the XLSX file.

    Returns
    -------
    list[list[str]]
        Row n of the sheet is item n - 1; lines end with their last cell that is not empty. A cell that does not
        show what it holds is `Hidden`.

    Raises
    ------
    TableError
        If it is no workbook.
    """
    try:
        with zipfile.ZipFile(path) as book:
            return _lines(book, path.name)
    except TableError:
        raise
    except Exception as wrong:
        raise TableError(f"{path.name}: cannot be read as an Excel workbook; save it as CSV") from wrong


def _lines(book: zipfile.ZipFile, name: str) -> list[list[str]]:
    texts = _shared_texts(book)
    formats = _formats(book)
    found: list[list[str]] = []
    for row_number, row in enumerate(_all(_parsed(book, _first_sheet(book)), "row"), 1):
        number = int(row.get("r", row_number))
        cells: dict[int, str] = {}
        for place, cell in enumerate(_all(row, "c")):
            at = _column(cell.get("r", ""), place)
            if at >= _MOST_COLUMNS:
                raise TableError(f"{name}: row {number} has more than {_MOST_COLUMNS} columns")
            text = _text(cell, texts, formats)
            cells[at] = Hidden(cell.get("r", f"in row {number}")) if text is None else text
        if number > len(found) + 10**6:
            raise TableError(f"{name}: a row lies a million rows below the others")
        found += [[] for _ in range(number - 1 - len(found))]
        last = max((at for at, text in cells.items() if text.strip()), default=-1)
        found.append([cells.get(at, "") for at in range(last + 1)])
    return found


def _first_sheet(book: zipfile.ZipFile) -> str:
    """The part of the first sheet that is not hidden, in the order of the tabs."""
    relations = {
        relation.get("Id"): str(relation.get("Target"))
        for relation in _all(_parsed(book, "xl/_rels/workbook.xml.rels"), "Relationship")
    }
    for sheet in _all(_parsed(book, "xl/workbook.xml"), "sheet"):
        if sheet.get("state", "visible") == "visible":
            own = next(value for key, value in sheet.attrib.items() if key.endswith("}id"))
            target = relations[own]
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise TableError("the workbook has no visible sheet")


def _shared_texts(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_joined(item) for item in _all(_parsed(book, "xl/sharedStrings.xml"), "si")]


def _formats(book: zipfile.ZipFile) -> list[str]:
    """Number of the format of each cell style."""
    if "xl/styles.xml" not in book.namelist():
        return []
    styles = next(_all(_parsed(book, "xl/styles.xml"), "cellXfs"), None)
    return [] if styles is None else [style.get("numFmtId", "0") for style in _all(styles, "xf")]


def _text(cell: ElementTree.Element, texts: list[str], formats: list[str]) -> str | None:
    """What a cell shows; None if that is not what it holds."""
    kind = cell.get("t", "n")
    value = next((part.text or "" for part in _all(cell, "v")), "")
    if kind == "inlineStr":
        return _joined(cell)
    if kind == "s":
        return texts[int(value)]
    if kind == "str":
        return value
    if kind == "b":
        return "TRUE" if value == "1" else "FALSE"
    if kind == "n" and not value:
        return ""
    style = int(cell.get("s", "0"))
    if kind != "n" or (formats and formats[style] not in _PLAIN_FORMATS):
        return None
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _joined(item: ElementTree.Element) -> str:
    """The text of an item, whose parts may be of several fonts; a reading aid above the line is none of it."""
    aside = {part for aid in _all(item, "rPh") for part in _all(aid, "t")}
    return "".join(part.text or "" for part in _all(item, "t") if part not in aside)


def _column(reference: str, place: int) -> int:
    """Column counted from 0: ``C7`` is 2."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return place
    number = 0
    for letter in found[1]:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _parsed(book: zipfile.ZipFile, part: str) -> ElementTree.Element:
    with book.open(part) as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES or b"<!DOCTYPE" in content or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TableError("the workbook is larger than a list is, or declares entities")
    return ElementTree.fromstring(content)  # noqa: S314  without a document type there are no entities to expand


def _all(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Elements of a name at any depth, whatever their namespace: strict workbooks have another."""
    return (found for found in element.iter() if found.tag.rpartition("}")[2] == name)
