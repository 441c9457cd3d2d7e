"""tables.docx: the tables of a paper for a word processor, with python-docx where it is installed (extra `docx`).

A table breaks over pages between rows, never within one, and its head stands on every page. Columns are as wide as
their longest texts ask for. Every page has its number.
"""

import importlib.util
import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from volumetry.trial.printed import Printed, PrintedRow

_WRITTEN = datetime(2000, 1, 1)  # noqa: DTZ001  a mark without meaning: the same tables give the same file
_ZIP_WRITTEN = (2000, 1, 1, 0, 0, 0)
_INDENT_CM, _LONG_CM, _WIDE_CM = 0.4, 21.0, 29.7
_FIRST_SHARE = 0.26  # of the width, for the names of the rows
_LEAST_LETTERS, _MOST_LETTERS = 6, 30  # of a column, in which its width is counted


def docx_is_installed() -> bool:
    """Whether python-docx can be imported."""
    return importlib.util.find_spec("docx") is not None


def docx_bytes(
    title: str, lead: Sequence[str], tables: Sequence[Printed], footnotes: Sequence[str], methods: Sequence[str]
) -> bytes:
    """The document.

    Parameters
    ----------
    title
        Of the document.
    lead
        Sentences of the primary endpoint.
    tables
        In their order, each numbered.
    footnotes
        Below the tables.
    methods
        Paragraphs of the statistical methods.

    Returns
    -------
    bytes
        A file of Office Open XML, the same from the same tables.
    """
    import docx
    from docx.enum.section import WD_ORIENT
    from docx.shared import Cm, Pt

    document = docx.Document()
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(_WIDE_CM), Cm(_LONG_CM)
    section.left_margin = section.right_margin = Cm(2.0)
    section.top_margin = section.bottom_margin = Cm(1.8)
    document.styles["Normal"].font.name, document.styles["Normal"].font.size = "Arial", Pt(9)
    _number_pages(section.footer.paragraphs[0])
    document.add_heading(title, level=1)
    for sentence in lead:
        document.add_paragraph(sentence)
    width_cm = _WIDE_CM - 4.0
    for place, table in enumerate(tables, start=1):
        caption = document.add_paragraph(style="Caption")
        caption.add_run(f"Table {place}. {table.title}")
        caption.paragraph_format.keep_with_next = True
        _add(document, table, width_cm)
        for note in table.notes:
            _small(document.add_paragraph(note))
        document.add_paragraph()
    for note in footnotes:
        _small(document.add_paragraph(note))
    document.add_heading("Statistical methods", level=2)
    for paragraph in methods:
        document.add_paragraph(paragraph)
    return _saved(document)


def _add(document: Any, table: Printed, width_cm: float) -> None:  # noqa: ANN401  python-docx has no types
    from docx.enum.table import WD_TABLE_ALIGNMENT
    from docx.shared import Cm

    columns = len(table.head)
    made = document.add_table(rows=0, cols=columns)
    made.style, made.alignment, made.autofit = "Table Grid", WD_TABLE_ALIGNMENT.LEFT, False
    first = width_cm * _FIRST_SHARE if columns > 1 else width_cm
    letters = _letters(table)
    widths = [first, *[(width_cm - first) * n / sum(letters) for n in letters]]
    for column, width in zip(made.columns, widths, strict=True):
        column.width = Cm(width)
    _fill(made.add_row(), PrintedRow(table.head, is_strong=True), widths, is_head=True)
    for row in table.rows:
        _fill(made.add_row(), row, widths, is_head=False)


def _letters(table: Printed) -> list[int]:
    """How many letters each column but the first needs; a head breaks between words."""
    found = []
    for place in range(1, len(table.head)):
        words = max(len(word) for word in table.head[place].split() or [""])
        cells = [len(row.cells[place]) for row in table.rows if place < len(row.cells)]
        found.append(min(max(words + 2, _LEAST_LETTERS, *cells, 0), _MOST_LETTERS))  # the head is bold
    return found


def _number_pages(paragraph: Any) -> None:  # noqa: ANN401  python-docx has no types
    """Number of the page and of all pages, which the word processor counts."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
    for words, field in (("Page ", "PAGE"), (" of ", "NUMPAGES")):
        paragraph.add_run(words)
        counted = OxmlElement("w:fldSimple")
        counted.set(qn("w:instr"), field)
        paragraph._p.append(counted)
    _small(paragraph)


def _fill(made: Any, row: PrintedRow, widths: Sequence[float], is_head: bool) -> None:  # noqa: ANN401  python-docx has no types
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.shared import Cm, Pt

    properties = made._tr.get_or_add_trPr()
    properties.append(OxmlElement("w:cantSplit"))
    if is_head:
        properties.append(OxmlElement("w:tblHeader"))
    cells = list(made.cells)
    if row.is_heading and len(cells) > 1:
        cells = [cells[0].merge(cells[-1])]
    for place, (cell, text) in enumerate(zip(cells, row.cells, strict=True)):
        if not row.is_heading:
            cell.width = Cm(widths[place])
        paragraph = cell.paragraphs[0]
        paragraph.paragraph_format.space_after = Pt(0)
        paragraph.paragraph_format.keep_with_next = is_head or row.is_heading
        if place == 0 and row.level:
            paragraph.paragraph_format.left_indent = Cm(_INDENT_CM * row.level)
        if place:
            paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
        run = paragraph.add_run(_legal(text))
        run.bold, run.font.size = is_head or row.is_heading or row.is_strong, Pt(8)


def _small(paragraph: Any) -> None:  # noqa: ANN401  python-docx has no types
    from docx.shared import Pt

    paragraph.paragraph_format.space_after = Pt(2)
    for run in paragraph.runs:
        run.font.size = Pt(8)


def _legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32)


def _saved(document: Any) -> bytes:  # noqa: ANN401  python-docx has no types
    """The file with fixed times, so that the same tables give the same bytes."""
    properties = document.core_properties
    properties.author, properties.comments, properties.title = "volumetry", "", "CT endpoint tables"
    properties.created = properties.modified = _WRITTEN
    first, last = io.BytesIO(), io.BytesIO()
    document.save(first)
    with zipfile.ZipFile(first) as old, zipfile.ZipFile(last, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = old.read(item)
            fixed = zipfile.ZipInfo(item.filename, _ZIP_WRITTEN)
            fixed.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(fixed, content)
    return last.getvalue()
