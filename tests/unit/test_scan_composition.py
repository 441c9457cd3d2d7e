"""Which images become one stack, and which of several stacks is measured."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage
from scan_series import SLICES, SPACING_KJI_MM, codes_of, findings_of, series, uid, write

from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.scan import inspect_folder, read_scan
from volumetry.scan.inspection import MEASURABLE

STEP = SPACING_KJI_MM[0]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def _raised(ds: Dataset, mm: float) -> None:
    x, y, z = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x, y, z + mm]


def _interleaved(folder: Path, tell: str) -> Path:
    """A second acquisition half a step above the first, in the same series; `tell` is what differs."""
    second = series(number=2)
    for k, ds in enumerate(second):
        _raised(ds, STEP / 2)
        ds.SeriesInstanceUID = uid(800, 1)
        if tell == "AcquisitionNumber":
            ds.AcquisitionNumber = 2
        elif tell == "InstanceNumber runs on":
            ds.InstanceNumber = SLICES + k + 1
        elif tell == "AcquisitionTime":
            ds.InstanceNumber, ds.AcquisitionTime = None, f"1300{k / 4:05.2f}"
    first = series()
    if tell == "AcquisitionTime":
        for ds in first:
            ds.InstanceNumber = None
    return write(folder, [*first, *second])


@pytest.mark.parametrize(
    "tell", ["AcquisitionNumber", "InstanceNumber runs on", "InstanceNumber repeats", "AcquisitionTime"]
)
def test_interleaved_acquisitions_are_refused(tell: str, tmp_path: Path, config: Config) -> None:
    """The fault that every common reader stacks without a word: the spacing is perfectly even."""
    assert inspect_folder(_interleaved(tmp_path / "s", tell), config).verdict == "AMBIGUOUS_VOLUMES"


def test_two_series_are_ambiguous_and_both_are_listed(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series())
    write(folder, series(number=2), prefix="J")
    seen = inspect_folder(folder, config)
    assert seen.verdict == "AMBIGUOUS_VOLUMES"
    assert [stack.verdict for stack in seen.stacks] == [MEASURABLE, MEASURABLE]
    with pytest.raises(ScanRefusedError, match="2 stacks") as stop:
        read_scan(folder, config)
    assert codes_of(stop.value) == ["AMBIGUOUS_VOLUMES"]


def test_rule_picks_the_thinner_or_the_wanted_kernel(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series())
    second = series(number=2)[::2]  # every second slice: 5 mm
    for k, ds in enumerate(second):
        ds.ConvolutionKernel, ds.InstanceNumber, ds.SliceThickness = "B80f", k + 1, 5.0
    write(folder, second, prefix="J")
    for rule, count in (("thinnest", SLICES), ("kernel", SLICES // 2)):
        settings = load_config(overrides={"select": {"rule": rule, "kernel_preference": ["Q", "B80f", "B50f"]}})
        seen = inspect_folder(folder, settings)
        assert seen.verdict == MEASURABLE
        assert [stack.slice_count for stack in seen.stacks if stack.chosen] == [count]
        assert "SERIES_SELECTED" in {f.code for f in seen.findings}


def test_rule_that_cannot_tell_two_apart_refuses(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series())
    write(folder, series(number=2), prefix="J")
    settings = load_config(overrides={"select": {"rule": "thinnest"}})
    assert inspect_folder(folder, settings).verdict == "AMBIGUOUS_VOLUMES"


def test_good_and_broken_volume_are_not_chosen_between(tmp_path: Path, config: Config) -> None:
    broken = series(number=2)
    del broken[20]
    folder = write(tmp_path / "s", series())
    write(folder, broken, prefix="J")
    assert inspect_folder(folder, config).verdict == "AMBIGUOUS_VOLUMES"


def test_short_series_beside_a_volume_is_passed_over(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series())
    write(folder, series(number=2)[:5], prefix="J")
    found = findings_of(folder, config)
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert found["OTHER_SERIES_IGNORED"].outcome == "note"


def test_part_split_off_the_same_series_is_never_left_out(tmp_path: Path, config: Config) -> None:
    """A stack that lost its upper end to another kernel would be a short lung with a note."""

    def edit(ds: Dataset, k: int) -> None:
        if k >= SLICES - 5:
            ds.ConvolutionKernel = "B80f"

    assert inspect_folder(write(tmp_path / "s", series(), edit), config).verdict == "AMBIGUOUS_VOLUMES"


def test_scouts_are_dropped_by_type_or_by_plane(tmp_path: Path, config: Config) -> None:
    scouts = series(number=1)[:2]
    scouts[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scouts[1].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    for k, ds in enumerate(scouts):
        ds.SOPInstanceUID = uid(3, k + 1)
    folder = write(tmp_path / "s", series())
    write(folder, scouts, prefix="J")
    found = findings_of(folder, config)
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert found["LOCALIZER_DROPPED"].value == 2


def test_reformats_of_two_planes_in_one_series_are_refused(tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        if k % 2:
            ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    assert inspect_folder(write(tmp_path / "s", series(), edit), config).verdict == "MIXED_ORIENTATION"


def test_objects_that_are_no_ct_are_dropped_by_class(tmp_path: Path, config: Config) -> None:
    other = series(number=2)[0]
    other.SOPClassUID, other.PatientID = SecondaryCaptureImageStorage, "another"
    folder = write(tmp_path / "s", series())
    write(folder, [other], prefix="J")
    found = findings_of(folder, config)
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert "1 x Secondary Capture Image Storage" in found["NON_CT_OBJECT_DROPPED"].message


@pytest.mark.parametrize(
    ("sop_class", "code"),
    [(EnhancedCTImageStorage, "ENHANCED_MULTIFRAME"), (SecondaryCaptureImageStorage, "NOT_CT")],
)
def test_folder_without_classic_ct_says_why(sop_class: str, code: str, tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.SOPClassUID = sop_class

    assert inspect_folder(write(tmp_path / "s", series()[:3], edit), config).verdict == code


def test_exact_copies_are_dropped_and_conflicts_refused(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series())
    write(folder, series()[:3], prefix="copy")
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert findings_of(folder, config)["DUPLICATE_FILE"].value == 3
    (other,) = series()[30:31]
    pixels = bytearray(other.PixelData)
    pixels[100] ^= 1
    other.PixelData = bytes(pixels)
    write(folder, [other], prefix="bit")
    assert inspect_folder(folder, config).verdict == "UID_CONFLICT"


def test_copy_in_another_compression_is_still_a_copy(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path / "s", series())
    (copy,) = series()[30:31]
    copy.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)
    write(folder, [copy], prefix="copy")
    assert findings_of(folder, config)["DUPLICATE_FILE"].value == 1


def test_same_place_under_another_uid_is_refused(tmp_path: Path, config: Config) -> None:
    (twin,) = series()[30:31]
    twin.SOPInstanceUID = uid(4)
    folder = write(tmp_path / "s", series())
    write(folder, [twin], prefix="J")
    assert inspect_folder(folder, config).verdict == "DUPLICATE_POSITION"


def test_kernel_preference_takes_the_first_value_of_a_kernel_with_strength(tmp_path: Path) -> None:
    """Siemens writes the strength of iterative reconstruction as a second value."""
    sharp = load_config(overrides={"select": {"rule": "kernel", "kernel_preference": ["Br59d"]}})
    for number, kernel in ((1, "Br40d"), (2, "Br59d")):
        write(
            tmp_path / "s",
            series(number=number),
            lambda ds, k, kernel=kernel: setattr(ds, "ConvolutionKernel", [kernel, "3"]),
            prefix=f"N{number}",
        )
    seen = inspect_folder(tmp_path / "s", sharp)
    assert seen.verdict == MEASURABLE
    chosen = next(stack for stack in seen.stacks if stack.chosen)
    assert chosen.series is not None
    assert chosen.series.kernel == "Br59d\\3"
