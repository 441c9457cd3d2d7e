"""Scan and mask as pictures, seen as radiologists see them: the patient's right on the left, the head above.

Everything is cropped to the lungs: the neck end of a chest CT can show a face. `key_slices` chooses what is shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from volumetry.domain import FLUID, CtScan, Grid, Side, Tissue, TissueMap
from volumetry.image.components import bounding_box
from volumetry.image.orientation import AxialView, axial_view
from volumetry.image.pictures import TISSUE_RGB, data_uri, png_bytes
from volumetry.wording import MINUS, images_text

_FILLED_RGB = {label: TISSUE_RGB[label] for label in (FLUID, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)}
"""What is coloured in, in the order of drawing: where the whole mask is seen through, disease hides fluid."""

LUNG_LINE_RGB = (96, 190, 255)
_FILL = 0.42
_MM_PER_PIXEL = 0.75
_MARGIN_MM = 8.0
_BAR_MM = 50.0
_DEEP_MM = {"lung": 160.0, "lesion": 30.0}
"""Depths along the line of sight at which a projection reaches full colour."""

Colours = NDArray[np.uint8]


class Borders(NamedTuple):
    """What lies beyond each border of a picture: R, L, A, P, H or F, the patient's own."""

    left: str
    right: str
    top: str
    bottom: str


AXIAL = Borders("R", "L", "A", "P")
CORONAL = Borders("R", "L", "H", "F")
SAGITTAL = Borders("A", "P", "H", "F")


@dataclass(frozen=True, slots=True)
class Window:
    """Which HU are black and white."""

    name: str
    low_hu: float
    high_hu: float

    @property
    def text(self) -> str:
        """Width and level as a PACS shows them.

        >>> Window("bone", -450, 1050).text
        'W 1500 L 300'
        """
        level = f"{(self.low_hu + self.high_hu) / 2:g}".replace("-", MINUS)
        return f"W {self.high_hu - self.low_hu:g} L {level}"


LUNG_WINDOW = Window("lung", -1350, 150)
MEDIASTINAL_WINDOW = Window("mediastinal", -160, 240)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, with its caption and what lies beyond its borders."""

    uri: str
    caption: str
    borders: Borders
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """Scan and mask turned to anatomical axes and cropped to the lungs; index order z (up), y (back), x (left).

    Without the scan there is a mask alone.

    Parameters
    ----------
    mask_zyx
        Values of `Tissue`, and `FLUID`, as delivered.
    slice_places
        Where each axial plane lies, as a PACS shows it.
    affine_lps
        From an index (z, y, x) to LPS mm.
    suspect_zyx
        Lesion that the checks take for something else; None where they found none.
    of_reader
        Whether a reader drew the mask.
    uncalibrated
        Whether the scan is flagged as unlike those that the model was calibrated on.
    """

    hu_zyx: NDArray[np.float32] | None
    mask_zyx: NDArray[np.uint8]
    side_zyx: NDArray[np.uint8] | None
    spacing_zyx_mm: tuple[float, float, float]
    slice_places: tuple[str, ...]
    affine_lps: NDArray[np.float64]
    suspect_zyx: NDArray[np.bool_] | None = None
    of_reader: bool = False
    uncalibrated: bool = False

    @property
    def lesion_zyx(self) -> NDArray[np.bool_]:
        """Disease of the lung, which fluid is not."""
        lesion: NDArray[np.bool_] = (self.mask_zyx > Tissue.AERATED) & (self.mask_zyx != FLUID)
        return lesion

    @property
    def lung_planes(self) -> tuple[int, int]:
        """The first axial plane with lung and the one after the last: fluid can lie below the lungs."""
        within = np.flatnonzero(_in_lung(self.mask_zyx).any(axis=(1, 2)))
        return int(within[0]), int(within[-1]) + 1


def chest_of(scan: CtScan | None, tissue: TissueMap, suspect_kji: NDArray[np.bool_] | None = None) -> Chest | None:
    """The part of the scan and of its mask that holds lung or pleural fluid; None without lung."""
    if not tissue.labels_kji.any():
        return None
    view = axial_view(tissue.grid)
    # Not the steps along the body's axes, by which a turned stack is too small. Slices are as far apart as the
    # volume of a voxel says, also where they are sheared.
    _, j_mm, i_mm = tissue.grid.spacing_kji_mm
    along_kji = (1000 * tissue.grid.voxel_ml / (j_mm * i_mm), j_mm, i_mm)
    z_mm, y_mm, x_mm = (along_kji[axis] for axis in view.axes)
    mask = view.of(tissue.mask_kji)
    # None too much in height, where the neck is.
    box = bounding_box(mask, margin=(0, round(_MARGIN_MM / y_mm), round(_MARGIN_MM / x_mm)))
    if box is None:
        return None
    side = None if tissue.side_kji is None else view.of(tissue.side_kji)[box]
    hu = None if scan is None else view.of(scan.hu_kji)[box]
    places = _slice_places(tissue.grid, view, scan.image_numbers if scan else ())[box[0]]
    suspect = None if suspect_kji is None else view.of(suspect_kji)[box]
    affine = _affine_lps(tissue.grid, view, [along.start for along in box])
    return Chest(hu, mask[box], side, (z_mm, y_mm, x_mm), places, affine, suspect)


def _slice_places(grid: Grid, view: AxialView, numbers: Sequence[int | None]) -> tuple[str, ...]:
    """The place of each axial plane; of the scanner's own slices with their image numbers."""
    axis, count = view.axes[0], grid.shape_kji[view.axes[0]]
    at_mm = [float(grid.origin_lps_mm[2] + n * grid.step_lps_mm[2, axis]) for n in range(count)]
    if axis == 0:
        names = numbers or (None,) * count
        texts = [images_text((names[n],) * 2, (at_mm[n],) * 2, 2, (n, n, count)) for n in range(count)]
    else:
        texts = [f"z {mm:.1f} mm" for mm in at_mm]
    return tuple(unbroken(text) for text in (texts[::-1] if view.flipped[0] else texts))


