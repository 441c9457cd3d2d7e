"""A mask that an editor has saved mirrored or turned on the right grid: its header does not tell, its lungs do."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import FLUID
from volumetry.image.coarse import Strides, sampled
from volumetry.remeasure.lattice import EditedMaskError

_STEP: Strides = (2, 4, 4)
_BETTER = 0.005
"""Dice. A mask to which lung was only added, or from which it was only taken, agrees best as it is."""
_AXES = "kji"


def refuse_mirrored(edited_kji: NDArray[np.uint8], automatic_kji: NDArray[np.uint8]) -> None:
    """Refuse a mask whose lungs fit those of the automatic mask better the other way round.

    Parameters
    ----------
    edited_kji, automatic_kji
        Labels on the same grid.

    Raises
    ------
    EditedMaskError
        If the mask, mirrored along one or more axes of the scan, agrees better by 0.005 of Dice.
    """
    edited, automatic = (_lungs(sampled(labels, _STEP)) for labels in (edited_kji, automatic_kji))
    ways = [axes for n in (1, 2, 3) for axes in combinations(range(3), n)]
    agreement = {axes: _dice(np.flip(edited, axes), automatic) for axes in ways}
    best = max(ways, key=lambda axes: agreement[axes])
    straight = _dice(edited, automatic)
    if agreement[best] > straight + _BETTER:
        raise EditedMaskError(
            "the mask seems to be mirrored or turned: the Dice of its lungs with those of the automatic mask is "
            f"{straight:.3f}, and {agreement[best]:.3f} if it is mirrored along {_named(best)} of the array",
            hint="Look whether the editor changed the order of the voxels without the header, and save it again.",
        )


def _lungs(labels_kji: NDArray[np.uint8]) -> NDArray[np.bool_]:
    lungs: NDArray[np.bool_] = (labels_kji > 0) & (labels_kji != FLUID)
    return lungs


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / both if both else 1.0


def _named(axes: tuple[int, ...]) -> str:
    return " and ".join(_AXES[axis] for axis in axes)
