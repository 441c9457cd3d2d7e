"""What calibrating cases say of a model: how well its probabilities are meant, and how wide its interval must be.

Probabilities are fitted on the calibration cases of the split, and judged on its other held-out cases; so is the
interval, with whole drawn scans besides (`training.whole_scans`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch.nn import functional

from volumetry.config import IntervalSettings
from volumetry.domain import SHARES, Doubt, Grid, TissueMap
from volumetry.measure.interval import UNDECIDED_RIM_MM, boundary_points, interval_of, undecided_points
from volumetry.quality.aerated_lung import LESION_PERCENT
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.thresholds import labelled
from volumetry.segment.uncertainty import (
    BASE,
    Counts,
    added,
    class_counts,
    spread_points,
    threshold_counts,
    undecided_voxels,
)
from volumetry.training.calibration_scans import KIND as DRAWN
from volumetry.training.chest_slices import CHEST, PATTERNS
from volumetry.training.config import TrainConfig
from volumetry.training.samples import OUTPUTS, Sample, Truth, targets
from volumetry.training.small_scans import REFERENCE_FROM, cuts_for, small_scans

FLAGGED = "drawn, flagged"
"""Kind of blocks of drawn scans that have a flag, which no interval covers."""
LEVEL = 0.95
SOURCE_LEVEL = 0.9
"""Of the blocks of each source, so that many easy ones do not narrow the intervals of all others."""
SOURCE_BLOCKS = 10
"""Of fewer blocks, 90 % are all, and the largest error would decide."""
UNDECIDED_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOORS_POINTS = (1.0, 2.0)
"""What a share may be off by though nothing moves it: a small lesion, or faint haze, that is missed altogether. Of
single lesions less is missed, but those that are drawn are denser than the faintest haze that a reader sees."""
LEAST_WIDENING = 1.0
"""Nothing that moves a share is taken to move it less than it does."""
REFERENCE_LIMITS = (0.05, 0.75)


@dataclass(frozen=True, slots=True)
class Block:
    """A scan, or some slices of a case: its shares by truth and by the model, and what moves them, in points.

    Parameters
    ----------
    truth
        Only the shares that its labels know.
    undecided
        Points of lung in which nothing is decided, without the rims of the lesion.
    """

    kind: str
    case: str
    percent: dict[str, float]
    truth: dict[str, float]
    parts: dict[str, dict[str, float]]
    undecided: float = 0.0

    def moved(self, weight: float) -> dict[str, dict[str, float]]:
        """All parts, if an undecided point counts as `weight` points."""
        return {**self.parts, "undecided": undecided_points(self.undecided, 0.0, weight)}


def for_calibration(
    samples: Sequence[Sample], drawn: Sequence[Sample], config: TrainConfig
) -> tuple[list[Sample], list[Sample]]:
    """Held-out samples to calibrate on, and those to judge the calibration by.

    Of the labelled slices, the cases that the configuration names; of the drawn scans, every other one; of draws
    into whole chests, all those into chests that calibrate, or if none does, that were learned from. Slices
    of the scans and chests themselves, and the one draw into each that training watches, are in neither.
    """
    useful = [sample for sample in samples if sample.kind not in ("scan", "synthetic", CHEST, PATTERNS)]
    chosen = {case for spec in config.data.slices for case in spec.calibration_cases}
    unseen = any(spec.calibrates for spec in config.data.chests)
    learned = {spec.name: spec.calibrates if unseen else not spec.held_out for spec in config.data.chests}
    groups = {sample.group for sample in drawn}
    chosen |= set(sorted(group for group in groups if group.split()[0] not in learned)[::2])
    chosen |= {group for group in groups if learned.get(group.split()[0])}
    both = [*useful, *drawn]
    return [s for s in both if s.group in chosen], [s for s in both if s.group not in chosen]


def temperatures(segmenter: NetworkSegmenter, samples: Sequence[Sample]) -> dict[str, float]:
    """The temperature of each output: its logits divided by it fit the labels best (least cross-entropy).

    Parameters
    ----------
    segmenter
        The model.
    samples
        Held-out slices.

    Returns
    -------
    dict[str, float]
        Greater than 0, by output.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017.
    """
    found = {}
    for output, (logit, truth) in _pixels(segmenter, samples).items():
        target = torch.from_numpy(truth)

        def entropy(log_t: float, logit: NDArray[np.float32] = logit, target: torch.Tensor = target) -> float:
            scaled = torch.from_numpy(logit) / math.exp(log_t)
            return float(functional.binary_cross_entropy_with_logits(scaled, target))

        best = minimize_scalar(entropy, bounds=(math.log(0.2), math.log(10)), method="bounded")
        found[output] = round(math.exp(float(best.x)), 3)
    return found


def expected_error(segmenter: NetworkSegmenter, samples: Sequence[Sample], bins: int = 15) -> dict[str, float]:
    """Expected calibration error of each output, over pixels with a probability between 0.01 and 0.99.

    The pixels outside that range, most of a slice, would hide the others.

    Parameters
    ----------
    segmenter
        The model.
    samples
        Held-out slices.
    bins
        Of equal width.

    Returns
    -------
    dict[str, float]
        0 to 1, by output; empty without samples.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017.
    """
    errors: dict[str, float] = {}
    if not samples:
        return errors
    for output, (logit, truth) in _pixels(segmenter, samples).items():
        probability = 1 / (1 + np.exp(-logit))
        doubted = (probability > 0.01) & (probability < 0.99)
        probability, true = probability[doubted], truth[doubted]
        at = np.minimum((probability * bins).astype(int), bins - 1)
        gaps = np.bincount(at, probability - true, bins)
        errors[output] = round(float(np.abs(gaps).sum() / max(1, len(true))), 4)
    return errors


def _pixels(
    segmenter: NetworkSegmenter, samples: Sequence[Sample]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Logits and labels of every fourth known pixel, by output."""
    logits: dict[str, list[NDArray[np.float32]]] = {name: [] for name in OUTPUTS}
    truths: dict[str, list[NDArray[np.float32]]] = {name: [] for name in OUTPUTS}
    for sample in samples:
        probability = np.clip(segmenter.probabilities([sample.pictures])[0], 1e-6, 1 - 1e-6)
        value, known = (part[0] for part in targets(sample.truth_ji[None]))
        for n, output in enumerate(OUTPUTS):
            # Whether tissue that is not lesion could be solid is not a question.
            told = known[n] * value[1] * known[1] > 0 if output == "solid" else known[n] > 0
            chosen = probability[n][told][::4]
            logits[output].append(np.log(chosen / (1 - chosen)))
            truths[output].append(value[n][told][::4])
    return {name: (np.concatenate(logits[name]), np.concatenate(truths[name])) for name in OUTPUTS}


