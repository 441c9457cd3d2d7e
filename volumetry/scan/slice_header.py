"""The noun of this room: what the header of one CT image says."""

from dataclasses import dataclass

from volumetry.scan.files import FileRef
from volumetry.scan.pixel_source import Fault, PixelSource

IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What the header of one CT image says; None where it says nothing that can be read.

    `faults` are codes with their message that this file has earned before anything is decoded.
    `identity` holds hashes, one per keyword of `IDENTITY`.
    """

    file: FileRef
    sop_uid: str
    rows: int
    columns: int
    pixels: PixelSource
    faults: tuple[Fault, ...]
    series_uid: str | None
    study_uid: str | None
    study_date: str | None
    identity: tuple[str | None, ...]
    age_years: float | None
    modality: str | None
    image_type: tuple[str, ...]
    manufacturer: str | None
    model_name: str | None
    kernel: str | None
    kvp: float | None
    contrast: bool
    contrast_known: bool
    acquisition_date: str | None
    acquisition_time: str | None
    acquisition_number: int | None
    instance_number: int | None
    temporal_position: str | None
    cardiac_phase: str | None
    images_in_acquisition: int | None
    frame_of_reference: str | None
    patient_position: str | None
    position_lps_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    spacing_tag_mm: float | None
    samples: int
    photometric: str | None
    bits_stored: int
    signed: bool
    padding: tuple[int, ...]
    slope: float | None
    intercept: float | None
    rescale_type: str | None
    lossy_tag: bool
    burned_in: bool
    odd_preamble: bool
    repaired: bool


@dataclass(frozen=True, slots=True)
class NotSlice:
    """A file that is no readable CT slice: the code it earned and a message without header values."""

    file: FileRef
    code: str
    message: str
