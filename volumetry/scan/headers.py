"""One file -> what its header says, or why it is no slice.

Only the needed elements are read, up to the pixel data; every length is compared with the bytes that are there.
Whatever a file does to the parser ends here, as a code.
"""

import errno
import math
import zlib
from dataclasses import replace
from datetime import date
from io import BytesIO
from typing import BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset

from volumetry.config import Limits
from volumetry.scan.file_kinds import FileKind, kind_of, provable_syntax
from volumetry.scan.files import FileRef, ReplacedError
from volumetry.scan.nesting import nested_deeper_than
from volumetry.scan.pixel_source import UNDEFINED, Fault, PixelSource, locate_pixels
from volumetry.scan.slice_header import IDENTITY, NotSlice, SliceHeader
from volumetry.scan.syntaxes import BIG_ENDIAN, DEFLATED, IMPLICIT
from volumetry.scan.values import Values, quiet_pydicom

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTIFRAME_CT = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
DIRECTORY = "1.2.840.10008.1.3.10"
MAX_ELEMENTS = 5000
"""Top-level elements of one header; real CT has a few hundred."""
MAX_HEADER_BYTES = 64 * 2**20
"""Bytes before the pixel data; the largest vendor blocks seen are a few MB."""

MAX_NESTING = 64
"""Levels of sequences in sequences; real headers have up to about six."""

_KEYWORDS = (
    "ImageType SOPClassUID SOPInstanceUID StudyDate AcquisitionDate AcquisitionTime Modality Manufacturer "
    "ManufacturerModelName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge "
    "ContrastBolusAgent SliceThickness KVP SpacingBetweenSlices ConvolutionKernel PatientPosition "
    "NominalPercentageOfCardiacPhase StudyInstanceUID SeriesInstanceUID AcquisitionNumber InstanceNumber "
    "ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID TemporalPositionIdentifier "
    "ImagesInAcquisition SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing "
    "BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit "
    "BurnedInAnnotation RescaleIntercept RescaleSlope RescaleType LossyImageCompression "
)
_TAGS = [tag for tag in map(tag_for_keyword, _KEYWORDS.split()) if tag is not None]
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_HARMLESS_PREAMBLES = (b"\x00\x00\x00\x00", b"II*\x00", b"MM\x00*")
_VENDOR_BLOCK_BYTES = 10_000
_PARSERS_OWN = (None, errno.EINVAL)
"""Of an OSError: pydicom raises it without a number where a sequence ends early, a seek to nowhere is EINVAL."""


