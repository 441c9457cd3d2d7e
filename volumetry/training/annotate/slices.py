"""A scan's chosen slices, as pixels and as proposals."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Config
from volumetry.domain import CtScan, Vector
from volumetry.image.orientation import axial_view
from volumetry.training.annotate.plan import AnnotatedScan
from volumetry.training.annotate.propose import Proposal, propose
from volumetry.training.scan_list import read_listed
from volumetry.training.threshold_lungs import threshold_lungs


@dataclass(frozen=True, slots=True, eq=False)
class AxialScan:
    """A scan in the axial view with its aerated lungs by threshold.

    Parameters
    ----------
    scan
        On its own grid.
    hu_kji, lung_kji
        Axes to the head, the back, the left.
    spacing_kji_mm
        Along these axes.
    """

    scan: CtScan
    hu_kji: NDArray[np.float32]
    lung_kji: NDArray[np.bool_]
    spacing_kji_mm: Vector


def read_axial(root: Path, spec: AnnotatedScan, config: Config) -> AxialScan:
    """Read a scan below the data root and find its aerated lungs; raises InputError if it cannot be read."""
    scan = read_listed(root / spec.path, config)
    view = axial_view(scan.grid)
    hu = np.ascontiguousarray(view.of(scan.hu_kji), np.float32)
    spacing = view.spacing_mm(scan.grid)
    return AxialScan(scan, hu, threshold_lungs(hu, spacing, spec.thin_mm), spacing)


def proposals(axial: AxialScan, spec: AnnotatedScan) -> Iterator[tuple[int, Proposal]]:
    """Each chosen slice's number and what is proposed for it."""
    pixel = axial.spacing_kji_mm[1:]
    for k in spec.slices:
        yield k, propose(axial.hu_kji[k], axial.lung_kji[k], pixel)
