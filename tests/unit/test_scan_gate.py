"""One header changed at a time: the code it earns, the code of the verdict, and what stays legal."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from scan_series import COLUMNS, ROWS, SLICES, SPACING_KJI_MM, Edit, chest_hu, findings_of, series, uid, write

from volumetry.config import Config, load_config
from volumetry.scan import inspect_folder, read_scan
from volumetry.scan.inspection import MEASURABLE


def every(**values: object) -> Edit:
    def edit(ds: Dataset, k: int) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit


def without(*keywords: str, only: int | None = None) -> Edit:
    def edit(ds: Dataset, k: int) -> None:
        for keyword in keywords:
            if only is None or k == only:
                delattr(ds, keyword)

    return edit


def one(k_wanted: int = 30, **values: object) -> Edit:
    def edit(ds: Dataset, k: int) -> None:
        if k == k_wanted:
            every(**values)(ds, k)

    return edit


def upper(**values: object) -> Edit:
    def edit(ds: Dataset, k: int) -> None:
        if k >= SLICES // 2:
            every(**values)(ds, k)

    return edit


def moved(shift: Callable[[int], tuple[float, float, float]]) -> Edit:
    def edit(ds: Dataset, k: int) -> None:
        position = np.array(ds.ImagePositionPatient, float) + np.array(shift(k))
        ds.ImagePositionPatient = [f"{x:.10g}" for x in position]

    return edit


def tilt(degrees: float) -> Edit:
    return moved(lambda k: (0, SPACING_KJI_MM[0] * k * float(np.tan(np.radians(degrees))), 0))


def retired_jpeg(ds: Dataset, k: int) -> None:
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.53"
    ds.PixelData = encapsulate([bytes(100)])
    ds["PixelData"].VR = "OB"


REFUSED = {
    "NO_PIXEL_SPACING": without("PixelSpacing"),
    "MIXED_PIXEL_SPACING": one(PixelSpacing=[0.9, 0.81]),
    "MIXED_FRAME_OF_REFERENCE": one(FrameOfReferenceUID=uid(5)),
    "BAD_ORIENTATION": one(ImageOrientationPatient=[1, 0, 0, 0, 0.9, 0.4359]),
    "BAD_POSITIONS": without("ImagePositionPatient", only=4),
    "NONUNIFORM_SPACING": moved(lambda k: (0, 0, 2.0 * max(0, k - 30))),
    "SAMPLED_HRCT": every(SliceThickness=0.6),
    "NO_RESCALE": without("RescaleSlope", only=9),
    "NOT_CT_NUMBERS": every(RescaleType="Z_EFF"),
    "NOT_CT": every(Modality="MR"),
    "MIXED_PATIENTS": one(PatientID="ZZPHIZZ2"),
    "MIXED_STUDIES": one(StudyDate="20260103"),
    "AMBIGUOUS_VOLUMES": upper(ConvolutionKernel="B80f"),
    "PIXEL_LENGTH": one(PixelData=bytes(2 * ROWS * COLUMNS - 2)),
    "LIMIT_EXCEEDED": one(Rows=2049),
    "UNSUPPORTED_TRANSFER_SYNTAX": retired_jpeg,
    "NO_PIXEL_DATA": without("PixelData", only=3),
    "HU_IMPLAUSIBLE": every(BitsStored=8, HighBit=7),
}

FLAGGED = {
    "POSITION_JITTER": moved(lambda k: (0, 0, 0.05 * (-1) ** k)),
    "GANTRY_TILT": tilt(12.0),
    "SLICE_GAP": every(SliceThickness=1.25),
    "SLICE_OVERLAP": every(SliceThickness=5.5),
    "THICK_SLICES": every(SliceThickness=3.0),
    "SPACING_TAG_CONFLICT": every(SpacingBetweenSlices=-2.5),
    "DERIVED_IMAGE": every(ImageType=["DERIVED", "PRIMARY", "AXIAL"]),
    "PRONE": every(PatientPosition="HFP", ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]),
    "POSITION_CONFLICT": every(PatientPosition="HFP"),
    "PIXEL_SPACING_RANGE": every(PixelSpacing=[1.3, 1.3]),
    "LARGE_FOV": every(PixelSpacing=[1.1, 1.1]),
    "VARYING_RESCALE": one(RescaleIntercept=-1023),
    "LOSSY": every(LossyImageCompression="01"),
    "CONTRAST": every(ContrastBolusAgent="yes"),
    "BURNED_IN": every(BurnedInAnnotation="YES"),
    "NONSTANDARD_PREAMBLE": lambda ds, k: setattr(ds, "preamble", b"MZ" + bytes(126)),
    "INCOMPLETE_INSTANCE_NUMBERS": lambda ds, k: setattr(ds, "InstanceNumber", 2 * k + 1),
    "OUT_OF_INTENDED_POPULATION": every(PatientAge="011Y"),
}

CANNOT_MOVE_THE_NUMBER = {
    "POSITION_JITTER",
    "SLICE_OVERLAP",
    "SPACING_TAG_CONFLICT",
    "DERIVED_IMAGE",
    "PIXEL_SPACING_RANGE",
    "LARGE_FOV",
    "VARYING_RESCALE",
    "CONTRAST",
    "THICK_SLICES",  # of 3 mm
    "BURNED_IN",
    "NONSTANDARD_PREAMBLE",
}
"""Under the default profile a note: the reasons stand in volumetry/codes.py."""

LEGAL: dict[str, Edit] = {
    "no optional tags": without(
        "ConvolutionKernel", "KVP", "Manufacturer", "SliceThickness", "PatientPosition", "StudyDate", "RescaleType"
    ),
    "no frame of reference": without("FrameOfReferenceUID"),
    "jitter of 0.01 mm": moved(lambda k: (0, 0, 0.01 * (-1) ** k)),
    "orientation rounded": every(ImageOrientationPatient=[0.9999, 0.0001, 0, 0, 1, 0.0001]),
    "own acquisition number each": lambda ds, k: setattr(ds, "AcquisitionNumber", k + 1),
    "consecutive acquisitions": upper(AcquisitionNumber=2),
    "spaces and exponents": every(SliceThickness=" 2.5E0 ", PixelSpacing=[" 9.0e-1", "8.0E-1 "]),
    "numbered from 0": lambda ds, k: setattr(ds, "InstanceNumber", k),
    "numbered from the head": lambda ds, k: setattr(ds, "InstanceNumber", SLICES - k),
    "feet first": every(PatientPosition="FFS"),
    "kernel absent in one": without("ConvolutionKernel", only=8),
}


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.mark.parametrize("code", REFUSED)
def test_change_is_refused_with_its_code(code: str, tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), REFUSED[code])
    seen = inspect_folder(folder, config)
    assert seen.verdict == code, [f.message for stack in seen.stacks for f in stack.findings]


@pytest.mark.parametrize("code", FLAGGED)
def test_change_is_told_and_still_measurable(code: str, tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), FLAGGED[code])
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert findings_of(folder, config)[code].outcome == ("note" if code in CANNOT_MOVE_THE_NUMBER else "flag")


@pytest.mark.parametrize("code", sorted(CANNOT_MOVE_THE_NUMBER))
def test_what_only_makes_scans_unlike_is_flagged_in_a_trial(code: str, tmp_path: Path) -> None:
    trial = load_config(overrides={"profile": "trial"})
    folder = write(tmp_path / "s", series(), FLAGGED[code])
    assert findings_of(folder, trial)[code].outcome == "flag"


def test_numbers_lost_at_an_end_are_a_note_and_refused_in_a_trial(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), lambda ds, k: setattr(ds, "InstanceNumber", k + 5))
    assert findings_of(folder, config)["INCOMPLETE_INSTANCE_NUMBERS"].outcome == "note"
    trial = load_config(overrides={"profile": "trial"})
    assert findings_of(folder, trial)["INCOMPLETE_INSTANCE_NUMBERS"].outcome == "refuse"


@pytest.mark.parametrize("name", LEGAL)
def test_legal_series_has_nothing_to_say_but_repairs(name: str, tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), LEGAL[name])
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert {f.outcome for f in findings_of(folder, config).values()} <= {"repair", "note"}


def test_clean_series_has_nothing_to_say(tmp_path: Path, config: Config) -> None:
    seen = inspect_folder(write(tmp_path / "s", series()), config)
    (stack,) = seen.stacks
    assert (seen.verdict, seen.findings, stack.findings) == (MEASURABLE, (), ())
    assert stack.grid is not None
    assert stack.grid.spacing_kji_mm == SPACING_KJI_MM
    assert stack.coverage_mm == pytest.approx(SLICES * SPACING_KJI_MM[0])


def test_all_codes_are_listed_the_most_severe_first(tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        every(RescaleType="MGML", ContrastBolusAgent="x", SliceThickness=0.6)(ds, k)

    (stack,) = inspect_folder(write(tmp_path / "s", series(), edit), config).stacks
    assert [f.code for f in stack.findings] == ["SAMPLED_HRCT", "NOT_CT_NUMBERS", "CONTRAST"]


def test_trial_profile_refuses_what_the_default_flags(tmp_path: Path) -> None:
    trial = load_config(overrides={"profile": "trial"})
    assert inspect_folder(write(tmp_path / "tilt", series(), tilt(12.0)), trial).verdict == "GANTRY_TILT"
    thick = write(tmp_path / "thick", series(), every(SliceThickness=3.0))
    assert inspect_folder(thick, trial).verdict == MEASURABLE  # refused from 5 mm on, flagged from 2.5 mm
    assert findings_of(thick, trial)["THICK_SLICES"].outcome == "flag"


def test_tilted_voxel_is_slice_area_times_normal_distance(tmp_path: Path, config: Config) -> None:
    """Shear keeps a voxel's volume: dx * dy * distance along the normal, whatever the length of the step."""
    (stack,) = inspect_folder(write(tmp_path / "s", series(), tilt(15.0)), config).stacks
    assert stack.grid is not None
    assert stack.series is not None
    assert stack.grid.voxel_ml == pytest.approx(np.prod(SPACING_KJI_MM) / 1000, rel=1e-9)
    assert stack.series.tilt_deg == pytest.approx(15.0, abs=1e-3)
    assert stack.grid.spacing_kji_mm[0] == pytest.approx(SPACING_KJI_MM[0] / np.cos(np.radians(15)), rel=1e-6)


