"""Change from baseline and the comparability of pairs: acceptance numbers E1 to E4, and every reason."""

import pytest
from trial_tables import read, scan, visit

from volumetry.deliver.row import columns as results_columns
from volumetry.trial import change as change_room
from volumetry.trial.change import changes_of
from volumetry.trial.comparability import grade_pair
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import read_results

CONFIG = load_trial_config()


def _changes(tmp_path, base, after, **more):
    rows = [visit("1", "baseline", 0, "base"), visit("1", "d28", 28, "after") | more]
    if more.get("status"):
        rows[1]["scan_id"] = ""
    scans, visits = read(tmp_path, [base, after], rows, CONFIG)
    return {c.measure: c for c in changes_of(visits, scans, CONFIG) if not c.is_baseline}


def test_e1_e2_relative_percent_and_absolute_points(tmp_path):
    found = _changes(tmp_path, scan("base", lesion=10), scan("after", lesion=8.5))["lesion"]
    assert found.levels["baseline_ml"] == pytest.approx(400)  # E1: 400 of 4000 mL is 10 %
    assert found.levels["baseline_percent"] == 10
    assert found.changes["relative_percent"] == pytest.approx(-15)
    assert found.changes["absolute_points"] == pytest.approx(-1.5)
    assert found.changes["change_ml"] == pytest.approx(-60)
    assert found.reason is None


def test_e3_a_deeper_breath_moves_the_endpoint_without_disease(tmp_path):
    found = _changes(tmp_path, scan("base", lesion=10), scan("after", lesion=100 / 11, lung=4400.0))["lesion"]
    assert found.changes["relative_percent"] == pytest.approx(-9.0909, abs=5e-5)
    assert found.changes["absolute_points"] == pytest.approx(-0.9091, abs=5e-5)
    assert found.changes["change_ml"] == pytest.approx(0, abs=1e-9)
    assert found.pair.volume_ratio == pytest.approx(1.1)
    assert found.pair.predicted_shift_percent == pytest.approx(-9.0909, abs=5e-5)
    assert found.pair.grade == "A"  # up to 10 % off


def test_e4_a_baseline_of_zero_has_no_relative_change(tmp_path):
    found = _changes(tmp_path, scan("base", lesion=2, solid=0), scan("after", lesion=4, solid=2))["solid"]
    assert "relative_percent" not in found.changes
    assert found.reason == "BASELINE_ZERO"
    assert found.changes["absolute_points"] == 2.0
    row = found.row()
    assert (row["status"], row["reason"]) == ("NE", "BASELINE_ZERO")
    assert row.get("relative_percent") is None


@pytest.mark.parametrize(
    ("base", "after", "more", "reason"),
    [
        ({}, {"status": "refused", "code": "MISSING_SLICES"}, {}, "MISSING_SLICES"),
        ({"status": "refused", "code": "NO_RESCALE"}, {}, {}, "BASELINE:NO_RESCALE"),
        ({}, {}, {"status": "died"}, "DIED"),
        ({}, {}, {"status": "missing"}, "MISSING"),
        ({}, {}, {"day": 50}, "OUT_OF_WINDOW"),
    ],
)
def test_every_absent_cell_has_its_reason(tmp_path, base, after, more, reason):
    for found in _changes(tmp_path, scan("base", **base), scan("after", **after), **more).values():
        assert found.changes == {}
        assert found.reason == reason
        assert set(found.empty) >= set(change_room.CHANGES)
        assert found.pair is None


def test_every_empty_cell_of_a_row_is_explained(tmp_path):
    """Whatever is not in levels or changes is in `empty`, for measured pairs too."""
    for found in _changes(tmp_path, scan("base"), scan("after")).values():
        names = {*change_room.CHANGES, *(f"{p}_{x}" for p in ("baseline", "value") for x in change_room._LEVELS)}
        assert names - set(found.levels) - set(found.changes) == set(found.empty)
        assert set(found.empty.values()) <= {"NOT_IN_RESULTS", "LESION_ONLY"}


@pytest.mark.parametrize(("base", "status"), [({}, "OK"), ({"status": "refused", "code": "NO_RESCALE"}, "NE")])
def test_the_baseline_row_says_whether_it_has_a_share(tmp_path, base, status):
    rows = [visit("1", "baseline", 0, "base"), visit("1", "d28", 28, "after")]
    scans, visits = read(tmp_path, [scan("base", **base), scan("after")], rows, CONFIG)
    row = next(c for c in changes_of(visits, scans, CONFIG) if c.is_baseline).row()
    assert (row["status"], row["reason"]) == (status, "BASELINE_VISIT" if status == "OK" else "NO_RESCALE")
    assert row.get("value_percent") == (10 if status == "OK" else None)


def test_mass_and_weight_of_the_lesion(tmp_path):
    more = [{"lesion_mass_g": m, "lesion_weight_hu_ml": w} for m, w in ((200, -200000), (150, -250000))]
    found = _changes(tmp_path, scan("base", **more[0]), scan("after", **more[1]))
    lesion = found["lesion"].changes
    assert (lesion["change_mass_g"], lesion["relative_mass_percent"]) == (-50, -25)
    assert lesion["change_weight_hu_ml"] == -50000  # a weight changes its sign, so it has no relative change
    assert found["solid"].empty["change_mass_g"] == "LESION_ONLY"


