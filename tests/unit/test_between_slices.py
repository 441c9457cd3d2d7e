"""Each slice's probabilities are averaged with those beside it, by a Gaussian's weights."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.segment.between_slices import smooth_between_slices


def _one_slice(number: int = 3, count: int = 7) -> NDArray[np.float16]:
    probabilities = np.zeros((3, count, 2, 2), np.float16)
    probabilities[1, number] = 0.8
    return probabilities


@pytest.mark.parametrize(("spacing_mm", "deviation_mm"), [(2.0, 1.5), (1.5, 1.5), (3.0, 1.5), (2.0, 3.0)])
def test_a_slab_of_one_slice_is_spread_by_the_weights_of_the_gaussian(
    spacing_mm: float, deviation_mm: float
) -> None:
    found = _one_slice()
    smooth_between_slices(found, spacing_mm, deviation_mm)
    beside = math.exp(-(spacing_mm**2) / (2 * deviation_mm**2))
    wanted = np.array([0, 0, beside, 1, beside, 0, 0]) * 0.8 / (1 + 2 * beside)
    assert found[1, :, 0, 0] == pytest.approx(wanted, abs=5e-4)
    assert not found[[0, 2]].any()


def test_a_slice_alone_between_two_that_agree_gives_way_and_two_slices_stay() -> None:
    found = np.full((3, 9, 1, 1), 0.9, np.float16)
    found[:, 4] = 0.2
    smooth_between_slices(found, 2.0, 1.5)
    assert (found > 0.5).all()
    found = np.full((3, 9, 1, 1), 0.1, np.float16)
    found[:, 4:6] = 0.9
    smooth_between_slices(found, 2.0, 1.5)
    assert np.array_equal(np.flatnonzero(found[0].ravel() > 0.5), [4, 5])


def test_thick_slices_and_what_is_alike_everywhere_stay() -> None:
    found = _one_slice()
    smooth_between_slices(found, 5.0, 1.5)
    assert found[1, 3, 0, 0] == pytest.approx(0.8, rel=0.01)
    for count in (1, 2, 5):  # also at the ends
        found = np.full((3, count, 2, 2), 0.7, np.float16)
        smooth_between_slices(found, 1.0, 2.0)
        assert found == pytest.approx(0.7, abs=1e-3)


def test_none_is_none() -> None:
    found, empty = _one_slice(), np.zeros((3, 0, 2, 2), np.float16)
    smooth_between_slices(found, 2.0, 0.0)
    smooth_between_slices(empty, 2.0, 1.5)
    assert np.array_equal(found, _one_slice())
