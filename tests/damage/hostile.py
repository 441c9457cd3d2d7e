"""Hostile files: bombs are written, never opened; their headers claim what no decoder here is asked to make."""

import io
import zlib
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from damage.edits import Rng, fresh, one, one_file, renew, slices
from damage.kinds import Damage, refuses
from volumetry.phantom.pixels import set_pixels

_BOMB_MB = 600
_NESTING = 500
_PRIVATE_ELEMENTS = 10_000


def rows() -> list[Damage]:
    """Every entry of this kind."""
    return [
        refuses(
            "huge_rows",
            "LIMIT_EXCEEDED",
            "60000 rows and columns declared in one file",
            one(Rows=60000, Columns=60000),
        ),
        refuses("deflate_bomb", "LIMIT_EXCEEDED", f"{_BOMB_MB} MB in under a megabyte", _deflate_bomb),
        refuses("rle_bomb", "LIMIT_EXCEEDED", "a tiny RLE frame that claims 30000 x 30000", one(_rle_bomb)),
        refuses("j2k_bomb", "LIMIT_EXCEEDED", "a J2K codestream that claims 65535 x 65535", one(_j2k_bomb)),
        refuses("deep_folders", "LIMIT_EXCEEDED", "a slice 40 folders down", _deep_folders),
        refuses("deep_nesting", "MALFORMED", f"sequences nested {_NESTING} deep", one_file(_nested)),
        refuses("many_private", "MALFORMED", f"{_PRIVATE_ELEMENTS} private elements", one(_many_private)),
    ]


def _deflate_bomb(folder: Path, rng: Rng) -> None:
    """A slice whose pixel data are zeros without end, added beside the good ones."""
    found = slices(folder)
    if not found:
        return
    ds = found[0][1]
    renew(ds, rng)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = b""
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    plain = dcmread(io.BytesIO(buffer.getvalue()))
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = io.BytesIO()
    dcmwrite(head, plain, enforce_file_format=True)
    start = head.getvalue()
    body_at = 132 + 12 + int.from_bytes(start[140:144], "little")
    header = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start[body_at:])
    size = _BOMB_MB << 20
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    with fresh(folder, rng).open("wb") as out:
        out.write(start[:body_at])
        out.write(squeeze.compress(header[:-4] + size.to_bytes(4, "little")))
        for _ in range(_BOMB_MB):
            out.write(squeeze.compress(bytes(1 << 20)))
        out.write(squeeze.flush())


def _rle_bomb(ds: Dataset, rng: Rng) -> None:
    """Header only: two segments of a few bytes under Rows and Columns that would need 1.8 GB."""
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.Rows = ds.Columns = 30000
    segment = b"\x81\x00" * 500
    frame = b"".join(n.to_bytes(4, "little") for n in (2, 64, 64 + len(segment))) + bytes(52) + segment * 2
    _put(ds, frame)


def _j2k_bomb(ds: Dataset, rng: Rng) -> None:
    """A real codestream whose size marker is overwritten."""
    set_pixels(ds, np.zeros((64, 64), np.uint16), JPEG2000Lossless)
    ds.Rows = ds.Columns = 2048  # what a header may legally claim
    data = bytearray(ds.PixelData)
    at = data.find(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = (65535).to_bytes(4, "big") * 2
    ds.PixelData = bytes(data)


def _put(ds: Dataset, frame: bytes) -> None:
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def _deep_folders(folder: Path, rng: Rng) -> None:
    found = slices(folder)
    if found:
        below = folder.joinpath(*["a"] * 40)
        below.mkdir(parents=True)
        found[0][0].rename(below / found[0][0].name)


def _nested(data: bytes, rng: Rng) -> bytes:
    """A private sequence of sequences, appended to the meta group's neighbour as raw bytes of undefined length."""
    ds = dcmread(io.BytesIO(data))
    outer = Dataset()
    ds.add_new(0x00091010, "SQ", Sequence([outer]))
    ds.add_new(0x00090010, "LO", "VENDOR")
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    plain = buffer.getvalue()
    head = b"\x09\x00\x10\x10SQ\x00\x00"
    at = plain.find(head)
    end = at + 12 + int.from_bytes(plain[at + 8 : at + 12], "little")
    opening = head + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0" + b"\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    return plain[:at] + opening * _NESTING + closing * _NESTING + plain[end:]


def _many_private(ds: Dataset, rng: Rng) -> None:
    for block in range(_PRIVATE_ELEMENTS // 200):
        group = 0x0011 + 2 * (block // 40)
        private = ds.private_block(group, f"BLOCK {block}", create=True)
        for element in range(200):
            private.add_new(element, "US", element)
