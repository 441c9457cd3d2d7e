"""The first visible sheet of an XLSX workbook as text (ECMA-376): what its cells show, as far as a table needs it.

A formula counts with the value that was saved with it. Numbers that the sheet formats as dates become YYYY-MM-DD,
those that it shows in percent have the percent sign, and those with a format of zeros (such as 000) get their
zeros back, because a subject may be 007.
"""

import io
import re
import zipfile
from datetime import datetime, timedelta
from xml.etree import ElementTree

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MOST_BYTES = 300_000_000
"""Of one part of a workbook when unpacked: a larger one is not a table of visits."""
_MOST_COLUMNS = 16_384  # of a sheet, by the standard
_BUILT_IN_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_PERCENT = {"9", "10"}
_PLAIN = {"0", "1", "49"}
"""General, 0 and text, by their fixed numbers in every workbook."""
_NOT_SHOWN = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')


class Hidden(str):
    """A number, a date or an error that a sheet shows otherwise than as this text.

    Parameters
    ----------
    text
        What the cell holds; a date as YYYY-MM-DD.
    reference
        Of the cell, such as B7.
    """

    reference: str

    def __new__(cls, text: str, reference: str) -> "Hidden":  # noqa: D102  see the class
        made = super().__new__(cls, text)
        made.reference = reference
        return made


class BadWorkbook(ValueError):  # noqa: N818  what it is about
    """The file is no workbook that can be read."""


def first_sheet(content: bytes, named: str = "") -> list[list[str]]:
    """Lines of the first visible sheet, or of a named one; a line that the sheet leaves out is an empty list.

    Parameters
    ----------
    content
        Of the file.
    named
        Name of the sheet; empty for the first visible one.

    Returns
    -------
    list[list[str]]
        Each as long as the header, or longer if it has more cells. A cell is `Hidden` where the sheet shows
        another text.

    Raises
    ------
    BadWorkbook
        If a part is missing, not XML or too large, a formula has no saved value, or no sheet has the name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            book = _part(archive, "xl/workbook.xml")
            names = set(archive.namelist())
            strings = _strings(archive) if "xl/sharedStrings.xml" in names else []
            formats = _formats(archive) if "xl/styles.xml" in names else []
            sheet = _part(archive, _sheet_name(archive, book, named))
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, NotImplementedError, RuntimeError) as wrong:
        raise BadWorkbook("is not a workbook that can be read; save the table as XLSX or 'CSV UTF-8'") from wrong
    properties = book.find(f"{_MAIN}workbookPr")
    start = datetime(1904, 1, 1) if _is_true(properties, "date1904") else datetime(1899, 12, 30)  # noqa: DTZ001
    lines: list[list[str]] = []
    for row in sheet.iter(f"{_MAIN}row"):
        number = int(row.get("r") or len(lines) + 1)
        lines += [[] for _skipped in range(number - len(lines))]
        for cell in row.iter(f"{_MAIN}c"):
            place = _column(cell.get("r") or "", len(lines[number - 1]))
            lines[number - 1] += [""] * (place + 1 - len(lines[number - 1]))
            lines[number - 1][place] = _shown(cell, strings, formats, start)
    width = len(lines[0]) if lines else 0
    return [line + [""] * (width - len(line)) if any(line) else [] for line in lines]


def sheet_names(content: bytes) -> list[str]:
    """Names of the visible sheets of a workbook, in their order.

    Parameters
    ----------
    content
        Of the file, which `first_sheet` can read.

    Returns
    -------
    list[str]
        As the tabs show them.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = _part(archive, "xl/workbook.xml").findall(f"{_MAIN}sheets/{_MAIN}sheet")
    return [sheet.get("name") or "" for sheet in sheets if sheet.get("state", "visible") == "visible"]


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise BadWorkbook(f"its part {name} is larger than {_MOST_BYTES // 1_000_000} MB")
    content = archive.read(name)
    if b"<!DOCTYPE" in content[:2000]:  # a workbook has none; entities could swell without end
        raise BadWorkbook(f"its part {name} declares a document type")
    return ElementTree.fromstring(content)  # noqa: S314  no document type, hence no entities


