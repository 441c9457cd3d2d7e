"""Lungs cut off, missing or implausible never pass for whole ones."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import ChestContext, Doubt, Side, Tissue, TissueMap
from volumetry.measure import measure
from volumetry.quality import lung_findings
from volumetry.quality.aerated_lung import density_findings
from volumetry.quality.lungs import missing_beyond_cut_ml
from volumetry.quality.weight import volumes_of


def _findings(hu, labels, config, grid=AXIAL, no_data=None, dropped=None, context=None):
    middle = labels.shape[2] // 2
    side = np.where(labels > 0, np.where(np.arange(labels.shape[2]) < middle, Side.RIGHT, Side.LEFT), 0)
    tissue = TissueMap(labels.astype(np.uint8), grid, side.astype(np.uint8), dropped or {}, context=context)
    scan = scan_of(hu, grid, no_data)
    return {f.code: f for f in lung_findings(tissue, scan, measure(tissue, scan, config.measure), config)}


def test_whole_lungs_earn_nothing(config):
    hu, truth = chest()
    assert _findings(hu, truth.labels_kji, config) == {}


def test_a_share_of_nothing_is_refused_and_not_zero(config):
    hu, truth = chest(radius_mm=35.0)  # 2 x 180 mL
    labels = truth.labels_kji.copy()
    labels[:, :, 32:] = 0
    found = _findings(hu, labels, config)
    assert list(found) == ["NO_LUNGS_FOUND"]
    assert found["NO_LUNGS_FOUND"].outcome is Outcome.REFUSE


@pytest.mark.parametrize(
    ("cut", "grid", "code"),
    [
        (slice(14, None), AXIAL, "LUNG_TRUNCATED_BASE"),
        (slice(None, 28), AXIAL, "LUNG_TRUNCATED_APEX"),
        (slice(14, None), replace(AXIAL, direction_lps=((0, 0, -1), (0, 1, 0), (1, 0, 0))), "LUNG_TRUNCATED_APEX"),
    ],
)
def test_a_cut_lung_is_refused_at_the_right_end(config, cut, grid, code):
    hu, truth = chest()
    hu, labels = hu[cut], truth.labels_kji[cut]
    found = _findings(hu, labels, config, replace(grid, shape_kji=labels.shape))
    assert found[code].outcome is Outcome.REFUSE
    assert "lower bound" in found[code].message


def test_a_lung_cut_near_its_end_is_flagged_with_an_estimate(config):
    """A ball of 60 mm cut 5 mm from its pole: the cap beyond has pi h^2 (3 R - h) / 3 = 4.6 mL."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    pole = np.flatnonzero(labels.any(axis=(1, 2)))[0]
    hu, labels = hu[pole + 1 :], labels[pole + 1 :]
    labels[:, :, :32] = np.roll(labels[:, :, :32], 4, axis=0)  # the other lung is whole, and begins 20 mm higher
    labels[:4, :, :32] = 0
    grid = replace(AXIAL, shape_kji=labels.shape)
    finding = _findings(hu, labels, config, grid)["LUNG_TRUNCATED_BASE"]
    assert finding.outcome is Outcome.FLAG
    lost_percent = 100 * 4.6 / (np.count_nonzero(labels) * grid.voxel_ml)
    said = float(finding.message.split("about ")[1].split(" %")[0])
    assert said == pytest.approx(lost_percent, rel=0.5)  # a straight line through three sections of a ball
    trial = load_config(overrides={"profile": "trial"})
    assert _findings(hu, labels, trial, grid)["LUNG_TRUNCATED_BASE"].outcome is Outcome.REFUSE


@pytest.mark.parametrize("profile", ["default", "trial"])
def test_a_grazed_lung_asks_for_no_reader_under_any_profile(profile):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    k = np.flatnonzero(labels.any(axis=(1, 2)))[0]
    hu, labels = hu[k:], labels[k:]
    labels[0] = 0
    labels[0, 30, 18:22] = 1  # 4 pixels of 0.25 cm2
    found = _findings(
        hu, labels, load_config(overrides={"profile": profile}), replace(AXIAL, shape_kji=labels.shape)
    )
    assert found["LUNG_TRUNCATED_BASE"].outcome is Outcome.NOTE
    assert found["LUNG_TRUNCATED_BASE"].value == 1.0
    strict = load_config(overrides={"profile": profile, "outcomes": {"LUNG_TRUNCATED_BASE": "refuse"}})
    found = _findings(hu, labels, strict, replace(AXIAL, shape_kji=labels.shape))
    assert found["LUNG_TRUNCATED_BASE"].outcome is Outcome.REFUSE


