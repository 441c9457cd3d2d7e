"""Small scans with drawn lesions, for temperature and threshold: many draws into slices of a healthy chest.

Labelled data separate ground glass from solid in a handful of single slices only. Here both are known exactly, and
each draw is a scan of its own: other lesions, from next to nothing to a quarter of the lung.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetry.config import load_config
from volumetry.scan import read_scan
from volumetry.segment.preprocess import InputRecipe, Volume, pictures_of
from volumetry.training.chest_slices import read_chest_slices
from volumetry.training.config import TrainConfig
from volumetry.training.continued import looks_of
from volumetry.training.samples import AERATED, Sample, Truth
from volumetry.training.shown import on_network_grid, sample_of
from volumetry.training.synthesis import Lesions, with_lesions
from volumetry.training.threshold_lungs import threshold_lungs

KIND = "drawn"
DRAWS = 80
CHEST_DRAWS = 16
"""Into each of several chests."""
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
    looks = looks_of(config)
    for number, spec in enumerate(spec for spec in config.data.scans if not spec.infected_csv):
        scan = read_scan(root / spec.folder, load_config())
        hu_kji, spacing = on_network_grid(scan.hu_kji, scan.grid, config.input_recipe)
        lungs = threshold_lungs(hu_kji, spacing)
        useful = np.flatnonzero(config.data.held_out(len(hu_kji)) & lungs.any(axis=(1, 2)))
        for draw in range(draws):
            rng = np.random.default_rng([config.schedule.seed, 4, number, draw])
            sick, truth = with_lesions(hu_kji, lungs, spacing, rng, PLANS[draw % len(PLANS)])
            group = f"{Path(spec.folder).name} {draw:03d}"
            yield from _six(looks.volume(sick, spacing), truth, useful, group, config.measuring_recipe, rng)


def drawn_chests(config: TrainConfig, root: Path, draws: int = CHEST_DRAWS) -> Iterator[Sample]:
    """The same for whole chests, learned from or held out, in slices without disease of the patient's own.

    Single lesions alone: drawn diffuse haze is fainter than what readers outline, and a threshold fitted to it
    would be too low for them. A chest that was learned from is seen here with other disease; where a chest
    calibrates, none of these is drawn into, and the others are drawn into twice as often.
    """
    unseen = any(spec.calibrates for spec in config.data.chests)
    looks = looks_of(config)
    for number, spec in enumerate(config.data.chests):
        if unseen and not spec.held_out:
            continue
        chest = read_chest_slices(spec, root, looks.recipe)
        if not chest.lungs.any():
            continue  # of its lungs nothing is known
        own = ((chest.own & Truth.LESION_UNKNOWN) > 0) | chest.tumour
        useful = np.flatnonzero(chest.lungs.any(axis=(1, 2)) & ~own.any(axis=(1, 2)))
        for draw in range(draws * (1 + unseen)):
            rng = np.random.default_rng([config.schedule.seed, 7, number, draw])
            plan = PLANS[draw % len(PLANS)]
            sick, truth = with_lesions(chest.hu_kji, chest.lungs, chest.spacing_kji_mm, rng, plan)
            truth = np.where(chest.own == int(AERATED), truth, chest.own).astype(np.uint8)
            seen = looks.volume(sick, chest.spacing_kji_mm)
            yield from _six(seen, truth, useful, f"{spec.name} {draw:03d}", config.measuring_recipe, rng)


def _six(
    seen: Volume,
    truth: NDArray[np.uint8],
    useful: NDArray[np.intp],
    group: str,
    recipe: InputRecipe,
    rng: np.random.Generator,
) -> Iterator[Sample]:
    first = rng.uniform(0, 1)
    at = ((np.arange(SLICES) + first) * len(useful) / SLICES).astype(int)
    for k in useful[at].tolist():
        yield sample_of(pictures_of(seen.plane(k), recipe), truth[k], KIND, group, f"{k:04d}")
