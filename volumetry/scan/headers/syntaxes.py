"""Transfer syntaxes: which ones are read, and by what (DICOM PS3.5 section 10 and annex A)."""

from enum import StrEnum

from pydicom.config import IGNORE
from pydicom.uid import UID


class Decoder(StrEnum):
    """What turns stored bytes into numbers; recorded with every scan."""

    NUMPY = "numpy"
    PYDICOM_RLE = "pylibjpeg-rle"
    OPENJPEG = "pylibjpeg-openjpeg"
    JPEG_LS = "pyjpegls"
    GDCM = "SimpleITK"


IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"

NATIVE = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED})
DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(NATIVE, Decoder.NUMPY),
    RLE: Decoder.PYDICOM_RLE,
    JPEG_EXTENDED: Decoder.GDCM,
    "1.2.840.10008.1.2.4.57": Decoder.GDCM,
    "1.2.840.10008.1.2.4.70": Decoder.GDCM,
    "1.2.840.10008.1.2.4.80": Decoder.JPEG_LS,
    "1.2.840.10008.1.2.4.81": Decoder.JPEG_LS,
    "1.2.840.10008.1.2.4.90": Decoder.OPENJPEG,
    "1.2.840.10008.1.2.4.91": Decoder.OPENJPEG,
    "1.2.840.10008.1.2.4.201": Decoder.OPENJPEG,
    "1.2.840.10008.1.2.4.202": Decoder.OPENJPEG,
    "1.2.840.10008.1.2.4.203": Decoder.OPENJPEG,
}
"""Every transfer syntax that is read. Decided by UID: a library's own claim of availability has been wrong."""

LOSSY = frozenset(
    {
        JPEG_BASELINE,
        JPEG_EXTENDED,
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.203",
    }
)
"""Syntaxes that may lose values; .91 and .203 need not, but nothing in the header proves it."""


def uid_name(uid: str) -> str:
    """Name of a transfer syntax or SOP class; a UID outside the standard is not printed, since it may be anything.

    >>> uid_name("1.2.840.10008.1.2.5"), uid_name("1.2.3")
    ('RLE Lossless', 'one that is private or unknown')
    """
    name = UID(uid, validation_mode=IGNORE).name  # a warning would print the value
    return "one that is private or unknown" if name == uid else str(name)