@pytest.mark.parametrize("k", [1, 2, 17, SLICES - 2])
def test_lost_slice_is_missed(k: int, tmp_path: Path, config: Config) -> None:
    slices = series()
    del slices[k]
    folder = write(tmp_path / "s", slices)
    assert inspect_folder(folder, config).verdict == "MISSING_SLICES"
    message = findings_of(folder, config)["MISSING_SLICES"].message
    assert f"5.00 mm after slice {k - 1}" in message


def test_slice_far_off_is_a_wrong_position(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), moved(lambda k: (0, 0, 400.0 if k == 20 else 0.0)))
    assert inspect_folder(folder, config).verdict == "BAD_POSITIONS"


def test_slice_shifted_in_plane_is_a_wrong_position(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), moved(lambda k: (8.0 if k == 20 else 0.0, 0, 0)))
    assert inspect_folder(folder, config).verdict == "BAD_POSITIONS"


def test_oblique_stack_is_not_tilted(tmp_path: Path, config: Config) -> None:
    angle = np.radians(8.0)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])

    def edit(ds: Dataset, k: int) -> None:
        ds.ImageOrientationPatient = [f"{x:.10g}" for x in (*row, *column)]
        ds.ImagePositionPatient = [f"{x:.10g}" for x in np.cross(row, column) * SPACING_KJI_MM[0] * k]

    found = findings_of(write(tmp_path / "s", series(), edit), config)
    assert "GANTRY_TILT" not in found
    assert found["OBLIQUE"].value == pytest.approx(8.0, abs=1e-6)


