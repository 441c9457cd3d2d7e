"""Models on whole scans: detection, false positives, lung error, planted lesions; stubs whose errors are known."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.stats import mannwhitneyu

from volumetry.cli import main
from volumetry.config import load_config
from volumetry.domain import CtScan, SegmenterFacts, Tissue, TissueMap
from volumetry.errors import ConfigError, InputError
from volumetry.image.orientation import axial_view
from volumetry.training.bootstrap import area_interval
from volumetry.training.evaluate_scans import evaluate_scans
from volumetry.training.inserted_lesions import Plan, with_planted_lesion
from volumetry.training.samples import GROUND_GLASS, SOLID, Truth
from volumetry.training.scan_list import read_listed, read_lung_mask, read_scan_list

SPACING = (4.0, 3.0, 3.0)
"""Head, back, left; mm."""
VOXEL_ML = 0.036
SHAPE = (36, 72, 90)


def _lungs() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return (k > 3) & (k < 32) & (j > 10) & (j < 60) & (((i > 6) & (i < 40)) | ((i > 50) & (i < 84)))


def _hu() -> np.ndarray:
    return np.where(_lungs(), -850, 40).astype(np.float32)


def _write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))


@dataclass
class ByHu:
    """Calls lesion what is nearer to the HU of the lesion than to the lung's; may miss every so manieth slice."""

    misses_every: int = 0
    lesion_in: tuple[int, ...] = ()
    facts = SegmenterFacts("by-hu", "1")

    def __call__(self, scan: CtScan) -> TissueMap:
        lung = _lungs()
        labels = np.where(lung, int(Tissue.AERATED), 0)
        changed = scan.hu_kji[lung & (scan.hu_kji > -800)]
        level = float(np.median(changed)) if changed.size else 0.0
        sick = lung & (scan.hu_kji > (level - 850) / 2)
        labels[sick] = Tissue.SOLID if level > -300 else Tissue.GROUND_GLASS
        if self.misses_every:
            labels[:: self.misses_every][labels[:: self.misses_every] > 0] = Tissue.AERATED
        for k in self.lesion_in:
            labels[k, 20 : 20 + k, 12:30] = Tissue.GROUND_GLASS
        return TissueMap(labels.astype(np.uint8), scan.grid)


