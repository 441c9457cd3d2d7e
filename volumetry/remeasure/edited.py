"""An edited mask, in any of the formats that editors write, as labels on the scan's own grid."""

import itertools
import math
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from volumetry.deliver.dicom import concepts
from volumetry.domain import FLUID, Grid, Tissue
from volumetry.remeasure.lattice import EditedMaskError, geometry, placement
from volumetry.remeasure.segments import labels_of, tissue_named
from volumetry.remeasure.text_volumes import checked, read_text_volume
from volumetry.scan.headers.files import file_ref
from volumetry.scan.inputs.inflation import GZIP, start_of

_OFF_SLICES = 0.25
"""How far a SEG frame may: it carries the position of its own slice, and the gate lets slices jitter."""

_CODES = {
    (concepts.LUNG.value, concepts.LUNG.scheme_designator): Tissue.AERATED,
    (concepts.GROUND_GLASS.value, concepts.GROUND_GLASS.scheme_designator): Tissue.GROUND_GLASS,
    (concepts.CONSOLIDATION.value, concepts.CONSOLIDATION.scheme_designator): Tissue.SOLID,
    (concepts.SOLID_COMPONENT.value, concepts.SOLID_COMPONENT.scheme_designator): Tissue.SOLID,
    (concepts.LESION.value, concepts.LESION.scheme_designator): Tissue.UNCLASSED,
    (concepts.FLUID.value, concepts.FLUID.scheme_designator): FLUID,
}
_MOST_HEADER_BYTES = 2**26
_BEFORE_META = 128 + 4 + 12
"""Preamble, ``DICM``, and the element that states the length of the file meta information (PS3.10, 7.1)."""
_UNREADABLE = "the mask cannot be read as NIfTI, DICOM SEG, NRRD or MetaImage"
_TEXT = (b"NRRD000", b"ObjectType", b"NDims", b"Comment")
"""How an NRRD or a MetaImage begins."""


def read_edited_mask(path: Path, grid: Grid, series_uid: str | None = None) -> NDArray[np.uint8]:
    """Labels (0 to 5: `Tissue`, and `FLUID`) of an edited mask on the scan's grid.

    Parameters
    ----------
    path
        NIfTI, DICOM SEG (BINARY or LABELMAP), NRRD (or Slicer's .seg.nrrd) or MetaImage, by its content.
    grid
        The scan's own.
    series_uid
        Of the scan, if it is known: two visits can have one grid, and a SEG says to which series it belongs.

    Returns
    -------
    NDArray[np.uint8]
        Shape `grid.shape_kji`.

    Raises
    ------
    EditedMaskError
        If the file is none of these, lies on another grid (both geometries are in the message), is a SEG of
        another series, holds other labels, or has lesion and no lung.
    """
    labels = _read(path, grid, series_uid)
    if labels.any() and not (labels == Tissue.AERATED).any():
        raise EditedMaskError(
            "the mask has lesion and no lung: without the label 1 or a segment lung, the lesion would be the lung",
            hint="Edit the delivered mask, which has the lungs, or add them to the edited one.",
        )
    return labels


