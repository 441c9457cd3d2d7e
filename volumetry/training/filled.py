"""Volumes with parts of the lungs filled, at any place, with anything from thin haze to soft tissue.

A filled recess, apex or base looks like anatomy in its slice: the lung that would show it is gone. So there is
much of it here. The slices are cut anew, and what is half filled at a dome of the diaphragm is not lesion in them.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Vector
from volumetry.training.samples import AERATED, GROUND_GLASS, SOME_LESION, SOME_LUNG, Truth
from volumetry.training.synthesis import Lesions, rim_filled_as_beside, with_lesions

Drawn = tuple[NDArray[np.float32], NDArray[np.uint8], list[int]]
"""A volume with disease drawn in: HU, truth, and the slices to learn from."""
FILLED = "filled"
"""The pile's name."""
AT_ANY_PLACE = Lesions(
    count=(6, 14),
    radius_mm=(8.0, 40.0),
    solid=0.65,
    dependent=0.1,
    back=0.0,
    dense_hu=(-150.0, 90.0),
    hazy_hu=(-720.0, -300.0),
    edge=(0.02, 0.25),
    segment=0.5,
)
DENSE_BEFORE_HU = -300.0
"""In a lung of unknown disease, what was as dense as this may be consolidation under the haze drawn over it."""


def filled_volumes(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    count: int,
    rng: np.random.Generator,
    healthy: bool,
) -> Iterator[Drawn]:
    """`count` volumes: HU, truth, and the slices with lung.

    Parameters
    ----------
    healthy
        Whether the rest of the lung is known to be free of disease; if not, the slices with a lesion are given.

    Notes
    -----
    A slice is a mean of itself and its neighbours, so one beside a held-out slice shares voxels with it. What a
    lesion's wall is filled with may come from the lesion one slice further.
    """
    for _ in range(count):
        hu, lung = _cut_anew(hu_kji, lung_kji, rng)
        sick, truth = with_lesions(hu, lung, spacing_kji_mm, rng, AT_ANY_PLACE)
        sick = rim_filled_as_beside(sick, (truth & Truth.SOLID) > 0, lung, spacing_kji_mm)
        if not healthy:
            hidden = (truth == int(GROUND_GLASS)) & (hu > DENSE_BEFORE_HU)
            truth[hidden] = int(SOME_LESION)
            truth[truth == int(AERATED)] = int(SOME_LUNG)
        shown = truth & (Truth.LUNG if healthy else Truth.LESION)
        yield sick, truth, np.flatnonzero(shown.any(axis=(1, 2))).tolist()


def _cut_anew(
    hu_kji: NDArray[np.float32], lung_kji: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The volume in other slices, between the old ones or thicker; lung is what is lung by half."""
    thicker = bool(rng.random() < 0.5)
    above = float(rng.uniform(0, 0.35 if thicker else 0.5))
    below = above if thicker else 0.0

    def mixed(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        under = np.concatenate([volume[:1], volume[:-1]])
        over = np.concatenate([volume[1:], volume[-1:]])
        return np.asarray(below * under + (1 - below - above) * volume + above * over, np.float32)

    return mixed(hu_kji), mixed(lung_kji.astype(np.float32)) >= 0.5
