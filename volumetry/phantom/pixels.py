"""Stored values into a dataset's pixel data, in every transfer syntax that a permissive encoder can write."""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE: tuple[str, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
LOSSLESS: tuple[str, ...] = (*NATIVE, RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, JPEGLossless)
"""Syntaxes that give back every stored value; HTJ2K is proved by `volumetry.phantom.htj2k` alone."""
LOSSY: tuple[str, ...] = (JPEG2000, JPEGLSNearLossless, JPEGBaseline8Bit)

Stored = NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.uint8]


def set_pixels(ds: Dataset, stored_ji: Stored, transfer_syntax: str) -> None:
    """Put one slice into a dataset whose pixel attributes describe `stored_ji`, and name the syntax.

    Parameters
    ----------
    ds
        With file meta; Rows, Columns and, for lossy syntaxes, what the standard asks to admit, are set here.
    stored_ji
        16-bit stored values; JPEG baseline keeps their high 8 bits and changes the attributes to match.

    Raises
    ------
    ValueError
        If no encoder for the syntax is at hand.
    """
    syntax = UID(transfer_syntax)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.Rows, ds.Columns = stored_ji.shape
    if syntax in NATIVE:
        big_endian = syntax == ExplicitVRBigEndian
        ds.PixelData = (stored_ji.byteswap() if big_endian == (sys.byteorder == "little") else stored_ji).tobytes()
        ds["PixelData"].VR = "OW"
    elif syntax in (JPEGLosslessSV1, JPEGLossless):
        _encapsulate(ds, jpeg_lossless(stored_ji))
    elif syntax == JPEGBaseline8Bit:
        _baseline(ds, stored_ji)
    elif syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEG2000, JPEGLSNearLossless):
        _compress(ds, stored_ji, syntax)
    else:
        raise ValueError(f"no encoder for {syntax.name}")


def jpeg_lossless(stored_ji: Stored) -> bytes:
    """A JPEG process 14 codestream, selection value 1: legal under both .70 and .57; the encoder is GDCM's."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored_ji))
    with tempfile.TemporaryDirectory() as folder:  # noqa: TID251  a drawn slice, of nobody
        path = Path(folder) / "slice.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(image)
        return next(generate_frames(dcmread(path).PixelData, number_of_frames=1))


def _compress(ds: Dataset, stored_ji: Stored, syntax: UID) -> None:
    how: dict[str, Any] = {}
    if syntax == JPEG2000:
        how = {"j2k_cr": [12]}
        _admit_loss(ds, "ISO_15444_1", 12)
    elif syntax == JPEGLSNearLossless:
        how = {"jls_error": 2}
        _admit_loss(ds, "ISO_14495_1", 3)
    plugin = "pylibjpeg" if syntax in (RLELossless, JPEG2000Lossless, JPEG2000) else "pyjpegls"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # what compress() starts from
    ds.compress(syntax, arr=stored_ji, encoding_plugin=plugin, generate_instance_uid=False, **how)


def _baseline(ds: Dataset, stored_ji: Stored) -> None:
    """8 bits: the top of the stored range in steps, as a careless converter writes it."""
    step = 1 << max(0, int(ds.BitsStored) - 8)
    eight = np.clip(stored_ji.astype(np.int32) // step, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(eight).save(buffer, "JPEG", quality=90)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.RescaleSlope = ds.RescaleSlope * step
    _admit_loss(ds, "ISO_10918_1", 10)
    _encapsulate(ds, buffer.getvalue())


def _admit_loss(ds: Dataset, method: str, ratio: float) -> None:
    ds.ImageType = ["DERIVED", *list(ds.ImageType)[1:]]
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", method
    ds.LossyImageCompressionRatio = ratio


def _encapsulate(ds: Dataset, codestream: bytes) -> None:
    ds.PixelData = encapsulate([codestream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
