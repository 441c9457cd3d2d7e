"""The tables of NCT04288102 come from the default settings, row by row."""

import pytest
from trial_tables import RESULTS, VISITS, rows_of, scan, visit, write_csv

from volumetry.trial import run_trial

VISIT_DAYS = {"baseline": 0, "d10": 10, "d28": 28, "d90": 90, "m6": 180, "m9": 270, "m12": 365, "m36": 1095}
NORMAL = {  # normal CTs and scans of UC-MSC and placebo: month 12 of the second paper, month 36 of the fourth
    "m12": {"UC-MSC": (10, 56), "placebo": (0, 30)},
    "m36": {"UC-MSC": (23, 49), "placebo": (10, 29)},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """65 and 35 subjects; a scan below 1 % is normal, and those beyond the papers' numbers are missing."""
    folder = tmp_path_factory.mktemp("nct")
    scans, visits = [], []
    for arm, size in (("UC-MSC", 65), ("placebo", 35)):
        for n in range(size):
            subject = f"{arm}-{n:02d}"
            for place, (name, day) in enumerate(VISIT_DAYS.items()):
                normal, known = NORMAL.get(name, {}).get(arm, (0, size))
                if n >= known:
                    visits.append(visit(subject, name, day, arm=arm, status="missing"))
                    continue
                lesion = (
                    0.5 if n < normal else (12 + n / 10) * (1 - 0.08 * place - (0.01 if arm != "placebo" else 0))
                )
                scans.append(scan(f"{subject}-{name}", lesion, lesion / 4))
                visits.append(visit(subject, name, day, f"{subject}-{name}", arm=arm))
    write_csv(folder / "results.csv", RESULTS, scans)
    write_csv(folder / "visits.csv", VISITS, visits)
    return run_trial(folder / "results.csv", folder / "visits.csv", folder / "out").folder


def test_a_block_for_each_component_and_its_rows_in_the_order_of_the_visits(done):
    rows = [(r["\ufeffarm_a"], r["arm_b"], r["measure"], r["row"]) for r in rows_of(done / "table.csv")]
    expected = []
    for title in ("Total lesion", "Solid component", "Ground glass"):
        expected.append(("UC-MSC", "placebo", title, "baseline, % of lung"))
        for name in list(VISIT_DAYS)[1:]:
            scales = ("% of lung", "relative change, %", "absolute change, points")
            expected += [("UC-MSC", "placebo", title, f"{name}, {scale}") for scale in scales]
    assert rows == expected


def test_the_primary_endpoint_is_the_registered_one(done):
    (row,) = [r for r in rows_of(done / "endpoint.csv") if r["primary"] == "yes"]
    assert (row["measure"], row["scale"], row["visit"]) == ("lesion", "relative_percent", "d28")
    assert (row["n_a"], row["n_b"]) == ("65", "35")


def test_normal_ct_has_the_figures_of_the_papers(done):
    """Month 12: 10/56 against 0/30, p 0.013. Month 36: 23/49 against 10/29, odds ratio 1.68 (0.65, 4.34)."""
    rows = {r["visit"]: r for r in rows_of(done / "events.csv") if r["outcome"] == "normal_ct"}
    year_1, year_3 = rows["m12"], rows["m36"]
    assert [year_1[name] for name in ("events_a", "n_a", "events_b", "n_b")] == ["10", "56", "0", "30"]
    assert round(float(year_1["p"]), 3) == 0.013
    assert [round(float(year_3[name]), 2) for name in ("odds_ratio", "ci_low", "ci_high")] == [1.68, 0.65, 4.34]
    assert [round(float(year_3[name]), 2) for name in ("percent_a", "percent_b")] == [46.94, 34.48]