def blocks(segmenter: NetworkSegmenter, samples: Sequence[Sample], settings: IntervalSettings) -> list[Block]:
    """Held-out slices as small scans: up to six from all over one case, or of cases with a single slice.

    Parameters
    ----------
    segmenter
        The model that is calibrated.
    samples
        Held-out slices.
    settings
        By how much threshold and outline are moved.

    Returns
    -------
    list[Block]
        Shares by truth and by the model, and what moves them, in percentage points.
    """
    found = []
    for run in small_scans(samples):
        counts: dict[str, Counts] = {}
        edges = dict.fromkeys(SHARES, 0.0)
        truth, undecided = np.zeros(4, np.int64), np.zeros(2, np.int64)
        for sample in run:
            probabilities = segmenter.probabilities([sample.pictures])[0]
            undecided += undecided_voxels(probabilities, cuts_for(segmenter, sample))
            counts = added(counts, _counts(segmenter, sample, settings.threshold_step))
            edges = _with_edges(edges, segmenter, sample, settings.boundary_mm)
            truth += _true_counts(sample)
        lung = int(counts[BASE][0])
        if not lung:
            continue
        parts = spread_points(counts)
        parts["boundary"] = {name: points / lung for name, points in edges.items()}
        rim = parts["boundary"]["lesion"] * UNDECIDED_RIM_MM / settings.boundary_mm
        left = undecided_points(100 * float(undecided[0]) / lung, rim, 1.0)["lesion"]
        percent = dict(zip(SHARES, (100 * counts[BASE][1:] / lung).tolist(), strict=True))
        # Where nobody drew the lungs, the lesions drawn are compared as a share of the lungs found.
        whole = lung if run[0].truth_ji[0, 0] & Truth.LUNG_UNKNOWN else int(truth[0])
        known = [name for name in SHARES if name == "lesion" or not _solid_unknown(run)]
        true = dict(zip(SHARES, (100 * truth[1:] / max(1, whole)).tolist(), strict=True))
        found.append(Block(run[0].kind, run[0].group, percent, {name: true[name] for name in known}, parts, left))
    return found


