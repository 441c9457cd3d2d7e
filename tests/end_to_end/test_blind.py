"""A whole reading package: no identity in any byte, the same HU and grid in every syntax, hostile names."""

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from damage import LEGAL
from pydicom.uid import SecondaryCaptureImageStorage

from volumetry.batch.find import ScanFolder, find_scans
from volumetry.blinding.package import make_reading_package
from volumetry.blinding.unblind import unblind
from volumetry.config import Config, load_config
from volumetry.phantom import LOSSLESS, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.scan import read_scan

CANARY = "ZZPHIZZ"
CHEST = PhantomSpec((44, 104, 136), (4.0, 2.6, 2.6), vessels=False, allow_cut=True)
SMALL = load_config(overrides={"geometry": {"min_coverage_mm": 100.0}})
_NUMERIC = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "OW", "OB", "UI", "SQ")
_TECHNICAL = {
    "SpecificCharacterSet",
    "ImageType",
    "Modality",
    "SOPClassUID",
    "PatientPosition",
    "PhotometricInterpretation",
    "RescaleType",
    "PatientAge",
    "PatientSex",
}


@pytest.fixture(scope="module")
def chest():
    return make_phantom(CHEST)


def _marked(folder: Path) -> None:
    """The canary in every text element that can hold it, in many that were not there, and in private ones."""
    for path in sorted(folder.rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        for element in list(ds):
            if element.VR not in (*_NUMERIC, "DA", "TM") and element.keyword not in _TECHNICAL:
                element.value = CANARY
        ds.PatientID = ds.PatientName = CANARY
        ds.OtherPatientIDs, ds.PatientComments, ds.ImageComments = CANARY, f"seen {CANARY}", CANARY
        ds.PatientAddress, ds.OperatorsName, ds.InstitutionAddress = CANARY, CANARY, CANARY
        ds.ClinicalTrialSubjectID, ds.ClinicalTrialTimePointID = CANARY, CANARY
        ds.RequestedProcedureDescription, ds.DeviceSerialNumber = CANARY, CANARY
        ds.FilterType, ds.ScanOptions = f"{CANARY} WEDGE", CANARY
        ds.private_block(0x0029, CANARY, create=True).add_new(0x10, "OB", CANARY.encode())
        ds.add_new(0x60000022, "LO", CANARY)
        ds.preamble = CANARY.encode().ljust(128, b"\0")
        ds.file_meta.SourceApplicationEntityTitle = CANARY
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200314"
        ds.PatientBirthDate, ds.AcquisitionTime = "19591231", "173355.5"
        ds.save_as(path)


def _bytes_of(folder: Path) -> bytes:
    names = b"\n".join(str(path.relative_to(folder)).encode() for path in sorted(folder.rglob("*")))
    return names + b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_identity_date_visit_or_arm_in_any_byte(tmp_path: Path, chest) -> None:
    for visit in ("baseline", "day28"):
        folder = tmp_path / CANARY / f"{CANARY}_{visit}"
        write_series(chest, folder, SeriesSpec(study=visit))
        _marked(folder)
    source_uids = {pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / CANARY).rglob("*.dcm")}
    scans = find_scans(tmp_path / CANARY)
    visits = tmp_path / "visits.csv"
    lines = [f"{CANARY},visit{n},{n},UC-MSC,{scan.scan_id}\n" for n, scan in enumerate(scans)]
    visits.write_text("subject,visit,day,arm,scan_id\n" + "".join(lines))
    package = make_reading_package(scans, tmp_path / "package", SMALL, seed=5, visits=visits)
    everything = _bytes_of(package.folder)
    hidden = [
        CANARY,
        "20200314",
        "19591231",
        "173355",
        "UC-MSC",
        "visit0",
        "visit1",
        "baseline",
        "day28",
        "phantom",
    ]
    for word in [*hidden, *(scan.scan_id for scan in scans), *source_uids]:
        for form in (word.encode(), word.encode("utf-16-le"), base64.b64encode(word.encode())):
            assert form.lower() not in everything.lower(), word
    assert len(package.readings) == 2
    assert sorted(path.name for path in package.folder.iterdir()) == [
        "R0001",
        "R0002",
        "manifest.json",
        "reads.csv",
    ]
    assert CANARY.encode() in package.key.read_bytes()


