"""The key slice: the one image of a scan that a contact sheet shows, cropped to the lungs."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from volumetry.domain import CtScan, Tissue, TissueMap

_WINDOW_HU = (-1350.0, 150.0)
"""Lung window: centre -600, width 1500."""
_SIDE_PIXELS = 192
_MARGIN_MM = 8.0
_COLOURS = {Tissue.GROUND_GLASS: (255, 190, 0), Tissue.SOLID: (235, 40, 60), Tissue.UNCLASSED: (80, 160, 255)}
_OPACITY = 0.45


def key_slice_png(scan: CtScan, tissue: TissueMap) -> bytes:
    """The slice with the most lesion (without lesion: the most lung), mask over it, as PNG bytes.

    Only the box around the lungs is shown: the neck end of a chest CT can show a face, and the corners of a slice
    can hold text. No metadata, and the same bytes every time.
    """
    labels = tissue.labels_kji
    lesion = np.isin(labels, list(_COLOURS)).sum(axis=(1, 2))
    lung = (labels != Tissue.OUTSIDE).sum(axis=(1, 2))
    k = int(lesion.argmax() if lesion.any() else lung.argmax())
    rows, columns = _box(labels, scan.grid.spacing_kji_mm)
    picture = _painted(scan.hu_kji[k, rows, columns], labels[k, rows, columns])
    height_mm = picture.shape[0] * scan.grid.spacing_kji_mm[1]
    width_mm = picture.shape[1] * scan.grid.spacing_kji_mm[2]
    scale = _SIDE_PIXELS / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    stream = io.BytesIO()
    Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _box(labels_kji: NDArray[np.uint8], spacing_kji_mm: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns around everything that is lung in any slice."""
    seen = (labels_kji != Tissue.OUTSIDE).any(axis=0)
    limits = []
    for axis, step_mm in ((1, spacing_kji_mm[1]), (0, spacing_kji_mm[2])):
        at = np.flatnonzero(seen.any(axis=axis))
        margin = round(_MARGIN_MM / step_mm)
        low, high = (int(at[0]), int(at[-1])) if at.size else (0, seen.shape[1 - axis] - 1)
        limits.append(slice(max(0, low - margin), high + 1 + margin))
    return limits[0], limits[1]


def _painted(hu_ji: NDArray[np.float32], labels_ji: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = _WINDOW_HU
    grey = np.clip((hu_ji - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    for label, colour in _COLOURS.items():
        where = labels_ji == label
        picture[where] = (1 - _OPACITY) * picture[where] + _OPACITY * np.asarray(colour)
    painted: NDArray[np.uint8] = np.rint(picture).astype(np.uint8)
    return painted