def _find_lungs(hu: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    assert spacing == SPACING
    return _lungs()


def _listed(folder: Path, text: str) -> Path:
    _write(folder / "chest.nii.gz", _hu())
    (folder / "scans.toml").write_text(text, "utf-8")
    return folder / "scans.toml"


def test_planted_volume_is_met_and_lies_in_the_lung() -> None:
    hu, lung = _hu(), _lungs()
    for volume_ml, level_hu in ((5.0, -600.0), (100.0, 20.0)):
        sick, truth = with_planted_lesion(hu, lung, SPACING, np.random.default_rng(2), Plan(volume_ml, level_hu))
        lesion = (truth & Truth.LESION) > 0
        assert np.count_nonzero(lesion) * VOXEL_ML == pytest.approx(volume_ml, abs=VOXEL_ML / 2)
        assert not (lesion & ~lung).any()
        assert np.array_equal(sick[~lung] >= 40, hu[~lung] >= 40)  # the wall stays, its dark edge is filled
        assert sick[lesion].mean() == pytest.approx(level_hu, abs=120)  # the edge is blurred towards the lung
        assert set(np.unique(truth[lesion])) == {int(SOLID if level_hu > -300 else GROUND_GLASS)}


def test_vessels_shine_through_ground_glass_and_not_through_solid() -> None:
    hu, lung = _hu(), _lungs()
    hu[:, ::6] = np.where(lung[:, ::6], 60, hu[:, ::6])
    for level_hu, seen in ((-600.0, True), (-40.0, False)):
        sick, truth = with_planted_lesion(hu, lung, SPACING, np.random.default_rng(3), Plan(50.0, level_hu))
        vessel = (truth[:, ::6] & Truth.LESION) > 0
        assert np.array_equal(sick[:, ::6][vessel], hu[:, ::6][vessel]) is seen


def test_a_lesion_larger_than_half_the_lung_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        with_planted_lesion(_hu(), _lungs(), SPACING, np.random.default_rng(0), Plan(2000.0, 20.0))


def test_a_segmenter_that_sees_all_has_no_error_and_one_that_misses_half_has_half(tmp_path: Path) -> None:
    text = """
        [[scan]]
        path = "chest.nii.gz"
        normal = true
        [planted]
        volumes_ml = [10, 60]
        levels_hu = [-500, 20]
        places = 2
        realistic = 1
    """
    config = load_config(overrides={"tidy": {"min_lesion_island_mm3": 0.0, "min_component_island_mm3": 0.0}})
    good = evaluate_scans(_listed(tmp_path, text), ByHu(), config, find_lungs=_find_lungs)
    assert good["scans"][0]["false_positive_percent"] == 0
    assert good["scans"][0]["lung_ml"] == pytest.approx(np.count_nonzero(_lungs()) * VOXEL_ML)
    assert [row["kind"] for row in good["planted"]] == ["ground_glass", "solid"] * 4 + ["disease"]
    for row in good["planted"][:8]:
        assert row["measured_ml"] == pytest.approx(row["volume_ml"], rel=0.03)  # texture at the blurred rim
        assert row["error_percent"] == pytest.approx(100 * (row["measured_ml"] / row["true_ml"] - 1))
        assert row["dice"] > 0.97
        assert row["right_class_percent"] > 97
    assert good["summary"]["planted_from_20_ml"]["count"] == 4

    half = evaluate_scans(_listed(tmp_path, text), ByHu(misses_every=2), config, find_lungs=_find_lungs)
    for row in half["planted"]:
        if row["true_ml"] > 50:
            assert row["error_percent"] == pytest.approx(-50, abs=12)
    assert half["summary"]["planted_from_20_ml"]["mean"] == pytest.approx(-50, abs=12)
    assert half["summary"]["planted_from_20_ml"]["mean_absolute"] == pytest.approx(50, abs=12)
    assert [cell["count"] for cell in half["summary"]["planted"]] == [2, 2, 2, 2]


def test_false_positives_lung_error_and_detection_are_what_was_put_in(tmp_path: Path, config) -> None:
    lung = _lungs()
    given = lung.copy()
    given[:, 30:] = False
    _write(tmp_path / "mask.nii.gz", (given * 200).astype(np.uint8))
    flags = [1 if 8 <= k < 20 else 0 for k in range(SHAPE[0])]
    with (tmp_path / "flags.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["slice_from_top", "infected"])
        table.writerows((n, flags[SHAPE[0] - 1 - n]) for n in range(SHAPE[0]))
    text = """
        [[scan]]
        path = "chest.nii.gz"
        name = "x"
        normal = true
        infected_csv = "flags.csv"
        lung_mask = "mask.nii.gz"
        mask_above = 127
        [planted]
        volumes_ml = []
        realistic = 0
    """
    seen = tuple(range(10, 24))
    found = evaluate_scans(_listed(tmp_path, text), ByHu(lesion_in=seen), config, find_lungs=_find_lungs)
    (row,) = found["scans"]
    area = np.array([k * 18 if k in seen else 0 for k in range(SHAPE[0])])
    assert row["false_positive_percent"] == pytest.approx(100 * area.sum() / np.count_nonzero(lung))
    flagged = np.array(flags) > 0
    wins = mannwhitneyu(area[flagged], area[~flagged]).statistic
    assert row["auc_of_lesion_area"] == pytest.approx(wins / (flagged.sum() * (~flagged).sum()))
    assert row["lung_error_percent"] == pytest.approx(100 * (lung.sum() / given.sum() - 1))
    assert row["lung_dice"] == pytest.approx(2 * given.sum() / (given.sum() + lung.sum()))
    assert row["auc_of_lesion_area_ci"][0] < row["auc_of_lesion_area"] < row["auc_of_lesion_area_ci"][1]
    assert row["learned_from_as"] is None
    assert row["flags"] == []
    assert found["summary"]["auc_of_lesion_area"]["count"] == 1


def test_the_interval_of_the_area_covers_as_it_should() -> None:
    """Normal scores one deviation apart have an area of Phi(1 / sqrt 2) = 0.7602; 95 % intervals cover it."""
    rng = np.random.default_rng(7)
    covered, trials = 0, 150
    for _ in range(trials):
        positive = (1000 * rng.normal(1, 1, 40)).astype(np.int64)
        negative = (1000 * rng.normal(0, 1, 50)).astype(np.int64)
        interval = area_interval(positive, negative)
        assert interval is not None
        covered += interval[0] <= 0.7602 <= interval[1]
        area = mannwhitneyu(positive, negative).statistic / (40 * 50)
        assert interval[0] < area < interval[1]
    assert covered / trials == pytest.approx(0.95, abs=0.05)
    assert area_interval(np.array([3]), np.array([1, 2])) is None


def test_what_the_card_says_of_training_is_on_each_row(tmp_path: Path, config) -> None:
    @dataclass
    class _Card:
        training_cases: dict
        story: dict

    @dataclass
    class _Model:
        card: _Card

    text = """
        [[scan]]
        path = "chest.nii.gz"
        name = "seen"
        [[scan]]
        path = "chest.nii.gz"
        name = "unseen"
        [[scan]]
        path = "chest.nii.gz"
        name = "id001-128x128x64"
    """
    segmenter = ByHu()
    cases = {"scan": ["seen"], "synthetic": ["seen"], "masked": ["id001"]}
    segmenter.model = _Model(_Card(cases, {"split": {"scans": "every other"}}))
    rows = evaluate_scans(_listed(tmp_path, text), segmenter, config)["scans"]
    assert [row["learned_from_as"] for row in rows] == [["scan", "synthetic"], [], ["masked"]]
    assert rows[0]["split"] == "every other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "scan"),
        ("[[scan]]\npath = 'a'\nnormla = true", "normla"),
        ("[[scan]]\npath = 'a'\n[[scan]]\npath = 'b/a'", "same name"),
        ("[[scan]", "not valid TOML"),
    ],
)
def test_a_wrong_list_is_refused_with_words(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "scans.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=says):
        read_scan_list(tmp_path / "scans.toml")


def test_missing_files_and_masks_on_other_grids_are_refused(tmp_path: Path, config) -> None:
    listed = _listed(tmp_path, "[[scan]]\npath = 'nowhere.nii.gz'")
    with pytest.raises(InputError, match=r"nowhere\.nii\.gz is not there"):
        evaluate_scans(listed, ByHu(), config)
    _write(tmp_path / "mask.nii.gz", _lungs().astype(np.uint8))
    grid = read_listed(tmp_path / "chest.nii.gz", config).grid
    with pytest.raises(InputError, match="another grid"):
        read_lung_mask(tmp_path / "mask.nii.gz", 0, replace(grid, origin_lps_mm=(5.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="nothing above 127"):
        read_lung_mask(tmp_path / "mask.nii.gz", 127, grid)
    listed = _listed(tmp_path, "[[scan]]\npath = 'chest.nii.gz'\ninfected_csv = 'none.csv'")
    with pytest.raises(InputError, match=r"none\.csv is not there"):
        evaluate_scans(listed, ByHu(), config)
    assert np.array_equal(read_lung_mask(tmp_path / "mask.nii.gz", 0, grid), _lungs())


def test_the_command_writes_and_shows_the_scores(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ByHu(lesion_in=(12,)))
    listed, out = _listed(tmp_path, "[[scan]]\npath = 'chest.nii.gz'"), tmp_path / "scores.json"

    def code_of(*arguments: object) -> int:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *map(str, arguments), "--json", str(out)])
        return int(end.value.code or 0)

    assert code_of("--scans", listed) == 0
    (row,) = json.loads(out.read_text("utf-8"))["scans"]
    assert row["lesion_ml"] == pytest.approx(12 * 18 * VOXEL_ML)
    assert "chest" in capsys.readouterr().out
    assert code_of() == 2
    assert code_of(tmp_path, "--scans", listed) == 2


@pytest.mark.real_data
def test_a_lesion_lies_in_a_real_lung_with_its_exact_volume(shared: Path, config) -> None:
    folder = shared / "data" / "lungs"
    scan = read_listed(folder / "id003-128x128x64.nii.gz", config)
    lung = axial_view(scan.grid).of(read_lung_mask(folder / "id003-128x128x64-msk.nii.gz", 127, scan.grid))
    hu = axial_view(scan.grid).of(scan.hu_kji)
    k_mm, j_mm, i_mm = scan.grid.spacing_kji_mm
    sick, truth = with_planted_lesion(hu, lung, (k_mm, j_mm, i_mm), np.random.default_rng(1), Plan(50.0, 20.0))
    lesion = (truth & Truth.LESION) > 0
    assert np.count_nonzero(lesion) * scan.grid.voxel_ml == pytest.approx(50.0, abs=scan.grid.voxel_ml / 2)
    assert np.median(sick[lesion]) == pytest.approx(20.0, abs=30)
    assert np.median(hu[lesion]) < -600
    changed = np.argwhere(sick != hu)
    assert np.ptp(changed[:, 2]) * i_mm < 150  # in one place of one lung
