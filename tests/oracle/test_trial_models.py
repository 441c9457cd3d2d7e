"""Proportions, adjusted and stratified comparisons, mixed model and multiplicity, against published examples."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from volumetry.trial import adjusted, proportions
from volumetry.trial.analysis_config import Family, Hypothesis
from volumetry.trial.families import adjust, decisions, graphical
from volumetry.trial.kenward_roger import adjusted_covariance
from volumetry.trial.statistics import holm
from volumetry.trial.unstructured import contrast, fit

# Newcombe, Stat. Med. 17 (1998), table II: score (method 10) and Miettinen-Nurminen
NEWCOMBE = [
    ((56, 70, 48, 80), (0.0524, 0.3339), (0.0528, 0.3382)),
    ((9, 10, 3, 10), (0.1705, 0.8090), (0.1700, 0.8406)),
    ((6, 7, 2, 7), (0.0582, 0.8062), (0.0342, 0.8534)),
    ((5, 56, 0, 29), (-0.0381, 0.1926), (-0.0326, 0.1933)),
    ((0, 10, 0, 20), (-0.1611, 0.2775), (-0.1658, 0.2844)),
    ((0, 10, 0, 10), (-0.2775, 0.2775), (-0.2879, 0.2879)),
    ((10, 10, 0, 20), (0.6791, 1.0), (0.7156, 1.0)),
    ((10, 10, 0, 10), (0.6075, 1.0), (0.6636, 1.0)),
]
# Pothoff and Roy 1964: growth of 11 girls and 16 boys at 8, 10, 12 and 14 years; example of PROC MIXED
GIRLS = "21 20 21.5 23 21 21.5 24 25.5 20.5 24 24.5 26 23.5 24.5 25 26.5 21.5 23 22.5 23.5 20 21 21 22.5 " \
    "21.5 22.5 23 25 23 23 23.5 24 20 21 22 21.5 16.5 19 19 19.5 24.5 25 28 28"  # fmt: skip
BOYS = "26 25 29 31 21.5 22.5 23 26.5 23 22.5 24 27.5 25.5 27.5 26.5 27 20 23.5 22.5 26 24.5 25.5 27 28.5 " \
    "22 22 24.5 26.5 24 21.5 24.5 25.5 23 20.5 31 26 27.5 28 31 31.5 23 23 23.5 25 21.5 23.5 24 28 " \
    "17 24.5 26 29.5 22.5 25.5 25.5 26 23 24.5 26 30 22 21.5 23.5 25"  # fmt: skip
GROWTH = np.array([float(x) for x in f"{GIRLS} {BOYS}".split()]).reshape(27, 4)
IS_GIRL = np.arange(27) < 11


@pytest.mark.parametrize(("counts", "score", "test"), NEWCOMBE)
def test_intervals_of_a_difference_are_those_that_newcombe_prints(counts, score, test):
    for interval, printed in ((proportions.newcombe, score), (proportions.miettinen_nurminen, test)):
        found = interval(*counts, 0.95)
        assert (round(found.low, 4), round(found.high, 4)) == printed
        mirrored = interval(*counts[2:], *counts[:2], 0.95)
        assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_the_exact_odds_ratio_without_an_upper_bound():
    """Its lower end is where the hypergeometric distribution leaves 2.5 % at 10 of 56 against 0 of 30."""
    found = proportions.exact_odds_ratio(10, 56, 0, 30, 0.95)
    assert (found.value, found.high) == (None, None)
    assert stats.nchypergeom_fisher.sf(9, 86, 56, 10, found.low) == pytest.approx(0.025, rel=1e-6)
    other = proportions.exact_odds_ratio(0, 30, 10, 56, 0.95)
    assert (other.value, other.low, other.high) == (0.0, 0.0, pytest.approx(1 / found.low))
    assert proportions.exact_odds_ratio(0, 12, 0, 12, 0.95) is None


def test_the_exact_odds_ratio_of_the_tea_taster():
    """fisher.test of R prints 6.408309 and, one-sided at 95 %, the lower end 0.3135693."""
    found = proportions.exact_odds_ratio(3, 4, 1, 4, 0.90)
    assert found.value == pytest.approx(6.408309, rel=1e-5)
    assert found.low == pytest.approx(0.3135693, rel=1e-4)
    assert stats.nchypergeom_fisher.cdf(1, 8, 4, 4, 1 / found.low) == pytest.approx(0.05, rel=1e-4)


def test_van_elteren_by_enumeration_of_every_allocation():
    """Mean and variance of the weighted rank sum over all allocations within the strata, with ties."""
    values = {"s": ([1.0, 2, 2, 7, 9], 2), "t": ([3.0, 3, 3, 8, 4, 1], 3), "u": ([5.0, 6, 6], 1)}
    observed, mean, variance = 0.0, 0.0, 0.0
    outcome, in_a, strata = [], [], []
    for name, (of, m) in values.items():
        weighted = stats.rankdata(of) / (len(of) + 1)
        sums = [sum(weighted[k] for k in chosen) for chosen in combinations(range(len(of)), m)]
        observed, mean, variance = observed + sums[0], mean + np.mean(sums), variance + np.var(sums)
        outcome, in_a, strata = outcome + of, in_a + [1.0] * m + [0.0] * (len(of) - m), strata + [name] * len(of)
    found = adjusted.van_elteren(np.array(outcome), np.array(in_a), strata)
    assert found.statistic == pytest.approx((observed - mean) ** 2 / variance)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(observed - mean) / variance**0.5))


def test_van_elteren_of_one_stratum_is_the_rank_sum_test():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 20, 25).astype(float), rng.integers(3, 23, 22).astype(float)
    expected = stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=False).pvalue
    found = adjusted.van_elteren(np.append(a, b), np.repeat([1.0, 0.0], [25, 22]), ["s"] * 47)
    assert found.p == pytest.approx(expected, rel=1e-9)
    lonely = adjusted.van_elteren(np.append(a, b), np.repeat([1.0, 0.0], [25, 22]), ["s"] * 25 + ["t"] * 22)
    assert lonely is None  # no stratum has both arms


def test_van_elteren_of_one_stratum_has_the_score_that_sas_prints_for_arthritis():
    """PROC NPAR1WAY, example 47.1: sum of scores 999.0, expected 810.0, its SD 63.972744, with ties."""
    active, placebo = (np.repeat([5.0, 4, 3, 2, 1], n) for n in ([5, 11, 5, 1, 5], [2, 4, 7, 7, 12]))
    in_a = np.repeat([1.0, 0.0], [active.size, placebo.size])
    found = adjusted.van_elteren(np.append(active, placebo), in_a, ["all"] * in_a.size)
    assert found.statistic == pytest.approx(((999.0 - 810.0) / 63.972744) ** 2, rel=1e-6)


def test_van_elteren_of_the_arthritis_trial_within_the_sexes():
    """Stokes, Davis and Koch: Categorical Data Analysis Using SAS, chapter 4: none, some or marked improvement.

    The test is the row mean score statistic of PROC FREQ with scores=modridit. Expected is what coin 1.4-2 of R
    gives: independence_test(rank / (n + 1) ~ treatment | sex, teststat = "quadratic") is 15.00412, p 0.0001072768.
    """
    arms = {
        ("female", 1.0): [6, 5, 16],
        ("female", 0.0): [19, 7, 6],
        ("male", 1.0): [7, 2, 5],
        ("male", 0.0): [10, 0, 1],
    }
    outcome = np.concatenate([np.repeat([1.0, 2.0, 3.0], counts) for counts in arms.values()])
    in_a = np.concatenate([np.full(sum(counts), arm) for (_sex, arm), counts in arms.items()])
    sexes = [sex for (sex, _arm), counts in arms.items() for _subject in range(sum(counts))]
    found = adjusted.van_elteren(outcome, in_a, sexes)
    assert found.statistic == pytest.approx(15.00412, abs=5e-6)
    assert found.p == pytest.approx(0.0001072768, abs=5e-11)


def test_the_interaction_is_the_product_in_a_regression():
    """With two levels F is the square of t of the product, less what arm, level and baseline explain of it."""
    rng = np.random.default_rng(6)
    in_a, group, baseline = np.repeat([1.0, 0.0], [30, 25]), (rng.random(55) < 0.4) * 1.0, rng.normal(size=55)
    outcome = baseline + in_a * group + rng.normal(size=55)
    others = np.column_stack([np.ones(55), in_a, group, baseline])
    y, x = (v - others @ np.linalg.lstsq(others, v, rcond=None)[0] for v in (outcome, in_a * group))
    expected = stats.linregress(x, y)
    t = expected.slope / (expected.stderr * (53 / 50) ** 0.5)
    found = adjusted.interaction(outcome, in_a, group[:, None], baseline[:, None])
    assert (found.statistic, found.df) == (pytest.approx(t**2), 50)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 50))
    assert adjusted.interaction(outcome, in_a, in_a[:, None], baseline[:, None]) is None  # a level lacks an arm


def test_ancova_is_the_regression_of_residuals():
    """By Frisch, Waugh and Lovell: the outcome and the arm less what the covariate explains of each."""
    rng = np.random.default_rng(2)
    in_a, baseline = np.repeat([1.0, 0.0], [20, 24]), rng.normal(size=44)
    outcome = 3 * baseline - 1.5 * in_a + rng.normal(size=44)
    y, x = (v - np.polyval(np.polyfit(baseline, v, 1), baseline) for v in (outcome, in_a))
    expected = stats.linregress(x, y)
    found = adjusted.ancova(outcome, in_a, baseline[:, None], 0.95)
    se = expected.stderr * (42 / 41) ** 0.5  # the covariate takes one more degree of freedom
    assert (found.estimate, found.se, found.df) == (pytest.approx(expected.slope), pytest.approx(se), 41)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(expected.slope / se), 41))
    without = adjusted.ancova(outcome, in_a, np.ones((44, 1)), 0.95)  # a covariate that is constant
    assert without.p == pytest.approx(stats.ttest_ind(outcome[:20], outcome[20:]).pvalue)
    assert adjusted.ancova(outcome, in_a, in_a[:, None], 0.95) is None


def test_rank_ancova_is_the_analysis_of_variance_of_rank_residuals():
    rng = np.random.default_rng(3)
    in_a, baseline = np.repeat([1.0, 0.0], 15), rng.normal(size=30)
    outcome = np.exp(baseline - 0.8 * in_a + rng.normal(size=30))
    ranks, of_baseline = stats.rankdata(outcome), stats.rankdata(baseline)
    residual = ranks - np.polyval(np.polyfit(of_baseline, ranks, 1), of_baseline)
    t = stats.ttest_ind(residual[:15], residual[15:])
    found = adjusted.rank_ancova(outcome, in_a, baseline[:, None])
    assert (found.statistic, found.p) == (pytest.approx(t.statistic**2), pytest.approx(t.pvalue))
    assert adjusted.rank_ancova(np.log(outcome), in_a, np.exp(baseline)[:, None]).p == pytest.approx(found.p)


def test_the_bootstrap_of_the_median_difference_is_scipys():
    rng = np.random.default_rng(4)
    a, b = rng.lognormal(size=41), rng.lognormal(0.3, size=35)
    expected = stats.bootstrap(
        (a, b), lambda x, y, axis: np.median(x, axis) - np.median(y, axis), n_resamples=9999, rng=rng
    ).confidence_interval
    found = adjusted.median_difference(a, b, 0.95, 9999, 20200305)
    width = expected.high - expected.low
    assert found.estimate == np.median(a) - np.median(b)
    assert (found.low, found.high) == (
        pytest.approx(expected.low, abs=0.06 * width), pytest.approx(expected.high, abs=0.06 * width)
    )  # fmt: skip
    assert adjusted.median_difference(np.ones(9), np.ones(9), 0.95, 500, 1) is None


def _growth(keep=None):
    subjects, visits = (x.ravel() for x in np.indices(GROWTH.shape))
    used = np.ones(GROWTH.size, bool) if keep is None else keep.ravel()
    return GROWTH.ravel()[used], IS_GIRL[subjects][used].astype(float), subjects[used], visits[used]


def test_the_unstructured_model_of_the_growth_data_as_sas_prints_it():
    """PROC MIXED, method=ml, type=un: example "Repeated Measures", Jennrich and Schluchter's model 2."""
    y, girl, subjects, visits = _growth()
    age = 8.0 + 2 * visits
    found = fit(y, np.column_stack([np.ones_like(y), girl, age, girl * age]), subjects, visits, restricted=False)
    assert round(found.deviance, 1) == 419.5
    assert found.effects == pytest.approx([15.8423, 1.5831, 0.8268, -0.3504], abs=5e-5)
    errors = np.sqrt(np.diag(found.effects_covariance))
    assert errors == pytest.approx([0.9356, 1.4658, 0.07911, 0.1239], abs=5e-5)
    printed = [5.1192, 2.4409, 3.9279, 3.6105, 2.7175, 5.9798, 2.5222, 3.0624, 3.8235, 4.6180]
    assert found.covariance[np.tril_indices(4)] == pytest.approx(printed, abs=1.5e-4)


