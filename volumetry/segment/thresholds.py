"""From probabilities to classes: from which probability on a voxel is lung, lesion, solid."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Segment
from volumetry.domain import Tissue

SCANS, SLICES = "scans", "slices"
"""What a model looks at: scans in HU, and ready-made 8-bit slices."""
EVEN = 0.5
"""A lesion's cut where neither settings nor card name one."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Probabilities that make a voxel lung, make it lesion, and make a lesion solid."""

    lung: float
    lesion: float
    solid: float


def cuts_of(settings: Segment, fitted: Mapping[str, float], looked_at: str) -> Cuts:
    """The cuts in force.

    Parameters
    ----------
    fitted
        The lesion's cut by what is looked at, from the model's card; for settings that leave it to the model.
    looked_at
        `SCANS` or `SLICES`.
    """
    wanted = settings.lesion_probability
    lesion = fitted.get(looked_at, EVEN) if wanted == "model" else wanted
    return Cuts(settings.lung_probability, lesion, settings.solid_probability)


def labelled(probabilities: NDArray[np.float32], cuts: Cuts) -> NDArray[np.uint8]:
    """Exclusive labels (j, i) from the probabilities (3, j, i) of lung, lesion and solid."""
    lung, lesion, solid = probabilities
    labels = np.where(lung >= cuts.lung, np.uint8(Tissue.AERATED), np.uint8(Tissue.OUTSIDE))
    diseased = lesion >= cuts.lesion
    labels[diseased] = Tissue.GROUND_GLASS
    labels[diseased & (solid >= cuts.solid)] = Tissue.SOLID
    return labels
