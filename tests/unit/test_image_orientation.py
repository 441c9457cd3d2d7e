"""Which way an array lies in the patient, and blocks and balls that mean the same at every spacing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation
from skimage.measure import block_reduce

from volumetry.domain import Grid
from volumetry.image.coarse import block_mean, block_middles
from volumetry.image.morphology import opened_mm
from volumetry.image.orientation import axial_view

STEPS = st.tuples(*[st.integers(1, 5)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    turn_deg=st.floats(0, 40),
    about=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
)
def test_an_array_is_seen_upright_however_its_axes_were_ordered_turned_or_flipped(order, signs, turn_deg, about):
    # Axes k, j, i that lay along z, y, x, then reordered, reversed and turned by less than 45 degrees.
    upright = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    turn = Rotation.from_rotvec(np.deg2rad(turn_deg) * np.array(about) / np.linalg.norm(about))
    axes = turn.apply((upright[list(order)].T * signs).T)
    grid = Grid((3, 4, 5), (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), tuple(map(tuple, axes)))
    view = axial_view(grid)
    assert view.axes == tuple(order.index(axis) for axis in range(3))
    assert view.flipped == tuple(signs[axis] < 0 for axis in view.axes)
    assert view.spacing_mm(grid) == tuple(grid.spacing_kji_mm[axis] for axis in view.axes)


@pytest.mark.parametrize("towards_head", [1.0, -1.0])
def test_slices_of_a_box_of_the_view_are_those_that_hold_it(towards_head):
    grid = Grid((9, 4, 4), (2.0, 1.0, 1.0), direction_lps=((0, 0, towards_head), (0, 1, 0), (1, 0, 0)))
    view = axial_view(grid)
    marked = np.zeros(grid.shape_kji, bool)
    view.of(marked)[2:5] = True
    held = np.flatnonzero(marked.any(axis=(1, 2)))
    assert view.slices_between(grid, (2, 0, 0), (4, 3, 3)) == (held[0], held[-1])
    assert view.slices_between(grid, (7, 0, 0), (99, 3, 3)) in ((7, 8), (0, 1))


@settings(max_examples=30, deadline=None)
@given(step=STEPS, seed=st.integers(0, 9))
def test_means_over_whole_blocks_equal_those_of_scikit_image(step, seed):
    values = np.random.default_rng(seed).normal(-400, 300, (11, 13, 12)).astype(np.float32)
    whole = values[tuple(slice(size // n * n) for size, n in zip(values.shape, step, strict=True))]
    assert block_mean(values, step, whole=True) == pytest.approx(block_reduce(whole, step, np.mean), abs=1e-2)
    assert block_middles(values, step).shape == block_mean(values, step, whole=True).shape


def test_an_array_too_small_for_one_block_has_none():
    assert block_mean(np.ones((2, 9, 9), np.float32), (3, 3, 3), whole=True).shape == (0, 3, 3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.7, 0.9)])
def test_an_opening_equals_one_with_a_ball_of_voxels(spacing):
    radius_mm = 2.2
    reach = [int(radius_mm / step) for step in spacing]
    index = np.meshgrid(
        *(np.arange(-n, n + 1) * step for n, step in zip(reach, spacing, strict=True)), indexing="ij"
    )
    ball = sum(axis**2 for axis in index) <= radius_mm**2
    noise = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(20, 24, 22)), 1.5)
    mask = np.pad(noise > 0, 4)
    assert ndimage.binary_opening(mask, ball).any()
    assert np.array_equal(opened_mm(mask, radius_mm, spacing), ndimage.binary_opening(mask, ball))