def test_small_baselines_and_flagged_scans_are_noted_not_left_out(tmp_path):
    found = _changes(tmp_path, scan("base", lesion=0.9, solid=0.1), scan("after", status="review"))["lesion"]
    assert found.notes == ("SMALL_BASELINE", "SCAN_FLAGGED_FOR_REVIEW")
    assert found.reason is None


HEADER = {
    "series.thickness_mm": 1.0,
    "series.kernel": "B40f",
    "series.kvp": 120,
    "series.contrast": "false",
    "series.manufacturer": "ACME",
    "series.model_name": "One",
    "series.patient_position": "HFS",
    "flags": "REORDERED",
    "mean_lung_hu": -780,
    "lesion_weight_hu_ml": -200000,
}


def _pair(tmp_path, one, other, **lungs):
    from trial_tables import RESULTS, write_csv

    rows = [
        scan("one", **one, lung=lungs.get("base_ml", 4000.0)),
        scan("two", **other, lung=lungs.get("ml", 4000.0)),
    ]
    scans = read_results(write_csv(tmp_path / "results.csv", RESULTS, rows))
    return grade_pair(scans["one"], scans["two"], CONFIG.pair)


def test_alike_scans_are_grade_a_with_nothing_unknown(tmp_path):
    pair = _pair(tmp_path, HEADER, HEADER | {"series.patient_position": "FFS"})  # the same posture, feet first
    assert (pair.grade, pair.reasons, pair.unknown) == ("A", (), ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"series.thickness_mm": 3.0}, "THICKNESS_CHANGED:B"),
        ({"series.thickness_mm": 5.0}, "THICKNESS_CHANGED:C"),
        ({"series.kernel": "B70f"}, "KERNEL_CHANGED:B"),
        ({"series.kvp": 100}, "KVP_CHANGED:B"),
        ({"series.contrast": "true"}, "CONTRAST_CHANGED:C"),
        ({"series.manufacturer": "Other"}, "SCANNER_CHANGED:B"),
        ({"series.model_name": "Two"}, "SCANNER_CHANGED:B"),
        ({"series.patient_position": "HFP"}, "POSITION_CHANGED:B"),
        ({"flags": "LUNG_TRUNCATED_BASE;METAL"}, "LUNG_CUT:C"),
        ({"mean_lung_hu": -760}, "LUNG_DENSITY_CHANGED:B"),
    ],
)
def test_each_difference_gives_its_grade_and_reason(tmp_path, change, reason):
    pair = _pair(tmp_path, HEADER, HEADER | change)
    assert pair.reasons == (reason,)
    assert pair.grade == reason[-1]


def test_contrast_in_both_is_a_reason_too(tmp_path):
    both = HEADER | {"series.contrast": "true"}
    assert _pair(tmp_path, both, both).reasons == ("CONTRAST_IN_BOTH:B",)


def test_kernels_of_one_family_are_alike(tmp_path):
    from trial_tables import RESULTS, write_csv

    rows = [scan("one", **HEADER), scan("two", **HEADER | {"series.kernel": "b41F"})]
    scans = read_results(write_csv(tmp_path / "results.csv", RESULTS, rows))
    limits = CONFIG.pair.model_copy(update={"kernel_families": (("B40f", "B41f"),)})
    assert grade_pair(scans["one"], scans["two"], limits).grade == "A"


@pytest.mark.parametrize(
    ("ml", "grade"), [(4400, "A"), (4401, "B"), (4600, "B"), (4601, "C"), (3600, "A"), (3599, "B"), (3399, "C")]
)
def test_limits_of_the_volume_ratio(tmp_path, ml, grade):
    assert _pair(tmp_path, {}, {}, ml=float(ml)).grade == grade


def test_what_is_not_in_the_table_is_unknown_and_no_pass(tmp_path):
    pair = _pair(tmp_path, {}, {})
    assert pair.unknown == (
        *("THICKNESS", "KERNEL", "KVP", "CONTRAST", "SCANNER", "POSITION", "COVERAGE", "LUNG_DENSITY"),
    )
    one_sided = _pair(tmp_path, HEADER, HEADER | {"series.kernel": ""})
    assert one_sided.unknown == ("KERNEL",)


def test_lesion_free_density_by_the_formula(tmp_path):
    # 4000 mL at -780 HU of which 400 mL weigh -200000 HU mL: (-3120000 + 200000) / 3600
    from trial_tables import RESULTS, write_csv

    scans = read_results(write_csv(tmp_path / "results.csv", RESULTS, [scan("one", **HEADER)]))
    assert scans["one"].aerated_hu == pytest.approx(-2920000 / 3600)


def test_columns_that_sharpen_a_grade_are_columns_of_results_csv():
    wanted = {*HEADER, "interval_percent.lesion", "lesion_mass_g", "components_by_rule.hu.solid_ml", "code"}
    assert wanted <= set(results_columns())