def test_a_graze_of_the_field_of_view_is_a_note_and_a_deep_cut_a_flag(config):
    """A chord of 15 mm on a wall of 60 mm radius loses 15^3 / 720 = 4.7 mm2 a slice; one of 100 mm, 1400 mm2."""
    hu, truth = chest()
    for reach_mm, outcome in ((15.0, Outcome.NOTE), (100.0, Outcome.FLAG)):
        labels = truth.labels_kji.copy()
        labels[:, :, -1] = 0
        labels[12:28, 32 : 32 + int(reach_mm / 5), -1] = 1
        assert _findings(hu, labels, config)["LUNG_TRUNCATED_FOV"].outcome is outcome


def test_what_moves_the_share_by_less_than_the_setting_is_a_note(config):
    hu, truth = chest()
    lung_ml = np.count_nonzero(truth.labels_kji) * AXIAL.voxel_ml
    least_ml = lung_ml * config.quality.move_points / (100 - config.quality.move_points)
    assert least_ml < config.quality.lesion_outside_flag_ml < 15.0  # so the mL are the stricter here
    labels = truth.labels_kji
    loose = load_config(overrides={"quality": {"move_points": 2.0}})
    for settings, outcome in ((config, Outcome.FLAG), (loose, Outcome.NOTE)):
        found = _findings(hu, labels, settings, dropped={"lesion_beside_lungs_ml": 15.0})
        assert found["LESION_OUTSIDE_LUNG"].outcome is outcome
    trial = load_config(overrides={"profile": "trial", "quality": {"move_points": 2.0}})
    found = _findings(hu, labels, trial, dropped={"lesion_beside_lungs_ml": 15.0})
    assert found["LESION_OUTSIDE_LUNG"].outcome is Outcome.FLAG


def test_what_the_whole_chest_puts_into_organs_is_flagged_by_what_is_doubtful(config):
    """Of 90 mL taken away 15 are doubtful: points = 100 x 15 / (lung + 15). Without doubt it is a note."""
    hu, truth = chest()
    labels = truth.labels_kji
    points = 1500 / (np.count_nonzero(labels) * AXIAL.voxel_ml + 15)
    assert points > config.quality.move_points
    flagged = _findings(hu, labels, config, context=ChestContext(0.95, 90.0, 15.0))["LESION_IN_ORGAN"]
    assert flagged.outcome is Outcome.FLAG
    assert f"at most {points:.2f} points higher" in flagged.message
    noted = _findings(hu, labels, config, context=ChestContext(0.95, 90.0, 0.0))["LESION_IN_ORGAN"]
    assert noted.outcome is Outcome.NOTE
    assert "90 mL" in noted.message
    assert _findings(hu, labels, config, context=ChestContext(0.95, 9.0, 9.0)) == {}
    assert _findings(hu, labels, config, context=None) == {}


def test_a_chest_that_the_network_does_not_recognise_is_flagged(config):
    hu, truth = chest()
    found = _findings(hu, truth.labels_kji, config, context=ChestContext(0.89, 0.0, 0.0))
    assert set(found) == {"CHEST_NOT_RECOGNISED"}
    assert found["CHEST_NOT_RECOGNISED"].outcome is Outcome.FLAG
    assert _findings(hu, truth.labels_kji, config, context=ChestContext(0.9, 0.0, 0.0)) == {}


RANGES = {"aerated_hu": (-950.0, -780.0), "lesion_percent": (0.0, 30.0)}