def _sheet_name(archive: zipfile.ZipFile, book: ElementTree.Element, named: str) -> str:
    sheets = book.findall(f"{_MAIN}sheets/{_MAIN}sheet")
    sheet = next((s for s in sheets if _is_wanted(s, named)), None)
    if sheet is None and named:
        raise BadWorkbook(
            f"has no sheet {named!r}; its sheets are {', '.join(s.get('name') or '' for s in sheets)}"
        )
    if sheet is None:
        raise BadWorkbook("has no visible sheet")
    for relation in _part(archive, "xl/_rels/workbook.xml.rels"):
        if relation.get("Id") == sheet.get(_REL):
            target = relation.get("Target") or ""
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise BadWorkbook("does not say where its first sheet is")


def _is_wanted(sheet: ElementTree.Element, named: str) -> bool:
    if named:
        return (sheet.get("name") or "").casefold() == named.casefold()
    return sheet.get("state", "visible") == "visible"


def _strings(archive: zipfile.ZipFile) -> list[str]:
    return [_text(item) for item in _part(archive, "xl/sharedStrings.xml").findall(f"{_MAIN}si")]


def _text(item: ElementTree.Element) -> str:
    """The text of an item without its phonetic reading."""
    runs = [item.find(f"{_MAIN}t"), *(run.find(f"{_MAIN}t") for run in item.findall(f"{_MAIN}r"))]
    return "".join(run.text or "" for run in runs if run is not None)


def _formats(archive: zipfile.ZipFile) -> list[str]:
    """What each style of a cell makes of a number: ``date``, ``%``, a format of zeros, ``other``, or nothing."""
    styles = _part(archive, "xl/styles.xml")
    custom = {f.get("numFmtId"): f.get("formatCode") or "" for f in styles.iter(f"{_MAIN}numFmt")}
    kinds = []
    for style in styles.findall(f"{_MAIN}cellXfs/{_MAIN}xf"):
        number = style.get("numFmtId") or "0"
        code = _NOT_SHOWN.sub("", custom.get(number, "").partition(";")[0])
        is_date = int(number) in _BUILT_IN_DATES or bool(re.search(r"[yYdD]", code))
        is_zeros = bool(code) and set(code) == {"0"} and custom[number] == code
        kind = "date" if is_date else "%" if number in _PERCENT or code.endswith("%") else code if is_zeros else ""
        kinds.append(kind or ("" if number in _PLAIN else "other"))
    return kinds


def _shown(cell: ElementTree.Element, strings: list[str], formats: list[str], start: datetime) -> str:
    kind, value = cell.get("t") or "n", cell.find(f"{_MAIN}v")
    if kind == "inlineStr":
        inline = cell.find(f"{_MAIN}is")
        return _text(inline) if inline is not None else ""
    text = (value.text or "") if value is not None else ""
    if not text:
        if cell.find(f"{_MAIN}f") is not None and kind != "str":
            raise BadWorkbook(f"cell {cell.get('r')} has a formula without a saved value; open and save it")
        return ""
    if kind == "s":
        return strings[int(text)]
    if kind == "b":
        return "yes" if text == "1" else "no"
    style = int(cell.get("s") or 0)
    shape = formats[style] if kind == "n" and style < len(formats) else ""
    if shape == "date":
        when = start + timedelta(days=float(text))
        midnight = (when.hour, when.minute, when.second) == (0, 0, 0)
        return Hidden(when.strftime("%Y-%m-%d" if midnight else "%Y-%m-%dT%H:%M"), cell.get("r") or "")
    if shape == "%":
        return Hidden(f"{100 * float(text):.15g} %", cell.get("r") or "")
    if shape == "other" or kind == "e":
        return Hidden(text, cell.get("r") or "")
    return text.zfill(len(shape)) if shape and text.isdigit() else text


def _column(reference: str, default: int) -> int:
    """Place of a cell such as B7, from 0."""
    letters = reference.rstrip("0123456789")
    if not letters:
        return default
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter.upper()) - ord("A") + 1
    if not 0 < place <= _MOST_COLUMNS:
        raise BadWorkbook(f"cell {reference} is beyond the last column of a sheet")
    return place - 1


def _is_true(element: ElementTree.Element | None, name: str) -> bool:
    return element is not None and element.get(name) in ("1", "true")
