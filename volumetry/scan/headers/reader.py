"""One file -> what its header says, or why it is not a slice.

Only the needed elements are read, up to the pixel data; every length is compared with the bytes that are there.
Whatever a file does to the parser ends here, as a code.
"""

import errno
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from volumetry.config import Limits
from volumetry.scan.headers.file_kinds import FileKind, archive_name, kind_of, provable_syntax
from volumetry.scan.headers.files import FileRef, ReplacedError
from volumetry.scan.headers.multiframe import frames_of
from volumetry.scan.headers.nesting import nested_deeper_than
from volumetry.scan.headers.pixel_source import UNDEFINED, Fault, PixelSource, locate_pixels
from volumetry.scan.headers.slice_fields import slice_header
from volumetry.scan.headers.slice_header import BadHeaderError, NotSlice, SliceHeader
from volumetry.scan.headers.syntaxes import BIG_ENDIAN, DEFLATED, IMPLICIT
from volumetry.scan.headers.values import Values, quiet_pydicom

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
    "ContrastBolusAgent ContrastBolusRoute ReconstructionDiameter SliceThickness KVP SpacingBetweenSlices "
    "ConvolutionKernel PatientPosition NominalPercentageOfCardiacPhase StudyInstanceUID SeriesInstanceUID "
    "AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID "
    "TemporalPositionIdentifier ImagesInAcquisition SamplesPerPixel PhotometricInterpretation "
    "NumberOfFrames Rows Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation "
    "PixelPaddingValue PixelPaddingRangeLimit BurnedInAnnotation RescaleIntercept RescaleSlope "
    "RescaleType LossyImageCompression ModalityLUTSequence SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence ConcatenationUID InConcatenationNumber InConcatenationTotalNumber "
    "ConcatenationFrameOffsetNumber VolumeBasedCalculationTechnique ContrastBolusAgentSequence "
)
_TAGS = [tag for tag in map(tag_for_keyword, _KEYWORDS.split()) if tag is not None]
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_HARMLESS_PREAMBLES = (b"\x00\x00\x00\x00", b"II*\x00", b"MM\x00*")
_VENDOR_BLOCK_BYTES = 10_000
_PARSERS_OWN = (None, errno.EINVAL)
"""Of an OSError: pydicom raises it without a number where a sequence ends early, a seek to nowhere is EINVAL."""


@dataclass(frozen=True, slots=True)
class _Meta:
    """What the file meta group says of the rest."""

    syntax: str
    sop_class: str | None = None


def read_header(file: FileRef, limits: Limits) -> SliceHeader | NotSlice:
    """Read the header of one classic CT image, whatever the file is; a multi-frame object is not a slice."""
    read = read_headers(file, limits)
    if isinstance(read, NotSlice):
        return read
    return read[0] if len(read) == 1 else NotSlice(file, "ENHANCED_MULTIFRAME", "a multi-frame CT object")


def read_headers(file: FileRef, limits: Limits) -> tuple[SliceHeader, ...] | NotSlice:
    """Read what one file says of its slice, or of each of its frames, whatever the file is."""
    try:
        with file.open() as stream, quiet_pydicom():
            return _parsed(file, stream, limits)
    except BadHeaderError as bad:
        return NotSlice(file, bad.code, bad.message)
    except ReplacedError:
        return NotSlice(file, "INPUT_CHANGED", "a file vanished or was replaced while the folder was read")
    except Exception as bad:  # noqa: BLE001  a hostile header raises anything; its text may carry values
        if isinstance(bad, OSError) and bad.errno not in _PARSERS_OWN:
            return NotSlice(file, "ACCESS_DENIED", "a file cannot be read: it may be a slice of this series")
        return NotSlice(file, "MALFORMED", f"a header cannot be parsed ({type(bad).__name__})")


def raw_header(file: FileRef, tags: Sequence[int], limits: Limits) -> Dataset:
    """The named elements of a file that `read_headers` took, never converted; the meta group may name the class.

    Raises
    ------
    BadHeaderError, OSError
        If the file is no longer what it was.
    """
    with file.open() as stream, quiet_pydicom():
        start = stream.read(4096)
        meta = _meta_of(stream, start, file.size)
        if meta is None:
            syntax = provable_syntax(start)
            if syntax is None:
                raise BadHeaderError("NOT_PART10", "a dataset whose encoding cannot be proved")
            meta = _Meta(syntax)
        body: BinaryIO = BytesIO(_inflated(stream, file.size, limits)) if meta.syntax == DEFLATED else stream
        size = len(body.getbuffer()) if isinstance(body, BytesIO) else file.size
        little = meta.syntax != BIG_ENDIAN
        seen = _StopAtPixels(body, size, little_endian=little)
        header = read_dataset(body, meta.syntax == IMPLICIT, little, stop_when=seen, specific_tags=[*tags])
    if "SOPClassUID" not in header and meta.sop_class is not None:
        tag, value = BaseTag(0x00080016), meta.sop_class.encode("ascii")
        header[tag] = RawDataElement(tag, "UI", len(value), value, 0, False, little)
    return header


