"""What a segmenter may take for lung and is none, known by its HU and by what surrounds it.

Gas in airways, stomach, bowel and room is as dark as emphysema, and fat below the diaphragm can look like lung in
a contrast-enhanced picture. Both are separated from lung by their surroundings: emphysema, bullae, vessels and a
missed consolidation lie in aerated lung, the others in soft tissue.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Tidy
from volumetry.domain import Box, CtScan, Tissue, Vector
from volumetry.image.coarse import Strides, any_in_block, block_mean, block_spacing_mm, repeated, strides
from volumetry.image.components import Mask, bodies_of
from volumetry.image.morphology import box_within, opened_mm, within_mm

_AERATED_BELOW_HU = -600.0
"""Above this lies soft tissue or fat, or its edge."""
_EDGE_HU = -500.0
"""Half-way from aerated lung to fat: the edge between them."""


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """Means over blocks of about 2.5 mm."""

    hu: NDArray[np.float32]
    spacing_kji_mm: tuple[float, float, float]
    voxel_ml: float

    def bodies_without_lung_around(
        self, mask: Mask, min_ml: float, settings: Tidy, close: Mask | None = None
    ) -> Mask:
        """Bodies of a mask with their blurred edge, of those that little aerated lung surrounds.

        With `close`, bodies that lie outside it altogether are not looked at: the air around a patient is the
        largest of all.
        """
        found = bodies_of(mask, corners=False)
        count = found.at_least(min_ml / self.voxel_ml)
        judged = np.arange(len(found.sizes) + 1) <= count
        if close is not None:
            judged &= np.bincount(found.labels_kji[close[found.box]], minlength=len(judged)) > 0
        judged[0] = False
        if not judged.any():
            return np.zeros_like(mask)
        every = np.zeros(mask.shape, np.int32)
        every[found.box] = np.where(judged[found.labels_kji], found.labels_kji, 0)
        box = box_within(every > 0, settings.edge_mm + settings.wall_mm, self.spacing_kji_mm)
        if box is None:
            raise AssertionError("a body has voxels")
        body, hu = every[box], self.hu[box]
        nearest = ndimage.distance_transform_edt(
            body == 0, sampling=self.spacing_kji_mm, return_distances=False, return_indices=True
        )
        with_edge = np.zeros_like(body)
        shell, lung_like = np.zeros(count + 1), np.zeros(count + 1)
        for k, plane_hu in enumerate(hu):  # distances of the whole volume would be the most that a scan holds
            owner, distance_mm = body[tuple(nearest[:, k])], _distance_mm(nearest[:, k], k, self.spacing_kji_mm)
            with_edge[k] = np.where(distance_mm <= settings.edge_mm, owner, 0)
            around = np.where(distance_mm <= settings.edge_mm + settings.wall_mm, owner, 0)
            around[with_edge[k] > 0] = 0
            aerated = (plane_hu >= settings.gas_hu) & (plane_hu < _AERATED_BELOW_HU)
            shell += np.bincount(around.ravel(), minlength=count + 1)
            lung_like += np.bincount(around.ravel(), aerated.ravel(), count + 1)
        no_lung = lung_like < settings.in_lung_share * np.maximum(shell, 1)
        no_lung[0] = False
        surrounded = np.zeros_like(mask)
        surrounded[box] = no_lung[with_edge]
        return surrounded

    def opened(self, mask: Mask, radius_mm: float) -> Mask:
        """What remains of a mask without what is thinner than twice the radius."""
        return opened_mm(mask, radius_mm, self.spacing_kji_mm)

    def near(self, mask: Mask, target: Mask, reach_mm: float) -> Mask:
        """What of a mask lies within a distance of a target."""
        found = np.zeros_like(mask)
        box = box_within(mask, reach_mm, self.spacing_kji_mm)
        if box is not None:
            found[box] = mask[box] & within_mm(target[box], reach_mm, self.spacing_kji_mm)
        return found


def _distance_mm(nearest_nji: NDArray[np.int32], k: int, spacing_kji_mm: Vector) -> NDArray[np.float64]:
    """Distance of each voxel of slice `k` from the one that `nearest_nji` names by its three indices."""
    rows, columns = nearest_nji.shape[1:]
    here = (k, np.arange(rows)[:, None], np.arange(columns)[None, :])
    squares = [((there - at) * mm) ** 2 for there, at, mm in zip(nearest_nji, here, spacing_kji_mm, strict=True)]
    found: NDArray[np.float64] = np.sqrt(squares[0] + squares[1] + squares[2])
    return found


def no_lung(labels_kji: NDArray[np.uint8], scan: CtScan, settings: Tidy, box: Box) -> Mask:
    """Gas that is not lung, soft tissue labelled as aerated lung, and the thin remains around both.

    Parameters
    ----------
    labels_kji
        uint8, values of `Tissue`, from a segmenter.
    scan
        HU on the same grid.
    settings
        ``[tidy]`` of the configuration.
    box
        Where anything is labelled.

    Returns
    -------
    Mask
        True where `labels_kji` must not be lung, on the grid of the box; also beside it.
    """
    step = strides(scan.grid.spacing_kji_mm)
    spacing_mm = block_spacing_mm(scan.grid.spacing_kji_mm, step)
    blocks, of_blocks, within = _blocks_of(box, step)
    with ThreadPoolExecutor(1) as beside:
        means = beside.submit(block_mean, scan.hu_kji, step)
        shape = [-(-size // n) for size, n in zip(labels_kji.shape, step, strict=True)]
        labelled, called_aerated = np.zeros(shape, bool), np.zeros(shape, bool)
        labelled[blocks] = any_in_block(labels_kji[of_blocks] > 0, step)
        called_aerated[blocks] = block_mean(labels_kji[of_blocks] == Tissue.AERATED, step) > 0.5
        # Gas further away has no wall that could be taken for lung.
        close = within_mm(labelled, settings.edge_mm + settings.rim_reach_mm, spacing_mm)
        coarse = Coarse(means.result(), spacing_mm, scan.grid.voxel_ml * float(np.prod(step)))
        of_gas = beside.submit(
            coarse.bodies_without_lung_around, coarse.hu < settings.gas_hu, settings.min_gas_ml, settings, close
        )
        dense = coarse.opened(called_aerated & (coarse.hu > settings.soft_hu), settings.soft_thick_mm)
        soft = coarse.bodies_without_lung_around(dense, settings.min_soft_ml, settings)
        # Beside soft tissue only what is not air goes: a bowel's blurred wall would tie the bowel to the lung.
        rim = coarse.near(called_aerated & (coarse.hu > _EDGE_HU), soft, settings.rim_reach_mm)
        gas = of_gas.result()
    rest = labelled & ~gas
    thin = rest & ~coarse.opened(rest, settings.rim_mm)
    rim |= coarse.near(thin, gas, settings.rim_reach_mm)
    whole = [along.stop - along.start for along in of_blocks]
    return repeated((gas | soft | rim)[blocks], step, (whole[0], whole[1], whole[2]))[within]


def _blocks_of(box: Box, step: Strides) -> tuple[Box, Box, Box]:
    """The blocks that a box of voxels touches, their own voxels, and where the box lies among those."""
    blocks = [slice(a.start // n, -(-a.stop // n)) for a, n in zip(box, step, strict=True)]
    voxels = [slice(b.start * n, b.stop * n) for b, n in zip(blocks, step, strict=True)]
    within = [slice(a.start - v.start, a.stop - v.start) for a, v in zip(box, voxels, strict=True)]
    return _box(blocks), _box(voxels), _box(within)


def _box(slices: list[slice]) -> Box:
    k, j, i = slices
    return k, j, i
