"""Tables as databases and spreadsheets deliver them: encodings, separators, decimal commas, workbooks."""

import io
import zipfile

import pytest

from volumetry.storage.csv_tables import TableError, read_table, renamed

TEXT = "subject,day,note\n007,0.5,São\n008,12,=x\n"
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STYLES = (
    f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="164" formatCode="000"/><numFmt numFmtId="165" '
    'formatCode="dd\\.mm\\.yyyy"/><numFmt numFmtId="166" formatCode="0.0&quot; d&quot;"/></numFmts><cellXfs>'
    + "".join(f'<xf numFmtId="{n}"/>' for n in (0, 14, 164, 165, 166))
    + "</cellXfs></styleSheet>"
)
SHEET = f"""<worksheet {MAIN}><sheetData>
<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>
<c r="C1" t="inlineStr"><is><t>when</t></is></c>
<c r="D1" t="inlineStr"><is><t>walk</t></is></c></row>
<row r="3"><c r="A3" s="2"><v>7</v></c><c r="B3"><v>0.5</v></c><c r="C3" s="1"><v>43895</v></c></row>
<row r="4"><c r="A4" t="s"><v>2</v></c>
<c r="C4" s="3"><v>43895.5</v></c><c r="D4" s="4"><f>1+1</f><v>2</v></c></row>
</sheetData></worksheet>"""


def workbook(sheet=SHEET, book="", **more):
    """A workbook whose first sheet is the second file."""
    parts = {
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{REL}">{book}<sheets><sheet name="a" '
        'r:id="rId7"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
        '<Relationship Id="rId7" Target="worksheets/sheet2.xml"/></Relationships>',
        "xl/sharedStrings.xml": f"<sst {MAIN}><si><t>subject</t></si><si><t>day</t></si><si><r><t>0</t></r>"
        "<r><t>08</t></r></si></sst>",
        "xl/styles.xml": STYLES,
        "xl/worksheets/sheet2.xml": sheet,
    } | more
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return target.getvalue()


def _read(tmp_path, content, name="a.csv"):
    (tmp_path / name).write_bytes(content)
    return [dict(row.cells) for row in read_table(tmp_path / name, []).rows]


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.replace(",", ";").replace("0.5", "0,5").encode(),
        TEXT.replace(",", "\t").encode("utf-16"),
    ],
)
def test_every_kind_of_csv_says_the_same(tmp_path, content):
    assert _read(tmp_path, content) == [
        {"subject": "007", "day": "0.5", "note": "São"},
        {"subject": "008", "day": "12", "note": "=x"},
    ]


def test_decimal_commas_are_read_column_by_column_and_never_mixed(tmp_path):
    assert _read(tmp_path, b"a;b;c\n-1,5;2.5;x,y\n<0,5;3;1\n") == [
        {"a": "-1.5", "b": "2.5", "c": "x,y"},
        {"a": "<0.5", "b": "3", "c": "1"},
    ]
    with pytest.raises(TableError, match="column b: row 3 has a decimal comma and row 2 a decimal point"):
        _read(tmp_path, b"a;b\n1;1.234\n1;1,234\n")
    with pytest.raises(TableError, match="3 cells where the header has 2"):
        _read(tmp_path, b"a,b\n1,2,3\n")  # a comma is no decimal sign where it separates


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        ("subject,note\n0\u200b1,Day\u00a028\n", {"subject": "01", "note": "Day 28"}),
        ('\u00a0subject\u202f,"no\nte"\n\u200901,Day\u200928\u00ad\n', {"subject": "01", "no te": "Day 28"}),
        ("sep=;\nsubject;note\n01;1,5\n", {"subject": "01", "note": "1.5"}),
        ('subject;note\r\n01;"a;\r\n""b"""\r\n', {"subject": "01", "note": 'a;\r\n"b"'}),
        ("subject,note,,\n01,x,,\n", {"subject": "01", "note": "x"}),
        ("subject,note\n01,x,\n", {"subject": "01", "note": "x"}),
        ("subject\tnote\n01\t-1,5\n", {"subject": "01", "note": "-1.5"}),
    ],
)
def test_what_is_not_seen_makes_no_difference(tmp_path, content, cells):
    assert _read(tmp_path, content.encode()) == [cells]


