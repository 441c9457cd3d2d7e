"""visits.csv: what is accepted, and that every fault names its row and column."""

import pytest
from trial_tables import RESULTS, VISITS, read, scan, visit, write_csv

from volumetry.errors import UsageError
from volumetry.storage.csv_tables import TableError
from volumetry.trial.config import load_trial_config
from volumetry.trial.missing import missing_values
from volumetry.trial.results import read_results
from volumetry.trial.visit_windows import analysis_visits, place
from volumetry.trial.visits import read_visits

CONFIG = load_trial_config()
SCANS = [scan(name) for name in ("a0", "a28", "b0", "b28", "x")]
GOOD = [
    visit("007", "baseline", 0, "a0", arm="UC-MSC"),
    visit("007", "d28", 28, "a28", arm="UC-MSC"),
    visit("008", "baseline", 0, "b0", arm="placebo"),
    visit("008", "d28", 29, "b28", arm="placebo"),
]


def _changed(row, **cells):
    return [line | cells if n == row else line for n, line in enumerate(GOOD)]


def test_subjects_stay_text_and_arms_are_known(tmp_path):
    _scans, visits = read(tmp_path, SCANS, GOOD, CONFIG)
    assert list(visits.rows) == ["007", "008"]
    assert visits.arms == {"007": "UC-MSC", "008": "placebo"}
    assert (visits.baseline, visits.visits) == ("baseline", ("baseline", "d28"))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (_changed(1, visit="baseline"), "row 3, column visit: 'baseline' stands in row 2"),
        (_changed(1, visit="Base-Line"), "row 3, column visit: 'baseline' stands in row 2"),
        (_changed(1, scan_id="lost"), "row 3, column scan_id: 'lost' is not in the results"),
        (_changed(1, scan_id="a0"), "row 3, column scan_id: the same scan as in row 2"),
        (_changed(1, arm="placebo"), "row 3, column arm: 'placebo', but 'UC-MSC' in row 2"),
        (_changed(0, visit="d10", day=10), "row 2, column visit: this subject has no visit 'baseline'"),
        (_changed(1, day="28th"), "row 3, column day: '28th' is not a number"),
        (_changed(1, day="nan"), "row 3, column day: 'nan' is not a number"),
        (_changed(1, day="20200405"), "row 3, column day: 20200405 is more than 3660 days away"),
        (_changed(1, day=""), "row 3, column day: is empty, yet the row names a scan"),
        (_changed(1, day="-3"), "row 3, column day: -3 is not after the baseline's day 0"),
        (_changed(1, day="0"), "row 3, column day: 0 is not after the baseline's day 0"),
        (_changed(1, subject=""), "row 3, column subject: is empty"),
        (_changed(1, visit=""), "row 3, column visit: is empty"),
        (_changed(1, status="lost"), "row 3, column status: must be empty or one of died, withdrawn, missing"),
        (_changed(1, status="missing"), "row 3, column status: 'missing', yet the row names a scan"),
        (_changed(0, status="died", scan_id=""), "row 2, column status: died at baseline"),
        (
            [*_changed(1, scan_id="", status="died"), visit("007", "d90", 90, "x", arm="UC-MSC")],
            "row 6, column scan_id: a scan after the death in row 3",
        ),
        ([*GOOD, visit("009", "baseline", 0, "x")], "row 6, column arm: is empty for this subject"),
        (
            [*GOOD, visit("008", "unscheduled", "", status="died", arm="placebo")],
            "row 6, column day: is empty, and the visit 'unscheduled' has no place in time of its own",
        ),
        (
            [
                *GOOD,
                visit("007", "Exit", "", status="withdrawn", arm="UC-MSC"),
                visit("008", "Exit", 40, status="died", arm="placebo"),
            ],
            "row 6, column day: is empty, and the visit 'Exit'",
        ),
        (_changed(1, walk_m="12o"), "row 3, column walk_m"),
    ],
)
def test_a_fault_names_row_and_column(tmp_path, rows, says):
    if "walk_m" in says:
        rows = [{"walk_m": "300", **row} for row in rows]
    with pytest.raises(TableError, match=r"^visits\.csv: row") as stop:
        read(tmp_path, SCANS, rows, CONFIG)
    assert says in stop.value.message
    assert stop.value.exit_code == 3


