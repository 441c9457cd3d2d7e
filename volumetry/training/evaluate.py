"""`volumetry evaluate`: a model against slices that a radiologist drew on.

Dice is counted in pixels. *Pooled* adds up the pixels of all slices, *per case* those of one patient. The *mean
over slices* leaves out slices where neither the reader nor the model sees anything: two blanks are not Dice 1.
Pooled figures carry 95 % bootstrap intervals over the cases, or over the slices where there is only one case.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import SegmenterFacts, Tissue
from volumetry.errors import InputError
from volumetry.storage.atomic import prepare_folder, write_json
from volumetry.training.bootstrap import DRAWS, LEVEL, SEED, percentile_interval, resampled_counts
from volumetry.training.labelled_slices import case_of, open_slices
from volumetry.training.samples import Truth

CLASSES = ("lung", "lesion", "ground_glass", "solid")
SCHEMA = 1


class SliceSegmenter(Protocol):
    """Anything that names the tissue of 8-bit slices."""

    @property
    def facts(self) -> SegmenterFacts:
        """Name, weights and device."""
        ...

    def slices(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Tissue labels, each of its picture's size."""
        ...


@dataclass(slots=True)
class Counts:
    """Pixels of each class: in both, in the prediction, in the truth."""

    both: dict[str, int] = field(default_factory=dict)
    predicted: dict[str, int] = field(default_factory=dict)
    true: dict[str, int] = field(default_factory=dict)

    def add(self, more: "Counts") -> None:
        """Count these pixels too."""
        for mine, theirs in ((self.both, more.both), (self.predicted, more.predicted), (self.true, more.true)):
            for name, pixels in theirs.items():
                mine[name] = mine.get(name, 0) + pixels

    def dice(self) -> dict[str, float]:
        """Dice of each class that either side sees anywhere."""
        total = {name: self.predicted[name] + self.true[name] for name in self.both}
        return {name: 2 * self.both[name] / total[name] for name in self.both if total[name]}

    def lesion_percent(self) -> dict[str, float]:
        """Lesion as a share of lung, both as predicted and as drawn; empty where lungs were not drawn."""
        shares = {}
        if {"lung", "lesion"} <= set(self.both):
            for name, side in (("predicted", self.predicted), ("true", self.true)):
                if side["lung"]:
                    shares[f"lesion_percent_{name}"] = 100 * side["lesion"] / side["lung"]
        return shares


