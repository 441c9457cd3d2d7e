"""Hounsfield units to the picture the network was taught on; training and inference share every line of it.

The labelled slices that exist are 8-bit and contrast-enhanced one by one (min-max, then CLAHE), which cannot be
undone. So a slice in HU is taken there instead: clip, min-max, CLAHE.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.exposure import equalize_adapthist

GREY_LEVELS = 256


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """How a scan or a slice becomes the network's input; stands on the model's card.

    Parameters
    ----------
    spacing_mm
        In-plane pixel size of the network's grid.
    slab_mm
        Slices thinner than three quarters of this are averaged to about this thickness.
    hu_low, hu_high
        HU are clipped to this range before the min-max of the slice, so that metal and padding do not set it.
    clahe_tiles, clahe_clip
        Tiles per side, and the clip limit in OpenCV's sense (multiples of a flat histogram).
    slice_side_px
        Ready-made slices whose longer side is larger are shrunk to this; smaller ones stay as they are.
    mean, deviation
        Subtracted from, and divided into, the picture's 0 to 1.
    pad_multiple
        The network halves its input so often that each side must be a multiple of this.
    """

    spacing_mm: float = 1.4
    slab_mm: float = 2.0
    hu_low: float = -1024.0
    hu_high: float = 1200.0
    clahe_tiles: int = 8
    clahe_clip: float = 7.0
    slice_side_px: int = 320
    mean: float = 0.35
    deviation: float = 0.25
    pad_multiple: int = 16

    def __post_init__(self) -> None:
        if not (self.spacing_mm > 0 and self.slab_mm > 0 and self.hu_low < self.hu_high and self.deviation > 0):
            raise ValueError("an input recipe needs positive spacing, slab and deviation, and a rising HU range")
        if min(self.clahe_tiles, self.slice_side_px, self.pad_multiple) < 1 or self.clahe_clip <= 0:
            raise ValueError("an input recipe needs at least one tile, one pixel and a positive clip limit")


def slice_picture(hu_ji: NDArray[np.float32], recipe: InputRecipe) -> NDArray[np.float32]:
    """One slice of HU on the network's grid as the picture the network knows.

    Returns
    -------
    float32, the same shape, 0 to 1. A slice of one value is black.
    """
    clipped = np.clip(hu_ji, recipe.hu_low, recipe.hu_high)
    low, high = float(clipped.min()), float(clipped.max())
    if high <= low:
        return np.zeros(hu_ji.shape, np.float32)
    return enhance((clipped - low) / (high - low), recipe)


def enhance(picture_ji: NDArray[np.float32], recipe: InputRecipe) -> NDArray[np.float32]:
    """CLAHE of a picture with values 0 to 1, rounded to 8 bit first as the labelled slices were."""
    eight_bit = np.round(picture_ji * (GREY_LEVELS - 1)) / (GREY_LEVELS - 1)
    tile = tuple(max(1, -(-side // recipe.clahe_tiles)) for side in picture_ji.shape)
    # scikit-image's clip limit is a share of the tile's pixels, OpenCV's a multiple of a flat histogram's bin.
    limit = recipe.clahe_clip / GREY_LEVELS
    enhanced: NDArray[np.float32] = equalize_adapthist(
        eight_bit, kernel_size=tile, clip_limit=limit, nbins=GREY_LEVELS
    ).astype(np.float32)
    return enhanced


def resize(image_ji: NDArray[np.float32], shape_ji: tuple[int, int]) -> NDArray[np.float32]:
    """Linear when growing, area-weighted (triangle) when shrinking; the outer pixel edges stay where they are."""
    if image_ji.shape == shape_ji:
        return image_ji
    picture = Image.fromarray(np.ascontiguousarray(image_ji, np.float32))
    return np.asarray(picture.resize((shape_ji[1], shape_ji[0]), Image.Resampling.BILINEAR))


def fitted_shape(shape_ji: tuple[int, int], recipe: InputRecipe) -> tuple[int, int]:
    """Size at which the network looks at a ready-made slice of unknown spacing."""
    shrink = min(1.0, recipe.slice_side_px / max(shape_ji))
    return max(1, round(shape_ji[0] * shrink)), max(1, round(shape_ji[1] * shrink))


def network_batch(pictures: Sequence[NDArray[np.float32]], recipe: InputRecipe) -> NDArray[np.float32]:
    """Pictures of one size as a batch, float32 (n, 1, j, i); black below and right to the network's multiple."""
    step = recipe.pad_multiple
    rows, columns = (-(-side // step) * step for side in pictures[0].shape)
    batch = np.zeros((len(pictures), 1, rows, columns), np.float32)
    for n, picture in enumerate(pictures):
        batch[n, 0, : picture.shape[0], : picture.shape[1]] = picture
    return (batch - np.float32(recipe.mean)) / np.float32(recipe.deviation)
