"""What was written, read back and compared: frames are placed by their affine, not in the writer's order."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from volumetry.codes import CATALOGUE
from volumetry.deliver.dicom import concepts
from volumetry.deliver.dicom.concepts import Structure
from volumetry.deliver.dicom.regions import regions_of
from volumetry.deliver.dicom.report import numbers_of, own_ml, uncertainty_of
from volumetry.deliver.report.summary import Summary
from volumetry.domain import Grid, TissueMap
from volumetry.errors import OutputError

_OFF_SHARE = 0.25
"""How far a frame may lie from its slice, in slice steps: the gate lets slices jitter, by far less."""
_OFF_MM = 0.05
"""How far in-plane positions may differ over a whole slice: far below any pixel."""


class DiffersError(OutputError):
    """An object that was written is not what was measured."""

    hint = CATALOGUE["IDENTITY"].hint


def compare_seg(path: Path, tissue: TissueMap, segments: Sequence[Structure]) -> None:
    """Stop unless the file holds the mask, voxel for voxel, where the mask has it.

    Raises
    ------
    OutputError
        Naming the segment or the frame that differs.
    """
    file = dcmread(path)
    if file.SegmentationType == "LABELMAP":
        found = _placed(file, tissue.grid)
        wanted = np.zeros_like(tissue.labels_kji)
        for number, segment in enumerate(segments, 1):
            wanted[np.isin(tissue.mask_kji, segment.tissues)] = number
        _require_same(found, wanted, "the label map")
        return
    for number, segment in enumerate(segments, 1):
        wanted = np.isin(tissue.mask_kji, segment.tissues).astype(np.uint8)
        _require_same(_placed(file, tissue.grid, number), wanted, f"segment {number}")


def compare_sr(
    path: Path, seg: Dataset, segments: Sequence[Structure], tissue: TissueMap, document: Mapping[str, Any]
) -> None:
    """Stop unless the report's numbers are the result's, its volumes are the mask's, and it refers to this SEG.

    Raises
    ------
    OutputError
        Naming what differs.
    """
    content = hd.sr.srread(path).content
    if not isinstance(content, hd.sr.MeasurementReport):
        raise DiffersError(f"{path.name} is not a measurement report")
    groups = content.get_volumetric_roi_measurement_groups()
    if len(groups) != len(segments):
        raise DiffersError(f"{path.name}: {len(groups)} measurement groups for {len(segments)} segments")
    for number, (group, segment) in enumerate(zip(groups, segments, strict=True), 1):
        target = group.referenced_segment
        if (
            target is None
            or target.referenced_sop_instance_uid != seg.SOPInstanceUID
            or list(target.referenced_segment_numbers or ()) != [number]
        ):
            raise DiffersError(f"{path.name}: group {number} does not refer to segment {number} of the SEG")
        found = [(m.name.value, m.value, m.unit.value) for m in group.get_measurements()]
        wanted = [(name.value, value, unit.value) for name, value, unit in numbers_of(segment, document)]
        if found != wanted:
            raise DiffersError(f"{path.name}: the numbers of group {number} are not those of the result")
        limits = [_uncertainty(m) for m in group.get_measurements()]
        wanted_limits = [uncertainty_of(one, segment, document) for one in numbers_of(segment, document)]
        if limits != [None if one is None else one[:2] for one in wanted_limits]:
            raise DiffersError(f"{path.name}: the intervals of group {number} are not those of the result")
        counted = np.count_nonzero(np.isin(tissue.mask_kji, segment.tissues)) * tissue.grid.voxel_ml
        if abs(own_ml(segment, document) - counted) > tissue.grid.voxel_ml / 2:
            raise DiffersError(f"{path.name}: the volume of group {number} is not that of the mask")
    _require_regions(path, content, document)


def _require_regions(path: Path, content: hd.sr.MeasurementReport, document: Mapping[str, Any]) -> None:
    """Sides and lobes: the numbers of each, under its own site and laterality."""
    found = {}
    for group in content.get_image_measurement_groups():
        (site,) = group.finding_sites
        lateral = None if site.laterality is None else site.laterality.value
        numbers = [(m.name.value, m.value, m.unit.value) for m in group.get_measurements()]
        found[site.value.value, lateral] = numbers
    wanted = {
        (region.site.value, region.laterality.value): [(code.value, value, unit.value) for code, value, unit in of]
        for region, of in regions_of(document)
    }
    if found != wanted:
        raise DiffersError(f"{path.name}: the numbers of sides and lobes are not those of the result")


def _uncertainty(measurement: hd.sr.Measurement) -> tuple[float, float] | None:
    """How far above and below, as written."""
    found = {
        child.ConceptNameCodeSequence[0].CodeValue: float(child.MeasuredValueSequence[0].NumericValue)
        for child in measurement[0].get("ContentSequence", [])
        if child.ValueType == "NUM"
    }
    upper, lower = found.get(concepts.UPPER.value), found.get(concepts.LOWER.value)
    return None if upper is None or lower is None else (upper, lower)


def compare_summary(path: Path, summary: Summary) -> None:
    """Stop unless the file holds the page: the PDF's bytes, or the pixels."""
    file = dcmread(path)
    if "EncapsulatedDocument" in file:
        same = file.EncapsulatedDocument[: file.EncapsulatedDocumentLength] == summary.pdf
    else:
        same = np.array_equal(file.pixel_array, summary.rgb)
    if not same:
        raise DiffersError("the summary page differs from what was made")