def test_every_fault_is_told_at_once(tmp_path):
    rows = [GOOD[0] | {"day": "zero"}, GOOD[1] | {"scan_id": "lost"}, *GOOD[2:]]
    with pytest.raises(TableError, match=r"row 2, column day.*row 3, column scan_id"):
        read(tmp_path, SCANS, rows, CONFIG)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the table is empty"),
        (b"subject,visit,day\n", "row 1, column scan_id: this column is missing"),
        (b"subject;visit;day;arm;scan_id\n", "row 2, column subject: there is a header and no row"),
        (b"subject|visit|day|scan_id\n", "row 1, column subject: this column is missing"),
        (b"subject,visit,day,scan_id,day\n", "row 1, column day: two columns have this name"),
        (b"subject,visit,day,scan_id\n", "row 2, column subject: there is a header and no row"),
        (b"subject,visit,day,scan_id\n1,baseline,0,a0,extra\n", "row 2, column scan_id: 5 cells where the header"),
        (b"subject,visit,day,scan_id\n1,baseline,0\n", "row 2, column day: 3 cells where the header has 4"),
        (b"subject,visit,day,scan_id\n1,baseline,0,a0\n\xff\xfe,d28,28,a28\n", "row 3 is not UTF-8"),
        (b'subject,visit,day,scan_id\n1,"baseline,0,a0\n', "near row 2"),
        (b"subject,visit,day,scan_id\n1,V1,0,a0\n", "row 2, column visit: no visit is called baseline"),
        (b"subject,visit,day,scan_id\n1,baseline,0,a0\n", "row 2, column visit: no visit but 'baseline'"),
    ],
)
def test_a_broken_file_is_told_from_a_wrong_one(tmp_path, content, says):
    (tmp_path / "visits.csv").write_bytes(content)
    with pytest.raises(TableError, match=says):
        read_visits(tmp_path / "visits.csv", {"a0", "a28"}, CONFIG)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"the file visits\.csv does not exist"):
        read_visits(tmp_path / "visits.csv", set(), CONFIG)


def test_a_spreadsheets_byte_order_mark_blank_lines_and_crlf_do_no_harm(tmp_path):
    text = "\ufeffsubject,visit,day,scan_id\r\n007, baseline ,0,a0\r\n\r\n007,d28,28,a28\r\n"
    (tmp_path / "visits.csv").write_bytes(text.encode())
    visits = read_visits(tmp_path / "visits.csv", {"a0", "a28"}, CONFIG)
    assert [row.row for row in visits.rows["007"]] == [2, 4]
    assert visits.arms == {}


def test_an_arm_stated_once_holds_for_the_subject(tmp_path):
    rows = [{**row, "arm": row["arm"] if row["visit"] == "baseline" else ""} for row in GOOD]
    assert read(tmp_path, SCANS, rows, CONFIG)[1].arms == {"007": "UC-MSC", "008": "placebo"}


def test_columns_are_numbers_yes_no_or_text(tmp_path):
    cells = [
        {"walk_m": "300", "honeycomb": "yes", "flag01": "1", "note": "fine", "il6": "NA"},
        {"walk_m": "3.5e2", "honeycomb": "No", "flag01": "0", "note": "", "il6": "4"},
        {"walk_m": "", "honeycomb": "", "flag01": "", "note": "-", "il6": "."},
        {"walk_m": "-1", "honeycomb": "N", "flag01": "1", "note": "x", "il6": ""},
    ]
    rows = [row | more for row, more in zip(GOOD, cells, strict=True)]
    visits = read(tmp_path, SCANS, rows, CONFIG)[1]
    kinds = {extra.column: extra.kind for extra in visits.extras}
    assert kinds == {
        "walk_m": "numeric",
        "honeycomb": "yes_no",
        "flag01": "yes_no",
        "note": "text",
        "il6": "numeric",
    }
    first, second = visits.rows["007"]
    assert first.values == {"walk_m": 300.0, "honeycomb": True, "flag01": True}
    assert second.values == {"walk_m": 350.0, "honeycomb": False, "flag01": False, "il6": 4.0}


