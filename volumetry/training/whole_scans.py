"""Whole scans with drawn lesions, through the whole line from HU to shares: they set the width of the interval.

Six slices of a scan are a worse sample of it than all, so small scans would make intervals wider than whole ones
need. The lesions are those of `training.calibration_scans`: haze and consolidation of known extent, from next to
nothing to a quarter of the lung. An interval does not cover what a flag describes, so a scan that is flagged for
what was drawn does not set it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config, load_config
from volumetry.domain import SHARES, CtScan, Interval, Measurement, Segmenter, Tissue
from volumetry.image.orientation import axial_view
from volumetry.measure import by_component_rule, measure
from volumetry.measure.interval import FLOOR
from volumetry.quality import lung_findings
from volumetry.segment.postprocess import tidy
from volumetry.training.calibration import FLAGGED, Block
from volumetry.training.calibration_scans import KIND, PLANS
from volumetry.training.chest_slices import ChestSlices, read_chest_slices
from volumetry.training.config import TrainConfig
from volumetry.training.evaluate_scans import with_axial_hu
from volumetry.training.samples import Truth
from volumetry.training.scan_list import read_listed
from volumetry.training.synthesis import with_lesions

DRAWS = 24
"""Into each chest: 8 of each plan."""


def whole_scans(
    segmenter: Segmenter, config: TrainConfig, root: Path, held_out: bool, draws: int = DRAWS
) -> Iterator[Block]:
    """A block for each draw into each chest that was held out, or into each that was learned from.

    What is found in a chest before anything is drawn counts as true, as the patient's own disease is not known,
    or in one chest as a tumour alone. Every draw is new to the model, also in a chest that it knows. Where a draw
    adds a flag to those of the chest itself, the block is of the kind `FLAGGED`.

    Parameters
    ----------
    segmenter
        States its doubt, with an undecided point counted as one.
    config
        Names the chests. Those whose lungs are not known to be healthy are left out.
    root
        Of the data.
    held_out
        Which chests.
    draws
        Into each.
    """
    settings = load_config()
    for number, spec in enumerate(config.data.chests):
        if spec.held_out != held_out:
            continue
        chest = read_chest_slices(spec, root, config.input_recipe)
        if not chest.lungs.any():
            continue
        scan = read_listed(root / spec.image, settings)
        before = _measured(segmenter, scan, chest.hu_kji, settings)
        for draw in range(draws):
            rng = np.random.default_rng([config.schedule.seed, 8, number, draw])
            sick, drawn = with_lesions(
                chest.hu_kji, chest.lungs, chest.spacing_kji_mm, rng, PLANS[draw % len(PLANS)]
            )
            found = _measured(segmenter, scan, sick, settings)
            kind, case = FLAGGED if found.flags - before.flags else KIND, f"{spec.name} {draw:03d}"
            percent, interval = found.numbers.volumes_ml.percent_of_lung(), found.numbers.interval
            if interval:  # without lung there is none
                yield Block(kind, case, percent, _percent(drawn, before.labels, chest), *_parts(interval))


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """Numbers of a scan, its tissue in the axial view, and the codes that ask for a reader."""

    numbers: Measurement
    labels: NDArray[np.uint8]
    flags: frozenset[str]


def _measured(segmenter: Segmenter, scan: CtScan, hu: NDArray[np.float32], settings: Config) -> _Measured:
    seen = with_axial_hu(scan, hu)
    tissue = tidy(segmenter(seen), seen, settings.tidy)
    delivered = by_component_rule(tissue, seen, settings.measure)
    numbers = measure(tissue, seen, settings.measure, settings.interval)
    findings = lung_findings(tissue, seen, numbers, settings)
    flags = frozenset(finding.code for finding in findings if finding.outcome in (Outcome.FLAG, Outcome.REFUSE))
    return _Measured(numbers, axial_view(scan.grid).of(delivered.labels_kji), flags)


def _percent(drawn: NDArray[np.uint8], before: NDArray[np.uint8], chest: ChestSlices) -> dict[str, float]:
    """The true shares: what was drawn, and outside it what was found before."""
    lesion = (drawn & Truth.LESION) > 0
    solid = np.where(lesion, (drawn & Truth.SOLID) > 0, before == Tissue.SOLID)
    lesion |= before > Tissue.AERATED
    lung = np.count_nonzero(chest.lungs | (before > Tissue.OUTSIDE))
    voxels = (np.count_nonzero(lesion), np.count_nonzero(lesion & ~solid), np.count_nonzero(solid))
    return dict(zip(SHARES, (100 * int(n) / int(lung) for n in voxels), strict=True))


def _parts(interval: Interval) -> tuple[dict[str, dict[str, float]], float]:
    """What moves the shares, and the points of undecided lung."""
    parts = {name: dict(points) for name, points in interval.parts.items() if name not in (FLOOR, "reference")}
    return parts, parts.pop("undecided")["lesion"]
