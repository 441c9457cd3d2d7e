"""The file that GDCM is given in place of the original: pydicom reads from it what was put in."""

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGLosslessSV1

from volumetry.scan.pixels import decode_child


@pytest.mark.parametrize("codestream", [b"\xff\xd8even\xff\xd9", b"\xff\xd8odd\xff\xd9"])
def test_the_file_that_gdcm_sees_is_one_that_pydicom_reads(codestream):
    slice_ = {"syntax": JPEGLosslessSV1, "rows": 5, "columns": 7, "bits_allocated": 16, "bits_stored": 12}
    content = decode_child._minimal_file(codestream, {**slice_, "signed": True})
    read = dcmread(BytesIO(content))
    assert read.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert read.file_meta.FileMetaInformationGroupLength == len(content[144 : content.index(b"\x08\0\x16\0UI")])
    assert (read.Rows, read.Columns, read.SamplesPerPixel, read.PhotometricInterpretation) == (
        5,
        7,
        1,
        "MONOCHROME2",
    )
    assert (read.BitsAllocated, read.BitsStored, read.HighBit, read.PixelRepresentation) == (16, 12, 11, 1)
    assert (read.RescaleSlope, read.RescaleIntercept) == (1, 0)
    (frame,) = generate_frames(read.PixelData, number_of_frames=1)
    assert frame == codestream + bytes(len(codestream) % 2)
