"""Distances of one slice at a time are those that scipy gives for the whole volume."""

import numpy as np
import pytest
from scipy import ndimage

from volumetry.segment.exclusion import _distance_mm


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.25, 2.25), (2.4, 2.093, 1.7)])
def test_the_distance_to_the_nearest_voxel_is_scipys_to_the_bit(spacing_mm):
    body = np.random.default_rng(5).random((9, 20, 30)) > 0.995
    assert body.any()
    wanted, nearest = ndimage.distance_transform_edt(~body, sampling=spacing_mm, return_indices=True)
    found = np.stack([_distance_mm(nearest[:, k], k, spacing_mm) for k in range(len(body))])
    assert np.array_equal(found, wanted)