def of_density(median_hu, lesion_share, calibrated):
    """Findings on lungs with this median, 10 HU around it, and this share of ground glass."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    lung = np.flatnonzero(labels)
    rng = np.random.default_rng(1)
    hu.flat[lung] = rng.normal(median_hu, 10.0, lung.size)
    labels.flat[rng.choice(lung, round(lesion_share * lung.size), replace=False)] = Tissue.GROUND_GLASS
    doubt = Doubt({}, {}, 0.0, {}, 0.95, calibrated)
    tissue, scan = TissueMap(labels, AXIAL, doubt=doubt), scan_of(hu, AXIAL, None)
    volumes = volumes_of(tissue)
    return list(density_findings(tissue, scan, volumes, load_config()))


@pytest.mark.parametrize("median_hu", [-860.0, -942.0, -788.0])
def test_lungs_of_usual_density_and_disease_are_within_the_calibration(median_hu):
    assert of_density(median_hu, 0.25, RANGES) == []


@pytest.mark.parametrize(
    ("median_hu", "look", "said"),
    [
        (-740.0, "fully inflated", "denser than \u2212740 HU"),
        (-965.0, "emphysema", "denser than \u2212965 HU"),
    ],
)
def test_lungs_of_another_density_than_the_interval_was_calibrated_on_are_flagged(median_hu, look, said):
    (found,) = of_density(median_hu, 0.0, RANGES)
    assert (found.code, found.outcome) == ("OUT_OF_CALIBRATION", Outcome.FLAG)
    assert found.value == pytest.approx(median_hu, abs=1.0)
    assert said in found.message
    assert look in found.message
    assert "\u2212950 to \u2212780 HU" in found.message
    assert of_density(median_hu, 0.0, {}) == []  # a model that states no range


def test_more_disease_than_the_interval_was_calibrated_on_is_flagged():
    (found,) = of_density(-860.0, 0.4, RANGES)
    assert found.code == "OUT_OF_CALIBRATION"
    assert found.value == pytest.approx(40.0, abs=0.01)
    assert "up to 30.0 %" in found.message


def test_lesion_left_out_of_the_abdomen_says_nothing(config):
    hu, truth = chest()
    dropped = {"lesion_outside_lungs_ml": 90.0, "lesion_beside_lungs_ml": 0.0}
    assert _findings(hu, truth.labels_kji, config, dropped=dropped) == {}


def test_a_section_that_does_not_shrink_has_no_estimate():
    assert missing_beyond_cut_ml(np.full(10, 20.0), 2.0) is None


def test_lung_at_the_frame_or_at_the_circle_is_flagged(config):
    hu, truth = chest()
    shifted = np.roll(truth.labels_kji, 24, axis=2)
    assert "LUNG_TRUNCATED_FOV" in _findings(hu, shifted, config)
    circle = np.zeros(AXIAL.shape_kji, bool)
    circle[:, :, :14] = True
    labels = np.where(circle, 0, truth.labels_kji)
    assert "LUNG_TRUNCATED_FOV" in _findings(hu, labels, config, no_data=circle)


def test_one_lung_and_a_tiny_lung_are_flagged(config):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    labels[:, :, 32:] = 0
    found = _findings(hu, labels, config)
    assert found["ONE_LUNG"].outcome is Outcome.FLAG
    assert found["LUNG_VOLUME_IMPLAUSIBLE"].outcome is Outcome.FLAG


def test_lung_that_is_not_lung_in_hounsfield_units_is_refused(config):
    hu, truth = chest()
    found = _findings(np.where(truth.labels_kji > 0, np.float32(-20), hu), truth.labels_kji, config)
    assert found["HU_IMPLAUSIBLE"].outcome is Outcome.REFUSE


def test_lesion_left_out_of_the_lungs_is_flagged(config):
    hu, truth = chest()
    found = _findings(hu, truth.labels_kji, config, dropped={"lesion_outside_lungs_ml": 25.0})
    assert found["LESION_OUTSIDE_LUNG"].value == 25.0


def test_a_lung_that_ends_at_a_slice_without_values_is_cut_there(config):
    """Half-empty end slices are set to padding: the lung's end is then the last slice with values."""
    hu, truth = chest()
    pole = int(np.flatnonzero(truth.labels_kji.any(axis=(1, 2)))[0])
    hu, labels = hu[pole + 1 :].copy(), truth.labels_kji[pole + 1 :].copy()
    as_it_is = _findings(hu[1:], labels[1:], config, replace(AXIAL, shape_kji=labels[1:].shape))
    no_data = np.zeros(labels.shape, bool)
    hu[0], labels[0], no_data[0] = -1000, 0, True
    masked = _findings(hu, labels, config, replace(AXIAL, shape_kji=labels.shape), no_data)
    one, other = (found["LUNG_TRUNCATED_BASE"] for found in (as_it_is, masked))
    assert (one.outcome, one.value) == (other.outcome, other.value)
    assert f"slice 1 of {len(labels)} counted from 0" in other.message