def test_a_thousand_is_never_taken_for_a_fraction(tmp_path):
    """1.250 beside no other decimal may be 1250 or 1.25; a column that shows the sign decides for the table."""
    for sign in ",.":
        with pytest.raises(TableError, match="column b: row 2 may be a thousand or a fraction"):
            _read(tmp_path, f"a;b\n1;1{sign}250\n2;12{sign}500\n".encode())
    assert _read(tmp_path, b"a;b\n1;1,250\n2;0,975\n")[0]["b"] == "1.250"
    assert _read(tmp_path, b"a;b\n1,5;1,250\n") == [{"a": "1.5", "b": "1.250"}]
    with pytest.raises(TableError, match="column b: row 2 may be a thousand"):
        _read(tmp_path, b"a;b\n1,5;1.250\n")


def test_a_workbook_shows_percent_as_percent(tmp_path):
    percent = SHEET.replace('<c r="B3"><v>0.5</v></c>', '<c r="B3" s="5"><v>0.955</v></c>')
    styles = STYLES.replace("</cellXfs>", '<xf numFmtId="10"/></cellXfs>')
    (tmp_path / "a.xlsx").write_bytes(workbook(percent, **{"xl/styles.xml": styles}))
    assert read_table(tmp_path / "a.xlsx", []).rows[0].cells["day"] == "95.5 %"


def test_a_workbook_shows_subjects_dates_and_saved_results(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(workbook())
    table = read_table(tmp_path / "a.xlsx", ["subject"])
    assert [row.number for row in table.rows] == [3, 4]
    assert [dict(row.cells) for row in table.rows] == [
        {"subject": "007", "day": "0.5", "when": "2020-03-05", "walk": ""},  # day 43895 of a sheet
        {"subject": "008", "day": "", "when": "2020-03-05T12:00", "walk": "2"},
    ]
    (tmp_path / "b.xlsx").write_bytes(workbook(book='<workbookPr date1904="1"/>'))
    assert read_table(tmp_path / "b.xlsx", []).rows[0].cells["when"] == "2024-03-06"  # 1462 days later


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 nothing", "not a workbook"),
        (workbook(f'<!DOCTYPE x [<!ENTITY e "e">]><worksheet {MAIN}/>'), "declares a document type"),
        (workbook(SHEET.replace("<f>1+1</f><v>2</v>", "<f>1+1</f>")), "cell D4 has a formula without"),
        (workbook(SHEET.replace('"s"><v>2', '"s"><v>99')), "a cell that cannot be read"),
        (workbook(SHEET.replace('r="D1"', 'r="AAAAD1"')), "beyond the last column"),
        (b"\xff\xfea\x00,\x00b", "begins as UTF-16"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, content, says):
    with pytest.raises(TableError, match=says):
        _read(tmp_path, content)


def test_a_column_has_one_name_and_its_own_goes_first():
    aliases = {"arm": ("TRT01P", "ARM CODE"), "visit": ("AVISIT",)}
    assert renamed(["Arm-Code", "trt01p", "avisit"], aliases) == ("Arm-Code", "arm", "visit")
    assert renamed(["TRT01P", "Arm"], aliases) == ("TRT01P", "arm")


def test_a_sheet_is_read_by_its_name(tmp_path):
    sheets = (
        '<sheet name="notes" r:id="rId1"/><sheet name="old" state="hidden" r:id="rId1"/>'
        '<sheet name="Visits" r:id="rId7"/>'
    )
    book = f'<workbook {MAIN} xmlns:r="{REL}"><sheets>{sheets}</sheets></workbook>'
    notes = (
        f'<worksheet {MAIN}><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>x</t></is></c></row>'
        '<row r="2"><c r="A2"><v>1</v></c></row></sheetData></worksheet>'
    )
    parts = {"xl/workbook.xml": book, "xl/worksheets/sheet1.xml": notes}
    (tmp_path / "a.xlsx").write_bytes(workbook(**parts))
    first = read_table(tmp_path / "a.xlsx", [])
    assert (first.columns, first.sheets) == (("x",), ("notes", "Visits"))
    assert "subject" in read_table(tmp_path / "a.xlsx", ["subject"], sheet="visits").columns
    with pytest.raises(TableError, match="has no sheet 'other'; its sheets are notes, old, Visits"):
        read_table(tmp_path / "a.xlsx", [], sheet="other")
