"""Headers without identity, the shuffled order, the key."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from volumetry.blinding.deidentify import Disguise, OverlayInPixelsError, cleaned, plain, seconds_of, secret_words
from volumetry.blinding.package import make_reading_package
from volumetry.blinding.unblind import unblind, write_unblinded
from volumetry.codes import CATALOGUE
from volumetry.config import Config
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom
from volumetry.phantom.series import slice_dataset
from volumetry.scan.headers.files import list_files
from volumetry.scan.headers.reader import read_header
from volumetry.storage.csv_tables import TableError, read_table
from volumetry.storage.unfinished import unfinished_folder

TINY = PhantomSpec((3, 24, 24), (2.5, 2.5, 2.5), vessels=False, allow_cut=True)
CANARY = "ZZPHIZZ"
DISGUISE = Disguise("R0007", b"secret")


@dataclass(frozen=True)
class Scan:
    scan_id: str
    path: Path


def _scan(root: Path, scan_id: str, **changes: object) -> Scan:
    """Three slices of a subject named after the scan; `changes` are set on every one."""
    phantom = make_phantom(TINY)
    folder = root / scan_id
    folder.mkdir(parents=True)
    for k in range(3):
        ds = slice_dataset(
            phantom.hu_kji[k], phantom.grid, k, SeriesSpec(subject=f"SUBJ-{scan_id}", series=scan_id)
        )
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        ds.save_as(folder / f"{scan_id}_{k}.dcm", enforce_file_format=True)
    return Scan(scan_id, folder)


def _clean_one(tmp_path: Path, config: Config, disguise: Disguise = DISGUISE, **changes: object) -> Dataset:
    scan = _scan(tmp_path, "one", **changes)
    header = read_header(list_files(scan.path, config.limits).files[1], config.limits)
    return pydicom.dcmread(io.BytesIO(cleaned(header, disguise)))


def test_pixels_and_geometry_are_copied_byte_for_byte(tmp_path: Path, config: Config) -> None:
    clean = _clean_one(tmp_path, config)
    source = pydicom.dcmread(sorted((tmp_path / "one").iterdir())[1])
    assert clean.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    assert clean.PixelData == source.PixelData
    same = (
        "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope RescaleIntercept "
        "Rows Columns BitsStored HighBit PixelRepresentation InstanceNumber AcquisitionNumber KVP ImageType "
        "ConvolutionKernel PatientPosition Modality SOPClassUID PhotometricInterpretation"
    )
    for keyword in same.split():
        assert clean[keyword].value == source[keyword].value, keyword


def test_identity_dates_and_origin_are_gone(tmp_path: Path, config: Config) -> None:
    clean = _clean_one(
        tmp_path, config, InstitutionName="St Elsewhere", StudyDescription="Day 28", PatientAge="061Y"
    )
    assert (clean.PatientID, clean.PatientName) == ("R0007", "R0007")
    for keyword in ("StudyDate", "AccessionNumber", "PatientBirthDate", "PatientSex", "Manufacturer"):
        assert clean[keyword].value == "", keyword
    for keyword in ("InstitutionName", "StudyDescription", "SeriesDescription", "PatientAge", "AcquisitionDate"):
        assert keyword not in clean, keyword
    assert clean.PatientIdentityRemoved == "YES"


def test_uids_change_together_and_differ_between_readings(tmp_path: Path, config: Config) -> None:
    clean = _clean_one(tmp_path, config)
    source = pydicom.dcmread(sorted((tmp_path / "one").iterdir())[1])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert clean[keyword].value == DISGUISE.uid(source[keyword].value)
        assert clean[keyword].value != source[keyword].value
        assert clean[keyword].value.is_valid
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
    assert DISGUISE.uid("1.2.3") != Disguise("R0008", b"secret").uid("1.2.3")
    assert DISGUISE.uid("1.2.3") != Disguise("R0007", b"other").uid("1.2.3")


def test_private_sequences_and_unknown_elements_are_gone(tmp_path: Path, config: Config) -> None:
    scan = _scan(tmp_path, "one")
    path = sorted(scan.path.iterdir())[0]
    ds = pydicom.dcmread(path)
    ds.private_block(0x0029, "VENDOR", create=True).add_new(0x10, "LO", CANARY)
    ds.private_block(0x0019, "VENDOR", create=True).add_new(0x10, "DS", "12.5")
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    ds.ReferencedImageSequence = [inner]
    ds.add_new(0x00181FF0, "LO", CANARY)
    ds.add_new(0x00201200, "IS", "3")
    ds.save_as(path)
    header = read_header(list_files(scan.path, config.limits).files[0], config.limits)
    clean = pydicom.dcmread(io.BytesIO(cleaned(header, DISGUISE)))
    assert not [e for e in clean if e.tag.is_private or e.VR in ("SQ", "UN")]
    assert 0x00201200 not in clean
    assert CANARY not in str(clean)


def test_a_kept_text_that_repeats_a_secret_becomes_a_token(tmp_path: Path, config: Config) -> None:
    disguise = Disguise("R0007", b"secret", secret_words(["UC-MSC", "baseline"]))
    clean = _clean_one(
        tmp_path, config, disguise, PatientName="Doe^Janet", ConvolutionKernel="B50 janet", FilterType="Uc msc"
    )
    assert clean.ConvolutionKernel == disguise.token("B50 janet")
    assert clean.FilterType == disguise.token("Uc msc")
    assert clean.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_the_hour_of_the_day_is_gone_but_the_order_of_the_slices_stays(tmp_path: Path, config: Config) -> None:
    disguise = Disguise("R0007", b"secret", start_s=12 * 3600 - 2.5)
    assert _clean_one(tmp_path, config, disguise).AcquisitionTime == "000002.500000"


@pytest.mark.parametrize(("text", "seconds"), [("12", 43200), ("1201", 43260), ("120130.25", 43290.25)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", None, "noon", "1", "12:30:00", "12\\13"])
def test_no_times(text: str | None) -> None:
    assert seconds_of(text) is None


def test_secret_words_are_whole_and_in_parts() -> None:
    assert secret_words(["Doe^Janet", "S-001", "x"]) == {"doejanet", "janet", "s001"}
    assert plain("S-001") == "s001"


def test_contrast_is_told_but_not_which_agent(tmp_path: Path, config: Config) -> None:
    assert _clean_one(tmp_path, config, ContrastBolusAgent=f"{CANARY} 300").ContrastBolusAgent == "CONTRAST"


def test_graphics_in_the_pixels_are_refused(tmp_path: Path, config: Config) -> None:
    scan = _scan(tmp_path, "one")
    path = sorted(scan.path.iterdir())[0]
    ds = pydicom.dcmread(path)
    ds.add_new(0x60000102, "US", 12)
    ds.save_as(path)
    header = read_header(list_files(scan.path, config.limits).files[0], config.limits)
    with pytest.raises(OverlayInPixelsError):
        cleaned(header, DISGUISE)


def _scans(tmp_path: Path, count: int = 8) -> list[Scan]:
    return [_scan(tmp_path / "scans", f"s{n:02d}") for n in range(count)]


def test_the_same_seed_gives_the_same_order_and_another_another(tmp_path: Path, config: Config) -> None:
    scans = _scans(tmp_path)
    first = make_reading_package(scans, tmp_path / "a", config, seed=1)
    again = make_reading_package(reversed(scans), tmp_path / "b", config, seed=1)
    other = make_reading_package(scans, tmp_path / "c", config, seed=2)
    assert first.readings == again.readings
    assert list(first.readings) == [f"R{n:04d}" for n in range(1, 9)]
    assert sorted(first.readings.values()) == sorted(other.readings.values()) == [scan.scan_id for scan in scans]
    assert list(first.readings.values()) != list(other.readings.values())
    assert list(first.readings.values()) != sorted(first.readings.values())


def test_without_a_seed_one_is_drawn_and_told_by_the_key(tmp_path: Path, config: Config) -> None:
    scans = _scans(tmp_path)
    drawn = make_reading_package(scans, tmp_path / "a", config)
    seed = read_table(drawn.key, ("seed",)).rows[0].cells["seed"]
    assert make_reading_package(scans, tmp_path / "b", config, seed=int(seed)).readings == drawn.readings


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, config: Config) -> None:
    with unfinished_folder(tmp_path) as left:
        killed = left
    (killed / "R0001").mkdir(parents=True)
    package = make_reading_package(_scans(tmp_path, 1), tmp_path / "package", config, seed=1)
    assert {path.name for path in tmp_path.iterdir()} == {"scans", "package", package.key.parent.name}


def test_the_seal(tmp_path: Path, config: Config) -> None:
    package = make_reading_package(_scans(tmp_path, 3), tmp_path / "a", config, seed=1)
    manifest = json.loads((package.folder / "manifest.json").read_text())
    assert "seed" not in manifest
    assert set(manifest["readings"]) == set(package.readings)
    package.key.write_bytes(package.key.read_bytes().replace(b"s00", b"s99"))
    with pytest.raises(InputError, match="not the one that was written") as stop:
        unblind(package.folder, package.key, package.folder / "reads.csv")
    assert stop.value.code == "KEY_MISMATCH"


def test_the_digest_of_the_key_cannot_be_found_by_trying_orders(tmp_path: Path, config: Config) -> None:
    scans = _scans(tmp_path, 2)
    digests = set()
    for name in "ab":
        package = make_reading_package(scans, tmp_path / name, config, seed=1)
        digests.add(json.loads((package.folder / "manifest.json").read_text())["key_sha256"])
    assert len(digests) == 2


def _visits(path: Path) -> Path:
    path.write_text(
        "subject,visit,day,arm,scan_id\n=S1,baseline,0,UC-MSC,s00\n=S1,day28,28,UC-MSC,s01\nS2,baseline,0,placebo,s02\n"
    )
    return path


def test_reads_find_their_visits_again(tmp_path: Path, config: Config) -> None:
    visits = _visits(tmp_path / "visits.csv")
    package = make_reading_package(_scans(tmp_path, 3), tmp_path / "a", config, seed=1, visits=visits)
    assert b"'=S1" in package.key.read_bytes()
    reads = tmp_path / "filled.csv"
    reading_of = {scan_id: reading for reading, scan_id in package.readings.items()}
    reads.write_text(
        "reading_id,reader,lesion_percent\n"
        f"{reading_of['s02']},A,7.5\n{reading_of['s00']},A,30\n{reading_of['s00']},B,28\n"
    )
    rows = unblind(package.folder, package.key, reads)
    assert [(r["scan_id"], r["subject"], r["visit"], r["arm"], r["lesion_percent"]) for r in rows] == [
        ("s00", "=S1", "baseline", "UC-MSC", "30"),
        ("s00", "=S1", "baseline", "UC-MSC", "28"),
        ("s01", "=S1", "day28", "UC-MSC", ""),
        ("s02", "S2", "baseline", "placebo", "7.5"),
    ]
    write_unblinded(rows, tmp_path / "joined.csv")
    assert (tmp_path / "joined.csv").read_text().startswith("scan_id,subject,visit,day,arm,reading_id,reader")
    with pytest.raises(OutputError, match="not overwritten"):
        write_unblinded(rows, tmp_path / "joined.csv")


@pytest.mark.parametrize(
    ("rows", "match"), [("R0099,A\n", "not a reading"), ("R0001,A\nR0001,A\n", "row 3.*read twice by one reader")]
)
def test_broken_reads_are_refused_with_their_row(tmp_path: Path, config: Config, rows: str, match: str) -> None:
    package = make_reading_package(_scans(tmp_path, 2), tmp_path / "a", config, seed=1)
    reads = tmp_path / "filled.csv"
    reads.write_text("reading_id,reader\n" + rows)
    with pytest.raises(TableError, match=match):
        unblind(package.folder, package.key, reads)


def test_a_scan_named_twice_in_visits_is_refused(tmp_path: Path, config: Config) -> None:
    visits = tmp_path / "visits.csv"
    visits.write_text("subject,visit,scan_id\nS1,a,s00\nS1,b,s00\n")
    with pytest.raises(TableError, match="row 3, column scan_id"):
        make_reading_package(_scans(tmp_path, 2), tmp_path / "a", config, visits=visits)
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten(tmp_path: Path, config: Config) -> None:
    scans = _scans(tmp_path, 2)
    package = make_reading_package(scans, tmp_path / "a", config, seed=1)
    before = package.key.read_bytes()
    with pytest.raises(OutputError, match="not empty"):
        make_reading_package(scans, tmp_path / "a", config, seed=2)
    with pytest.raises(OutputError, match="key of this name"):
        make_reading_package(scans, tmp_path / "b", config, seed=2, key=package.key)
    assert package.key.read_bytes() == before
    assert not (tmp_path / "b").exists()


def test_the_key_stays_out_of_the_package_and_the_package_out_of_the_scans(tmp_path: Path, config: Config) -> None:
    scans = _scans(tmp_path, 2)
    with pytest.raises(UsageError, match="outside the package"):
        make_reading_package(scans, tmp_path / "a", config, key=tmp_path / "a" / "key.csv")
    with pytest.raises(UsageError, match="inside a scan"):
        make_reading_package(scans, scans[0].path / "a", config)


def test_a_scan_that_cannot_be_blinded_is_left_out_with_its_reason(tmp_path: Path, config: Config) -> None:
    scans = [
        _scan(tmp_path, "good"),
        _scan(tmp_path, "burned", BurnedInAnnotation="YES"),
        _scan(tmp_path, "mixed"),
        Scan("empty", tmp_path / "empty"),
    ]
    (tmp_path / "empty").mkdir()
    other = sorted((tmp_path / "mixed").iterdir())[0]
    ds = pydicom.dcmread(other)
    ds.PatientID = "somebody else"
    ds.save_as(other)
    package = make_reading_package(scans, tmp_path / "a", config, seed=1)
    assert package.readings == {"R0001": "good"}
    assert {r.scan_id: r.code for r in package.refused} == {
        "burned": "BURNED_IN",
        "mixed": "MIXED_PATIENTS",
        "empty": "EMPTY_INPUT",
    }
    assert json.loads((package.folder / "manifest.json").read_text())["scans_left_out"] == 3
    rows = {row.cells["scan_id"]: row.cells for row in read_table(package.key, ("scan_id",)).rows}
    assert rows["burned"]["refused"] == "BURNED_IN"
    assert rows["burned"]["reading_id"] == ""
    assert len(unblind(package.folder, package.key, package.folder / "reads.csv")) == 1


def test_nothing_to_read_says_what_is_wrong_and_what_to_do(tmp_path: Path, config: Config) -> None:
    """Each reason once, the most severe first; an archive is to be unpacked."""
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    (tmp_path / "b.zip").write_bytes(b"PK\3\4")
    scans = [Scan("a", tmp_path / "a.zip"), Scan("b", tmp_path / "b.zip")]
    scans.append(_scan(tmp_path / "scans", "burned", BurnedInAnnotation="YES"))
    with pytest.raises(InputError) as stop:
        make_reading_package(scans, tmp_path / "package", config)
    assert stop.value.message.count("unpack the archive") == 1
    assert stop.value.hint == f"{CATALOGUE['EMPTY_INPUT'].hint} {CATALOGUE['BURNED_IN'].hint}"
    with pytest.raises(InputError, match="no scans were given") as stop:
        make_reading_package([], tmp_path / "package", config)
    assert stop.value.hint == CATALOGUE["NOTHING_TO_READ"].hint


def test_nothing_to_read_leaves_nothing_behind(tmp_path: Path, config: Config) -> None:
    scan = _scan(tmp_path / "scans", "burned", BurnedInAnnotation="YES")
    with pytest.raises(InputError, match="BURNED_IN") as stop:
        make_reading_package([scan], tmp_path / "a", config)
    assert stop.value.code == "NOTHING_TO_READ"
    assert stop.value.hint == CATALOGUE["BURNED_IN"].hint
    assert [p.name for p in tmp_path.iterdir()] == ["scans"]
