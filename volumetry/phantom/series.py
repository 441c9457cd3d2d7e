"""A phantom as a DICOM series: valid CT Image Storage objects in any transfer syntax, of a made-up subject."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from volumetry.domain import Grid
from volumetry.phantom.pixels import Stored, set_pixels
from volumetry.phantom.thorax import Phantom

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SeriesSpec:
    """How a series is written.

    Parameters
    ----------
    transfer_syntax
        UID; see `volumetry.phantom.pixels.LOSSLESS` and ``LOSSY``.
    slope, intercept
        HU = stored x slope + intercept.
    bits_stored, signed
        Stored values are clipped to what these can hold.
    photometric
        ``MONOCHROME2`` or ``MONOCHROME1``; stored values and HU are the same for both.
    thickness_mm
        SliceThickness; None means the slice step along the normal.
    patient_position
        The tag alone; where the patient lies comes from the grid.
    kernel, kvp, manufacturer, contrast_agent
        Acquisition facts.
    padding_stored, padding_tag
        Stored value outside the reconstruction circle; None draws no circle. Whether PixelPaddingValue states it.
    order
        InstanceNumber grows ``up`` or ``down`` the slice axis, or is ``absent``.
    names
        File names: ``numbered``, or ``random`` without extension.
    subject, age
        PatientID and PatientAge.
    study_date, study, series
        Date, and names of study and series: the two names and `seed` make all UIDs.
    seed
        Of the UIDs and of random file names.

    Raises
    ------
    ValueError
        If an order, a naming, a number of bits or a slope is not one of those above.
    """

    transfer_syntax: str = ExplicitVRLittleEndian
    slope: float = 1.0
    intercept: float = -1024.0
    bits_stored: int = 12
    signed: bool = False
    photometric: str = "MONOCHROME2"
    thickness_mm: float | None = None
    patient_position: str = "HFS"
    kernel: str = "B50f"
    kvp: float = 120.0
    manufacturer: str = "Synthetic"
    contrast_agent: str = ""
    padding_stored: int | None = None
    padding_tag: bool = True
    order: str = "up"
    names: str = "numbered"
    subject: str = "SYN-001"
    age: str = "060Y"
    study_date: str = "20260101"
    study: str = "1"
    series: str = "1"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ("up", "down", "absent") or self.names not in ("numbered", "random"):
            raise ValueError(f"no such order or naming: {self.order}, {self.names}")
        if not (8 <= self.bits_stored <= 16 and self.slope > 0):
            raise ValueError(f"cannot store {self.bits_stored} bits with slope {self.slope}")


def write_series(image: Phantom | tuple[Floats, Grid], folder: Path, spec: SeriesSpec | None = None) -> list[Path]:
    """Write an image as one file per slice.

    Parameters
    ----------
    image
        A phantom, or HU (k, j, i) and their grid.
    folder
        Made if it is not there.
    spec
        How; default uncompressed.

    Returns
    -------
    list[Path]
        The files, in the order of the array's slices. The same arguments give the same bytes.
    """
    hu_kji, grid = (image.hu_kji, image.grid) if isinstance(image, Phantom) else image
    spec = spec or SeriesSpec()
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for k in range(grid.shape_kji[0]):
        ds = slice_dataset(hu_kji[k], grid, k, spec)
        path = folder / _file_name(spec, k)
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_dataset(hu_ji: Floats, grid: Grid, k: int, spec: SeriesSpec) -> Dataset:
    """One slice as a complete CT Image Storage object, file meta included."""
    ds = _identity(spec, k)
    _describe(ds, spec)
    _place(ds, grid, k, spec)
    _number(ds, grid.shape_kji[0], k, spec)
    stored = stored_values(hu_ji, spec)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _ds(spec.intercept), _ds(spec.slope), "HU"
    ds.WindowCenter, ds.WindowWidth = "-600", "1500"
    if spec.padding_stored is not None and spec.padding_tag:
        ds.add_new("PixelPaddingValue", "SS" if spec.signed else "US", spec.padding_stored)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, spec.photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, spec.bits_stored, spec.bits_stored - 1
    ds.PixelRepresentation = int(spec.signed)
    set_pixels(ds, stored, spec.transfer_syntax)
    return ds


def stored_values(hu_ji: Floats, spec: SeriesSpec) -> Stored:
    """HU as the stored numbers of a series: rounded, clipped to the bits, padding circle drawn."""
    low, high = (-(1 << (spec.bits_stored - 1)), (1 << (spec.bits_stored - 1)) - 1)
    if not spec.signed:
        low, high = 0, (1 << spec.bits_stored) - 1
    exact = np.clip(np.round((hu_ji.astype(np.float64) - spec.intercept) / spec.slope), low, high)
    stored: Stored = exact.astype(np.int16) if spec.signed else exact.astype(np.uint16)
    if spec.padding_stored is not None:
        stored[outside_circle(stored.shape)] = spec.padding_stored
    return stored


def outside_circle(shape_ji: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels outside the largest circle that fits into a slice, where scanners put padding."""
    rows, columns = shape_ji
    j, i = np.ogrid[:rows, :columns]
    result: NDArray[np.bool_] = np.hypot((j + 0.5) / rows - 0.5, (i + 0.5) / columns - 0.5) > 0.5
    return result


