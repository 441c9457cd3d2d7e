"""Dense lesions that touch the chest wall, the spine, the heart or the diaphragm.

They look like what they lie against, and only the lung's missing outline distinguishes them from it; so a network
that sees few of them takes them for the wall. Drawn in HU into healthy lungs they have exact truth; in lungs of
unknown disease a hazy rim may cover what was dense before. Painted into labelled 8-bit slices, in the grey of the
tissue beside them, they are seen in more people's chests.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from volumetry.domain import Vector
from volumetry.segment.preprocess import Pictures
from volumetry.training.filled import Drawn
from volumetry.training.samples import AERATED, SOLID, SOME_LUNG, Truth
from volumetry.training.synthesis import Lesions, dense_patch, rim_filled_to, with_lesions

DENSE = "dense"
"""The pile's name."""
AT_ANY_WALL = Lesions(count=(6, 16), radius_mm=(6.0, 40.0), solid=0.8, dependent=0.1, back=0.0, touching=True)
IN_ONE_SLICE = Lesions(radius_mm=(8.0, 40.0), back=0.0)
UNKNOWN_SPACING_MM: Vector = (2.0, 1.4, 1.4)
"""Of labelled slices that do not state their pixel size."""
WALL_PX = 6
"""How far from the lung the tissue lies whose grey is painted."""
MIN_WALL_PIXELS = 30


def dense_volumes(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    count: int,
    rng: np.random.Generator,
    healthy: bool,
) -> Iterator[Drawn]:
    """`count` volumes with dense lesions at their walls: HU, truth, and the slices that have one.

    Parameters
    ----------
    healthy
        Whether the rest of the lung is known to be free of disease.
    """
    for _ in range(count):
        sick, truth = with_lesions(hu_kji, lung_kji, spacing_kji_mm, rng, AT_ANY_WALL)
        if not healthy:
            truth[truth == int(AERATED)] = int(SOME_LUNG)
        yield sick, truth, np.flatnonzero((truth & Truth.SOLID).any(axis=(1, 2))).tolist()


def painted(
    pictures: Pictures, truth_ji: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Pictures, NDArray[np.uint8]] | None:
    """A labelled slice with a dense lesion painted at a wall of its lungs; None if there is no room for it."""
    lung = (truth_ji & Truth.LUNG) > 0
    share = dense_patch(lung, UNKNOWN_SPACING_MM, rng, IN_ONE_SLICE)
    if share is None:
        return None
    lesion = share >= 0.5
    wall = binary_dilation(lesion, iterations=WALL_PX) & ~lung
    if np.count_nonzero(wall) < MIN_WALL_PIXELS:
        return None
    texture = rng.uniform(0.01, 0.08) * rng.standard_normal(lung.shape)

    def filled(grey: NDArray[np.float32]) -> NDArray[np.float32]:
        level = (np.median(grey[wall]) + texture).astype(np.float32)
        closed = rim_filled_to(grey[None], lesion[None], lung[None], UNKNOWN_SPACING_MM, level[None])[0]
        return np.asarray(np.clip(closed * (1 - share) + level * share, 0, 1), np.float32)

    truth = np.where(lesion, int(SOLID), truth_ji).astype(np.uint8)
    return Pictures({kind: filled(grey) for kind, grey in pictures.by_kind.items()}), truth
