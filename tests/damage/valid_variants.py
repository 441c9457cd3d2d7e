"""Legal or safely repairable quirks of files, objects and headers: the number must not change."""

import io
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from damage.edits import (
    Apply,
    Rng,
    add_copies,
    every,
    files,
    fresh,
    inner,
    renew,
    save,
    set_tag,
    slices,
)
from damage.kinds import Damage, legal
from volumetry.phantom.series import uid


def rows() -> list[Damage]:
    """Every legal quirk."""
    return [
        *_files(),
        *_objects(),
        *_headers(),
    ]


def _files() -> list[Damage]:
    return [
        legal("no_preamble", "NOT_PART10_REPAIRED", "bare datasets, uncompressed", _bare(implicit=False)),
        legal("no_preamble_implicit", "NOT_PART10_REPAIRED", "bare datasets, implicit VR", _bare(implicit=True)),
        legal("no_preamble_but_meta", "NOT_PART10_REPAIRED", "meta group without preamble", _no_preamble),
        legal(
            "tiff_preamble", None, "dual-personality TIFF preamble", _all_files(lambda data: b"II*\x00" + data[4:])
        ),
        legal("junk_files", "JUNK_FILES_SKIPPED", "a text file, a thumbnail, a .DS_Store", _junk),
        legal("duplicates", "DUPLICATE_FILE", "five files twice", _duplicates),
        legal(
            "duplicates_recompressed",
            "DUPLICATE_FILE",
            "one instance again in another transfer syntax",
            _recompressed_duplicate,
        ),
        legal("dicomdir", "DICOMDIR_IGNORED", "a DICOMDIR that points out of the folder", _dicomdir),
        legal("nested_folders", None, "slices spread over subfolders", _nested_folders),
        legal(
            "odd_names", None, "names with newline, quotes, right-to-left marks and non-UTF-8 bytes", _odd_names
        ),
        legal("links", "LINKS_SKIPPED", "links to slices, and a loop", _links),
        legal("fifo", "NOT_REGULAR_FILE", "a FIFO and a socket among the files", _fifo),
        legal("trailing_padding", None, "a data set trailing padding element", every(_trailing_padding)),
    ]


def _objects() -> list[Damage]:
    return [
        legal("scout", "LOCALIZER_DROPPED", "a scout with the same matrix in the same series", _scout),
        legal(
            "scout_by_plane",
            "LOCALIZER_DROPPED",
            "a coronal overview that does not call itself a scout",
            _overview,
        ),
        legal("dose_report", "NON_CT_OBJECT_DROPPED", "an RGB dose report in the folder", _dose_report),
        legal(
            "short_series",
            "OTHER_SERIES_IGNORED",
            "a five-slice series of the same study in the folder",
            add_copies(lambda found, rng: found[10:35:5], new_series=True),
        ),
        legal("pdf", "NON_CT_OBJECT_DROPPED", "an encapsulated PDF in the folder", _pdf),
    ]


