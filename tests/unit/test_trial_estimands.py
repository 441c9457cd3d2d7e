"""Analysis sets, intercurrent events and imputation: who is in, what counts, and what is drawn."""

import numpy as np
import pytest
from scipy import stats
from trial_tables import RESULTS, VISITS, scan, visit, write_csv

from volumetry.errors import ConfigError
from volumetry.trial import analyse, load_trial_config
from volumetry.trial.adjusted import Effect, ancova
from volumetry.trial.imputation import Incomplete, analysed, combined, imputed
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

# subject: arm, per protocol, day of rescue, lesion at baseline, d10 and d28 (None: no scan)
SUBJECTS = {
    "a1": ("cells", "Y", "", (20, 18, 10)),
    "a2": ("cells", "Y", "15", (20, 16, 4)),
    "a3": ("cells", "N", "", (20, 15, 12)),
    "p1": ("placebo", "Y", "", (20, 19, 16)),
    "p2": ("placebo", "N", "5", (20, 22, None)),
    "p3": ("placebo", "Y", "40", (20, 21, 18)),
}
DAYS = (("baseline", 0), ("d10", 10), ("d28", 28))
SETTINGS = """
[sets]
flags = [{name = "per protocol", column = "PPROTFL"}]
[estimands]
events = [{column = "rescue_day", strategies = ["hypothetical", "while_on_treatment", "composite"]}]
"""


def _analysis(folder, settings, subjects=SUBJECTS):
    scans, rows = [], []
    for subject, (arm, protocol, rescue, lesions) in subjects.items():
        for (name, day), lesion in zip(DAYS, lesions, strict=True):
            facts = {"arm": arm, "PPROTFL": protocol, "rescue_day": rescue}
            scan_id = "" if lesion is None else f"{subject}-{day}"
            scans += [] if lesion is None else [scan(scan_id, lesion=lesion)]
            rows.append(visit(subject, name, day, scan_id, walk_m=300 + day, **facts))
    scans = read_results(write_csv(folder / "results.csv", RESULTS, scans))
    (folder / "mine.toml").write_text(settings, "utf-8")
    config = load_trial_config(folder / "mine.toml")
    return analyse(read_visits(write_csv(folder / "visits.csv", VISITS, rows), scans, config), scans, config)


def _of(done, analysis, visit="d28", measure="lesion", scale="absolute_points"):
    found = [r for r in done.sensitivity if (r.analysis, r.measure, r.scale, r.visit)
             == (analysis, measure, scale, visit)]  # fmt: skip
    assert len(found) == 1
    return found[0]


def test_sets_and_strategies_use_the_values_that_they_should(tmp_path):
    """Points from 20 % at d28: cells -10, -16, -8; placebo -4, none, -2."""
    done = _analysis(tmp_path, SETTINGS)
    primary = next(r for r in done.endpoint if r.primary)
    assert (primary.a.n, primary.b.n) == (3, 2)  # treatment policy: a2's value after rescue counts
    protocol = _of(done, "set: per protocol")
    assert (protocol.a.n, protocol.a.mean, protocol.b.n, protocol.b.mean) == (2, -13, 2, -3)
    hypothetical = _of(done, "rescue_day: hypothetical")
    assert (hypothetical.a.n, hypothetical.a.mean, hypothetical.b.n) == (2, -9, 2)
    on_treatment = _of(done, "rescue_day: while_on_treatment")
    assert (on_treatment.a.n, on_treatment.a.mean) == (
        3,
        pytest.approx((-10 - 4 - 8) / 3),
    )  # a2: d10 stands for d28
    assert (on_treatment.b.n, on_treatment.b.mean) == (2, -3)  # p2 has no value up to day 5
    composite = _of(done, "rescue_day: composite")
    assert (composite.a.n, composite.b.n, composite.shift) == (3, 3, None)
    expected = stats.mannwhitneyu([-10, -8, 99], [-4, -2, 99], method="asymptotic", use_continuity=True).pvalue
    assert composite.test.p == pytest.approx(expected)
    assert _of(done, "set: per protocol", measure="walk_m", scale="change").a.n == 2
    assert not [r for r in done.sensitivity if r.measure == "walk_m" and "composite" in r.analysis]


def test_a_primary_set_is_what_every_table_is_about(tmp_path):
    done = _analysis(tmp_path, SETTINGS.replace("[estimands]", 'primary = "per protocol"\n[estimands]'))
    assert {c.subject for c in done.changes} == {"a1", "a2", "p1", "p3"}
    assert not [r for r in done.sensitivity if r.analysis.startswith("set:")]


@pytest.mark.parametrize(
    ("settings", "subjects", "says"),
    [
        (SETTINGS.replace("PPROTFL", "ITTFL"), SUBJECTS, "has no column in the visits table"),
        (SETTINGS, SUBJECTS | {"p3": ("placebo", "?", "", (20, 21, 18))}, "1 subjects have neither yes nor no"),
        (SETTINGS.replace("rescue_day", "rescue"), SUBJECTS, "no column 'rescue'"),
        (SETTINGS, SUBJECTS | {"p3": ("placebo", "Y", "May", (20, 21, 18))}, "must hold days as numbers"),
        ('[sets]\nprimary = "safety"\n', SUBJECTS, "'safety' is not the name of a set"),
    ],
)
def test_a_set_or_an_event_that_nobody_can_read_stops_the_run(tmp_path, settings, subjects, says):
    with pytest.raises(ConfigError, match=says):
        _analysis(tmp_path, settings, subjects)