def _affine_lps(grid: Grid, view: AxialView, first_zyx: Sequence[int]) -> NDArray[np.float64]:
    """From an index of a part of the view, which begins at `first_zyx`, to LPS mm."""
    affine = np.zeros((3, 4))
    first_kji = np.zeros(3)
    for n, (axis, flip) in enumerate(zip(view.axes, view.flipped, strict=True)):
        affine[:, n] = grid.step_lps_mm[:, axis] * (-1 if flip else 1)
        first_kji[axis] = grid.shape_kji[axis] - 1 - first_zyx[n] if flip else first_zyx[n]
    affine[:, 3] = grid.lps_mm(first_kji)
    return affine


def unbroken(text: str) -> str:
    """A caption whose position is not torn by the end of a line."""
    return re.sub(r"([xyz]) (\S+) mm", _unbroken, text)


def _unbroken(position: re.Match[str]) -> str:
    axis, mm = position.groups()
    return f"{axis}\u00a0{mm.replace('-', MINUS)}\u00a0mm"


def projections(chest: Chest) -> list[Picture]:
    """The mask from the front and each lung from its side: colour grows with the depth of tissue in sight."""
    _, y_mm, x_mm = chest.spacing_zyx_mm
    mask = chest.mask_zyx
    pictures = [_projection(mask, 1, y_mm, chest, "From the front", CORONAL)]
    if chest.side_zyx is None:
        return [*pictures, _projection(mask, 2, x_mm, chest, "From the side", SAGITTAL)]
    middle = _between_the_lungs(chest.side_zyx)
    for side, name, half in (
        (Side.RIGHT, "Right lung", slice(None, middle)),
        (Side.LEFT, "Left lung", slice(middle, None)),
    ):
        own = np.where(chest.side_zyx == side, mask, np.uint8(0))
        beside = own[..., half]  # fluid belongs to no lung, and is shown with the nearer one
        beside[mask[..., half] == FLUID] = FLUID
        pictures.append(_projection(own, 2, x_mm, chest, f"{name}, from the side", SAGITTAL))
    return pictures


def _between_the_lungs(side_zyx: NDArray[np.uint8]) -> int:
    """The sagittal plane half-way between the middles of the lungs; the edge where there is only one lung."""
    columns = np.arange(side_zyx.shape[2])
    middles = []
    for side, edge in ((Side.RIGHT, 0), (Side.LEFT, 2 * len(columns))):
        voxels = np.count_nonzero(side_zyx == side, axis=(0, 1))
        middles.append(float(voxels @ columns / voxels.sum()) if voxels.any() else float(edge))
    return round(sum(middles) / 2)


