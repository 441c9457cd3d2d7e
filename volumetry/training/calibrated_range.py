"""Which scans a model's interval was calibrated on, by what can be measured on a scan."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from volumetry.config import load_config
from volumetry.quality.aerated_lung import AERATED_HU, aerated_hu_counts, median_of
from volumetry.scan import read_scan
from volumetry.training.chest_slices import read_chest_slices
from volumetry.training.config import TrainConfig
from volumetry.training.shown import on_network_grid
from volumetry.training.threshold_lungs import threshold_lungs

MARGIN_HU = 50.0
"""Beyond the chests at hand, which differ from each other with a standard deviation of 30 HU."""


def healthy_lung_range(config: TrainConfig, root: Path) -> dict[str, list[float]]:
    """Lowest and highest median HU of healthy lung among scans and chests, with `MARGIN_HU` to both sides.

    Parameters
    ----------
    config
        Names the scans and chests. Those whose lungs are not known to be healthy say nothing.
    root
        Of the data.

    Returns
    -------
    dict[str, list[float]]
        By `quality.aerated_lung.AERATED_HU`; empty without any such scan.
    """
    found = list(_healthy_lung_hu(config, root))
    return {AERATED_HU: [round(min(found) - MARGIN_HU, 1), round(max(found) + MARGIN_HU, 1)]} if found else {}


def _healthy_lung_hu(config: TrainConfig, root: Path) -> Iterator[float]:
    for spec in config.data.scans:
        scan = read_scan(root / spec.folder, load_config())
        hu_kji, spacing = on_network_grid(scan.hu_kji, scan.grid, config.input_recipe)
        yield median_of(aerated_hu_counts(hu_kji[threshold_lungs(hu_kji, spacing)]))
    for chest_spec in config.data.chests:
        chest = read_chest_slices(chest_spec, root, config.input_recipe)
        if np.any(chest.lungs):
            yield median_of(aerated_hu_counts(chest.hu_kji[chest.lungs]))
