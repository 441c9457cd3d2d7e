"""Lungs cut off, missing or implausible never pass for whole ones."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import Side, TissueMap
from volumetry.measure import measure
from volumetry.quality import lung_findings
from volumetry.quality.lungs import missing_beyond_cut_ml


def _findings(hu, labels, config, grid=AXIAL, no_data=None, dropped=None):
    middle = labels.shape[2] // 2
    side = np.where(labels > 0, np.where(np.arange(labels.shape[2]) < middle, Side.RIGHT, Side.LEFT), 0)
    tissue = TissueMap(labels.astype(np.uint8), grid, side.astype(np.uint8), dropped or {})
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


def test_a_lightly_grazed_lung_is_flagged_with_an_estimate(config):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    k = np.flatnonzero(labels.any(axis=(1, 2)))[0]
    hu, labels = hu[k:], labels[k:]
    labels[0] = 0
    labels[0, 30, 18:22] = 1  # 4 pixels of 0.25 cm2
    found = _findings(hu, labels, config, replace(AXIAL, shape_kji=labels.shape))
    assert found["LUNG_TRUNCATED_BASE"].outcome is Outcome.FLAG
    assert found["LUNG_TRUNCATED_BASE"].value == 1.0
    trial = load_config(overrides={"profile": "trial"})
    found = _findings(hu, labels, trial, replace(AXIAL, shape_kji=labels.shape))
    assert found["LUNG_TRUNCATED_BASE"].outcome is Outcome.REFUSE


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
