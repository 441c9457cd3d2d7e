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
"""A cut of lesion or solid where neither settings nor card name one."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Probabilities that make a voxel lung, make it lesion, and make a lesion solid."""

    lung: float
    lesion: float
    solid: float


def cuts_of(settings: Segment, lesion: Mapping[str, float], solid: Mapping[str, float], looked_at: str) -> Cuts:
    """The cuts in force.

    Parameters
    ----------
    lesion, solid
        Cuts by what is looked at, from the model's card; for settings that leave them to the model.
    looked_at
        `SCANS` or `SLICES`.
    """
    wanted = ((settings.lesion_probability, lesion), (settings.solid_probability, solid))
    cuts = (fitted.get(looked_at, EVEN) if chosen == "model" else chosen for chosen, fitted in wanted)
    return Cuts(settings.lung_probability, *cuts)


def labelled(probabilities: NDArray[np.float32], cuts: Cuts) -> NDArray[np.uint8]:
    """Exclusive labels (j, i) from the probabilities (3, j, i) of lung, lesion and solid."""
    lung, lesion, solid = probabilities
    labels = np.where(lung >= cuts.lung, np.uint8(Tissue.AERATED), np.uint8(Tissue.OUTSIDE))
    diseased = lesion >= cuts.lesion
    labels[diseased] = Tissue.GROUND_GLASS
    labels[diseased & (solid >= cuts.solid)] = Tissue.SOLID
    return labels
