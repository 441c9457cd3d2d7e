"""Where the slices' network may find disease, as the network of the whole chest sees it.

A slice does not tell a consolidated lung from the organ beside it. So what is called disease and lies deep in an
organ, in the chest wall or below the diaphragm is neither disease nor lung.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.domain import ChestContext, Vector
from volumetry.segment.fluid import pleural_fluid
from volumetry.segment.halves import reaching, to_half
from volumetry.segment.preprocess import PictureKind
from volumetry.segment.resampling import native_planes, shrink
from volumetry.segment.thorax import Region, coarse_shape, region_probabilities
from volumetry.segment.thorax_weights import ContextModel
from volumetry.segment.thresholds import Cuts

AERATED_HU = (-950.0, -600.0)
"""Lung that nobody doubts: gas in airways, stomach and bowel is darker."""
NO_LUNG_BELOW = 0.1
"""Mean probability of lung of a body that is no disease."""
FAT_HU, FAT_SHARE, SOFT_FROM_HU, SOFT_SHARE = (-140.0, -60.0), 0.3, -80.0, 0.1
MIN_BODY_ML = 1.0
"""Of a body that is judged as a whole: eight voxels of a grid of 5 mm. A smaller one may lie in the rim that the
grid cuts off."""
LOBE_ML = 100.0
"""A body from here on may be a lobe without air, whatever the network of the chest takes it for."""
FLUID_PROBABILITY = 0.5
"""From here on the network of the chest is sure: no other region is as likely."""
MIN_HEIGHT_MM = 30.0
"""Of a scan in which a chest can be recognised. Against its answer for five whole chests, the network took 22 of
90 mL and 8 of 34 mL more away in slabs of 12 mm, and 7 mL at most in slabs of 30 mm."""


@dataclass(frozen=True, slots=True, eq=False)
class LungSpace:
    """Lung with whatever fills it, as the network of the chest sees it.

    Parameters
    ----------
    probability_kji
        Of lung, 0 to 1.
    organs_kji
        Probability of mediastinum and abdomen together, 0 to 1, float16.
    nearby_kji
        Lung, and one voxel of the coarse grid around it: that grid cuts rims and pleura off, so its answer is good
        for what lies deep in an organ alone.
    fluid_kji
        Where it is sure of pleural fluid.
    """

    probability_kji: NDArray[np.float32]
    organs_kji: NDArray[np.float16]
    nearby_kji: NDArray[np.bool_]
    fluid_kji: NDArray[np.bool_]

    @property
    def pictures(self) -> dict[PictureKind, NDArray[np.floating]]:
        """As the network of the slices sees them."""
        return {"space": self.probability_kji, "organs": self.organs_kji}


def lung_space(
    hu_kji: NDArray[np.float32], spacing_kji_mm: Vector, model: ContextModel | None
) -> LungSpace | None:
    """Look at the whole chest: where its network sees lung, on the grid of `hu_kji`.

    None without a network, and for a scan that is too short for it.
    """
    if model is None or len(hu_kji) * spacing_kji_mm[0] < MIN_HEIGHT_MM:
        return None
    coarse = shrink(hu_kji, coarse_shape(hu_kji.shape, spacing_kji_mm, model.coarse_mm))
    regions = region_probabilities(model.network, coarse, model.stride)
    lung, organs = regions[Region.LUNG], regions[Region.MEDIASTINUM] + regions[Region.ABDOMEN]
    grown = ndimage.binary_dilation(lung >= model.card.lung_probability)
    coarse_layers = np.stack([lung, organs, grown.astype(np.float32), regions[Region.FLUID]])
    space = LungSpace(
        probability_kji=np.empty(hu_kji.shape, np.float32),
        organs_kji=np.empty(hu_kji.shape, np.float16),
        nearby_kji=np.empty(hu_kji.shape, bool),
        fluid_kji=np.empty(hu_kji.shape, bool),
    )
    for k, (of_lung, of_organs, of_grown, of_fluid) in enumerate(native_planes(coarse_layers, hu_kji.shape)):
        space.probability_kji[k], space.organs_kji[k] = of_lung, to_half(of_organs)
        space.nearby_kji[k], space.fluid_kji[k] = of_grown > 0.5, of_fluid >= FLUID_PROBABILITY
    return space


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """What the network of the whole chest says of a scan.

    Parameters
    ----------
    elsewhere_kji
        Where no disease can be: further than a voxel of its grid from what it takes for lung, in a body of called
        lesion that it does not take for lung, or in fat.
    fluid_kji
        Pleural fluid.
    fluid_lesion_ml
        What of it was called lesion slice by slice.
    context
        How well it recognises the lung, and how much of the lesion lies elsewhere.
    """

    elsewhere_kji: NDArray[np.bool_]
    fluid_kji: NDArray[np.bool_]
    fluid_lesion_ml: float
    context: ChestContext


def chest_of(
    probabilities: NDArray[np.floating],
    hu_kji: NDArray[np.float32],
    spacing_kji_mm: Vector,
    space: LungSpace,
    cuts: Cuts,
) -> Chest:
    """Where no disease can be, and how well the network of the chest recognises the lung.

    Parameters
    ----------
    probabilities
        (3, k, j, i) of lung, lesion and solid, from the network of the slices.
    hu_kji
        The same grid, with axes to the head, the back and the patient's left.
    spacing_kji_mm
        Of its voxels.
    space
        Where the network of the chest sees lung.
    cuts
        From which probability on a voxel is lung, and lesion.

    Returns
    -------
    Chest
        On the same grid. A network that does not recognise lung which nobody doubts, as in a scan of a few slices,
        is no judge of what is disease: see `context.agreement`.
    """
    lung, lesion, solid = probabilities
    low, high = AERATED_HU
    called = reaching(lesion, cuts.lesion)
    aerated = reaching(lung, cuts.lung) & ~called & (low < hu_kji) & (hu_kji < high)
    voxel_ml = math.prod(spacing_kji_mm) / 1000
    fluid = pleural_fluid(space.fluid_kji, space.nearby_kji, hu_kji, voxel_ml)
    fluid_lesion_ml = int(np.count_nonzero(called & fluid)) * voxel_ml
    called &= ~fluid
    elsewhere, no_doubt = ~space.nearby_kji, np.zeros(hu_kji.shape, bool)
    for around in ndimage.find_objects(called.view(np.uint8)):  # one box, or none
        box = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in around)  # of means over 3 voxels
        whole = bodies_outside(called[box], space.probability_kji[box], voxel_ml)
        fat = bodies_of_fat(called[box] & reaching(solid[box], cuts.solid), hu_kji[box], voxel_ml)
        elsewhere[box] |= whole | fat
        no_doubt[box] = small_bodies(whole, voxel_ml) | fat
    recognised = int(np.count_nonzero(aerated & ~elsewhere)) / max(int(np.count_nonzero(aerated)), 1)
    in_organs_ml = int(np.count_nonzero(elsewhere & called)) * voxel_ml
    doubtful_ml = int(np.count_nonzero(elsewhere & called & ~no_doubt)) * voxel_ml
    return Chest(elsewhere, fluid, fluid_lesion_ml, ChestContext(recognised, in_organs_ml, doubtful_ml))


def bodies_outside(
    called_kji: NDArray[np.bool_], probability_kji: NDArray[np.float32], voxel_ml: float
) -> NDArray[np.bool_]:
    """Whole bodies of what is called lesion that the network of the chest does not take for lung.

    The rim of an organ goes with its body. In eight chests, three of them held out from training, all bodies of
    2 mL and more below the limit (0.07 at most) were organs or fat by eye, and disease had 0.3 and more.

    Parameters
    ----------
    called_kji
        Lesion, slice by slice.
    probability_kji
        Of lung.
    voxel_ml
        Of both grids.
    """
    labels, mean_of = _bodies(called_kji, voxel_ml)
    found: NDArray[np.bool_] = (mean_of(probability_kji) < NO_LUNG_BELOW)[labels]
    return found


def small_bodies(mask_kji: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """Bodies of a mask that are too small for a consolidated lobe."""
    labels, count = ndimage.label(mask_kji)
    small = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml < LOBE_ML
    small[0] = False
    found: NDArray[np.bool_] = small[labels]
    return found


def bodies_of_fat(solid_kji: NDArray[np.bool_], hu_kji: NDArray[np.float32], voxel_ml: float) -> NDArray[np.bool_]:
    """Whole bodies of what is called solid that are fat: beside the heart, below the pleura, at an apex.

    Three tenths of such a body have the density of fat, and not a tenth of it is denser: thin fat is mixed with
    lung at its borders. Consolidation passes through that density at its borders alone. In fourteen chests two
    bodies with so much of that density had so little that is denser, both fat beside the heart; the others had
    0.16 and more.

    Parameters
    ----------
    solid_kji
        Solid, slice by slice.
    hu_kji
        The same grid.
    voxel_ml
        Of both.
    """
    labels, mean_of = _bodies(solid_kji, voxel_ml)
    low, high = FAT_HU
    smooth = ndimage.uniform_filter(hu_kji, 3)
    fat = mean_of((low < smooth) & (smooth < high) & solid_kji) >= FAT_SHARE
    soft = mean_of(hu_kji >= SOFT_FROM_HU) >= SOFT_SHARE
    found: NDArray[np.bool_] = (fat & ~soft)[labels]
    return found


def _bodies(
    mask_kji: NDArray[np.bool_], voxel_ml: float
) -> tuple[NDArray[np.int32], Callable[[NDArray[Any]], NDArray[np.float64]]]:
    """Labels of the bodies of a mask, and a function that gives the mean of an array over each of them.

    It is NaN, which no comparison meets, for what is outside and for bodies too small to be judged.
    """
    labels, count = ndimage.label(mask_kji)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    judged = voxels * voxel_ml >= MIN_BODY_ML
    judged[0] = False
    inside = labels > 0  # a hundredth of the voxels
    label_of = labels[inside]

    def mean_of(values_kji: NDArray[Any]) -> NDArray[np.float64]:
        total = np.bincount(label_of, values_kji[inside], count + 1)
        return np.where(judged, total / np.maximum(voxels, 1), np.nan)

    return labels, mean_of


def leave_out(
    probabilities: NDArray[np.floating], chest: Chest | None, cuts: Cuts, slices: Sequence[int] | None = None
) -> None:
    """Take disease away, in place, where it cannot be; a voxel that was called disease is no lung either.

    Fluid is neither, whatever it was called.

    Parameters
    ----------
    probabilities
        (3, k, j, i) of lung, lesion and solid.
    chest
        On the same grid; None takes nothing away.
    cuts
        From which probability on a voxel is lesion.
    slices
        Of the chest, that `probabilities` has; all of them if None.
    """
    if chest is None:
        return
    lung, lesion, _ = probabilities
    these = slice(None) if slices is None else list(slices)
    elsewhere, fluid = chest.elsewhere_kji[these], chest.fluid_kji[these]
    lung[fluid | elsewhere & reaching(lesion, cuts.lesion)] = 0
    lesion[fluid | elsewhere] = 0
