"""Where the stored numbers of one slice lie, and whether the bytes that are there can be what is declared."""

import itertools
import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from volumetry.config import Limits
from volumetry.scan.findings import CodedError
from volumetry.scan.headers.codestream import codestream_size, end_of_image
from volumetry.scan.headers.syntaxes import (
    BIG_ENDIAN,
    DECODERS,
    JPEG_BASELINE,
    LOSSY,
    NATIVE,
    RLE,
    uid_name,
)

UNDEFINED = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_MAX_FRAGMENTS = 10_000
_PIECE_BYTES = 2**20
_FILLING_BYTES = 512
"""Archives fill uncompressed pixel data up to a block of so many bytes; more is not filling."""
Fragments = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """The code of one file, with its message."""

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
    fragments: Fragments = ()
    deflated_at: int | None = None
    reversible: bool | None = None
    """Whether the codestream gives back every value, where its syntax alone leaves that open."""
    filling: int = 0
    """Bytes of one value behind the last pixel, where they are more than a block of an archive has."""

    @property
    def encapsulated(self) -> bool:
        """Whether the data are compressed."""
        return self.syntax not in NATIVE

    @property
    def native_bytes(self) -> int:
        """Size of the uncompressed slice."""
        return self.rows * self.columns * self.bits_allocated // 8


def locate_pixels(
    stream: BinaryIO, size: int, source: PixelSource, samples: int, limits: Limits, frame_count: int = 1
) -> tuple[tuple[PixelSource, ...], tuple[Fault, ...]]:
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
    frame_count
        NumberOfFrames, 1 for a classic image.

    Returns
    -------
    sources, faults
        A source per frame. The faults are empty if the frames can be given to a decoder.
    """
    nowhere = (source,) * frame_count
    fault = _bad_shape(source, limits) or _unread_syntax(source)
    if fault:
        return nowhere, (fault,)
    start = stream.read(12)
    order = ">" if source.syntax == BIG_ENDIAN else "<"
    if len(start) < 8 or struct.unpack_from(f"{order}HH", start) != (0x7FE0, 0x0010):
        return nowhere, (Fault("NO_PIXEL_DATA", "PixelData (7FE0,0010) is absent"),)
    if start[4:6] in (b"OB", b"OW", b"UN"):
        length = struct.unpack_from(f"{order}L", start, 8)[0] if len(start) == 12 else 0
    else:
        length = struct.unpack_from(f"{order}L", start, 4)[0]
        stream.seek(-4, 1)
    try:
        if source.encapsulated:
            frames = _by_frame(stream, _fragments(stream, size, length), source, frame_count)
            return tuple(_checked(stream, replace(source, fragments=frame), limits) for frame in frames), ()
        frames, filling = _native(stream, size, length, source, samples * frame_count)
    except _FaultError as bad:
        return nowhere, (Fault(bad.code, bad.message),)
    return tuple(replace(source, fragments=frame, filling=filling) for frame in frames[:: max(1, samples)]), ()


class _FaultError(CodedError):
    """Ends the look at one slice's pixel data."""


