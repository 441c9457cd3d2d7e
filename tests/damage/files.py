"""Damages of files, folders and headers."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
)

from damage.edits import Apply, Rng, every, files, fresh, inner, one, one_file, save, slices
from damage.kinds import Damage, flags, refuses
from damage.pixels import reencoded


def rows() -> list[Damage]:
    """Every damage of this kind."""
    return [*_folders(), *_objects(), *_headers(), *_cut(), *_flags()]


def _folders() -> list[Damage]:
    return [
        refuses("empty_folder", "EMPTY_INPUT", "no file at all", _emptied),
        refuses("only_text", "EMPTY_INPUT", "nothing but a text file", _only_text),
        refuses("zip_archive", "ZIP_REJECTED", "the series packed in a ZIP archive", _zipped),
        refuses("slice_not_readable", "ACCESS_DENIED", "one file may not be read", _locked_file),
        refuses("folder_not_readable", "ACCESS_DENIED", "a subfolder may not be listed", _locked_folder),
    ]


def _objects() -> list[Damage]:
    return [
        refuses("mr_series", "NOT_CT", "an MR series", every(_as_class(MRImageStorage, "MR"))),
        refuses("modality_not_ct", "NOT_CT", "CT objects whose Modality says PT", every(Modality="PT")),
        refuses("enhanced", "ENHANCED_MULTIFRAME", "an Enhanced CT object", _multiframe(EnhancedCTImageStorage)),
        refuses(
            "legacy_converted",
            "ENHANCED_MULTIFRAME",
            "a Legacy Converted Enhanced CT object",
            _multiframe(LegacyConvertedEnhancedCTImageStorage),
        ),
        refuses(
            "uid_conflict_pixels",
            "UID_CONFLICT",
            "two files with one SOPInstanceUID and other pixels",
            _same_uid(_one_pixel),
        ),
        refuses(
            "uid_conflict_position",
            "UID_CONFLICT",
            "two files with one SOPInstanceUID and other positions",
            _same_uid(_other_place),
        ),
        refuses(
            "bare_compressed",
            "NOT_PART10",
            "compressed datasets without preamble and meta group",
            _bare_compressed,
        ),
    ]


def _headers() -> list[Damage]:
    return [
        *(
            refuses(f"no_{keyword}", "MALFORMED", f"{keyword} absent in one file", one(**{keyword: None}))
            for keyword in ("Rows", "Columns")
        ),
        refuses("no_SOPInstanceUID", "MALFORMED", "SOPInstanceUID absent in one file", _without("SOPInstanceUID")),
        refuses("no_SOPClassUID", "MALFORMED", "SOPClassUID absent in one file", _without("SOPClassUID")),
        refuses("no_transfer_syntax", "MALFORMED", "TransferSyntaxUID absent in one file", _no_syntax),
        refuses("bits_impossible", "MALFORMED", "BitsStored above BitsAllocated", one(BitsStored=20)),
        refuses("corrupt_deflate", "MALFORMED", "deflated data with wrong bytes", _corrupt_deflate),
    ]


def _cut() -> list[Damage]:
    return [
        *(
            refuses(f"cut_at_{share}", "TRUNCATED_FILE", f"one file cut at {share} %", one_file(_cut_at(share)))
            for share in (50, 90, 99)
        ),
        refuses(
            "cut_by_one_byte",
            "TRUNCATED_FILE",
            "one file lacks its last byte",
            one_file(lambda data, rng: data[:-1]),
        ),
        refuses(
            "cut_in_header",
            "TRUNCATED_FILE",
            "one file ends inside its header",
            one_file(_end_in_a_value),
        ),
        refuses(
            "cut_compressed",
            "TRUNCATED_FILE",
            "one compressed file cut at 90 %",
            _then(reencoded(JPEG2000Lossless), one_file(_cut_at(90))),
        ),
    ]


def _flags() -> list[Damage]:
    return [
        flags("zero_byte_file", "UNREADABLE_FILES", "a file of zero bytes", _new_file(lambda rng: b"")),
        flags(
            "random_bytes", "UNREADABLE_FILES", "a file of random bytes", _new_file(lambda rng: rng.bytes(8000))
        ),
        flags(
            "program_preamble",
            "NONSTANDARD_PREAMBLE",
            "one file is a DICOM file and a program at once",
            one_file(lambda data, rng: b"MZ\x90\x00" + data[4:]),
        ),
        flags(
            "script_preamble",
            "NONSTANDARD_PREAMBLE",
            "one file starts like a shell script",
            one_file(lambda data, rng: b"#!/bin/sh\n" + data[10:]),
        ),
    ]


def _then(*steps: Apply) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        for step in steps:
            step(folder, rng)

    return apply


def _new_file(content: Callable[[Rng], bytes]) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        fresh(folder, rng).write_bytes(content(rng))

    return apply


def _end_in_a_value(data: bytes, rng: Rng) -> bytes:
    """Cut inside the value of StudyDescription, long before the pixels."""
    return data[: data.find(b"\x08\x00\x30\x10") + 10]


def _cut_at(percent: int) -> Callable[[bytes, Rng], bytes]:
    return lambda data, rng: data[: len(data) * percent // 100]


def _emptied(folder: Path, rng: Rng) -> None:
    for path in files(folder):
        path.unlink()


def _only_text(folder: Path, rng: Rng) -> None:
    _emptied(folder, rng)
    (folder / "notes.txt").write_text("to be sent tomorrow\n")


def _zipped(folder: Path, rng: Rng) -> None:
    found = files(folder)
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        for path in found:
            archive.write(path, path.name)
    for path in found:
        path.unlink()


def _locked_file(folder: Path, rng: Rng) -> None:
    found = files(folder)
    if found:
        found[int(rng.integers(len(found)))].chmod(0)


def _locked_folder(folder: Path, rng: Rng) -> None:
    below = fresh(folder, rng)
    below.mkdir()
    for path, _ in slices(folder)[20:25]:
        path.rename(below / path.name)
    below.chmod(0)


def _as_class(sop_class: UID, modality: str) -> Callable[[Dataset, Rng], None]:
    def change(ds: Dataset, rng: Rng) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.Modality = modality

    return change


def _multiframe(sop_class: UID) -> Apply:
    """All slices as frames of one object; its functional groups are left out, the class alone decides."""

    def apply(folder: Path, rng: Rng) -> None:
        found = slices(folder)
        for path, _ in found:
            path.unlink()
        if found:
            path, ds = found[0]
            _as_class(sop_class, "CT")(ds, rng)
            ds.NumberOfFrames = len(found)
            ds.PixelData = b"".join(bytes(other.get("PixelData", b"")) for _, other in found)
            save(path, ds)

    return apply


def _same_uid(change: Callable[[Dataset, Rng], None]) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        found = slices(folder)
        if len(found) > 4:
            path, ds = found[inner(rng, found)]
            change(ds, rng)
            save(fresh(path.parent, rng), ds)

    return apply


def _one_pixel(ds: Dataset, rng: Rng) -> None:
    if "PixelData" in ds:
        data = bytearray(ds.PixelData)
        data[len(data) // 2] ^= 1
        ds.PixelData = bytes(data)


def _other_place(ds: Dataset, rng: Rng) -> None:
    if ds.get("ImagePositionPatient"):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{float(z) + 1:.10g}"]


def _bare_compressed(folder: Path, rng: Rng) -> None:
    """Without the meta group nothing says how the pixels are compressed."""
    reencoded(JPEG2000Lossless)(folder, rng)
    for path, ds in slices(folder):
        buffer = io.BytesIO()
        del ds.file_meta
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True, enforce_file_format=False)
        data = buffer.getvalue()
        path.write_bytes(data[132:] if data[128:132] == b"DICM" else data)


def _without(keyword: str) -> Apply:
    """Remove what pydicom insists on writing."""

    def apply(folder: Path, rng: Rng) -> None:
        found = slices(folder)
        if len(found) > 4:
            path, ds = found[inner(rng, found)]
            delattr(ds, keyword)
            ds.save_as(path, enforce_file_format=False)

    return apply


def _no_syntax(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    if len(found) > 4:
        path, ds = found[inner(rng, found)]
        del ds.file_meta.TransferSyntaxUID
        ds.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)


def _corrupt_deflate(folder: Path, rng: Rng) -> None:
    reencoded(DeflatedExplicitVRLittleEndian)(folder, rng)

    def change(data: bytes, rng: Rng) -> bytes:
        at = 144 + int.from_bytes(data[140:144], "little")  # where the meta group ends
        return data[:at] + b"\xff" + data[at + 1 :]  # a block type that does not exist

    one_file(change)(folder, rng)
