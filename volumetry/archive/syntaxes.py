"""In which transfer syntax an object is sent: as it was written, or uncompressed to an archive that refuses that.

A SEG is written deflated (a label map of version 0.1 as RLE), without loss, so that the uncompressed form is the
same instance and keeps its UID. A JPEG of a scan is never decoded here. The UIDs of a received object are read in
any syntax.
"""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What every archive should take; the second is the default of DICOM (PS3.5, 10.1)."""
MOST_INFLATED = 16 << 20
"""Bytes of a deflated object that are inflated to read its UIDs, which stand near its beginning."""
_PIXELS = 0x7FE00008
"""The first element of pixel data, and there are no UIDs behind it."""
_UNPACKED_HERE = (DeflatedExplicitVRLittleEndian, RLELossless)


def kind_of(path: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file."""
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def uids_in(content: bytes, syntax: str) -> Dataset:
    """The UIDs by which a received object is filed; no pixels are copied, and few of a deflated object inflated.

    Parameters
    ----------
    content
        An encoded dataset.
    syntax
        Its transfer syntax.

    Returns
    -------
    Dataset
        With StudyInstanceUID and SOPInstanceUID, if they are there.
    """
    uid = UID(syntax)
    if uid.is_deflated:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[:MOST_INFLATED], MOST_INFLATED)
    return read_dataset(
        BytesIO(content),
        uid.is_implicit_VR,
        uid.is_little_endian,
        stop_when=lambda tag, _vr, _length: tag >= _PIXELS,
        specific_tags=[Tag("StudyInstanceUID"), Tag("SOPInstanceUID")],
    )


def kinds_to_offer(kinds: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The kinds themselves, then the uncompressed ones of those that can be uncompressed.

    Parameters
    ----------
    kinds
        SOP class and transfer syntax of each file.

    Yields
    ------
    tuple of str
        The same, each once.
    """
    own = sorted(set(kinds))
    yield from own
    sent_plain = sorted({sop_class for sop_class, syntax in own if syntax in (*_UNPACKED_HERE, *UNCOMPRESSED)})
    for syntax in UNCOMPRESSED:  # all of the first before any of the second: a sender takes the first that fits
        yield from ((sop_class, str(syntax)) for sop_class in sent_plain if (sop_class, syntax) not in own)


def can_be_uncompressed(syntax: str) -> bool:
    """Whether an object in this syntax is compressed in a way that `uncompressed` undoes."""
    return syntax in _UNPACKED_HERE


def uncompressed(dataset: Dataset) -> Dataset:
    """The same instance in Explicit VR Little Endian, if it was deflated or RLE; otherwise as it is.

    Parameters
    ----------
    dataset
        As read from a file; it is changed in place.

    Returns
    -------
    Dataset
        The same, with the UID that it had.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if can_be_uncompressed(syntax):
        if syntax == RLELossless:
            dataset.decompress(generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset
