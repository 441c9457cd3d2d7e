"""The analyses beside the table: what enters them, how they are named, and that nothing runs unasked."""

import numpy as np
import pytest
from scipy import stats
from trial_tables import RESULTS, VISITS, rows_of, scan, visit, write_csv

from volumetry.errors import ConfigError
from volumetry.trial import analyse, load_trial_config, run_trial
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

ARMS = ("cells", "dose 2", "placebo")


def _tables(folder, arms=ARMS[::2], visits=(("d10", 10), ("d28", 28)), per_arm=14):
    rng = np.random.default_rng(5)
    scans, rows = [], []
    for n in range(per_arm * len(arms)):
        arm, base = arms[n % len(arms)], rng.uniform(5, 40)
        facts = {"age": 40 + n, "site": str(n % 3 + 1)}
        scans.append(scan(f"{n}-0", lesion=base, solid=base / 5))
        rows.append(visit(n, "baseline", 0, f"{n}-0", arm=arm, walk_m=300 + n, **facts))
        for k, (name, day) in enumerate(visits):
            lost = n % 7 == k
            share = base * (0.9 - 0.1 * k - (0.1 if arm == "cells" else 0) + 0.1 * rng.standard_normal())
            if not lost:
                scans.append(scan(f"{n}-{day}", lesion=share, solid=share / rng.uniform(4, 7)))
            more = {"status": "missing"} if lost else {"walk_m": 320 + n + rng.integers(-20, 60)}
            rows.append(visit(n, name, day, "" if lost else f"{n}-{day}", arm=arm, **facts, **more))
    write_csv(folder / "results.csv", RESULTS, scans)
    write_csv(folder / "visits.csv", VISITS, rows)
    return folder


def _run(folder, settings):
    (folder / "mine.toml").write_text(settings, "utf-8")
    return run_trial(folder / "results.csv", folder / "visits.csv", folder / "out", folder / "mine.toml")


def _analysis(folder, settings):
    """Without the files."""
    (folder / "mine.toml").write_text(settings, "utf-8")
    config = load_trial_config(folder / "mine.toml")
    scans = read_results(folder / "results.csv")
    return analyse(read_visits(folder / "visits.csv", scans, config), scans, config)


