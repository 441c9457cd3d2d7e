"""Slices of HU as samples: on the network's grid, and shown as scanners and prints show them."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

from volumetry.domain import Grid, Vector
from volumetry.image.orientation import axial_view
from volumetry.segment.organs import lung_space
from volumetry.segment.preprocess import (
    CHEST_KINDS,
    InputRecipe,
    Pictures,
    Plane,
    Volume,
    neighbour_step,
    pictures_of,
)
from volumetry.segment.resampling import network_shape, shrink, voxels_mm
from volumetry.segment.thorax_weights import ContextModel
from volumetry.training.samples import Sample, Truth

CLIP_RANGE = (2.0, 12.0)
"""CLAHE strengths that training sees around the card's own."""
LOW_RANGE_HU, HIGH_RANGE_HU = (-1200.0, -950.0), (50.0, 350.0)
"""Ends of the lung windows that training sees, unless they are exact."""
MIN_CROP_PX = 400


@dataclass(frozen=True, slots=True)
class Looks:
    """How a scan is seen while a network learns: as the segmenter sees it.

    Parameters
    ----------
    recipe
        Of the network's input.
    context
        The network of the whole chest whose answer the network of the slices sees, if it sees one.
    exact_window
        Whether `varied` keeps the window of the recipe.
    """

    recipe: InputRecipe
    context: ContextModel | None = None
    exact_window: bool = False

    def volume(self, hu_kji: NDArray[np.float32], spacing_kji_mm: Vector) -> Volume:
        """A scan on the network's grid, its slices with what lies around them."""
        wanted = set(CHEST_KINDS) & set(self.recipe.inputs)
        space = lung_space(hu_kji, spacing_kji_mm, self.context) if wanted else None
        step = neighbour_step(spacing_kji_mm[0], self.recipe)
        return Volume(hu_kji, step, space.pictures if space else {})


def on_network_grid(
    hu_kji: NDArray[np.float32], grid: Grid, recipe: InputRecipe
) -> tuple[NDArray[np.float32], Vector]:
    """A volume as the network sees it, axial, and its voxel size (head, back, left)."""
    view = axial_view(grid)
    axial = view.of(hu_kji)
    spacing = view.spacing_mm(grid)
    shape = network_shape(axial.shape, spacing, recipe)
    return shrink(axial, shape), voxels_mm(axial.shape, spacing, shape)


def sample_of(pictures: Pictures, truth: NDArray[np.uint8], kind: str, group: str, name: str) -> Sample:
    """Pictures as the bank keeps them, with what is known of them and where they come from."""
    grey = {kind: np.round(picture * 255).astype(np.uint8) for kind, picture in pictures.by_kind.items()}
    return Sample(grey, truth, kind, group, name)


def dependent_haze(plane: Plane, lung_ji: NDArray[np.bool_], rng: np.random.Generator) -> Plane:
    """Healthy lung as it also looks: denser towards the back, breathed out, and in a noisy scan. No disease.

    The neighbours get the haze where this slice has lung.
    """
    rows = np.flatnonzero(lung_ji.any(axis=1))
    low, high = (rows[0], rows[-1]) if len(rows) else (0, 1)
    back = np.clip((np.arange(len(lung_ji)) - low) / max(1, high - low), 0, 1)[:, None]
    denser = lung_ji * (rng.uniform(0, 60) + rng.uniform(0, 110) * back**2)
    hazy = plane.changed(lambda hu_ji: np.asarray(hu_ji + denser.astype(np.float32), np.float32))
    return grained(hazy, None, (10, 70), rng) if rng.random() < 0.5 else hazy


def grained(
    plane: Plane, sigma_px: tuple[float, float] | None, deviation_hu: tuple[float, float], rng: np.random.Generator
) -> Plane:
    """The slice in a noisier scan; its neighbours have noise of their own.

    Parameters
    ----------
    sigma_px
        Least and largest width of a grain; 0.6 if None.
    deviation_hu
        Least and largest noise.
    """
    first = rng.standard_normal(plane.hu_ji.shape)
    sigma = 0.6 if sigma_px is None else float(rng.uniform(*sigma_px))
    deviation = float(rng.uniform(*deviation_hu))
    noises = chain([first], (rng.standard_normal(hu_ji.shape) for hu_ji in plane.beside.values()))

    def noisier(hu_ji: NDArray[np.float32]) -> NDArray[np.float32]:
        grain = gaussian(next(noises), sigma)
        return np.asarray(hu_ji + deviation * grain / grain.std(), np.float32)

    return plane.changed(noisier)


def varied(
    plane: Plane,
    truth: NDArray[np.uint8],
    looks: Looks,
    rng: np.random.Generator,
    identity: tuple[str, str, str],
) -> Sample:
    """A sample of a slice: CLAHE and window of random strength; now and then cut to the lungs, as prints are.

    An exact window takes as many random numbers, so that what is drawn is the same.
    """
    rows, columns = np.nonzero(truth & Truth.LUNG)
    if rng.random() < 0.3 and len(rows) > MIN_CROP_PX:
        margin = rng.integers(2, 14, 4)
        box = (
            slice(max(0, rows.min() - margin[0]), rows.max() + margin[1]),
            slice(max(0, columns.min() - margin[2]), columns.max() + margin[3]),
        )
        plane, truth = plane.part(box), truth[box]
    style = replace(
        looks.recipe, clahe_clip=float(rng.uniform(*CLIP_RANGE)), hu_high=float(rng.uniform(600, 1500))
    )
    low, high = float(rng.uniform(*LOW_RANGE_HU)), float(rng.uniform(*HIGH_RANGE_HU))
    if not looks.exact_window:
        style = replace(style, window_low=low, window_high=high)
    return sample_of(pictures_of(plane, style), truth, *identity)