def evaluate(
    dataset: Path,
    segmenter: SliceSegmenter,
    json_path: Path | None = None,
    cases: Collection[str] | None = None,
    training_cases: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Measure a model on a folder of labelled slices.

    Parameters
    ----------
    dataset
        A folder with ``images/``, ``labels/`` and ``dataset.toml``.
    segmenter
        What to measure.
    json_path
        Where the result is written as well.
    cases
        Only these cases; all by default.
    training_cases
        By dataset name, the cases the model learned from; by default those on the model's card, if it has one.

    Returns
    -------
    dict[str, Any]
        ``pooled``, ``per_case`` and ``per_slice_mean``, each with ``dice`` by class where the labels know it and
        ``lesion_percent_predicted`` and ``_true`` where lungs are labelled, and which cases the model saw in
        training. ``pooled`` also holds ``dice_ci``, ``lesion_percent_mae_ci`` ([low, high]) and ``ci``: what was
        resampled.

    Raises
    ------
    InputError
        If the folder is not such a dataset, or none of the cases is in it.
    OutputError
        If the result cannot be written.
    """
    folder = open_slices(dataset)
    classes = [name for name in CLASSES if name in folder.known]
    by_slice: list[tuple[str, Counts]] = []
    for name, picture, truth in folder:
        if cases is None or case_of(name) in cases:
            by_slice.append((case_of(name), counted(segmenter.slices([picture])[0], truth, classes)))
    if not by_slice:
        raise InputError(f"{folder.name}: none of the cases asked for is in it")
    seen = _seen(segmenter, folder.name) if training_cases is None else training_cases.get(folder.name, ())
    result = _summary(by_slice, frozenset(seen)) | {
        "schema": SCHEMA,
        "dataset": folder.name,
        "classes": classes,
        "model": f"{segmenter.facts.name}-{segmenter.facts.version}",
        "model_sha256": segmenter.facts.sha256,
    }
    if json_path is not None:
        prepare_folder(json_path.parent)
        write_json(json_path, result)
    return result


def counted(labels: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Sequence[str]) -> Counts:
    """Pixels of one slice; a lesion lies in the lung whatever the model thinks of the lung there."""
    predicted = {
        "lung": labels > Tissue.OUTSIDE,
        "lesion": labels > Tissue.AERATED,
        "ground_glass": labels == Tissue.GROUND_GLASS,
        "solid": labels == Tissue.SOLID,
    }
    true = {
        "lung": (truth & Truth.LUNG) > 0,
        "lesion": (truth & Truth.LESION) > 0,
        "ground_glass": (truth & (Truth.LESION | Truth.SOLID)) == Truth.LESION,
        "solid": (truth & Truth.SOLID) > 0,
    }
    return Counts(
        {name: int(np.count_nonzero(predicted[name] & true[name])) for name in classes},
        {name: int(np.count_nonzero(predicted[name])) for name in classes},
        {name: int(np.count_nonzero(true[name])) for name in classes},
    )


def _summary(by_slice: Sequence[tuple[str, Counts]], seen: frozenset[str]) -> dict[str, Any]:
    pooled, by_case = Counts(), dict[str, Counts]()
    for case, counts in by_slice:
        pooled.add(counts)
        by_case.setdefault(case, Counts()).add(counts)
    per_case: dict[str, dict[str, Any]] = {
        case: {
            "dice": counts.dice(),
            **_with_error(counts.lesion_percent()),
            "slices": sum(1 for other, _ in by_slice if other == case),
            "in_training": case in seen,
        }
        for case, counts in sorted(by_case.items())
    }
    errors = [row["lesion_percent_mae"] for row in per_case.values() if "lesion_percent_mae" in row]
    summary: dict[str, Any] = {"dice": pooled.dice(), **pooled.lesion_percent(), "slices": len(by_slice)}
    if errors:
        summary["lesion_percent_mae"] = float(np.mean(errors))
    return {
        "pooled": summary | _intervals([counts for _, counts in by_slice], list(by_case.values())),
        "per_case": per_case,
        "per_slice_mean": _slice_means([counts for _, counts in by_slice]),
        "cases_in_training": sorted(seen & set(by_case)),
        "cases_not_in_training": sorted(set(by_case) - seen),
    }


def _intervals(by_slice: Sequence[Counts], by_case: Sequence[Counts]) -> dict[str, Any]:
    """Bootstrap intervals of the pooled figures: cases are resampled; of a single case, its slices."""
    units = by_case if len(by_case) > 1 else by_slice
    if len(units) < 2:
        return {}
    draws = resampled_counts(len(units))
    both, predicted, true = (
        {name: draws @ [getattr(unit, side)[name] for unit in units] for name in units[0].both}
        for side in ("both", "predicted", "true")
    )
    dice = {name: percentile_interval(_ratio(2 * both[name], predicted[name] + true[name])) for name in both}
    found: dict[str, Any] = {
        "dice_ci": {name: interval for name, interval in dice.items() if interval},
        "ci": {
            "level": LEVEL,
            "resampled": "cases" if units is by_case else "slices of one case",
            "units": len(units),
            "draws": DRAWS,
            "seed": SEED,
        },
    }
    if {"lung", "lesion"} <= set(both):
        if units is by_case:
            shares = [_with_error(unit.lesion_percent()).get("lesion_percent_mae") for unit in units]
            known = np.array([share is not None for share in shares], float)
            errors = _ratio(draws @ [share or 0.0 for share in shares], draws @ known)
        else:
            errors = 100 * np.abs(
                _ratio(predicted["lesion"], predicted["lung"]) - _ratio(true["lesion"], true["lung"])
            )
        interval = percentile_interval(errors)
        if interval:
            found["lesion_percent_mae_ci"] = interval
    return found


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where the bottom is 0."""
    ratio: NDArray[np.float64] = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return ratio


def _with_error(shares: dict[str, float]) -> dict[str, float]:
    if len(shares) == 2:
        shares["lesion_percent_mae"] = abs(shares["lesion_percent_predicted"] - shares["lesion_percent_true"])
    return shares


def _slice_means(slices: Sequence[Counts]) -> dict[str, Any]:
    """Means over the slices where there is something to compare, and over how many."""
    dice: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for counts in slices:
        for name, value in counts.dice().items():
            dice.setdefault(name, []).append(value)
        for name, value in _with_error(counts.lesion_percent()).items():
            shares.setdefault(name, []).append(value)
    return {
        "dice": {name: float(np.mean(values)) for name, values in dice.items()},
        "dice_slices": {name: len(values) for name, values in dice.items()},
        **{name: float(np.mean(values)) for name, values in shares.items()},
    }


def _seen(segmenter: SliceSegmenter, dataset: str) -> Sequence[str]:
    model = getattr(segmenter, "model", None)
    return model.card.training_cases.get(dataset, ()) if model is not None else ()