def _placed(tmp_path, days, config=CONFIG, **more):
    """Baseline and further rows (label, day) of one subject: which scan serves which visit, or why none."""
    names = [f"s{n}" for n in range(len(days))]
    rows = [visit("1", label, day, name) for name, (label, day) in zip(names, days, strict=True)]
    rows[-1] |= more
    _scans, visits = read(tmp_path, [scan(name) for name in names], rows, config)
    return {p.visit: p.row.scan_id if p.row and p.row.scan_id else p.reason for p in place(visits, config)}


def test_windows_take_the_nearest_and_the_earlier_of_two(tmp_path):
    days = [("baseline", 0), ("d28", 33), ("unscheduled-1", 26), ("unscheduled 2", 30)]
    assert _placed(tmp_path, days) == {"baseline": "s0", "d28": "s2"}


def test_ends_of_a_window_belong_to_it_and_a_day_outside_is_no_value(tmp_path):
    assert _placed(tmp_path, [("baseline", 0), ("d28", 21)])["d28"] == "s1"
    assert _placed(tmp_path, [("baseline", 0), ("d28", 35)])["d28"] == "s1"
    assert _placed(tmp_path, [("baseline", 0), ("d28", 36)])["d28"] == "OUT_OF_WINDOW"


def test_an_unscheduled_scan_stands_in_for_one_out_of_window(tmp_path):
    assert _placed(tmp_path, [("baseline", 0), ("d28", 40), ("unscheduled", 34)])["d28"] == "s2"


def test_a_visit_that_is_not_planned_has_no_window(tmp_path):
    placed = _placed(tmp_path, [("baseline", 0), ("V2", 500), ("V3", 12)])
    assert placed == {"baseline": "s0", "V3": "s2", "V2": "s1"}
    assert list(placed) == ["baseline", "V3", "V2"]  # in time order


def test_by_day_labels_do_not_matter_and_a_row_serves_once(tmp_path):
    windows = CONFIG.windows.model_copy(update={"assign": "day"})
    config = CONFIG.model_copy(update={"windows": windows})
    days = [("baseline", 0), ("V1", 9), ("V2", 12), ("V3", 27), ("V4", 91)]
    assert _placed(tmp_path, days, config) == {"baseline": "s0", "d10": "s1", "d28": "s3", "d90": "s4"}


def test_after_a_death_or_a_withdrawal_the_reason_stays(tmp_path):
    def reasons(first, **last):
        rows = [
            visit("1", "baseline", 0, "a0"),
            visit("1", "d28", 28, "", status=first),
            visit("2", "baseline", 0, "b0"),
            visit("2", "d28", 28, "b28"),
            visit("2", "d90", 90, "x"),
            *([visit("1", "d90", 90, "", **last)] if last else []),
        ]
        _scans, visits = read(tmp_path, SCANS, rows, CONFIG)
        assert analysis_visits(visits, CONFIG) == ("baseline", "d28", "d90")
        return [p.reason for p in place(visits, CONFIG) if p.subject == "1"]

    assert reasons("died") == [None, "DIED", "DIED"]
    assert reasons("died", status="missing") == [None, "DIED", "DIED"]
    assert reasons("withdrawn") == [None, "WITHDRAWN", "WITHDRAWN"]
    assert reasons("missing") == [None, "MISSING", "NO_VISIT"]
    assert reasons("") == [None, "NO_SCAN", "NO_VISIT"]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"status": "done"}, "row 2, column status: must be one of measured, review, refused, failed"),
        ({"percent_of_lung.lesion": "101"}, "row 2, column percent_of_lung.lesion: 101 is not 0 to 100"),
        ({"percent_of_lung.solid": "nan"}, "row 2, column percent_of_lung.solid: 'nan' is not a number"),
        ({"volumes_ml.lesion": "-1"}, "row 2, column volumes_ml.lesion: -1 is not at least 0"),
        ({"volumes_ml.lung": "0"}, "row 2, column volumes_ml.lung: must be above 0 mL"),
        ({"series.kvp": "high"}, "row 2, column series.kvp: 'high' is not a number"),
        ({"interval_percent.lesion": "9;8"}, "row 2, column interval_percent.lesion"),
        ({"interval_level": "95"}, "row 2, column interval_level: 95 is not a level between 0 and 1"),
        ({"interval_level": "0"}, "row 2, column interval_level: 0 is not a level between 0 and 1"),
        ({"scan_id": ""}, "row 2, column scan_id: is empty"),
        ({"scan_id": "b0"}, "row 3, column scan_id: the same scan as in row 2"),
    ],
)
def test_a_fault_in_the_results_names_row_and_column(tmp_path, cells, says):
    write_csv(tmp_path / "results.csv", RESULTS, [scan("a0") | cells, scan("b0")])
    with pytest.raises(TableError, match=r"^results\.csv: row") as stop:
        read_results(tmp_path)
    assert says in stop.value.message


