"""Scan and mask as pictures, seen as radiologists see them: the patient's right on the left, the head above.

Everything is cropped to the lungs: the neck end of a chest CT can show a face.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from volumetry.domain import CtScan, Side, Tissue, TissueMap
from volumetry.image.components import bounding_box
from volumetry.image.orientation import axial_view
from volumetry.image.pictures import TISSUE_RGB, data_uri, png_bytes

LUNG_WINDOW_HU = (-1350.0, 150.0)
_LESION_RGB = {tissue: TISSUE_RGB[tissue] for tissue in (Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)}

_LUNG_LINE = (96, 190, 255)
_FILL = 0.42
_MM_PER_PIXEL = 0.75
_MARGIN_MM = 8.0
_CONTACT_SHEET_PX = 192
_DEEP_MM = {"lung": 160.0, "lesion": 30.0}
"""Depths along the line of sight at which a projection reaches full colour."""

Colours = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, with its caption and what stands at its left and right border."""

    uri: str
    caption: str
    left: str
    right: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """Scan and mask turned to anatomical axes and cropped to the lungs; index order z (up), y (back), x (left).

    Without the scan there is a mask alone.
    """

    hu_zyx: NDArray[np.float32] | None
    labels_zyx: NDArray[np.uint8]
    side_zyx: NDArray[np.uint8] | None
    spacing_zyx_mm: tuple[float, float, float]
    first_slice: int
    slice_count: int


def chest_of(scan: CtScan | None, tissue: TissueMap) -> Chest | None:
    """The part of the scan and of its mask that holds lung; None without lung."""
    view = axial_view(tissue.grid)
    z_mm, y_mm, x_mm = (
        abs(float(tissue.grid.step_lps_mm[lps, axis])) for axis, lps in zip(view.axes, (2, 1, 0), strict=True)
    )
    labels = view.of(tissue.labels_kji)
    # None too much in height, where the neck is.
    box = bounding_box(labels > 0, margin=(0, round(_MARGIN_MM / y_mm), round(_MARGIN_MM / x_mm)))
    if box is None:
        return None
    side = None if tissue.side_kji is None else view.of(tissue.side_kji)[box]
    hu = None if scan is None else view.of(scan.hu_kji)[box]
    return Chest(hu, labels[box], side, (z_mm, y_mm, x_mm), int(box[0].start), labels.shape[0])


def key_slices(chest: Chest) -> list[tuple[Picture, Picture]]:
    """Axial slices without and with the mask: where each third of the lungs shows most lesion, or its middle.

    Without the scan there are none.
    """
    if chest.hu_zyx is None:
        return []
    height = chest.labels_zyx.shape[0]
    lesion = np.count_nonzero(chest.labels_zyx > Tissue.AERATED, axis=(1, 2))
    edges = np.linspace(0, height, 4).round().astype(int)
    pairs = []
    for name, low, high in zip(("Lower", "Middle", "Upper"), edges[:-1], edges[1:], strict=True):
        within = lesion[low:high]
        if not within.size:
            continue
        most = bool(within.any())
        z = int(low + (within.argmax() if most else within.size // 2))
        number = f"slice {chest.first_slice + z + 1} of {chest.slice_count} from below"
        what = "most disease" if most else "no disease"
        pairs.append(_pair(chest, chest.hu_zyx[z], z, f"{name} third, {what}: {number}"))
    return pairs[::-1]


def key_slice_png(scan: CtScan, tissue: TissueMap) -> bytes:
    """The axial slice with the most lesion (without lesion: the most lung), mask over it, for a contact sheet.

    Raises
    ------
    ValueError
        If there is no lung: what lies outside the lungs is not shown.
    """
    chest = chest_of(scan, tissue)
    if chest is None or chest.hu_zyx is None:
        raise ValueError("a map without lung has no key slice")
    lesion = np.count_nonzero(chest.labels_zyx > Tissue.AERATED, axis=(1, 2))
    z = int((lesion if lesion.any() else np.count_nonzero(chest.labels_zyx, axis=(1, 2))).argmax())
    rgb = _filled(_grey(chest.hu_zyx[z]), chest.labels_zyx[z]).round().astype(np.uint8)
    _, y_mm, x_mm = chest.spacing_zyx_mm
    longest_mm = max(rgb.shape[0] * y_mm, rgb.shape[1] * x_mm)
    size = _size(rgb.shape, y_mm, x_mm, longest_mm / _CONTACT_SHEET_PX)
    return png_bytes(np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)))


