"""How a coarse chest network does on chests that it never saw."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from volumetry.segment.resampling import shrink
from volumetry.segment.thorax import Region, coarse_shape, region_probabilities, stride_of
from volumetry.training.dice import dice
from volumetry.training.thorax import truth
from volumetry.training.thorax.chests import Chest
from volumetry.training.thorax.config import ThoraxConfig
from volumetry.training.thorax.disease import with_disease
from volumetry.training.thorax.organs import with_organ
from volumetry.training.thorax.scene import Chance, Scene

DRAWS = 2
"""Into each chest."""
STREAM = 2
"""Apart from what training draws by the same seed."""
DENSE_HU = -150.0
DENSER_BY_HU = 100.0


def coarse_figures(network: nn.Module, chests: Sequence[Chest], config: ThoraxConfig) -> dict[str, float]:
    """Dice of lung for each chest, over the voxels where lung is known, on the grid on which chests are stored.

    And of each other region that a chest knows, its Dice; truth is what labels, contours and thresholds say.

    Parameters
    ----------
    network
        Of the whole chest.
    chests
        Held out.
    config
        Of the training run.

    Returns
    -------
    dict[str, float]
        Dice, 0 to 1, by chest and region, and the means of lung and airway.
    """
    figures: dict[str, float] = {}
    for chest in chests:
        found = regions_of(network, chest, config)
        for region in Region:
            bit = 1 << region
            value = chest.regions_kji == bit
            known = value | (chest.regions_kji & bit == 0)
            if value.any():
                figures[f"{chest.name} {region.name.lower()}"] = dice((found == region) & known, value)
    for region in (Region.LUNG, Region.AIRWAY):
        of_region = [value for name, value in figures.items() if name.endswith(f" {region.name.lower()}")]
        if of_region:
            figures[f"mean {region.name.lower()}"] = float(np.mean(of_region))
    return figures


def drawn_figures(
    network: nn.Module, chests: Sequence[Chest], config: ThoraxConfig, draws: int = DRAWS
) -> dict[str, float]:
    """What becomes of consolidations and organs drawn into chests: exact truth, other draws than training's.

    Of dense voxels in drawn disease, the share within a voxel of what is found to be lung. Of dense voxels that
    are no lung and lie deeper than two voxels beside it, the mL per chest that are found to be lung. A better one
    raises the first and lowers the second; one may be bought with the other. Nothing drawn: no figure.
    """
    kept = dense = called_lung_ml = 0.0
    for number, chest in enumerate(chests):
        before = Scene.of(chest, "cpu")
        for draw in range(draws):
            chance = Chance((config.schedule.seed, STREAM, number, draw))
            scene = with_disease(with_organ(before, chance), chance)
            found = regions_of(network, replace(chest, hu_kji=scene.hu.numpy()), config) == Region.LUNG
            soft, lung = scene.hu.numpy() > DENSE_HU, scene.is_lung.numpy()
            drawn = soft & lung & (scene.hu - before.hu > DENSER_BY_HU).numpy()
            kept += np.count_nonzero(drawn & ndimage.binary_dilation(found))
            dense += np.count_nonzero(drawn)
            no_lung = scene.regions.numpy() & truth.LUNG == 0
            deep = no_lung & ~ndimage.binary_dilation(lung, iterations=2)
            called_lung_ml += np.count_nonzero(deep & soft & found) * math.prod(chest.spacing_kji_mm) / 1000
    figures = {"drawn consolidation kept": kept / dense} if dense else {}
    if chests and draws:
        figures["organs called lung, mL per chest"] = called_lung_ml / (draws * len(chests))
    return figures


def regions_of(network: nn.Module, chest: Chest, config: ThoraxConfig) -> NDArray[np.intp]:
    """The likeliest region of each voxel of a stored chest."""
    network.eval()
    shape = coarse_shape(chest.hu_kji.shape, chest.spacing_kji_mm, config.model.coarse_mm)
    found = region_probabilities(network, shrink(chest.hu_kji, shape), stride_of(config.model.channels))
    finer = np.stack([shrink(channel, chest.hu_kji.shape) for channel in found])
    best: NDArray[np.intp] = finer.argmax(axis=0)
    return best
