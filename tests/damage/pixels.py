"""Damages of transfer syntaxes and pixel data."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from damage.edits import (
    Apply,
    Change,
    Rng,
    every,
    one,
    slices,
    stored_of,
)
from damage.kinds import Damage, flags, refuses
from volumetry.phantom.pixels import set_pixels

_RETIRED_JPEG = "1.2.840.10008.1.2.4.53"
_MPEG4 = "1.2.840.10008.1.2.4.102"
_PRIVATE_SYNTAX = "1.2.826.0.1.3680043.8.498.5.17"


def rows() -> list[Damage]:
    """Every damage of this kind."""
    return [
        *_syntaxes(),
        *_pixel_data(),
    ]


def _syntaxes() -> list[Damage]:
    return [
        refuses("jpeg_baseline", "LOSSY_8BIT", "JPEG baseline, 8 bits", reencoded(JPEGBaseline8Bit)),
        refuses("retired_jpeg", "UNSUPPORTED_TRANSFER_SYNTAX", "retired JPEG", _named(_RETIRED_JPEG)),
        refuses("video", "UNSUPPORTED_TRANSFER_SYNTAX", "a video syntax", _named(_MPEG4)),
        refuses(
            "private_syntax", "UNSUPPORTED_TRANSFER_SYNTAX", "a vendor's private syntax", _named(_PRIVATE_SYNTAX)
        ),
        flags("jpeg2000_lossy", "LOSSY", "JPEG 2000, lossy", reencoded(JPEG2000), same_hu=False),
        flags("jpegls_near", "LOSSY", "JPEG-LS, near-lossless", reencoded(JPEGLSNearLossless), same_hu=False),
        flags(
            "lossy_before",
            "LOSSY",
            "was lossy once, is uncompressed now",
            every(
                LossyImageCompression="01",
                LossyImageCompressionRatio="10",
                LossyImageCompressionMethod="ISO_10918_1",
            ),
        ),
        flags("lossy_before_once", "LOSSY", "one slice was lossy once", one(LossyImageCompression="01")),
    ]


def _pixel_data() -> list[Damage]:
    return [
        refuses("no_pixel_data", "NO_PIXEL_DATA", "no pixel data", every(PixelData=None)),
        refuses("no_pixel_data_once", "NO_PIXEL_DATA", "no pixel data in one slice", one(PixelData=None)),
        refuses(
            "private_pixel_data", "NO_PIXEL_DATA", "pixels in a vendor's private element", every(_hide_pixels)
        ),
        refuses(
            "half_the_bytes",
            "PIXEL_LENGTH",
            "half of the pixel data in one slice",
            one(_resize(lambda data: data[: len(data) // 2])),
        ),
        refuses(
            "twice_the_bytes",
            "PIXEL_LENGTH",
            "pixel data of double length",
            every(_resize(lambda data: data + data)),
        ),
        refuses(
            "one_row_short",
            "PIXEL_LENGTH",
            "Rows states one row more than there is",
            every(lambda ds, rng: _grow_rows(ds)),
        ),
        refuses(
            "codestream_of_other_size",
            "PIXEL_LENGTH",
            "a J2K codestream smaller than Rows and Columns say",
            one(_smaller_codestream(JPEG2000Lossless)),
        ),
        refuses(
            "jpegls_of_other_size",
            "PIXEL_LENGTH",
            "a JPEG-LS codestream smaller than Rows and Columns say",
            one(_smaller_codestream(JPEGLSLossless)),
        ),
        refuses(
            "jpeg_of_other_size",
            "PIXEL_LENGTH",
            "a JPEG lossless codestream smaller than Rows and Columns say",
            one(_smaller_codestream(JPEGLosslessSV1)),
        ),
        *(
            refuses(
                f"{name}_cut_inside",
                "MALFORMED",
                f"a {name} codestream with half of its data gone, ends intact",
                one(_hollow(syntax)),
            )
            for name, syntax in (("j2k", JPEG2000Lossless), ("jpegls", JPEGLSLossless), ("jpeg", JPEGLosslessSV1))
        ),
        refuses(
            "jpeg_zeroed_inside",
            "MALFORMED",
            "a JPEG lossless codestream with zeros in its middle",
            one(_zeroed(JPEGLosslessSV1)),
        ),
        refuses(
            "rle_without_segments", "PIXEL_LENGTH", "an RLE header that claims no segment", one(_rle_no_segments)
        ),
        refuses(
            "rle_bad_offsets",
            "MALFORMED",
            "an RLE header whose segments lie outside the frame",
            one(_rle_bad_offsets),
        ),
        refuses(
            "not_a_codestream", "MALFORMED", "compressed pixel data that are no codestream", one(_no_codestream)
        ),
    ]


def reencoded(transfer_syntax: str) -> Apply:
    """The same stored values in another transfer syntax."""

    def change(ds: Dataset, rng: Rng) -> None:
        stored = stored_of(ds)
        if stored is not None and stored.dtype.itemsize == 2:
            set_pixels(ds, stored, transfer_syntax)

    return every(change)


def _named(transfer_syntax: str) -> Apply:
    """One encapsulated frame under a syntax that cannot be read."""

    def change(ds: Dataset, rng: Rng) -> None:
        stored = stored_of(ds)
        if stored is None:
            return
        buffer = io.BytesIO()
        Image.fromarray(np.clip(stored // 16, 0, 255).astype(np.uint8)).save(buffer, "JPEG")
        ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
        _encapsulated(ds, buffer.getvalue())

    def apply(folder: Path, rng: Rng) -> None:
        for path, ds in slices(folder):
            change(ds, rng)
            # a private syntax says nothing about VR and byte order: pydicom wants them stated
            ds.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)

    return apply


def _hide_pixels(ds: Dataset, rng: Rng) -> None:
    if "PixelData" in ds:
        block = ds.private_block(0x7F01, "VENDOR COMPRESSION 1", create=True)
        block.add_new(0x10, "OB", ds.PixelData)
        del ds.PixelData


def _resize(change: Callable[[bytes], bytes]) -> Change:
    def apply(ds: Dataset, rng: Rng) -> None:
        if "PixelData" in ds and not ds.file_meta.TransferSyntaxUID.is_compressed:
            ds.PixelData = change(ds.PixelData)

    return apply


def _grow_rows(ds: Dataset) -> None:
    if ds.get("Rows"):
        ds.Rows = int(ds.Rows) + 1


def _smaller_codestream(transfer_syntax: str) -> Change:
    def apply(ds: Dataset, rng: Rng) -> None:
        stored = stored_of(ds)
        if stored is not None and stored.dtype.itemsize == 2:
            rows, columns = stored.shape
            set_pixels(ds, np.ascontiguousarray(stored[: rows // 2, : columns // 2]), transfer_syntax)
            ds.Rows, ds.Columns = rows, columns

    return apply


def _hollow(transfer_syntax: str) -> Change:
    """Take bytes out of the middle of a codestream: its header and its end marker still look right."""
    return _rewritten(transfer_syntax, lambda frame: frame[: len(frame) // 3] + frame[-len(frame) // 6 :])


def _zeroed(transfer_syntax: str) -> Change:
    """Overwrite the middle of a codestream with zeros, as a lost disk block leaves it."""

    def zero(frame: bytes) -> bytes:
        half, sixth = len(frame) // 2, len(frame) // 6
        return frame[:half] + bytes(sixth) + frame[half + sixth :]

    return _rewritten(transfer_syntax, zero)


def _rewritten(transfer_syntax: str, change: Callable[[bytes], bytes]) -> Change:
    def apply(ds: Dataset, rng: Rng) -> None:
        stored = stored_of(ds)
        if stored is not None and stored.dtype.itemsize == 2:
            set_pixels(ds, stored, transfer_syntax)
            _encapsulated(ds, change(next(generate_frames(ds.PixelData, number_of_frames=1))))

    return apply


def _no_codestream(ds: Dataset, rng: Rng) -> None:
    if "PixelData" in ds:
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        _encapsulated(ds, rng.bytes(2000))


def _rle_no_segments(ds: Dataset, rng: Rng) -> None:
    _rle(ds, bytes(64) + b"\x00\x05")


def _rle_bad_offsets(ds: Dataset, rng: Rng) -> None:
    _rle(ds, b"".join(n.to_bytes(4, "little") for n in (2, 64, 1 << 30)) + bytes(52) + bytes(range(64)))


def _rle(ds: Dataset, frame: bytes) -> None:
    if "PixelData" in ds:
        ds.file_meta.TransferSyntaxUID = RLELossless
        _encapsulated(ds, frame)


def _encapsulated(ds: Dataset, frame: bytes) -> None:
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