def _meta_of(stream: BinaryIO, start: bytes, size: int) -> "_Meta | None":
    """The meta group of a file that starts so, leaving `stream` behind it, or at the start where there is none."""
    if start[128:132] == b"DICM":
        stream.seek(132)
        return _meta_group(stream, size)
    stream.seek(0)
    return _meta_group(stream, size) if start[:2] == b"\x02\x00" else None


def _parsed(file: FileRef, stream: BinaryIO, limits: Limits) -> tuple[SliceHeader, ...] | NotSlice:
    start = stream.read(4096)
    kind = kind_of(start)
    if kind in (FileKind.JUNK, FileKind.VOLUME):
        return NotSlice(file, "JUNK_FILES_SKIPPED", "clearly no DICOM")
    if kind is FileKind.ZIP:
        return NotSlice(file, "ZIP_REJECTED", "a ZIP archive")
    if kind is FileKind.ARCHIVE:
        return unread_archive(file, archive_name(start))
    if kind is FileKind.UNKNOWN:
        what = "an empty file" if file.size == 0 else "a binary file that cannot be read as DICOM"
        return NotSlice(file, "UNREADABLE_FILES", what)
    meta = _meta_of(stream, start, file.size)
    if meta is None:
        return _bare(file, stream, start, limits)
    headers = _dataset(file, stream, meta, limits)
    odd = kind is FileKind.PART10 and start[:4] not in _HARMLESS_PREAMBLES
    return tuple(replace(h, odd_preamble=odd, repaired=kind is not FileKind.PART10) for h in headers)


def unread_archive(file: FileRef, name: str | None) -> NotSlice:
    """An archive of a kind that is not read: what is in it may well be the scan."""
    return NotSlice(file, "ZIP_REJECTED", f"a {name} archive, which is not read")


def _meta_group(stream: BinaryIO, size: int) -> _Meta | None:
    """The meta group, leaving `stream` behind it; None if there is none.

    Some archives write it in Implicit VR (DICOM asks for Explicit): the first element then has no letters.
    """
    at = stream.tell()
    implicit = not stream.read(6)[4:].isalpha()
    stream.seek(at)
    meta = read_dataset(stream, implicit, True, stop_when=_StopAtPixels(stream, size, after_group=0x0002))
    if not len(meta):
        stream.seek(at)
        return None
    values = Values(meta, little_endian=True)
    if values.text("MediaStorageSOPClassUID") == DIRECTORY:
        raise BadHeaderError("DICOMDIR_IGNORED", "a DICOMDIR")
    syntax = values.text("TransferSyntaxUID")
    if syntax is None:
        raise BadHeaderError("MALFORMED", "TransferSyntaxUID (0002,0010) is missing: the rest cannot be read")
    return _Meta(syntax, values.text("MediaStorageSOPClassUID"))


def _bare(file: FileRef, stream: BinaryIO, start: bytes, limits: Limits) -> tuple[SliceHeader, ...] | NotSlice:
    """A dataset without its meta group: readable only if the bytes prove VR and byte order."""
    syntax = provable_syntax(start[stream.tell() :])
    headers = _dataset(file, stream, _Meta(syntax), limits) if syntax else ()
    if headers and not headers[0].faults:
        return tuple(replace(header, repaired=True) for header in headers)
    return NotSlice(
        file, "NOT_PART10", "a dataset without meta group whose encoding cannot be proved: it may be a slice"
    )


