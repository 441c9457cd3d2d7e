"""The change map to look at: three slices of the baseline with what became of each place in colour."""

from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from volumetry.changemap.change_map import Change, ChangeMap
from volumetry.changemap.registration import as_image, lung_box
from volumetry.domain import CtScan, TissueMap
from volumetry.image.pictures import figure_png

COLOURS: dict[Change, tuple[str, str]] = {
    Change.STABLE_GROUND_GLASS: ("#56B4E9", "ground glass, stable"),
    Change.STABLE_SOLID: ("#0072B2", "solid, stable"),
    Change.GROUND_GLASS_TO_SOLID: ("#D55E00", "ground glass to solid"),
    Change.SOLID_TO_GROUND_GLASS: ("#E69F00", "solid to ground glass"),
    Change.RESOLVED: ("#009E73", "resolved"),
    Change.NEW_GROUND_GLASS: ("#F0E442", "new ground glass"),
    Change.NEW_SOLID: ("#CC79A7", "new solid"),
    Change.UNMAPPED: ("#999999", "not mapped"),
}
"""Okabe and Ito's palette, which colour-blind readers can distinguish."""

_STEP_MM = 1.5
_MARGIN_MM = 12.0
_WINDOW_HU = (-1350.0, 150.0)
_OPACITY = 0.6
_LESIONS = tuple(code for code in COLOURS if code is not Change.UNMAPPED)


def picture_bytes(baseline: CtScan, result: ChangeMap) -> bytes:
    """A PNG of the coronal slice and the two axial slices with most lesion, seen as radiologists see them."""
    hu, codes = _upright(baseline, result)
    lesion = np.isin(codes, _LESIONS)
    upper, lower = _two_levels(lesion.sum(axis=(1, 2)))
    across = int(np.argmax(lesion.sum(axis=(0, 2)))) if lesion.any() else lesion.shape[1] // 2
    figure = Figure(figsize=(12, 5), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    views = (
        ("coronal", hu[::-1, across], codes[::-1, across]),
        ("axial, upper", hu[upper], codes[upper]),
        ("axial, lower", hu[lower], codes[lower]),
    )
    for axes, (title, hu_plane, codes_plane) in zip(figure.subplots(1, 3), views, strict=True):
        axes.imshow(hu_plane, cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1])
        axes.imshow(_coloured(codes_plane), interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    entries = [Patch(color=colour, label=label) for colour, label in COLOURS.values()]
    figure.legend(handles=entries, loc="outside lower center", ncols=4, frameon=False)
    return figure_png(figure, dpi=110)


def _upright(baseline: CtScan, result: ChangeMap) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """HU and codes around the lungs, slices from feet to head, rows to the back, columns to the patient's left."""
    lungs = TissueMap((result.changes_kji != Change.OUTSIDE).astype(np.uint8), result.grid)
    box = lung_box(lungs, _MARGIN_MM)
    grid = result.grid.part(box)
    ends = np.asarray(grid.shape_kji) - 1.0
    corners = grid.lps_mm(np.array(np.meshgrid(*([0.0, n] for n in ends), indexing="ij")).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = (np.ceil((high - low) / _STEP_MM) + 1).astype(int).tolist()

    def drawn(array: NDArray[Any], how: int, outside: float) -> NDArray[Any]:
        image = as_image(np.ascontiguousarray(array[box]), grid)
        place = (low.tolist(), [_STEP_MM] * 3, np.eye(3).ravel().tolist())
        upright: NDArray[Any] = sitk.GetArrayFromImage(
            sitk.Resample(image, size, sitk.Transform(), how, *place, outside)
        )
        return upright

    hu = drawn(baseline.hu_kji, sitk.sitkLinear, -1000.0)
    return hu, drawn(result.changes_kji, sitk.sitkNearestNeighbor, 0.0)


def _two_levels(area: NDArray[np.int_]) -> tuple[int, int]:
    """The slice with most lesion, and the one with most at some distance from it; the upper one first."""
    if not area.any():
        return len(area) * 2 // 3, len(area) // 3
    most = int(np.argmax(area))
    apart = np.abs(np.arange(len(area)) - most) >= len(area) // 5
    other = int(np.argmax(np.where(apart, area, -1)))
    return max(most, other), min(most, other)


def _coloured(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    rgba = np.zeros((*codes.shape, 4))
    for code, (colour, _) in COLOURS.items():
        rgba[codes == code] = to_rgba(colour, _OPACITY)
    return rgba
