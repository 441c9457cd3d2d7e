"""What a file is, told from its first bytes and never from its name."""

import struct
from enum import Enum, auto

from volumetry.scan.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT

_JUNK_STARTS = (
    b"\xff\xd8\xff",  # JPEG picture
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"%PDF",
    b"\x1f\x8b",  # gzip
    b"\x00\x00\x00\x01Bud1",  # .DS_Store
    b"\x00\x05\x16\x07",  # AppleDouble
    b"\xd0\xcf\x11\xe0",  # Thumbs.db
    b"SQLite format 3",
    b"Rar!",
    b"7z\xbc\xaf",
    b"MZ",
    b"\x7fELF",
    b"\xff\xfe",  # UTF-16 text
    b"\xfe\xff",
)


class FileKind(Enum):
    """Kinds that are treated differently."""

    PART10 = auto()
    """Preamble and magic number."""
    BARE = auto()
    """Starts like a DICOM dataset without preamble."""
    ZIP = auto()
    JUNK = auto()
    """Clearly something else."""
    UNKNOWN = auto()
    """Empty, or bytes without a meaning: it may have been a slice."""


def kind_of(start: bytes) -> FileKind:
    """Kind of a file from its first bytes (at least 132 where there are so many).

    >>> kind_of(bytes(128) + b"DICM"), kind_of(b"notes of the day")
    (<FileKind.PART10: 1>, <FileKind.JUNK: 4>)
    """
    if start[128:132] == b"DICM":
        return FileKind.PART10
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return FileKind.ZIP
    if _is_meta_group(start) or provable_syntax(start):
        return FileKind.BARE
    if start.startswith(_JUNK_STARTS) or _is_text(start):
        return FileKind.JUNK
    return FileKind.UNKNOWN


def _is_meta_group(start: bytes) -> bool:
    """A meta group without preamble, in Explicit VR as DICOM asks, or in Implicit VR as some archives write."""
    if start[:2] != b"\x02\x00" or len(start) < 16:
        return False
    element, length = struct.unpack_from("<HL", start, 2)
    return start[4:6] == b"UL" or (element <= 0x0102 and length <= 64)


def provable_syntax(start: bytes) -> str | None:
    """Uncompressed transfer syntax in which `start` reads as the first element of group 0008, if there is one.

    >>> provable_syntax(bytes.fromhex("08000500 43530a00") + b"ISO_IR 100") == EXPLICIT
    True
    """
    if len(start) < 16:
        return None
    if start[:2] == b"\x08\x00":
        if start[4:6].isalpha() and start[4:6].isupper():
            return EXPLICIT
        element, length = struct.unpack_from("<HL", start, 2)
        return IMPLICIT if element <= 0x2000 and length < 4096 else None
    if start[:2] == b"\x00\x08" and start[4:6].isalpha() and start[4:6].isupper():
        return BIG_ENDIAN
    return None


def _is_text(start: bytes) -> bool:
    if not start or any(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in start):
        return False
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return wrong.start > len(start) - 4  # only a character cut at the end of what was read
    return True