def test_a_refused_scan_has_its_code_and_no_number(tmp_path):
    write_csv(
        tmp_path / "results.csv",
        RESULTS,
        [
            scan("a", status="refused", code="MISSING_SLICES"),
            {"scan_id": "b", "status": "failed"},
            scan("c", lesion=5) | {"percent_of_lung.solid": ""},
            scan("d", status="review", flags="THICK_SLICES;METAL"),
        ],
    )
    scans = read_results(tmp_path)
    assert [scans[s].code for s in "abcd"] == ["MISSING_SLICES", "FAILED", "NOT_MEASURED", None]
    assert [dict(scans[s].percent) for s in "abc"] == [{}, {}, {}]
    assert scans["d"].flags == ("THICK_SLICES", "METAL")


def test_a_scan_id_that_was_disarmed_is_found_again(tmp_path):
    scans, visits = read(
        tmp_path, [scan("'-1"), scan("x")], [visit("1", "baseline", 0, "-1"), visit("1", "d28", 28, "x")], CONFIG
    )
    assert "-1" in scans
    assert visits.rows["1"][0].scan_id == "-1"


def test_results_without_a_table_are_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"holds no results\.csv"):
        read_results(tmp_path)


def test_columns_of_the_contract():
    assert VISITS[:5] == ("subject", "visit", "day", "arm", "scan_id")


def _all_placed(tmp_path, rows, assign="label"):
    """Subject 1 with these rows beside subject 2 who has every scan: visit -> (scan or reason, further values)."""
    config = CONFIG.model_copy(update={"windows": CONFIG.windows.model_copy(update={"assign": assign})})
    of_1 = [visit("1", "baseline", 0, "s0"), *(visit("1", *cells) | more for *cells, more in rows)]
    of_2 = [visit("2", v, d, f"t{d}") for v, d in (("baseline", 0), ("d10", 10), ("d28", 28), ("d90", 90))]
    scans = [scan(row["scan_id"]) for row in of_1 + of_2 if row["scan_id"]]
    _scans, visits = read(tmp_path, scans, of_1 + of_2, config)
    of = [p for p in place(visits, config) if p.subject == "1"]
    return {p.visit: (p.row.scan_id if p.row and p.row.scan_id else p.reason, dict(p.values)) for p in of[1:]}


def _reasons(tmp_path, rows, assign="label"):
    return {name: found for name, (found, _values) in _all_placed(tmp_path, rows, assign).items()}


PLANNED_EMPTY = [("d10", 10, "s10", {}), ("d28", 28, "", {"status": "missing"}), ("d90", 90, "", {})]


