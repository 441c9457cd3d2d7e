"""Names of labels are numbers to numpy, and cost no more."""

import numpy as np
import pytest

from volumetry.domain import Side, Tissue
from volumetry.segment.thorax import Region


@pytest.fixture
def labels():
    return np.arange(6, dtype=np.uint8)


@pytest.mark.parametrize("member", [Tissue.SOLID, Side.RIGHT, Region.FLUID], ids=str)
def test_a_member_compares_as_its_number(member, labels):
    np.testing.assert_array_equal(labels == member, labels == int(member))
    np.testing.assert_array_equal(member < labels, int(member) < labels)
    assert (labels == member).sum() == 1


def test_labels_stay_small_beside_a_member(labels):
    """A plain IntEnum has numpy convert them to 64 bits first."""
    assert np.maximum(labels, Tissue.AERATED).dtype == np.uint8
    assert (labels + Tissue.AERATED).dtype == np.uint8


def test_members_are_the_numbers_that_they_were():
    assert max(Tissue) == 4
    assert Tissue(3) is Tissue.SOLID
    assert [int(side) for side in Side] == [0, 1, 2]
    assert isinstance(Tissue.SOLID, int)
