"""Damages of rescale, Hounsfield units and what an image is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from damage.edits import (
    Apply,
    Rng,
    every,
    files,
    one,
    restore,
    stored_of,
)
from damage.kinds import Damage, flags, refuses


def rows() -> list[Damage]:
    """Every entry of this kind."""
    return [*_rescale(), *_hounsfield(), *_flags()]


def _rescale() -> list[Damage]:
    return [
        refuses("no_slope", "NO_RESCALE", "RescaleSlope absent", every(RescaleSlope=None)),
        refuses("no_intercept", "NO_RESCALE", "RescaleIntercept absent", every(RescaleIntercept=None)),
        refuses(
            "no_rescale_once",
            "NO_RESCALE",
            "slope and intercept absent in one slice",
            one(RescaleSlope=None, RescaleIntercept=None),
        ),
        refuses("zero_slope", "NO_RESCALE", "RescaleSlope 0", every(RescaleSlope="0")),
        refuses("negative_slope", "NO_RESCALE", "RescaleSlope -1", every(RescaleSlope="-1")),
        refuses("slope_not_a_number", "NO_RESCALE", "RescaleSlope is not finite", _slope_text("inf")),
        refuses(
            "mip",
            "NOT_CT_NUMBERS",
            "a maximum intensity projection",
            every(ImageType=["DERIVED", "PRIMARY", "AXIAL", "MIP"]),
        ),
        refuses(
            "minip",
            "NOT_CT_NUMBERS",
            "a minimum intensity projection",
            every(ImageType=["DERIVED", "SECONDARY", "MIN IP"]),
        ),
        refuses(
            "average", "NOT_CT_NUMBERS", "a slab average", every(ImageType=["DERIVED", "SECONDARY", "AVERAGE"])
        ),
        refuses("iodine_map", "NOT_CT_NUMBERS", "an iodine map: RescaleType is not HU", every(RescaleType="MGML")),
        refuses(
            "mono_energetic",
            "NOT_CT_NUMBERS",
            "a virtual mono-energetic image",
            every(ImageType=["DERIVED", "PRIMARY", "AXIAL", "VMI"]),
        ),
        refuses(
            "effective_z",
            "NOT_CT_NUMBERS",
            "an effective atomic number map",
            every(ImageType=["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"], RescaleType="Z_EFF"),
        ),
        refuses("colour", "NOT_CT_NUMBERS", "three samples per pixel", every(_coloured)),
    ]


def _hounsfield() -> list[Damage]:
    return [
        refuses("wrong_sign_flag", "HU_IMPLAUSIBLE", "signed values declared unsigned", _wrong_sign),
        refuses("window_burnt_in", "HU_IMPLAUSIBLE", "a lung window applied for good", every(restore(_windowed))),
        refuses(
            "eight_bits", "HU_IMPLAUSIBLE", "stored values cut to their high 8 bits", every(restore(_eight_bit))
        ),
        refuses("intercept_zero", "HU_IMPLAUSIBLE", "the intercept set to 0", every(RescaleIntercept="0")),
        refuses(
            "intercept_off", "HU_IMPLAUSIBLE", "the intercept 150 HU too high", every(RescaleIntercept="-874")
        ),
        refuses("slope_double", "HU_IMPLAUSIBLE", "the slope twice too large", every(RescaleSlope="2")),
        refuses(
            "inverted",
            "HU_IMPLAUSIBLE",
            "grey values inverted",
            every(restore(lambda stored, ds: (4095 - stored).astype(np.uint16))),
        ),
        refuses(
            "empty_image",
            "HU_IMPLAUSIBLE",
            "all pixels alike",
            every(restore(lambda stored, ds: np.full(stored.shape, 174, np.uint16))),
        ),
        refuses("noise_only", "HU_IMPLAUSIBLE", "random pixels", every(_noise)),
    ]


def _flags() -> list[Damage]:
    return [
        flags(
            "varying_rescale",
            "VARYING_RESCALE",
            "slope and intercept differ from slice to slice; HU do not",
            every(_other_rescale),
        ),
        flags("air_drift", "HU_DRIFT", "calibration off by 35 HU", every(RescaleIntercept="-1059"), same_hu=False),
        flags("contrast_agent", "CONTRAST", "a contrast agent was given", every(ContrastBolusAgent="Iohexol")),
        flags("metal", "METAL", "a metal clip in the chest", every(_metal), same_hu=False),
        flags(
            "called_localizer",
            "CALLED_LOCALIZER",
            "a whole axial stack whose ImageType says LOCALIZER",
            every(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        ),
        flags("derived", "DERIVED_IMAGE", "an axial reformat", every(ImageType=["DERIVED", "PRIMARY", "AXIAL"])),
        flags("burned_in", "BURNED_IN", "the header admits burnt-in annotation", every(BurnedInAnnotation="YES")),
    ]


def _slope_text(text: str) -> Apply:
    """A slope that pydicom would not write; set in the bytes."""

    def apply(folder: Path, rng: Rng) -> None:
        every(RescaleSlope="1.00")(folder, rng)
        for path in files(folder):
            data = path.read_bytes()
            path.write_bytes(
                data.replace(
                    b"\x28\x00\x53\x10DS\x04\x001.00", b"\x28\x00\x53\x10DS\x04\x00" + text.ljust(4).encode()
                )
            )

    return apply


def _coloured(ds: Dataset, rng: Rng) -> None:
    stored = stored_of(ds)
    if stored is None:
        return
    grey = np.clip(stored // 16, 0, 255).astype(np.uint8)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = np.repeat(grey[..., None], 3, axis=-1).tobytes()
    ds["PixelData"].VR = "OW"


def _wrong_sign(folder: Path, rng: Rng) -> None:
    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.int16]:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 0
        hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        ds.RescaleIntercept = "0"
        return hu.astype(np.int16)

    every(restore(change))(folder, rng)


def _windowed(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
    hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    return np.clip((hu + 1350) / 1500 * 4095, 0, 4095).astype(np.uint16)


def _eight_bit(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
    return (np.clip(stored, 0, 4095) // 16 * 16).astype(np.uint16)


def _noise(ds: Dataset, rng: Rng) -> None:
    restore(lambda stored, ds: rng.integers(0, 4096, stored.shape).astype(np.uint16))(ds, rng)


def _other_rescale(ds: Dataset, rng: Rng) -> None:
    """Another intercept in every slice, stored values moved to match: the HU stay, while 12 bits suffice."""
    if ds.get("RescaleIntercept") is None or ds.get("RescaleSlope") is None:
        return
    shift = int(rng.integers(1, 200))

    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
        ds.BitsStored, ds.HighBit = 16, 15
        ds.RescaleIntercept = str(int(float(ds.RescaleIntercept)) - shift * int(float(ds.RescaleSlope) or 1))
        return (stored + shift).astype(np.uint16)

    restore(change)(ds, rng)


def _metal(ds: Dataset, rng: Rng) -> None:
    def change(stored: NDArray[np.int32], ds: Dataset) -> NDArray[np.uint16]:
        rows, columns = stored.shape
        stored[rows // 2 : rows // 2 + 3, columns // 2 : columns // 2 + 3] = 4095
        return stored.astype(np.uint16)

    restore(change)(ds, rng)
