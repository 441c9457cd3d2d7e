"""Arms against the reference, the analyses under other rules, counts, and error carried into the difference."""

import numpy as np
import pytest
from scipy import stats
from trial_tables import read, scan, visit

from volumetry.errors import ConfigError
from volumetry.measure.components import REGISTERED_CUTS, bin_names
from volumetry.trial import methods_text
from volumetry.trial.compare import carried_forward, compare, contrasts_of
from volumetry.trial.config import TrialConfig, load_trial_config
from volumetry.trial.run import analyse

CONFIG = load_trial_config()


def _with(section, **values) -> TrialConfig:
    return CONFIG.model_copy(update={section: getattr(CONFIG, section).model_copy(update=values)})


def _trial(tmp_path, changes, config=CONFIG, arms=("UC-MSC", "placebo"), **extra):
    """Subjects with a baseline lesion of 10 % and these relative changes at d28 and d90 (None: no row)."""
    scans, rows = [], []
    for n, (arm, subjects) in enumerate(zip(arms, changes, strict=True)):
        for place, later in enumerate(subjects):
            subject = f"{n}-{place}"
            scans.append(scan(f"{subject}-0", lesion=10, **extra))
            rows.append(visit(subject, "baseline", 0, f"{subject}-0", arm=arm))
            for name, day, change in zip(("d28", "d90"), (28, 90), later, strict=False):
                if isinstance(change, str):
                    rows.append(visit(subject, name, day, status=change, arm=arm))
                elif change is not None:
                    scan_id = f"{subject}-{day}"
                    lung = 4800.0 if change == 0.5 else 4000.0
                    scans.append(scan(scan_id, lesion=10 + change / 10, solid=2 + change / 50, lung=lung, **extra))
                    rows.append(visit(subject, name, day, scan_id, arm=arm))
    known, visits = read(tmp_path, scans, rows, config)
    return analyse(visits, known, config)


def _lesion(rows, visit_name="d28", scale="relative_percent", analysis=None):
    found = [r for r in rows if (r.measure, r.visit, r.scale) == ("lesion", visit_name, scale)]
    return next(r for r in found if analysis is None or r.analysis == analysis)


def test_e8_through_the_whole_engine(tmp_path):
    a, b = (-60, -40, -20, -10, 5), (-30, -5, 0, 30)
    row = _lesion(_trial(tmp_path, ([(x,) for x in a], [(x,) for x in b])).endpoint)
    assert (row.arm_a, row.arm_b, row.a.n, row.b.n) == ("UC-MSC", "placebo", 5, 4)
    assert row.shift == pytest.approx(-22.5)
    assert (row.interval.low, row.interval.high) == (pytest.approx(-70), pytest.approx(20))
    assert row.test.p == pytest.approx(0.2857, abs=5e-5)
    assert (row.a.median, row.a.q1, row.a.q3) == (pytest.approx(-20), pytest.approx(-40), pytest.approx(-10))
    assert row.primary


def test_worst_rank_puts_every_death_behind_all_values(tmp_path):
    trial = _trial(tmp_path, ([(-50,), (-40,), (-30,), (-20,)], [(-10,), (-5,), ("died",), ("died",)]))
    worst = _lesion(trial.sensitivity, analysis="worst_rank_death")
    expected = stats.mannwhitneyu([1, 2, 3, 4], [5, 6, 7, 7], method="asymptotic").pvalue
    assert worst.test.p == pytest.approx(expected)
    assert (worst.a.n, worst.b.n, worst.shift) == (4, 4, None)
    assert _lesion(trial.endpoint).b.n == 2


def test_withdrawn_and_missing_are_no_deaths(tmp_path):
    trial = _trial(tmp_path, ([(-50,), (-40,)], [(-10,), ("withdrawn",), ("missing",)]))
    assert _lesion(trial.sensitivity, analysis="worst_rank_death").b.n == 1


def test_the_last_follow_up_is_carried_forward_but_not_for_the_dead_nor_from_baseline(tmp_path):
    placebo = [(-8, "missing"), (-6, "withdrawn"), (-4, "died"), ("missing", "missing"), (-2, -20)]
    trial = _trial(tmp_path, ([(-50, -60), (-40, None)], placebo))
    row = _lesion(trial.sensitivity, "d90", analysis="last_observation_carried_forward")
    assert (row.a.n, row.b.n) == (2, 3)
    assert row.b.median == pytest.approx(-8)
    values = {
        c.subject: c.changes.get("relative_percent") for c in carried_forward(trial.changes) if c.visit == "d90"
    }
    assert values["0-1"] == pytest.approx(-40)
    assert values["1-2"] is None
    assert values["1-3"] is None


