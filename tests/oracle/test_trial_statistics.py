"""The trial's statistics against acceptance numbers, published examples, scipy and enumeration."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from oracle.formulas import implied_spread, predicted_lung_ml
from scipy import stats

from volumetry.trial import pairwise
from volumetry.trial import statistics as ours

A8, B8 = np.array([-60.0, -40, -20, -10, 5]), np.array([-30.0, -5, 0, 30])
# Hollander and Wolfe 1973, p. 69: permeability constants of the human chorioamnion; R's example of wilcox.test
TERM = np.array([0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46])
EARLY = np.array([1.15, 0.88, 0.90, 0.74, 1.21])
# New York ozone, May and August 1973 (R's airquality); R's help page prints W = 127.5, p-value = 0.0001208
MAY = np.array(
    [41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37.0]
)
AUGUST = np.array(
    [39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85.0]
)


def test_e5_fisher_of_the_year_one_result():
    for n, p in ((29, 0.01368), (30, 0.01284), (31, 0.01223)):
        assert round(ours.fisher(10, 56, 0, n), 5) == p


def test_e6_pearson_would_not_give_the_published_p():
    p = stats.chi2_contingency([[10, 46], [0, 30]], correction=False).pvalue
    assert round(p, 5) == 0.01381


def test_e7_woolf_and_fisher_of_the_year_three_result():
    ratio, interval = ours.woolf(23, 49, 10, 29, 0.95)
    assert [round(x, 4) for x in (ratio, interval.low, interval.high)] == [1.6808, 0.6505, 4.3428]
    assert round(np.log(interval.high / interval.low) / 2 / stats.norm.ppf(0.975), 5) == 0.48433
    assert round(ours.fisher(23, 49, 10, 29), 4) == 0.3463


def test_e8_hodges_lehmann_is_not_the_difference_of_medians():
    assert pairwise.hodges_lehmann(A8, B8) == -22.5
    assert np.median(A8) - np.median(B8) == -17.5
    interval = ours.shift_interval(A8, B8, 0.95, exact=True)
    assert (interval.low, interval.high) == (-70, 20)
    assert round(interval.level, 3) == 0.968
    test = ours.rank_sum(A8, B8, 50)
    assert (test.method, test.statistic, round(test.p, 4)) == ("exact", 5, 0.2857)


def test_e11_spread_behind_the_primary_result():
    error, sd = implied_spread(-29.14, 2.13, 65, 35)
    assert (round(error, 3), round(sd, 2)) == (7.977, 38.05)


def test_e12_predicted_lung_volume():
    assert predicted_lung_ml(True, 170, 70) == pytest.approx(5289.7, abs=0.05)
    assert predicted_lung_ml(True, 170, 70) - predicted_lung_ml(False, 170, 70) == pytest.approx(605.3)


def test_hollander_and_wolfe_two_samples():
    test = ours.rank_sum(TERM, EARLY, 50)
    assert (test.statistic, test.method) == (35, "exact")
    assert test.p == pytest.approx(2 * 0.1272, abs=1e-4)  # R prints the one-sided 0.1272
    assert pairwise.hodges_lehmann(TERM, EARLY) == pytest.approx(0.305)
    interval = ours.shift_interval(TERM, EARLY, 0.95, exact=True)
    assert (interval.low, interval.high) == (pytest.approx(-0.15), pytest.approx(0.76))


def test_r_example_with_ties():
    test = ours.rank_sum(MAY, AUGUST, 50)
    assert (test.statistic, test.method) == (127.5, "asymptotic")
    assert test.p == pytest.approx(0.0001208, abs=5e-8)


def test_another_published_example_with_ties():
    x = np.array([1.0, 5, 9, 24, 56, 21, 3, 7, 21, 4])
    y = np.array([12.0, 15, 5, 9, 9, 14, 56, 22, 3, 7, 32, 5])
    test = ours.rank_sum(x, y, 50)
    assert (test.statistic, round(test.p, 4)) == (51.5, 0.5966)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 5), (4, 4), (5, 3), (6, 7)])
def test_u_distribution_by_enumeration(m, n):
    counts = np.zeros(m * n + 1)
    for places in combinations(range(m + n), m):
        counts[sum(places) - m * (m - 1) // 2] += 1
    expected = np.cumsum(counts) / comb(m + n, m)
    assert ours._u_distribution(m, n) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("m", "n", "level"), [(4, 5, 0.95), (10, 12, 0.95), (7, 20, 0.9), (49, 49, 0.95)])
def test_the_exact_interval_is_the_widest_shift_the_exact_test_accepts(m, n, level):
    rng = np.random.default_rng(m * n)
    a, b = rng.normal(size=m), rng.normal(size=n)
    interval = ours.shift_interval(a, b, level, exact=True)
    width = interval.high - interval.low
    for inside, outside in ((interval.low, -1), (interval.high, 1)):
        near = 1e-9 * width
        accepted = stats.mannwhitneyu(a - (inside - outside * near), b, method="exact").pvalue
        rejected = stats.mannwhitneyu(a - (inside + outside * near), b, method="exact").pvalue
        assert rejected <= 1 - level < accepted


@pytest.mark.parametrize(("m", "n"), [(40, 45), (65, 35), (100, 120)])
def test_the_asymptotic_interval_is_what_the_asymptotic_test_accepts(m, n):
    rng = np.random.default_rng(m)
    a, b = rng.normal(size=m), rng.normal(0.4, size=n)
    interval = ours.shift_interval(a, b, 0.95, exact=False)
    near = 1e-9
    for inside, outside in ((interval.low, -1), (interval.high, 1)):
        accepted = stats.mannwhitneyu(a - (inside - outside * near), b, method="asymptotic").pvalue
        rejected = stats.mannwhitneyu(a - (inside + outside * near), b, method="asymptotic").pvalue
        assert rejected <= 0.05 < accepted


def _rounded_trials():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        m, n = rng.integers(8, 40, 2)
        yield rng.normal(0, 4, m).round(), rng.normal(rng.uniform(0, 4), 4, n).round()


def test_with_ties_the_interval_is_what_the_test_with_ties_accepts():
    """scipy's test with its tie correction, just inside and just outside of both ends, of rounded values."""
    near = 1e-6
    for a, b in _rounded_trials():
        interval = ours.shift_interval(a, b, 0.95, exact=False)
        for end, outwards in ((interval.low, -1), (interval.high, 1)):
            inside, outside = (
                stats.mannwhitneyu(a - (end + side * near), b, method="asymptotic").pvalue
                for side in (-outwards, outwards)
            )
            assert outside <= 0.05 < inside


