"""The values of one header -> the noun of this room."""

import re
from datetime import date

from volumetry.scan.headers.files import FileRef
from volumetry.scan.headers.pixel_source import Fault, PixelSource
from volumetry.scan.headers.slice_header import IDENTITY, SliceHeader, identity_digest
from volumetry.scan.headers.values import Values

_DECIDES_THE_NUMBER = {
    "PixelSpacing": 2,
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
}
"""Elements without which there is no volume in HU, and how many numbers each holds."""


def slice_header(file: FileRef, values: Values, pixels: PixelSource, faults: tuple[Fault, ...]) -> SliceHeader:
    """What the values of one image, or of one frame, say."""
    padding = (values.word("PixelPaddingValue"), values.word("PixelPaddingRangeLimit"))
    samples = values.word("SamplesPerPixel")
    return SliceHeader(
        file=file,
        sop_uid=values.text("SOPInstanceUID") or "",
        rows=pixels.rows,
        columns=pixels.columns,
        pixels=pixels,
        faults=faults,
        series_uid=values.text("SeriesInstanceUID"),
        study_uid=values.text("StudyInstanceUID"),
        study_date=_digits(values.text("StudyDate")) or None,
        identity=tuple(_identity(values, keyword) for keyword in IDENTITY),
        age_years=_age_years(values),
        modality=values.text("Modality"),
        image_type=tuple(part.upper() for part in values.texts("ImageType")),
        manufacturer=values.text("Manufacturer"),
        model_name=values.text("ManufacturerModelName"),
        kernel=values.text("ConvolutionKernel"),
        kvp=values.number("KVP"),
        contrast=_contrast(values),
        contrast_known=values.present("ContrastBolusAgent") or values.present("ContrastBolusAgentSequence"),
        acquisition_date=values.text("AcquisitionDate") or values.text("StudyDate"),
        acquisition_time=values.text("AcquisitionTime"),
        acquisition_number=values.integer("AcquisitionNumber"),
        instance_number=values.integer("InstanceNumber"),
        temporal_position=values.text("TemporalPositionIdentifier"),
        cardiac_phase=values.real("NominalPercentageOfCardiacPhase"),
        images_in_acquisition=values.integer("ImagesInAcquisition"),
        frame_of_reference=values.text("FrameOfReferenceUID"),
        patient_position=values.text("PatientPosition"),
        position_lps_mm=values.numbers("ImagePositionPatient", 3),
        orientation=values.numbers("ImageOrientationPatient", 6),
        pixel_spacing_mm=values.numbers("PixelSpacing", 2),
        thickness_mm=values.number("SliceThickness"),
        spacing_tag_mm=values.number("SpacingBetweenSlices"),
        reconstruction_mm=values.number("ReconstructionDiameter"),
        samples=1 if samples is None else samples,
        photometric=values.text("PhotometricInterpretation"),
        bits_stored=pixels.bits_stored,
        signed=pixels.signed,
        padding=tuple(_as_stored(word, pixels) for word in padding if word is not None),
        slope=values.number("RescaleSlope"),
        intercept=values.number("RescaleIntercept"),
        rescale_type=values.text("RescaleType"),
        lossy_tag=values.text("LossyImageCompression") == "01",
        burned_in=(values.text("BurnedInAnnotation") or "").upper() == "YES",
        odd_preamble=False,
        repaired=False,
        frame=values.frame,
        frame_count=values.frame_count,
        stack_id=values.text("StackID"),
        concatenation=_concatenation(values),
        class_in_dataset=values.text("SOPClassUID") is not None,
        modality_lut=values.filled("ModalityLUTSequence"),
        unreadable=tuple((k, why) for k, n in _DECIDES_THE_NUMBER.items() if (why := values.complaint(k, n))),
    )


def _identity(values: Values, keyword: str) -> str | None:
    """Digest of what identifies a patient, by its meaning: a date with dots is the same date."""
    text = (values.raw(keyword) or b"").strip(b" \x00")
    if keyword == "PatientBirthDate":
        text = text.translate(None, b".-/ ")
    if keyword == "PatientSex":
        text = text[:1].upper()
    return identity_digest(text)


def _concatenation(values: Values) -> tuple[str, int, int] | None:
    whole, part = values.text("ConcatenationUID"), values.word("InConcatenationNumber")
    count = values.word("InConcatenationTotalNumber")
    return (whole, part, count or 0) if whole is not None and part is not None else None


def _as_stored(word: int, pixels: PixelSource) -> int:
    """A padding tag in the domain of the stored numbers: re-read with the sign of PixelRepresentation."""
    return word - 2**16 if pixels.signed and word >= 2**15 else word


def _contrast(values: Values) -> bool:
    """Whether a contrast agent was given into the blood: some write that there was none, or one that was drunk."""
    agent = (values.text("ContrastBolusAgent") or "").upper()
    route = (values.text("ContrastBolusRoute") or "").upper()
    if agent in _NO_AGENT or ("ORAL" in route and "IV" not in route):
        return False
    return bool(agent) or values.filled("ContrastBolusAgentSequence")


_NO_AGENT = frozenset(
    {"NONE", "NO", "N", "NO CONTRAST", "WITHOUT", "WITHOUT CONTRAST", "W/O", "WO", "NATIVE", "0"}
)


def _age_years(values: Values) -> float | None:
    """Age from PatientAge, or from the dates; None where they say nothing, as where an anonymiser wrote zeros.

    A newborn's age is written in days, weeks or months: ``000Y``, or a birth on the day of the study, is filling.
    """
    stated = re.fullmatch(r"(\d{1,4}) *([DWMY]?)", (values.text("PatientAge") or "").upper())
    if stated and int(stated[1]) > 0:
        years = int(stated[1]) / _PER_YEAR[stated[2] or "Y"]
        return years if years <= _OLDEST_YEARS else None
    born, seen = _day(values.text("PatientBirthDate")), _day(values.text("StudyDate"))
    days = (seen - born).days if born and seen else 0
    return days / 365.25 if 0 < days <= _OLDEST_YEARS * 365.25 else None


_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
_OLDEST_YEARS = 120
"""Anonymisers write 1900-01-01 for any birth date."""


def _day(text: str | None) -> date | None:
    digits = _digits(text)
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if len(digits) == 8 else None
    except ValueError:
        return None


def _digits(text: str | None) -> str:
    """A date as DICOM writes it today; older systems put dots, dashes or slashes between its parts."""
    return re.sub(r"[.\-/ ]", "", text or "")