def _read_and_analysed(tmp_path, scans, rows, config=CONFIG):
    known, visits = read(tmp_path, scans, rows, config)
    return analyse(visits, known, config)


def test_each_scale_is_carried_forward_by_itself(tmp_path):
    """A baseline of 0 % that grows to 2 % and is then missing: +2 points at d90, and no relative change."""
    rows = [visit("1", "baseline", 0, "p0", arm="placebo"), visit("1", "d28", 28, "p28", arm="placebo"),
            visit("1", "d90", 90, status="missing", arm="placebo"),
            visit("2", "baseline", 0, "a0", arm="cells"), visit("2", "d28", 28, "a28", arm="cells"),
            visit("2", "d90", 90, "a90", arm="cells")]  # fmt: skip
    scans = [scan("p0", lesion=0, solid=0), scan("p28", lesion=2), scan("a0", lesion=10), scan("a28", lesion=9),
             scan("a90", lesion=7)]  # fmt: skip
    trial = _read_and_analysed(tmp_path, scans, rows)
    points, relative = (
        _lesion(trial.sensitivity, "d90", scale, "last_observation_carried_forward")
        for scale in ("absolute_points", "relative_percent")
    )
    assert (points.a.n, points.b.n, points.shift) == (1, 1, -5)  # -3 points against +2
    assert (relative.a.n, relative.b.n, relative.reasons) == (1, 0, ("NO_VALUES:placebo",))


@pytest.mark.parametrize(
    "baseline",
    [scan("p2-0", status="refused", code="NO_RESCALE"), scan("p2-0", lesion=0, solid=0), None],
    ids=["refused", "zero", "no scan"],
)
def test_a_death_needs_no_baseline_to_rank_last(tmp_path, baseline):
    changes = {"a1": -5, "a2": -4, "a3": -3, "p1": -1}
    scans = [scan(f"{s}-0", lesion=10) for s in changes] + [
        scan(f"{s}-28", lesion=10 + x) for s, x in changes.items()
    ]
    rows = [visit(s, v, d, f"{s}-{d}", arm="cells" if s[0] == "a" else "placebo") for s in changes
            for v, d in (("baseline", 0), ("d28", 28))]  # fmt: skip
    rows += [visit("p2", "baseline", 0, "p2-0" if baseline else "", arm="placebo"),
             visit("p2", "d28", 28, status="died", arm="placebo")]  # fmt: skip
    trial = _read_and_analysed(tmp_path, scans + ([baseline] if baseline else []), rows)
    for scale in ("relative_percent", "absolute_points"):
        worst = _lesion(trial.sensitivity, "d28", scale, "worst_rank_death")
        assert (worst.a.n, worst.b.n) == (3, 2)
        # 1, 2, 3 against 4, 5: no pair is the other way round, so 2 of the 10 arrangements are as extreme
        assert worst.test.p == pytest.approx(0.2)


