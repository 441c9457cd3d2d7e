"""Our counting and components against SimpleITK and scikit-image."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scenes import scan_of
from scipy import ndimage
from skimage import measure as skimage_measure

from volumetry.config import load_config
from volumetry.domain import Grid, Side, Tissue, TissueMap
from volumetry.image.components import bodies_of, distance_to_outside_mm, filled_holes, within_mm
from volumetry.measure import by_component_rule, check_identities, measure
from volumetry.segment.exclusion import Coarse, block_mean

CONFIG = load_config()
SHAPE = (6, 7, 8)
SPACING = (2.5, 0.7, 0.9)
masks = hnp.arrays(bool, SHAPE, elements=st.booleans())


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 3)),
    hnp.arrays(np.float32, SHAPE, elements=st.floats(-1100, 500, width=32)),
    st.sampled_from(["network", "hu"]),
)
def test_volumes_equal_simpleitk_label_statistics_and_identities_hold(labels, hu, rule):
    grid = Grid(SHAPE, SPACING)
    side = np.where(labels > 0, np.where(np.arange(8) < 4, Side.RIGHT, Side.LEFT), 0).astype(np.uint8)
    tissue, scan = TissueMap(labels, grid, side), scan_of(hu, grid)
    rules = CONFIG.measure.model_copy(update={"component_rule": rule})
    delivered = by_component_rule(tissue, scan, rules)
    found = measure(tissue, scan, rules)
    check_identities(found, delivered)

    image = sitk.GetImageFromArray(delivered.labels_kji)
    image.SetSpacing(SPACING[::-1])
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    for kind in (Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID):
        ml = shapes.GetPhysicalSize(int(kind)) / 1000 if shapes.HasLabel(int(kind)) else 0.0
        assert getattr(found.volumes_ml, kind.name.lower()) == pytest.approx(ml)
    if (labels > 0).any():
        assert found.values["mean_lung_hu"] == pytest.approx(hu[labels > 0].mean(dtype=np.float64), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(masks, st.booleans())
def test_bodies_equal_scikit_image_components(mask, corners):
    found = bodies_of(mask, corners=corners)
    expected = skimage_measure.label(mask, connectivity=3 if corners else 1)
    assert sorted(found.sizes.tolist()) == sorted(np.bincount(expected.ravel())[1:].tolist())
    assert found.sizes.tolist() == sorted(found.sizes.tolist(), reverse=True)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_distances_equal_the_exact_euclidean_transform(mask):
    expected = np.inf if mask.all() else ndimage.distance_transform_edt(mask, SPACING)
    assert np.allclose(distance_to_outside_mm(mask, SPACING), expected, atol=1e-4)


# Most of these masks fill a corner of their array, so that what is computed on a box of it is put to the test.
placed = st.tuples(hnp.arrays(bool, (3, 3, 4), elements=st.booleans()), st.tuples(*[st.integers(0, 6)] * 3)).map(
    lambda drawn: np.pad(drawn[0], [(at, 6 - at) for at in drawn[1]])
)


# The last two reach some voxels exactly, which 32 bits must not decide by where in an array they lie.
reaches = st.one_of(
    st.sampled_from([0.5, 2.6, 3.3, 7.8]).map(lambda reach_mm: (reach_mm, SPACING)),
    st.sampled_from([(12.0, (2.4, 2.4, 2.4)), (5.2, (2.5, 2.6, 2.6))]),
)


@settings(max_examples=50, deadline=None)
@given(placed)
def test_a_distance_does_not_depend_on_how_much_lies_around(mask):
    expected = ndimage.distance_transform_edt(mask, SPACING)
    assert np.allclose(distance_to_outside_mm(mask, SPACING), expected, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(placed, hnp.arrays(bool, (9, 9, 10), elements=st.booleans()), reaches)
def test_what_lies_within_a_distance_equals_the_exact_euclidean_transform(target, mask, reach):
    reach_mm, spacing = reach
    expected = (ndimage.distance_transform_edt(~target, spacing) <= reach_mm + 1e-6) & target.any()
    assert np.array_equal(within_mm(target, reach_mm, spacing), expected)
    coarse = Coarse(np.zeros(mask.shape, np.float32), spacing, 1.0)
    assert np.array_equal(coarse.near(mask, target, reach_mm), mask & expected)
    assert np.array_equal(coarse.near(target, mask, reach_mm), target & within_mm(mask, reach_mm, spacing))


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float32, (5, 7, 8), elements=st.floats(-1100, 500, width=32)),
    st.tuples(*[st.integers(1, 4)] * 3),
)
def test_block_means_equal_scikit_image_block_reduction(hu, step):
    expected = skimage_measure.block_reduce(hu.astype(float), step, np.nanmean, cval=np.nan)
    assert block_mean(hu, step) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_holes_equal_scipy_fill(mask):
    assert np.array_equal(filled_holes(mask, np.inf), ndimage.binary_fill_holes(mask) & ~mask)
