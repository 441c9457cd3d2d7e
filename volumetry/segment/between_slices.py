"""Probabilities made continuous from slice to slice.

The network labels one slice at a time. What it is not sure of, such as a hilum, comes and goes from one slice to
the next, and a body of it begins and ends with a flat face, as nothing in a chest does.
"""

import math

import numpy as np
from numpy.typing import NDArray

from volumetry.segment.halves import to_half, to_single


def smooth_between_slices(probabilities: NDArray[np.float16], spacing_mm: float, deviation_mm: float) -> None:
    """Average each slice with the two beside it, in place, with the weights of a Gaussian.

    The first and the last slice stand in for the ones that they lack. Slices far apart keep what they have: at
    5 mm and a deviation of 1.5 mm, 99 % of it.

    Parameters
    ----------
    probabilities
        (channel, k, j, i).
    spacing_mm
        From slice to slice.
    deviation_mm
        Standard deviation of the Gaussian that gives the weights, of which three are used: however large it is, a
        slice is averaged with the two beside it alone. 0 changes nothing.
    """
    count = probabilities.shape[1]
    if not deviation_mm or not count:
        return
    ratio = math.exp(-0.5 * (spacing_mm / deviation_mm) ** 2)
    own, beside = np.float32(1 / (1 + 2 * ratio)), np.float32(ratio / (1 + 2 * ratio))
    before = here = to_single(probabilities[:, 0])
    for k in range(count):
        after = to_single(probabilities[:, min(k + 1, count - 1)])
        probabilities[:, k] = to_half(own * here + beside * (before + after))
        before, here = here, after
