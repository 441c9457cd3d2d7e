"""SEG and SR of series whose headers are not as the standard wants them: what is written, named, or not made."""

import logging
import warnings
from dataclasses import replace

import highdicom as hd
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from small_results import measured_phantom

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.deliver.dicom import DicomOptions, Export, write_seg_and_sr, write_summary
from volumetry.deliver.dicom.source import _READ, export_source, legal_source
from volumetry.deliver.report.summary import summary_of
from volumetry.domain import ScanRefusedError, Status
from volumetry.errors import OutputError
from volumetry.scan import source_headers

NAME, IDENTITY = "Shibuya^Hanako", "PAT-0815-4711"
MAKING = {"export": {"generate_uids": True}}
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


def put(ds, keyword, raw, vr=None):
    """Bytes as they lie in a file, which no setter would let through."""
    tag = Tag(tag_for_keyword(keyword))
    ds._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(raw), raw, 0, False, True)


def edited(case, config, *edits):
    """The series' raw headers, edited in memory: ``edits`` are called with slice number and header."""
    source = source_headers(case.folder, config, _READ)
    for k, piece in enumerate(source.slices):
        for edit in edits:
            edit(k, piece.raw)
    return source


def setting(**values):
    """An edit that puts the same bytes into every header."""

    def edit(_k, raw):
        for keyword, value in values.items():
            put(raw, keyword, value)

    return edit


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("series"), config)


@pytest.fixture
def write(case, config, tmp_path):
    """SEG and SR of a source, read back."""

    def files(source, settings=config, options=None):
        made = write_seg_and_sr(case.document, case.analysis.tissue, source, tmp_path / "out", settings, options)
        return [pydicom.dcmread(made[name]) for name in ("seg.dcm", "sr.dcm")]

    return files


def legal(source, config, case):
    return legal_source(source, case.document["provenance"]["input_sha256"], config)


MESSY = {
    # as a file has it, and what stands in our objects
    "PatientAge": (b"60", None),
    "PatientSex": (b"Male", "M"),
    "PatientBirthDate": (b"1960-05-01", "19600501"),
    "StudyDate": (b"2026.01.01", "20260101"),
    "StudyTime": (b"12:00:00", "120000"),
    "AccessionNumber": (b"ACC-2026-0000000000000001", ""),
    "StudyID": (b"A study id that is much longer than 16", ""),
    "PatientID": (b"x" * 77, ""),
    "PatientName": (b"A^B^C^D^E^F", "A^B^C^D^E F"),
    "ReferringPhysicianName": (b"Dr. X\\Dr. Y", "Dr. X"),
    "StudyDescription": (b"d" * 100, "d" * 64),
    "PatientWeight": (b"71,5", None),
}


def test_what_is_no_legal_value_costs_itself_alone_and_is_named(case, config, write):
    source = legal(edited(case, config, setting(**{k: v for k, (v, _) in MESSY.items()})), config, case)
    for made in write(source):
        for keyword, (_, wanted) in MESSY.items():
            assert made.get(keyword) == wanted, keyword
        assert made.SpecificCharacterSet == "ISO_IR 192"
    (note,) = source.findings
    assert (note.code, note.outcome, note.value) == ("EXPORT_NORMALISED", Outcome.NOTE, len(MESSY))
    emptied, normalised = note.message.split("emptied")[1], note.message.split("emptied")[0]
    for keyword, (raw, wanted) in MESSY.items():
        assert keyword in (normalised if wanted else emptied)
        assert raw.decode() not in note.message


def test_a_clean_header_earns_no_note(case, config):
    assert legal(edited(case, config), config, case).findings == ()