def _solid_unknown(run: Sequence[Sample]) -> bool:
    return any((sample.truth_ji & Truth.SOLID_UNKNOWN).any() for sample in run)


def _counts(segmenter: NetworkSegmenter, sample: Sample, step: float) -> dict[str, Counts]:
    pictures, cuts = [sample.pictures], cuts_for(segmenter, sample)
    found = threshold_counts(segmenter.probabilities(pictures)[0], cuts, step)
    found["mirrored"] = class_counts(segmenter.probabilities(pictures, mirrored=True)[0], cuts)
    return found


def _with_edges(
    edges: dict[str, float], segmenter: NetworkSegmenter, sample: Sample, shift_mm: float
) -> dict[str, float]:
    """Boundary points of a slice times its pixels of lung, so that slices add up; pixels are the network's."""
    labels = labelled(segmenter.probabilities([sample.pictures])[0], cuts_for(segmenter, sample))[None]
    recipe = segmenter.recipe
    grid = Grid(labels.shape, (recipe.slab_mm, recipe.spacing_mm, recipe.spacing_mm))
    points = boundary_points(TissueMap(labels, grid), grid.voxel_ml, shift_mm)
    return {name: edges[name] + points[name] for name in SHARES}


def _true_counts(sample: Sample) -> Counts:
    truth = sample.truth_ji
    lesion = (truth & Truth.LESION) > 0
    solid = (truth & Truth.SOLID) > 0
    lung = (truth & Truth.LUNG) > 0
    return np.array([lung.sum(), lesion.sum(), (lesion & ~solid).sum(), solid.sum()], np.int64)


def fitted(found: Sequence[Block]) -> dict[str, Any]:
    """What makes the interval: the reference part from typical relative errors, then the factor for the level.

    The factor holds the level over all blocks, and `SOURCE_LEVEL` in each source of at least `SOURCE_BLOCKS`; it
    is at least `LEAST_WIDENING`. Of the floors and of the weights of undecided lung, those that make the intervals
    narrowest.

    Parameters
    ----------
    found
        Blocks to calibrate on. Those of `FLAGGED` scans are left out.

    Returns
    -------
    dict[str, Any]
        ``level``, ``reference``, ``floor_points``, ``undecided``, ``widening``, and as ``range`` the largest share
        of lesion; see `volumetry.domain.Doubt`.
    """
    found = [block for block in found if block.kind != FLAGGED]
    largest = max(block.truth["lesion"] for block in found)
    ways = [_with(found, floor, weight) for floor, weight in product(FLOORS_POINTS, UNDECIDED_WEIGHTS)]
    best = min(ways, key=lambda way: _mean_width(found, way))
    return {"level": LEVEL, **best, "range": {LESION_PERCENT: [0.0, round(largest, 1)]}}


