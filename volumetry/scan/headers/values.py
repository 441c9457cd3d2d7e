"""Values of a header read from their raw bytes, so that odd text or a bad number can never stop the reading."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from warnings import catch_warnings, simplefilter

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

_PRINTABLE = bytes(byte if 32 <= byte < 127 else 32 for byte in range(256))
"""What is not printable ASCII becomes a space."""


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


Elements = dict[int, DataElement | RawDataElement]
"""Elements by tag."""


class Values:
    """Raw values of one header.

    What cannot be read as the asked type is None, as if it were absent; the gate then says what is missing.
    Text is taken as printable ASCII: character sets are never decoded.
    """

    def __init__(
        self, header: Dataset | Elements, little_endian: bool, frame: int = 0, frame_count: int = 1
    ) -> None:
        self._header = header
        self._order = "<" if little_endian else ">"
        self.frame, self.frame_count = frame, frame_count

    def raw(self, keyword: str) -> bytes | None:
        """Bytes of a value, or None."""
        element = self._element(keyword)
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            return element.value
        return None

    def _element(self, keyword: str) -> DataElement | RawDataElement | None:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._header:
            return None
        return self._header.get_item(tag) if isinstance(self._header, Dataset) else self._header[tag]

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

    def complaint(self, keyword: str, count: int) -> str | None:
        """Why an element that is there does not give `count` numbers; None if it does, or holds nothing."""
        parts = self.texts(keyword)
        if not parts or self.numbers(keyword, count) is not None:
            return None
        if any("," in part for part in parts):
            return "is written with a decimal comma, where DICOM wants a point"
        if len(parts) != count:
            return f"has {len(parts)} values instead of {count}"
        return "holds something other than finite numbers"

    def present(self, keyword: str) -> bool:
        """Whether the element is there at all, a sequence included."""
        return self._element(keyword) is not None

    def filled(self, keyword: str) -> bool:
        """Whether the element is there and holds something, a sequence included."""
        element = self._element(keyword)
        return element is not None and bool(element.value)

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

    def count(self, keyword: str) -> int | None:
        """One unsigned number of 16 or 32 bits (US, UL), or None."""
        data = self.raw(keyword)
        kind = {2: "H", 4: "L"}.get(len(data or b""))
        return int(struct.unpack(f"{self._order}{kind}", data)[0]) if data is not None and kind else None

    def real(self, keyword: str) -> float | None:
        """One finite binary number (FL, FD), or None."""
        data = self.raw(keyword)
        kind = {4: "f", 8: "d"}.get(len(data or b""))
        value = float(struct.unpack(f"{self._order}{kind}", data)[0]) if data is not None and kind else math.nan
        return value if math.isfinite(value) else None
