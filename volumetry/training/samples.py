"""The nouns of training: a picture, what is known of each pixel, and where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from volumetry.segment.preprocess import PictureKind, Pictures

OUTPUTS = ("lung", "lesion", "solid")
"""The network's outputs. Each is a probability of its own; solid lies inside lesion, lesion inside lung."""


class Truth(IntFlag):
    """Bits of a truth map: three that say what a pixel is, three that say what is not known of it.

    A pixel that is not lesion is known not to be solid, even where nobody separated ground glass from solid.
    """

    LUNG = 1
    LESION = 2
    SOLID = 4
    LUNG_UNKNOWN = 8
    LESION_UNKNOWN = 16
    SOLID_UNKNOWN = 32


AERATED = Truth.LUNG
GROUND_GLASS = Truth.LUNG | Truth.LESION
SOLID = Truth.LUNG | Truth.LESION | Truth.SOLID
SOME_LESION = Truth.LUNG | Truth.LESION | Truth.SOLID_UNKNOWN
SOME_LUNG = Truth.LUNG | Truth.LESION_UNKNOWN | Truth.SOLID_UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One slice to learn from or to be judged by.

    Parameters
    ----------
    grey_ji
        uint8 grey levels, as the network knows them, of the pictures that can be had.
    truth_ji
        uint8 bits of `Truth`.
    kind
        Which pile it belongs to; the mixture draws a pile first, then a group, then a sample.
    group
        Patient or scan: slices of one group are never on both sides of a split unless its card says so.
    name
        Slice within the group.
    """

    grey_ji: Mapping[PictureKind, NDArray[np.uint8]]
    truth_ji: NDArray[np.uint8]
    kind: str
    group: str
    name: str

    def __post_init__(self) -> None:
        shapes = {picture.shape for picture in self.grey_ji.values()}
        if shapes != {self.truth_ji.shape} or self.truth_ji.ndim != 2:
            raise ValueError(f"pictures {shapes} and truth {self.truth_ji.shape} must be one slice")

    @property
    def pictures(self) -> Pictures:
        """As the network takes them."""
        return Pictures({kind: grey.astype(np.float32) / np.float32(255) for kind, grey in self.grey_ji.items()})


def targets(truth: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth maps (n, j, i) as the three targets and where each is known, both float32 (n, 3, j, i)."""
    value = np.stack([(truth & bit) > 0 for bit in (Truth.LUNG, Truth.LESION, Truth.SOLID)], axis=1)
    unknown = (Truth.LUNG_UNKNOWN, Truth.LESION_UNKNOWN, Truth.SOLID_UNKNOWN)
    known = np.stack([(truth & bit) == 0 for bit in unknown], axis=1)
    return value.astype(np.float32), known.astype(np.float32)
