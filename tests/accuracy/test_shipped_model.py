"""A gate on the shipped model: on lesions drawn into phantoms it must not fall below what its release reached.

The chests are drawn from formulas and the lesions are drawn into their lungs with exactly known voxels, so the set
is free of any patient and any licence. The network was trained for patients: these figures say that a change of
weights, preprocessing or postprocessing did no harm, and nothing of its accuracy on patients.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import volumetry as v
from volumetry.phantom import PhantomSpec, make_phantom, truth_map
from volumetry.training.inserted_lesions import Plan, with_planted_lesion
from volumetry.training.synthesis import Lesions, with_lesions

SHAPE_KJI, SPACING_KJI_MM = (86, 256, 256), (3.5, 1.4, 1.4)


@dataclass(frozen=True)
class Case:
    """One drawn chest and the least that is asked of the model on it.

    Parameters
    ----------
    lesions
        A plan of diffuse disease, or single lesions of known volume; None for a chest without any.
    lung, lesion
        Least Dice.
    points
        Largest error of the lesion's share, in points of the lung.
    """

    name: str
    seed: int
    lesions: Lesions | tuple[Plan, ...] | None
    lung: float
    lesion: float | None
    points: float


# lesion25d 0.12.0 reached, in this order, Dice of the lung 0.995, 0.995, 0.989, 0.995, 0.992; of the lesion 0.65,
# 0.91, 0.93, 0.80; and an error of +0.1, -1.9, +2.1, +0.0, +1.0 points. 0.9.0 reached 0.994, 0.994, 0.988, 0.994,
# 0.992; 0.69, 0.91, 0.93, 0.83; +0.1, -1.6, +2.1, +0.1, +0.8.
CASES = (
    Case("no lesion", 1, None, 0.985, None, 0.5),
    Case("diffuse haze", 2, Lesions(count=(6, 12), solid=0.1), 0.985, 0.63, 2.0),
    Case("haze and consolidation", 3, Lesions(count=(4, 10), solid=0.5), 0.98, 0.88, 2.6),
    Case("two ground-glass lesions", 4, (Plan(40.0, -550.0), Plan(20.0, -450.0)), 0.985, 0.91, 0.5),
    Case("two solid lesions", 5, (Plan(40.0, 20.0), Plan(20.0, 10.0)), 0.985, 0.76, 1.3),
)


@pytest.fixture(scope="module")
def segmenter() -> v.Segmenter:
    return v.load_segmenter(v.load_config(overrides={"segment": {"device": "cpu", "precision": "fp32"}}))


def drawn(case: Case) -> tuple[np.ndarray, np.ndarray, v.Grid]:
    """HU, true tissue and grid of a case."""
    spec = PhantomSpec(SHAPE_KJI, SPACING_KJI_MM, seed=case.seed)
    chest, truth = make_phantom(spec), truth_map(spec).labels_kji
    hu, lung, rng = chest.hu_kji, truth > 0, np.random.default_rng(case.seed)
    if isinstance(case.lesions, Lesions):
        hu, truth = with_lesions(hu, lung, SPACING_KJI_MM, rng, case.lesions)
    for plan in case.lesions if isinstance(case.lesions, tuple) else ():
        hu, one = with_planted_lesion(hu, lung, SPACING_KJI_MM, rng, plan)
        truth = np.maximum(truth, one)
    noisy = hu + 15 * rng.standard_normal(hu.shape).astype(np.float32)
    return noisy.astype(np.float32), truth, chest.grid


def dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


def figures(case: Case, segmenter: v.Segmenter) -> tuple[float, float | None, float]:
    """Dice of lung and lesion, and the error of the lesion's share in points."""
    hu, truth, grid = drawn(case)
    analysis = v.analyse(v.scan_from_array(hu, grid), segmenter)
    labels = analysis.tissue.labels_kji
    ours, theirs = labels >= v.Tissue.GROUND_GLASS, truth >= v.Tissue.GROUND_GLASS
    share = [100 * lesion.sum() / lung.sum() for lesion, lung in ((ours, labels > 0), (theirs, truth > 0))]
    lesion = dice(ours, theirs) if case.lesions else None
    return dice(labels > 0, truth > 0), lesion, float(share[0] - share[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_shipped_model_keeps_its_figures(case: Case, segmenter: v.Segmenter) -> None:
    lung, lesion, points = figures(case, segmenter)
    assert lung >= case.lung
    assert lesion is None or (case.lesion is not None and lesion >= case.lesion)
    assert abs(points) <= case.points


def test_the_answer_is_the_same_on_one_core_and_on_many(segmenter: v.Segmenter) -> None:
    """The whole-chest network too: the slice network sees its probabilities, to the last bit."""
    hu, _, grid = drawn(CASES[2])
    scan, before = v.scan_from_array(hu, grid), torch.get_num_threads()
    found = []
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            found.append(segmenter(scan))
    finally:
        torch.set_num_threads(before)
    one, many = found
    assert np.array_equal(one.labels_kji, many.labels_kji)
    assert one.doubt == many.doubt
    assert one.context == many.context
