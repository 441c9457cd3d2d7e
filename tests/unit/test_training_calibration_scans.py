"""Small drawn scans to calibrate on: held-out slices alone, exact truth, each draw another, and the same again."""

import numpy as np
import pytest
from pydantic import ValidationError

from volumetry.storage.shipped import shipped
from volumetry.training.calibration import for_calibration
from volumetry.training.calibration_scans import SLICES, drawn_scans
from volumetry.training.config import ChestVolume, Scan, load_recipe
from volumetry.training.samples import Sample, Truth

ROOT = shipped("data-sample")


@pytest.fixture(scope="module")
def config():
    recipe = load_recipe(shipped("configs") / "train-lesion25d.toml")
    healthy = Scan(folder="phantom-001", source="drawn", terms="none")
    sick = healthy.model_copy(update={"infected_csv": "flags.csv"})
    changes = {
        "model": recipe.model.model_copy(update={"chest_network": ""}),
        "input": recipe.input.model_copy(update={"inputs": ("enhanced", "window")}),
        "data": recipe.data.model_copy(update={"scans": (sick, healthy), "chests": ()}),
    }
    return recipe.model_copy(update=changes)


@pytest.fixture(scope="module")
def drawn(config):
    return list(drawn_scans(config, ROOT, draws=3))


def test_every_draw_is_a_scan_of_held_out_slices_from_all_over_the_lungs(config, drawn):
    groups = {sample.group for sample in drawn}
    assert len(groups) == 3, "of the scan without disease alone"
    held_out = np.flatnonzero(config.data.held_out(200))
    for group in groups:
        slices = sorted(int(sample.name) for sample in drawn if sample.group == group)
        assert len(set(slices)) == SLICES
        assert set(slices) <= set(held_out.tolist())
        assert slices[-1] - slices[0] > 4 * config.data.held_out_block_slices
    assert all((sample.truth_ji & Truth.LUNG).any() for sample in drawn)
    assert not any((sample.truth_ji & Truth.SOLID_UNKNOWN).any() for sample in drawn), "both classes are known"


def test_draws_differ_and_come_again(config, drawn):
    again = list(drawn_scans(config, ROOT, draws=3))
    for first, second in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(first.truth_ji, second.truth_ji)
        np.testing.assert_array_equal(first.grey_ji["window"], second.grey_ji["window"])
    lesions = [sum(int((s.truth_ji & Truth.LESION > 0).sum()) for s in drawn if s.group == g) for g in
               sorted({s.group for s in drawn})]  # fmt: skip
    assert len(set(lesions)) == 3


def test_no_case_calibrates_and_judges(config):
    def sample(kind: str, group: str) -> Sample:
        flat = np.zeros((4, 4), np.uint8)
        return Sample({"enhanced": flat}, flat, kind, group, "0")

    labelled = [sample("ma20", case) for case in ("case06", "case12", "case16", "case18")]
    others = [sample("scan", "normal-001"), sample("synthetic", "normal-001")]
    draws = [sample("drawn", f"normal-001 {n:03d}") for n in range(4)]
    fit_on, judge_on = for_calibration(labelled + others, draws, config)
    assert [s.group for s in fit_on] == ["case06", "case18", "normal-001 000", "normal-001 002"]
    assert [s.group for s in judge_on] == ["case12", "case16", "normal-001 001", "normal-001 003"]


def test_where_a_held_out_chest_calibrates_no_learned_one_does(config):
    def chest(name: str, **also: bool) -> ChestVolume:
        return ChestVolume(image=f"{name}.nii.gz", lungs="lungs.nii.gz", source="drawn", terms="none", **also)

    chests = (chest("a"), chest("b", held_out=True), chest("c", held_out=True, calibrates=True))
    flat = np.zeros((4, 4), np.uint8)
    draws = [Sample({"enhanced": flat}, flat, "drawn", f"{name} {n:03d}", "0") for name in "abc" for n in range(2)]
    settings = config.model_copy(update={"data": config.data.model_copy(update={"chests": chests})})
    fit_on, judge_on = for_calibration([], draws, settings)
    assert [s.group for s in fit_on] == ["c 000", "c 001"]
    assert [s.group for s in judge_on] == ["a 000", "a 001", "b 000", "b 001"]


def test_a_chest_that_is_learned_from_calibrates_nothing():
    with pytest.raises(ValidationError, match="must be held out"):
        ChestVolume(image="a.nii.gz", lungs="b.nii.gz", source="drawn", terms="none", calibrates=True)
