"""What a compressed image says of its own size, read from its first bytes and without decoding anything.

Decoders follow the codestream and ignore Rows and Columns, so both must agree before a decoder sees it.
Sources: JPEG ISO/IEC 10918-1 table B.1, JPEG-LS ISO/IEC 14495-1 annex C, JPEG 2000 ISO/IEC 15444-1 annex A.5.1.
"""

import struct
from dataclasses import dataclass

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}


@dataclass(frozen=True, slots=True)
class CodestreamSize:
    """Size of the image inside a codestream."""

    rows: int
    columns: int
    components: int
    precision: int


def codestream_size(start: bytes) -> CodestreamSize | None:
    """Size stated by a JPEG, JPEG-LS or JPEG 2000 codestream; None if `start` does not state one.

    Parameters
    ----------
    start
        The first bytes; some tens of kB are enough for any sane header.

    Examples
    --------
    >>> codestream_size(bytes.fromhex("ffd8 fff7 000b 0c 0200 0100 01 01 11 00"))
    CodestreamSize(rows=512, columns=256, components=1, precision=12)
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


def ends_complete(tail: bytes) -> bool:
    """Tell whether a codestream ends with its end marker (the same one in all three families), padding apart."""
    return tail.rstrip(b"\x00\xff").endswith(b"\xff\xd9")


def _jpeg(data: bytes) -> CodestreamSize | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return CodestreamSize(rows, columns, components, precision)
        elif marker in _STANDALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _jpeg2000(data: bytes) -> CodestreamSize:
    right, bottom, left, top = struct.unpack_from(">4L", data, 8)
    components, depth = struct.unpack_from(">HB", data, 40)
    return CodestreamSize(bottom - top, right - left, components, (depth & 0x7F) + 1)
