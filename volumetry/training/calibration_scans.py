"""Small scans with drawn lesions, for calibration: many draws into the held-out slices of a healthy chest.

Labelled data separate ground glass from solid in a handful of single slices only. Here both are known exactly, and
each draw is a scan of its own: other lesions, from next to nothing to a quarter of the lung.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from volumetry.config import load_config
from volumetry.scan import read_scan
from volumetry.segment.preprocess import pictures_of
from volumetry.training.config import TrainConfig
from volumetry.training.dataset import on_network_grid, sample_of
from volumetry.training.samples import Sample
from volumetry.training.synthesis import Lesions, with_lesions
from volumetry.training.threshold_lungs import threshold_lungs

KIND = "drawn"
DRAWS = 80
SLICES = 6
PLANS = (
    Lesions(count=(1, 4), solid=0.3, dependent=0.0),
    Lesions(count=(2, 12), solid=0.3),
    Lesions(count=(1, 8), solid=0.5, back=0.0, touching=True),
)
"""Few and many, hazy and dense, at the back and at any wall, in turn."""


def drawn_scans(config: TrainConfig, root: Path, draws: int = DRAWS) -> Iterator[Sample]:
    """Six held-out slices from all over the lungs for each draw into each scan without any disease.

    Every group is one draw; no slice of them was learned from, though its neighbours were.
    """
    for number, spec in enumerate(spec for spec in config.data.scans if not spec.infected_csv):
        scan = read_scan(root / spec.folder, load_config())
        hu_kji, spacing = on_network_grid(scan.hu_kji, scan.grid, config.input_recipe)
        lungs = threshold_lungs(hu_kji, spacing)
        useful = np.flatnonzero(config.data.held_out(len(hu_kji)) & lungs.any(axis=(1, 2)))
        for draw in range(draws):
            rng = np.random.default_rng([config.schedule.seed, 4, number, draw])
            sick, truth = with_lesions(hu_kji, lungs, spacing, rng, PLANS[draw % len(PLANS)])
            first = rng.uniform(0, 1)
            at = ((np.arange(SLICES) + first) * len(useful) / SLICES).astype(int)
            for k in useful[at]:
                name = (KIND, f"{Path(spec.folder).name} {draw:03d}", f"{k:04d}")
                yield sample_of(pictures_of(sick[k], config.input_recipe), truth[k], *name)
