"""Where the stored numbers of one slice lie, and whether the bytes that are there can be what is declared."""

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from volumetry.config import Limits
from volumetry.scan.codestream import codestream_size, ends_complete
from volumetry.scan.syntaxes import BIG_ENDIAN, DECODERS, JPEG_BASELINE, LOSSY, NATIVE, RLE, uid_name

UNDEFINED = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_MAX_FRAGMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """A code that one file earned, with its message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PixelSource:
    """All that is needed to decode one slice.

    `fragments` are (offset, length) pairs, one for uncompressed data. They count from the start of the file,
    or, if `deflated_at` is set, in what is inflated from that offset on.
    """

    syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    fragments: tuple[tuple[int, int], ...] = ()
    deflated_at: int | None = None

    @property
    def encapsulated(self) -> bool:
        """Whether the data are compressed."""
        return self.syntax not in NATIVE

    @property
    def native_bytes(self) -> int:
        """Size of the uncompressed slice."""
        return self.rows * self.columns * self.bits_allocated // 8


def locate_pixels(
    stream: BinaryIO, size: int, source: PixelSource, samples: int, limits: Limits
) -> tuple[PixelSource, tuple[Fault, ...]]:
    """Find the pixel data and check every length against every other, without decoding.

    Parameters
    ----------
    stream
        Positioned at the pixel data element, or at the end of a header that has none.
    size
        Bytes of the file, or of its inflated body.
    source
        What the header says; comes back with its fragments.
    samples
        SamplesPerPixel; the size of anything but one sample is not checked, since the gate refuses it.

    Returns
    -------
    source, faults
        The faults are empty if the slice can be given to a decoder.
    """
    fault = _bad_shape(source, limits) or _unread_syntax(source)
    if fault:
        return source, (fault,)
    start = stream.read(12)
    order = ">" if source.syntax == BIG_ENDIAN else "<"
    if len(start) < 8 or struct.unpack_from(f"{order}HH", start) != (0x7FE0, 0x0010):
        return source, (Fault("NO_PIXEL_DATA", "PixelData (7FE0,0010) is absent"),)
    if start[4:6] in (b"OB", b"OW", b"UN"):
        length = struct.unpack_from(f"{order}L", start, 8)[0] if len(start) == 12 else 0
    else:
        length = struct.unpack_from(f"{order}L", start, 4)[0]
        stream.seek(-4, 1)
    try:
        if source.encapsulated:
            fragments = _fragments(stream, size, length)
            _check_codestream(stream, source, fragments, limits)
        else:
            fragments = _native(stream, size, length, source, samples)
    except _FaultError as bad:
        return source, (bad.fault,)
    return replace(source, fragments=fragments), ()


class _FaultError(Exception):
    """Ends the look at one slice's pixel data."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.fault = Fault(code, message)


def _bad_shape(source: PixelSource, limits: Limits) -> Fault | None:
    most = limits.max_rows_columns
    if not (1 <= source.rows <= most and 1 <= source.columns <= most):
        return Fault("LIMIT_EXCEEDED", f"{source.rows} x {source.columns} pixels; allowed are 1 to {most}")
    if source.bits_allocated not in (8, 16, 32) or not 1 <= source.bits_stored <= source.bits_allocated:
        bits = f"BitsAllocated {source.bits_allocated} and BitsStored {source.bits_stored}"
        return Fault("MALFORMED", f"{bits} are no way to store a CT slice")
    if not source.bits_stored - 1 <= source.high_bit < source.bits_allocated:
        return Fault("MALFORMED", f"HighBit {source.high_bit} does not fit BitsStored {source.bits_stored}")
    return None


def _unread_syntax(source: PixelSource) -> Fault | None:
    if source.syntax == JPEG_BASELINE:
        return Fault("LOSSY_8BIT", "JPEG baseline holds 8 bits and is lossy: errors reach 64 HU")
    if source.syntax not in DECODERS:
        return Fault("UNSUPPORTED_TRANSFER_SYNTAX", f"{uid_name(source.syntax)} is not supported by this program")
    return None


