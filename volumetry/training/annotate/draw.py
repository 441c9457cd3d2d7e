"""Pictures to decide by: a slice enlarged in a window, with a grid in mm, outlines and region numbers."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from volumetry.domain import Tissue
from volumetry.image.pictures import TISSUE_RGB
from volumetry.training.annotate.plan import Label

Colour = tuple[int, int, int]
LUNG_WINDOW = (-1150.0, 150.0)
MEDIASTINAL_WINDOW = (-160.0, 240.0)
PIXELS_PER_MM = 4.0
GRID_MM = 20
COLOURS: Mapping[int, Colour] = {
    int(Label.LUNG): (0, 200, 255),
    int(Label.GROUND_GLASS): TISSUE_RGB[Tissue.GROUND_GLASS],
    int(Label.SOLID): TISSUE_RGB[Tissue.SOLID],
    int(Label.UNJUDGED): (120, 255, 120),
}
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in mm."""


def slice_picture(
    hu_ji: NDArray[np.float32],
    pixel_ji_mm: tuple[float, float],
    box_mm: Box,
    window_hu: tuple[float, float],
    labels_ji: NDArray[np.uint8] | None = None,
    regions_ji: NDArray[np.int32] | None = None,
) -> NDArray[np.uint8]:
    """A part of a slice, enlarged, with a grid that is labelled in mm.

    Parameters
    ----------
    hu_ji
        The slice.
    pixel_ji_mm
        Row and column spacing.
    box_mm
        What is shown.
    window_hu
        HU of black and of white.
    labels_ji
        Outlined in the colours of their tissue, if given.
    regions_ji
        Outlined and numbered, if given.

    Returns
    -------
    NDArray[np.uint8]
        RGB, rows x columns x 3.
    """
    black, white = window_hu
    grey = (np.clip((hu_ji - black) / (white - black), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(_enlarged(grey, pixel_ji_mm, box_mm, Image.Resampling.BICUBIC)).convert("RGB")
    pixels = np.array(picture)
    numbers: list[tuple[float, float, str]] = []
    if regions_ji is not None:
        large = _enlarged(regions_ji, pixel_ji_mm, box_mm, Image.Resampling.NEAREST)
        for number in np.unique(large[large > 0]):
            pixels[_outline(large == number)] = (255, 150, 0)
            rows, columns = np.nonzero(large == number)
            numbers.append((float(np.median(columns)), float(np.median(rows)), str(number)))
    if labels_ji is not None:
        large = _enlarged(labels_ji, pixel_ji_mm, box_mm, Image.Resampling.NEAREST)
        for value, colour in COLOURS.items():
            mask = (large > Label.OUTSIDE) & (large != Label.UNJUDGED) if value == Label.LUNG else large == value
            pixels[_outline(mask)] = colour
    picture = Image.fromarray(pixels)
    _write_grid(picture, box_mm)
    draw = ImageDraw.Draw(picture)
    for x, y, text in numbers:
        draw.text((x, y), text, fill=(255, 255, 0), anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    return np.array(picture)


def box_around(mask_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float], margin_mm: float = 12.0) -> Box:
    """The box in mm around a mask, with a margin."""
    rows, columns = np.nonzero(mask_ji)
    top, bottom = (float(rows.min() * pixel_ji_mm[0]), float(rows.max() * pixel_ji_mm[0]))
    left, right = (float(columns.min() * pixel_ji_mm[1]), float(columns.max() * pixel_ji_mm[1]))
    return left - margin_mm, top - margin_mm, right + margin_mm, bottom + margin_mm


def _enlarged(
    array_ji: NDArray[np.uint8] | NDArray[np.int32],
    pixel_ji_mm: tuple[float, float],
    box_mm: Box,
    how: Image.Resampling,
) -> NDArray[np.int32]:
    left, top, right, bottom = box_mm
    size = (round((right - left) * PIXELS_PER_MM), round((bottom - top) * PIXELS_PER_MM))
    # Pillow's coordinates have a pixel's corner, those in mm its centre, at the origin.
    edges = (left / pixel_ji_mm[1] + 0.5, top / pixel_ji_mm[0] + 0.5)
    steps = (1 / (PIXELS_PER_MM * pixel_ji_mm[1]), 1 / (PIXELS_PER_MM * pixel_ji_mm[0]))
    image = Image.fromarray(array_ji)
    transformed = image.transform(
        size, Image.Transform.AFFINE, (steps[0], 0, edges[0], 0, steps[1], edges[1]), resample=how
    )
    return np.array(transformed)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask & ~binary_erosion(mask)
    return found


def _write_grid(picture: Image.Image, box_mm: Box) -> None:
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = box_mm
    xs = range(int(np.ceil(left / GRID_MM)) * GRID_MM, int(right) + 1, GRID_MM)
    ys = range(int(np.ceil(top / GRID_MM)) * GRID_MM, int(bottom) + 1, GRID_MM)
    for x in xs:
        column = (x - left) * PIXELS_PER_MM
        draw.text((column, 2), str(x), fill=(0, 255, 0), anchor="ma")
        for y in ys:
            row = (y - top) * PIXELS_PER_MM
            draw.line((column - 4, row, column + 4, row), fill=(0, 255, 0))
            draw.line((column, row - 4, column, row + 4), fill=(0, 255, 0))
    for y in ys:
        draw.text((2, (y - top) * PIXELS_PER_MM), str(y), fill=(0, 255, 0), anchor="lm")
