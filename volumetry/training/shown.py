"""Slices of HU as samples: on the network's grid, and shown as scanners and prints show them."""

from dataclasses import replace
from typing import overload

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

from volumetry.domain import Grid, Vector
from volumetry.image.orientation import axial_view
from volumetry.segment.preprocess import InputRecipe, Pictures, pictures_of
from volumetry.segment.resampling import network_shape, shrink
from volumetry.training.samples import Sample, Truth

CLIP_RANGE = (2.0, 12.0)
"""CLAHE strengths that training sees around the card's own."""
MIN_CROP_PX = 400


def on_network_grid(
    hu_kji: NDArray[np.float32], grid: Grid, recipe: InputRecipe
) -> tuple[NDArray[np.float32], Vector]:
    """A volume as the network sees it, axial, and its voxel size (head, back, left)."""
    view = axial_view(grid)
    axial = view.of(hu_kji)
    spacing = view.spacing_mm(grid)
    shape = network_shape(axial.shape, spacing, recipe)
    size = [step * old / new for step, old, new in zip(spacing, axial.shape, shape, strict=True)]
    return shrink(axial, shape), (size[0], size[1], size[2])


def sample_of(pictures: Pictures, truth: NDArray[np.uint8], kind: str, group: str, name: str) -> Sample:
    """Pictures as the bank keeps them, with what is known of them and where they come from."""
    return Sample(_eight_bit(pictures.enhanced_ji), _eight_bit(pictures.window_ji), truth, kind, group, name)


def dependent_haze(
    hu_ji: NDArray[np.float32], lung_ji: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Healthy lung as it also looks: denser towards the back, breathed out, and in a noisy scan. No disease."""
    rows = np.flatnonzero(lung_ji.any(axis=1))
    low, high = (rows[0], rows[-1]) if len(rows) else (0, 1)
    back = np.clip((np.arange(len(hu_ji)) - low) / max(1, high - low), 0, 1)[:, None]
    denser = lung_ji * (rng.uniform(0, 60) + rng.uniform(0, 110) * back**2)
    hu = hu_ji + denser.astype(np.float32)
    if rng.random() < 0.5:
        grain = gaussian(rng.standard_normal(hu.shape), 0.6)
        hu = hu + (rng.uniform(10, 70) * grain / grain.std()).astype(np.float32)
    return np.asarray(hu, np.float32)


def varied(
    hu_ji: NDArray[np.float32],
    truth: NDArray[np.uint8],
    recipe: InputRecipe,
    rng: np.random.Generator,
    identity: tuple[str, str, str],
) -> Sample:
    """A sample of a slice: CLAHE and window of random strength; now and then cut to the lungs, as prints are."""
    rows, columns = np.nonzero(truth & Truth.LUNG)
    if rng.random() < 0.3 and len(rows) > MIN_CROP_PX:
        margin = rng.integers(2, 14, 4)
        box = (
            slice(max(0, rows.min() - margin[0]), rows.max() + margin[1]),
            slice(max(0, columns.min() - margin[2]), columns.max() + margin[3]),
        )
        hu_ji, truth = hu_ji[box], truth[box]
    style = replace(
        recipe,
        clahe_clip=float(rng.uniform(*CLIP_RANGE)),
        hu_high=float(rng.uniform(600, 1500)),
        window_low=float(rng.uniform(-1200, -950)),
        window_high=float(rng.uniform(50, 350)),
    )
    return sample_of(pictures_of(hu_ji, style), truth, *identity)


@overload
def _eight_bit(grey_ji: None) -> None: ...
@overload
def _eight_bit(grey_ji: NDArray[np.float32]) -> NDArray[np.uint8]: ...
def _eight_bit(grey_ji: NDArray[np.float32] | None) -> NDArray[np.uint8] | None:
    return None if grey_ji is None else np.round(grey_ji * 255).astype(np.uint8)