def pair(chest: Chest, plane: tuple[int, int], caption: str, window: Window) -> tuple[Picture, Picture]:
    """A plane of the scan without and with its mask.

    Parameters
    ----------
    plane
        Axis (0 axial, 1 coronal, 2 sagittal) and index along it.

    Raises
    ------
    ValueError
        If the chest has no scan.
    """
    if chest.hu_zyx is None:
        raise ValueError("a picture of the scan needs the scan")
    axis, at = plane
    down, across = (n for n in range(3) if n != axis)
    # Rows run to the back in an axial picture, and to the feet in the others.
    order = slice(None) if axis == 0 else slice(None, None, -1)
    grey = in_window(np.moveaxis(chest.hu_zyx, axis, 0)[at][order], window)
    mask = np.moveaxis(chest.mask_zyx, axis, 0)[at][order]
    size = picture_size(grey.shape, chest.spacing_zyx_mm[down], chest.spacing_zyx_mm[across])
    plain = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    fitted = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    borders = (AXIAL, CORONAL, SAGITTAL)[axis]
    return (
        framed(_with_bar(plain), caption, borders),
        framed(_with_bar(_overlaid(plain, fitted)), f"{caption}, with the mask", borders),
    )


def _with_bar(pixels: Colours, pixel_mm: float = _MM_PER_PIXEL) -> Colours:
    """A white bar of 5 cm with a black edge, low in the middle; none where the picture is hardly wider."""
    length = round(_BAR_MM / pixel_mm)
    height, width = pixels.shape[:2]
    if width < 1.5 * length or height < length:
        return pixels
    drawn = pixels.copy()
    left = (width - length) // 2
    drawn[height - 9 : height - 4, left - 1 : left + length + 1] = 0
    drawn[height - 8 : height - 5, left : left + length] = 255
    return drawn


def in_window(hu: NDArray[np.float32], window: Window) -> Colours:
    """HU as grey levels, 0 to 255."""
    scaled = (hu - window.low_hu) / (window.high_hu - window.low_hu) * 255
    grey: Colours = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey


def filled(grey: Colours, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey as RGB, and over it a translucent colour for each kind of lesion and for fluid."""
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for label, colour in _FILLED_RGB.items():
        inside = mask == label
        rgb[inside] = (1 - _FILL) * rgb[inside] + _FILL * np.asarray(colour, np.float32)
    return rgb


def _overlaid(grey: Colours, mask: NDArray[np.uint8]) -> Colours:
    """Lesion and fluid filled and outlined, the lungs outlined."""
    rgb = filled(grey, mask)
    for label, colour in _FILLED_RGB.items():
        rgb[_border(mask == label)] = colour
    rgb[_border(_in_lung(mask)) & (mask == Tissue.AERATED)] = LUNG_LINE_RGB
    return rgb.round().astype(np.uint8)


def _in_lung(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = (mask > Tissue.OUTSIDE) & (mask != FLUID)
    return within


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour outside it."""
    border: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return border


def _projection(
    mask: NDArray[np.uint8], axis: int, step_mm: float, chest: Chest, caption: str, borders: Borders
) -> Picture:
    across_mm = chest.spacing_zyx_mm[2 if axis == 1 else 1]
    lung = np.count_nonzero(_in_lung(mask), axis=axis) * step_mm
    grey = 34 + 118 * np.clip(lung / _DEEP_MM["lung"], 0, 1)
    rgb = np.where(lung[..., None] > 0, np.stack([grey * 0.82, grey * 0.95, grey * 1.08], -1), 0.0)
    for label, colour in _FILLED_RGB.items():
        depth_mm = np.count_nonzero(mask == label, axis=axis) * step_mm
        share = np.where(depth_mm > 0, 0.25 + 0.75 * np.clip(depth_mm / _DEEP_MM["lesion"], 0, 1), 0)[..., None]
        rgb = (1 - share) * rgb + share * np.asarray(colour, float)
    upright = np.clip(rgb, 0, 255).astype(np.uint8)[::-1]
    size = picture_size(upright.shape[:2], chest.spacing_zyx_mm[0], across_mm)
    return framed(np.asarray(Image.fromarray(upright).resize(size, Image.Resampling.BICUBIC)), caption, borders)


def picture_size(
    shape: tuple[int, ...], down_mm: float, across_mm: float, pixel_mm: float = _MM_PER_PIXEL
) -> tuple[int, int]:
    """Width and height in pixels that give both directions one scale."""
    return max(1, round(shape[1] * across_mm / pixel_mm)), max(1, round(shape[0] * down_mm / pixel_mm))


def framed(pixels: Colours, caption: str, borders: Borders) -> Picture:
    """Pixels as a picture of the page."""
    return Picture(data_uri(png_bytes(pixels)), caption, borders, pixels.shape[1], pixels.shape[0])
