"""Evaluation against labels: counts by formula, Dice by another library."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import dice as dice_distance
from scipy.stats import bootstrap, mannwhitneyu
from slice_folders import write_dataset

from volumetry.domain import SegmenterFacts
from volumetry.errors import InputError
from volumetry.training.evaluate import evaluate
from volumetry.training.held_out_metrics import area_under_curve


class Reader:
    """Gives prepared answers, one after the other."""

    def __init__(self, answers: list[np.ndarray]) -> None:
        self.answers = iter(answers)

    facts = SegmenterFacts("reader", "1")

    def slices(self, pictures):
        return [next(self.answers) for _ in pictures]


def random_labels(rng: np.random.Generator, top: int, count: int) -> list[np.ndarray]:
    return [rng.integers(0, top + 1, (9, 11)).astype(np.uint8) for _ in range(count)]


def test_dice_equals_scipy_on_lungs_and_lesions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn, found = random_labels(rng, 2, 3), random_labels(rng, 3, 3)
    names = ["a_0", "a_1", "b_0"]
    dataset = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, dict(zip(names, drawn, strict=True)))
    result = evaluate(dataset, Reader(found), tmp_path / "out" / "r.json", training_cases={"set": ["b", "z"]})

    def scipy_dice(slices: list[int], threshold: int) -> float:
        both = [np.concatenate([side[n].ravel() >= threshold for n in slices]) for side in (drawn, found)]
        return 1 - dice_distance(*both)

    for name, threshold in (("lung", 1), ("lesion", 2)):
        assert result["pooled"]["dice"][name] == pytest.approx(scipy_dice([0, 1, 2], threshold))
        assert result["per_case"]["a"]["dice"][name] == pytest.approx(scipy_dice([0, 1], threshold))
        means = np.mean([scipy_dice([n], threshold) for n in range(3)])
        assert result["per_slice_mean"]["dice"][name] == pytest.approx(means)
    assert set(result["pooled"]["dice"]) == {"lung", "lesion"}

    def share(side: list[np.ndarray], case: list[int]) -> float:
        return 100 * sum((side[n] >= 2).sum() for n in case) / sum((side[n] >= 1).sum() for n in case)

    shares = [[share(found, case), share(drawn, case)] for case in ([0, 1], [2])]
    assert result["per_case"]["a"]["lesion_percent_predicted"] == pytest.approx(shares[0][0])
    assert result["per_case"]["b"]["lesion_percent_true"] == pytest.approx(shares[1][1])
    assert result["pooled"]["lesion_percent_mae"] == pytest.approx(np.mean([abs(p - t) for p, t in shares]))
    assert (result["cases_in_training"], result["cases_not_in_training"]) == (["b"], ["a"])
    assert json.loads((tmp_path / "out" / "r.json").read_text()) == json.loads(json.dumps(result))


def test_dice_equals_scipy_on_ground_glass_and_solid(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    drawn, found = random_labels(rng, 2, 1), random_labels(rng, 3, 1)
    dataset = write_dataset(tmp_path / "set", {1: "ground_glass", 2: "solid"}, {"007": drawn[0]})
    pooled = evaluate(dataset, Reader(found))["pooled"]
    truth = {"ground_glass": drawn[0] == 1, "solid": drawn[0] == 2, "lesion": drawn[0] > 0}
    answer = {"ground_glass": found[0] == 2, "solid": found[0] == 3, "lesion": found[0] > 1}
    for name in truth:
        assert pooled["dice"][name] == pytest.approx(1 - dice_distance(truth[name].ravel(), answer[name].ravel()))
    assert set(pooled["dice"]) == set(truth)
    assert not any(key.startswith("lesion_percent") for key in pooled)


def test_two_blanks_are_no_dice(tmp_path: Path) -> None:
    blank, lesion = np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    lesion[0, 0] = 2
    dataset = write_dataset(
        tmp_path / "set", {1: "lung", 2: "lesion"}, {"a_0": blank, "a_1": blank, "b_0": lesion}
    )
    result = evaluate(dataset, Reader([blank, lesion, lesion]))
    assert result["per_slice_mean"]["dice"]["lesion"] == pytest.approx((0 + 1) / 2)
    assert result["per_slice_mean"]["dice_slices"] == {"lung": 3, "lesion": 2}


def test_only_the_cases_asked_for(tmp_path: Path) -> None:
    lung = np.ones((4, 4), np.uint8)
    dataset = write_dataset(tmp_path / "set", {1: "lung"}, {"a_0": lung, "b_0": lung})
    assert list(evaluate(dataset, Reader([lung]), cases=["b"])["per_case"]) == ["b"]
    with pytest.raises(InputError, match="none of the cases"):
        evaluate(dataset, Reader([]), cases=["c"])


def test_the_area_under_the_curve_equals_scipy() -> None:
    rng = np.random.default_rng(2)
    positive, negative = rng.integers(0, 9, 30), rng.integers(0, 7, 20)
    oracle = mannwhitneyu(positive, negative).statistic / (30 * 20)
    assert area_under_curve(positive, negative) == pytest.approx(oracle)


def test_intervals_are_the_bootstrap_of_another_library(tmp_path: Path) -> None:
    """scipy's percentile bootstrap over cases, on its own draws: equal up to the noise of the draws."""
    rng = np.random.default_rng(4)
    names = [f"{case}_{n}" for case in "abcdefgh" for n in range(2)]
    drawn, found = random_labels(rng, 2, len(names)), random_labels(rng, 3, len(names))
    dataset = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, dict(zip(names, drawn, strict=True)))
    pooled = evaluate(dataset, Reader(found))["pooled"]
    per_case = [slice(2 * n, 2 * n + 2) for n in range(8)]

    def dice(cases: np.ndarray, axis: int = -1) -> np.ndarray:
        both, total = (np.array(part, float)[cases].sum(axis) for part in zip(*_overlaps(), strict=True))
        return 2 * both / total

    def _overlaps() -> list[tuple[int, int]]:
        pairs = [(np.array(drawn[part]) >= 2, np.array(found[part]) >= 2) for part in per_case]
        return [(int((a & b).sum()), int(a.sum() + b.sum())) for a, b in pairs]

    low, high = bootstrap(
        (np.arange(8),), dice, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert pooled["dice_ci"]["lesion"] == pytest.approx([low, high], abs=0.1 * (high - low))
    assert pooled["ci"] == {"level": 0.95, "resampled": "cases", "units": 8, "draws": 2000, "seed": 20261122}
    for name, value in pooled["dice"].items():
        assert pooled["dice_ci"][name][0] <= value <= pooled["dice_ci"][name][1]
    assert pooled["lesion_percent_mae_ci"][0] <= pooled["lesion_percent_mae"] <= pooled["lesion_percent_mae_ci"][1]


def test_of_one_case_the_slices_are_resampled_and_of_one_slice_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    drawn, found = random_labels(rng, 2, 4), random_labels(rng, 3, 4)
    names = [f"a_{n}" for n in range(4)]
    dataset = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, dict(zip(names, drawn, strict=True)))
    pooled = evaluate(dataset, Reader(found))["pooled"]
    assert pooled["ci"]["resampled"] == "slices of one case"
    assert pooled["lesion_percent_mae_ci"][0] >= 0
    single = write_dataset(tmp_path / "one", {1: "lung", 2: "lesion"}, {"a_0": drawn[0]})
    assert not any("ci" in key for key in evaluate(single, Reader(found[:1]))["pooled"])


def test_equal_cases_leave_no_doubt(tmp_path: Path) -> None:
    """Every draw of identical cases gives the same figures: an interval of width 0 at the value itself."""
    drawn, found = np.array([[1, 2], [2, 0]], np.uint8), np.array([[1, 2], [1, 0]], np.uint8)
    names = [f"{case}_0" for case in "abc"]
    dataset = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, dict.fromkeys(names, drawn))
    pooled = evaluate(dataset, Reader([found] * 3))["pooled"]
    assert pooled["dice_ci"] == {"lung": [1.0, 1.0], "lesion": [pytest.approx(2 / 3)] * 2}
    assert pooled["lesion_percent_mae_ci"] == [pytest.approx(100 / 3)] * 2
