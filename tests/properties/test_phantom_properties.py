"""True of every phantom."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volumetry.domain import Grid
from volumetry.phantom import AXIAL, Lesion, PhantomSpec, rotated, tilted, truth_map, truth_of
from volumetry.phantom.shapes import Ellipsoid, boxes, coverage, inside

_BASE = PhantomSpec((64, 128, 128), (4.0, 2.5, 2.5))
_offsets = st.tuples(*[st.floats(-0.5, 0.5)] * 3)
_axes = st.one_of(st.just(AXIAL), st.floats(-25, 25).map(tilted), st.floats(-60, 60).map(rotated))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 1.2), st.tuples(*[st.floats(0.2, 1.0)] * 3))
def test_truth_scales_with_breath_and_size(breath, scale):
    truth = truth_of(replace(_BASE, breath=breath, scale_lps=scale, allow_cut=True))
    assert truth["lung_ml"] == pytest.approx(truth_of(_BASE)["lung_ml"] * breath * math.prod(scale))


@settings(max_examples=30, deadline=None)
@given(_offsets, st.floats(4.0, 14.0))
def test_parts_add_up(offset, radius):
    centre = (-78.0 + offset[0], 5.0 + offset[1], 8.0 + offset[2])
    truth = truth_of(replace(_BASE, lesions=(Lesion("ground_glass", centre, (radius,) * 3),)))
    assert truth["aerated_ml"] + truth["ground_glass_ml"] + truth["solid_ml"] == pytest.approx(truth["lung_ml"])
    assert truth["percent_of_lung"]["lesion"] == pytest.approx(100 * truth["lesion_ml"] / truth["lung_ml"])


@settings(max_examples=25, deadline=None)
@given(_axes, _offsets, st.floats(0.6, 3.0), st.floats(0.5, 1.5))
def test_grid_does_not_change_a_volume(axes, offset, slice_mm, pixel_mm):
    """The covered volume of a sphere is the formula's on every grid, turned or sheared."""
    spacing = (slice_mm, pixel_mm, pixel_mm)
    shape = tuple(math.ceil(44 / step) for step in spacing)
    middle = Grid(shape, spacing, (0, 0, 0), axes).lps_mm((np.asarray(shape) - 1) / 2)
    grid = Grid(shape, spacing, tuple(np.asarray(offset) - middle), axes)
    ball = Ellipsoid((0, 0, 0), (12.0, 12.0, 12.0))
    covered_ml = (
        sum(float(coverage(ball, grid, box).sum(dtype=float)) for box in boxes(ball, grid)) * grid.voxel_ml
    )
    assert covered_ml == pytest.approx(ball.volume_ml, rel=5e-3)


@settings(max_examples=25, deadline=None)
@given(_offsets)
def test_coverage_is_a_share_and_agrees_with_the_centre(offset):
    grid = Grid((12, 30, 30), (2.5, 1.0, 1.0), (-15, -15, -15))
    ball = Ellipsoid(offset, (10.0, 9.0, 11.0))
    (box,) = boxes(ball, grid)
    cover, centre = coverage(ball, grid, box), inside(ball, grid, box)
    assert cover.min() >= 0
    assert cover.max() <= 1
    assert (cover[centre] > 0.15).all()
    assert (cover[~centre] < 0.85).all()


@settings(max_examples=8, deadline=None)
@given(_axes.filter(lambda axes: axes[0][2] > 0.9))
def test_counting_voxels_gives_the_lung_on_every_axial_grid(axes):
    spec = replace(_BASE, shape_kji=(72, 150, 128), direction_lps=axes)
    counted_ml = np.count_nonzero(truth_map(spec).labels_kji) * spec.grid.voxel_ml
    assert counted_ml == pytest.approx(truth_of(spec)["lung_ml"], rel=2e-3)
