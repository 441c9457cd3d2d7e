"""Count voxels, times voxel volume.

Each statistic is one vectorised pass over the slices; voxel counts are integers and sums of HU are float64, so the
numbers do not depend on threads or on the order of the slices.
"""

import numpy as np
from numpy.typing import NDArray

from volumetry.config import IntervalSettings, Measure
from volumetry.domain import CtScan, Measurement, Side, Tissue, TissueMap, Volumes
from volumetry.measure import table
from volumetry.measure.components import bin_names, by_component_rule, component_splits, hu_bin
from volumetry.measure.densitometry import Counted
from volumetry.measure.interval import with_interval
from volumetry.measure.regions import ZONES, lung_height_mm, plane_z_mm, zone_of


def measure(
    tissue: TissueMap, scan: CtScan, settings: Measure, interval: IntervalSettings | None = None
) -> Measurement:
    """Volumes, shares and the table's further measures of a tidied tissue map.

    Parameters
    ----------
    tissue
        The network's classes, postprocessed, with sides.
    scan
        Its HU on the same grid.
    settings
        Which component rule fills ground glass and solid, and the HU cuts.
    interval
        How the interval's parts are made; without it, no interval.

    Returns
    -------
    Measurement
        The numbers of both lungs, of each side and of each zone.

    Raises
    ------
    ValueError
        If the map has no sides or lies on another grid than the scan.
    """
    if tissue.side_kji is None or tissue.grid != scan.grid:
        raise ValueError("measure() needs a tidied map on the scan's own grid")
    delivered = by_component_rule(tissue, scan, settings)
    counts = _counts(delivered)
    bins, lung_hu_sum, lesion_hu_sum = _density(delivered, scan, settings)
    voxel_ml = tissue.grid.voxel_ml
    total = _volumes(counts.sum(axis=(0, 1)), voxel_ml)
    lung_voxels = int(counts[:, :, Tissue.AERATED :].sum())
    counted = Counted(delivered, scan, total, lung_voxels, lung_hu_sum, lesion_hu_sum)
    names = bin_names(settings.hu_cuts)
    return Measurement(
        volumes_ml=total,
        sides={s.name.lower(): _volumes(counts[s].sum(axis=0), voxel_ml) for s in (Side.LEFT, Side.RIGHT)},
        zones={name: _volumes(counts[:, n].sum(axis=0), voxel_ml) for n, name in enumerate(ZONES)},
        component_rule=settings.component_rule,
        components_by_rule=component_splits(tissue, scan, settings),
        hu_bins_ml={name: float(n * voxel_ml) for name, n in zip(names, bins.tolist(), strict=True)},
        values={row.key: row.value(counted) for row in table.computed()},
        interval=with_interval(tissue, scan, delivered, total, settings, interval) if interval else None,
        fluid_ml=delivered.fluid_ml,
    )


def _counts(tissue: TissueMap) -> NDArray[np.int64]:
    """Voxels by side, zone and tissue: shape (3, 3, 5)."""
    counts = np.zeros((len(Side), len(ZONES), len(Tissue)), np.int64)
    height_mm = lung_height_mm(tissue)
    if height_mm is None or tissue.side_kji is None:
        return counts
    for k, (labels, side) in enumerate(zip(tissue.labels_kji, tissue.side_kji, strict=True)):
        zone = zone_of(plane_z_mm(tissue.grid, k), height_mm).astype(np.uint8)
        key = (side * np.uint8(len(ZONES)) + zone) * np.uint8(len(Tissue)) + labels
        counts += np.bincount(key[labels > 0], minlength=counts.size).reshape(counts.shape)
    return counts


def _density(tissue: TissueMap, scan: CtScan, settings: Measure) -> tuple[NDArray[np.int64], float, float]:
    """Lung voxels by HU bin, and the sums of HU over lung and lesion."""
    bins = np.zeros(4, np.int64)
    lung_sum = lesion_sum = 0.0
    for labels, hu in zip(tissue.labels_kji, scan.hu_kji, strict=True):
        lung = labels > 0
        in_lung = hu[lung]
        bins += np.bincount(hu_bin(in_lung, settings.hu_cuts), minlength=len(bins))
        lung_sum += float(in_lung.sum(dtype=np.float64))
        lesion_sum += float(hu[labels > Tissue.AERATED].sum(dtype=np.float64))
    return bins, lung_sum, lesion_sum


def _volumes(counts: NDArray[np.int64], voxel_ml: float) -> Volumes:
    ml = (counts * voxel_ml).tolist()
    return Volumes(ml[Tissue.AERATED], ml[Tissue.GROUND_GLASS], ml[Tissue.SOLID], ml[Tissue.UNCLASSED])
