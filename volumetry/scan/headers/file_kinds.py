"""What a file is, by its first bytes and never from its name."""

import re
import struct
from enum import Enum, auto

import puremagic

from volumetry.scan.headers.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT

_SHORT_STARTS = (b"\xff\xd8\xff", b"BM", b"MZ", b"\x1f\x8b", b"\x00\x05\x16\x07", b"\x00\x00\x00\x01Bud1")
"""JPEG, bitmap, program, gzip, AppleDouble, .DS_Store: too short for the rule below, or not in the public list."""
_LEAST_SIGNATURE = 4
"""Bytes; shorter ones fit many a damaged slice."""
_VOLUME = re.compile(rb"NRRD000\d|\s*(ObjectType|NDims)\s*=|\x5c\x01\0\0|\0\0\x01\x5c|\x1c\x02\0\0|\0\0\x02\x1c")
"""NRRD; MetaImage; NIfTI 1 and 2 by the size of their header, in either byte order."""


class FileKind(Enum):
    """Kinds that are treated differently."""

    PART10 = auto()
    """Preamble and magic number."""
    BARE = auto()
    """Starts like a DICOM dataset without preamble."""
    ZIP = auto()
    ARCHIVE = auto()
    """An archive of a kind that is not read: see `archive_name`."""
    JUNK = auto()
    """Clearly something else."""
    VOLUME = auto()
    """NIfTI, NRRD or MetaImage."""
    UNKNOWN = auto()
    """Empty, or bytes without a meaning: it may have been a slice."""


def kind_of(start: bytes) -> FileKind:
    """Kind of a file from its first bytes (at least 132 where there are so many).

    >>> kind_of(bytes(128) + b"DICM").name, kind_of(b"notes of the day").name
    ('PART10', 'JUNK')
    """
    if start[128:132] == b"DICM":
        return FileKind.PART10
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return FileKind.ZIP
    if _is_meta_group(start) or provable_syntax(start):
        return FileKind.BARE
    if _VOLUME.match(start):
        return FileKind.VOLUME
    if archive_name(start):
        return FileKind.ARCHIVE
    if start.startswith(_SHORT_STARTS) or _is_text(start) or _has_signature(start):
        return FileKind.JUNK
    return FileKind.UNKNOWN


def archive_name(start: bytes) -> str | None:
    """What kind of archive, other than ZIP, a file is by its first bytes; None if it is none.

    >>> archive_name(b"7z" + bytes.fromhex("bcaf271c") + bytes(26)), archive_name(b"notes of the day")
    ('7z', None)
    """
    if start[257:262] == b"ustar" or _is_old_tar(start):
        return "tar"
    return next((name for magic, name in _ARCHIVES.items() if start.startswith(magic)), None)


_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def _is_old_tar(start: bytes) -> bool:
    """A tar header from before the magic word: the sum of its bytes stands in it, in octal digits."""
    block, stated = start[:512], start[148:156].strip(b" \0")
    if len(block) < 512 or not stated or not all(byte in b"01234567" for byte in stated):
        return False
    return int(stated, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")


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


def _has_signature(start: bytes) -> bool:
    """Whether a public list of signatures knows what this is; zeros alone are what a lost file is filled with."""
    try:
        matches = puremagic.magic_string(start)
    except (puremagic.PureError, ValueError):
        return False
    return any(len(match.byte_match) >= _LEAST_SIGNATURE and any(match.byte_match) for match in matches)


def _is_text(start: bytes) -> bool:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = start[: len(start) // 2 * 2].decode("utf-16")
            return all(letter.isprintable() or letter.isspace() for letter in text)
        except UnicodeDecodeError:
            return False
    if not start or any(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in start):
        return False
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return wrong.start > len(start) - 4  # only a character cut at the end of what was read
    return True
