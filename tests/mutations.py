"""Mutated DICOM files and folders, each made from a number: what a hostile or a broken sender may give.

Bases are small phantoms in several transfer syntaxes, written once. `mutate` damages the bytes of one of their
slices; `FOLDERS` damages the folder around them.
"""

import io
import os
import random
import socket
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2KLossless
from scan_series import series

from volumetry.phantom.htj2k import put_htj2k
from volumetry.phantom.pixels import LOSSLESS, LOSSY, set_pixels

Random = random.Random
SYNTAXES = (*LOSSLESS, *LOSSY, str(HTJ2KLossless))
_VRS = [b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"OB", b"OW", b"PN", b"SH"]
_VRS += [b"SL", b"SQ", b"SS", b"ST", b"TM", b"UI", b"UL", b"UN", b"US", b"UT", b"UV", b"\0\0", b"zz"]
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 64, 127, 128, 255, 256, 1000, 2047, 2048, 2049, 4096, 32767)
_WORDS = (*_NUMBERS, 32768, 65533, 65534, 65535)
_LENGTHS = (*_NUMBERS, 65534, 65535, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_TEXTS = (
    b"", b" ", b"\\", b"\\\\\\", b"nan", b"inf", b"-inf", b"1e999", b"-1e-999", b"0x10", b"1_0", b"1,5", b"--1",
    b"9" * 4999,
    b"\\".join([b"1"] * 5000), b"\0" * 16, b"\xff\xfe\x00\x01", b"\x1b$B\x00", b"../../../../etc/passwd", b"=1+1",
    b"<script>alert(1)</script>", b"%s%n%x{0}", b"1.2.840.10008.1.2.4.90", b"-0",
    b"1" + b"0" * 400, b"\xe2\x80\xae1",
    b"1e308\\1e308\\1e308", b"1e308", b"5e-324", b"\n\r\t",
)  # fmt: skip
_US = "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PixelPaddingValue"
_TEXT = (
    "ImagePositionPatient ImageOrientationPatient PixelSpacing RescaleSlope RescaleIntercept InstanceNumber "
    "NumberOfFrames SliceThickness SOPInstanceUID SOPClassUID SeriesInstanceUID StudyInstanceUID PatientAge KVP "
    "FrameOfReferenceUID ImageType AcquisitionNumber AcquisitionTime PatientPosition SpecificCharacterSet "
    "StudyDate RescaleType PhotometricInterpretation ConvolutionKernel Modality PatientID SpacingBetweenSlices"
)


def write_bases(root: Path) -> dict[str, Path]:
    """One small measurable series per transfer syntax; folder by UID."""
    folders = {}
    for syntax in SYNTAXES:
        folder = root / syntax
        folder.mkdir(parents=True)
        for k, ds in enumerate(series()):
            plane = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
            if syntax == HTJ2KLossless:
                put_htj2k(ds)  # every slice the same: it is its codestream that is wanted here
            else:
                set_pixels(ds, plane, syntax)
            ds.save_as(folder / f"{k:04d}", enforce_file_format=True)
        folders[syntax] = folder
    return folders


# --- bytes ---------------------------------------------------------------------------------------------


def _header_end(data: bytes) -> int:
    at = max(data.find(b"\xe0\x7f\x10\x00"), data.find(b"\x7f\xe0\x00\x10"))
    return at if at > 0 else len(data)


def _place(data: bytes, dice: Random) -> int:
    """Somewhere, mostly in the header: that is where the parent reads."""
    return dice.randrange(132, _header_end(data)) if dice.random() < 0.7 else dice.randrange(len(data))


def flip_bits(data: bytes, dice: Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        out[_place(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(out)


def overwrite(data: bytes, dice: Random) -> bytes:
    at, many = _place(data, dice), dice.choice((1, 2, 4, 8, 64, 512))
    filling = dice.choice((dice.randbytes(many), b"\0" * many, b"\xff" * many))
    return data[:at] + filling + data[at + many :]


def truncate(data: bytes, dice: Random) -> bytes:
    return data[: dice.choice((_place(data, dice), len(data) - 1, 131, 132, 0, len(data) // 2))]


def insert(data: bytes, dice: Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + dice.randbytes(dice.choice((1, 2, 3, 4, 8, 1000))) + data[at:]


def remove(data: bytes, dice: Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + data[at + dice.choice((1, 2, 3, 4, 8, 100)) :]


def repeat(data: bytes, dice: Random) -> bytes:
    at, many = _place(data, dice), dice.choice((8, 100, 1000))
    return data[:at] + data[at : at + many] * dice.choice((2, 3, 50)) + data[at:]


def twice(data: bytes, dice: Random) -> bytes:
    return data + data[dice.choice((0, 132)) :]


def noise(data: bytes, dice: Random) -> bytes:
    start = dice.choice((b"", bytes(128) + b"DICM", data[:200], data[:132], b"\x08\x00\x05\x00CS\x02\x00"))
    return start + dice.randbytes(dice.choice((0, 1, 7, 8, 100, 10_000)))


def _elements(data: bytes) -> list[tuple[int, int, bool]]:
    """(start, value's start, long form) of explicit little-endian elements after the preamble."""
    found, at = [], 132
    while at + 8 <= len(data) and len(found) < 300:
        vr = data[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            break
        wide = vr in _LONG
        if at + (12 if wide else 8) > len(data):
            break
        size = struct.unpack_from("<L", data, at + 8)[0] if wide else struct.unpack_from("<H", data, at + 6)[0]
        value = at + (12 if wide else 8)
        found.append((at, value, wide))
        at = value + (0 if size == 0xFFFFFFFF else size)
    return found


def lie_about_length(data: bytes, dice: Random) -> bytes:
    elements = _elements(data)
    if not elements:
        return flip_bits(data, dice)
    _, value, wide = dice.choice(elements)
    size = dice.choice(_LENGTHS)
    field = struct.pack("<L", size) if wide else struct.pack("<H", min(size, 0xFFFF))
    return data[: value - len(field)] + field + data[value:]


def other_vr(data: bytes, dice: Random) -> bytes:
    elements = _elements(data)
    if not elements:
        return flip_bits(data, dice)
    at = dice.choice(elements)[0]
    return data[: at + 4] + dice.choice(_VRS) + data[at + 6 :]


def other_tag(data: bytes, dice: Random) -> bytes:
    elements = _elements(data)
    if not elements:
        return flip_bits(data, dice)
    at = dice.choice(elements)[0]
    tags = (0x0002, 0x0008, 0x0009, 0x0028, 0x7FE0, 0xFFFE, 0xFFFC, 0x0000, 0xFFFF, 0x6000, dice.randrange(65536))
    tag = struct.pack(
        "<HH", dice.choice(tags), dice.choice((0, 0x10, 0xE000, 0xE00D, 0xE0DD, dice.randrange(65536)))
    )
    return data[:at] + tag + data[at + 4 :]


def shuffle_elements(data: bytes, dice: Random) -> bytes:
    """Two elements of the header change places: tags out of order."""
    elements = _elements(data)
    if len(elements) < 4:
        return flip_bits(data, dice)
    first, second = sorted(dice.sample(range(len(elements) - 1), 2))
    a, b = elements[first][0], elements[first + 1][0]
    c, d = elements[second][0], elements[second + 1][0]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


# --- elements ------------------------------------------------------------------------------------------


def _edited(data: bytes, change: Callable[[Dataset], None]) -> bytes:
    ds = dcmread(io.BytesIO(data), force=True)
    change(ds)
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=False)
    return out.getvalue()


def _raw(ds: Dataset, keyword: str, value: bytes) -> None:
    element = ds.get_item(keyword)
    if element is not None and hasattr(element, "_replace"):
        ds._dict[element.tag] = element._replace(value=value, length=len(value))


def odd_number(data: bytes, dice: Random) -> bytes:
    order = "<" if b"1.2.840.10008.1.2.2\0" not in data[:1000] else ">"

    def change(ds: Dataset) -> None:
        for keyword in dice.sample(_US.split(), dice.choice((1, 1, 2))):
            _raw(ds, keyword, struct.pack(f"{order}H", dice.choice(_WORDS)))

    return _edited(data, change)


def odd_text(data: bytes, dice: Random) -> bytes:
    def change(ds: Dataset) -> None:
        for keyword in dice.sample(_TEXT.split(), dice.choice((1, 1, 3))):
            value = dice.choice(_TEXTS)
            _raw(ds, keyword, value + b" " * (len(value) % 2))

    return _edited(data, change)


def other_syntax(data: bytes, dice: Random) -> bytes:
    uids = [*SYNTAXES, "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.53", "1.2.3", "1.2.840.10008.1.2.4.202", ""]
    return _edited(data, lambda ds: _raw(ds.file_meta, "TransferSyntaxUID", dice.choice(uids).encode()))


def absurd_size(data: bytes, dice: Random) -> bytes:
    """Dimensions that need gigabytes, in the header, over the pixel data of a small slice."""
    size = dice.choice(((65535, 65535), (2048, 2048), (1, 2048), (2048, 1), (30000, 1), (2049, 2049)))

    def change(ds: Dataset) -> None:
        ds.Rows, ds.Columns = size
        if dice.random() < 0.3:
            ds.NumberOfFrames = dice.choice((1, 2, 4096, 2**31 - 1))

    return _edited(data, change)


# --- sequences -----------------------------------------------------------------------------------------

_ITEM, _ITEM_END, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def _into_header(data: bytes, element: bytes) -> bytes:
    """An explicit little-endian element put before group 0018, where its tag belongs."""
    at = data.find(b"\x18\x00\x50\x00DS")
    at = at if at > 0 else min(400, len(data))
    return data[:at] + element + data[at:]


def nest(data: bytes, dice: Random) -> bytes:
    """Sequences in sequences: bare, or with a harmless element before the next level, of both kinds of length."""
    depth = dice.choice((2, 10, 63, 64, 65, 100, 500, 3000, 20_000))
    tag = b"\x09\x00\x10\x10"
    before = dice.choice((b"", b"\x09\x00\x01\x10US\x02\x00\x01\x00", b"\x08\x00\x00\x01SH\x04\x00ABCD"))
    opening = (
        tag + dice.choice((b"SQ", b"UN")) + b"\0\0\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff" + before
    ) * depth
    closing = dice.choice(((_ITEM_END + _END) * depth, b"", _END * depth))
    return _into_header(data, opening + closing)


def nest_defined(data: bytes, dice: Random) -> bytes:
    """The same with stated lengths, built from the inside."""
    content = b""
    for _ in range(dice.choice((10, 65, 300, 1500))):
        item = _ITEM + struct.pack("<L", len(content)) + content
        content = b"\x09\x00\x10\x10SQ\0\0" + struct.pack("<L", len(item)) + item
    return _into_header(data, content)


def endless(data: bytes, dice: Random) -> bytes:
    """A sequence that never ends, or that has more items than anyone wants."""
    items = dice.choice((1, 1000, 100_000))
    item = dice.choice(
        (_ITEM + b"\0\0\0\0", _ITEM + b"\xff\xff\xff\xff" + _ITEM_END, _ITEM + b"\x08\0\0\0\x08\0\x50\0SH\0\0")
    )
    start = b"\x09\x00\x10\x10" + dice.choice((b"SQ", b"UN", b"OB")) + b"\0\0\xff\xff\xff\xff"
    return _into_header(data, start + item * items + dice.choice((b"", _END)))


def many_elements(data: bytes, dice: Random) -> bytes:
    count = dice.choice((100, 4999, 5001, 60_000))
    elements = b"".join(
        struct.pack("<HH2sHH", 0x0009, 0x1000 + n % 0xE000, b"US", 2, n % 65536) for n in range(count)
    )
    return _into_header(data, elements)


def fat_element(data: bytes, dice: Random) -> bytes:
    size = dice.choice((2**16, 2**20, 2**25, 70 * 2**20))
    return _into_header(data, b"\x09\x00\x10\x10OB\0\0" + struct.pack("<L", size) + bytes(size))


# --- pixel data --------------------------------------------------------------------------------------------


def _frame(data: bytes) -> tuple[Dataset, bytes] | None:
    ds = dcmread(io.BytesIO(data), force=True)
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return None
    return ds, next(generate_frames(ds.PixelData, number_of_frames=1))


def _put(ds: Dataset, frame: bytes) -> bytes:
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=False)
    return out.getvalue()


def hurt_codestream(data: bytes, dice: Random) -> bytes:
    found = _frame(data)
    if found is None:
        return flip_bits(data, dice)
    ds, frame = found
    out = bytearray(frame)
    for _ in range(dice.choice((1, 2, 4, 30))):
        out[dice.randrange(min(len(out), dice.choice((20, 80, 10**9))))] = dice.choice(
            (0, 1, 0xFF, dice.randrange(256))
        )
    return _put(ds, bytes(out))


def cut_codestream(data: bytes, dice: Random) -> bytes:
    found = _frame(data)
    if found is None:
        return truncate(data, dice)
    ds, frame = found
    end = dice.choice((b"", b"\xff\xd9"))
    return _put(ds, frame[: dice.randrange(len(frame))] + end)


def tiles(data: bytes, dice: Random) -> bytes:
    """JPEG 2000: tile sizes, counts of levels and layers, offsets: the fields behind decoder bombs."""
    found = _frame(data)
    if found is None or b"\xff\x4f\xff\x51" not in found[1]:
        return hurt_codestream(data, dice)
    ds, frame = found
    out, at = bytearray(frame), frame.find(b"\xff\x4f\xff\x51")
    for _ in range(dice.choice((1, 2, 3))):
        field = dice.choice((16, 20, 24, 28, 32, 36))
        struct.pack_into(">L", out, at + field, dice.choice((0, 1, 2, 3, 47, 2**16, 2**31, 2**32 - 1)))
    cod = frame.find(b"\xff\x52")
    if cod > 0 and dice.random() < 0.6:
        out[cod + 4 + dice.randrange(10)] = dice.choice((0, 1, 32, 33, 255))
    return _put(ds, bytes(out))


def rle_bomb(data: bytes, dice: Random) -> bytes:
    ds = dcmread(io.BytesIO(data), force=True)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
    ds.Rows, ds.Columns = dice.choice(((2048, 2048), (48, 56), (1, 1), (2048, 1)))
    segments = dice.choice((0, 1, 2, 2, 2, 3, 15, 16, 2**32 - 1))
    offsets = [dice.choice((0, 1, 63, 64, 66, 2**31, 2**32 - 1)) for _ in range(15)]
    body = dice.choice(
        (b"\x81\x00" * 500, b"\x80" * 1000, b"\x7f", bytes(100), b"\xff" * 3000, dice.randbytes(999))
    )
    ds.PixelData = b""
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return _put(ds, struct.pack("<16L", segments, *offsets) + body)


def fragments(data: bytes, dice: Random) -> bytes:
    """Thousands of fragments, empty ones, a lying offset table, no end."""
    found = _frame(data)
    if found is None:
        return lie_about_length(data, dice)
    ds, frame = found
    step = dice.choice((2, 4, 64))
    parts = [frame[n : n + step] for n in range(0, len(frame), step)]
    parts += [b""] * dice.choice((0, 10, 20_000))
    table = dice.choice((b"", b"\0\0\0\0", b"\xff" * 4, bytes(4000)))
    body = _ITEM + struct.pack("<L", len(table)) + table
    body += b"".join(_ITEM + struct.pack("<L", len(part)) + part for part in parts)
    plain = _put(ds, b"\0\0")
    at = _header_end(plain)
    return plain[: at + 12] + body + dice.choice((_END, b"", _ITEM + b"\xff\xff\xff\xff"))


def deflate(data: bytes, dice: Random) -> bytes:
    """The deflated syntax around a bomb, noise, a cut stream or a stream that goes on."""
    head = data[:132] + b"\x02\x00\x10\x00UI\x16\x00" + b"1.2.840.10008.1.2.1.99"
    body = data[_after_meta(data) :]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    kind = dice.choice(("bomb", "noise", "cut", "more", "hurt"))
    if kind == "bomb":
        zeros = bytes(2**20)
        return (
            head
            + squeeze.compress(body)
            + b"".join(squeeze.compress(zeros) for _ in range(dice.choice((20, 200))))
            + squeeze.flush()
        )
    packed = squeeze.compress(body) + squeeze.flush()
    if kind == "noise":
        return head + dice.randbytes(2000)
    if kind == "cut":
        return head + packed[: dice.randrange(len(packed))]
    return head + (packed + dice.randbytes(500) if kind == "more" else flip_bits(bytes(132) + packed, dice)[132:])


def _after_meta(data: bytes) -> int:
    if data[132:140] == b"\x02\x00\x00\x00UL\x04\x00":
        return 144 + int(struct.unpack_from("<L", data, 140)[0])
    return 132


def no_preamble(data: bytes, dice: Random) -> bytes:
    start = dice.choice((132, _after_meta(data)))
    return flip_bits(bytes(132) + data[start:], dice)[132:] if dice.random() < 0.5 else data[start:]


def hurt_meta(data: bytes, dice: Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 2, 5))):
        out[dice.randrange(128, min(_after_meta(data), len(data)))] = dice.randrange(256)
    return bytes(out)


MUTATORS: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits, overwrite, truncate, insert, remove, repeat, twice, noise, lie_about_length, other_vr, other_tag,
    shuffle_elements, odd_number, odd_text, other_syntax, absurd_size, nest, nest_defined, endless, many_elements,
    fat_element, hurt_codestream, cut_codestream, tiles, rle_bomb, fragments, deflate, no_preamble, hurt_meta,
)  # fmt: skip


def mutate(data: bytes, dice: Random) -> tuple[str, bytes]:
    """One of the mutations above, seldom two of them in a row; its name, and the bytes that came of it.

    A mutation that cannot be applied to what another left is replaced by flipped bits.
    """
    names = []
    for _ in range(dice.choice((1, 1, 1, 2))):
        mutator = dice.choice(MUTATORS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom remarks on what is ruined on purpose
                data = mutator(data, dice)
            names.append(mutator.__name__)
        except Exception:  # noqa: BLE001  what a second mutation makes of the first one's ruins is open
            data = flip_bits(data + bytes(200), dice)
            names.append("flip_bits")
    return "+".join(names), data


# --- folders -------------------------------------------------------------------------------------------


def _fifo(folder: Path, dice: Random) -> None:
    os.mkfifo(folder / "0000a")


def _socket(folder: Path, dice: Random) -> None:
    here = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{here}/0000b")  # the path itself may be too long
    finally:
        os.close(here)


def _link_loops(folder: Path, dice: Random) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "up").symlink_to("..")
    (folder / "root").symlink_to("/")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "gone").symlink_to(folder / "no such file")


def _deep(folder: Path, dice: Random) -> None:
    below = folder
    for _ in range(dice.choice((31, 33, 60))):
        below = below / "d"
    below.mkdir(parents=True)
    (below / "x").write_bytes(b"DICM")


def _odd_names(folder: Path, dice: Random) -> None:
    data = (folder / "0003").read_bytes()
    for n, name in enumerate(
        (b"\xff\xfe", b"a\nb", b"\xe2\x80\xae1.dcm", b"-rf", b" ", b"a" * 255, b"$(id)", b"%s%n")
    ):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(data[: 100 * n])


def _many_files(folder: Path, dice: Random) -> None:
    for n in range(3000):
        (folder / f"z{n}").touch()


def _zip_bomb(folder: Path, dice: Random) -> None:
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("slice.dcm", bytes(100 * 2**20))


def _directory_file(folder: Path, dice: Random) -> None:
    meta = b"\x02\x00\x02\x00UI\x14\x00" + b"1.2.840.10008.1.3.10"
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + meta + dice.randbytes(dice.choice((0, 50, 5000))))


def _lost(folder: Path, dice: Random) -> None:
    for path in dice.sample(sorted(p for p in folder.iterdir() if p.is_file()), dice.choice((1, 5, 40))):
        path.unlink()


def _sparse(folder: Path, dice: Random) -> None:
    """A terabyte that takes no room."""
    with (folder / "sparse").open("wb") as stream:
        stream.write(bytes(128) + b"DICM")
        stream.truncate(2**40)


def _sparse_element(folder: Path, dice: Random) -> None:
    """A header whose one element is a gigabyte, and the file has it."""
    data = (folder / "0003").read_bytes()
    at = data.find(b"\x18\x00\x50\x00DS")
    with (folder / "0003").open("wb") as stream:
        stream.write(data[:at] + b"\x09\x00\x10\x10OB\0\0" + struct.pack("<L", 2**30))
        stream.seek(2**30, os.SEEK_CUR)
        stream.write(data[at:])


def _sparse_deflated(folder: Path, dice: Random) -> None:
    """Zeros behind a deflated header: a file of gigabytes that a reader must not take in whole."""
    data = (folder / "0003").read_bytes()
    with (folder / "0003").open("wb") as stream:
        stream.write(deflate(data, Random(1))[:400])
        stream.truncate(3 * 2**30)


FOLDERS: tuple[Callable[[Path, Random], None], ...] = (
    _fifo, _socket, _link_loops, _deep, _odd_names, _many_files, _zip_bomb, _directory_file, _lost, _sparse,
    _sparse_element, _sparse_deflated,
)  # fmt: skip
