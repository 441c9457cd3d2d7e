"""A small chest as a DICOM series, made here with pydicom alone, for the tests of the scan room."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from volumetry.config import Config
from volumetry.domain import Finding, ScanRefusedError
from volumetry.scan import inspect_folder

SLICES, ROWS, COLUMNS = 62, 48, 56
SPACING_KJI_MM = (2.5, 0.9, 0.8)
Edit = Callable[[Dataset, int], None]


def chest_hu(seed: int = 0) -> NDArray[np.int16]:
    """Air, an elliptic body with fat and muscle, two lungs; noise of 12 HU."""
    k, j, i = np.ogrid[-1 : 1 : SLICES * 1j, -1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    hu = np.full((SLICES, ROWS, COLUMNS), -1000.0)
    flat = 0 * k
    hu[flat + (j / 0.8) ** 2 + (i / 0.88) ** 2 < 1] = -100
    hu[flat + (j / 0.72) ** 2 + (i / 0.80) ** 2 < 1] = 45
    for side in (-0.38, 0.38):
        hu[(k / 0.9) ** 2 + (j / 0.5) ** 2 + ((i - side) / 0.26) ** 2 < 1] = -860
    noisy = hu + np.random.default_rng(seed).normal(0, 12, hu.shape)
    return np.rint(noisy).clip(-1024, 3071).astype(np.int16)


def uid(*parts: int) -> str:
    """A UID of the test's own, the same in every run."""
    return ".".join(["2.25.7", *map(str, parts)])


def series(hu: NDArray[np.int16] | None = None, number: int = 1) -> list[Dataset]:
    """One dataset per slice, feet to head; `number` makes another series of the same patient and study."""
    hu = chest_hu() if hu is None else hu
    return [_slice(plane, k, number) for k, plane in enumerate(hu)]


def _slice(plane: NDArray[np.int16], k: int, number: int) -> Dataset:
    ds = Dataset()
    ds.preamble, ds.file_meta = bytes(128), FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet, ds.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, uid(number, k + 1)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        CTImageStorage,
        uid(number, k + 1),
    )
    ds.StudyDate, ds.AcquisitionTime, ds.Modality, ds.Manufacturer = (
        "20260102",
        f"1200{k / 4:05.2f}",
        "CT",
        "Tests",
    )
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "ZZPHIZZ^A", "ZZPHIZZ", "19600101", "O"
    ds.PatientAge, ds.SliceThickness, ds.KVP, ds.ConvolutionKernel = "066Y", SPACING_KJI_MM[0], 120, "B50f"
    ds.PatientPosition, ds.StudyInstanceUID, ds.SeriesInstanceUID = "HFS", uid(900), uid(800, number)
    ds.FrameOfReferenceUID, ds.AcquisitionNumber, ds.InstanceNumber = uid(700), 1, k + 1
    ds.ImagePositionPatient = [-22.0, -21.0, -80.0 + SPACING_KJI_MM[0] * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = list(SPACING_KJI_MM[1:])
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
    return ds


def write(folder: Path, datasets: Sequence[Dataset], edit: Edit | None = None, prefix: str = "I") -> Path:
    """Write datasets as files; `edit(dataset, index)` comes first."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, ds in enumerate(datasets):
        if edit is not None:
            edit(ds, k)
        ds.save_as(folder / f"{prefix}{k:04d}", enforce_file_format=True)
    return folder


def findings_of(folder: Path, config: Config) -> dict[str, Finding]:
    """Every finding of the folder and its stacks, by code."""
    seen = inspect_folder(folder, config)
    every = [*seen.findings, *(finding for stack in seen.stacks for finding in stack.findings)]
    return {finding.code: finding for finding in reversed(every)}


def codes_of(stop: ScanRefusedError) -> list[str]:
    """Codes of a refusal in their order."""
    return [finding.code for finding in stop.findings]
