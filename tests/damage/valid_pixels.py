"""Legal or repairable quirks of geometry, pixels and transfer syntaxes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
)

from damage.edits import (
    Apply,
    Change,
    Rng,
    every,
    move_mm,
    normal_of,
    restore,
    save,
    slices,
)
from damage.kinds import Damage, legal
from damage.pixels import reencoded
from volumetry.phantom.pixels import LOSSLESS
from volumetry.phantom.series import outside_circle


def rows() -> list[Damage]:
    """Every entry of this kind."""
    return [*_geometry(), *_pixels(), *_syntaxes()]


def _geometry() -> list[Damage]:
    return [
        legal("jitter_small", None, "positions rounded to 0.02 mm", every(_rounded), same_grid=False),
        legal(
            "orientation_rounded",
            None,
            "orientation off by 1e-4 rad in every slice",
            every(_orientation_noise),
            same_grid=False,
        ),
        legal(
            "oblique", "OBLIQUE", "the whole stack turned by 8 degrees, not sheared", _turned(8.0), same_grid=False
        ),
        legal("small_tilt", "SMALL_TILT", "sheared by half a degree", _sheared_a_little, same_grid=False),
        legal("feet_first", None, "feet first", every(PatientPosition="FFS")),
        legal("other_origin", None, "the frame of reference shifted", every(_far_origin), same_grid=False),
        legal(
            "unequal_pixels",
            None,
            "rows and columns of different spacing",
            every(PixelSpacing=["0.8", "0.95"]),
            same_grid=False,
        ),
        legal(
            "overlap_small",
            "SLICE_OVERLAP",
            "slices 1.2 times as thick as their spacing apart",
            _overlapping,
            same_grid=False,
        ),
        legal("positions_as_long_strings", None, "positions with 16 characters", every(_long_numbers)),
    ]


def _pixels() -> list[Damage]:
    return [
        legal("monochrome1", "MONOCHROME1_IGNORED", "MONOCHROME1", every(PhotometricInterpretation="MONOCHROME1")),
        legal("signed", None, "signed stored values, intercept 0", every(_signed(0))),
        legal("signed_12_bit", None, "12 signed bits in 16", every(_signed_12)),
        legal("junk_high_bits", None, "overlay bits above the 12 stored ones", every(_junk_bits)),
        legal(
            "slope_two",
            None,
            "slope 2.0002442, intercept -4047: as a real scanner writes it",
            every(_odd_slope),
            same_hu=False,
        ),
        legal(
            "no_padding_tag",
            "PADDING_MASKED",
            "a padding circle at -2000 without a tag",
            _padded(-2000, tag=None),
            same_hu=False,
        ),
        legal(
            "padding_2000",
            "PADDING_MASKED",
            "a padding circle at -2000 with its tag",
            _padded(-2000, tag="SS"),
            same_hu=False,
        ),
        legal(
            "padding_1500",
            "PADDING_MASKED",
            "a padding circle at -1500 with its tag",
            _padded(-1500, tag="SS"),
            same_hu=False,
        ),
        legal(
            "padding_32768",
            "PADDING_MASKED",
            "a padding circle at the lowest stored value",
            _padded(-32768, tag="SS"),
            same_hu=False,
        ),
        legal(
            "padding_unsigned_tag",
            "PADDING_MASKED",
            "the tag written as unsigned 63536 in signed data",
            _padded(-2000, tag="US"),
            same_hu=False,
        ),
        legal(
            "padding_2000_intercept",
            "PADDING_MASKED",
            "stored -2000 under intercept -1024: -3024 HU",
            _padded(-2000, tag="SS", intercept=-1024),
            same_hu=False,
        ),
    ]


def _syntaxes() -> list[Damage]:
    return [
        legal(f"syntax_{UID(syntax).keyword}", None, UID(syntax).name, reencoded(syntax)) for syntax in LOSSLESS
    ]


def _rounded(ds: Dataset, rng: Rng) -> None:
    move_mm(ds, normal_of(ds) * rng.uniform(-0.009, 0.009))


def _orientation_noise(ds: Dataset, rng: Rng) -> None:
    if ds.get("ImageOrientationPatient"):
        wrong = np.asarray(ds.ImageOrientationPatient, float) + rng.uniform(-1e-4, 1e-4, 6)
        ds.ImageOrientationPatient = [f"{v:.7f}" for v in wrong]


def _turned(degrees: float) -> Apply:
    """Turn positions and orientation about the x axis together."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])

    def turn(ds: Dataset, rng: Rng) -> None:
        if ds.get("ImagePositionPatient") and ds.get("ImageOrientationPatient"):
            cosines = np.asarray(ds.ImageOrientationPatient, float).reshape(2, 3) @ matrix.T
            ds.ImageOrientationPatient = [f"{v:.10f}" for v in cosines.ravel()]
            position = matrix @ np.asarray(ds.ImagePositionPatient, float)
            ds.ImagePositionPatient = [f"{v:.8f}" for v in position]

    return every(turn)


def _sheared_a_little(folder: Path, rng: Rng) -> None:
    def shift(ds: Dataset, rng: Rng) -> None:
        if ds.get("ImagePositionPatient"):
            height = float(normal_of(ds) @ np.asarray(ds.ImagePositionPatient, float))
            move_mm(ds, (0.0, height * np.tan(np.radians(0.5)), 0.0))

    every(shift)(folder, rng)


def _far_origin(ds: Dataset, rng: Rng) -> None:
    move_mm(ds, (-123.4, 55.5, -1402.25))


def _overlapping(folder: Path, rng: Rng) -> None:
    """Nominally thicker than the step, as most reconstructions are, but not above the limit of thick slices."""
    for n, (path, ds) in enumerate(slices(folder)):
        ds.SliceThickness = "2.5"
        move_mm(ds, -0.4 * n * normal_of(ds))
        save(path, ds)


def _long_numbers(ds: Dataset, rng: Rng) -> None:
    if ds.get("ImagePositionPatient"):
        ds.ImagePositionPatient = [f"{float(v):+.9e}"[:16] for v in ds.ImagePositionPatient]


def _signed(intercept: int) -> Change:
    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.int16]:
        hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = str(intercept), "1"
        return (hu - intercept).astype(np.int16)

    return restore(change)


def _signed_12(ds: Dataset, rng: Rng) -> None:
    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.int16]:
        hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 1, "1000"
        return (hu - 1000).astype(np.int16)

    restore(change)(ds, rng)


def _junk_bits(ds: Dataset, rng: Rng) -> None:
    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
        return (stored + (rng.integers(0, 16, stored.shape) << 12)).astype(np.uint16)

    restore(change)(ds, rng)


def _odd_slope(ds: Dataset, rng: Rng) -> None:
    """Coarser steps: HU change by up to one, so only closeness can be asked for."""

    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
        hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        ds.RescaleSlope, ds.RescaleIntercept = "2.0002442", "-4047"
        return np.round((hu + 4047) / 2.0002442).astype(np.uint16)

    restore(change)(ds, rng)


def _padded(value: int, tag: str | None, intercept: int = 0) -> Apply:
    """Stored `value` outside the reconstruction circle of signed data."""

    def paint(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.int16]:
        stored[outside_circle(stored.shape)] = value
        if tag is not None:
            ds.add_new("PixelPaddingValue", tag, value if tag == "SS" else value + 65536)
        return stored.astype(np.int16)

    def change(ds: Dataset, rng: Rng) -> None:
        _signed(intercept)(ds, rng)
        if ds.get("PixelRepresentation") == 1:
            restore(paint)(ds, rng)

    return every(change)
