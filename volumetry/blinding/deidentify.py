"""One CT slice without identity, time or origin: pixels and geometry as they were, everything else by allow-list.

What is kept is listed; what is not listed goes, private or not, known or not. A list of what to remove would have
to know every vendor's tag.
"""

import hashlib
import hmac
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.headers.values import quiet_pydicom

_NUMBER_GROUPS = (0x0018, 0x0020, 0x0028)
"""Acquisition, image, pixel description: numbers of these groups stay, whatever they are."""
_BINARY_NUMBERS = ("US", "SS", "UL", "SL", "FL", "FD", "US or SS")
_TEXT_NUMBERS = ("DS", "IS")
_NUMBERS = re.compile(rb"[0-9+\-.eE\\ \x00]*")
_COUNTS_OF_STUDIES = range(0x00201200, 0x00201210)
"""How many studies the patient has had would reveal the visit."""
_FIXED_WORDS = {
    "SOPClassUID": r"[0-9.]+",
    "Modality": "CT",
    "PatientPosition": "(HF|FF)(S|P|DR|DL)",
    "PhotometricInterpretation": "MONOCHROME[12]",
    "LossyImageCompression": "0[01]",
    "BurnedInAnnotation": "NO",
}
_TEXTS = (
    "ImageType",
    "ConvolutionKernel",
    "FilterType",
    "ScanOptions",
    "RescaleType",
    "LossyImageCompressionMethod",
)
"""Texts that a reader or the gate needs; one that repeats something secret is replaced by a token."""
_PRINTABLE = re.compile(r"[A-Za-z0-9_./^+\\ ,-]{0,256}")
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_EMPTY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "Manufacturer",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "PositionReferenceIndicator",
)
"""Elements that the standard wants to be there, empty or not."""
_SECRETS = (
    "PatientID",
    "PatientName",
    "OtherPatientNames",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "InstitutionName",
    "ReferringPhysicianName",
    "OperatorsName",
    "StationName",
    "DeviceSerialNumber",
)
"""Descriptions are not among them: they hold the kernel's name, which is kept, and go as a whole."""
_SHORTEST_SECRET = 4
"""Shorter words (``CT``, ``1``) are found in almost any text."""
_PIXELS = 0x7FE00010


class OverlayInPixelsError(Exception):
    """Graphics lie in unused bits of the pixels, which must not be touched; they may be text."""


@dataclass(frozen=True, slots=True)
class Disguise:
    """How a scan is de-identified.

    Parameters
    ----------
    reading_id
        Its opaque name, which also becomes PatientID and PatientName.
    secret
        Key of the hashes that replace UIDs; thrown away when the package is made.
    words
        What may not show in a kept text, reduced by `plain`: subjects, visits, arms.
    start_s
        Time of the scan's first acquisition, seconds from midnight; times become times from there.
    """

    reading_id: str
    secret: bytes
    words: frozenset[str] = frozenset()
    start_s: float = 0.0

    def uid(self, uid: str) -> UID:
        """A new UID in the place of one of the source.

        Parameters
        ----------
        uid
            Of the source.

        Returns
        -------
        UID
            The same within a scan, another in every other scan and package; below 2.25 (DICOM PS3.5 B.2).
        """
        number = int.from_bytes(self._digest(uid)[:16], "big")
        return UID(f"2.25.{number}")

    def token(self, text: str) -> str:
        """A word in the place of a text, so that texts that differ still differ.

        Parameters
        ----------
        text
            Of the source.

        Returns
        -------
        str
            X and eight hexadecimal digits.
        """
        return f"X{self._digest(text)[:4].hex().upper()}"

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.secret, f"{self.reading_id}\0{text}".encode(), hashlib.sha256)


def plain(text: str) -> str:
    """Letters and digits alone, without case.

    >>> plain("UC-MSC^day 28")
    'ucmscday28'
    """
    return re.sub(r"[\W_]+", "", text).casefold()


def secret_words(texts: Iterable[str]) -> frozenset[str]:
    """Texts as `Disguise.words` holds them: whole and in parts, those long enough to mean something."""
    parts = {plain(part) for text in texts for part in (text, *re.split(r"[\^=\\\s]", text))}
    return frozenset(part for part in parts if len(part) >= _SHORTEST_SECRET)