def test_complete_data_give_the_t_tests_of_the_visits():
    y, girl, subjects, visits = _growth()
    at = np.eye(4)[visits]
    found = fit(y, np.column_stack([at * girl[:, None], at]), subjects, visits)
    for visit in range(4):
        t = stats.ttest_ind(GROWTH[IS_GIRL, visit], GROWTH[~IS_GIRL, visit])
        effect = contrast(found, np.eye(8)[visit], 0.95)
        assert effect.statistic == pytest.approx(t.statistic, rel=1e-5)
        assert effect.df == pytest.approx(25, rel=1e-5)
        assert effect.p == pytest.approx(t.pvalue, rel=1e-4)


def _fev1():
    """Outcome, 1 for the treated, subject and visit of the FEV1 data that the R package mmrm ships."""
    lines = (Path(__file__).parent / "fev1.txt").read_text("utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    seen = [
        (float(cell), float(arm == "T"), subject, visit)
        for subject, (arm, *cells) in enumerate(rows)
        for visit, cell in enumerate(cells)
        if cell != "-"
    ]
    y, treated, subjects, visits = (np.array(column) for column in zip(*seen, strict=True))
    return y, treated, subjects, visits


def test_the_fev1_data_as_sas_prints_them_for_the_tests_of_mmrm():
    """PROC MIXED, type=un, reml, ddfm=satterthwaite of FEV1 = intercept: design/SAS/sas_log_simple_reml.txt.

    The procedure stopped 1e-5 above the least deviance (its criterion is 1e-8 of it), which moves the printed
    covariance by up to 3e-3 of an entry's standard error; hence the tolerance of the entries, in those errors.
    """
    y, _treated, subjects, visits = _fev1()
    assert (y.size, len(set(subjects))) == (537, 197)
    found = fit(y, np.ones((y.size, 1)), subjects, visits)
    assert found.deviance == pytest.approx(3700.94648570, abs=5e-5)
    assert found.deviance < 3700.94648570 + 1e-6
    effect = contrast(found, np.ones(1), 0.95)
    assert (effect.estimate, effect.se) == (pytest.approx(42.8338, abs=2e-3), pytest.approx(0.3509, abs=5e-5))
    assert round(effect.df) == 171
    order = [1, 2, 3, 0]  # SAS has the visits as 2, 3, 4, 1
    printed = [44.0193, 4.9722, 27.2643, -8.5335, 23.0555, 158.17, 49.8999, 2.7459, -40.4566, 113.63]
    errors = [6.2, 3.6, 4.0, 7.8, 8.5, 21.0, 9.7, 6.8, 13.2, 16.2]  # from the printed intervals
    entries = found.covariance[np.ix_(order, order)][np.tril_indices(4)]
    assert np.abs((entries - printed) / errors).max() < 3e-3