def test_with_ties_p_and_interval_contradict_each_other_nowhere_but_at_an_open_end():
    rejected_ends = 0
    for a, b in _rounded_trials():
        interval, p = ours.shift_interval(a, b, 0.95, exact=False), ours.rank_sum(a, b, 0).p
        if p > 0.05:
            assert interval.low <= 0 <= interval.high
        else:
            assert not interval.low < 0 < interval.high
            rejected_ends += 0 in (interval.low, interval.high)
    assert rejected_ends > 0  # the case that a reader must be warned of is among the trials


@pytest.mark.parametrize("digits", [12, 1, 0])
@pytest.mark.parametrize(("m", "n"), [(150, 170), (1000, 31), (300, 300)])
def test_a_place_in_the_order_of_all_differences_without_forming_them(m, n, digits):
    rng = np.random.default_rng(m)
    a, b = rng.normal(-3, 5, m).round(digits), (rng.standard_t(2, n) * 4).round(digits)
    ordered = np.sort(np.subtract.outer(a, b), axis=None)
    places = (0, 1, m * n // 40, (m * n - 1) // 2, m * n // 2, m * n - 1)
    assert pairwise.ordered_differences(a, b, places) == pytest.approx(ordered[list(places)], abs=1e-12)
    assert pairwise.hodges_lehmann(a, b) == pytest.approx(np.median(ordered), abs=1e-12)


@pytest.mark.parametrize("digits", [12, 0])
@pytest.mark.parametrize(("m", "n"), [(9, 7), (171, 150), (400, 61)])
def test_the_shift_of_every_draw_is_the_median_of_all_its_differences(m, n, digits):
    """Small moves, moves as large as the spread, moves of a whole sample, and samples without any spread."""
    rng = np.random.default_rng(m + digits)
    a, b = rng.normal(-3, 5, m).round(digits), rng.lognormal(1, 1, n).round(digits)
    size = np.array([0.1, 1, 5, 0, 0])[:, None]
    drawn_a = (a + size * rng.normal(size=(5, m)) + np.array([0, 0, 3, 1e3, 0])[:, None]).round(digits)
    drawn_b = (b + size * rng.normal(size=(5, n))).round(digits)
    drawn_a[4], drawn_b[4] = 2.0, 7.0
    expected = [np.median(np.subtract.outer(x, y)) for x, y in zip(drawn_a, drawn_b, strict=True)]
    assert pairwise.hodges_lehmann_of_draws(a, b, drawn_a, drawn_b) == pytest.approx(expected, rel=1e-12)
    same = pairwise.hodges_lehmann_of_draws(np.full(m, 1.0), np.full(n, 2.0), drawn_a, drawn_b)
    assert same == pytest.approx(expected, rel=1e-12)


def test_no_interval_where_the_samples_are_too_small_for_its_level():
    three = np.array([1.0, 2, 3])
    assert ours.shift_interval(three, three + 0.5, 0.95, exact=True) is None  # 2 / C(6, 3) = 0.1 is above 0.05
    reached = ours.shift_interval(three, three + 0.5, 0.9, exact=True)
    assert (reached.low, reached.high) == (-2.5, 1.5)
    assert reached.level == pytest.approx(0.9)


def test_quartiles_of_hyndman_and_fan_type_7_and_2():
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert (ours.summarise(values).q1, ours.summarise(values).q3) == (3.25, 7.75)  # R: quantile(1:10)
    sas = ours.summarise(values, "averaged_inverted_cdf")
    assert (sas.q1, sas.median, sas.q3) == (3, 5.5, 8)


def test_woolf_has_no_ratio_with_an_empty_cell():
    assert ours.woolf(10, 56, 0, 30, 0.95) is None


def test_holm_by_the_definition():
    p = [0.01, 0.04, 0.03, 0.005]
    assert ours.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ours.holm([0.6, 0.7]) == [1.0, 1.0]
    assert ours.holm([]) == []


@pytest.mark.parametrize("n", [6, 9, 20, 35])
def test_median_interval_reaches_its_level_and_no_less(n):
    interval = ours.median_interval(np.arange(1.0, n + 1), 0.95)
    k = int(interval.low)
    assert interval.high == n + 1 - k
    # 1 .. n: the median of 2 ** n equally likely patterns of signs lies outside in those with fewer than k of one
    assert interval.level == pytest.approx(1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n, abs=1e-12)
    assert 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(k, n, 0.5)


def test_median_interval_needs_six_values_at_95_percent():
    assert ours.median_interval(np.arange(5.0), 0.95) is None  # 2 / 2^5 = 0.0625


def test_equal_values_have_no_test_and_rounding_makes_no_difference():
    same = np.full(4, 2.0)
    assert ours.rank_sum(same, same, 50) is None
    a, b = 100 * (np.array([8.5, 17.0]) - [10, 20]) / [10, 20], np.array([-15.0, 3.0])
    assert not ours.can_be_exact(a, b, 50)  # -15 three times, whatever the last binary digit says


def test_repeated_measures_model_recovers_planted_differences():
    pytest.importorskip("statsmodels", reason="the extra `mixed` is not installed")
    from volumetry.trial.mixed import _reml

    rng = np.random.default_rng(4)
    subjects, visits = 60, 3
    arm = np.repeat(np.arange(subjects) % 2, visits).astype(float)
    at = np.tile(np.eye(visits), (subjects, 1))
    outcome = at @ [1.0, 2.0, 3.0] + (at * arm[:, None]) @ [4.0, 5.0, 6.0]
    outcome += np.repeat(rng.normal(0, 1, subjects), visits) + rng.normal(0, 0.1, subjects * visits)
    groups = [str(s) for s in np.repeat(np.arange(subjects), visits)]
    estimate, error, low, high, _p = _reml(outcome, np.column_stack([at, at * arm[:, None]]), groups, 0.95)
    assert np.all((low[3:] < [4, 5, 6]) & (high[3:] > [4, 5, 6]))
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * error)
    assert np.ptp(estimate[3:] - [4, 5, 6]) < 0.2  # a subject's own level is common to its visits
