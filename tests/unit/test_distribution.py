"""Where the disease lies: on discs whose parts are known from a formula, and in words."""

import copy

import numpy as np
import pytest
from small_results import measured_phantom

from volumetry.deliver.report.pattern import pattern
from volumetry.domain import Grid, TissueMap
from volumetry.measure import distribution_of

RADIUS, GAP = 120.0, 30.0
"""Two lungs that are halves of one disc, with a mediastinum of twice the gap between them, mm."""


def chest(disease, shape=(20, 250, 250)):
    """Label 2 where `disease` says so of (r, back, left) in mm from the middle of the disc."""
    _, j, i = shape
    y, x = np.mgrid[:j, :i] - np.array([j / 2 - 0.5, i / 2 - 0.5])[:, None, None]
    r = np.hypot(y, x)
    lung = (r < RADIUS) & (np.abs(x) > GAP)
    labels = np.where(lung, np.where(disease(r, y, x), 2, 1), 0).astype(np.uint8)
    return TissueMap(np.broadcast_to(labels, shape).copy(), Grid(shape, (2.5, 1.0, 1.0)))


def area(inner):
    """Of the disc beyond a radius, without the mediastinum, by numerical integration along r."""
    r = np.linspace(inner, RADIUS, 20001)
    outside = np.where(r > GAP, np.arccos(np.minimum(1.0, GAP / np.maximum(r, GAP))), 0.0)
    return np.trapezoid(4 * r * outside, r)


def test_disease_everywhere_lies_in_each_part_as_the_lung_does():
    found = distribution_of(chest(lambda *_: True))
    # Depth is R - r, at most R - gap: the outer third ends at R - (R - gap) / 3.
    outer = 100 * area(RADIUS - (RADIUS - GAP) / 3) / area(0.0)
    assert found.percent_of_lesion["peripheral"] == pytest.approx(outer, abs=3.0)
    assert found.percent_of_lesion["dorsal"] == pytest.approx(50, abs=2.0)
    assert set(found.percent_of_part.values()) == {100.0}


@pytest.mark.parametrize(
    ("disease", "shares"),
    [
        (lambda r, _y, _x: r > 0.95 * RADIUS, {"peripheral": 100, "central": 0, "dorsal": 50, "ventral": 50}),
        (lambda r, _y, _x: r < 0.5 * RADIUS, {"peripheral": 0, "central": 100, "dorsal": 50, "ventral": 50}),
        # Beside the mediastinum, half-way: at the lung's surface, and still not peripheral.
        (lambda r, y, x: (abs(x) < GAP + 8) & (y > 5) & (y < 50), {"peripheral": 0, "dorsal": 100}),
        (lambda r, y, _x: (r > 0.95 * RADIUS) & (y < -10), {"peripheral": 100, "ventral": 100}),
    ],
)
def test_disease_in_one_part_is_found_there(disease, shares):
    found = distribution_of(chest(disease)).percent_of_lesion
    assert {name: found[name] for name in shares} == pytest.approx(shares, abs=2.5)


def test_without_disease_or_lung_nothing_is_said():
    assert distribution_of(chest(lambda *_: False)) is None
    assert distribution_of(TissueMap(np.zeros((5, 20, 20), np.uint8), Grid((5, 20, 20), (2.5, 1, 1)))) is None


@pytest.fixture(scope="module")
def document(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("series"), config).document


def test_the_sentence_names_what_predominates(document):
    said = copy.deepcopy(document)
    said["volumes_ml"] |= {"lesion": 100.0, "lung": 4000.0}
    said["percent_of_lung"]["lesion"] = 2.5
    said["sides"]["right"]["lesion"], said["sides"]["left"]["lesion"] = 60.0, 40.0
    for name, ml in zip(("upper", "middle", "lower"), (10.0, 20.0, 70.0), strict=True):
        said["zones"][name]["lesion"] = ml
    said["distribution"] = {
        "percent_of_lesion": {"peripheral": 80.0, "central": 20.0, "dorsal": 55.0, "ventral": 45.0},
        "percent_of_part": {"peripheral": 4.0, "central": 1.0, "dorsal": 2.7, "ventral": 2.2},
    }
    # Dorsal holds more than half, but its lung is not diseased half as much again: it is not said.
    assert pattern(said) == "Distribution: bilateral, predominantly peripheral and in the lower third."
    said["sides"]["left"]["lesion"] = 4.0
    assert "right-sided" in pattern(said)
    said["flags"] = [{"code": "SIDE_CONFLICT", "severity": "review", "message": "", "hint": "", "value": None}]
    assert "right-sided" not in pattern(said)
    said["volumes_ml"]["lesion"] = 9.0
    assert pattern(said) == ""


def test_a_measured_scan_says_where_its_disease_lies(document):
    found = document["distribution"]
    assert found["percent_of_lesion"]["peripheral"] + found["percent_of_lesion"]["central"] == pytest.approx(100)
    assert found["percent_of_lesion"]["dorsal"] + found["percent_of_lesion"]["ventral"] == pytest.approx(100)
