"""The validation report: its formulas against other sources, its numbers against the phantoms' own."""

import csv
import json
import re

import numpy as np
import pytest
from scipy import stats

from volumetry.assurance.validation import Design, Validation, validate, write_validation
from volumetry.assurance.validation.agreement import bland_altman, repeatability, straight_line
from volumetry.assurance.validation.experiments import Case

SELFTEST = {"passed": True, "checks": [], "facts": [{"check": "x", "detail": "<script>", "passed": True}]}

# Peak flow by two meters, 17 subjects: Bland and Altman, Lancet 1986; 327: 307-310, table 1 (first of each pair).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
WRIGHT_AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]


def test_limits_of_agreement_are_those_of_the_paper():
    """The paper: mean difference -2.1 l/min, SD 38.8, limits -79.7 to 75.5 (with 2 SD), 95 % CI -22.0 to 17.8."""
    found = bland_altman(WRIGHT, MINI)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    sd = (found.upper - found.bias) / 1.96
    assert sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias_low, found.bias_high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert (found.bias - 2 * sd, found.bias + 2 * sd) == pytest.approx((-79.7, 75.5), abs=0.2)


def test_repeatability_is_that_of_the_paper():
    """The paper: coefficient of repeatability of the Wright meter 43.2 l/min, with 2 x SD of the differences.

    It takes the SD about zero and 2 for 1.96 x sqrt 2 / sqrt 2, so RC = 1.96/2 of it.
    """
    found = repeatability(WRIGHT, WRIGHT_AGAIN)
    assert found.coefficient == pytest.approx(43.2 * 1.96 / 2, rel=0.01)
    assert found.within_sd == pytest.approx(15.3, abs=0.1)  # BMJ 1996; 313: 744 gives 15.3


def test_interval_of_a_limit_covers_the_truth_as_often_as_it_says():
    """By simulation: the upper limit of a normal population lies in its interval in 93 to 97 of 100 studies."""
    dice = np.random.default_rng(7)
    inside = 0
    for _ in range(2000):
        found = bland_altman(dice.normal(1.0, 2.0, 30), np.zeros(30))
        inside += found.upper_low <= 1.0 + 1.96 * 2.0 <= found.upper_high
    assert 0.93 <= inside / 2000 <= 0.97


def test_the_line_is_that_of_another_library():
    dice = np.random.default_rng(8)
    truth = dice.uniform(1, 60, 20)
    found = 0.97 * truth + 0.4 + dice.normal(0, 0.5, 20)
    line = straight_line(truth, found)
    design = np.stack([truth, np.ones(20)], 1)
    (slope, intercept), (left,), *_ = np.linalg.lstsq(design, found, rcond=None)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert line.r_squared == pytest.approx(1 - left / ((found - found.mean()) ** 2).sum())
    error = np.sqrt(left / 18 * np.linalg.inv(design.T @ design)[0, 0])
    assert line.slope_high - slope == pytest.approx(stats.t.ppf(0.975, 18) * error)


@pytest.mark.parametrize("pairs", [([], []), ([1.0, 2.0], [1.0, 2.0])])
def test_too_few_pairs_have_no_agreement(pairs):
    assert bland_altman(*pairs) is None
    assert repeatability(*pairs) is None
    assert straight_line(*pairs) is None


def test_a_mean_of_nothing_has_no_relative_variation():
    assert repeatability([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]) is None


@pytest.fixture(scope="module")
def small(config):
    design = Design((5.0, 6.0), (10.0,), (10.0, 20.0, 40.0), subjects=3, pixel_mm=3.4)
    return validate(config, design=design)


def test_every_phantom_of_the_design_is_measured(small):
    assert len(small.cases) == 4 * (2 * 1 * 3 + 3 * 3)
    for case in small.of("ground_glass", "linearity"):
        assert f"{case.truth_ml:.0f} mL" == case.subject
    first, again = small.pairs("solid", "resampled")
    assert len(first) == len(again) == 3
    truths = {(c.subject, round(c.truth_ml, 6)) for c in small.of("solid", "repeatability")}
    assert len(truths) == 3  # a subject keeps its lesions
    assert first != again


def test_what_is_found_is_near_the_formula(small):
    """Counting voxels of 10 mL at 0.7 x 0.7 x 5 mm errs by 1.2 % (inputs, 5.3); these voxels are 24 times that."""
    for case in small.of("lung", "linearity"):
        assert abs(case.error_percent) < 1
    for case in small.of("lesion", "linearity"):
        assert abs(case.error_percent) < 10


def test_the_report_stands_alone_and_escapes_what_it_is_told(small, config, tmp_path):
    document = write_validation(small, SELFTEST, config, tmp_path)
    html = (tmp_path / "validation.html").read_text("utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)", html)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<img") == 2 + 2 + 4
    assert json.loads((tmp_path / "validation.json").read_text("utf-8")) == json.loads(json.dumps(document))
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text("utf-8").splitlines()))
    assert len(rows) == len(small.cases)
    (row,) = [r for r in document["bias"] if (r["quantity"], r["thickness_mm"]) == ("solid", 6.0)]
    errors = [float(r["error_percent"]) for r in rows if r["quantity"] == "solid" and r["thickness_mm"] == "6.0"]
    assert row["mean_error_percent"] == pytest.approx(np.mean(errors[: row["n"]]))


def test_a_known_bias_comes_out_of_the_tables(config, tmp_path):
    """Cases made by hand: everything is found 5 % too large, and the second time 1 mL more."""
    design = Design((1.0,), (10.0,), (1.0, 2.0, 4.0), subjects=3)
    cases = [
        Case("linearity", f"{v} mL", "grid", 1.0, 10.0, quantity, v, 1.05 * v)
        for quantity in ("lung", "ground_glass", "solid", "lesion")
        for v in (1.0, 2.0, 4.0)
    ]
    cases += [
        Case("repeatability", f"S{n}", condition, 2.5, 25.0, quantity, 10.0 * n, 10.0 * n + extra)
        for quantity in ("lung", "ground_glass", "solid", "lesion")
        for n in (1, 2, 3)
        for condition, extra in (("first", 0.0), ("noise", 1.0), ("resampled", 1.0))
    ]
    document = write_validation(Validation(design, tuple(cases)), SELFTEST, config, tmp_path)
    assert all(row["mean_error_percent"] == pytest.approx(5.0) for row in document["bias"])
    assert all(row["slope"] == pytest.approx(1.05) for row in document["linearity"])
    for row in document["repeatability"]:
        assert row["bias"] == pytest.approx(1.0)
        assert row["within_sd"] == pytest.approx(np.sqrt(0.5))
        assert row["lower"] == pytest.approx(row["upper"])
    assert document["thickness_agreement"] == []