def test_kenward_and_roger_as_sas_gives_them_for_the_tests_of_mmrm():
    """ddfm=kr(linear), type=un of FEV1 = ARMCD: design/ddfm_covtype/kr1_us.csv; without it the SE is 0.639."""
    y, treated, subjects, visits = _fev1()
    found = fit(y, np.column_stack([treated, np.ones_like(y)]), subjects, visits)
    effect = contrast(found, np.array([1.0, 0.0]), 0.95, adjusted_covariance(found))
    assert effect.estimate == pytest.approx(3.81972492174648, rel=2e-5)
    assert effect.se == pytest.approx(0.66124382270307, rel=2e-4)
    assert effect.df == pytest.approx(160.733266403768, rel=5e-4)
    assert (effect.low, effect.high) == (
        pytest.approx(2.51387886026607, rel=2e-4),
        pytest.approx(5.12557098322688, rel=2e-4),
    )


def test_kenward_and_rogers_covariance_by_matrices_written_out():
    """The formula of the paper with every matrix in full; one entry is checked by its definition."""
    keep = np.ones((27, 4), bool)
    keep[:, 2:], keep[[1, 5, 13, 20, 22, 23], 1] = False, False
    y, girl, subjects, visits = _growth(keep)
    design = np.column_stack([np.eye(4)[visits][:, :2] * girl[:, None], np.eye(4)[visits][:, :2]])
    found = fit(y, design, subjects, visits)
    same = subjects[:, None] == subjects
    at = [np.equal.outer(visits, v).astype(float) for v in (0, 1)]
    pairs = [np.outer(a, b) * same for a, b in ((at[0], at[0]), (at[0], at[1]), (at[1], at[1]))]
    pairs[1] = pairs[1] + pairs[1].T
    v = sum(entry * pair for entry, pair in zip(found.covariance[[0, 0, 1], [0, 1, 1]], pairs, strict=True))
    inverse = np.linalg.inv(v)
    c = np.linalg.inv(design.T @ inverse @ design)
    project = inverse - inverse @ design @ c @ design.T @ inverse
    residual = project @ y

    def deviance_curvature(i, j):  # of log|V| + log|X'V^-1 X| + y'Py: -tr(P Vi P Vj) + 2 y'P Vi P Vj P y
        return -np.trace(project @ pairs[i] @ project @ pairs[j]) + 2 * (
            residual @ pairs[i] @ project @ pairs[j] @ residual
        )

    w = 2 * np.linalg.inv([[deviance_curvature(i, j) for j in range(3)] for i in range(3)])
    moved = [design.T @ inverse @ pair @ inverse for pair in pairs]
    inner = sum(
        w[i, j] * (moved[i] @ pairs[j] @ inverse @ design - moved[i] @ design @ c @ moved[j] @ design)
        for i in range(3)
        for j in range(3)
    )
    assert adjusted_covariance(found) == pytest.approx(c + 2 * c @ inner @ c, rel=1e-4)