def _bad_shape(source: PixelSource, limits: Limits) -> Fault | None:
    most = limits.max_rows_columns
    if not (1 <= source.rows <= most and 1 <= source.columns <= most):
        return Fault("LIMIT_EXCEEDED", f"{source.rows} x {source.columns} pixels; allowed are 1 to {most}")
    if source.bits_allocated not in (8, 16, 32) or not 1 <= source.bits_stored <= source.bits_allocated:
        bits = f"BitsAllocated {source.bits_allocated} and BitsStored {source.bits_stored}"
        return Fault("MALFORMED", f"{bits} do not describe a CT slice")
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
    stream: BinaryIO, size: int, length: int, source: PixelSource, planes: int
) -> tuple[list[Fragments], int]:
    """Where each plane lies, and how many bytes of filling are behind them.

    Bytes of one value are filling, however many: pixels that they might be are as good as padding. Other bytes
    behind the last pixel, from a row on, may be rows that Rows (0028,0010) leaves out.
    """
    if length == UNDEFINED:
        raise _FaultError("MALFORMED", "the transfer syntax says uncompressed, the pixel data are in fragments")
    at = stream.tell()
    if at + length > size:
        there = 100 * max(0, size - at) / length
        raise _FaultError("TRUNCATED_FILE", f"the file holds {there:.0f} % of its declared pixel data")
    plane = source.native_bytes
    expected = plane * planes
    filling = max(expected % 2, min(_FILLING_BYTES, source.columns * source.bits_allocated // 8 - 1))
    more = length - expected
    if more < 0 or (more > filling and not _is_one_value(stream, at + expected, more)):
        raise _FaultError("PIXEL_LENGTH", f"{length} bytes of pixel data where {expected} are expected")
    return [((at + n * plane, plane),) for n in range(planes)], more if more > filling else 0


def _is_one_value(stream: BinaryIO, at: int, length: int) -> bool:
    """Whether so many bytes are all the same; read piece by piece."""
    stream.seek(at)
    filled = stream.read(1) * _PIECE_BYTES
    left = length - 1
    while left > 0:
        piece = stream.read(min(left, _PIECE_BYTES))
        if not piece or piece != filled[: len(piece)]:
            return False
        left -= len(piece)
    return True


def _fragments(stream: BinaryIO, size: int, length: int) -> tuple[bytes, Fragments]:
    """Offset table and items of encapsulated pixel data (PS3.5 annex A.4)."""
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
    fragments = tuple(item for item in items[1:] if item[1])
    if not fragments:
        raise _FaultError("NO_PIXEL_DATA", "the compressed pixel data hold no fragment")
    return _read(stream, items[0], 4 * _MAX_FRAGMENTS), fragments


def _by_frame(
    stream: BinaryIO, found: tuple[bytes, Fragments], source: PixelSource, frame_count: int
) -> list[Fragments]:
    """Fragments of each frame: one each, as the offset table says, or begun by a codestream's first bytes."""
    table, fragments = found
    if len(table) > 4 * frame_count:
        raise _FaultError("PIXEL_LENGTH", f"the offset table lists more than {frame_count} frames")
    if frame_count == 1:
        return [fragments]
    if len(fragments) == frame_count:
        return [(fragment,) for fragment in fragments]
    if len(table) == 4 * frame_count:
        first = fragments[0][0] - 8
        starts = {first + offset for offset in struct.unpack(f"<{frame_count}L", table)}
        begins = [at - 8 in starts for at, _ in fragments]
    else:
        begins = [_begins_frame(_read(stream, fragment, 64), source) for fragment in fragments]
    frames: list[list[tuple[int, int]]] = []
    for fragment, begin in zip(fragments, begins, strict=True):
        if begin or not frames:
            frames.append([])
        frames[-1].append(fragment)
    if len(frames) != frame_count:
        message = f"the compressed pixel data hold {len(frames)} images where {frame_count} frames are declared"
        raise _FaultError("PIXEL_LENGTH", message)
    return [tuple(frame) for frame in frames]


_CODESTREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff")


def _begins_frame(start: bytes, source: PixelSource) -> bool:
    """Whether a fragment starts as a frame does: by a codestream's marker, or by RLE's table of segments.

    The table has 16 numbers (PS3.5 G.5): how many segments, where each begins, the first right behind the table,
    and zeros.
    """
    if source.syntax != RLE:
        return start[:3] in _CODESTREAM_STARTS
    if len(start) < 64:
        return False
    count, *offsets = struct.unpack("<16L", start)
    used, unused = offsets[:count], offsets[count:]
    rising = all(one < other for one, other in itertools.pairwise(used))
    return count == source.bits_allocated // 8 and used[0] == 64 and rising and not any(unused)


def _checked(stream: BinaryIO, source: PixelSource, limits: Limits) -> PixelSource:
    """The source of one compressed frame, ended where its image ends."""
    start = _read(stream, source.fragments[0], 2**16)
    if source.syntax != RLE:
        return _checked_codestream(stream, source, start, limits)
    segments = struct.unpack_from("<L", start)[0] if len(start) >= 64 else 0
    if segments != source.bits_allocated // 8:
        raise _FaultError("PIXEL_LENGTH", f"{segments} RLE segments where {source.bits_allocated // 8} are needed")
    return source


def _checked_codestream(stream: BinaryIO, source: PixelSource, start: bytes, limits: Limits) -> PixelSource:
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
    if any(_read(stream, fragment, 4)[:4] == start[:4] for fragment in source.fragments[1:]):
        raise _FaultError("PIXEL_LENGTH", "the pixel data hold more than one image")
    return replace(source, fragments=_ended(stream, source.fragments), reversible=stated.reversible)


def _ended(stream: BinaryIO, fragments: Fragments) -> Fragments:
    """Fragments up to the end marker: what an encoder or an archive put behind it is filling."""
    for count in range(len(fragments), 0, -1):
        at, length = fragments[count - 1]
        for most in (64, length):
            skip = max(0, length - most)
            end = end_of_image(_read(stream, (at + skip, length - skip), most))
            if end is not None:
                return (*fragments[: count - 1], (at, skip + end))
    raise _FaultError("PIXEL_LENGTH", "the codestream ends without its end marker: part of the slice is missing")


def _read(stream: BinaryIO, fragment: tuple[int, int], most: int) -> bytes:
    stream.seek(fragment[0])
    return stream.read(min(most, fragment[1]))