def _with(found: Sequence[Block], floor_points: float, undecided: float) -> dict[str, Any]:
    reference: dict[str, float] = {}
    widening: dict[str, float] = {}
    for name in SHARES:
        known = [block for block in found if name in block.truth]
        if not known:
            # Nobody separated ground glass from solid: each is then as little known as the lesion.
            reference[name], widening[name] = reference["lesion"], widening["lesion"]
            continue
        relative = [
            abs(block.percent[name] - block.truth[name]) / block.truth[name]
            for block in known
            if block.truth[name] >= REFERENCE_FROM
        ]
        reference[name] = round(float(np.clip(np.median(relative or [REFERENCE_LIMITS[1]]), *REFERENCE_LIMITS)), 3)
        scores: dict[str, list[float]] = {"all": []}
        for block in known:
            error = abs(block.percent[name] - block.truth[name])
            score = error / _sum_of_parts(block, name, reference[name], floor_points, undecided)
            scores["all"].append(score)
            scores.setdefault(_source(block), []).append(score)
        needed = [LEAST_WIDENING, _at_level(scores.pop("all")), *map(_for_most, scores.values())]
        widening[name] = math.ceil(1000 * max(needed)) / 1000  # rounded down, it would not hold its own case
    return {
        "reference": reference,
        "floor_points": floor_points,
        "undecided": undecided,
        "widening": widening,
    }


def _source(block: Block) -> str:
    """Labelled slices by their set, draws by the chest they were drawn into."""
    return f"{block.kind} {block.case.split()[0]}" if block.kind == DRAWN else block.kind


def _at_level(scores: Sequence[float]) -> float:
    """The score below which a further one lies with the probability of the level."""
    return sorted(scores)[min(len(scores), math.ceil((len(scores) + 1) * LEVEL)) - 1]


def _for_most(scores: Sequence[float]) -> float:
    """The score that `SOURCE_LEVEL` of a source do not exceed; 0 for a source with too few to say."""
    return sorted(scores)[math.ceil(len(scores) * SOURCE_LEVEL) - 1] if len(scores) >= SOURCE_BLOCKS else 0.0


def _mean_width(found: Sequence[Block], way: dict[str, Any]) -> float:
    widths = [
        way["widening"][name]
        * _sum_of_parts(block, name, way["reference"][name], way["floor_points"], way["undecided"])
        for block in found
        for name in block.truth
    ]
    return float(np.mean(widths)) if widths else 0.0


def _sum_of_parts(block: Block, name: str, reference: float, floor_points: float, undecided: float) -> float:
    points = (part[name] for part in block.moved(undecided).values())
    return math.hypot(floor_points, reference * block.percent[name], *points)


def balance(found: Sequence[Block]) -> dict[str, dict[str, int]]:
    """By kind, of the blocks with enough lesion for a relative error, how many came out too large."""
    report: dict[str, dict[str, int]] = {}
    for block in found:
        if block.truth["lesion"] >= REFERENCE_FROM:
            of_kind = report.setdefault(block.kind, {"blocks": 0, "too_large": 0})
            of_kind["blocks"] += 1
            of_kind["too_large"] += block.percent["lesion"] > block.truth["lesion"]
    return report


def coverage(found: Sequence[Block], calibration: dict[str, Any]) -> dict[str, Any]:
    """How often the interval holds the true share, by kind and share, and its typical half-width in points.

    Parameters
    ----------
    found
        Blocks that were not used for fitting.
    calibration
        From `fitted`.

    Returns
    -------
    dict[str, Any]
        ``blocks``, ``covered`` and ``median_half_width`` by kind and share.
    """
    report: dict[str, dict[str, list[tuple[bool, float]]]] = {}
    for block in found:
        doubt = Doubt(
            block.parts,
            calibration["reference"],
            calibration["floor_points"],
            calibration["widening"],
            calibration["level"],
        )
        interval = interval_of(block.percent, block.moved(calibration["undecided"]), doubt)
        for name, true in block.truth.items():
            low, high = interval.percent[name]
            report.setdefault(block.kind, {}).setdefault(name, []).append((low <= true <= high, (high - low) / 2))
    return {
        kind: {
            name: {
                "blocks": len(rows),
                "covered": sum(inside for inside, _ in rows),
                "median_half_width": round(float(np.median([half for _, half in rows])), 3),
            }
            for name, rows in by_share.items()
        }
        for kind, by_share in report.items()
    }
