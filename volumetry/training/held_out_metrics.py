"""How a model does on the slices that were kept from it."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volumetry.config import Measure, load_config
from volumetry.domain import Tissue
from volumetry.image.orientation import axial_view
from volumetry.measure.components import hu_bin
from volumetry.scan import read_scan
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.preprocess import InputRecipe, network_batch
from volumetry.segment.resampling import network_shape
from volumetry.segment.thresholds import SCANS, labelled
from volumetry.training.chest_slices import CHEST, PATTERNS, UNKNOWN_LUNG
from volumetry.training.config import ChestVolume, TrainConfig
from volumetry.training.dataset import infected_by_slice
from volumetry.training.dice import dice
from volumetry.training.evaluate import evaluate
from volumetry.training.samples import OUTPUTS, Sample, Truth, targets
from volumetry.training.scan_list import read_listed, read_volume_on


def pooled_dice(
    network: nn.Module, samples: Sequence[Sample], recipe: InputRecipe, device: str
) -> dict[str, float]:
    """Pooled Dice at 0.5 by kind and output, and for scans without disease the share of lung called lesion.

    Quick figures for the curves, on the network's own pixels; `evaluate` measures what is reported.
    """
    counts: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for sample in samples:
        batch = network_batch([sample.pictures], recipe)
        with torch.inference_mode():
            logits = network(torch.from_numpy(batch).to(device)).float().cpu().numpy()[0]
        rows, columns = sample.truth_ji.shape
        found = logits[:, :rows, :columns] >= 0
        value, known = (part[0] > 0 for part in targets(sample.truth_ji[None]))
        for n, output in enumerate(OUTPUTS):
            told = known[n] if output != "solid" else known[n] & known[1]
            tally = counts[sample.kind, output]
            tally[0] += 2.0 * float((found[n] & value[n] & told).sum())
            tally[1] += float((found[n] & told).sum() + (value[n] & told).sum())
        if sample.kind in ("scan", CHEST):
            share = counts[sample.kind, "lesion share"]
            share[0] += float((found[1]).sum())
            share[1] += float((found[0] | found[1]).sum())
    wanted = {
        ("ma20", "lung"),
        ("ma20", "lesion"),
        ("medseg98", "lesion"),
        ("medseg98", "solid"),
        ("scan", "lung"),
        ("synthetic", "lung"),
        ("synthetic", "lesion"),
        ("synthetic", "solid"),
        (CHEST, "lung"),
        (PATTERNS, "lung"),
        (PATTERNS, "lesion"),
        (PATTERNS, "solid"),
    }
    return {
        f"{kind} {output}": top / bottom
        for (kind, output), (top, bottom) in sorted(counts.items())
        if bottom > 0 and ((kind, output) in wanted or output == "lesion share")
    }


def development_report(segmenter: NetworkSegmenter, config: TrainConfig, root: Path) -> dict[str, Any]:
    """What the card says of a model: each kind of data it was kept from, by name.

    Returns
    -------
    By dataset, pooled Dice on held-out cases. By held-out chest, Dice of the lung where its mask is known, and the
    share of lung called lesion. By scan, the share of lung called lesion on held-out slices without
    disease, and where a reader flagged slices, the AUC of the lesion's area for the flag: flagged slices, none of
    which is ever learned from, against held-out ones. All before tidying.
    """
    report: dict[str, Any] = {}
    for spec in config.data.slices:
        if spec.held_out_cases:
            found = evaluate(root / spec.folder, segmenter, cases=spec.held_out_cases)
            by_case = {case: row["dice"].get("lesion") for case, row in found["per_case"].items()}
            report[found["dataset"]] = {
                **found["pooled"]["dice"],
                "dice_ci": found["pooled"].get("dice_ci", {}),
                **{key: value for key, value in found["pooled"].items() if key.startswith("lesion_percent")},
                "slices": found["pooled"]["slices"],
                "lesion_by_case": {case: dice for case, dice in by_case.items() if dice is not None},
            }
    block = config.data.held_out_block_slices
    for scan in config.data.scans:
        report[Path(scan.folder).name] = _scan_report(segmenter, scan.folder, scan.infected_csv, root, block)
    for judged in config.data.judged:
        report[Path(judged.folder).name] = _scan_report(segmenter, judged.folder, judged.infected_csv, root, 0)
    for chest in config.data.chests:
        if chest.held_out:
            report[chest.name] = _chest_report(segmenter, chest, root)
    rounded: dict[str, Any] = _rounded(report)
    return rounded


def component_rules(segmenter: NetworkSegmenter, samples: Sequence[Sample], settings: Measure) -> dict[str, Any]:
    """Ground glass and solid by the network's classes and by the HU cut, against lesions drawn into real lungs.

    Both divide the lesion that the network found. The drawn lesions' densities are known, so the HU cut has an
    easy task here; no labels on real disease come with HU, so nothing more can be said of it.
    """
    counts = {rule: np.zeros((2, 3), np.int64) for rule in ("network", "hu")}
    recipe = segmenter.recipe
    for sample in samples:
        if sample.kind not in ("synthetic", PATTERNS) or "window" not in sample.grey_ji:
            continue
        labels = labelled(segmenter.probabilities([sample.pictures])[0], segmenter.cuts[SCANS])
        grey = sample.grey_ji["window"] / np.float32(255)
        hu = (grey * (recipe.window_high - recipe.window_low) + recipe.window_low).astype(np.float32)
        lesion, cut = labels > Tissue.AERATED, hu_bin(hu, settings.hu_cuts)
        solid = (sample.truth_ji & Truth.SOLID) > 0
        true = (((sample.truth_ji & Truth.LESION) > 0) & ~solid, solid)
        by_rule = {
            "network": (labels == Tissue.GROUND_GLASS, labels == Tissue.SOLID),
            "hu": (lesion & (cut == 1), lesion & (cut == 2)),
        }
        for rule, classes in by_rule.items():
            for n in range(2):
                counts[rule][n] += [(classes[n] & true[n]).sum(), classes[n].sum(), true[n].sum()]
    if not counts["hu"][:, 2].all():
        return {}
    report: dict[str, Any] = {
        rule: {
            name: round(float(2 * both / max(1, found + drawn)), 4)
            for name, (both, found, drawn) in zip(("ground_glass", "solid"), table, strict=True)
        }
        for rule, table in counts.items()
    }
    return report


def _scan_report(
    segmenter: NetworkSegmenter, folder: str, infected_csv: str, root: Path, block: int
) -> dict[str, float]:
    """A block of 0 slices: nothing of this scan was learned from."""
    scan = read_scan(root / folder, load_config())
    view = axial_view(scan.grid)
    labels = view.of(segmenter(scan).labels_kji)
    lesion = np.count_nonzero(labels > Tissue.AERATED, axis=(1, 2))
    lung = np.count_nonzero(labels > Tissue.OUTSIDE, axis=(1, 2))
    slabs = network_shape(labels.shape, view.spacing_mm(scan.grid), segmenter.recipe)[0]
    slab = np.arange(len(labels)) * slabs // len(labels)
    unseen = (slab // block) % 2 == 1 if block else np.ones(len(labels), bool)
    infected = infected_by_slice(root / infected_csv, len(labels)) if infected_csv else np.zeros(len(labels), bool)
    healthy = unseen & ~infected
    report = {"lung_ml": float(lung.sum() * scan.grid.voxel_ml), "slices_without_disease": float(healthy.sum())}
    if lung[healthy].sum():
        report["lesion_percent_without_disease"] = float(100 * lesion[healthy].sum() / lung[healthy].sum())
    if infected.any() and healthy.any():
        report["slices_with_disease"] = float(infected.sum())
        report["lesion_percent_with_disease"] = float(100 * lesion[infected].sum() / max(lung[infected].sum(), 1))
        report["auc_of_lesion_area"] = area_under_curve(lesion[infected], lesion[healthy])
    return report


def _chest_report(segmenter: NetworkSegmenter, spec: ChestVolume, root: Path) -> dict[str, float]:
    scan = read_listed(root / spec.image, load_config())
    mask = np.asarray(read_volume_on(root / spec.lungs, scan.grid), np.uint8)
    labels = segmenter(scan).labels_kji
    lung = (labels > Tissue.OUTSIDE) & (mask != UNKNOWN_LUNG)
    whole, lesion = int(np.count_nonzero(labels)), int(np.count_nonzero(labels > Tissue.AERATED))
    report = {"lung_ml": whole * scan.grid.voxel_ml, "lung": dice(lung, mask == 1)}
    return report | ({"lesion_percent": 100 * lesion / whole} if whole else {})  # of no lung there is no share


def area_under_curve(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
    """Chance that a positive is larger than a negative, ties counting half (Mann-Whitney).

    Examples
    --------
    >>> area_under_curve(np.array([2, 3]), np.array([1, 2]))
    0.875
    """
    larger = positive[:, None] > negative[None]
    equal = positive[:, None] == negative[None]
    return float(np.mean(larger + 0.5 * equal))


def _rounded(value: Any) -> Any:  # noqa: ANN401  a card's value
    if isinstance(value, dict):
        return {key: _rounded(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4)