def test_missing_visits_by_the_closed_form_of_two_visits():
    """Monotone and two visits: Anderson's factored likelihood gives the estimate of the second visit's mean."""
    keep = np.ones((27, 4), bool)
    keep[:, :2], keep[[1, 5, 13, 20, 22], 3] = False, False
    y, _girl, subjects, visits = _growth(keep)
    at = np.eye(4)[visits][:, 2:]
    found = fit(y, at, subjects, visits - 2, restricted=False)
    first, both = GROWTH[:, 2], keep[:, 3]
    line = stats.linregress(first[both], GROWTH[both, 3])
    assert found.effects[1] == pytest.approx(line.intercept + line.slope * first.mean(), rel=1e-5)
    left = GROWTH[both, 3] - line.intercept - line.slope * first[both]
    assert found.covariance[1, 1] == pytest.approx(line.slope**2 * first.var() + (left**2).mean(), rel=1e-4)


def test_satterthwaites_degrees_of_freedom_by_the_numerical_definition():
    """2 v^2 / (g' A g): v, g and A from the restricted likelihood written out and differentiated numerically."""
    keep = np.ones((27, 4), bool)
    keep[:, 2:], keep[[1, 5, 13, 20, 22, 23], 1] = False, False
    y, girl, subjects, visits = _growth(keep)
    design = np.column_stack([np.eye(4)[visits][:, :2] * girl[:, None], np.eye(4)[visits][:, :2]])
    found = fit(y, design, subjects, visits)

    def whole(theta):
        cells = {(0, 0): theta[0], (0, 1): theta[1], (1, 0): theta[1], (1, 1): theta[2]}
        v = np.array([[cells[a, b] if s == t else 0 for b, t in zip(visits, subjects, strict=True)]
                      for a, s in zip(visits, subjects, strict=True)])  # fmt: skip
        inverse = np.linalg.inv(v)
        precision = design.T @ inverse @ design
        beta = np.linalg.solve(precision, design.T @ inverse @ y)
        residual = y - design @ beta
        logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(precision)[1]
        return logs + residual @ inverse @ residual, np.linalg.inv(precision)[1, 1]

    theta, step = found.covariance[[0, 0, 1], [0, 1, 1]], 1e-2
    move = np.eye(3) * step
    gradient = [(whole(theta + m)[1] - whole(theta - m)[1]) / (2 * step) for m in move]
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    hessian = [
        [sum(s * t * whole(theta + s * m + t * n)[0] for s, t in signs) / (4 * step**2) for n in move]
        for m in move
    ]
    variance = whole(theta)[1]
    expected = 2 * variance**2 / (np.array(gradient) @ (2 * np.linalg.inv(hessian)) @ np.array(gradient))
    effect = contrast(found, np.eye(4)[1], 0.95)
    assert effect.se**2 == pytest.approx(variance, rel=1e-6)
    assert effect.df == pytest.approx(expected, rel=1e-3)
    assert 19 < effect.df < 25


