"""Whole chests as a source of slices: exact truth of what is drawn, none of the patient's own disease."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from written_chest import LUNG_HU, OWN, SPACING_KJI_MM, write_chest

from volumetry.errors import InputError, ModelError
from volumetry.segment.card import read_card
from volumetry.segment.preprocess import InputRecipe
from volumetry.storage.shipped import shipped
from volumetry.training import package
from volumetry.training.calibration import for_calibration
from volumetry.training.calibration_scans import SLICES, drawn_chests
from volumetry.training.chest_slices import (
    CHEST,
    NOTHING_KNOWN,
    PATTERNS,
    TUMOUR,
    chest_samples,
    judged_samples,
    read_chest_slices,
)
from volumetry.training.config import ChestVolume, TrainConfig, load_recipe
from volumetry.training.continued import take_over
from volumetry.training.dataset import build_bank
from volumetry.training.faint import FAINT
from volumetry.training.filled import FILLED
from volumetry.training.patterns import USUAL_HAZE, Lungs, with_patterns
from volumetry.training.samples import AERATED, SOLID, SOME_LUNG, Truth
from volumetry.training.shown import Looks
from volumetry.training.train import new_state
from volumetry.training.whole_scans import whole_scans

RECIPE = InputRecipe()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chests")


@pytest.fixture(scope="module")
def spec(folder: Path) -> ChestVolume:
    return write_chest(folder, "one")


@pytest.fixture(scope="module")
def chest(folder: Path, spec: ChestVolume):
    return read_chest_slices(spec, folder, RECIPE)


def test_each_voxel_says_what_its_labels_say_and_no_more(chest):
    own = chest.own
    assert set(np.unique(own)) == {0, int(AERATED), int(SOLID), int(Truth.LUNG_UNKNOWN), int(NOTHING_KNOWN)}
    k0, k1, j0, j1, i0, i1 = OWN
    assert (own[k0:k1, j0:j1, i0:i1] == int(NOTHING_KNOWN)).all()
    assert (own == int(SOLID)).sum() == 2 * 6 * 8, "as many as have five votes"
    assert own[32, 51, 101] == int(NOTHING_KNOWN), "two votes"
    assert own[20, 55, 75] == int(Truth.LUNG_UNKNOWN), "the mediastinum: lung or not, and no lesion"
    assert own[20, 55, 3] == 0
    np.testing.assert_array_equal(chest.lungs, own == int(AERATED))


def test_piles_hold_what_was_drawn_and_keep_what_was_unknown(spec, chest):
    samples = list(chest_samples(spec, chest, Looks(RECIPE), np.random.default_rng(2)))
    piles = {kind: [s for s in samples if s.kind == kind] for kind in (CHEST, PATTERNS, FILLED, FAINT, TUMOUR)}
    assert sum(map(len, piles.values())) == len(samples)
    assert len(piles[CHEST]) == 44
    assert {s.name for s in piles[CHEST] if ((s.truth_ji & Truth.LESION) > 0).any()} == {"0031", "0032"}
    assert {s.name.split()[0] for s in piles[TUMOUR]} == {"0031", "0032"}
    assert all(((s.truth_ji & Truth.SOLID) > 0).any() for s in piles[TUMOUR])
    for kind in (PATTERNS, FILLED, FAINT):
        assert any(((s.truth_ji & Truth.LESION) > 0).any() for s in piles[kind])
    crossing = [s for s in piles[PATTERNS] if OWN[0] <= int(s.name.split()[0]) < OWN[1]]
    assert crossing
    assert all((s.truth_ji == int(NOTHING_KNOWN)).any() for s in crossing)
    assert {s.group for s in samples} == {"one"}


@pytest.mark.parametrize("seed", range(6))
def test_drawn_haze_is_denser_than_lung_and_consolidation_denser_than_haze(chest, seed):
    lungs = Lungs.of(chest.lungs, SPACING_KJI_MM)
    sick, truth = with_patterns(chest.hu_kji, chest.lungs, lungs, np.random.default_rng(seed))
    assert not (truth[~chest.lungs]).any()
    lesion, solid = (truth & Truth.LESION) > 0, (truth & Truth.SOLID) > 0
    haze = lesion & ~solid
    assert not (solid & ~lesion).any()
    if haze.sum() > 200:
        # Half filled at its edge, and never as faint as noise.
        assert np.median(sick[haze]) - LUNG_HU > USUAL_HAZE.denser_by_hu / 2
    if solid.sum() > 200:
        assert np.median(sick[solid]) > -300, "the trial's registered cut"
    far = ~chest.lungs & (np.abs(sick - chest.hu_kji) > 1)
    assert far.sum() < 0.2 * chest.lungs.sum(), "nothing but the rim of a consolidation"


def test_extent_reaches_from_next_to_nothing_to_half_of_the_lungs(chest):
    lungs = Lungs.of(chest.lungs, SPACING_KJI_MM)
    shares = []
    for seed in range(24):
        _, truth = with_patterns(chest.hu_kji, chest.lungs, lungs, np.random.default_rng([3, seed]))
        shares.append(((truth & Truth.LESION) > 0).sum() / chest.lungs.sum())
    assert min(shares) < 0.02
    assert max(shares) > 0.35


def test_a_diseased_chest_teaches_what_lies_beside_its_lungs_alone(folder, spec):
    chest = read_chest_slices(spec.model_copy(update={"diseased": True}), folder, RECIPE)
    assert set(np.unique(chest.own)) == {0, int(SOME_LUNG), int(SOLID), int(NOTHING_KNOWN)}
    assert chest.own[20, 55, 75] == int(NOTHING_KNOWN), "what may be lung may be diseased"
    samples = list(chest_samples(spec, chest, Looks(RECIPE), np.random.default_rng(2)))
    assert {s.kind for s in samples} == {CHEST, TUMOUR}, "nothing is drawn over disease"


def test_a_volume_on_another_grid_is_refused(folder, spec):
    write_chest(folder, "coarse", (2.0, 2.8, 2.8))
    other = spec.model_copy(
        update={"image": "coarse.nii.gz", "lungs": "coarse-lungs.nii.gz", "tumour": "coarse-votes.nii.gz"}
    )
    with pytest.raises(InputError, match="coarse: its voxels"):
        read_chest_slices(other, folder, RECIPE)


@pytest.fixture(scope="module")
def config(folder: Path, spec: ChestVolume) -> TrainConfig:
    write_chest(folder, "two")
    held_out = spec.model_copy(
        update={
            "image": "two.nii.gz",
            "lungs": "two-lungs.nii.gz",
            "tumour": "two-votes.nii.gz",
            "held_out": True,
        }
    )
    recipe = load_recipe(shipped("configs") / "train-open.toml")
    data = recipe.data.model_copy(update={"chests": (spec, held_out), "phantom_slices": 2})
    return recipe.model_copy(update={"data": data})


def test_a_patient_is_learned_from_or_judged_by(folder, config):
    bank = build_bank(config, folder)
    assert {s.group for s in bank.training if s.kind != "phantom"} == {"one"}
    assert {s.group for s in bank.held_out} == {"two"}
    assert {s.kind for s in bank.held_out} == {CHEST, PATTERNS}
    assert set(config.schedule.rounds[0].shares) <= set(bank.piles)


def test_draws_to_calibrate_on_are_of_the_chests_learned_from_and_know_both_classes(folder, config, chest):
    drawn = list(drawn_chests(config, folder, draws=2))
    assert len(drawn) == 2 * 2 * SLICES
    watched = list(judged_samples(replace(chest, name="two"), Looks(RECIPE), np.random.default_rng(0)))
    fit_on, judge_on = for_calibration(watched, drawn, config)
    assert {s.group.split()[0] for s in fit_on} == {"one"}
    assert {s.group.split()[0] for s in judge_on} == {"two"}
    assert len(fit_on) == len(judge_on) == 2 * SLICES
    assert not any((s.truth_ji & (Truth.LESION_UNKNOWN | Truth.SOLID_UNKNOWN)).any() for s in drawn)


def test_the_open_configurations_name_nothing_that_forbids_commercial_use():
    slices = load_recipe(shipped("configs") / "train-open.toml").data
    assert not (slices.slices)
    assert not (slices.scans)
    assert not (slices.masked)
    assert not (slices.judged)
    assert {chest.terms for chest in slices.chests} == {"CC BY 3.0"}
    assert {chest.name for chest in slices.chests if chest.held_out} == {"qin-0003"}


def test_a_model_is_made_and_calibrated_from_chests_alone(folder, config, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "drawn_chests", partial(drawn_chests, draws=2))
    monkeypatch.setattr(package, "whole_scans", partial(whole_scans, draws=3))
    small = config.model_copy(update={"model": config.model.model_copy(update={"channels": (4, 8, 16)})})
    bank, state = build_bank(small, folder), new_state(small, "cpu")
    state.average.load_state_dict(state.network.state_dict())
    made = package.write_model_folder(tmp_path, small, bank, state.average, folder)
    card = read_card(made)
    assert card.calibration is not None
    chests = [read_chest_slices(spec, folder, RECIPE) for spec in small.data.chests]
    medians = [float(np.median(chest.hu_kji[chest.lungs])) for chest in chests]
    expected = (min(medians) - 50.0, max(medians) + 50.0)
    assert card.calibration.range["aerated_hu"] == pytest.approx(expected, abs=2.0)  # read off steps of 10 HU
    assert card.calibration.range["lesion_percent"][0] == 0.0 < card.calibration.range["lesion_percent"][1]
    assert card.calibration.solid_probability == {}  # no reader divided a lesion
    assert card.training_cases == {kind: ["one"] for kind in (CHEST, PATTERNS, FILLED, FAINT, TUMOUR)}
    story = card.story
    assert story["licence_of_weights"].startswith("CC-BY-4.0")
    assert story["split"]["chests"] == "whole patients held out: two"
    assert story["data"]["one"] == "drawn; none"
    assert "two" not in story["data"]
    assert story["calibration"]["covers"] == package.COVERS_CHESTS
    assert story["calibration"]["fitted_on_drawn_scans"] == 2
    assert story["calibration"]["fitted_on_whole_scans"] == 3
    assert story["calibration"]["coverage_elsewhere"]["drawn"]["lesion"]["blocks"] == 3
    assert set(story["metrics"]) == {"two"}


def test_a_held_out_chest_that_sets_the_threshold_judges_the_interval_and_no_probability(
    folder, config, tmp_path, monkeypatch
):
    monkeypatch.setattr(package, "drawn_chests", partial(drawn_chests, draws=1))
    monkeypatch.setattr(package, "whole_scans", partial(whole_scans, draws=2))
    learned, held_out = config.data.chests
    chests = (learned, held_out.model_copy(update={"calibrates": True}))
    small = config.model_copy(
        update={
            "model": config.model.model_copy(update={"channels": (4, 8, 16)}),
            "data": config.data.model_copy(update={"chests": chests}),
        }
    )
    bank, state = build_bank(small, folder), new_state(small, "cpu")
    card = read_card(package.write_model_folder(tmp_path, small, bank, state.average, folder))
    story = card.story["calibration"]
    assert story["fitted_on_drawn_scans"] == 2
    assert story["coverage_where_fitted"]["drawn"]["lesion"]["blocks"] == 2
    assert story["coverage_elsewhere"]["drawn"]["lesion"]["blocks"] == 2
    assert not story["expected_calibration_error"]


def test_a_run_that_continues_a_model_begins_with_its_answers(folder, config, tmp_path, monkeypatch):
    """Inputs that the model did not know change nothing until they are learned from, whatever they show."""
    monkeypatch.setattr(package, "drawn_chests", partial(drawn_chests, draws=2))
    monkeypatch.setattr(package, "whole_scans", partial(whole_scans, draws=2))
    few = {"channels": (4, 8, 16)}
    first = config.model_copy(update={"model": config.model.model_copy(update=few)})
    bank, state = build_bank(first, folder), new_state(first, "cpu")
    state.average.load_state_dict(state.network.state_dict())
    made = package.write_model_folder(tmp_path, first, bank, state.average, folder)
    told = few | {"continues": str(made), "continues_sha256": read_card(made).sha256}
    inputs = ("enhanced", "window", "below", "above", "space", "organs")
    second = first.model_copy(
        update={
            "model": config.model.model_copy(update=told),
            "input": config.input.model_copy(update={"inputs": inputs}),
        }
    )
    further = new_state(second, "cpu")
    take_over(further, second)
    seen = torch.randn(2, 6, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = state.average(seen[:, :2]), further.average(seen)
    torch.testing.assert_close(after, before)
    assert {kind for s in build_bank(second, folder).training for kind in s.grey_ji} == set(inputs[:4])
    other = second.model_copy(update={"model": second.model.model_copy(update={"channels": (4, 8, 12)})})
    with pytest.raises(ModelError, match="architecture"):
        take_over(new_state(other, "cpu"), other)
    wrong = second.model_copy(update={"model": second.model.model_copy(update={"continues_sha256": "0"})})
    with pytest.raises(ModelError, match="is not the model"):
        build_bank(wrong, folder)