def projections(chest: Chest) -> list[Picture]:
    """The mask from the front and each lung from its side: colour grows with the depth of tissue in sight."""
    _, y_mm, x_mm = chest.spacing_zyx_mm
    labels = chest.labels_zyx
    pictures = [_projection(labels, 1, y_mm, chest, ("From the front", "R", "L"))]
    if chest.side_zyx is None:
        return [*pictures, _projection(labels, 2, x_mm, chest, ("From the side", "front", "back"))]
    for side, name in ((Side.RIGHT, "Right lung"), (Side.LEFT, "Left lung")):
        own = np.where(chest.side_zyx == side, labels, np.uint8(0))
        pictures.append(_projection(own, 2, x_mm, chest, (f"{name}, from the side", "front", "back")))
    return pictures


def _pair(chest: Chest, hu_yx: NDArray[np.float32], z: int, caption: str) -> tuple[Picture, Picture]:
    _, y_mm, x_mm = chest.spacing_zyx_mm
    grey = _grey(hu_yx)
    size = _size(grey.shape, y_mm, x_mm)
    plain = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    labels = np.asarray(Image.fromarray(chest.labels_zyx[z]).resize(size, Image.Resampling.NEAREST))
    return (
        _picture(plain, caption, "R", "L"),
        _picture(_overlaid(plain, labels), f"{caption}, with the mask", "R", "L"),
    )


def _grey(hu_yx: NDArray[np.float32]) -> Colours:
    low, high = LUNG_WINDOW_HU
    grey: Colours = np.clip((hu_yx - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return grey


def _filled(grey: Colours, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey as RGB, and over it a translucent colour for each kind of lesion."""
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for tissue, colour in _LESION_RGB.items():
        inside = labels == tissue
        rgb[inside] = (1 - _FILL) * rgb[inside] + _FILL * np.asarray(colour, np.float32)
    return rgb


def _overlaid(grey: Colours, labels: NDArray[np.uint8]) -> Colours:
    """Lesion filled and outlined, the lungs outlined."""
    rgb = _filled(grey, labels)
    for tissue, colour in _LESION_RGB.items():
        rgb[_border(labels == tissue)] = colour
    rgb[_border(labels > 0) & (labels == Tissue.AERATED)] = _LUNG_LINE
    return rgb.round().astype(np.uint8)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour outside it."""
    border: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return border


def _projection(
    labels: NDArray[np.uint8], axis: int, step_mm: float, chest: Chest, words: tuple[str, str, str]
) -> Picture:
    across_mm = chest.spacing_zyx_mm[2 if axis == 1 else 1]
    lung = np.count_nonzero(labels, axis=axis) * step_mm
    grey = 34 + 118 * np.clip(lung / _DEEP_MM["lung"], 0, 1)
    rgb = np.where(lung[..., None] > 0, np.stack([grey * 0.82, grey * 0.95, grey * 1.08], -1), 0.0)
    for tissue, colour in _LESION_RGB.items():
        depth_mm = np.count_nonzero(labels == tissue, axis=axis) * step_mm
        share = np.where(depth_mm > 0, 0.25 + 0.75 * np.clip(depth_mm / _DEEP_MM["lesion"], 0, 1), 0)[..., None]
        rgb = (1 - share) * rgb + share * np.asarray(colour, float)
    upright = np.clip(rgb, 0, 255).astype(np.uint8)[::-1]
    size = _size(upright.shape[:2], chest.spacing_zyx_mm[0], across_mm)
    return _picture(np.asarray(Image.fromarray(upright).resize(size, Image.Resampling.BICUBIC)), *words)


def _size(
    shape: tuple[int, ...], down_mm: float, across_mm: float, pixel_mm: float = _MM_PER_PIXEL
) -> tuple[int, int]:
    """Width and height in pixels that give both directions one scale."""
    return max(1, round(shape[1] * across_mm / pixel_mm)), max(1, round(shape[0] * down_mm / pixel_mm))


def _picture(pixels: Colours, caption: str, left: str, right: str) -> Picture:
    return Picture(data_uri(png_bytes(pixels)), caption, left, right, pixels.shape[1], pixels.shape[0])
