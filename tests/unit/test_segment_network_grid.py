"""The way to the network's grid and back."""

import math
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from volumetry.domain import Grid
from volumetry.image.orientation import axial_view
from volumetry.segment.preprocess import InputRecipe, resize
from volumetry.segment.resampling import body_box, box_reaching, native_planes, network_shape, shrink

RECIPE = InputRecipe()
HEAD_BACK_LEFT = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation_is_turned_to_head_back_left(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    head, back, left = np.indices((3, 4, 5))
    canonical = 100 * head + 10 * back + left
    stored = canonical.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    directions = tuple(
        tuple(sign * x for x in HEAD_BACK_LEFT[axis]) for axis, sign in zip(axes, signs, strict=True)
    )
    grid = Grid(stored.shape, (1, 1, 1), direction_lps=directions)
    np.testing.assert_array_equal(axial_view(grid).of(stored), canonical)


def test_a_tilted_stack_is_looked_at_as_the_slices_are() -> None:
    tilt = math.radians(20)
    grid = Grid((2, 3, 4), (5, 1, 1), direction_lps=((0, math.sin(tilt), math.cos(tilt)), (0, 1, 0), (1, 0, 0)))
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(axial_view(grid).of(array), array)


def test_a_view_writes_through() -> None:
    grid = Grid((2, 3, 4), (1, 1, 1), direction_lps=((0, 0, -1), (1, 0, 0), (0, -1, 0)))
    array = np.zeros((2, 3, 4), np.uint8)
    axial_view(grid).of(array)[...] = 7
    assert (array == 7).all()


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((2.0, 0.7, 0.7), (100, 256, 256)),  # 512 x 0.7 / 1.4
        ((5.0, 0.7, 0.7), (100, 256, 256)),  # thick slices stay
        ((1.0, 0.7, 0.7), (50, 256, 256)),  # 100 x 1 / 2
        ((0.5, 1.4, 2.8), (25, 512, 1024)),
    ],
)
def test_pixels_are_fixed_and_thin_slices_become_slabs(spacing, expected) -> None:
    assert network_shape((100, 512, 512), spacing, RECIPE) == expected


@pytest.mark.parametrize("spacing", [(0.6, 0.7, 0.9), (2.0, 0.45, 0.45), (3.0, 2.0, 2.0)])
@pytest.mark.parametrize("axis", range(3))
def test_a_ramp_survives_there_and_back(spacing: tuple[float, float, float], axis: int) -> None:
    """No shift at all on the whole; a sampled triangle ripples by a few hundredths of a voxel."""
    shape = (40, 48, 56)
    ramp = np.indices(shape, np.float32)[axis]
    coarse = shrink(ramp, network_shape(shape, spacing, RECIPE))
    back = np.stack([plane[0] for plane in native_planes(coarse[None], shape)])
    inner = (slice(8, -8),) * 3
    np.testing.assert_allclose(back[inner], ramp[inner], atol=0.06)
    assert abs(float(np.mean(back[inner] - ramp[inner]))) < 1e-4


@given(
    shape=st.tuples(st.integers(18, 30), st.integers(18, 40), st.integers(18, 40)),
    spacing=st.tuples(st.floats(0.5, 3), st.floats(0.4, 1.4), st.floats(0.4, 1.4)),
)
def test_a_ball_comes_back_centred(shape, spacing) -> None:
    """Half a voxel of shift is the classic fault of a resampler; this allows a tenth."""
    middle = [(n - 1) / 2 for n in shape]
    distance = sum(((x - m) * s) ** 2 for x, m, s in zip(np.indices(shape), middle, spacing, strict=True))
    ball = (distance <= (0.3 * min(n * s for n, s in zip(shape, spacing, strict=True))) ** 2).astype(np.float32)
    ball = np.roll(ball, (1, -2, 3), (0, 1, 2))
    back = np.stack(
        [p[0] for p in native_planes(shrink(ball, network_shape(shape, spacing, RECIPE))[None], shape)]
    )
    if not back.sum():
        return
    for axis, (m, moved) in enumerate(zip(middle, (1, -2, 3), strict=True)):
        profile = back.sum(tuple(n for n in range(3) if n != axis))
        assert np.average(np.arange(shape[axis]), weights=profile) == pytest.approx(m + moved, abs=0.1)


def test_growing_equals_simpleitk_linear() -> None:
    image = np.random.default_rng(1).normal(size=(20, 30)).astype(np.float32)
    grown = resize(image, (50, 45))
    scale = [30 / 45, 20 / 50]
    oracle = sitk.Resample(
        sitk.GetImageFromArray(image),
        [45, 50],
        sitk.Transform(),
        sitk.sitkLinear,
        [(s - 1) / 2 for s in scale],
        scale,
        [1, 0, 0, 1],
    )
    inner = (slice(2, -2),) * 2
    np.testing.assert_allclose(grown[inner], sitk.GetArrayFromImage(oracle)[inner], atol=1e-5)


def test_shrinking_averages_instead_of_skipping() -> None:
    """A checkerboard halved is grey everywhere; a resampler that picks pixels would give stripes."""
    board = np.indices((32, 32)).sum(0) % 2
    half = resize(board.astype(np.float32), (16, 16))
    np.testing.assert_allclose(half[2:-2, 2:-2], 0.5, atol=1e-6)


def test_one_slice_goes_there_and_back() -> None:
    planes = list(native_planes(np.full((2, 1, 4, 4), 0.25, np.float16), (3, 8, 8)))
    assert len(planes) == 3
    np.testing.assert_array_equal(planes, np.full((3, 2, 8, 8), 0.25))


@pytest.mark.parametrize("seed", range(4))
def test_a_box_leaves_nothing_out_and_changes_no_value(seed: int) -> None:
    """Blobs: in the box the planes are those of the whole, and outside it none reaches the level."""
    rng = np.random.default_rng(seed)
    coarse = np.zeros((2, 5, 40, 50), np.float16)
    for _ in range(3):
        k, j, i = rng.integers(0, 5), rng.integers(3, 30), rng.integers(3, 40)
        coarse[rng.integers(0, 2), k, j : j + 6, i : i + 5] = rng.uniform(0.5, 1)
    shape = (9, 93, 117)
    box = box_reaching(coarse, 0.5, shape[1:])
    whole = np.stack(list(native_planes(coarse, shape)))
    inside = np.stack(list(native_planes(coarse, shape, box)))
    np.testing.assert_allclose(inside, whole[:, :, box[0], box[1]], atol=1e-5)
    rest = whole.copy()
    rest[:, :, box[0], box[1]] = 0
    assert rest.max() < 0.5
    assert box_reaching(coarse, 1.1, shape[1:]) is None


def test_the_body_box_holds_all_that_is_denser_than_air() -> None:
    hu = np.full((3, 50, 60), -1000, np.float32)
    assert body_box(hu, 8) == (slice(0, 50), slice(0, 60)), "nothing there: everything"
    hu[0, 22, 30], hu[2, 47, 12] = -400, 900
    rows, columns = body_box(hu, 1)
    assert (rows.start, rows.stop) == (18, 50)
    assert (columns.start, columns.stop) == (8, 35)


@pytest.mark.parametrize("row", range(20, 40, 3))
def test_the_body_box_keeps_the_phase_of_the_strides(row: int) -> None:
    hu = np.full((1, 50, 60), -1000, np.float32)
    hu[0, row, 35] = 40
    rows, columns = body_box(hu, 16)
    assert (rows.start % 16, columns.start % 16) == (0, 0)
    assert rows.start <= row - 4 < rows.start + 16
    assert columns.start == 16