ALL = """
[models]
analyses = ["ancova", "rank_ancova", "van_elteren", "median_difference", "mmrm"]
covariates = ["age"]
factors = ["site"]
strata = ["site"]
bootstrap_draws = 500
[responders]
thresholds = [{measure = "lesion", scale = "relative_percent", at_most = -20.0},
              {measure = "walk_m", scale = "change", at_most = 0.0}]
missing = "non_responder"
[[multiplicity.families]]
name = "co-primary"
procedure = "co_primary"
hypotheses = [{measure = "lesion", scale = "relative_percent", visit = "Day 28"},
              {measure = "walk_m", scale = "change", visit = "d28", method = "ancova"}]
[[multiplicity.families]]
name = "earlier"
procedure = "holm"
hypotheses = [{measure = "lesion", scale = "relative_percent", visit = "d10", method = "mmrm"}]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return _run(_tables(tmp_path_factory.mktemp("models")), ALL)


def test_every_analysis_has_its_lines_for_every_outcome(done):
    rows = rows_of(done.folder / "models.csv")
    keys = [(r["method"], r["measure"], r["scale"], r["visit"]) for r in rows]
    assert len(keys) == len(set(keys)) == 5 * 7 * 2  # three measures on two scales, and the walk
    assert {r["reason"] for r in rows} == {""}
    said = {r["method"]: r["adjusted_for"] for r in rows}
    assert said == {
        "ancova": "baseline;age;site",
        "rank_ancova": "baseline;age",
        "van_elteren": "site",
        "median_difference": "",
        "mmrm": "baseline_by_visit;age;site",
    }


def test_ancova_is_that_of_the_table_with_sites_as_groups(done):
    """By Frisch, Waugh and Lovell, from changes.csv."""
    at = [r for r in rows_of(done.folder / "changes.csv") if (r["measure"], r["visit"]) == ("lesion", "d28")]
    at = [r for r in at if r["relative_percent"]]
    site = np.array([[float(int(r["subject"]) % 3 == k) for k in range(3)] for r in at])
    others = np.column_stack([site, [float(r["baseline_percent"]) for r in at], [float(r["subject"]) for r in at]])
    y, x = np.array([[float(r["relative_percent"]), float(r["arm"] == "cells")] for r in at]).T
    y, x = (v - others @ np.linalg.lstsq(others, v, rcond=None)[0] for v in (y, x))
    expected = stats.linregress(x, y)
    row = next(
        r for r in rows_of(done.folder / "models.csv")
        if (r["method"], r["measure"], r["scale"], r["visit"]) == ("ancova", "lesion", "relative_percent", "d28")
    )  # fmt: skip
    assert float(row["estimate"]) == pytest.approx(expected.slope)
    assert int(float(row["df"])) == len(at) - 6
    assert float(row["se"]) == pytest.approx(expected.stderr * ((len(at) - 2) / (len(at) - 6)) ** 0.5)


def test_responders_and_families_are_decided_from_the_tables(done):
    events = {(r["outcome"], r["visit"]): r for r in rows_of(done.folder / "events.csv")}
    of = events["lesion relative_percent <= -20", "d28"]
    changes = [r for r in rows_of(done.folder / "changes.csv") if (r["measure"], r["visit"]) == ("lesion", "d28")]
    yes = {arm: sum(r["arm"] == arm and float(r["relative_percent"] or 0) <= -20 for r in changes) for arm in ARMS}
    assert (int(of["events_a"]), int(of["events_b"])) == (yes["cells"], yes["placebo"])
    assert (of["n_a"], of["n_b"]) == ("14", "14")  # those without the change count as no responders
    assert float(of["risk_difference_percent"]) == pytest.approx(100 * (yes["cells"] - yes["placebo"]) / 14)
    assert ("walk_m change <= 0", "d28") in events
    decided = rows_of(done.folder / "decisions.csv")
    endpoint = {(r["measure"], r["scale"], r["visit"]): r["p"] for r in rows_of(done.folder / "endpoint.csv")}
    assert decided[0]["p"] == endpoint["lesion", "relative_percent", "d28"]
    first = max(float(r["p"]) for r in decided[:2])
    assert [float(r["p_adjusted"]) for r in decided] == pytest.approx(
        [first, first, max(first, float(decided[2]["p"]))]
    )
    text = (done.folder / "methods.txt").read_text("utf-8")
    for said in (
        "ANCOVA: least squares",
        "degrees of freedom of Satterthwaite",
        "co-primary, 2 hypotheses",
        "Newcombe",
    ):
        assert said in text
    assert "Confirmatory tests" in (done.folder / "report.html").read_text("utf-8")


def test_three_arms_in_pairs_and_together(tmp_path):
    settings = '[arms]\ncompare = "all_pairs"\n[models]\nanalyses = ["kruskal_wallis", "ancova"]\n'
    done = _analysis(_tables(tmp_path, ARMS), settings)
    pairs = [("cells", "placebo"), ("dose 2", "placebo"), ("cells", "dose 2")]
    rows = [r for r in done.analyses if (r.measure, r.scale, r.visit) == ("lesion", "relative_percent", "d28")]
    assert [(r.arm_a, r.arm_b) for r in rows if r.method == "ancova"] == pairs
    of = [c for c in done.changes if (c.measure, c.visit) == ("lesion", "d28") and "relative_percent" in c.changes]
    groups = [[c.changes["relative_percent"] for c in of if c.arm == arm] for arm in ARMS]
    whole = next(r for r in rows if r.method == "kruskal_wallis")
    assert (whole.arm_a, whole.arm_b, whole.effect.df) == ("cells+dose 2+placebo", None, 2)
    assert whole.effect.p == pytest.approx(stats.kruskal(*groups).pvalue)
    assert list(dict.fromkeys((r.arm_a, r.arm_b) for r in done.endpoint)) == pairs


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('[models]\nanalyses = ["ancova"]\ncovariates = ["weight"]\n', "no covariate of the visits table is"),
        ('[models]\nanalyses = ["ancova"]\ncovariates = ["arm_code"]\n', "'arm_code'"),
        ('[responders]\nthresholds = [{measure = "lesion", scale = "odd", at_most = 0}]\n', "no change 'odd'"),
        ('[[multiplicity.families]]\nname = "a"\nprocedure = "holm"\nhypotheses = [{measure = "lesion", '
         'scale = "relative_percent", visit = "d90"}]\n', "no table has wilcoxon of lesion"),
        ('[[multiplicity.families]]\nname = "a"\nprocedure = "graphical"\nhypotheses = [{measure = "lesion", '
         'scale = "relative_percent", visit = "d28"}]\nweights = [1]\n', "1 weights and 1 transitions"),
    ],
)  # fmt: skip
def test_what_the_tables_lack_stops_the_run(tmp_path, settings, says):
    with pytest.raises(ConfigError, match=says):
        _analysis(_tables(tmp_path), settings)


def test_nothing_runs_unasked(tmp_path):
    done = _analysis(_tables(tmp_path), "")
    assert (done.analyses, done.decisions, done.visits.replaced) == ([], [], ())
