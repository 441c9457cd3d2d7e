"""An edited mask onto the scan's own grid: any axis order or flip of it is put right, another grid is refused.

Nothing is resampled: a voxel of the file is a voxel of the scan, or the file is not taken.
"""

import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from volumetry.deliver.dicom import concepts
from volumetry.domain import Grid, Tissue
from volumetry.errors import InputError

_OFF_VOXELS = 0.05
"""How far a NIfTI's corners may lie from the scan's, in voxels: float32 affines, no resampling."""
_OFF_SLICES = 0.25
"""How far a SEG frame may: it carries the position of its own slice, and the gate lets slices jitter."""

_CODES = {
    (concepts.LUNG.value, concepts.LUNG.scheme_designator): Tissue.AERATED,
    (concepts.GROUND_GLASS.value, concepts.GROUND_GLASS.scheme_designator): Tissue.GROUND_GLASS,
    (concepts.SOLID.value, concepts.SOLID.scheme_designator): Tissue.SOLID,
    (concepts.LESION.value, concepts.LESION.scheme_designator): Tissue.UNCLASSED,
}
_NAMES = (
    ("ground glass", Tissue.GROUND_GLASS),
    ("ground-glass", Tissue.GROUND_GLASS),
    ("consolidation", Tissue.SOLID),
    ("solid", Tissue.SOLID),
    ("neither class", Tissue.UNCLASSED),
    ("lung", Tissue.AERATED),
)
_HINT = "Edit the delivered mask.nii.gz or seg.dcm itself, and save it without resampling."


class EditedMaskError(InputError):
    """The edited mask cannot be taken for this scan."""

    code = "EDITED_MASK"
    hint = _HINT