def test_message_shows_no_identity(tmp_path: Path, config: Config) -> None:
    """The canary of every text element of the series stays out of every message."""

    def edit(ds: Dataset, k: int) -> None:
        ds.PatientID = "ZZPHIZZ" + str(k % 2)
        ds.ConvolutionKernel, ds.ImageComments, ds.RescaleSlope = f"ZZPHIZZ{k % 3}", "ZZPHIZZ", 0

    found = findings_of(write(tmp_path / "ZZPHIZZ", series(), edit), config)
    assert {"MIXED_PATIENTS", "NO_RESCALE", "AMBIGUOUS_VOLUMES"} <= set(found)
    assert not any("ZZPHIZZ" in f"{f.message}{f.value}" for f in found.values())


def _half_size(ds: Dataset, k: int) -> None:
    """Every second pixel, and the old PixelSpacing: ReconstructionDiameter still tells the field."""
    ds.ReconstructionDiameter = 2 * max(ds.Rows * ds.PixelSpacing[0], ds.Columns * ds.PixelSpacing[1])


def test_pixels_that_do_not_fill_the_reconstructed_field_are_flagged(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series(), _half_size)
    assert findings_of(folder, config)["PIXEL_SPACING_CONFLICT"].outcome == "flag"
    trial = load_config(overrides={"profile": "trial"})
    assert inspect_folder(folder, trial).verdict == "PIXEL_SPACING_CONFLICT"

    def whole(ds: Dataset, k: int) -> None:
        ds.ReconstructionDiameter = max(ds.Rows * ds.PixelSpacing[0], ds.Columns * ds.PixelSpacing[1])

    assert "PIXEL_SPACING_CONFLICT" not in findings_of(write(tmp_path / "w", series(), whole), config)


@pytest.mark.parametrize(("pixel_mm", "outcome"), [(0.8, None), (1.3, "note"), (1.9, "flag"), (30.0, "refuse")])
def test_pixel_size_by_how_likely_it_is(
    pixel_mm: float, outcome: str | None, tmp_path: Path, config: Config
) -> None:
    folder = write(tmp_path / "s", series(), every(PixelSpacing=[pixel_mm, pixel_mm]))
    found = findings_of(folder, config).get("PIXEL_SPACING_RANGE")
    assert (found.outcome if found else None) == outcome


@pytest.mark.parametrize(("size", "value"), [(64, 0), (2 * COLUMNS, 0), (5000, 32), (2 * ROWS * COLUMNS, 255)])
def test_bytes_of_one_value_behind_the_pixels_are_filling(
    size: int, value: int, tmp_path: Path, config: Config
) -> None:
    def fill(ds: Dataset, k: int) -> None:
        ds.PixelData += bytes([value]) * size

    scan = read_scan(write(tmp_path / "filled", series(), fill), config)
    assert np.array_equal(scan.hu_kji, chest_hu())
    assert ("FILLING_IGNORED" in {f.code for f in scan.findings}) == (size >= 2 * COLUMNS)


def test_other_bytes_from_a_row_on_may_be_rows_that_the_header_leaves_out(tmp_path: Path, config: Config) -> None:
    short = write(tmp_path / "s", series(), lambda ds, k: setattr(ds, "Rows", ROWS - 1))
    assert inspect_folder(short, config).verdict == "PIXEL_LENGTH"