def _native(
    stream: BinaryIO, size: int, length: int, source: PixelSource, samples: int
) -> tuple[tuple[int, int], ...]:
    if length == UNDEFINED:
        raise _FaultError("MALFORMED", "the transfer syntax says uncompressed, the pixel data are in fragments")
    at = stream.tell()
    if at + length > size:
        there = 100 * max(0, size - at) / length
        raise _FaultError("TRUNCATED_FILE", f"the file holds {there:.0f} % of its declared pixel data")
    expected = source.native_bytes * samples
    if not expected <= length <= expected + expected % 2:
        raise _FaultError("PIXEL_LENGTH", f"{length} bytes of pixel data where {expected} are expected")
    return ((at, source.native_bytes),)


def _fragments(stream: BinaryIO, size: int, length: int) -> tuple[tuple[int, int], ...]:
    """Items of encapsulated pixel data after the offset table (PS3.5 annex A.4)."""
    if length != UNDEFINED:
        raise _FaultError("MALFORMED", "the transfer syntax says compressed, the pixel data are not in fragments")
    items: list[tuple[int, int]] = []
    while True:
        start = stream.read(8)
        if len(start) < 8:
            raise _FaultError("TRUNCATED_FILE", "the file ends before the end of its compressed pixel data")
        group, element, item_length = struct.unpack("<HHL", start)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        at = stream.tell()
        if tag != _ITEM or len(items) > _MAX_FRAGMENTS:
            raise _FaultError("MALFORMED", "the compressed pixel data are not a row of fragments")
        if at + item_length > size:
            raise _FaultError("TRUNCATED_FILE", "the file ends inside a fragment of its compressed pixel data")
        items.append((at, item_length))
        stream.seek(item_length, 1)
    if items and items[0][1] > 4:
        raise _FaultError("PIXEL_LENGTH", "the offset table lists more than one frame")
    fragments = tuple(item for item in items[1:] if item[1])
    if not fragments:
        raise _FaultError("NO_PIXEL_DATA", "the compressed pixel data hold no fragment")
    return fragments


def _check_codestream(
    stream: BinaryIO, source: PixelSource, fragments: tuple[tuple[int, int], ...], limits: Limits
) -> None:
    start = _read(stream, fragments[0], 2**16)
    if source.syntax == RLE:
        segments = struct.unpack_from("<L", start)[0] if len(start) >= 64 else 0
        if segments != source.bits_allocated // 8:
            raise _FaultError(
                "PIXEL_LENGTH", f"{segments} RLE segments where {source.bits_allocated // 8} are needed"
            )
        return
    stated = codestream_size(start)
    if stated is None:
        raise _FaultError("MALFORMED", "the compressed pixel data do not start as their transfer syntax demands")
    if max(stated.rows, stated.columns) > limits.max_rows_columns:
        raise _FaultError("LIMIT_EXCEEDED", f"the codestream claims {stated.rows} x {stated.columns} pixels")
    if (stated.rows, stated.columns, stated.components) != (source.rows, source.columns, 1):
        inside = f"{stated.rows} x {stated.columns} x {stated.components}"
        raise _FaultError(
            "PIXEL_LENGTH", f"the codestream holds {inside}, the header says {source.rows} x {source.columns}"
        )
    if stated.precision > source.bits_allocated:
        raise _FaultError("PIXEL_LENGTH", f"the codestream has {stated.precision} bits, more than BitsAllocated")
    if stated.precision <= 8 and source.syntax in LOSSY:
        raise _FaultError("LOSSY_8BIT", "8-bit lossy pixel data")
    if any(_read(stream, fragment, 4)[:4] == start[:4] for fragment in fragments[1:]):
        raise _FaultError("PIXEL_LENGTH", "the pixel data hold more than one image")
    if not ends_complete(_tail(stream, fragments[-1])):
        raise _FaultError(
            "PIXEL_LENGTH", "the codestream ends without its end marker: part of the slice is missing"
        )


def _read(stream: BinaryIO, fragment: tuple[int, int], most: int) -> bytes:
    stream.seek(fragment[0])
    return stream.read(min(most, fragment[1]))


def _tail(stream: BinaryIO, fragment: tuple[int, int]) -> bytes:
    offset, length = fragment
    skip = max(0, length - 64)
    return _read(stream, (offset + skip, length - skip), 64)
