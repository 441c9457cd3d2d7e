"""What anonymisers and converters do to UIDs, classes and words: the number must not change."""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag
from pydicom.uid import JPEG2000, CTImageStorage, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from damage.edits import Apply, Rng, add_copies, every, slices
from damage.kinds import Damage, legal
from volumetry.phantom.series import uid

_UUID = "896911bf-1143-4c8d-8f04-f3cd1a7f6204"


def rows() -> list[Damage]:
    """Every habit."""
    return [*_uids(), *_words(), *_encodings()]


def _uids() -> list[Damage]:
    content = "IDENTIFIED_BY_CONTENT"
    return [
        legal("no_sop_uids", content, "SOPInstanceUID empty in every image", each(_raw(SOPInstanceUID=""))),
        legal(
            "uids_are_uuids",
            content,
            "Study and Series UID replaced by UUIDs, which are no UIDs",
            each(_raw(StudyInstanceUID=_UUID, SeriesInstanceUID=_UUID)),
        ),
        legal("uids_doubled", content, "an anonymiser gave two slices each the same UID", each(_shared_uid)),
        legal(
            "study_of_every_slice",
            content,
            "a converter gave every slice its own StudyInstanceUID",
            each(lambda ds, k: setattr(ds, "StudyInstanceUID", uid(4711, k))),
        ),
        legal(
            "frame_of_every_slice",
            content,
            "an anonymiser gave every slice its own FrameOfReferenceUID",
            each(lambda ds, k: setattr(ds, "FrameOfReferenceUID", uid(4712, k))),
        ),
        legal("no_uids", content, "Study, Series and SOPInstanceUID empty", each(_no_uids)),
        legal("class_in_meta", None, "SOPClassUID in the meta group alone", _class_in_meta),
    ]


def _words() -> list[Damage]:
    return [
        *(
            legal(f"rescale_type_{name}", None, f"RescaleType is {word!r}", every(RescaleType=word))
            for name, word in (("us", "US"), ("hounsfield", "Houndsfield Unit"), ("lower", "hu"))
        ),
        legal(
            "siemens_std",
            None,
            "STD is the standard reconstruction of a Siemens scanner",
            every(
                ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM7 SPI DUAL", "STD", "SNRG", "DET_AB"],
                Manufacturer="SIEMENS",
            ),
        ),
        legal(
            "age_zero",
            "AGE_UNKNOWN",
            "an anonymiser wrote 000Y",
            each(_raw(PatientAge="000Y", PatientBirthDate="")),
        ),
        legal(
            "scout_of_another_system",
            "LOCALIZER_DROPPED",
            "a scout that names no birth date",
            add_copies(
                lambda found, rng: found[:1],
                new_series=True,
                ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                PatientBirthDate="",
                PatientSex="",
            ),
        ),
    ]


def _encodings() -> list[Damage]:
    return [
        legal("implicit_meta", "NOT_PART10_REPAIRED", "no preamble, meta group in Implicit VR", _implicit_meta),
        legal("filling_behind_image", None, "any byte behind the end marker of a codestream", _filled),
        legal(
            "jpeg2000_91_reversible", None, "JPEG 2000 (.91) with the reversible transformation", _reversible_91
        ),
        legal("native_filling", None, "uncompressed pixel data filled up to a block", each(_native_filling)),
    ]


def each(change: Callable[[Dataset, int], None]) -> Apply:
    """Change every slice by its number, and write it whatever pydicom thinks of its values."""

    def apply(folder: Path, rng: Rng) -> None:
        with disable_value_validation():
            for k, (path, ds) in enumerate(slices(folder)):
                change(ds, k)
                ds.save_as(path, enforce_file_format=False)

    return apply


def _raw(**texts: str) -> Callable[[Dataset, int], None]:
    def change(ds: Dataset, k: int) -> None:
        for keyword, text in texts.items():
            tag = BaseTag(tag_for_keyword(keyword) or 0)
            value = text.encode("ascii") + b" " * (len(text) % 2)
            ds[tag] = RawDataElement(tag, "LO", len(value), value, 0, False, True)

    return change


def _no_uids(ds: Dataset, k: int) -> None:
    _raw(StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID="")(ds, k)


def _shared_uid(ds: Dataset, k: int) -> None:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(4713, k // 2)


def _class_in_meta(folder: Path, rng: Rng) -> None:
    for path, ds in slices(folder):
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        del ds.SOPClassUID
        ds.save_as(path, enforce_file_format=False)


def _implicit_meta(folder: Path, rng: Rng) -> None:
    """As the archive of the Conquest server keeps its files."""
    for path, ds in slices(folder):
        body = DicomBytesIO()
        body.is_little_endian, body.is_implicit_VR = True, True
        write_dataset(body, ds)
        meta = BytesIO()
        for element, text in (
            (0x0002, CTImageStorage),
            (0x0003, ds.SOPInstanceUID),
            (0x0010, ImplicitVRLittleEndian),
        ):
            value = str(text).encode() + b"\0" * (len(str(text)) % 2)
            meta.write(struct.pack("<HHL", 0x0002, element, len(value)) + value)
        path.write_bytes(meta.getvalue() + body.getvalue())


def _filled(folder: Path, rng: Rng) -> None:
    for k, (path, ds) in enumerate(slices(folder)):
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1)).rstrip(b"\0")
        ds.PixelData = encapsulate([frame + bytes((0x90, 0xF8, 0x1F, 0x04)[: 2 + k % 3])])
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path, enforce_file_format=True)


def _reversible_91(folder: Path, rng: Rng) -> None:
    for path, ds in slices(folder):
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID, ds.LossyImageCompression = JPEG2000, "00"
        ds.save_as(path, enforce_file_format=True)


def _native_filling(ds: Dataset, k: int) -> None:
    ds.PixelData = ds.PixelData + bytes(64)
