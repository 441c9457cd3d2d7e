"""Work beside each other gives what it gives one after the other."""

import numpy as np
import pytest

from volumetry.image.components import bodies_of, slicewise_bincount
from volumetry.image.morphology import filled_holes
from volumetry.image.threads import each_of


def test_what_is_returned_keeps_the_order_of_the_indices():
    assert each_of(lambda n: n * n, 100) == [n * n for n in range(100)]
    assert each_of(str, 0) == []


def test_an_error_of_one_call_is_raised():
    with pytest.raises(ZeroDivisionError):
        each_of(lambda n: 1 // (n - 3), 8)


@pytest.mark.parametrize("seed", range(5))
def test_counts_of_slices_are_those_of_the_volume(seed):
    labels = np.random.default_rng(seed).integers(0, 300, (7, 20, 30)).astype(np.uint16)
    np.testing.assert_array_equal(slicewise_bincount(labels, 400), np.bincount(labels.ravel(), minlength=400))


def test_bodies_are_numbered_by_size():
    mask = np.zeros((5, 20, 20), bool)
    mask[1:3, 2:4, 2:4], mask[1:4, 8:12, 8:12], mask[4, 18, 18] = True, True, True
    found = bodies_of(mask)
    assert found.sizes.tolist() == [48, 8, 1]
    counted = np.bincount(found.labels_kji.ravel(), minlength=4)
    assert counted[1:].tolist() == [48, 8, 1]


def test_nothing_and_everything_have_no_holes():
    for full in (False, True):
        assert not filled_holes(np.full((4, 5, 6), full), 100).any()


def test_a_hole_larger_than_the_limit_stays_open():
    mask = np.ones((9, 9, 9), bool)
    mask[2:4, 2:4, 2:4], mask[6, 6, 6] = False, False
    mask[0, 4, 4] = False  # a dent, open to the outside
    assert filled_holes(mask, 1).sum() == 1
    assert filled_holes(mask, 8).sum() == 9
