"""Damages of geometry."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from damage.edits import (
    Apply,
    Rng,
    Slice,
    add_copies,
    every,
    everything,
    inner,
    move_mm,
    normal_of,
    on,
    one,
    remove,
    save,
    sharper,
    slices,
)
from damage.kinds import Damage, flags, refuses


def rows() -> list[Damage]:
    """Every damage of this kind."""
    return [*_geometry(), *_flags()]


def _geometry() -> list[Damage]:
    return [
        refuses(
            "slice_missing", "MISSING_SLICES", "one slice absent", remove(lambda found, rng: _some(found, rng, 1))
        ),
        refuses(
            "five_slices_missing",
            "MISSING_SLICES",
            "five slices absent, apart from each other",
            remove(lambda found, rng: _some(found, rng, 5)),
        ),
        refuses("run_of_slices_missing", "MISSING_SLICES", "five slices absent in a row", remove(_run)),
        refuses(
            "slice_missing_renumbered", "MISSING_SLICES", "one slice absent, the others renumbered", _renumbered
        ),
        refuses(
            "spacing_changes",
            "NONUNIFORM_SPACING",
            "2.5 mm below, 5 mm above",
            remove(lambda found, rng: found[len(found) // 2 :: 2]),
        ),
        refuses(
            "spacing_ragged",
            "NONUNIFORM_SPACING",
            "positions scattered by half a millimetre",
            every(lambda ds, rng: move_mm(ds, normal_of(ds) * rng.uniform(-0.6, 0.6))),
        ),
        refuses(
            "same_position_twice",
            "DUPLICATE_POSITION",
            "one slice again under a new UID",
            add_copies(lambda found, rng: _some(found, rng, 1)),
        ),
        refuses(
            "same_position_other_pixels",
            "DUPLICATE_POSITION",
            "another image at one slice's position",
            add_copies(lambda found, rng: _some(found, rng, 1), sharper),
        ),
        refuses("no_positions", "BAD_POSITIONS", "no slice has a position", every(ImagePositionPatient=None)),
        refuses(
            "one_position_missing", "BAD_POSITIONS", "one slice has no position", one(ImagePositionPatient=None)
        ),
        refuses(
            "constant_position",
            "BAD_POSITIONS",
            "all slices at one position",
            every(ImagePositionPatient=["-30", "-30", "0"]),
        ),
        refuses(
            "slice_far_off",
            "BAD_POSITIONS",
            "one slice 400 mm off along the body",
            one(lambda ds, rng: move_mm(ds, 400 * normal_of(ds))),
        ),
        refuses(
            "slice_off_in_plane",
            "BAD_POSITIONS",
            "one slice 30 mm to the side",
            one(lambda ds, rng: move_mm(ds, (30.0, 0.0, 0.0))),
        ),
        refuses(
            "no_orientation", "BAD_ORIENTATION", "no slice has an orientation", every(ImageOrientationPatient=None)
        ),
        refuses(
            "orientation_not_orthogonal",
            "BAD_ORIENTATION",
            "row and column 5 degrees off a right angle",
            every(ImageOrientationPatient=["1", "0", "0", "0.08716", "0.99619", "0"]),
        ),
        refuses(
            "one_slice_turned",
            "BAD_ORIENTATION",
            "one slice turned by one degree",
            one(ImageOrientationPatient=["0.999848", "0.017452", "0", "-0.017452", "0.999848", "0"]),
        ),
        refuses(
            "no_pixel_spacing",
            "NO_PIXEL_SPACING",
            "PixelSpacing absent, ImagerPixelSpacing in its place",
            every(PixelSpacing=None, ImagerPixelSpacing=["0.9", "0.9"]),
        ),
        refuses(
            "one_pixel_spacing_missing",
            "NO_PIXEL_SPACING",
            "PixelSpacing absent in one slice",
            one(PixelSpacing=None),
        ),
        refuses("zero_pixel_spacing", "NO_PIXEL_SPACING", "PixelSpacing 0", every(PixelSpacing=["0", "0"])),
        refuses("sampled", "SAMPLED_HRCT", "0.6 mm slices every 2.5 mm", every(SliceThickness="0.6")),
        refuses(
            "few_slices", "TOO_FEW_SLICES", "19 slices left", remove(lambda found, rng: [*found[:20], *found[39:]])
        ),
        refuses("short_coverage", "TOO_FEW_SLICES", "50 mm left", remove(lambda found, rng: found[20:])),
    ]


def _flags() -> list[Damage]:
    return [
        flags(
            "every_second_lost",
            "INCOMPLETE_INSTANCE_NUMBERS",
            "every second slice lost, spacing still even",
            remove(lambda found, rng: found[1::2]),
            same_hu=False,
            same_grid=False,
        ),
        flags(
            "end_lost",
            "INCOMPLETE_INSTANCE_NUMBERS",
            "the transfer stopped one slice early",
            _end_lost,
            same_hu=False,
            same_grid=False,
        ),
        flags(
            "starts_late",
            "INCOMPLETE_INSTANCE_NUMBERS",
            "the first instance is number 7",
            every(lambda ds, rng: _renumber(ds, 6)),
        ),
        flags(
            "jitter",
            "POSITION_JITTER",
            "positions rounded to about 0.1 mm",
            every(lambda ds, rng: move_mm(ds, normal_of(ds) * rng.uniform(-0.08, 0.08))),
            same_grid=False,
        ),
        flags("tilt", "GANTRY_TILT", "gantry tilted by 15 degrees", _sheared(15.0), same_grid=False),
        flags("tilt_two_degrees", "GANTRY_TILT", "gantry tilted by 2 degrees", _sheared(2.0), same_grid=False),
        flags("coronal", "NON_AXIAL", "slices labelled as a coronal reconstruction", _coronal, same_grid=False),
        flags("gap_between_slices", "SLICE_GAP", "thinner slices than their spacing", every(SliceThickness="1.5")),
        flags("very_thick", "THICK_SLICES", "slices of 5 mm, twice their spacing", every(SliceThickness="5")),
        flags("thick", "THICK_SLICES", "slices of 3 mm", every(SliceThickness="3")),
        flags(
            "overlap",
            "SLICE_OVERLAP",
            "slices more than twice as thick as their spacing",
            every(SliceThickness="5.5"),
        ),
        flags(
            "negative_spacing_tag",
            "SPACING_TAG_CONFLICT",
            "SpacingBetweenSlices negative",
            every(SpacingBetweenSlices="-2.5"),
        ),
        flags(
            "wrong_spacing_tag",
            "SPACING_TAG_CONFLICT",
            "SpacingBetweenSlices wrong",
            every(SpacingBetweenSlices="1.25"),
        ),
        flags("prone", "PRONE", "patient lies prone", _prone, same_grid=False),
        flags(
            "position_tag_conflict",
            "POSITION_CONFLICT",
            "PatientPosition says prone, the orientation supine",
            every(PatientPosition="HFP"),
        ),
        flags(
            "wide_pixels",
            "PIXEL_SPACING_RANGE",
            "pixels of 1.4 mm",
            every(PixelSpacing=["1.4", "1.4"]),
            same_grid=False,
        ),
        flags(
            "tiny_pixels",
            "PIXEL_SPACING_RANGE",
            "pixels of 0.2 mm",
            every(PixelSpacing=["0.2", "0.2"]),
            same_grid=False,
        ),
        flags("large_fov", "LARGE_FOV", "pixels of 1.1 mm", every(PixelSpacing=["1.1", "1.1"]), same_grid=False),
        flags("child", "OUT_OF_INTENDED_POPULATION", "patient aged 12", every(PatientAge="012Y")),
    ]


def _some(found: list[Slice], rng: Rng, count: int) -> list[Slice]:
    """Slices apart from each other and from both ends."""
    step = max(2, (len(found) - 4) // max(count, 1))
    first = inner(rng, found) if count == 1 and len(found) > 4 else 2 + int(rng.integers(step - 1))
    return found[first::step][:count]


def _run(found: list[Slice], rng: Rng) -> list[Slice]:
    first = int(rng.integers(2, max(3, len(found) - 8)))
    return found[first : first + 5]


def _renumber(ds: Dataset, by: int) -> None:
    if ds.get("InstanceNumber") is not None:
        ds.InstanceNumber = int(ds.InstanceNumber) + by


def _renumbered(folder: Path, rng: Rng) -> None:
    remove(lambda found, rng: _some(found, rng, 1))(folder, rng)
    for n, (path, ds) in enumerate(slices(folder)):
        ds.InstanceNumber = n + 1
        save(path, ds)


def _end_lost(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    every(ImagesInAcquisition=len(found))(folder, rng)
    if found:
        found[-1][0].unlink()


def _sheared(degrees: float) -> Apply:
    """Each slice shifted within its own plane in proportion to its height, as a tilted gantry does."""

    def shift(ds: Dataset, rng: Rng) -> None:
        if ds.get("ImagePositionPatient") and ds.get("ImageOrientationPatient"):
            height = float(normal_of(ds) @ np.asarray(ds.ImagePositionPatient, float))
            down = np.asarray(ds.ImageOrientationPatient, float)[3:]
            move_mm(ds, down * height * np.tan(np.radians(degrees)))

    return every(shift)


def _coronal(folder: Path, rng: Rng) -> None:
    """Relabel: the stack runs from front to back, rows from head to foot."""

    def turn(ds: Dataset, rng: Rng) -> None:
        if ds.get("ImagePositionPatient") and ds.get("ImageOrientationPatient"):
            x, y, z = (float(v) for v in ds.ImagePositionPatient)
            ds.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
            ds.ImagePositionPatient = [f"{x:.10g}", f"{z:.10g}", f"{-y:.10g}"]

    on(everything, turn)(folder, rng)


def _prone(folder: Path, rng: Rng) -> None:
    """The patient turned over: rows and columns run the other way in patient coordinates."""

    def turn(ds: Dataset, rng: Rng) -> None:
        if ds.get("ImagePositionPatient") and ds.get("ImageOrientationPatient"):
            x, y, z = (float(v) for v in ds.ImagePositionPatient)
            ds.ImageOrientationPatient = ["-1", "0", "0", "0", "-1", "0"]
            ds.ImagePositionPatient = [f"{-x:.10g}", f"{-y:.10g}", f"{z:.10g}"]
            ds.PatientPosition = "HFP"

    every(turn)(folder, rng)
