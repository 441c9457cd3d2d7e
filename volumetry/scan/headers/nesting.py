"""How deep sequences are nested, found without recursion: recursion is what a hostile file aims at."""

import struct
from typing import BinaryIO

_ITEM = 0xFFFEE000
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


def nested_deeper_than(stream: BinaryIO, limit: int, little_endian: bool) -> bool:
    """Follow the first element of the first item, level by level, from the start of a value; `stream` stays put.

    That is the shape of a nesting bomb, whose every sequence holds nothing but the next one.
    """
    at = stream.tell()
    order = "<" if little_endian else ">"
    try:
        for _ in range(limit + 1):
            start = stream.read(16)
            if len(start) < 16:
                return False
            group, element = struct.unpack_from(f"{order}HH", start)
            if group << 16 | element != _ITEM:
                return False
            if start[12:14] in _LONG_VRS:
                stream.seek(4, 1)
        return True
    finally:
        stream.seek(at)
