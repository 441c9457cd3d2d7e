"""Whole drawn scans to calibrate on: what was drawn is the truth, with what was there before."""

import numpy as np
import pytest
import SimpleITK as sitk
from written_chest import LUNG_HU, write_chest

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import SHARES, CtScan, Doubt, Finding, Tissue, TissueMap
from volumetry.image.orientation import axial_view
from volumetry.storage.shipped import shipped
from volumetry.training import whole_scans as module
from volumetry.training.calibration import FLAGGED, fitted
from volumetry.training.config import load_recipe
from volumetry.training.samples import AERATED, SOLID
from volumetry.training.whole_scans import whole_scans

EVEN = dict.fromkeys(SHARES, 1.0)
DOUBT = Doubt({"threshold": dict.fromkeys(SHARES, 0.25)}, EVEN, 0.0, EVEN, 0.95, {}, 30.0, 1.0)
OWN = np.s_[10:16, 40:70, 36:50]
"""Of the right lung: called lesion on every scan."""


class Reader:
    """Calls lesion what is denser than the lung of the drawn chest, within the lungs of the undrawn; and `OWN`."""

    def __init__(self, missed: bool = False) -> None:
        self.missed = missed
        self.lungs: np.ndarray | None = None

    def __call__(self, scan: CtScan) -> TissueMap:
        hu = axial_view(scan.grid).of(scan.hu_kji)
        if self.lungs is None:  # the first is the chest as it is
            self.lungs = np.abs(hu - LUNG_HU) < 60
        labels = np.where(self.lungs, np.uint8(Tissue.AERATED), np.uint8(Tissue.OUTSIDE))
        if not self.missed:
            labels[self.lungs & (hu > LUNG_HU + 60)] = Tissue.GROUND_GLASS
            labels[self.lungs & (hu > -250)] = Tissue.SOLID
        labels[OWN] = np.maximum(labels[OWN], np.where(self.lungs[OWN], Tissue.GROUND_GLASS, 0))
        own = np.empty(scan.grid.shape_kji, np.uint8)
        axial_view(scan.grid).of(own)[...] = labels
        return TissueMap(own, scan.grid, doubt=DOUBT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    chests = (write_chest(folder, "one"), write_chest(folder, "two").model_copy(update={"held_out": True}))
    recipe = load_recipe(shipped("configs") / "train-lesion25d.toml")
    data = recipe.data.model_copy(update={"chests": chests})
    return recipe.model_copy(update={"data": data}), folder


def test_each_draw_is_a_whole_scan_of_its_own(made):
    config, folder = made
    found = list(whole_scans(Reader(), config, folder, held_out=False, draws=6))
    assert [block.case for block in found] == [f"one {n:03d}" for n in range(6)]
    lesions = [block.truth["lesion"] for block in found]
    assert max(lesions) > 2 + min(lesions), "all alike, little is tested"
    for block in found:
        assert block.truth["lesion"] == pytest.approx(block.truth["ground_glass"] + block.truth["solid"])
        assert set(block.parts) == {"threshold", "boundary"}, "neither the reference nor the undecided"
    missed = list(whole_scans(Reader(missed=True), config, folder, held_out=False, draws=6))
    assert [block.truth for block in missed] == [block.truth for block in found], "the same draws again"
    assert max(b.truth["lesion"] - b.percent["lesion"] for b in missed) > 2


def test_true_is_what_was_drawn_and_outside_it_what_was_found_before(made, monkeypatch):
    """A box of consolidation, half of it in what is called ground glass without it; the mask lacks half a lung."""
    config, folder = made
    mask = sitk.ReadImage(str(folder / "one-lungs.nii.gz"))
    mask[84:, :, 10:30] = 0
    sitk.WriteImage(mask, str(folder / "cut-lungs.nii.gz"))
    cut = config.data.chests[0].model_copy(update={"lungs": "cut-lungs.nii.gz"})
    config = config.model_copy(update={"data": config.data.model_copy(update={"chests": (cut,)})})
    drawn = np.s_[10:16, 55:85, 36:50]

    def with_a_box(hu, lungs, *_):
        sick, truth = hu.copy(), np.where(lungs, int(AERATED), 0).astype(np.uint8)
        sick[drawn], truth[drawn] = 20.0, int(SOLID)
        return sick, truth

    monkeypatch.setattr(module, "with_lesions", with_a_box)
    reader = Reader()
    (block,) = whole_scans(reader, config, folder, held_out=False, draws=1)
    lung, box = np.count_nonzero(reader.lungs), 6 * 30 * 14
    expected = {"lesion": 1.5 * box, "ground_glass": 0.5 * box, "solid": box}
    assert block.truth == pytest.approx({name: 100 * n / lung for name, n in expected.items()}, rel=0.01)
    assert block.percent == pytest.approx(block.truth, rel=0.02)


def test_held_out_chests_are_drawn_into_apart(made):
    config, folder = made
    found = list(whole_scans(Reader(), config, folder, held_out=True, draws=1))
    assert [block.case for block in found] == ["two 000"]


def test_undecided_lung_is_what_the_segmenter_states_without_the_rims(made):
    config, folder = made
    (block,) = whole_scans(Reader(missed=True), config, folder, held_out=False, draws=1)
    settings = load_config()
    rim = block.parts["boundary"]["lesion"] * 1.4 / settings.interval.boundary_mm
    assert block.undecided == pytest.approx(30.0 - rim)
    assert 0 < rim < 30


def test_what_finds_no_lung_says_nothing(made):
    config, folder = made

    def blind(scan: CtScan) -> TissueMap:
        return TissueMap(np.zeros(scan.grid.shape_kji, np.uint8), scan.grid, doubt=DOUBT)

    assert list(whole_scans(blind, config, folder, held_out=False, draws=2)) == []


def test_a_scan_that_is_flagged_for_what_was_drawn_is_told_apart(made, monkeypatch):
    """The chest has one flag of its own, the second draw has another, and the third a note."""
    config, folder = made
    own = Finding("SUSPECT_SOLID", Outcome.FLAG, "")
    findings = iter(
        [
            [own],
            [own],
            [own, Finding("PLEURAL_FLUID", Outcome.FLAG, "")],
            [Finding("PLEURAL_FLUID", Outcome.NOTE, "")],
        ]
    )
    monkeypatch.setattr(module, "lung_findings", lambda *_: next(findings))
    found = list(whole_scans(Reader(), config, folder, held_out=False, draws=3))
    assert [block.kind for block in found] == ["drawn", FLAGGED, "drawn"]
    assert fitted(found) == fitted([found[0], found[2]])
