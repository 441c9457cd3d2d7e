"""Ids that can be read, that are safe as names of files, and that name no patient."""

import csv
import gzip
import io
import os
import unicodedata
import zipfile
from pathlib import Path

import pydicom
import pytest

from volumetry.batch import find_scans, list_scans, read_manifest, run_batch, safe_scan_id
from volumetry.scan.scan_id import MOST_BYTES, readable_id
from volumetry.segment.hu_segmenter import ThresholdSegmenter

RESERVED_BY_WINDOWS = ["CON", "prn", "Aux", "NUL", "com1", "LPT9", "nul.txt", "COM³"]


def header(charset: str | list[str] = "ISO_IR 192", **values: object) -> bytes:
    """A Part 10 file that says nothing but whose it is."""
    ds = pydicom.Dataset()
    if charset:
        ds.SpecificCharacterSet = charset
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    content = io.BytesIO()
    ds.save_as(content, enforce_file_format=True)
    return content.getvalue()


def id_of(tmp_path: Path, folder: str, content: bytes) -> str:
    path = tmp_path / folder
    path.mkdir(parents=True)
    (path / "x").write_bytes(content)
    return safe_scan_id(path, Path(folder))


def is_digest(scan_id: str) -> bool:
    return scan_id.startswith("scan-") and len(scan_id) == 17


# --- letters -----------------------------------------------------------------------------------------------


def test_letters_of_every_script_stay(tmp_path):
    names = [
        "患者甲/基线",
        "患者甲/随访",
        "患者乙/基线",
        "Пациент-01",
        "Élodie",
        "مريض_٢",
        "रोगी 1",
        "환자 1",
        "ผู้ป่วย",
    ]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1").write_bytes(b"x")
    found = {scan.folder: scan.scan_id for scan in find_scans(tmp_path)}
    expected = {name: unicodedata.normalize("NFC", name).replace("/", "_").replace(" ", "_") for name in names}
    assert found == expected


def test_a_name_is_the_same_id_however_its_accents_are_stored():
    composed, apart = "Ren\u00e9e", "Rene\u0301e"
    assert readable_id(composed) == readable_id(apart) == composed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\u202egpj.exe", "agpj.exe"),  # turns the direction of what follows
        ("a\u2066b\u2069", "ab"),
        ("\ufeffa\u200bb", "ab"),
        ("a\u00adb\u115f", "ab"),
        ("a\x00b\x1b[31m\n", "a_b_31m"),
        ("a\ud800b", "a_b"),
        ("..", ""),
        (". /.", ""),
        ("😀", ""),
        ('a<b>:"|?*\\c', "a_b_c"),
        ("name. ", "name"),
        ("=2+5", "2_5"),
        ("-rf", "rf"),
        ("\u0301a", "a"),
    ],
)
def test_signs_that_are_no_letters_do_no_harm(name, expected):
    assert readable_id(name) == expected


@pytest.mark.parametrize("name", RESERVED_BY_WINDOWS)
def test_names_of_devices_are_not_taken(name):
    assert readable_id(name) == f"scan-{name}"


@pytest.mark.parametrize("sign", ["x", "é", "患", "𠮷"])
def test_a_long_name_keeps_within_the_bytes_of_a_file_name(sign, tmp_path):
    ids = {readable_id(sign * 200), readable_id(sign * 201)}
    assert len(ids) == 2
    for scan_id in ids:
        assert len(scan_id.encode()) <= MOST_BYTES
        assert scan_id.startswith(sign * 10)
        (tmp_path / f".{scan_id}.0123456789abcdef.part").touch()


@pytest.mark.parametrize(
    "names", [("a b", "a_b"), ("Scan", "scan"), ("a/b_c", "a_b/c"), ("Straße", "STRASSE"), ("ﬁ", "fi")]
)
def test_no_two_scans_share_an_id_and_none_takes_anothers(names, tmp_path):
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    both = {scan.folder: scan.scan_id for scan in find_scans(tmp_path)}
    assert len({unicodedata.normalize("NFKC", scan_id).casefold() for scan_id in both.values()}) == 2
    alone = readable_id(names[0])
    assert alone not in both.values()  # who looks up the plain name gets neither by mistake