P = (0.012, 0.03, 0.004, 0.2)


def test_graphs_that_are_older_procedures():
    uniform = [[0 if j == k else 1 / 3 for k in range(4)] for j in range(4)]
    assert graphical(P, [0.25] * 4, uniform) == pytest.approx(holm(P))
    chain = [[float(k == j + 1) for k in range(4)] for j in range(4)]
    assert graphical(P, [1, 0, 0, 0], chain) == pytest.approx([0.012, 0.03, 0.03, 0.2])


def test_the_graph_rejects_what_its_closed_test_rejects():
    """Every intersection by weighted Bonferroni, its weights found by removing the others in any order."""
    weights, passes = [0.5, 0.5, 0, 0], [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0], [1, 0, 0, 0]]

    def shares(kept):
        """By the simplex of Bretz et al.: what flows from those removed into those kept, in closed form."""
        gone = [k for k in range(4) if k not in kept]
        g = np.array(passes)
        flow = (
            np.linalg.solve(np.eye(len(gone)) - g[np.ix_(gone, gone)].T, np.array(weights)[gone]) if gone else []
        )
        return {k: weights[k] + sum(f * g[j, k] for f, j in zip(flow, gone, strict=True)) for k in kept}

    expected = [0.0] * 4
    for size in range(1, 5):
        for kept in combinations(range(4), size):
            of = min([P[k] / w for k, w in shares(kept).items() if w > 0], default=1.0)
            for k in kept:
                expected[k] = max(expected[k], min(1.0, of))
    assert graphical(P, weights, passes) == pytest.approx(expected)


def _family(name, procedure, p_values):
    hypotheses = [Hypothesis(measure="lesion", scale="x", visit=str(p)) for p in p_values]
    return Family(name=name, procedure=procedure, hypotheses=hypotheses)


def test_families_are_gates_for_those_that_follow():
    families = [
        _family("co-primary", "co_primary", (0.01, 0.03)),
        _family("key", "hierarchical", (0.001, 0.04, 0.002)),
        _family("rest", "holm", (0.03, 0.005)),
    ]
    rows = decisions(families, lambda of: ("a", "b", float(of.visit)), 0.05)
    assert [row.p_adjusted for row in rows] == pytest.approx([0.03, 0.03, 0.03, 0.04, 0.04, 0.04, 0.04])
    assert all(row.rejected for row in rows)
    closed = decisions(
        [_family("first", "holm", (0.06,)), *families], lambda of: ("a", "b", float(of.visit)), 0.05
    )
    assert not any(row.rejected for row in closed)
    unknown = decisions(families[1:2], lambda of: ("a", "b", None if of.visit == "0.04" else 0.001), 0.05)
    assert [row.rejected for row in unknown] == [True, False, False]
    assert adjust(families[2], (0.03, 0.005)) == pytest.approx(holm((0.03, 0.005)))