class _BadHeaderError(Exception):
    """A fault that ends the reading of one header; becomes a `NotSlice`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def read_header(file: FileRef, limits: Limits) -> SliceHeader | NotSlice:
    """Read the header of one file, whatever the file is."""
    try:
        with file.open() as stream, quiet_pydicom():
            return _parsed(file, stream, limits)
    except _BadHeaderError as bad:
        return NotSlice(file, bad.code, bad.message)
    except ReplacedError:
        return NotSlice(file, "INPUT_CHANGED", "a file vanished or was replaced while the folder was read")
    except Exception as bad:  # noqa: BLE001  a hostile header raises anything; its text may carry values
        if isinstance(bad, OSError) and bad.errno not in _PARSERS_OWN:
            return NotSlice(file, "ACCESS_DENIED", "a file cannot be read: it may be a slice of this series")
        return NotSlice(file, "MALFORMED", f"a header cannot be parsed ({type(bad).__name__})")


def _parsed(file: FileRef, stream: BinaryIO, limits: Limits) -> SliceHeader | NotSlice:
    start = stream.read(4096)
    kind = kind_of(start)
    if kind in (FileKind.JUNK, FileKind.VOLUME):
        return NotSlice(file, "JUNK_FILES_SKIPPED", "clearly no DICOM")
    if kind is FileKind.ZIP:
        return NotSlice(file, "ZIP_REJECTED", "a ZIP archive")
    if kind is FileKind.UNKNOWN:
        what = "an empty file" if file.size == 0 else "a binary file that cannot be read as DICOM"
        return NotSlice(file, "UNREADABLE_FILES", what)
    if kind is FileKind.PART10:
        stream.seek(132)
        syntax = _meta_syntax(stream, file.size)
    else:
        stream.seek(0)
        syntax = _meta_syntax(stream, file.size) if start[:2] == b"\x02\x00" else None
    if syntax is None:
        return _bare(file, stream, start, limits)
    header = _dataset(file, stream, syntax, limits)
    odd = kind is FileKind.PART10 and start[:4] not in _HARMLESS_PREAMBLES
    return replace(header, odd_preamble=odd, repaired=kind is not FileKind.PART10)


def _meta_syntax(stream: BinaryIO, size: int) -> str | None:
    """Transfer syntax of the meta group, leaving `stream` behind it; None if there is no meta group."""
    at = stream.tell()
    meta = read_dataset(stream, False, True, stop_when=_StopAtPixels(stream, size, after_group=0x0002))
    if not len(meta):
        stream.seek(at)
        return None
    values = Values(meta, little_endian=True)
    if values.text("MediaStorageSOPClassUID") == DIRECTORY:
        raise _BadHeaderError("DICOMDIR_IGNORED", "a DICOMDIR")
    syntax = values.text("TransferSyntaxUID")
    if syntax is None:
        raise _BadHeaderError("MALFORMED", "TransferSyntaxUID (0002,0010) is missing: the rest cannot be read")
    return syntax


def _bare(file: FileRef, stream: BinaryIO, start: bytes, limits: Limits) -> SliceHeader | NotSlice:
    """A dataset without its meta group: readable only if the bytes prove VR and byte order."""
    syntax = provable_syntax(start[stream.tell() :])
    header = _dataset(file, stream, syntax, limits) if syntax else None
    if header is not None and not header.faults:
        return replace(header, repaired=True)
    return NotSlice(
        file, "NOT_PART10", "a dataset without meta group whose encoding cannot be proved: it may be a slice"
    )


def _dataset(file: FileRef, stream: BinaryIO, syntax: str, limits: Limits) -> SliceHeader:
    size, deflated_at = file.size, None
    if syntax == DEFLATED:
        deflated_at = stream.tell()
        body = _inflated(stream, file.size, limits)
        stream, size = BytesIO(body), len(body)
    little = syntax != BIG_ENDIAN
    seen = _StopAtPixels(stream, size, little_endian=little)
    header = read_dataset(stream, syntax == IMPLICIT, little, stop_when=seen, specific_tags=[*_TAGS])
    if seen.cut_off and not seen.too_much:
        raise _BadHeaderError("TRUNCATED_FILE", "the file ends inside its header")
    values = Values(header, little)
    _require_ct(values)
    if seen.too_much:
        raise _BadHeaderError("MALFORMED", "more header than any CT has")
    rows, columns = values.word("Rows"), values.word("Columns")
    sop_uid = values.text("SOPInstanceUID")
    if rows is None or columns is None or sop_uid is None:
        missing = "SOPInstanceUID (0008,0018), Rows (0028,0010) or Columns (0028,0011)"
        raise _BadHeaderError("MALFORMED", f"{missing} is missing after a read without error")
    claims = _pixel_claims(values, syntax, rows, columns, deflated_at)
    samples = values.word("SamplesPerPixel")
    pixels, faults = locate_pixels(stream, size, claims, 1 if samples is None else samples, limits)
    if deflated_at is not None and not faults and not _ends_well(stream, pixels):
        raise _BadHeaderError("MALFORMED", "the deflated data are corrupt")
    if faults and faults[0].code == "NO_PIXEL_DATA" and seen.largest_private[1] > _VENDOR_BLOCK_BYTES:
        group, length = seen.largest_private
        block = f"; private group {group:04X} holds {length} bytes: a vendor's own compression"
        faults = (Fault("NO_PIXEL_DATA", faults[0].message + block),)
    return _slice_header(file, values, pixels, faults)


def _ends_well(stream: BinaryIO, pixels: PixelSource) -> bool:
    """Whether nothing, or another element, follows the pixel data.

    Raw deflate has no checksum: damaged data inflate to noise, but hardly ever to noise of the right length.
    """
    offset, length = pixels.fragments[-1]
    stream.seek(offset + length + length % 2)
    rest = stream.read(8)
    return not rest or (len(rest) == 8 and rest[:2] > b"\xe0\x7f" and rest[1] >= 0x7F)


def _pixel_claims(values: Values, syntax: str, rows: int, columns: int, deflated_at: int | None) -> PixelSource:
    allocated = values.word("BitsAllocated") or 0
    stored = values.word("BitsStored") or 0
    high_bit = values.word("HighBit")
    return PixelSource(
        syntax=syntax,
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        signed=values.word("PixelRepresentation") == 1,
        deflated_at=deflated_at,
    )


def _inflated(stream: BinaryIO, file_size: int, limits: Limits) -> bytes:
    """Body of a deflated file, never more than the limits allow: a bomb stops here, not in memory."""
    most = int(limits.max_file_mb * 2**20)
    if file_size > most:
        raise _BadHeaderError("LIMIT_EXCEEDED", f"a deflated file of more than {limits.max_file_mb:g} MB")
    ratio_bound = max(16 * 2**20, int(limits.max_inflation_ratio * file_size))
    bound = min(most, ratio_bound)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflate.decompress(stream.read(), bound + 1)
    except zlib.error:
        raise _BadHeaderError("MALFORMED", "the deflated data are corrupt") from None
    if len(body) > bound:
        raise _BadHeaderError("LIMIT_EXCEEDED", f"inflates to more than {bound // 2**20} MB")
    if not inflate.eof:
        raise _BadHeaderError("TRUNCATED_FILE", "the deflated data end early")
    return body


class _StopAtPixels:
    """Stop rule for pydicom that also bounds the header and notices values that are cut off."""

    def __init__(
        self, stream: BinaryIO, size: int, after_group: int | None = None, little_endian: bool = True
    ) -> None:
        self._stream, self._size, self._after_group = stream, size, after_group
        self._little_endian = little_endian
        self._count = 0
        self._end = stream.tell()
        self.largest_private = (0, 0)
        """Group and length of the largest private element."""
        self.too_much = False
        """Whether the reading stopped at more header than any CT has: other objects may well have it."""

    @property
    def cut_off(self) -> bool:
        """Whether bytes are left behind the last element that are too few for another."""
        return 0 < self._size - self._end < 8

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        group = tag >> 16
        if group > self._after_group if self._after_group is not None else tag in _PIXEL_TAGS or group > 0x7FE0:
            return True
        self._count += 1
        at = self._stream.tell()
        end = at if length == UNDEFINED else at + length
        if nested_deeper_than(self._stream, MAX_NESTING, self._little_endian):
            raise _BadHeaderError("MALFORMED", f"sequences nested deeper than {MAX_NESTING}")
        if end > self._size:
            raise _BadHeaderError("TRUNCATED_FILE", f"the file ends inside ({group:04X},{tag & 0xFFFF:04X})")
        if self._count > MAX_ELEMENTS or end > MAX_HEADER_BYTES:  # before a value is read into memory
            self.too_much = True
            return True
        self._end = end if length != UNDEFINED else 0
        if group % 2 and self.largest_private[1] < length != UNDEFINED:
            self.largest_private = (group, length)
        return False


def _require_ct(values: Values) -> None:
    sop_class = values.text("SOPClassUID")
    if sop_class is None:
        raise _BadHeaderError("MALFORMED", "SOPClassUID (0008,0016) is missing after a read without error")
    if sop_class in MULTIFRAME_CT:
        raise _BadHeaderError("ENHANCED_MULTIFRAME", "an Enhanced or Legacy Converted CT object")
    if sop_class != CT_IMAGE:
        raise _BadHeaderError("NON_CT_OBJECT_DROPPED", sop_class)
    frames = values.integer("NumberOfFrames")
    if frames is not None and frames > 1:
        raise _BadHeaderError("ENHANCED_MULTIFRAME", f"a CT image with {frames} frames in one file")


def _slice_header(file: FileRef, values: Values, pixels: PixelSource, faults: tuple[Fault, ...]) -> SliceHeader:
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
        study_date=values.text("StudyDate"),
        identity=tuple(values.digest(keyword) for keyword in IDENTITY),
        age_years=_age_years(values),
        modality=values.text("Modality"),
        image_type=tuple(part.upper() for part in values.texts("ImageType")),
        manufacturer=values.text("Manufacturer"),
        model_name=values.text("ManufacturerModelName"),
        kernel=values.text("ConvolutionKernel"),
        kvp=values.number("KVP"),
        contrast=values.text("ContrastBolusAgent") is not None,
        contrast_known=values.raw("ContrastBolusAgent") is not None,
        acquisition_date=values.text("AcquisitionDate") or values.text("StudyDate"),
        acquisition_time=values.text("AcquisitionTime"),
        acquisition_number=values.integer("AcquisitionNumber"),
        instance_number=values.integer("InstanceNumber"),
        temporal_position=values.text("TemporalPositionIdentifier"),
        cardiac_phase=values.text("NominalPercentageOfCardiacPhase"),
        images_in_acquisition=values.integer("ImagesInAcquisition"),
        frame_of_reference=values.text("FrameOfReferenceUID"),
        patient_position=values.text("PatientPosition"),
        position_lps_mm=values.numbers("ImagePositionPatient", 3),
        orientation=values.numbers("ImageOrientationPatient", 6),
        pixel_spacing_mm=values.numbers("PixelSpacing", 2),
        thickness_mm=values.number("SliceThickness"),
        spacing_tag_mm=values.number("SpacingBetweenSlices"),
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
    )


def _as_stored(word: int, pixels: PixelSource) -> int:
    """A padding tag in the domain of the stored numbers: re-read with the sign of PixelRepresentation."""
    return word - 2**16 if pixels.signed and word >= 2**15 else word


def _age_years(values: Values) -> float | None:
    text = values.text("PatientAge") or ""
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
    if len(text) == 4 and text[:3].isdigit() and text[3] in per_year:
        return int(text[:3]) / per_year[text[3]]
    born, seen = _day(values.text("PatientBirthDate")), _day(values.text("StudyDate"))
    age = (seen - born).days / 365.25 if born and seen else math.nan
    return age if age >= 0 else None


def _day(text: str | None) -> date | None:
    digits = (text or "").replace(".", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if len(digits) == 8 else None
    except ValueError:
        return None
