"""Whole scans with drawn disease: what is found of it, what the interval says, and whether anything is flagged.

    PYTHONPATH=tests python tests/benchmarks/drawn_disease.py MODEL DATA FOLDER [faint] [scans]

``faint`` draws even ground glass of known volume and less and less density into six chests, one at a time (ten
minutes of one core). ``scans`` draws lesions as those that calibrate the model, and diffuse disease, into the two
chests of which the slice network learned from no slice, or not from all (half an hour). FOLDER keeps
``PART.json``: the figures of docs/validation.md, "Ground glass that is missed". A number makes only so many draws
of each kind and chest.
"""

import json
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.judge_model import HRCT, PLANTED, say
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config, load_config
from volumetry.domain import SHARES, CtScan, Grid, Segmenter, Vector
from volumetry.image.orientation import axial_view
from volumetry.pipeline import Analysis, analyse
from volumetry.segment.network import load_segmenter
from volumetry.training.calibration_scans import PLANS
from volumetry.training.chest_slices import read_chest_slices
from volumetry.training.config import TrainConfig, load_recipe
from volumetry.training.evaluate_scans import with_axial_hu
from volumetry.training.inserted_lesions import Plan, with_planted_lesion
from volumetry.training.patterns import Lungs, with_patterns
from volumetry.training.samples import Truth
from volumetry.training.scan_list import read_listed
from volumetry.training.shown import on_network_grid
from volumetry.training.synthesis import with_lesions
from volumetry.training.threshold_lungs import threshold_lungs

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "train-lesion25d.toml"
VOLUMES_ML, LEVELS_HU = (50.0, 200.0), (-600.0, -650.0, -700.0, -750.0)
FAINT_SEED, PATTERN_SEED = 5, 77
DRAWS = {"qin-0003": 64, "normal-001": 80}
"""Drawn scans of lesions. Small scans of the first 32 of ``qin-0003``, and of every other one of ``normal-001``,
set the threshold of lesion; none of these draws sets the interval."""
PATTERN_DRAWS = 24

Row = dict[str, Any]


def main() -> None:
    """Run the wanted parts."""
    model, data, folder = (Path(word).resolve() for word in sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(overrides={"segment": {"model": str(model), "device": "cpu"}})
    segmenter = load_segmenter(config)
    words = sys.argv[4:] or ["faint", "scans"]
    most = next((int(word) for word in words if word.isdigit()), None)
    for part, run in (("faint", faint), ("scans", scans)):
        if part in words:
            rows = []
            for row in run(segmenter, config, data, most):
                say(" ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
                rows.append(row)
            (folder / f"{part}.json").write_text(json.dumps(rows, indent=1), "utf-8")


def faint(segmenter: Segmenter, config: Config, data: Path, most: int | None) -> Iterator[Row]:
    """Even ground glass; what was called lesion before is taken off."""
    for name in PLANTED:
        scan = read_chest(name, data, config)
        view = axial_view(scan.grid)
        hu, spacing = np.ascontiguousarray(view.of(scan.hu_kji)), view.spacing_mm(scan.grid)
        lung = threshold_lungs(hu, spacing)
        before_ml = analyse(scan, segmenter, config).result.measurement.volumes_ml.lesion
        for (number, volume_ml), level_hu in islice(product(enumerate(VOLUMES_ML), LEVELS_HU), most):
            rng = np.random.default_rng([FAINT_SEED, number, 0])
            sick, truth = with_planted_lesion(hu, lung, spacing, rng, Plan(volume_ml, level_hu))
            done = analyse(with_axial_hu(scan, sick), segmenter, config)
            true_ml = float(np.count_nonzero(truth & Truth.LESION) * scan.grid.voxel_ml)
            more_ml = done.result.measurement.volumes_ml.lesion - before_ml
            yield {
                "chest": name,
                "volume_ml": volume_ml,
                "level_hu": level_hu,
                "above_lung_hu": level_hu - float(np.median(hu[lung])),
                "error_percent": 100 * (more_ml - true_ml) / true_ml,
                "flags": flags_of(done),
            }


def scans(segmenter: Segmenter, config: Config, data: Path, most: int | None) -> Iterator[Row]:
    """Drawn scans, on the network's grid, with the true percentages and what was measured."""
    recipe = load_recipe(RECIPE)
    series = read_chest("qin-0003", data, config).series
    for name, draws in DRAWS.items():
        hu, lung, spacing, key = healthy_chest(name, data, recipe)
        lungs = Lungs.of(lung, spacing)
        kinds = [("patterns", n) for n in range(PATTERN_DRAWS)[:most]] + [
            ("lesions", n) for n in range(draws)[:most]
        ]
        for kind, number in kinds:
            if kind == "lesions":
                rng = np.random.default_rng([recipe.schedule.seed, *key, number])
                sick, truth = with_lesions(hu, lung, spacing, rng, PLANS[number % len(PLANS)])
            else:
                sick, truth = with_patterns(hu, lung, lungs, np.random.default_rng([PATTERN_SEED, *key, number]))
            scan = CtScan(np.ascontiguousarray(sick, np.float32), Grid(hu.shape, spacing), series)
            done = analyse(scan, segmenter, config)
            yield {"chest": name, "kind": kind, "draw": number} | against(truth, done)


def against(truth: NDArray[np.uint8], done: Analysis) -> Row:
    """Percentages that were drawn and measured, and whether the intervals, if any, contain the former.

    What was found before anything was drawn counts as an error here: next to nothing in these two chests.
    """
    lung, lesion, solid = (np.count_nonzero(truth & bit) for bit in (Truth.LUNG, Truth.LESION, Truth.SOLID))
    true = dict(zip(SHARES, (100 * n / lung for n in (lesion, lesion - solid, solid)), strict=True))
    measurement = done.result.measurement
    measured = measurement.volumes_ml.percent_of_lung()
    row: Row = {}
    for name in SHARES:
        row |= {f"{name}_true": true[name], name: measured[name]}
        if measurement.interval:
            low, high = measurement.interval.percent[name]
            row |= {f"{name}_half_width": (high - low) / 2, f"{name}_covered": bool(low <= true[name] <= high)}
    return row | {"flags": flags_of(done)}


def flags_of(done: Analysis) -> list[str]:
    """Codes that ask for a reader."""
    return sorted({finding.code for finding in done.result.findings if finding.outcome is Outcome.FLAG})


def read_chest(name: str, data: Path, config: Config) -> CtScan:
    """A scan of the data at hand."""
    path = data / "hrct" / name if name in HRCT else data / "chests" / f"{name}.nii.gz"
    return read_listed(path, config)


def healthy_chest(
    name: str, data: Path, recipe: TrainConfig
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Vector, tuple[int, int]]:
    """HU and lungs on the network's grid, and what seeds its draws as in calibration."""
    if name in HRCT:
        scan = read_chest(name, data, load_config())
        hu, spacing = on_network_grid(scan.hu_kji, scan.grid, recipe.input_recipe)
        return hu, threshold_lungs(hu, spacing), spacing, (4, 0)
    number = [spec.name for spec in recipe.data.chests].index(name)
    chest = read_chest_slices(recipe.data.chests[number], data, recipe.input_recipe)
    return chest.hu_kji, chest.lungs, chest.spacing_kji_mm, (7, number)


if __name__ == "__main__":
    main()
