"""In which transfer syntax an object is sent: as it was written, or uncompressed to an archive that refuses that.

A SEG is written deflated (a label map of version 0.1 as RLE), without loss, so that the uncompressed form is the
same instance and keeps its UID. A JPEG of a scan is never decoded here.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What every archive should take; the second is the default of DICOM (PS3.5, 10.1)."""
_UNPACKED_HERE = (DeflatedExplicitVRLittleEndian, RLELossless)


def kind_of(path: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file."""
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


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