def _dataset(file: FileRef, stream: BinaryIO, meta: _Meta, limits: Limits) -> tuple[SliceHeader, ...]:
    syntax, size, deflated_at = meta.syntax, file.size, None
    if syntax == DEFLATED:
        deflated_at = stream.tell()
        body = _inflated(stream, file.size, limits)
        stream, size = BytesIO(body), len(body)
    little = syntax != BIG_ENDIAN
    begin = stream.tell()
    try:
        header, largest_private = _elements(stream, size, syntax)
    except BadHeaderError:
        _drop_if_no_ct(stream, begin, size, meta)  # what is not a CT image needs no valid header
        raise
    values = Values(header, little)
    multiframe = _require_ct(values, meta)
    rows, columns = values.word("Rows"), values.word("Columns")
    if rows is None or columns is None:
        missing = "Rows (0028,0010) or Columns (0028,0011)"
        raise BadHeaderError("MALFORMED", f"{missing} is missing after a read without error")
    claims = _pixel_claims(values, syntax, rows, columns, deflated_at)
    frame_values = frames_of(header, values, little) if multiframe else (values,)
    samples = values.word("SamplesPerPixel")
    samples = 1 if samples is None else samples
    pixels, faults = locate_pixels(stream, size, claims, samples, limits, len(frame_values))
    if deflated_at is not None and not faults and not _ends_well(stream, pixels[-1]):
        raise BadHeaderError("MALFORMED", "the deflated data are corrupt")
    if faults and faults[0].code == "NO_PIXEL_DATA" and largest_private[1] > _VENDOR_BLOCK_BYTES:
        group, length = largest_private
        block = f"; private group {group:04X} holds {length} bytes: a vendor's own compression"
        faults = (Fault("NO_PIXEL_DATA", faults[0].message + block),)
    return tuple(
        slice_header(file, of_frame, source, faults) for of_frame, source in zip(frame_values, pixels, strict=True)
    )


def _elements(stream: BinaryIO, size: int, syntax: str) -> tuple[Dataset, tuple[int, int]]:
    """The needed elements up to the pixel data, and group and length of the largest private one."""
    little = syntax != BIG_ENDIAN
    seen = _StopAtPixels(stream, size, little_endian=little)
    header = read_dataset(stream, syntax == IMPLICIT, little, stop_when=seen, specific_tags=[*_TAGS])
    if seen.cut_off:
        raise BadHeaderError("TRUNCATED_FILE", "the file ends inside its header")
    return header, seen.largest_private


def _drop_if_no_ct(stream: BinaryIO, begin: int, size: int, meta: _Meta) -> None:
    """Raise for an object of another class, recognised by its first group, however large or odd its rest is."""
    stream.seek(begin)
    seen = _StopAtPixels(stream, size, after_group=0x0008, little_endian=meta.syntax != BIG_ENDIAN)
    try:
        first = read_dataset(stream, meta.syntax == IMPLICIT, meta.syntax != BIG_ENDIAN, stop_when=seen)
    except BadHeaderError:
        return
    sop_class = Values(first, meta.syntax != BIG_ENDIAN).text("SOPClassUID") or meta.sop_class
    if sop_class is not None and sop_class != CT_IMAGE and sop_class not in MULTIFRAME_CT:
        raise BadHeaderError("NON_CT_OBJECT_DROPPED", sop_class)


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
        raise BadHeaderError("LIMIT_EXCEEDED", f"a deflated file of more than {limits.max_file_mb:g} MB")
    ratio_bound = max(16 * 2**20, int(limits.max_inflation_ratio * file_size))
    bound = min(most, ratio_bound)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflate.decompress(stream.read(), bound + 1)
    except zlib.error:
        raise BadHeaderError("MALFORMED", "the deflated data are corrupt") from None
    if len(body) > bound:
        raise BadHeaderError("LIMIT_EXCEEDED", f"inflates to more than {bound // 2**20} MB")
    if not inflate.eof:
        raise BadHeaderError("TRUNCATED_FILE", "the deflated data end early")
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
            raise BadHeaderError("MALFORMED", f"sequences nested deeper than {MAX_NESTING}")
        if end > self._size:
            raise BadHeaderError("TRUNCATED_FILE", f"the file ends inside ({group:04X},{tag & 0xFFFF:04X})")
        if self._count > MAX_ELEMENTS or end > MAX_HEADER_BYTES:  # before a value is read into memory
            raise BadHeaderError("MALFORMED", "more header than any CT has")
        self._end = end if length != UNDEFINED else 0
        if group % 2 and self.largest_private[1] < length != UNDEFINED:
            self.largest_private = (group, length)
        return False


def _require_ct(values: Values, meta: _Meta) -> bool:
    """Whether this is a multi-frame object; raises where it is not a CT image. Either group may name the class."""
    sop_class = values.text("SOPClassUID") or meta.sop_class
    if sop_class is None:
        message = (
            "SOPClassUID (0008,0016) is missing, and the meta group names no class: nothing says that it is CT"
        )
        raise BadHeaderError("MALFORMED", message)
    frames = values.integer("NumberOfFrames")
    if sop_class == CT_IMAGE:
        if frames is not None and frames > 1:
            raise BadHeaderError("ENHANCED_MULTIFRAME", f"a classic CT image with {frames} frames: {_NO_GROUPS}")
        return False
    if sop_class not in MULTIFRAME_CT:
        raise BadHeaderError("NON_CT_OBJECT_DROPPED", sop_class)
    return True


_NO_GROUPS = "without functional groups no frame has a position"