def _placed(file: Dataset, grid: Grid, segment: int | None = None) -> NDArray[np.uint8]:
    """Frames (of one segment) put where their position says, on the grid of the mask."""
    volume = np.zeros(grid.shape_kji, np.uint8)
    taken = np.zeros(grid.shape_kji[0], bool)
    pixels = np.asarray(file.pixel_array)
    pixels = pixels.reshape(-1, *pixels.shape[-2:])  # one frame comes without a frame axis
    for frame, groups in zip(pixels, file.PerFrameFunctionalGroupsSequence, strict=True):
        if segment is not None and _segment_of(groups) != segment:
            continue
        k = _slice_of(groups, file.SharedFunctionalGroupsSequence[0], frame.shape, grid)
        if taken[k]:
            raise DiffersError(f"two frames of one segment lie on slice {k}")
        taken[k] = True
        volume[k] = frame
    return volume


def _segment_of(groups: Dataset) -> int:
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _slice_of(groups: Dataset, shared: Dataset, shape: tuple[int, ...], grid: Grid) -> int:
    """Slice of the grid on which a frame lies; its corners must be the slice's corners."""
    plane = shared if "PlaneOrientationSequence" in shared else groups
    cosines = np.asarray(plane.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    measures = shared if "PixelMeasuresSequence" in shared else groups
    row_mm, column_mm = (float(v) for v in measures.PixelMeasuresSequence[0].PixelSpacing)
    origin = np.asarray(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    index = np.linalg.solve(grid.step_lps_mm, origin - np.asarray(grid.origin_lps_mm))
    k = round(float(index[0]))
    if shape != grid.shape_kji[1:] or not 0 <= k < grid.shape_kji[0] or abs(index[0] - k) > _OFF_SHARE:
        raise DiffersError("a frame lies on no slice of the mask")
    rows, columns = shape[0] - 1, shape[1] - 1
    # Steps across the plane: the same far corner seen from the frame and from the grid.
    far_frame = cosines[3:] * row_mm * rows + cosines[:3] * column_mm * columns
    far_grid = grid.step_lps_mm[:, 1] * rows + grid.step_lps_mm[:, 2] * columns
    side_frame, side_grid = cosines[3:] * row_mm * rows, grid.step_lps_mm[:, 1] * rows
    off_mm = max(np.linalg.norm(far_frame - far_grid), np.linalg.norm(side_frame - side_grid))
    shifted_mm = np.linalg.norm((index - [k, 0, 0])[1:] * grid.spacing_kji_mm[1:])
    if off_mm > _allowed_mm(grid) or shifted_mm > _allowed_mm(grid):
        raise DiffersError(f"the frame of slice {k} lies {max(off_mm, shifted_mm):.2f} mm beside it")
    return k


def _allowed_mm(grid: Grid) -> float:
    """Half a pixel: what gated slices may be off their common grid; at least 0.05 mm."""
    return max(_OFF_MM, min(grid.spacing_kji_mm[1:]) / 2)


def _require_same(found: NDArray[np.uint8], wanted: NDArray[np.uint8], name: str) -> None:
    different = int(np.count_nonzero(found != wanted))
    if different:
        raise DiffersError(f"{name} of the SEG differs from the mask in {different} voxels")