def _drawn(n=400, drop=0.3, seed=6):
    """Two visits; arm a differs by -10 and -20; a share of both arms has no second visit."""
    rng = np.random.default_rng(seed)
    in_a = np.arange(n) < n // 2
    half = np.linalg.cholesky(np.array([[25, 5, 5], [5, 100, 60], [5, 60, 120.0]]))
    values = rng.standard_normal((n, 3)) @ half.T + np.where(in_a[:, None], [20, -20, -40], [20, -10, -20])
    whole = values.copy()
    values[rng.random(n) < drop, 2] = np.nan
    return Incomplete(values, in_a, np.zeros(values.shape, bool)), whole


def test_with_nothing_absent_every_method_is_ancova():
    table, whole = _drawn(n=60, drop=0.0)
    done = list(imputed(table, ("mar", "j2r", "cir"), 5, 1))
    expected = ancova(whole[:, 2], table.in_a.astype(float), whole[:, :1], 0.95)
    for method in ("mar", "j2r", "cir"):
        effect = analysed(table, [d[method] for d in done], 2, 0.95)
        assert (effect.estimate, effect.se, effect.df) == (
            pytest.approx(expected.estimate), pytest.approx(expected.se), pytest.approx(expected.df)
        )  # fmt: skip


def test_imputed_means_are_those_of_the_conditional_distribution():
    """Against regression by hand: the second visit given baseline and first."""
    table, _whole = _drawn()
    done = list(imputed(table, ("mar", "j2r", "cir"), 60, 2))
    y, in_a = table.values, table.in_a
    seen = ~np.isnan(y[:, 2])
    means = {arm: np.nanmean(y[in_a == arm], axis=0) for arm in (True, False)}
    design = np.column_stack([in_a, ~in_a, y[:, :2]]).astype(float)
    slopes = np.linalg.lstsq(design[seen], y[seen, 2], rcond=None)[0]
    gone = ~seen & in_a
    own = slopes[0] + y[gone, :2] @ slopes[2:]
    mean_2 = {arm: slopes[0 if arm else 1] + means[arm][:2] @ slopes[2:] for arm in (True, False)}
    from_first = y[gone, :2] - means[True][:2]
    jump = mean_2[False] + from_first @ slopes[2:]
    copied = mean_2[False] + means[True][1] - means[False][1] + from_first @ slopes[2:]
    for method, expected in (("mar", own), ("j2r", jump), ("cir", copied)):
        found = np.mean([d[method][gone, 2].mean() for d in done])
        assert found == pytest.approx(expected.mean(), abs=1.0), method
    spread = np.mean([d["mar"][gone, 2].var() for d in done]) - own.var()
    assert spread == pytest.approx((y[seen, 2] - design[seen] @ slopes).var(), rel=0.2)


def test_a_delta_moves_the_estimate_by_the_share_that_was_imputed():
    table, _whole = _drawn()
    done = [d["mar"] for d in imputed(table, ("mar",), 5, 3)]
    absent = np.isnan(table.values[:, 2])
    plain, moved = (analysed(table, done, 2, 0.95, delta) for delta in (0.0, 10.0))
    shifts = [
        ancova(10.0 * (absent & table.in_a), table.in_a.astype(float), values[:, :1], 0.95).estimate
        for values in done
    ]
    assert moved.estimate - plain.estimate == pytest.approx(np.mean(shifts))
    assert np.mean(shifts) == pytest.approx(10 * absent[table.in_a].mean(), abs=0.05)


def test_rubins_rules_by_hand():
    """Estimates 1, 2, 3 with errors 1: within 1, between 1, total 1 + 4/3."""
    effects = [Effect(0.5, 0.0, 20, estimate, 1.0) for estimate in (1.0, 2.0, 3.0)]
    found = combined(effects, 20, 0.95)
    lam = (4 / 3) / (7 / 3)
    old, observed = 2 / lam**2, 21 / 23 * 20 * (1 - lam)
    assert (found.estimate, found.se) == (pytest.approx(2), pytest.approx((7 / 3) ** 0.5))
    assert found.df == pytest.approx(1 / (1 / old + 1 / observed))


def test_imputation_fills_models_with_its_methods(tmp_path):
    rng = np.random.default_rng(8)
    subjects = {}
    for n in range(40):
        base = rng.uniform(10, 40)
        lesions = (base, base * rng.uniform(0.7, 1.0), None if n % 5 == 0 else base * rng.uniform(0.4, 0.9))
        subjects[f"{n}"] = (("cells", "placebo")[n % 2], "Y", "", lesions)
    settings = '[estimands]\nimputation = ["mar", "j2r"]\nimputations = 5\ndeltas = [5]\n'
    done = _analysis(tmp_path, settings, subjects)
    rows = {
        r.method: r
        for r in done.analyses
        if (r.measure, r.scale, r.visit) == ("lesion", "relative_percent", "d28")
    }
    assert set(rows) == {"mi_mar", "mi_j2r", "mi_mar_delta_5"}
    assert {(r.n_a, r.n_b, r.reason) for r in rows.values()} == {(20, 20, "")}
    assert rows["mi_mar_delta_5"].effect.estimate > rows["mi_mar"].effect.estimate