def _headers() -> list[Damage]:
    return [
        legal("no_instance_number", "NO_INSTANCE_NUMBER", "InstanceNumber absent", every(InstanceNumber=None)),
        legal("empty_instance_number", "NO_INSTANCE_NUMBER", "InstanceNumber empty", every(_empty_number)),
        legal("numbered_downwards", None, "InstanceNumber falls along the body", _downwards),
        legal("numbered_at_random", "REORDERED", "InstanceNumber has nothing to do with place", _shuffled_numbers),
        legal("named_at_random", "REORDERED", "file names have nothing to do with place", _shuffled_names),
        legal("numbered_from_zero", None, "InstanceNumber starts at 0", every(_number_less_one)),
        legal(
            "no_frame_of_reference", None, "FrameOfReferenceUID absent everywhere", every(FrameOfReferenceUID=None)
        ),
        legal(
            "no_optional_tags",
            "AGE_UNKNOWN",
            "kernel, kVp, position, age and location absent",
            every(
                ConvolutionKernel=None,
                KVP=None,
                PatientPosition=None,
                PatientAge=None,
                SliceLocation=None,
                ManufacturerModelName=None,
                BodyPartExamined=None,
                AcquisitionNumber=None,
            ),
        ),
        legal("no_rescale_type", None, "RescaleType absent", every(RescaleType=None)),
        legal("rescale_type_upper", None, "RescaleType with trailing space", every(RescaleType="HU ")),
        legal(
            "acquisition_time_varies",
            None,
            "AcquisitionTime and AcquisitionNumber change with every slice",
            _own_acquisition,
        ),
        legal("odd_charset", None, "a character set nobody knows", _odd_charset),
        legal("other_charset", None, "a Japanese name", every(_japanese)),
        legal(
            "markup_in_text",
            None,
            "markup and a formula in free text",
            every(SeriesDescription="<script>alert(1)</script>", StudyDescription="=1+1"),
        ),
        legal("private_tags", None, "private elements and a nested private sequence", every(_private)),
        legal(
            "empty_type_two",
            None,
            "birth date, sex and accession number empty",
            every(PatientBirthDate="", PatientSex="", AccessionNumber=""),
        ),
        legal(
            "deidentified",
            None,
            "identity emptied as de-identification does",
            every(PatientID="", PatientName="", PatientIdentityRemoved="YES"),
        ),
    ]


def _all_files(change: Callable[[bytes], bytes]) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        for path in files(folder):
            path.write_bytes(change(path.read_bytes()))

    return apply


def _bare(*, implicit: bool) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        for path, ds in slices(folder):
            del ds.file_meta
            ds.preamble = None
            buffer = io.BytesIO()
            dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
            path.write_bytes(buffer.getvalue())

    return apply


def _no_preamble(folder: Path, rng: Rng) -> None:
    for path in files(folder):
        data = path.read_bytes()
        if data[128:132] == b"DICM":
            path.write_bytes(data[132:])


def _junk(folder: Path, rng: Rng) -> None:
    (folder / "readme.txt").write_text("sent on Monday\n")
    (folder / "thumbnail.jpg").write_bytes(bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9"))
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(200))


def _duplicates(folder: Path, rng: Rng) -> None:
    for path, _ in slices(folder)[5:30:5]:
        shutil.copyfile(path, fresh(path.parent, rng))