@pytest.mark.parametrize("status", ["died", "withdrawn"])
@pytest.mark.parametrize("name", ["unscheduled", "End of study", "Death"])
@pytest.mark.parametrize("assign", ["label", "day"])
@pytest.mark.parametrize("planned", [PLANNED_EMPTY, PLANNED_EMPTY[:1]], ids=["empty rows", "no rows"])
def test_an_end_on_a_row_of_its_own_is_seen_at_every_later_visit(tmp_path, status, name, assign, planned):
    """d10 was scanned; the window of d28 ends on day 35."""
    reason = status.upper()
    at_20 = _reasons(tmp_path, [*planned, (name, 20, "", {"status": status})], assign)
    assert at_20 == {"d10": "s10", "d28": reason, "d90": reason}
    assert _reasons(tmp_path, [*planned, (name, 35, "", {"status": status})], assign)["d28"] == reason
    at_36 = _reasons(tmp_path, [*planned, (name, 36, "", {"status": status})], assign)
    assert at_36 == {"d10": "s10", "d28": "MISSING" if len(planned) > 1 else "NO_VISIT", "d90": reason}


def test_a_death_after_a_withdrawal_is_a_death(tmp_path):
    ends = [("unscheduled 1", 12, "", {"status": "withdrawn"}), ("unscheduled 2", 60, "", {"status": "died"})]
    found = _reasons(tmp_path, [*PLANNED_EMPTY, *ends])
    assert found == {"d10": "s10", "d28": "WITHDRAWN", "d90": "DIED"}


def test_a_visit_that_only_records_deaths_is_no_row_of_the_tables(tmp_path):
    assert list(_reasons(tmp_path, [("Death", 20, "", {"status": "died"})])) == ["d10", "d28", "d90"]


@pytest.mark.parametrize("assign", ["label", "day"])
def test_every_column_beside_the_scan_is_placed_by_itself(tmp_path, assign):
    """The CT was made on day 30, the walk on day 26 and a second one, further from day 28, on day 33."""
    rows = [
        ("d28", 26, "", {"walk_m": 400}),
        ("unscheduled 1", 30, "s28", {"il6": 7}),
        ("unscheduled 2", 33, "", {"walk_m": 500, "il6": 9}),
    ]
    assert _all_placed(tmp_path, rows, assign)["d28"] == ("s28", {"walk_m": 400, "il6": 7})


def test_rows_with_and_without_a_scan_follow_one_rule(tmp_path):
    """d28 is 21 to 35. Neither a scan nor a walk of day 60 serves it; nearer rows go before the named one."""
    late = _all_placed(tmp_path, [("d28", 60, "", {"walk_m": 400})])["d28"]
    assert late == ("NO_SCAN", {})
    assert _all_placed(tmp_path, [("d28", 60, "s28", {"walk_m": 400})])["d28"] == ("OUT_OF_WINDOW", {})
    near = [("d28", 34, "", {"walk_m": 400}), ("unscheduled", 29, "", {"walk_m": 450})]
    assert _all_placed(tmp_path, near)["d28"] == ("NO_SCAN", {"walk_m": 450})
    equal = [("d28", 30, "", {"walk_m": 400}), ("unscheduled", 26, "", {"walk_m": 450})]
    assert _all_placed(tmp_path, equal)["d28"][1] == {"walk_m": 450}  # of two equally near ones the earlier
    assert _all_placed(tmp_path, [("d28", "", "", {"walk_m": 400})])["d28"][1] == {
        "walk_m": 400
    }  # no day to judge


def test_a_value_out_of_its_window_is_listed_as_that(tmp_path):
    rows = [visit("1", "baseline", 0, "a0", walk_m=300), visit("1", "d28", 60, "", walk_m=400),
            visit("2", "baseline", 0, "b0", walk_m=300), visit("2", "d28", 28, "b28", walk_m=400),
            visit("3", "baseline", 0, "x", walk_m=300), visit("3", "d28", 28, "a28")]  # fmt: skip
    _scans, visits = read(tmp_path, SCANS, rows, CONFIG)
    listed = [(r["subject"], r["reason"]) for r in missing_values([], place(visits, CONFIG), visits)]
    assert listed == [("1", "OUT_OF_WINDOW"), ("3", "EMPTY_CELL")]
