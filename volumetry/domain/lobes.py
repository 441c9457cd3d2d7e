"""The five lobes, and to which of them every voxel of the lungs belongs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain.grid import Grid
from volumetry.domain.tissue import Side
from volumetry.domain.voxel_label import VoxelLabel


class Lobe(VoxelLabel):
    """Three lobes on the patient's right, two on the left."""

    NONE = 0
    LEFT_UPPER = 1
    LEFT_LOWER = 2
    RIGHT_UPPER = 3
    RIGHT_MIDDLE = 4
    RIGHT_LOWER = 5

    @property
    def key(self) -> str:
        """Its name in results."""
        return self.name.lower()


LOBES = tuple(lobe for lobe in Lobe if lobe)
FISSURES = ("left_oblique", "right_oblique", "right_horizontal")
BANDS = 4
"""Of a voxel against a fissure: surely below, probably below, probably above, surely above."""
CODES = len(Side) * BANDS * BANDS


def place_code(
    side: int, oblique: NDArray[np.uint8], horizontal: NDArray[np.uint8] | int = 0
) -> NDArray[np.uint8]:
    """Code of a place in the lungs: its side and its band against each fissure of that side.

    Parameters
    ----------
    side
        Of `Side`.
    oblique, horizontal
        Band, 0 to 3, against the oblique and the horizontal fissure; without the latter, 0.

    Returns
    -------
    NDArray[np.uint8]
        Below `CODES`.
    """
    return np.asarray((np.uint8(side * BANDS) + oblique) * np.uint8(BANDS) + horizontal, np.uint8)


def lobe_table(oblique_shift: int = 0, horizontal_shift: int = 0) -> NDArray[np.uint8]:
    """The lobe of every place code, with the fissures where they are or moved by their uncertainty.

    Parameters
    ----------
    oblique_shift, horizontal_shift
        -1, 0 or 1: the fissure moved down by its doubt, left alone or moved up.

    Returns
    -------
    NDArray[np.uint8]
        `CODES` values of `Lobe`.

    Examples
    --------
    >>> Lobe(int(lobe_table()[place_code(Side.RIGHT, np.uint8(3), 1)])).key
    'right_middle'
    """
    sides, oblique, horizontal = np.unravel_index(np.arange(CODES), (len(Side), BANDS, BANDS))
    above = oblique >= BANDS // 2 + oblique_shift
    over = horizontal >= BANDS // 2 + horizontal_shift
    left = np.where(above, Lobe.LEFT_UPPER, Lobe.LEFT_LOWER)
    right = np.where(above, np.where(over, Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE), Lobe.RIGHT_LOWER)
    lobes = np.where(sides == Side.LEFT, left, np.where(sides == Side.RIGHT, right, Lobe.NONE))
    return lobes.astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class LobeMap:
    """To which lobe every voxel of the lungs belongs, and how surely.

    Parameters
    ----------
    codes_kji
        uint8, shape of `grid`, values of `place_code`; 0 outside the lungs.
    grid
        Where the voxels are.
    reasons
        Why the lobes are approximate; empty where all fissures were followed in the CT.
    doubt_mm
        By fissure: the median distance by which it may lie elsewhere.

    Raises
    ------
    ValueError
        If the codes are not uint8 of the shape of `grid`.
    """

    codes_kji: NDArray[np.uint8]
    grid: Grid
    reasons: tuple[str, ...]
    doubt_mm: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.codes_kji.shape != self.grid.shape_kji or self.codes_kji.dtype != np.uint8:
            raise ValueError(f"{self.codes_kji.dtype} {self.codes_kji.shape} is not uint8 {self.grid.shape_kji}")

    @property
    def method(self) -> str:
        """``fissures`` where all three were followed in the CT, else ``approximate``."""
        return "approximate" if self.reasons else "fissures"


@dataclass(frozen=True, slots=True)
class NoLobes:
    """Lungs that were not divided.

    Parameters
    ----------
    reason
        Why not, as a sentence without its full stop.
    """

    reason: str