CHARACTER_SETS = {
    "jp87": (rb"\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "jp13": (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    "jp159": (
        rb"ISO 2022 IR 6\ISO 2022 IR 159",
        "Uo^Okina=鷗".encode("iso2022_jp_2"),
    ),
    "kr149": (rb"\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    "gb18030": (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
    "gbk": (b"GBK", "Wang^XiaoDong=王^小东".encode("gbk")),
    "utf8": (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode()),
    "ar127": (b"ISO_IR 127", "قباني^لنزار".encode("iso8859_6")),
    "el126": (rb"ISO 2022 IR 100\ISO 2022 IR 126", b"Dionysios=\x1b-F" + "Διονυσιος".encode("iso8859_7")),
}


@pytest.mark.parametrize("kind", CHARACTER_SETS)
def test_a_name_in_a_legal_set_is_written_as_pydicom_reads_it(kind, case, config, write):
    sets, name = CHARACTER_SETS[kind]
    read = pydicom.Dataset()
    put(read, "SpecificCharacterSet", sets)
    put(read, "PatientName", name)
    wanted = str(read.PatientName).rstrip("=")
    assert not wanted.isascii()
    source = legal(edited(case, config, setting(SpecificCharacterSet=sets, PatientName=name)), config, case)
    assert source.findings == ()
    for made in write(source):
        assert str(made.PatientName) == wanted


@pytest.mark.parametrize(
    ("sets", "name", "wanted"),
    [
        (b"ISO IR 192", "Wang^X=王".encode(), "Wang^X=王"),
        (b"KLINGON", "Wang^X=王".encode(), "Wang^X=王"),
        (b"", "Wang^X=王".encode(), "Wang^X=王"),
        (b"ISO_IR 192", b"M\xfcller^J", "M\ufffdller^J"),
        (b"", b"M\xfcller^J", "Müller^J"),
    ],
)
def test_a_name_outside_its_set_is_written_and_named(sets, name, wanted, case, config, write):
    source = legal(edited(case, config, setting(SpecificCharacterSet=sets, PatientName=name)), config, case)
    assert [f.code for f in source.findings] == ["EXPORT_NORMALISED"]
    assert "recoded PatientName (0010,0010)" in source.findings[0].message
    for made in write(source):
        assert str(made.PatientName) == wanted


@pytest.mark.parametrize("syntax", ["implicit", "big endian", "deflated"])
def test_the_source_may_be_coded_in_any_way(syntax, config, tmp_path):
    uid = {
        "implicit": pydicom.uid.ImplicitVRLittleEndian,
        "big endian": pydicom.uid.ExplicitVRBigEndian,
        "deflated": pydicom.uid.DeflatedExplicitVRLittleEndian,
    }[syntax]
    case = measured_phantom(tmp_path / "in", config)
    for path in case.folder.iterdir():
        ds = pydicom.dcmread(path)
        if ds.file_meta.TransferSyntaxUID.is_compressed:
            ds.decompress()
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 144", "Люк"
        ds.file_meta.TransferSyntaxUID = uid
        implicit, little = syntax == "implicit", syntax != "big endian"
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
    files = write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path / "out", config)
    assert {str(pydicom.dcmread(path).PatientName) for path in files.values()} == {"Люк"}


def blank(keyword):
    return setting(**{keyword: b""})


def doubled(_k, raw):
    put(raw, "SOPInstanceUID", b"1.2.3.4")


def own(keyword):
    return lambda k, raw: put(raw, keyword, b"1.2.3.%d" % (k + 1))