def _recompressed_duplicate(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    if len(found) > 4:
        path, ds = found[inner(rng, found)]
        if "PixelData" in ds and not ds.file_meta.TransferSyntaxUID.is_compressed:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            save(fresh(path.parent, rng), ds)


def _dicomdir(folder: Path, rng: Rng) -> None:
    """A directory object whose record names a file above the folder."""
    outside = folder / "DICOMDIR"
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.preamble = bytes(128)
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = uid(*rng.integers(1 << 30, size=2))
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.FileSetID = "SET"
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.FileSetConsistencyFlag = 0
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity, record.DirectoryRecordType = 0, "IMAGE"
    record.ReferencedFileID = ["XX", "XX", "ETC", "PASSWD"]
    ds.DirectoryRecordSequence = [record]
    ds.save_as(outside, enforce_file_format=True)
    outside.write_bytes(outside.read_bytes().replace(b"XX\\XX", b"..\\.."))  # pydicom would not write it


def _nested_folders(folder: Path, rng: Rng) -> None:
    for n, path in enumerate(files(folder)):
        below = folder / f"S{n % 3}" / f"{n % 2}"
        below.mkdir(parents=True, exist_ok=True)
        path.rename(below / path.name)


def _odd_names(folder: Path, rng: Rng) -> None:
    names = (b"line\nbreak", b"caf\xe9", b"quote'\"", "\u202egpj.mcd".encode(), b"=1+1", b" ", b"-rf", b"a;b&c|d")
    for path, name in zip(files(folder), names, strict=False):
        os.rename(os.fsencode(path), os.path.join(os.fsencode(path.parent), name))


def _links(folder: Path, rng: Rng) -> None:
    found = files(folder)
    if found:
        fresh(folder, rng).symlink_to(found[0])
        fresh(folder, rng).symlink_to(folder, target_is_directory=True)
        fresh(folder, rng).symlink_to("/")


def _fifo(folder: Path, rng: Rng) -> None:
    os.mkfifo(fresh(folder, rng))
    here = os.open(folder, os.O_RDONLY)
    try:  # a socket's path is limited to about 100 bytes, a folder's is not
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(f"/proc/self/fd/{here}/s")
    except OSError:
        pass
    finally:
        os.close(here)


def _trailing_padding(ds: Dataset, rng: Rng) -> None:
    ds.DataSetTrailingPadding = bytes(64)


def _scout(folder: Path, rng: Rng) -> None:
    _extra(folder, rng, ["ORIGINAL", "PRIMARY", "LOCALIZER"])


def _overview(folder: Path, rng: Rng) -> None:
    _extra(folder, rng, ["ORIGINAL", "PRIMARY", "AXIAL"])


def _extra(folder: Path, rng: Rng, image_type: list[str]) -> None:
    """One coronal image with the matrix of the series."""
    found = slices(folder)
    if found:
        path, ds = found[len(found) // 2]
        renew(ds, rng)
        ds.ImageType = image_type
        ds.InstanceNumber = 0
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
        ds.ImagePositionPatient = ["-30", "0", "80"]
        save(fresh(path.parent, rng), ds)


def _dose_report(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    if found:
        path, ds = found[0]
        renew(ds, rng)
        rows, columns = 64, 64
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SeriesInstanceUID, ds.SeriesNumber = uid(*rng.integers(1 << 30, size=2)), 501
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = rows, columns, 3, 0
        ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "RGB", 8, 8, 7
        ds.PixelRepresentation, ds.PixelData = 0, bytes(rows * columns * 3)
        ds["PixelData"].VR = "OW"
        save(fresh(path.parent, rng), ds)


def _pdf(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    if found:
        path, ds = found[0]
        renew(ds, rng)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
        ds.SeriesInstanceUID = uid(*rng.integers(1 << 30, size=2))
        ds.Modality = "DOC"
        for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient"):
            set_tag(ds, keyword, None)
        ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4\n%%EOF\n", "application/pdf"
        save(fresh(path.parent, rng), ds)


def _empty_number(ds: Dataset, rng: Rng) -> None:
    ds.InstanceNumber = None


def _downwards(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    for n, (path, ds) in enumerate(found):
        ds.InstanceNumber = len(found) - n
        save(path, ds)


def _shuffled_numbers(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    for number, (path, ds) in zip(rng.permutation(len(found)), found, strict=True):
        ds.InstanceNumber = int(number) + 1
        save(path, ds)


def _shuffled_names(folder: Path, rng: Rng) -> None:
    found = files(folder)
    content = [path.read_bytes() for path in found]
    for path, n in zip(found, rng.permutation(len(found)), strict=True):
        path.write_bytes(content[n])


def _number_less_one(ds: Dataset, rng: Rng) -> None:
    if ds.get("InstanceNumber") is not None:
        ds.InstanceNumber = int(ds.InstanceNumber) - 1


def _own_acquisition(folder: Path, rng: Rng) -> None:
    for n, (path, ds) in enumerate(slices(folder)):
        ds.AcquisitionNumber, ds.AcquisitionTime = n + 1, f"1200{n % 60:02d}"
        save(path, ds)


def _odd_charset(folder: Path, rng: Rng) -> None:
    _all_files(lambda data: data.replace(b"ISO_IR 100", b"ISO_IR 999"))(folder, rng)


def _japanese(ds: Dataset, rng: Rng) -> None:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"


def _private(ds: Dataset, rng: Rng) -> None:
    block = ds.private_block(0x0029, "VENDOR HEADER", create=True)
    inner_set = Dataset()
    inner_set.Rows, inner_set.Columns, inner_set.RescaleIntercept = 1, 1, "0"  # must not be taken for ours
    block.add_new(0x10, "SQ", [inner_set])
    block.add_new(0x11, "OB", bytes(5000))