def test_an_end_of_zero_that_the_test_rejects_is_named():
    """Whole numbers: with a shift of 0 the arms have ties, which no shift beside it has."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        m, n = rng.integers(8, 40, 2)
        a, b = rng.normal(0, 4, m).round(), rng.normal(rng.uniform(0, 4), 4, n).round()
        row = compare(("x", "placebo"), {"x": a, "placebo": b}, CONFIG.statistics)
        p = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
        beside = [stats.mannwhitneyu(a - side, b, method="asymptotic").pvalue for side in (-1e-6, 1e-6)]
        assert row.test.p == pytest.approx(p)
        is_open_end = p < 0.05 < max(beside)
        assert ("ZERO_IS_AN_OPEN_END" in row.reasons) == is_open_end
        assert (0 in (row.interval.low, row.interval.high)) >= is_open_end
        found.append(is_open_end)
    assert True in found
    assert False in found


def test_a_death_on_an_unscheduled_row_ranks_last_and_carries_nothing(tmp_path):
    """As a data capture system exports it: empty planned rows, and the death on a row of its own on day 40."""
    rows = [visit("p", "baseline", 0, "p0", arm="placebo"), visit("p", "d28", 28, "p28", arm="placebo"),
            visit("p", "d90", "", arm="placebo"), visit("p", "unscheduled", 40, status="died", arm="placebo"),
            visit("a", "baseline", 0, "a0", arm="cells"), visit("a", "d28", 28, "a28", arm="cells"),
            visit("a", "d90", 90, "a90", arm="cells")]  # fmt: skip
    trial = _read_and_analysed(tmp_path, [scan(name) for name in ("p0", "p28", "a0", "a28", "a90")], rows)
    assert _lesion(trial.sensitivity, "d28", analysis="worst_rank_death").b.n == 1  # scanned before the death
    assert _lesion(trial.sensitivity, "d90", analysis="worst_rank_death").b.n == 1
    assert _lesion(trial.sensitivity, "d90", analysis="last_observation_carried_forward").b.n == 0


def test_pairs_of_grade_c_are_kept_and_left_out_in_one_analysis(tmp_path):
    trial = _trial(tmp_path, ([(-50,), (-40,), (-30,)], [(-10,), (-5,), (0.5,)]))  # 0.5 marks a 20 % deeper breath
    assert _lesion(trial.endpoint).b.n == 3
    assert _lesion(trial.sensitivity, analysis="without_grade_c").b.n == 2


def test_holm_is_over_measures_and_visits_within_a_scale(tmp_path):
    groups = ([(x, x - 3) for x in (-50, -45, -40, -35)], [(x, x + 1) for x in (-12, -9, -6, -4)])
    rows = _trial(tmp_path, groups, _with("statistics", multiplicity="holm")).endpoint
    of_scale = [r for r in rows if r.scale == "relative_percent"]
    p = [r.test.p for r in of_scale]
    assert len(p) == 6
    smallest = of_scale[int(np.argmin(p))]
    assert smallest.p_holm == pytest.approx(min(1, 6 * smallest.test.p))
    assert all(r.p_holm is None for r in _trial(tmp_path, groups).endpoint)


def test_without_arms_everybody_is_pooled_and_nothing_compared(tmp_path):
    trial = _trial(tmp_path, ([(-50,), (-40,)], [(-10,)]), arms=("", ""))
    row = _lesion(trial.endpoint)
    assert (row.arm_a, row.arm_b, row.b, row.shift, row.test) == ("all", None, None, None, None)
    assert row.reasons == ("ONE_ARM",)
    assert trial.visits.arms == {}


def test_three_arms_are_each_compared_with_the_reference(tmp_path):
    trial = _trial(tmp_path, ([(-50,)], [(-40,)], [(-10,)]), arms=("high", "low", "placebo"))
    rows = [r for r in trial.endpoint if r.measure == "lesion" and r.scale == "relative_percent"]
    assert [(r.arm_a, r.arm_b, r.shift) for r in rows] == [
        ("high", "placebo", pytest.approx(-40)),
        ("low", "placebo", pytest.approx(-30)),
    ]


def test_the_reference_is_named_never_guessed():
    assert contrasts_of(["B", "A"], CONFIG) == (("A", "B"),)
    assert contrasts_of(["Placebo", "cells"], CONFIG) == (("cells", "Placebo"),)
    with pytest.raises(ConfigError, match="is an arm of the table \\(X, Y\\)"):
        contrasts_of(["X", "Y"], CONFIG)
    assert contrasts_of(["X", "Y"], _with("arms", reference=("x",))) == (("Y", "X"),)


def test_an_empty_arm_says_so(tmp_path):
    row = _lesion(_trial(tmp_path, ([(-50,), (-40,)], [("died",)])).endpoint)
    assert (row.shift, row.reasons) == (None, ("NO_VALUES:placebo",))


def test_normal_ct_is_counted_among_those_with_a_number(tmp_path):
    trial = _trial(tmp_path, ([(-95,), (-91,), (-50,)], [(-10,), (-20,), ("missing",)]))
    row = next(e for e in trial.events if e.outcome == "normal_ct" and e.visit == "d28")
    assert (row.events_a, row.n_a, row.events_b, row.n_b) == (2, 3, 0, 2)
    assert row.p == pytest.approx(stats.fisher_exact([[2, 1], [0, 2]]).pvalue)
    assert (row.odds_ratio, row.reason) == (None, "ZERO_CELL")
    limit = _with("normal_ct", lesion_percent_below=9.5)
    event = next(e for e in _trial(tmp_path, ([(-95,), (-1,)], [(-10,), (-2,)]), limit).events if e.visit == "d28")
    assert (event.events_a, event.events_b, event.odds_ratio) == (1, 1, 1.0)


def test_where_no_scan_states_an_interval_there_is_none_of_the_difference(tmp_path):
    trial = _trial(tmp_path, ([(-50,), (-40,)], [(-10,), (-5,)]))
    assert all(row.measurement is None for row in trial.endpoint)


@pytest.mark.parametrize("levels", [(None,) * 4, (0.95,) * 4, (0.8,) * 4, (0.95, 0.8, 0.5, 0.99)])
def test_measurement_error_of_one_pair_follows_the_normal_formula(tmp_path, levels):
    """One subject per arm: the shift in points is a sum of four normals, whose interval is a formula.

    An interval of level L reaches z((1 + L) / 2) standard deviations to each side.
    """
    from trial_tables import RESULTS, VISITS, write_csv

    from volumetry.trial.results import read_results
    from volumetry.trial.visits import read_visits

    values = {"a0": 20.0, "a1": 15.0, "b0": 30.0, "b1": 28.0}
    half = {"a0": 1.0, "a1": 2.0, "b0": 1.5, "b1": 0.5}
    stated = dict(zip(values, levels, strict=True))
    scans = [
        scan(name, lesion=x, **{"interval_percent.lesion": f"{x - half[name]};{x + half[name]}"})
        | ({} if stated[name] is None else {"interval_level": stated[name]})
        for name, x in values.items()
    ]
    rows = [visit(s, v, d, f"{s}{n}", arm=a) for s, a in (("a", "X"), ("b", "placebo")) for n, v, d in
            ((0, "baseline", 0), (1, "d28", 28))]  # fmt: skip
    config = _with("statistics", simulations=20000)
    known = read_results(write_csv(tmp_path / "results.csv", RESULTS, scans))
    visits = read_visits(write_csv(tmp_path / "visits.csv", VISITS, rows), known, config)
    trial = analyse(visits, known, config)
    row = _lesion(trial.endpoint, scale="absolute_points")
    z = {name: stats.norm.ppf((1 + (level or 0.95)) / 2) for name, level in stated.items()}
    reach = stats.norm.ppf(0.975) * np.sqrt(sum((half[name] / z[name]) ** 2 for name in half))
    assert row.shift == pytest.approx(-3)
    # The standard error of a 2.5 % quantile of 20000 draws is 0.0096 of the reach: three of them.
    near = 0.03 * reach
    assert row.measurement == (pytest.approx(-3 - reach, abs=near), pytest.approx(-3 + reach, abs=near))
    again = _lesion(analyse(visits, known, config).endpoint, scale="absolute_points")
    assert again.measurement == row.measurement


@pytest.mark.parametrize("others", [{"boundary": 0.6}, {"boundary": 0.36, "floor": 0.48}])
@pytest.mark.parametrize("scale", ["absolute_points", "relative_percent"])
def test_the_models_own_part_of_the_error_moves_all_scans_together(tmp_path, scale, others):
    """One subject per arm. Parts 0.8 (reference) and 0.6 (others) make 1.0, so 0.8 of each deviation is common.

    Points: (a1 - a0) - (b1 - b0) has the variance (0.8 (s_a1 - s_a0 - s_b1 + s_b0))^2 + 0.6^2 (sum of s^2).
    Relative change, to first order: x1 / x0 moves by x1 / x0 (s1 / x1 - s0 / x0), each s / x being 2 %: the common
    part cancels, and 0.6 x 2 % of each of the four remains.
    """
    values = {"a0": 20.0, "a1": 15.0, "b0": 30.0, "b1": 28.0}
    half = (
        dict.fromkeys(values, 0.02)
        if scale == "relative_percent"
        else {"a0": 0.05, "a1": 0.1, "b0": 0.05, "b1": 0.02}
    )
    half = {name: fraction * values[name] for name, fraction in half.items()}
    z = stats.norm.ppf(0.975)
    scans = [
        scan(name, lesion=x, interval_level=0.95)
        | {
            "interval_percent.lesion": f"{x - z * half[name]};{x + z * half[name]}",
            "interval_parts.reference.lesion": 0.8,
            **{f"interval_parts.{part}.lesion": points for part, points in others.items()},
        }
        for name, x in values.items()
    ]
    rows = [visit(s, v, d, f"{s}{n}", arm=a) for s, a in (("a", "X"), ("b", "placebo")) for n, v, d in
            ((0, "baseline", 0), (1, "d28", 28))]  # fmt: skip
    row = _lesion(
        _read_and_analysed(tmp_path, scans, rows, _with("statistics", simulations=20000)).endpoint, scale=scale
    )
    if scale == "absolute_points":
        common = half["a1"] - half["a0"] - half["b1"] + half["b0"]
        sd, shift = np.hypot(0.8 * common, 0.6 * np.sqrt(sum(s**2 for s in half.values()))), -3
    else:
        ratios = (15 / 20, 28 / 30)
        sd = 100 * 0.6 * 0.02 * np.sqrt(2 * (ratios[0] ** 2 + ratios[1] ** 2))
        shift = 100 * (ratios[0] - ratios[1])
    # three standard errors of the quantile of 20000 draws, and for the ratio 2 % for the second order
    near = (0.03 if scale == "absolute_points" else 0.05) * z * sd
    assert row.shift == pytest.approx(shift)
    assert row.measurement == (pytest.approx(shift - z * sd, abs=near), pytest.approx(shift + z * sd, abs=near))


def _said(tmp_path, scans):
    rows = [visit("a", "baseline", 0, "a0", arm="X"), visit("a", "d28", 28, "a1", arm="X")]
    known, visits = read(tmp_path, scans, rows, CONFIG)
    trial = analyse(visits, known, CONFIG)
    warnings = methods_text.warnings_of(trial.placements, visits, known, trial.changes, CONFIG)
    methods = methods_text.methods(visits, trial.changes, list(known.values()), CONFIG)
    return " ".join(warnings), " ".join(methods)


def test_the_level_of_the_intervals_is_the_scans_own(tmp_path):
    spans = {"interval_percent.lesion": "8;12"}
    levels = {"interval_level": 0.8}
    warnings, methods = _said(tmp_path, [scan(name, **spans, **levels) for name in ("a0", "a1")])
    assert "level" not in warnings
    assert "interval for each scan (level 80 %)" in methods
    warnings, methods = _said(tmp_path, [scan("a0", **spans, **levels), scan("a1", **spans, interval_level=0.9)])
    assert "not all of one level (80 % in 1, 90 % in 1 scans)" in warnings
    assert "(level 80, 90 %)" in methods
    warnings, methods = _said(tmp_path, [scan("a0", **spans, **levels), scan("a1", **spans)])
    assert "1 scans state an interval without its level; 95 % (interval_level) was assumed." in warnings


def test_the_methods_state_the_cuts_that_the_results_name(tmp_path):
    def said(names):
        more = {f"hu_bins_ml.{name}": 1.0 for name in names}
        return _said(tmp_path, [scan(name, component_rule="hu", **more) for name in ("a0", "a1")])[1]

    assert "divided by HU (-750 to below -300 ground glass, -300 to 50 solid;" in said(bin_names(REGISTERED_CUTS))
    other = said(bin_names((-700.0, -200.5, 30.0)))
    assert "HU (-700 to below -200.5 ground glass, -200.5 to 30 solid; lesion outside -700 to 30" in other
    assert "divided by HU, at cuts that the results do not state" in said(())


def test_summaries_hold_the_baseline_too(tmp_path):
    rows = _trial(tmp_path, ([(-50,), (-40,)], [(-10,)])).summaries
    base = next(
        r for r in rows if (r.measure, r.quantity, r.visit, r.arm) == ("lesion", "percent", "baseline", "UC-MSC")
    )
    assert (base.summary.n, base.summary.median) == (2, 10)


def test_the_model_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "statsmodels.regression.mixed_linear_model", None)
    groups = ([(-50, -60), (-40, -55)], [(-10, -20), (-5, -12)])
    assert list(_trial(tmp_path, groups).models) == []
    with pytest.raises(ConfigError, match="needs statsmodels") as stop:
        _trial(tmp_path, groups, _with("statistics", repeated_measures=True))
    assert "volumetry[mixed]" in stop.value.hint


def test_the_model_gives_each_visit_of_each_measure(tmp_path):
    pytest.importorskip("statsmodels", reason="the extra `mixed` is not installed")
    noise = (-4.1, 3.2, 0.9, -1.8, 2.6, -0.7, 1.3, -2.2)
    groups = ([(-50 + x, -60 + x + y) for x, y in zip(noise, reversed(noise), strict=True)],
              [(-10 + x, -20 + x - y) for x, y in zip(noise, reversed(noise), strict=True)])  # fmt: skip
    rows = _trial(tmp_path, groups, _with("statistics", repeated_measures=True)).models
    assert [(r.visit, r.n_subjects) for r in rows if r.measure == "lesion"] == [("d28", 16), ("d90", 16)] * 2
    first = next(r for r in rows if r.scale == "relative_percent")
    assert first.difference == pytest.approx(-40, abs=1e-6)  # balanced: the difference of the means
    assert first.ci_low < -40 < first.ci_high