def read_edited_mask(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Labels (0 to 4) of an edited mask on the scan's grid.

    Parameters
    ----------
    path
        NIfTI (``.nii``, ``.nii.gz``) or DICOM SEG (BINARY or LABELMAP), recognised by content.
    grid
        The scan's own.

    Returns
    -------
    NDArray[np.uint8]
        Shape `grid.shape_kji`.

    Raises
    ------
    EditedMaskError
        If the file is neither, lies on another grid (both geometries are in the message), or holds other labels.
    """
    try:
        with path.open("rb") as stream:
            is_dicom = stream.read(132)[128:] == b"DICM"
    except OSError as wrong:
        raise EditedMaskError(f"cannot read the mask: {wrong.strerror}") from wrong
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another program wrote the file; what matters is checked here
            return _from_seg(path, grid) if is_dicom else _from_nifti(path, grid)
    except (ImageFileError, InvalidDicomError, AttributeError, EOFError, IndexError, KeyError, OSError) as wrong:
        raise EditedMaskError(f"the mask is no readable NIfTI or DICOM SEG ({type(wrong).__name__})") from wrong
    except (TypeError, ValueError, zlib.error) as wrong:
        raise EditedMaskError(f"the mask is no readable NIfTI or DICOM SEG ({type(wrong).__name__})") from wrong


def _from_nifti(path: Path, grid: Grid) -> NDArray[np.uint8]:
    image = nib.load(path)
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or image.get_data_dtype().fields is not None:
        raise EditedMaskError(f"the mask has {len(shape)} dimensions or colours; labels have three and none")
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise EditedMaskError("the NIfTI says nowhere where it lies (sform and qform code 0)")
    # From voxel (i, j, k) of the file to (i, j, k) of the scan; the shape is known before any voxel is unpacked.
    affine = np.asarray(image.affine, float)
    mapping = np.linalg.inv(grid.affine_ras) @ affine
    axes = _axes_of(mapping, shape, grid.shape_kji[::-1])
    if axes is None:
        raise EditedMaskError(
            f"the mask lies on another grid than the scan: mask {_geometry(affine, shape)}; "
            f"scan {_geometry(grid.affine_ras, grid.shape_kji[::-1])}"
        )
    order, flips = axes
    values = np.asarray(image.dataobj).reshape(shape).transpose(order)
    turned = values[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return _checked(np.ascontiguousarray(turned.T))


def _axes_of(
    mapping: NDArray[np.float64], shape: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """How to turn the file's axes into the scan's: order and flips; None if no turn lays it on the scan's grid."""
    turn = np.rint(mapping[:3, :3])
    if not np.array_equal(np.abs(turn).sum(axis=0), [1, 1, 1]) or not np.array_equal(
        np.abs(turn).sum(axis=1), [1, 1, 1]
    ):
        return None
    order = tuple(int(np.argmax(np.abs(row))) for row in turn)
    flips = tuple(bool(row.min() < 0) for row in turn)
    if tuple(shape[axis] for axis in order) != tuple(wanted):
        return None
    start = np.array([n - 1 if flip else 0 for n, flip in zip(wanted, flips, strict=True)])
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * (np.asarray(shape) - 1)
    off = corners @ mapping[:3, :3].T + mapping[:3, 3] - (corners @ turn.T + start)
    return (order, flips) if np.abs(off).max() <= _OFF_VOXELS else None


def _checked(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The values as labels."""
    found = np.unique(values)
    allowed = [int(tissue) for tissue in Tissue]
    other = int(np.count_nonzero(~np.isin(found, allowed)))
    if other:
        raise EditedMaskError(
            f"the mask holds {other} values that are no label; labels are 0 outside, 1 aerated, 2 ground glass, "
            "3 solid, 4 lesion of neither class"
        )
    return values.astype(np.uint8)


def _from_seg(path: Path, grid: Grid) -> NDArray[np.uint8]:
    file = dcmread(path)
    if "SegmentSequence" not in file or file.get("SegmentationType") not in ("BINARY", "LABELMAP"):
        raise EditedMaskError("the DICOM file is no BINARY or LABELMAP segmentation")
    tissues = dict(_tissues_of(file))
    label_map = file.SegmentationType == "LABELMAP"
    names = sorted(set(tissues.values()))
    members = {tissue: np.zeros(grid.shape_kji, bool) for tissue in names}
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
    lesions = [member for tissue, member in members.items() if tissue != Tissue.AERATED]
    both = int(np.count_nonzero(np.sum(lesions, axis=0) > 1)) if lesions else 0
    if both:
        raise EditedMaskError(f"{both} voxels belong to two lesion classes at once")
    labels = np.zeros(grid.shape_kji, np.uint8)
    for tissue in names:  # aerated first: what is also lesion is lesion
        labels[members[tissue]] = tissue
    return labels


def _tissues_of(file: Dataset) -> Iterator[tuple[int, Tissue]]:
    """Segment number to tissue: by code, or by its label where a tool replaced our codes."""
    for segment in file.SegmentSequence:
        if int(segment.SegmentNumber) == 0:  # background of a label map
            continue
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        tissue = _CODES.get((kind.get("CodeValue", ""), kind.get("CodingSchemeDesignator", "")))
        label = str(segment.get("SegmentLabel", "")).lower()
        named = next((tissue for name, tissue in _NAMES if name in label), None)
        if tissue is None and named is None:
            number = int(segment.SegmentNumber)
            raise EditedMaskError(
                f"segment {number} is neither lung, ground glass, solid nor lesion, by code or by label"
            )
        yield int(segment.SegmentNumber), tissue if tissue is not None else named or Tissue.OUTSIDE


def _known(tissues: dict[int, Tissue], number: int) -> Tissue:
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
            f"scan {_geometry(grid.affine_ras, grid.shape_kji[::-1])}"
        )
    member[tuple(at.T)] = True


def _geometry_lps(affine: NDArray[np.float64], shape: tuple[int, ...]) -> str:
    return _geometry(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, shape)


def _geometry(affine_ras: NDArray[np.float64], shape: tuple[int, ...]) -> str:
    """Shape, spacing, axis directions and origin in words."""
    columns = affine_ras[:3, : len(shape)]
    spacing = np.linalg.norm(columns, axis=0)
    size = " x ".join(str(n) for n in shape)
    steps = " x ".join(f"{mm:.4g}" for mm in spacing)
    axes = "".join(
        "RAS"[n] if column[n] > 0 else "LPI"[n] for column in columns.T for n in [int(np.argmax(np.abs(column)))]
    )
    origin = ", ".join(f"{mm:.2f}" for mm in affine_ras[:3, 3])
    return f"{size} voxels of {steps} mm, axes {axes}, origin RAS ({origin}) mm"
