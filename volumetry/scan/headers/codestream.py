"""What a compressed image says of itself, read from its first bytes and without decoding anything.

Decoders follow the codestream and ignore Rows and Columns, so both must agree before a decoder sees it.
Sources: JPEG ISO/IEC 10918-1 table B.1, JPEG-LS ISO/IEC 14495-1 annex C, JPEG 2000 ISO/IEC 15444-1 annexes A.5.1
(SIZ) and A.6.1 (COD: the transformation).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_JPEG_LS_FRAME, _START_OF_SCAN = 0xF7, 0xDA
_CODING_STYLE, _COMPONENT_STYLE, _START_OF_TILE = 0xFF52, 0xFF53, 0x90


@dataclass(frozen=True, slots=True)
class CodestreamSize:
    """Size of the image inside a codestream, and whether its coding can give back every value.

    `reversible` is True for JPEG 2000 with the 5-3 transformation and for JPEG-LS that allows no error (NEAR 0),
    None where the first bytes do not show it.
    """

    rows: int
    columns: int
    components: int
    precision: int
    reversible: bool | None = None


def codestream_size(start: bytes) -> CodestreamSize | None:
    """Size stated by a JPEG, JPEG-LS or JPEG 2000 codestream; None if `start` does not state one.

    Parameters
    ----------
    start
        The first bytes; some tens of kB are enough for any sane header.

    Examples
    --------
    >>> codestream_size(bytes.fromhex("ffd8 fff7 000b 0c 0200 0100 01 01 11 00"))
    CodestreamSize(rows=512, columns=256, components=1, precision=12, reversible=None)
    """
    try:
        if start[:2] == b"\xff\xd8":
            return _jpeg(start)
        if start[:12] == b"\x00\x00\x00\x0cjP  \r\n\x87\n":  # a JP2 file around it: not legal in DICOM, but seen
            start = start[start.find(b"\xff\x4f\xff\x51") :]
        if start[:4] == b"\xff\x4f\xff\x51":
            return _jpeg2000(start)
    except (struct.error, IndexError):
        return None
    return None


def end_of_image(tail: bytes) -> int | None:
    """Offset just behind the last end marker (the same one in all three families); None if there is none.

    What stands behind it is filling. Inside coded data the marker cannot occur: JPEG stuffs a zero behind every
    FF, JPEG-LS a bit, and JPEG 2000 uses no value above FF8F there.

    >>> end_of_image(bytes.fromhex("0102 ffd9 90")), end_of_image(bytes.fromhex("0102"))
    (4, None)
    """
    at = tail.rfind(b"\xff\xd9")
    return None if at < 0 else at + 2


def _jpeg(data: bytes) -> CodestreamSize | None:
    size: CodestreamSize | None = None
    for marker, at in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            size = CodestreamSize(rows, columns, components, precision)
            if marker != _JPEG_LS_FRAME:
                return size
        elif marker == _START_OF_SCAN and size is not None:
            return replace(size, reversible=_allowed_error(data, at) == 0)
    return size


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of every segment up to the first scan; ends quietly where the bytes do."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            yield marker, at
            if marker == _START_OF_SCAN:
                return
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _allowed_error(data: bytes, at: int) -> int:
    """NEAR of a JPEG-LS scan: the largest difference that its coding allows."""
    components = data[at + 4]
    return data[at + 5 + 2 * components]


def _jpeg2000(data: bytes) -> CodestreamSize:
    right, bottom, left, top = struct.unpack_from(">4L", data, 8)
    components, depth = struct.unpack_from(">HB", data, 40)
    return CodestreamSize(bottom - top, right - left, components, (depth & 0x7F) + 1, _is_reversible(data))


def _is_reversible(data: bytes) -> bool | None:
    """Whether every coding style of a JPEG 2000 main header names the 5-3 transformation."""
    transformations = set()
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_TILE:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _CODING_STYLE and at + 13 < len(data):
            transformations.add(data[at + 13])
        elif marker == _COMPONENT_STYLE and at + 10 < len(data):
            transformations.add(data[at + 10])
        at += 2 + length
    return transformations == {1} if transformations else None
