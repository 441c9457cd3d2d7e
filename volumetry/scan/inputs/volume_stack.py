"""A volume file as a stack of slices, and the way between the file's axes and those it is checked in."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid
from volumetry.scan.checks.gate import GatedStack
from volumetry.scan.headers.files import FileRef
from volumetry.scan.inputs.volume_header import VolumeHeader


@dataclass(frozen=True, slots=True)
class VolumeStack(GatedStack):
    """A volume with everything its header says about it.

    Parameters
    ----------
    slices, findings, geometry, series
        As in `GatedStack`; a slice stands for one plane of the volume.
    header
        Of the file.
    data
        The file with the numbers, which may be the same.
    order, flip
        How the file's axes (k, j, i) are turned for judging: which comes first, second, third, and whether the
        first then runs backwards.
    grid
        In the file's own order.
    """

    header: VolumeHeader
    data: FileRef
    order: tuple[int, int, int]
    flip: bool
    grid: Grid

    def judged(self, filed: NDArray[Any]) -> NDArray[Any]:
        """An array in the file's order, turned as it was checked.

        Parameters
        ----------
        filed
            Axes (k, j, i) of the file.

        Returns
        -------
        NDArray[Any]
            A view; the first axis runs along the body.
        """
        turned = filed.transpose(self.order)
        return turned[::-1] if self.flip else turned

    def filed(self, judged: NDArray[Any]) -> NDArray[Any]:
        """An array as it was checked, in the file's order again.

        Parameters
        ----------
        judged
            From `judged`.

        Returns
        -------
        NDArray[Any]
            Contiguous, axes (k, j, i) of the file.
        """
        turned = judged[::-1] if self.flip else judged
        return np.ascontiguousarray(turned.transpose(np.argsort(self.order)))
