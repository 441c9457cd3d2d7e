"""Who and what an image is: UIDs that tell nothing, patients that differ, and what is said of each."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from scan_series import SLICES, codes_of, findings_of, series, uid, write

from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.scan import read_scan


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def _refused(folder: Path, config: Config) -> ScanRefusedError:
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    return stop.value


def test_one_uid_for_all_images_is_refused_with_its_cause(tmp_path: Path, config: Config) -> None:
    def one_uid(ds: Dataset, k: int) -> None:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(5)

    stop = _refused(write(tmp_path / "s", series(), one_uid), config)
    assert stop.code == "UID_CONFLICT"
    assert f"stands in all {SLICES} images" in stop.message
    assert "anonymising" in stop.hint


def test_two_slices_with_one_uid_among_many_good_ones_are_a_conflict(tmp_path: Path, config: Config) -> None:
    def twice(ds: Dataset, k: int) -> None:
        if k == 31:
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(1, 31)

    assert _refused(write(tmp_path / "s", series(), twice), config).code == "UID_CONFLICT"


def test_copies_of_images_without_uids_are_told_by_place_and_pixels(tmp_path: Path, config: Config) -> None:
    def no_uid(ds: Dataset, k: int) -> None:
        ds.SOPInstanceUID = ""

    folder = tmp_path / "s"
    folder.mkdir()
    for k, ds in enumerate([*series(), *series()[5:9]]):
        no_uid(ds, k)
        ds.save_as(folder / f"{k:03d}", enforce_file_format=False)
    codes = {finding.code for finding in read_scan(folder, config).findings}
    assert {"DUPLICATE_FILE", "IDENTIFIED_BY_CONTENT"} <= codes


def test_two_images_of_one_place_without_uids_stay_a_refusal(tmp_path: Path, config: Config) -> None:
    other = series(number=2)[5]
    other.PixelData = bytes(len(other.PixelData))
    folder = tmp_path / "s"
    folder.mkdir()
    for k, ds in enumerate([*series(), other]):
        ds.SOPInstanceUID, ds.SeriesInstanceUID = "", uid(800, 1)
        ds.save_as(folder / f"{k:03d}", enforce_file_format=False)
    assert "DUPLICATE_POSITION" in codes_of(_refused(folder, config))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_uid_per_slice_is_a_note_and_two_are_a_refusal(keyword: str, tmp_path: Path, config: Config) -> None:
    own = write(tmp_path / "own", series(), lambda ds, k: setattr(ds, keyword, uid(6, k)))
    assert findings_of(own, config)["IDENTIFIED_BY_CONTENT"].outcome == "note"
    read_scan(own, config)
    two = write(tmp_path / "two", series(), lambda ds, k: setattr(ds, keyword, uid(6, int(k < 30))))
    mixed = {"StudyInstanceUID": "MIXED_STUDIES", "FrameOfReferenceUID": "MIXED_FRAME_OF_REFERENCE"}
    assert _refused(two, config).code == mixed[keyword]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("together", [2, 4, 6])
def test_a_uid_for_every_few_slices_of_a_uniform_stack_is_a_note(
    together: int, keyword: str, tmp_path: Path, config: Config
) -> None:
    own = write(tmp_path / "own", series(), lambda ds, k: setattr(ds, keyword, uid(6, k // together)))
    note = findings_of(own, config)["IDENTIFIED_BY_CONTENT"]
    assert note.outcome == "note"
    assert f"{keyword} (" in note.message
    assert "new with every few slices" in note.message
    read_scan(own, config)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize(
    "whose",
    [lambda k: k % 2, lambda k: k // 21, lambda k: int(k > 57), lambda k: k // 12],
    ids=["interleaved", "thirds", "last four", "fifths"],
)
def test_uids_that_may_be_those_of_several_volumes_refuse(
    whose: Callable[[int], int], keyword: str, tmp_path: Path, config: Config
) -> None:
    """Every other slice, thirds, the last four, and fifths: each group may have come from elsewhere."""
    mixed = write(tmp_path / "s", series(), lambda ds, k: setattr(ds, keyword, uid(6, whose(k))))
    code = {"StudyInstanceUID": "MIXED_STUDIES", "FrameOfReferenceUID": "MIXED_FRAME_OF_REFERENCE"}[keyword]
    assert {code, "AMBIGUOUS_VOLUMES"} & set(codes_of(_refused(mixed, config)))


def test_two_patients_are_two_whatever_their_uids_say(tmp_path: Path, config: Config) -> None:
    def other(ds: Dataset, k: int) -> None:
        ds.StudyInstanceUID, ds.PatientID = uid(6, k // 2), f"ZZPHIZZ{k % 2}"

    assert "MIXED_PATIENTS" in codes_of(_refused(write(tmp_path / "s", series(), other), config))


def test_a_birth_date_with_dashes_is_the_same_birth_date(tmp_path: Path, config: Config) -> None:
    """Raw text, since pydicom would not write it: one system of a hospital writes dashes, another does not."""

    folder = write(tmp_path / "s", series())
    path = folder / "I0007"
    data = path.read_bytes()
    assert data.count(b"DA\x08\x0019600101") == 1
    path.write_bytes(data.replace(b"DA\x08\x0019600101", b"DA\x0a\x001960-01-01"))
    read_scan(folder, config)


def test_issuer_that_only_some_images_name_is_no_other_patient(tmp_path: Path, config: Config) -> None:
    def issuer(ds: Dataset, k: int) -> None:
        if k % 2:
            ds.IssuerOfPatientID = "WARD"

    read_scan(write(tmp_path / "s", series(), issuer), config)


def test_identity_of_a_short_series_beside_the_volume_is_not_judged(tmp_path: Path, config: Config) -> None:
    """A bolus-tracking series lacks the birth date: it is not what is measured."""
    folder = write(tmp_path / "s", series())
    short = series(number=3)[:5]
    for ds in short:
        ds.PatientBirthDate = ""
    write(folder, short, prefix="T")
    read_scan(folder, config)


def test_decimal_commas_are_named(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series())
    for path in folder.iterdir():
        data = path.read_bytes()
        assert data.count(b"0.9\\0.8 ") == 1
        path.write_bytes(data.replace(b"0.9\\0.8 ", b"0,9\\0,8 "))
    stop = _refused(folder, config)
    assert stop.code == "NO_PIXEL_SPACING"
    assert "decimal comma" in stop.message
    assert "missing" not in stop.message
    assert "decimal points" in stop.hint


def test_a_modality_lut_is_named(tmp_path: Path, config: Config) -> None:
    def lut(ds: Dataset, k: int) -> None:
        item = Dataset()
        item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [4096, 0, 16], "HU", bytes(8192)
        ds.ModalityLUTSequence = [item]
        del ds.RescaleSlope, ds.RescaleIntercept

    stop = _refused(write(tmp_path / "s", series(), lut), config)
    assert (stop.code, "Modality LUT" in stop.message) == ("NO_RESCALE", True)


def test_a_mono_energetic_image_names_the_reconstruction_to_ask_for(tmp_path: Path, config: Config) -> None:
    def naeotom(ds: Dataset, k: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM10 DET3D", "VMI", "ME70KEV"]

    stop = _refused(write(tmp_path / "s", series(), naeotom), config)
    assert stop.code == "NOT_CT_NUMBERS"
    assert "keV" in stop.hint
    assert "T3D" in stop.hint


@pytest.mark.parametrize(
    ("age", "birth", "says"),
    [
        ("000Y", "19600101", {"OUT_OF_INTENDED_POPULATION": False, "AGE_UNKNOWN": False}),
        ("000Y", "20260102", {"OUT_OF_INTENDED_POPULATION": False, "AGE_UNKNOWN": True}),
        ("", "20260102", {"OUT_OF_INTENDED_POPULATION": False, "AGE_UNKNOWN": True}),
        ("", "19000101", {"OUT_OF_INTENDED_POPULATION": False, "AGE_UNKNOWN": True}),
        ("060", "", {"OUT_OF_INTENDED_POPULATION": False, "AGE_UNKNOWN": False}),
        ("006M", "", {"OUT_OF_INTENDED_POPULATION": True, "AGE_UNKNOWN": False}),
        ("017Y", "", {"OUT_OF_INTENDED_POPULATION": True, "AGE_UNKNOWN": False}),
        ("", "20200101", {"OUT_OF_INTENDED_POPULATION": True, "AGE_UNKNOWN": False}),
    ],
)
def test_age(age: str, birth: str, says: dict[str, bool], tmp_path: Path, config: Config) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for k, ds in enumerate(series()):
        del ds.PatientAge
        ds.PatientBirthDate = birth
        if age:
            ds.add_new("PatientAge", "LO", age)
        ds.save_as(folder / f"{k:03d}", enforce_file_format=True)
    codes = findings_of(folder, config)
    assert {code: code in codes for code in says} == says
