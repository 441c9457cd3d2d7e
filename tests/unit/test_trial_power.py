"""Simulated power against the formula of the t-test, and the level where there is no difference."""

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from volumetry.cli import app
from volumetry.errors import UsageError
from volumetry.trial.config import load_trial_config
from volumetry.trial.power import Design, _noise, power, sample_size

SETTINGS = load_trial_config().statistics


def _t_power(n_a, n_b, difference, sd):
    """Of the two-sample t-test; the rank-sum test needs 3 / pi of its efficiency with normal noise."""
    scale = 3 / np.pi
    df, shift = n_a + n_b - 2, abs(difference) / sd / np.sqrt(1 / (n_a * scale) + 1 / (n_b * scale))
    limit = stats.t.ppf(0.975, df)
    return stats.nct.sf(limit, df, shift) + stats.nct.cdf(-limit, df, shift)


def test_power_is_that_of_the_t_test_less_the_efficiency_of_ranks():
    found = power(Design(65, 35, -23.0, 38.0), SETTINGS, 400, 1)
    assert found.low < _t_power(65, 35, -23.0, 38.0) < found.high


def test_without_a_difference_the_power_is_the_level():
    found = power(Design(30, 30, 0.0, 38.0, lost=0.1, skewed=True), SETTINGS, 300, 2)
    assert found.low < 0.05 < found.high


def test_the_lost_are_as_if_never_recruited():
    found = power(Design(120, 120, -15.0, 30.0, lost=0.5), SETTINGS, 300, 3)
    assert found.low < _t_power(60, 60, -15.0, 30.0) < found.high


def test_the_sample_size_reaches_the_power_and_keeps_the_ratio():
    found = sample_size(0.8, Design(2, 1, -25.0, 30.0), SETTINGS, 150, 4)
    assert found.power >= 0.8
    assert found.design.n_b == round(found.design.n_a / 2)
    assert _t_power(found.design.n_a, found.design.n_b, -25.0, 30.0) == pytest.approx(0.8, abs=0.09)


def test_skewed_noise_has_mean_0_and_sd_1():
    values = _noise(200_000, True, np.random.default_rng(5))
    assert (values.mean(), values.std()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.02))
    assert stats.skew(values) > 1


def test_the_command_says_power_and_the_size_that_is_needed():
    # 24 and 7 make an SD of 25: the measurement's error adds to the spread between subjects.
    plan = ["power", "--difference", "-20", "--sd", "24", "--measurement-sd", "7", "--trials", "200"]
    done = CliRunner().invoke(app, [*plan, "--arms", "30", "30"])
    assert done.exit_code == 0, done.output
    found = power(Design(30, 30, -20.0, 25.0), SETTINGS, 200, 1)
    assert f"30 and 30 subjects: power {found.power:.3f} ({found.low:.3f} to {found.high:.3f}" in done.output
    sized = CliRunner().invoke(app, [*plan, "--arms", "1", "1", "--wanted", "0.8"])
    assert isinstance(sized.exception, UsageError)
    sized = CliRunner().invoke(app, [*plan, "--arms", "2", "2", "--wanted", "0.8"])
    n = int(sized.output.split()[0])
    assert _t_power(n, n, -20.0, 25.0) == pytest.approx(0.8, abs=0.09)