def uid(*parts: object) -> UID:
    """A UID that depends on nothing but its parts."""
    return generate_uid(entropy_srcs=["volumetry phantom", *(str(part) for part in parts)])


def _identity(spec: SeriesSpec, k: int) -> Dataset:
    ds = Dataset()
    root = (spec.seed, spec.subject)
    ds.preamble = bytes(128)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(spec.transfer_syntax)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid(*root, spec.study, spec.series, k)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID = uid(*root, spec.study)
    ds.SeriesInstanceUID = uid(*root, spec.study, spec.series)
    ds.FrameOfReferenceUID = uid(*root, spec.study, "frame")
    ds.PatientName, ds.PatientID = "Phantom^Synthetic", spec.subject
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "", "O", spec.age
    return ds


def _describe(ds: Dataset, spec: SeriesSpec) -> None:
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", spec.manufacturer, "Reference object"
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{event}Date", spec.study_date)
        setattr(ds, f"{event}Time", "120000")
    ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "1"
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "CT chest", "Chest", "CHEST"
    ds.SeriesNumber = 1 + int(hashlib.sha256(spec.series.encode()).hexdigest()[:2], 16)
    ds.AcquisitionNumber, ds.PatientPosition, ds.PositionReferenceIndicator = 1, spec.patient_position, ""
    ds.KVP, ds.ConvolutionKernel, ds.XRayTubeCurrent = _ds(spec.kvp), spec.kernel, 200
    if spec.contrast_agent:
        ds.ContrastBolusAgent = spec.contrast_agent


def _place(ds: Dataset, grid: Grid, k: int, spec: SeriesSpec) -> None:
    _, down, along = (np.asarray(axis) for axis in grid.direction_lps)
    normal = np.cross(along, down)
    step_mm = abs(float(grid.step_lps_mm[:, 0] @ normal))
    ds.SliceThickness = _ds(spec.thickness_mm if spec.thickness_mm is not None else step_mm)
    position = grid.lps_mm(np.array([k, 0.0, 0.0]))
    ds.ImagePositionPatient = _numbers(position)
    ds.ImageOrientationPatient = _numbers([*along, *down])
    ds.PixelSpacing = _numbers(grid.spacing_kji_mm[1:])
    ds.SliceLocation = _ds(float(position @ normal))


def _number(ds: Dataset, count: int, k: int, spec: SeriesSpec) -> None:
    if spec.order != "absent":
        ds.InstanceNumber = k + 1 if spec.order == "up" else count - k
    else:
        ds.InstanceNumber = None  # type 2: may be empty, must be there


def _file_name(spec: SeriesSpec, k: int) -> str:
    if spec.names == "numbered":
        return f"{k + 1:04d}.dcm"
    return (
        hashlib.sha256(uid(spec.seed, spec.subject, spec.study, spec.series, k).encode()).hexdigest()[:8].upper()
    )


def _ds(value: float) -> DSfloat:
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as a decimal string")
    return DSfloat(round(value, 9), auto_format=True)


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> list[DSfloat]:
    return [_ds(float(value)) for value in values]
