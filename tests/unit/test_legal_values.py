"""One header value -> what PS3.5 allows; names are the examples of its annexes H, I, J and K."""

import pydicom
import pytest
from pydicom.charset import decode_bytes, python_encoding
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from volumetry.deliver.dicom.character_sets import CharacterSets
from volumetry.deliver.dicom.legal_values import Change, legal_decimal, legal_uid, legal_value, legal_values

ASCII = CharacterSets.of(None)

OF_THE_STANDARD = {
    "H.3.1": (
        rb"\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3.2": (
        rb"ISO 2022 IR 13\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "I.2": (
        rb"\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1": (b"ISO_IR 192", b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=", "Wang^XiaoDong=王^小東="),
    "J.3": (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    "K.2": (
        rb"\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    "GBK": (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
}

SINGLE_BYTE = {
    "ISO_IR 100": "Buc^Jérôme",
    "ISO_IR 101": "Wałęsa",
    "ISO_IR 109": "Ĉapek",
    "ISO_IR 110": "Ķēniņš",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 144": "Люк",
    "ISO_IR 148": "Çavuşoğlu",
    "ISO_IR 166": "ไทย",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
}


@pytest.mark.parametrize(("sets", "raw", "text"), OF_THE_STANDARD.values(), ids=OF_THE_STANDARD)
def test_names_of_the_standard_are_read_as_it_prints_them(sets, raw, text):
    legal = legal_value("PatientName", raw, CharacterSets.of(sets))
    assert (legal.text, legal.change) == (text, Change.NONE)


@pytest.mark.parametrize(("name", "text"), SINGLE_BYTE.items())
def test_single_byte_sets_are_read_as_pydicom_reads_them(name, text):
    raw = text.encode(python_encoding[name])
    assert decode_bytes(raw, [python_encoding[name]], {0x5E}) == text
    assert legal_value("PatientName", raw, CharacterSets.of(name.encode())).text == text
    extended = name.replace("ISO_IR", "ISO 2022 IR")
    assert legal_value("PatientName", raw, CharacterSets.of(extended.encode())).text == text


def test_latin_9_is_read_alone_and_as_extension():
    euro = "€".encode("iso8859_15")
    assert CharacterSets.of(b"ISO_IR 203").decode(euro).text == "€"
    assert CharacterSets.of(rb"ISO 2022 IR 6\ISO 2022 IR 203").decode(b"\x1b-b" + euro).text == "€"


def test_sets_change_within_a_value():
    # PS3.5 6.1.2.5.3: Latin-1 first, then Cyrillic behind its escape sequence, reset by the delimiter.
    raw = b"M\xfcller^\x1b-L" + "Люк".encode("iso8859_5") + b"^M\xfcller"
    sets = CharacterSets.of(rb"ISO 2022 IR 100\ISO 2022 IR 144")
    assert sets.decode(raw).text == "Müller^Люк^Müller"


def test_bytes_of_a_kanji_that_look_like_delimiters_are_none():
    """0x3D ("=") is the first byte of a row of JIS X 0208: Shibuya, a common name."""
    raw = b"Shibuya=" + "渋谷".encode("iso2022_jp")
    assert b"=B" in raw
    legal = legal_value("PatientName", raw, CharacterSets.of(rb"\ISO 2022 IR 87"))
    assert (legal.text, legal.change) == ("Shibuya=渋谷", Change.NONE)


def test_a_delimiter_that_no_writer_switched_back_before_is_still_one():
    """pydicom 3.0 leaves out the escape sequence before ^ and = when it encodes such a name."""
    raw = b"Yamada^Tarou=\x1b$B;3ED^\x1b$BB@O:=\x1b$B$d$^$@"
    legal = legal_value("PatientName", raw, CharacterSets.of(rb"\ISO 2022 IR 87"))
    assert legal.text == "Yamada^Tarou=山田^太郎=やまだ"


def test_a_second_byte_that_looks_like_a_backslash_divides_no_values():
    letter = next(c for c in map(chr, range(0x4E00, 0x9FA5)) if c.encode("gb18030")[1:] == b"\\")
    sets = CharacterSets.of(b"GB18030")
    raw = letter.encode("gb18030")
    assert legal_value("StudyDescription", raw, sets).text == letter
    assert [v.text for v in legal_values("DeidentificationMethod", raw + b"\\" + raw, sets)] == [letter, letter]


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("ISO IR 192", "ISO_IR 192"),
        ("ISO-IR 192", "ISO_IR 192"),
        ("iso_ir_192", "ISO_IR 192"),
        ("UTF-8", "ISO_IR 192"),
        ("ISO_IR_100", "ISO_IR 100"),
        ("ISO 8859-1", "ISO_IR 100"),
        ("ISO-2022-IR-87", "ISO 2022 IR 87"),
        ("gb 18030", "GB18030"),
    ],
)
def test_a_set_is_known_by_other_spellings(spelled, meant):
    odd, right = CharacterSets.of(spelled.encode()), CharacterSets.of(meant.encode())
    assert odd.encodings == right.encodings
    assert right.legal
    assert not odd.legal


def test_a_repaired_spelling_is_named_only_where_it_mattered():
    sets = CharacterSets.of(b"ISO IR 192")
    assert legal_value("PatientName", b"Doe^J", sets).change is Change.NONE
    assert legal_value("PatientName", "Doë^J".encode(), sets).change is Change.RECODED


@pytest.mark.parametrize("declared", [None, b"", b"ISO_IR 6", b"KLINGON", b"ISO 2022 IR 6"])
def test_utf_8_that_is_not_declared_is_read_and_named(declared):
    legal = legal_value("PatientName", "王^小東".encode(), CharacterSets.of(declared))
    assert (legal.text, legal.change) == ("王^小東", Change.RECODED)


def test_bytes_without_a_set_come_out_so_that_they_can_be_turned_back():
    raw = "王^小东".encode("gbk")
    legal = legal_value("PatientName", raw, ASCII)
    assert legal.change is Change.RECODED
    assert legal.text.encode("latin-1") == raw


def test_a_text_cut_within_a_character_loses_that_character_alone():
    raw = "Grüß".encode()[:-1]
    legal = legal_value("StudyDescription", raw, CharacterSets.of(b"ISO_IR 192"))
    assert (legal.text, legal.change) == ("Grü\ufffd", Change.RECODED)
    assert legal_value("PatientID", raw, CharacterSets.of(b"ISO_IR 192"), identifier=True).text == ""


def test_an_unknown_escape_sequence_leaves_none_behind():
    legal = legal_value("PatientName", b"A\x1b$(Q!!^B", CharacterSets.of(rb"\ISO 2022 IR 87"))
    assert "\x1b" not in legal.text
    assert legal.change is not Change.NONE


VALUES = [
    # keyword, as the file has it, what may be written ("" for emptied)
    ("PatientSex", "M ", "M"),
    ("PatientSex", "f", "F"),
    ("PatientSex", "Male", "M"),
    ("PatientSex", "FEMALE", "F"),
    ("PatientSex", "W", ""),
    ("PatientSex", "1", ""),
    ("PatientSex", "U", ""),
    ("PatientAge", "060Y", "060Y"),
    ("PatientAge", "60Y", "060Y"),
    ("PatientAge", "60 y", "060Y"),
    ("PatientAge", "60", ""),
    ("PatientAge", "0060", ""),
    ("PatientAge", "000Y", "000Y"),
    ("StudyDate", "20260101", "20260101"),
    ("StudyDate", "2026.01.01", "20260101"),
    ("StudyDate", "2026-01-01", "20260101"),
    ("StudyDate", "2026/01/01", "20260101"),
    ("StudyDate", "2026-01-01T10:00:00", "20260101"),
    ("StudyDate", "20260231", ""),
    ("StudyDate", "20260000", ""),
    ("StudyDate", "01/05/2026", ""),
    ("StudyDate", "20260101-20260201", ""),
    ("StudyDate", "2026.01-01", ""),
    ("StudyDate", "unknown", ""),
    ("StudyTime", "120000", "120000"),
    ("StudyTime", "12:00:00", "120000"),
    ("StudyTime", "12:00:00.5", "120000.5"),
    ("StudyTime", "120000.1234567", "120000.123456"),
    ("StudyTime", "120000.", "120000"),
    ("StudyTime", "1200", "1200"),
    ("StudyTime", "250000", ""),
    ("StudyTime", "2:05 PM", ""),
    ("PatientWeight", "71.5", "71.5"),
    ("PatientWeight", "71,5", ""),
    ("PatientWeight", "nan", ""),
    ("PatientWeight", "1e999999999999999", ""),
    ("PatientWeight", "71.50000000000000000", "71.5"),
    ("PatientIdentityRemoved", "Yes", "YES"),
    ("PatientIdentityRemoved", "partly", ""),
    ("StudyDescription", "d" * 64, "d" * 64),
    ("StudyDescription", "d" * 65, "d" * 64),
    ("StudyDescription", "CT\\Chest", "CT"),
    ("StudyDescription", "CT\r\nChest", "CT  Chest"),
    ("PatientName", "A^B^C^D^E", "A^B^C^D^E"),
    ("PatientName", "A^B^C^D^E^F", "A^B^C^D^E F"),
    ("PatientName", "A=B=C=D", "A=B=C"),
    ("PatientName", "A\\B", "A"),
    ("PatientName", "n" * 65 + "=" + "m" * 70, "n" * 64 + "=" + "m" * 64),
    ("PatientName", "Doe\x07^J", "Doe ^J"),
    ("PatientName", "\0\0 ", ""),
]


@pytest.mark.parametrize(("keyword", "said", "wanted"), VALUES)
def test_a_value_is_kept_normalised_or_emptied(keyword, said, wanted):
    legal = legal_value(keyword, said.encode(), ASCII)
    assert legal.text == wanted
    stripped = said.strip(" \0")
    change = Change.NONE if wanted == stripped else Change.NORMALISED if wanted else Change.EMPTIED
    assert legal.change is change
    with pydicom.config.disable_value_validation():
        written = pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), legal.text)
    pydicom.valuerep.validate_value(written.VR, legal.text, pydicom.config.RAISE)


@pytest.mark.parametrize(
    ("keyword", "said", "wanted"),
    [
        ("PatientID", "ID/with^odd chars", "ID/with^odd chars"),
        ("PatientID", "x" * 64, "x" * 64),
        ("PatientID", "x" * 65, ""),
        ("PatientID", "1\\2", ""),
        ("PatientID", "1\t2", ""),
        ("AccessionNumber", "A" * 16, "A" * 16),
        ("AccessionNumber", "A" * 17, ""),
    ],
)
def test_an_identifier_is_kept_whole_or_not_at_all(keyword, said, wanted):
    assert legal_value(keyword, said.encode(), ASCII, identifier=True).text == wanted


def test_bytes_of_a_binary_vr_are_no_text():
    assert legal_value("PatientName", b"AB", ASCII, "US").change is Change.EMPTIED
    assert legal_value("PatientName", b"AB", ASCII, "UN").text == "AB"
    assert legal_value("PatientName", b"AB", ASCII, "LO").text == "AB"
    assert legal_value("PatientName", None, ASCII, "SQ").change is Change.EMPTIED


@pytest.mark.parametrize(
    ("raw", "uid"),
    [
        (b"1.2.840.10008.1.2\0", "1.2.840.10008.1.2"),
        (b"1.2.3  ", "1.2.3"),
        (b"1.2.03", ""),
        (b"1..2", ""),
        (b"1.2.3\\1.2.4", ""),
        (b"896911bf-1143-4c8d-8f04-f3cd1a7f6204", ""),
        (b"1.2.3\n", ""),
        (b"1." + b"2" * 63, ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_a_uid_is_whole_or_none(raw, uid):
    assert legal_uid(raw) == uid
    assert not uid or UID(uid).is_valid


@pytest.mark.parametrize("number", [-123.456789012345678, 1e-9, -0.0000123456789, 1 / 3, 12345678.123456789])
def test_a_number_fits_its_sixteen_characters(number):
    text = legal_decimal(number)
    assert len(text) <= 16
    assert float(DSfloat(text, validation_mode=pydicom.config.RAISE)) == pytest.approx(number, rel=1e-8)
