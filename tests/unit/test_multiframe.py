"""Enhanced and Legacy Converted CT: the numbers of the classic series, and every check per frame."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from multiframe_ct import each_frame, enhanced, legacy_converted, save
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless, generate_uid
from scan_series import SLICES, series, write

from volumetry.config import Config, load_config
from volumetry.domain import CtScan, ScanRefusedError
from volumetry.scan import inspect_folder, read_scan

Bend = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory, config: Config) -> CtScan:
    """The oracle: the same images as a classic series."""
    return read_scan(write(tmp_path_factory.mktemp("classic") / "s", series()), config)


def _folder(tmp_path: Path, *objects: Dataset) -> Path:
    folder = tmp_path / "scan"
    folder.mkdir()
    for n, ds in enumerate(objects):
        save(ds, folder / f"{n}.dcm")
    return folder


def _same(scan: CtScan, classic: CtScan) -> None:
    assert np.array_equal(scan.hu_kji, classic.hu_kji)
    assert scan.grid == classic.grid
    assert scan.pixels_sha256 == classic.pixels_sha256


def test_a_legacy_converted_object_is_the_classic_series(tmp_path: Path, config: Config, classic: CtScan) -> None:
    (tmp_path / "scan").mkdir()
    legacy_converted(series(), tmp_path / "scan" / "0.dcm")
    scan = read_scan(tmp_path / "scan", config)
    _same(scan, classic)
    assert scan.series.kernel == classic.series.kernel
    assert scan.series.kvp == classic.series.kvp


@pytest.mark.parametrize("compress", [False, True], ids=["native", "JPEG 2000 in two fragments a frame"])
def test_an_enhanced_object_is_the_classic_series(
    compress: bool, tmp_path: Path, config: Config, classic: CtScan
) -> None:
    scan = read_scan(_folder(tmp_path, enhanced(series(), compress=compress)), config)
    _same(scan, classic)
    assert (scan.series.kernel, scan.series.kvp, scan.series.thickness_mm) == ("B50f", 120.0, 2.5)


def test_frames_are_ordered_by_position(tmp_path: Path, config: Config, classic: CtScan) -> None:
    shuffled = np.random.default_rng(7).permutation(SLICES)
    images = series()
    _same(read_scan(_folder(tmp_path, enhanced([images[n] for n in shuffled])), config), classic)


def test_rescale_is_taken_from_each_frame(tmp_path: Path, config: Config, classic: CtScan) -> None:
    """HU = stored x slope + intercept: stored numbers raised by 24 in every second frame, intercepts lowered."""

    def raise_stored(ds: Dataset) -> None:
        shared = ds.SharedFunctionalGroupsSequence[0]
        rescale = shared.PixelValueTransformationSequence
        del shared.PixelValueTransformationSequence
        stored = np.frombuffer(ds.PixelData, "<i2" if ds.PixelRepresentation else "<u2").copy()
        planes = stored.reshape(SLICES, -1)
        planes[::2] += 24
        ds.PixelData = planes.tobytes()

        def own_rescale(groups: Dataset, n: int) -> None:
            item = Dataset()
            item.RescaleSlope, item.RescaleType = rescale[0].RescaleSlope, "HU"
            item.RescaleIntercept = float(rescale[0].RescaleIntercept) - (24 if n % 2 == 0 else 0)
            groups.PixelValueTransformationSequence = [item]

        each_frame(ds, own_rescale)

    ds = enhanced(series())
    raise_stored(ds)
    scan = read_scan(_folder(tmp_path, ds), config)
    assert np.array_equal(scan.hu_kji, classic.hu_kji)
    assert "VARYING_RESCALE" in {finding.code for finding in scan.findings}


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path: Path, config: Config, classic: CtScan) -> None:
    parts = _concatenation(3)
    _same(read_scan(_folder(tmp_path, *parts), config), classic)


def test_a_lost_part_of_a_concatenation_refuses(tmp_path: Path, config: Config) -> None:
    """The last part lay at an end of the lungs: nothing but the stated total tells that it is gone."""
    assert _code(_folder(tmp_path, *_concatenation(3)[:2]), config) == "MANIFEST_MISMATCH"


def _concatenation(count: int) -> list[Dataset]:
    images, whole, series_uid = series(), generate_uid(), generate_uid()
    parts = []
    for number, first in enumerate(range(0, SLICES, -(-SLICES // count)), 1):
        part = enhanced(images[first : first + -(-SLICES // count)])
        part.SeriesInstanceUID = series_uid
        part.ConcatenationUID, part.InConcatenationNumber = whole, number
        part.InConcatenationTotalNumber, part.ConcatenationFrameOffsetNumber = count, first
        parts.append(part)
    return parts


def test_two_stacks_of_one_object_are_two_volumes(tmp_path: Path, config: Config) -> None:
    ds = enhanced([*series(), *series()])

    def stack(groups: Dataset, n: int) -> None:
        groups.FrameContentSequence[0].StackID = "1" if n < SLICES else "2"

    each_frame(ds, stack)
    seen = inspect_folder(_folder(tmp_path, ds), config)
    assert seen.verdict == "AMBIGUOUS_VOLUMES"
    assert [stack.slice_count for stack in seen.stacks] == [SLICES, SLICES]


def test_phases_are_told_by_the_temporal_index(tmp_path: Path, config: Config) -> None:
    ds = enhanced([*series(), *series()])

    def phase(groups: Dataset, n: int) -> None:
        groups.FrameContentSequence[0].TemporalPositionIndex = 1 + n // SLICES

    each_frame(ds, phase)
    assert inspect_folder(_folder(tmp_path, ds), config).verdict == "AMBIGUOUS_VOLUMES"


def _drop_frame_positions(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[5].PlanePositionSequence


def _drop_pixel_measures(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def _drop_rescale(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence


def _drop_groups(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence


def _one_group_less(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[-1]


def _one_frame_less(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[: -ds.Rows * ds.Columns * 2]


def _one_frame_is_a_projection(ds: Dataset) -> None:
    item = Dataset()
    item.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    ds.PerFrameFunctionalGroupsSequence[7].CTImageFrameTypeSequence = [item]


def _all_are_projections(ds: Dataset) -> None:
    ds.VolumeBasedCalculationTechnique = "MAX_IP"


def _frame_put_elsewhere(ds: Dataset) -> None:
    item = ds.PerFrameFunctionalGroupsSequence[9].PlanePositionSequence[0]
    x, y, z = item.ImagePositionPatient
    item.ImagePositionPatient = [x, y, z + 400]


def _lose_a_frame_inside(ds: Dataset) -> None:
    frame = ds.Rows * ds.Columns * 2
    del ds.PerFrameFunctionalGroupsSequence[20]
    ds.PixelData = ds.PixelData[: 20 * frame] + ds.PixelData[21 * frame :]
    ds.NumberOfFrames = SLICES - 1


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (_drop_frame_positions, "BAD_POSITIONS"),
        (_drop_pixel_measures, "NO_PIXEL_SPACING"),
        (_drop_rescale, "NO_RESCALE"),
        (_drop_groups, "ENHANCED_MULTIFRAME"),
        (_one_group_less, "MALFORMED"),
        (_one_frame_less, "PIXEL_LENGTH"),
        (_one_frame_is_a_projection, "NOT_CT_NUMBERS"),
        (_all_are_projections, "NOT_CT_NUMBERS"),
        (_frame_put_elsewhere, "BAD_POSITIONS"),
        (_lose_a_frame_inside, "MISSING_SLICES"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_a_fault_of_one_frame_refuses_as_in_a_classic_series(
    bend: Bend, code: str, tmp_path: Path, config: Config
) -> None:
    ds = enhanced(series())
    bend(ds)
    assert _code(_folder(tmp_path, ds), config) == code


def _code(folder: Path, config: Config) -> str:
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    return stop.value.code


def test_a_localizer_object_beside_a_classic_series_is_passed_over(
    tmp_path: Path, config: Config, classic: CtScan
) -> None:
    folder = write(tmp_path / "scan", series())
    scout = enhanced(series()[:1])
    for groups in (scout.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0],):
        groups.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    save(scout, folder / "scout.dcm")
    scan = read_scan(folder, config)
    _same(scan, classic)
    assert "LOCALIZER_DROPPED" in {finding.code for finding in scan.findings}


def test_a_concatenation_that_states_no_total_says_how_to_see_that_its_end_is_lost(
    tmp_path: Path, config: Config
) -> None:
    parts = _concatenation(31)
    for part in parts:
        del part.InConcatenationTotalNumber
    scan = read_scan(_folder(tmp_path, *parts[:30]), config)
    (note,) = [f for f in scan.findings if f.code == "INCOMPLETE_INSTANCE_NUMBERS"]
    assert "30 parts" in note.message
    assert "InConcatenationTotalNumber (0020,9163) does not say how many there were" in note.message
    assert f"image 60, z {-80.0 + 2.5 * 59:.1f} mm" in note.message


@pytest.mark.parametrize("table", [True, False])
def test_rle_frames_in_several_fragments_are_put_together(
    table: bool, tmp_path: Path, config: Config, classic: CtScan
) -> None:
    ds = enhanced(series())
    ds.compress(RLELossless, generate_instance_uid=False)
    frames = list(generate_frames(ds.PixelData, number_of_frames=SLICES))
    ds.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=table)
    scan = read_scan(_folder(tmp_path, ds), config)
    assert np.array_equal(scan.hu_kji, classic.hu_kji)
