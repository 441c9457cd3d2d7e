"""Text of a header out of its bytes, whatever a site calls its character set (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

import re
from dataclasses import dataclass

from pydicom import charset
from pydicom.valuerep import TEXT_VR_DELIMS

from volumetry.scan.headers.values import quiet_pydicom

_ISO_IR_203 = ("ISO_IR 203", "ISO 2022 IR 203")
_ESCAPE = b"\x1b"
_NAMES = {**charset.python_encoding, **dict.fromkeys(_ISO_IR_203, "iso8859_15")}
_ESCAPES = {**charset.CODES_TO_ENCODINGS, b"\x1b-b": "iso8859_15"}
_SPELLINGS = {re.sub(r"[^A-Z0-9]", "", name): name for name in _NAMES}
_ISO_8859 = {1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 15: 203}
_OTHER_NAMES = {
    "UTF8": "ISO_IR 192",
    "ISO10646": "ISO_IR 192",
    "LATIN1": "ISO_IR 100",
    **{f"ISO8859{part}": f"ISO_IR {number}" for part, number in _ISO_8859.items()},
}
"""What software that knows no DICOM calls the same sets."""
_UNREADABLE = "\ufffd"
_TWO_BYTES_EACH = (b"\x1b$B", b"\x1b$(D")
_CHINESE_ESCAPE = "\x1b$)A"
_PN_AND_TEXT_DELIMITERS = {0x5E, 0x3D, 0x5C, *TEXT_VR_DELIMS}
"""What resets an encoding: ^ and = of names, the backslash between values, and ends of lines."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, and whether every byte of it was what the header declares."""

    text: str
    faithful: bool


@dataclass(frozen=True, slots=True)
class CharacterSets:
    """What (0008,0005) of a header means.

    Parameters
    ----------
    encodings
        Python's names, the first for text before any escape sequence.
    declared
        False if the first is the default repertoire, in which no byte above 127 has a meaning.
    legal
        False if it was spelled as no standard spells it, or is unknown.
    """

    encodings: tuple[str, ...]
    declared: bool
    legal: bool

    @classmethod
    def of(cls, raw: bytes | None) -> "CharacterSets":
        """Read the element, however it is spelled; an unknown name counts as not declared.

        >>> CharacterSets.of(b"ISO IR 192").encodings, CharacterSets.of(b"iso_ir_100").encodings
        (('UTF8',), ('latin_1',))
        """
        said = [name.strip(" \0") for name in (raw or b"").decode("latin-1").split("\\")]
        known = [_known(name) for name in said]
        encodings = [_NAMES[name] for name in known if name is not None] or [charset.default_encoding]
        if known[0] in charset.STAND_ALONE_ENCODINGS:
            encodings = encodings[:1]
        legal = all(name == spelled for name, spelled in zip(known, said, strict=True))
        return cls(tuple(encodings), declared=encodings[0] != charset.default_encoding, legal=legal)

    def decode(self, value: bytes) -> Decoded:
        """Text of a value: as declared; else as UTF-8 if it is that; else what can be read of it.

        Bytes above 127 under no character set come out as Latin-1, which is how readers show them, and can be
        turned back; elsewhere what cannot be read becomes U+FFFD.
        """
        if value.isascii() and _ESCAPE not in value:
            return Decoded(value.decode("ascii"), faithful=True)
        text = self._as_declared(value)
        if text is not None:
            return Decoded(text, faithful=self.legal)
        try:
            return Decoded(value.decode("utf-8"), faithful=False)
        except UnicodeDecodeError:
            first = self.encodings[0] if self.declared else "latin-1"
            return Decoded(_without_escapes(value).decode(first, errors="replace"), faithful=False)

    def _as_declared(self, value: bytes) -> str | None:
        if _ESCAPE in value and self.encodings[0] not in ("UTF8", "GB18030", "GBK"):
            return self._extended(value)
        if not self.declared:
            return None
        try:
            text = value.decode(self.encodings[0])
        except UnicodeDecodeError:
            return None
        return None if _has_controls(text) else text

    def _extended(self, value: bytes) -> str | None:
        """With code extensions. An escape sequence names its set itself, whether or not the header does."""
        used = [name for escape, name in _ESCAPES.items() if escape in value]
        encodings = list(dict.fromkeys([*self.encodings, *used]))
        with quiet_pydicom():
            # As a whole: pydicom's own reading of a name splits it at bytes of two-byte characters.
            parts = [self._fragment(part, encodings) for part in re.findall(rb"^[^\x1b]+|\x1b[^\x1b]*", value)]
        text = "".join(parts)
        return None if _UNREADABLE in text or _ESCAPE.decode() in text else text

    @staticmethod
    def _fragment(part: bytes, encodings: list[str]) -> str:
        if part.startswith(b"\x1b-b"):  # Latin-9, which pydicom does not know yet
            return part[3:].decode("iso8859_15")
        reset = b""
        escape = next((escape for escape in _TWO_BYTES_EACH if part.startswith(escape)), None)
        if escape is not None and (len(part) - len(escape)) % 2:
            # Not switched back before a delimiter, as some writers (pydicom) leave it: no half of a letter.
            part, reset = part[:-1], part[-1:]
        text = charset.decode_bytes(part, encodings, _PN_AND_TEXT_DELIMITERS) + reset.decode("latin-1")
        return text.replace(_CHINESE_ESCAPE, "")  # Python's codec leaves this one standing


def _known(name: str) -> str | None:
    """The standard's own spelling of a set, or None.

    >>> _known("ISO_IR_100"), _known("utf-8"), _known("KLINGON")
    ('ISO_IR 100', 'ISO_IR 192', None)
    """
    if name in _NAMES:
        return name
    letters = re.sub(r"[^A-Z0-9]", "", name.upper())
    return _SPELLINGS.get(letters) or _OTHER_NAMES.get(letters)


def _has_controls(text: str) -> bool:
    return any("\x80" <= letter <= "\x9f" for letter in text)


def _without_escapes(value: bytes) -> bytes:
    return re.sub(rb"\x1b(?:\$[()]?.|[()-].)", b"", value)