UNUSABLE = {
    "empty study": (blank("StudyInstanceUID"), ["StudyInstanceUID"]),
    "empty series": (blank("SeriesInstanceUID"), ["SeriesInstanceUID"]),
    "empty frame of reference": (blank("FrameOfReferenceUID"), ["FrameOfReferenceUID"]),
    "empty instances": (blank("SOPInstanceUID"), ["SOPInstanceUID"]),
    "UUIDs": (
        setting(StudyInstanceUID=b"896911bf-1143-4c8d-8f04-f3cd1a7f6204", SeriesInstanceUID=b"09bc8aea-ff9c"),
        ["StudyInstanceUID", "SeriesInstanceUID"],
    ),
    "leading zeros": (setting(StudyInstanceUID=b"1.2.003"), ["StudyInstanceUID"]),
    "one for all slices": (doubled, ["SOPInstanceUID"]),
    "a study per slice": (own("StudyInstanceUID"), ["StudyInstanceUID"]),
    "a frame of reference per slice": (own("FrameOfReferenceUID"), ["FrameOfReferenceUID"]),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_without_uids_to_refer_to_nothing_is_written_and_the_tag_is_named(kind, case, config, write, tmp_path):
    edit, tags = UNUSABLE[kind]
    source = legal(edited(case, config, edit), config, case)
    (note,) = source.findings
    assert (note.code, note.outcome) == ("DICOM_NOT_POSSIBLE", Outcome.NOTE)
    with pytest.raises(OutputError) as stop:
        write(source)
    assert stop.value.code == "DICOM_NOT_POSSIBLE"
    for keyword in UIDS:
        assert (keyword in stop.value.message) == (keyword in note.message) == (keyword in tags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", UNUSABLE)
def test_where_the_settings_ask_for_it_uids_are_made_and_named(kind, case, write):
    config = load_config(overrides=MAKING)
    edit, tags = UNUSABLE[kind]
    source = legal(edited(case, config, edit), config, case)
    assert [f.code for f in source.findings] == ["EXPORT_UIDS_GENERATED"]
    as_it_was = edited(case, config).slices
    for keyword in UIDS:
        uids = [str(header[keyword].value) for header in source.headers]
        assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)
        assert len(set(uids)) == (len(uids) if keyword == "SOPInstanceUID" else 1)
        made = [uid.startswith("2.25.") for uid in uids]
        assert made == [keyword in tags] * len(uids)
        assert (keyword in source.findings[0].message) == (keyword in tags)
        if keyword not in tags:
            assert uids == [str(piece.raw[keyword].value) for piece in as_it_was]
    again = legal(edited(case, config, edit), config, case)
    assert [h.to_json() for h in again.headers] == [h.to_json() for h in source.headers]
    other = legal_source(edited(case, config, edit), "another input", config)
    assert other.headers[0].to_json() != source.headers[0].to_json()
    seg, report = write(source, config)
    assert seg.StudyInstanceUID == report.StudyInstanceUID == source.headers[0].StudyInstanceUID
    assert seg.FrameOfReferenceUID == source.headers[0].FrameOfReferenceUID


def test_only_the_instances_that_share_a_uid_get_another(case):
    config = load_config(overrides=MAKING)

    def two_alike(k, raw):
        if k in (3, 4):
            put(raw, "SOPInstanceUID", b"1.2.3.4")

    source = legal(edited(case, config, two_alike), config, case)
    made = [k for k, header in enumerate(source.headers) if header.SOPInstanceUID.startswith("2.25.")]
    assert made == [3, 4]
    assert source.headers[3].SOPInstanceUID != source.headers[4].SOPInstanceUID


def test_frames_of_one_file_are_referred_to_by_number(case, config, write):
    enhanced = pydicom.uid.EnhancedCTImageStorage
    source = edited(case, config)
    shared = source.slices[0].raw
    put(shared, "SOPClassUID", enhanced.encode())
    count = len(source.slices)
    # Frames stand in the file the other way round than on the grid.
    frames = tuple(replace(piece, raw=shared, frame_number=count - k) for k, piece in enumerate(source.slices))
    seg, report = write(legal(replace(source, slices=frames), config, case))
    (series,) = seg.ReferencedSeriesSequence
    (referred,) = series.ReferencedInstanceSequence
    assert (referred.ReferencedSOPClassUID, referred.ReferencedSOPInstanceUID) == (
        enhanced,
        shared.SOPInstanceUID,
    )
    heights = {round(piece.position_lps_mm[2], 3): piece.frame_number for piece in frames}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (enhanced, shared.SOPInstanceUID)
        height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        assert item.ReferencedFrameNumber == heights[round(height, 3)]
    evidence = [
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for group in study.ReferencedSeriesSequence
        for item in group.ReferencedSOPSequence
    ]
    assert sorted(evidence) == sorted([shared.SOPInstanceUID, seg.SOPInstanceUID])


def test_a_class_that_stands_in_the_meta_group_alone_is_found(case, config):
    def only_in_meta(_k, raw):
        del raw["SOPClassUID"]

    source = legal(edited(case, config, only_in_meta), config, case)
    assert {header.SOPClassUID for header in source.headers} == {pydicom.uid.CTImageStorage}
    assert source.findings == ()


def test_a_trials_subject_is_written_whole_or_not_at_all(case, config, write):
    whole = {
        "ClinicalTrialSponsorName": b"Sponsor",
        "ClinicalTrialProtocolID": b"P-1",
        "ClinicalTrialSubjectID": b"S-001",
    }
    seg, _ = write(legal(edited(case, config, setting(**whole)), config, case))
    assert {k: seg[k].value.encode() for k in whole} == whole
    # Type 2 of that module: there, and empty.
    assert (seg.ClinicalTrialProtocolName, seg.ClinicalTrialSiteID, seg.ClinicalTrialSiteName) == ("", "", "")
    half = legal(edited(case, config, setting(ClinicalTrialProtocolID=b"P-1")), config, case)
    assert "ClinicalTrialProtocolID" not in half.headers[0]
    assert "emptied ClinicalTrialProtocolID (0012,0020)" in half.findings[0].message


def test_removed_identity_is_told_with_its_method_or_not_at_all(case, config):
    told = legal(
        edited(case, config, setting(PatientIdentityRemoved=b"Yes", DeidentificationMethod=b"A\\B")), config, case
    )
    assert told.headers[0].PatientIdentityRemoved == "YES"
    assert list(told.headers[0].DeidentificationMethod) == ["A", "B"]
    bare = legal(edited(case, config, setting(PatientIdentityRemoved=b"YES")), config, case)
    assert "PatientIdentityRemoved" not in bare.headers[0]

    def codes(_k, raw):
        item = pydicom.Dataset()
        for keyword, value in (("CodeValue", b"113100"), ("CodingSchemeDesignator", b"DCM")):
            put(item, keyword, value)
        put(item, "CodeMeaning", b"Basic Profile")
        raw.DeidentificationMethodCodeSequence = [item, pydicom.Dataset()]

    coded = legal(edited(case, config, setting(PatientIdentityRemoved=b"YES"), codes), config, case)
    assert coded.headers[0].PatientIdentityRemoved == "YES"
    (item,) = coded.headers[0].DeidentificationMethodCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == ("113100", "DCM", "Basic Profile")


def test_no_value_reaches_log_or_terminal(case, config, write, caplog, capfd):
    odd = setting(
        SpecificCharacterSet=b"KLINGON",
        PatientName=NAME.encode() + b"\\" + b"z" * 80 + "\xfc".encode("latin-1"),
        PatientID=IDENTITY.encode() * 8,
        PatientSex=NAME.encode(),
        StudyDate=IDENTITY.encode(),
        StudyInstanceUID=b"1.2.3",
    )
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        write(legal(edited(case, config, odd), config, case))
    said = capfd.readouterr()
    texts = [*(str(w.message) for w in warned), *(r.getMessage() for r in caplog.records), said.out, said.err]
    assert not [text for text in texts if NAME in text or IDENTITY in text or "zzz" in text]


def test_the_summary_page_belongs_to_the_same_patient(case, config, tmp_path):
    sets, name = CHARACTER_SETS["jp87"]
    source = legal(
        edited(case, config, setting(SpecificCharacterSet=sets, PatientName=name, PatientSex=b"male")),
        config,
        case,
    )
    summary = summary_of(case.document, case.analysis.tissue, case.analysis.scan)
    options = DicomOptions(pdf=True, secondary_capture=True)
    files = write_summary(summary, case.document, source, tmp_path, config, options)
    for path in files.values():
        made = pydicom.dcmread(path)
        assert (str(made.PatientName), made.PatientSex) == ("Yamada^Tarou=山田^太郎", "M")
        assert made.SpecificCharacterSet == "ISO_IR 192"


def rewritten(case, edit):
    """The files themselves, edited."""
    for k, path in enumerate(sorted(case.folder.iterdir())):
        ds = pydicom.dcmread(path)
        edit(k, ds)
        ds.save_as(path)


def test_the_result_says_what_its_objects_change(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    rewritten(case, setting(PatientSex=b"Male"))
    export = Export(case.folder, config, DicomOptions())
    noted = export.noted(case.analysis.result)
    assert noted.status is case.analysis.result.status
    added = [f for f in noted.findings if f not in case.analysis.result.findings]
    assert [f.code for f in added] == ["EXPORT_NORMALISED"]
    assert set(export.write(case.document, case.analysis.tissue, tmp_path / "out")) == {"seg.dcm", "sr.dcm"}


def test_settings_can_make_it_a_flag_or_a_refusal(tmp_path, config):
    case = measured_phantom(tmp_path / "in", config)
    rewritten(case, setting(PatientSex=b"Male"))
    flags = load_config(overrides={"outcomes": {"EXPORT_NORMALISED": "flag"}})
    assert Export(case.folder, flags, DicomOptions()).noted(case.analysis.result).status is Status.REVIEW
    refuses = load_config(overrides={"outcomes": {"EXPORT_NORMALISED": "refuse"}})
    with pytest.raises(ScanRefusedError):
        Export(case.folder, refuses, DicomOptions()).noted(case.analysis.result)


def test_a_folder_that_changed_costs_the_objects_and_not_the_result(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    for path in list(case.folder.iterdir()):
        path.unlink()
    export = Export(case.folder, config, DicomOptions())
    assert export.noted(case.analysis.result) is case.analysis.result
    with pytest.raises(ScanRefusedError):
        export.write(case.document, case.analysis.tissue, tmp_path / "out")


def test_highdicom_reads_a_report_of_a_made_study(case, write, tmp_path):
    config = load_config(overrides=MAKING)
    source = legal(edited(case, config, *(blank(keyword) for keyword in UIDS)), config, case)
    write(source, config)
    report = hd.sr.srread(tmp_path / "out" / "sr.dcm")
    assert len(report.content.get_volumetric_roi_measurement_groups()) == 3
    assert export_source(case.folder, "x", config).findings == ()
