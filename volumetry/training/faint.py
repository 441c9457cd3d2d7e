"""Faint and even ground glass drawn into lungs without disease, some with consolidation; its truth is exact.

Early and resolving disease may be hardly denser than the lung around it. What else is drawn is denser and more
uneven, and a network that has learned from that alone misses it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Vector
from volumetry.training.filled import Drawn
from volumetry.training.patterns import Haze, Lungs, with_patterns
from volumetry.training.samples import Truth
from volumetry.training.synthesis import Lesions, rim_filled_as_beside, with_lesions

FAINT = "faint"
"""The pile's name."""
DENSER_BY_HU = 70.0
"""The faintest haze, above the lung's median."""
DENSEST_HU = -450.0
FAINT_HAZE = Haze(
    denser_by_hu=DENSER_BY_HU, densest_hu=DENSEST_HU, faintness=2.0, uneven_hu=30.0, texture_hu=(3.0, 50.0)
)


def faint_volumes(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    count: int,
    rng: np.random.Generator,
) -> Iterator[Drawn]:
    """`count` volumes: HU, truth, and the slices with lung; diffuse haze and patches of it in turn.

    Parameters
    ----------
    hu_kji, lung_kji
        Axes to the head, the back and the patient's left; lungs without disease.
    """
    if not count:
        return
    lungs = Lungs.of(lung_kji, spacing_kji_mm)
    usual_hu = float(np.median(hu_kji[lung_kji]))
    patches = Lesions(
        count=(2, 8),
        radius_mm=(8.0, 45.0),
        solid=0.3,
        dependent=0.0,
        back=0.5,
        hazy_hu=(min(usual_hu + DENSER_BY_HU, DENSEST_HU), DENSEST_HU),
        hazy_texture_hu=(3.0, 60.0),
        faintness=2.0,
        segment=0.3,
    )
    slices = np.flatnonzero(lung_kji.any(axis=(1, 2))).tolist()
    for volume in range(count):
        if volume % 2 == 0:
            sick, truth = with_patterns(hu_kji, lung_kji, lungs, rng, FAINT_HAZE)
        else:
            sick, truth = with_lesions(hu_kji, lung_kji, spacing_kji_mm, rng, patches)
            sick = rim_filled_as_beside(sick, (truth & Truth.SOLID) > 0, lung_kji, spacing_kji_mm)
        yield sick, truth, slices