def _read(path: Path, grid: Grid, series_uid: str | None) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
        if not start.startswith(GZIP):
            is_text = start.lstrip().startswith(_TEXT)
        else:
            whole = file_ref(path.resolve())
            is_text = whole is not None and start_of(whole)[:64].lstrip().startswith(_TEXT)
    except OSError as wrong:
        raise EditedMaskError(f"cannot read the mask: {wrong.strerror}") from wrong
    is_dicom = start[128:] == b"DICM"
    if is_text:
        return read_text_volume(path, grid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another program wrote the file; what matters is checked here
            return _from_seg(path, grid, series_uid) if is_dicom else _from_nifti(path, grid)
    except (ImageFileError, InvalidDicomError, AttributeError, EOFError, IndexError, KeyError, OSError) as wrong:
        raise EditedMaskError(
            f"the mask cannot be read as NIfTI, DICOM SEG, NRRD or MetaImage ({type(wrong).__name__})"
        ) from wrong
    except (TypeError, ValueError, zlib.error) as wrong:
        raise EditedMaskError(
            f"the mask cannot be read as NIfTI, DICOM SEG, NRRD or MetaImage ({type(wrong).__name__})"
        ) from wrong


def _from_nifti(path: Path, grid: Grid) -> NDArray[np.uint8]:
    _require_short_header(path)
    image = nib.load(path)
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or image.get_data_dtype().fields is not None:
        raise EditedMaskError(f"the mask has {len(shape)} dimensions or colours; labels have three and none")
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise EditedMaskError("the NIfTI says nowhere where it lies (sform and qform code 0)")
    place = placement(np.asarray(image.affine, float), shape, grid)  # before any voxel is unpacked
    return place.onto(checked(np.asarray(image.dataobj).reshape(shape)), grid)


def _require_short_header(path: Path) -> None:
    """Whoever reads the file reads up to the first voxel at once, and inflates all of it."""
    file = file_ref(path.resolve())
    start = b"" if file is None else start_of(file)
    for kind, order in itertools.product((nib.Nifti1Header, nib.Nifti2Header), ("little", "big")):
        size = int(kind.sizeof_hdr)
        if len(start) >= size and int.from_bytes(start[:4], order) == size:  # type: ignore[arg-type]
            first = float(kind(start[:size], endianness=order, check=False)["vox_offset"])
            if not first < _MOST_HEADER_BYTES:
                raise EditedMaskError("the header of the NIfTI is larger than that of any mask")


def _inflated(path: Path, meta: FileMetaDataset, grid: Grid) -> Dataset:
    """A SEG that is deflated as a whole; never more than a byte for each voxel of the scan, and a long header."""
    bound = math.prod(grid.shape_kji) + _MOST_HEADER_BYTES
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as stream:
        stream.seek(_BEFORE_META + int(meta.FileMetaInformationGroupLength))
        body = inflate.decompress(stream.read(bound), bound + 1)
    if len(body) > bound:
        raise EditedMaskError("the deflated DICOM SEG inflates to more than a mask of this scan can hold")
    if not inflate.eof:
        raise EditedMaskError("the deflated DICOM SEG ends early")
    file = read_dataset(BytesIO(body), is_implicit_VR=False, is_little_endian=True)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta = meta
    return file


def _from_seg(path: Path, grid: Grid, series_uid: str | None) -> NDArray[np.uint8]:
    meta = read_file_meta_info(path)
    deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    file = _inflated(path, meta, grid) if deflated else dcmread(path)
    if "SegmentSequence" not in file or file.get("SegmentationType") not in ("BINARY", "LABELMAP"):
        raise EditedMaskError("the DICOM file is not a BINARY or LABELMAP segmentation")
    drawn_on = {str(one.get("SeriesInstanceUID")) for one in file.get("ReferencedSeriesSequence") or ()}
    if series_uid and drawn_on and series_uid not in drawn_on:
        raise EditedMaskError(
            "the SEG states that it was drawn on another series than this scan",
            hint="Give the SEG of this scan; if the UIDs of the images were replaced meanwhile, save it as NIfTI.",
        )
    tissues = dict(_tissues_of(file))
    label_map = file.SegmentationType == "LABELMAP"
    names = sorted(set(tissues.values()))
    members = {tissue: np.zeros(grid.shape_kji, bool) for tissue in names}
    announced = int(file.Rows) * int(file.Columns) * int(file.get("NumberOfFrames", 1))
    if announced > math.prod(grid.shape_kji) * max(1, len(tissues)):
        raise EditedMaskError("the SEG announces more voxels than the scan has")
    pixels = np.asarray(file.pixel_array)
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    shared = file.SharedFunctionalGroupsSequence[0]
    for frame, groups in zip(pixels, file.PerFrameFunctionalGroupsSequence, strict=True):
        if label_map:
            for number in np.unique(frame[frame > 0]).tolist():
                _place(members[_known(tissues, number)], frame == number, groups, shared, grid)
        else:
            number = int(_group(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            _place(members[_known(tissues, number)], frame > 0, groups, shared, grid)
    return labels_of(members, grid.shape_kji)


def _tissues_of(file: Dataset) -> Iterator[tuple[int, int]]:
    """Segment number to tissue: by code, or by its label where a tool replaced our codes."""
    for segment in file.SegmentSequence:
        if int(segment.SegmentNumber) == 0:  # background of a label map
            continue
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        tissue = _CODES.get((kind.get("CodeValue", ""), kind.get("CodingSchemeDesignator", "")))
        tissue = tissue or tissue_named(str(segment.get("SegmentLabel", "")))
        if tissue is None:
            number = int(segment.SegmentNumber)
            raise EditedMaskError(
                f"segment {number} is neither lung, ground glass, consolidation, lesion nor pleural fluid, "
                "by code or by label"
            )
        yield int(segment.SegmentNumber), tissue


def _known(tissues: dict[int, int], number: int) -> int:
    if number not in tissues:
        raise EditedMaskError(f"a frame belongs to segment {number}, which is not described")
    return tissues[number]


def _group(groups: Dataset, shared: Dataset, name: str) -> Dataset:
    return (groups if name in groups else shared)[name].value[0]  # type: ignore[no-any-return]  # a sequence's item


def _place(
    member: NDArray[np.bool_], inside: NDArray[np.bool_], groups: Dataset, shared: Dataset, grid: Grid
) -> None:
    """Mark a frame's pixels where its position, orientation and spacing put them."""
    position = np.asarray(_group(groups, shared, "PlanePositionSequence").ImagePositionPatient, float)
    cosines = np.asarray(_group(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
    row_mm, column_mm = (float(v) for v in _group(groups, shared, "PixelMeasuresSequence").PixelSpacing)
    to_index = np.linalg.inv(grid.step_lps_mm)
    start = to_index @ (position - np.asarray(grid.origin_lps_mm))
    steps = to_index @ np.stack([cosines[3:] * row_mm, cosines[:3] * column_mm], axis=1)
    corner = np.asarray(inside.shape) - 1
    turn = np.rint(steps)
    axes_match = np.array_equal(np.abs(turn).sum(axis=0), [1, 1]) and np.abs(turn).sum(axis=1).max() == 1
    off = max(np.abs(start - np.rint(start)).max(), np.abs((steps - turn) * corner).max())
    at = np.argwhere(inside) @ turn.T.astype(int) + np.rint(start).astype(int)
    within = not at.size or (at.min() >= 0 and (at < grid.shape_kji).all())
    if not axes_match or off > _OFF_SLICES or not within:
        frame = np.eye(4)
        frame[:3, :2], frame[:3, 3] = np.stack([cosines[:3] * column_mm, cosines[3:] * row_mm], axis=1), position
        raise EditedMaskError(
            "a frame of the mask lies on another grid than the scan: "
            f"frame {_geometry_lps(frame, inside.shape[::-1])}; "
            f"scan {geometry(grid.affine_ras, grid.shape_kji[::-1])}"
        )
    member[tuple(at.T)] = True


def _geometry_lps(affine: NDArray[np.float64], shape: tuple[int, ...]) -> str:
    return geometry(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, shape)