def _same_scan(before: Path, after: Path, config: Config) -> None:
    one, two = read_scan(before, config), read_scan(after, config)
    assert np.array_equal(one.hu_kji, two.hu_kji)
    assert one.grid == two.grid
    assert one.pixels_sha256 == two.pixels_sha256
    assert one.series.kernel == two.series.kernel
    gone = {"AGE_UNKNOWN", "OUT_OF_INTENDED_POPULATION", "NOT_PART10_REPAIRED", "NON_CT_OBJECT_DROPPED"}
    gone |= {"REORDERED"}  # by file name
    gone |= {"JUNK_FILES_SKIPPED", "DICOMDIR_IGNORED", "LINKS_SKIPPED", "NOT_REGULAR_FILE", "NONSTANDARD_PREAMBLE"}
    assert {f.code for f in one.findings} - gone == {f.code for f in two.findings} - gone


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_hu_grid_and_stored_pixels_are_the_same(tmp_path: Path, chest, syntax: str) -> None:
    write_series(chest, tmp_path / "scans" / "one", SeriesSpec(transfer_syntax=syntax))
    package = make_reading_package(find_scans(tmp_path / "scans"), tmp_path / "package", SMALL, seed=1)
    _same_scan(tmp_path / "scans" / "one", package.folder / "R0001", SMALL)
    before, after = (sorted(folder.iterdir()) for folder in (tmp_path / "scans" / "one", package.folder / "R0001"))
    for old, new in zip(before, after, strict=True):
        a, b = pydicom.dcmread(old), pydicom.dcmread(new)
        assert a.PixelData == b.PixelData
        assert a.file_meta.TransferSyntaxUID == b.file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize(
    "quirk",
    [
        "no_preamble",
        "no_preamble_implicit",
        "no_preamble_but_meta",
        "tiff_preamble",
        "junk_files",
        "duplicates",
        "dicomdir",
        "nested_folders",
        "odd_names",
        "links",
        "fifo",
        "trailing_padding",
        "scout",
        "dose_report",
        "pdf",
        "no_instance_number",
        "numbered_downwards",
        "no_frame_of_reference",
        "signed",
        "junk_high_bits",
        "padding_2000",
        "padding_unsigned_tag",
        "oblique",
        "unequal_pixels",
        "positions_as_long_strings",
    ],
)
def test_legal_quirks_stay_readable_as_they_were(tmp_path: Path, chest, quirk: str) -> None:
    folder = tmp_path / "scans" / "one"
    write_series(chest, folder)
    LEGAL[quirk].apply(folder, np.random.default_rng(0))
    package = make_reading_package([ScanFolder("one", folder)], tmp_path / "package", SMALL, seed=1)
    assert package.refused == ()
    _same_scan(folder, package.folder / "R0001", SMALL)
    assert {pydicom.dcmread(p).SOPClassUID.name for p in (package.folder / "R0001").iterdir()} == {
        "CT Image Storage"
    }


def test_hostile_names_stay_outside(tmp_path: Path, chest) -> None:
    names = ("=cmd|' !A0", "..hidden", "a\nb", "R0001", "\u202egpj.exe", "x" * 200)
    part = replace(CHEST, shape_kji=(3, 64, 64))
    small = make_phantom(part)
    for number, name in enumerate(names):
        write_series(small, tmp_path / "scans" / name, SeriesSpec(study=str(number)))
    scans = find_scans(tmp_path / "scans")
    package = make_reading_package(scans, tmp_path / "package", SMALL, seed=3)
    assert sorted(package.readings) == [f"R{n:04d}" for n in range(1, len(names) + 1)]
    assert sorted(package.readings.values()) == sorted(scan.scan_id for scan in scans)
    for path in package.folder.rglob("*"):
        assert path.resolve().is_relative_to(package.folder.resolve())
        assert path.name.isascii()
        assert path.name.isprintable()
    assert len(unblind(package.folder, package.key, package.folder / "reads.csv")) == len(names)


def test_a_scan_with_a_broken_slice_is_left_out_and_the_others_are_not(tmp_path: Path, chest) -> None:
    for name in ("good", "torn", "enhanced"):
        write_series(chest, tmp_path / "scans" / name, SeriesSpec(study=name))
    torn = tmp_path / "scans" / "torn" / "0005.dcm"
    torn.write_bytes(torn.read_bytes()[:700])
    other = tmp_path / "scans" / "enhanced" / "0005.dcm"
    ds = pydicom.dcmread(other)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.save_as(other)
    package = make_reading_package(find_scans(tmp_path / "scans"), tmp_path / "package", SMALL, seed=1)
    assert sorted(package.readings.values()) == ["enhanced", "good"]
    assert [(r.scan_id, r.code) for r in package.refused] == [("torn", "TRUNCATED_FILE")]
    copied = next(name for name, scan_id in package.readings.items() if scan_id == "enhanced")
    assert len(list((package.folder / copied).iterdir())) == CHEST.shape_kji[0] - 1


@pytest.mark.real_data
def test_a_hospital_scan_keeps_its_hu_and_loses_its_origin(tmp_path: Path, shared: Path, config: Config) -> None:
    source = shared / "data" / "hrct" / "covid-p001"  # JPEG Lossless
    package = make_reading_package([ScanFolder("one", source)], tmp_path / "package", config, seed=1)
    _same_scan(source, package.folder / "R0001", config)
    uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in source.glob("*.dcm")}
    everything = _bytes_of(package.folder)
    assert not [uid for uid in uids if uid.encode() in everything]
