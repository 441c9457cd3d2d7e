"""HU to the picture that the network knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from volumetry.segment.preprocess import (
    InputRecipe,
    Pictures,
    Volume,
    enhance,
    fitted_shape,
    neighbour_step,
    network_batch,
    pictures_of,
    ready_made,
    slice_picture,
)
from volumetry.training.config import load_recipe

RECIPE = InputRecipe()
SLICES = Path(__file__).resolve().parents[2] / "configs" / "train-lesion25d.toml"


@pytest.fixture
def hu() -> np.ndarray:
    rng = np.random.default_rng(3)
    slice_ = np.full((96, 112), -1000.0)
    slice_[20:80, 15:95] = 40
    slice_[30:70, 25:50] = -850
    slice_[40:60, 60:85] = 900
    return (slice_ + rng.normal(0, 15, slice_.shape)).astype(np.float32)


def test_a_picture_is_between_black_and_white_and_uses_both(hu: np.ndarray) -> None:
    picture = slice_picture(hu, RECIPE)
    assert picture.dtype == np.float32
    assert picture.shape == hu.shape
    assert (picture.min(), picture.max()) == (0, 1)


def test_metal_and_padding_do_not_set_the_contrast(hu: np.ndarray) -> None:
    modest, wild = hu.copy(), hu.copy()
    modest[50, 70], modest[0, 0] = RECIPE.hu_high, RECIPE.hu_low
    wild[50, 70], wild[0, 0] = 30000, -8192
    np.testing.assert_array_equal(slice_picture(wild, RECIPE), slice_picture(modest, RECIPE))


def test_a_min_max_forgets_offset_and_slope(hu: np.ndarray) -> None:
    """What the labelled slices lost, these pictures must lose too; powers of two keep the arithmetic exact."""
    inside = np.clip(hu, -1000, 1000).round()
    np.testing.assert_array_equal(slice_picture(inside / 2, RECIPE), slice_picture(inside, RECIPE))
    np.testing.assert_array_equal(slice_picture(inside / 2 + 256, RECIPE), slice_picture(inside, RECIPE))


@pytest.mark.parametrize("value", [-1024.0, 0.0, 5000.0])
def test_a_slice_of_one_value_is_black(value: float) -> None:
    assert not slice_picture(np.full((40, 40), value, np.float32), RECIPE).any()


def test_enhancing_lifts_what_is_locally_faint() -> None:
    rng = np.random.default_rng(0)
    faint = (0.2 + 0.02 * rng.random((128, 128))).astype(np.float32)
    faint[:, 64:] += 0.6
    assert enhance(faint, RECIPE)[:, :40].std() > 2 * faint[:, :40].std()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (9, 9)])
def test_tiny_slices_do_not_break_it(shape: tuple[int, int]) -> None:
    hu = np.linspace(-1000, 100, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    assert slice_picture(hu, RECIPE).shape == shape


def test_ready_made_slices_are_shrunk_only_when_large() -> None:
    assert fitted_shape((256, 256), RECIPE) == (256, 256)
    assert fitted_shape((640, 320), RECIPE) == (320, 160)


def test_a_batch_is_padded_with_black_and_scaled() -> None:
    batch = network_batch([Pictures({"enhanced": np.ones((17, 30), np.float32)})] * 2, RECIPE)
    assert batch.shape == (2, 2, 32, 32)
    assert not batch[:, 1].any()  # what cannot be had is flat grey
    assert batch[0, 0, 0, 0] == pytest.approx((1 - 0.35) / 0.25)
    assert batch[1, 0, 17, 0] == pytest.approx(-0.35 / 0.25)


def test_a_recipe_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="rising HU range"):
        InputRecipe(hu_low=100, hu_high=0)


def test_the_window_is_linear_in_hu_and_the_same_for_every_slice() -> None:
    hu = np.array([[-2000, -1050, -425, 200, 3000]], np.float32)
    found = pictures_of(hu, RECIPE).of("window")
    np.testing.assert_allclose(found, [[0, 0, 0.5, 1, 1]], atol=1e-6)
    beside_metal = pictures_of(np.hstack([hu, [[3000.0]]]).astype(np.float32), RECIPE).of("window")
    np.testing.assert_array_equal(beside_metal[:, :5], found)


def test_only_the_pictures_that_a_model_takes_are_made() -> None:
    hu = np.random.default_rng(0).normal(-500, 300, (20, 20)).astype(np.float32)
    for inputs in (("enhanced",), ("window",)):
        recipe = InputRecipe(inputs=inputs)
        pictures = pictures_of(hu, recipe)
        assert [pictures.of("enhanced") is not None, pictures.of("window") is not None] == [
            "enhanced" in inputs,
            "window" in inputs,
        ]
        assert network_batch([pictures], recipe).shape[1] == 1


def test_a_scan_is_enhanced_only_where_the_card_says_so() -> None:
    """In training it is shown both ways: labelled slices have nothing but the enhanced picture."""
    hu = np.random.default_rng(0).normal(-500, 300, (20, 20)).astype(np.float32)
    recipe = replace(RECIPE, enhance_scans=False)
    pictures = pictures_of(hu, recipe)
    assert pictures.of("enhanced") is None
    np.testing.assert_array_equal(pictures.of("window"), pictures_of(hu, RECIPE).of("window"))
    batch = network_batch([pictures], recipe)
    assert not batch[:, 0].any(), "flat grey"
    assert batch[:, 1].any()
    grey = np.full((40, 40), 0.1, np.float32)
    assert ready_made(grey, recipe).of("enhanced") is not None

    config = load_recipe(SLICES)
    assert (config.input_recipe.enhance_scans, config.measuring_recipe.enhance_scans) == (True, False)
    enhancing = config.model_copy(update={"input": config.input.model_copy(update={"enhance_scans": True})})
    assert enhancing.sha256 == config.sha256, "the weights are the same"

    with pytest.raises(ValueError, match="need a window"):
        InputRecipe(inputs=("enhanced",), enhance_scans=False)


def test_a_crop_is_a_window_and_a_whole_slice_is_taken_as_enhanced() -> None:
    """The rim tells: air around a body, or the body itself."""
    whole = np.full((40, 40), 0.1, np.float32)
    whole[8:32, 8:32] = np.random.default_rng(0).uniform(0, 1, (24, 24))
    assert ready_made(whole, RECIPE).of("window") is None
    np.testing.assert_array_equal(ready_made(whole, RECIPE).of("enhanced"), whole)
    crop = np.full((40, 40), 0.9, np.float32)
    crop[8:32, 8:32] = 0.2
    np.testing.assert_array_equal(ready_made(crop, RECIPE).of("window"), crop)
    np.testing.assert_array_equal(ready_made(crop, RECIPE).of("enhanced"), enhance(crop, RECIPE))


def test_a_mirror_turns_both_pictures() -> None:
    grey = np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    seen = Pictures({"enhanced": grey, "window": grey / 2}).mirrored()
    np.testing.assert_array_equal(seen.of("enhanced"), grey[:, ::-1])
    np.testing.assert_array_equal(seen.of("window"), grey[:, ::-1] / 2)
    with pytest.raises(ValueError, match="at least one picture"):
        Pictures({})


def test_a_slice_sees_what_lies_four_millimetres_below_and_above_it() -> None:
    """Slices of one value each, their own number; a window of 0 to 10 HU shows them as tenths."""
    recipe = replace(
        RECIPE, window_low=0.0, window_high=10.0, inputs=("window", "below", "above", "space", "organs")
    )
    hu = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 4, 5))
    space = np.zeros_like(hu)
    space[3] = 0.75
    assert [neighbour_step(mm, recipe) for mm in (1.5, 2.0, 5.0, 10.0)] == [3, 2, 1, 1]
    assert neighbour_step(2.0, RECIPE) == 0, "a network that sees no neighbours gets none"
    seen = pictures_of(Volume(hu, 2, {"space": space}).plane(3), recipe)
    shown = {kind: float(grey.max()) for kind, grey in seen.by_kind.items()}
    assert shown == pytest.approx({"window": 0.3, "below": 0.1, "above": 0.5, "space": 0.75})
    assert set(pictures_of(Volume(hu, 2).plane(1), recipe).by_kind) == {"window", "above"}
    batch = network_batch([seen], recipe)[0, :, :4, :5]
    assert not batch[4].any(), "what cannot be had is flat grey"
    np.testing.assert_allclose(batch[3], (0.75 - recipe.mean) / recipe.deviation)
