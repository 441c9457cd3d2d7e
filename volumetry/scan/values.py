"""Values of a header read from their raw bytes, so that odd text or a bad number can never stop the reading."""

import hashlib
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from warnings import catch_warnings, simplefilter

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_PRINTABLE = bytes(byte if 32 <= byte < 127 else 32 for byte in range(256))
"""What is no printable ASCII becomes a space."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings from the log and the terminal: their texts carry header values."""
    logger = getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with catch_warnings():
            simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


class Values:
    """Raw values of one header.

    What cannot be read as the asked type is None, as if it were absent; the gate then says what is missing.
    Text is taken as printable ASCII: character sets are never decoded.
    """

    def __init__(self, header: Dataset, little_endian: bool) -> None:
        self._header = header
        self._order = "<" if little_endian else ">"

    def raw(self, keyword: str) -> bytes | None:
        """Bytes of a value, or None."""
        tag = tag_for_keyword(keyword)
        element = self._header.get_item(tag) if tag is not None and tag in self._header else None
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            return element.value
        return None

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Every value of a text element, stripped; empty if there is none."""
        data = self.raw(keyword)
        if data is None:
            return ()
        text = data.translate(_PRINTABLE).decode("ascii")
        parts = tuple(part.strip()[:64] for part in text.split("\\"))
        return parts if any(parts) else ()

    def text(self, keyword: str) -> str | None:
        """The whole text, or None if it is absent or empty."""
        return "\\".join(self.texts(keyword)) or None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Exactly `count` finite decimal numbers (DS, IS), or None."""
        parts = self.texts(keyword)
        if len(parts) != count:
            return None
        try:
            values = tuple(float(part) for part in parts)
        except ValueError:
            return None
        return values if all(math.isfinite(value) for value in values) else None

    def number(self, keyword: str) -> float | None:
        """One finite decimal number (DS, IS), or None."""
        values = self.numbers(keyword, 1)
        return values[0] if values else None

    def integer(self, keyword: str) -> int | None:
        """One integer string (IS), or None."""
        value = self.number(keyword)
        return int(value) if value is not None and value == int(value) else None

    def word(self, keyword: str) -> int | None:
        """One unsigned 16-bit number (US, or SS read as its bits), or None."""
        data = self.raw(keyword)
        return int(struct.unpack(f"{self._order}H", data)[0]) if data is not None and len(data) == 2 else None

    def digest(self, keyword: str) -> str | None:
        """Short hash of a value, for comparing identities without keeping them; None if absent or empty."""
        data = (self.raw(keyword) or b"").strip(b" \x00")
        return hashlib.sha256(data).hexdigest()[:16] if data else None