def test_a_name_that_is_no_text_is_a_scan_too(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (scan,) = find_scans(tmp_path)
    assert (scan.scan_id, scan.folder) == ("caf_xe9", "caf\\xe9")


# --- whose scan --------------------------------------------------------------------------------------------

DOE = {"PatientName": "Doe^Jane", "PatientID": "H4711", "AccessionNumber": "A-0099123"}


@pytest.mark.parametrize(
    ("folder", "values"),
    [
        ("sleeve-baseline", {"PatientName": "Lee^A", "PatientID": "SL"}),
        ("known-good", {"PatientName": "Own^B", "PatientID": "KN"}),
        ("baseline_v1", {"PatientName": "Base^X"}),
        ("Sanders_v1", {"PatientName": "Anders^Eva"}),
        ("janet", DOE),
        ("S01_visit2", DOE),
        ("181234", {"PatientID": "1234"}),
        ("S01/v1", {"PatientID": "S01"}),
        ("12", {"PatientID": "0012"}),
        ("LIDC/0002", {"PatientName": "LIDC-IDRI-0001", "PatientID": "LIDC-IDRI-0001"}),
        ("小明天_基线", {"PatientName": "王^小明"}),
        ("王", {"PatientName": "王^小明"}),
        ("Иванова", {"PatientName": "Иванов^Пётр"}),
        ("Frau_S1", {"PatientName": "Meyer^Eva^^Frau^Prof."}),
        ("anonymous", {"PatientName": "", "PatientID": ""}),
    ],
)
def test_letters_of_a_name_within_a_word_name_nobody(folder, values, tmp_path):
    assert id_of(tmp_path, folder, header(**values)) == readable_id(folder)


@pytest.mark.parametrize(
    ("folder", "values"),
    [
        ("DOE JANE", DOE),
        ("2020-Doe-Jane-thorax", DOE),
        ("DoeJane", DOE),
        ("doejane.2", DOE),
        ("CTJane2020", DOE),
        ("site1/jane/v1", DOE),
        ("H-4711-x", DOE),
        ("h4711", DOE),
        ("A0099123", DOE),
        ("1234_v1", {"PatientID": "0001234"}),
        ("0001234_v1", {"PatientID": "1234"}),
        ("MRN1234", {"PatientID": "1234"}),
        ("S001/v1", {"PatientID": "S001"}),
        ("LIDC-IDRI-0001", {"PatientID": "LIDC-IDRI-0001"}),
        ("Lee_A", {"PatientName": "Lee^A"}),
        ("xiao_ming", {"PatientName": "Wang^XiaoMing"}),
        ("Garcia", {"PatientName": "Garcia Lopez^Ana"}),
        ("Mueller01", {"PatientName": "Müller^Jo"}),
        ("MULLER", {"PatientName": "Müller^Jo"}),
        ("Mu\u0308ller", {"PatientName": "Müller^Jo"}),
        ("ИВАНОВ_1", {"PatientName": "Иванов^Пётр"}),
        (
            "Does".translate({ord(c): ord(c) + 0xFEE0 for c in "Does"}),
            {"PatientName": "Does^J"},
        ),
        ("Barney", {"OtherPatientNames": ["Doe^J", "Rubble^Barney"]}),
        ("Rubble", {"PatientBirthName": "Rubble"}),
        ("X9999", {"OtherPatientIDs": ["A1", "X9999"]}),
        ("患者王小明基线", {"PatientName": "王^小明"}),  # no spaces, so no word: the full name counts anywhere
        ("小明_基线", {"PatientName": "王^小明"}),  # two signs are a name
        ("王 小明", {"PatientName": "Wang^Xiao=王^小明"}),
        ("홍길동님", {"PatientName": "Hong^G=洪^吉洞=홍^길동"}),
    ],
)
def test_a_whole_word_that_names_the_patient_becomes_a_digest(folder, values, tmp_path):
    assert is_digest(id_of(tmp_path, folder, header(**values)))


@pytest.mark.parametrize(
    ("charset", "name", "folder"),
    [
        ("GB18030", "Wang^X=王^小明", "王小明_基线"),
        ("ISO_IR 144", "Иванов^Пётр", "Пётр"),
        ("ISO_IR 100", "Jürgen^X", "Jürgen"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ"),
        (["", "ISO 2022 IR 87"], "Yamada^T=山田^太郎", "山田太郎"),
        (["", "ISO 2022 IR 149"], "Hong^G=洪^吉洞=홍^길동", "길동"),
    ],
)
def test_names_are_compared_in_the_headers_own_letters(charset, name, folder, tmp_path):
    assert is_digest(id_of(tmp_path, folder, header(charset, PatientName=name)))


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_character_set_that_nobody_declared_hides_no_name(encoding, tmp_path):
    """As a modality writes it that sends its system's own letters under no or a Latin character set."""
    name = "王^小明" + "=" * 4
    stored = name.encode(encoding)
    stand_in = "X" * (len(stored) + len(stored) % 2)
    content = header("ISO_IR 100", PatientName=stand_in).replace(stand_in.encode(), stored.ljust(len(stand_in)))
    assert stored in content
    assert is_digest(id_of(tmp_path, "王小明_基线", content))


def test_the_first_header_that_names_somebody_counts(tmp_path):
    """A media export begins with a DICOMDIR, whose own header names nobody."""
    folder = tmp_path / "Jane_v1"
    (folder / "A").mkdir(parents=True)
    (folder / "A" / "0").write_bytes(b"no DICOM")
    (folder / "A" / "1").write_bytes(header(Modality="CT"))
    (folder / "B").write_bytes(header(**DOE))
    assert is_digest(safe_scan_id(folder))


def test_archives_and_single_files_are_looked_into(tmp_path):
    content = header(**DOE)
    single, packed, archive = tmp_path / "jane.dcm", tmp_path / "jane.dcm.gz", tmp_path / "jane.zip"
    single.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("README.TXT", "viewer")
        made.writestr("IMG/1", content)
    bare = tmp_path / "jane"
    bare.mkdir()
    at = content.index(b"\x08\x00\x05\x00")  # the dataset alone, as some modalities store it
    (bare / "1").write_bytes(content[at:])
    for path in (single, packed, archive, bare):
        assert is_digest(safe_scan_id(path)), path.name


# --- the key -----------------------------------------------------------------------------------------------


def _keys(out: Path) -> dict[str, str]:
    rows = csv.DictReader((out / "scans.csv").read_text("utf-8").splitlines())
    return {row["scan_id"]: row["folder"] for row in rows}


def test_scans_csv_leads_from_every_id_to_its_folder(tmp_path, config):
    root, out = tmp_path / "in", tmp_path / "out"
    for folder in ("患者甲/基线", "Jane_v1", "=v2", "a b", "a_b"):
        (root / folder).mkdir(parents=True)
        (root / folder / "1").write_bytes(header(**DOE))
    scans = find_scans(root)
    run_batch(scans, out, ThresholdSegmenter(), config)
    keys = _keys(out)
    assert {keys[scan.scan_id].removeprefix("'") for scan in scans} == {
        "患者甲/基线",
        "Jane_v1",
        "=v2",
        "a b",
        "a_b",
    }
    assert all(root / keys[scan.scan_id].removeprefix("'") == scan.path for scan in scans)
    assert (out / "scans.csv").stat().st_mode & 0o077 == 0
    others = [p for p in out.rglob("*") if p.is_file() and p.name != "scans.csv"]
    assert others
    assert not any(b"jane" in path.read_bytes().lower() for path in others)
    assert not any("jane" in path.name.lower() for path in out.rglob("*"))


def test_a_manifests_own_words_for_a_folder_stand_in_scans_csv(tmp_path, config):
    (tmp_path / "in").mkdir()
    (tmp_path / "list.csv").write_text("scan_id,path\n患者-1,in\nS02,gone\n", "utf-8")
    run_batch(list_scans(tmp_path / "list.csv"), tmp_path / "out", ThresholdSegmenter(), config)
    assert _keys(tmp_path / "out") == {"患者-1": "in", "S02": "gone"}


@pytest.mark.parametrize("scan_id", ["a\u202eb", "患/者", "con", "x" * 121, "患" * 60])
def test_a_manifests_ids_are_safe_as_well(scan_id, tmp_path):
    from volumetry.errors import UsageError

    (tmp_path / "list.csv").write_text(f"scan_id,path\n{scan_id},in\n", "utf-8")
    with pytest.raises(UsageError, match="line 2"):
        read_manifest(tmp_path / "list.csv")


# --- folders that cannot be looked into --------------------------------------------------------------------


def test_a_folder_that_cannot_be_listed_costs_its_row_alone(tmp_path, config, monkeypatch):
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c"):
        (root / name / "v1").mkdir(parents=True)
    real = os.scandir

    def denied(path="."):
        if isinstance(path, str | Path) and Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("os.scandir", denied)
    scans = find_scans(root)
    assert [scan.scan_id for scan in scans] == ["a_v1", "b", "c_v1"]
    rows = run_batch(scans, out, ThresholdSegmenter(), config)
    assert [row["code"] for row in rows] == ["EMPTY_INPUT", "ACCESS_DENIED", "EMPTY_INPUT"]


@pytest.fixture
def endless(tmp_path):
    """A chain of folders deeper than the interpreter can recurse, and than a path can be long."""
    here, depth = Path.cwd(), 2100
    (tmp_path / "in" / "good").mkdir(parents=True)
    os.chdir(tmp_path / "in")
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        yield tmp_path / "in"
        for _ in range(depth):  # what clears up after the tests would recurse
            os.chdir("..")
            os.rmdir("d")
    finally:
        os.chdir(here)


def test_a_tree_without_an_end_costs_its_row_alone(endless, tmp_path, config):
    scans = find_scans(endless)
    assert len(scans) == 2
    rows = run_batch(scans, tmp_path / "out", ThresholdSegmenter(), config)
    assert sorted(row["code"] for row in rows) == ["EMPTY_INPUT", "LIMIT_EXCEEDED"]


def test_links_that_lead_back_are_not_followed(tmp_path):
    (tmp_path / "a" / "v1").mkdir(parents=True)
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [scan.scan_id for scan in find_scans(tmp_path)] == ["a_v1"]
