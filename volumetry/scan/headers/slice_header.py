"""The noun of this room: what the header of one CT image says."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from volumetry.scan.findings import CodedError
from volumetry.scan.headers.files import FileRef
from volumetry.scan.headers.pixel_source import Fault, PixelSource

IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_FILLERS = (
    "0 00 000 0000 00000 000000 00000000 1 - -- . x xx xxx n/a na nil none null unknown undefined unspecified "
    "empty "
    "anon anonym anonymous anonymised anonymized anonymus anonymisiert anonyme anonimo deidentified de-identified "
    "patient patientid id removed redacted hidden test default noid no_id"
)


def identity_digest(text: bytes) -> str | None:
    """Digest of what identifies a patient, for comparisons in memory; None of nothing."""
    return hashlib.sha256(text).hexdigest()[:16] if text else None


_NOBODYS = frozenset(
    identity_digest(form(word).encode())
    for word in _FILLERS.split()
    for form in (str.lower, str.upper, str.capitalize)
)
"""Of the ids that anonymisers write for every patient."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What the header of one CT image says; None where it says nothing that can be read.

    `faults` are codes with their message that this file has before anything is decoded.
    `identity` holds hashes, one per keyword of `IDENTITY`.
    `sop_uid` is empty where the file has none, and it may be an invalid UID, or another slice's too.
    `frame` counts the frames of a multi-frame object from 0; it is 0 for a classic image.
    `unreadable` says of a keyword whose value is None that the element is there, and why it cannot be read.
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
    cardiac_phase: float | None
    images_in_acquisition: int | None
    frame_of_reference: str | None
    patient_position: str | None
    position_lps_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    spacing_tag_mm: float | None
    reconstruction_mm: float | None
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
    frame: int = 0
    frame_count: int = 1
    stack_id: str | None = None
    concatenation: tuple[str, int, int] | None = None
    """UID of the whole, number of this part and count of parts, of an object that was split for transfer."""
    class_in_dataset: bool = True
    """False where only the file's meta group names the SOP class."""
    modality_lut: bool = False
    unreadable: tuple[tuple[str, str], ...] = ()
    pooled: bool = False
    """Its SeriesInstanceUID is its own, as those of the images around it are: together they are one series."""

    @property
    def key(self) -> Hashable:
        """What distinguishes this slice from every other one of a folder, whatever its UIDs are worth."""
        return self.file.path, self.frame

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept, which a gated slice has: HU = stored x slope + intercept."""
        if self.slope is None or self.intercept is None:
            raise ValueError("a gated slice has a rescale pair")
        return self.slope, self.intercept

    @property
    def has_header(self) -> bool:
        """False for a slice of a volume file, which names nobody and nothing."""
        return bool(self.identity)

    @property
    def patient(self) -> str | None:
        """Digest of PatientID, where it can be one patient's own."""
        digest = self.identity[IDENTITY.index("PatientID")]
        return None if digest in _NOBODYS else digest

    @property
    def patient_issuer(self) -> str | None:
        """Digest of IssuerOfPatientID: ids of two issuers are two patients'."""
        return self.identity[IDENTITY.index("IssuerOfPatientID")]

    @property
    def is_localizer(self) -> bool:
        """Whether ImageType calls this a scout."""
        return "LOCALIZER" in self.image_type

    @property
    def series_key(self) -> Hashable:
        """What distinguishes the series of this image from the others of a folder."""
        return None if self.pooled else (self.series_uid or "")

    @property
    def instance(self) -> tuple[str, int]:
        """What names this slice in DICOM; worth nothing where `sop_uid` is empty or not its own."""
        return self.sop_uid, self.frame


def by_series(headers: Iterable[SliceHeader]) -> dict[Hashable, list[SliceHeader]]:
    """The headers of each series in their order, by `SliceHeader.series_key`; empty for one that has none."""
    found: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        found[header.series_key].append(header)
    return found


class BadHeaderError(CodedError):
    """A fault that ends the reading of one header; becomes a `NotSlice`."""


@dataclass(frozen=True, slots=True)
class NotSlice:
    """A file that is not a readable CT slice: its code and a message without header values."""

    file: FileRef
    code: str
    message: str
