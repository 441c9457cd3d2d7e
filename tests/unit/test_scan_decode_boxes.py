"""JPEG 2000 inside JP2 boxes: not legal in DICOM, seen all the same, and where OpenJPEG has an open advisory."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless
from scan_series import COLUMNS, ROWS, chest_hu, series, write

from volumetry.config import Config
from volumetry.domain import ScanRefusedError
from volumetry.scan import read_scan
from volumetry.scan.pixels import decode_child


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", 8 + len(content)) + kind + content


def _boxed(codestream: bytes) -> bytes:
    """A JP2 file (ISO/IEC 15444-1 annex I) around a codestream of one 16-bit component."""
    image = _box(b"ihdr", struct.pack(">LLHBBBB", ROWS, COLUMNS, 1, 15, 7, 0, 0))
    colour = _box(b"colr", bytes([1, 0, 0]) + struct.pack(">L", 17))
    return (
        _box(b"jP  ", b"\r\n\x87\n")
        + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + _box(b"jp2h", image + colour)
        + _box(b"jp2c", codestream)
    )


def _edit(ds: Dataset, _k: int) -> None:
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([_boxed(frame.rstrip(b"\0"))])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def test_boxes_around_a_codestream_change_no_value(tmp_path: Path, config: Config) -> None:
    assert np.array_equal(read_scan(write(tmp_path / "s", series(), _edit), config).hu_kji, chest_hu())


def test_no_box_reaches_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = series()[0]
    _edit(ds, 0)
    boxed = next(generate_frames(ds.PixelData, number_of_frames=1))
    handed_over = []
    minimal = decode_child._minimal
    monkeypatch.setattr(decode_child, "_minimal", lambda data, s: handed_over.append(data) or minimal(data, s))
    request = {
        "decoder": "pylibjpeg-openjpeg", "syntax": JPEG2000Lossless, "rows": ROWS, "columns": COLUMNS,
        "bits_allocated": 16, "bits_stored": 12, "signed": False,
    }  # fmt: skip
    stored = decode_child._by_pydicom(boxed, request)
    assert np.array_equal(stored.astype(np.int32) - 1024, chest_hu()[0])
    assert [data[:4] for data in handed_over] == [b"\xff\x4f\xff\x51"]


def test_boxes_around_nothing_are_refused(tmp_path: Path, config: Config) -> None:
    """The input of the advisory: boxes, and a stream that ends before the codestream."""

    def edit(ds: Dataset, k: int) -> None:
        _edit(ds, k)
        if k == 30:
            ds.PixelData = encapsulate([_boxed(b"")[:-8] + b"\xff\xd9"])
            ds["PixelData"].VR = "OB"
            ds["PixelData"].is_undefined_length = True

    with pytest.raises(ScanRefusedError) as stop:
        read_scan(write(tmp_path / "s", series(), edit), config)
    assert stop.value.code == "MALFORMED"