def seconds_of(time: str | None) -> float | None:
    """Seconds from midnight of a DICOM time, or None.

    >>> seconds_of("120130.5"), seconds_of("noon")
    (43290.5, None)
    """
    found = re.fullmatch(r"(\d\d)(\d\d)?(\d\d(?:\.\d{1,6})?)?", time or "")
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def cleaned(header: SliceHeader, disguise: Disguise) -> bytes:
    """A slice as a de-identified DICOM file.

    Pixel data, their transfer syntax and every kept number are copied byte for byte.

    Parameters
    ----------
    header
        Of a file that the gate's bounded reader has accepted.
    disguise
        Its new identity.

    Returns
    -------
    bytes
        A DICOM file (PS3.10).

    Raises
    ------
    OverlayInPixelsError
        If the pixels carry graphics in unused bits.
    Exception
        Whatever a hostile header makes pydicom raise; its text may carry values.
    """
    with quiet_pydicom(), header.file.open() as stream:
        ds = dcmread(stream, force=True)
        _refuse_overlays(ds)
        words = disguise.words | secret_words(_values(ds, _SECRETS))
        texts = {keyword: _kept_text(ds, keyword, disguise, words) for keyword in _TEXTS}
        uids = {keyword: str(ds[keyword].value) for keyword in _UIDS if keyword in ds and ds[keyword].value}
        contrast = (
            any(text for text in _values(ds, ("ContrastBolusAgent",))) if "ContrastBolusAgent" in ds else None
        )
        for tag in [tag for tag in ds.keys() if not _stays(tag, ds.get_item(tag))]:  # noqa: SIM118  it is not a dict
            del ds[tag]
        for keyword in _EMPTY:
            setattr(ds, keyword, "")
        for keyword, text in texts.items():
            if text is not None:
                setattr(ds, keyword, text)
        for keyword, uid in uids.items():
            setattr(ds, keyword, disguise.uid(uid))
        if contrast is not None:
            ds.ContrastBolusAgent = "CONTRAST" if contrast else ""
        _set_time(ds, header, disguise)
        ds.PatientName = ds.PatientID = disguise.reading_id
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "volumetry blind"
        ds.LongitudinalTemporalInformationModified = "REMOVED"
        return _written(ds, header.pixels.syntax)


def _stays(tag: BaseTag, element: DataElement | RawDataElement) -> bool:
    if tag == _PIXELS:
        return True
    if tag.is_private or not dictionary_has_tag(tag):
        return False
    fixed = next((_FIXED_WORDS[k] for k in _FIXED_WORDS if tag_for_keyword(k) == tag), None)
    if fixed is not None:
        return re.fullmatch(fixed, _raw(element).decode("ascii", "replace").strip(" \x00")) is not None
    if tag.group not in _NUMBER_GROUPS or tag in _COUNTS_OF_STUDIES:
        return False
    vr = dictionary_VR(tag)
    if element.VR not in (None, "UN", *vr.split(" or ")):
        return False  # a text that poses as a number
    return vr in _BINARY_NUMBERS or (vr in _TEXT_NUMBERS and _NUMBERS.fullmatch(_raw(element)) is not None)


def _raw(element: DataElement | RawDataElement) -> bytes:
    value = element.value
    if isinstance(value, bytes):
        return value
    parts = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    return "\\".join(str(part) for part in parts if part is not None).encode("ascii", "replace")


def _values(ds: Dataset, keywords: Iterable[str]) -> list[str]:
    """Texts of elements, in any character set or none: what matters is that their letters are known."""
    present = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None and tag in ds]
    return [_raw(ds.get_item(tag)).decode("utf-8", "replace").strip(" \x00") for tag in present]


def _kept_text(ds: Dataset, keyword: str, disguise: Disguise, words: frozenset[str]) -> list[str] | None:
    if keyword not in ds:
        return None
    texts = [text.strip() for text in _values(ds, (keyword,))[0].split("\\")]
    return [disguise.token(text) if _tells(text, words) else text for text in texts]


def _tells(text: str, words: frozenset[str]) -> bool:
    bare = plain(text)
    return _PRINTABLE.fullmatch(text) is None or any(word in bare for word in words)


def _refuse_overlays(ds: Dataset) -> None:
    """OverlayBitPosition (60xx,0102) other than 0 says that the graphics lie in the pixels themselves."""
    for tag in ds.keys():  # noqa: SIM118  iterating a Dataset would parse every element
        if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102 and any(_raw(ds.get_item(tag)).strip(b"0\x00 ")):
            raise OverlayInPixelsError


def _set_time(ds: Dataset, header: SliceHeader, disguise: Disguise) -> None:
    """AcquisitionTime from the scan's first: sweeps can still be distinguished, the hour of the day cannot."""
    now = seconds_of(header.acquisition_time)
    if now is None:
        return
    micro = round(1e6 * (now - disguise.start_s))
    seconds, micro = divmod(micro, 1_000_000)
    ds.AcquisitionTime = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{micro:06d}"


def _written(ds: Dataset, syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta, ds.preamble = meta, bytes(128)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
