"""visits.csv as study databases deliver it: names, dates, words for numbers, covariates, visits without a scan."""

import pytest
from trial_tables import RESULTS, scan, write_csv

from volumetry.storage.csv_tables import TableError
from volumetry.trial.change import changes_of
from volumetry.trial.config import load_trial_config
from volumetry.trial.missing import missing_values
from volumetry.trial.outcomes import numeric_outcomes, summaries
from volumetry.trial.results import read_results
from volumetry.trial.visit_windows import place
from volumetry.trial.visits import read_visits

SCANS = [scan("a0"), scan("a28", lesion=8.0), scan("b0"), scan("b28", lesion=9.0)]


def _config(tmp_path, text=""):
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    return load_trial_config(tmp_path / "mine.toml")


def _visits(tmp_path, text, settings="", encoding="utf-8"):
    config = _config(tmp_path, settings)
    scans = read_results(write_csv(tmp_path / "results.csv", RESULTS, SCANS))
    (tmp_path / "visits.csv").write_bytes(text.encode(encoding))
    return read_visits(tmp_path / "visits.csv", scans, config), scans, config


def _days(visits):
    return {(row.subject, row.visit): row.day for rows in visits.rows.values() for row in rows}


def test_the_names_of_cdisc_and_its_study_days_without_a_day_0(tmp_path):
    text = "USUBJID,TRT01P,AVISIT,ADY,SCAN\n01,cells,Baseline,-1,a0\n01,cells,Day 28,29,a28\n"
    visits, *_ = _visits(tmp_path, text + "02,placebo,Baseline,1,b0\n02,placebo,Day 28,27,b28\n")
    assert visits.arms == {"01": "cells", "02": "placebo"}
    assert list(_days(visits).values()) == [-1, 28, 0, 26]
    with pytest.raises(TableError, match="row 2, column study_day: is 0"):
        _visits(tmp_path, text.replace("-1", "0"))


@pytest.mark.parametrize(
    ("header", "first", "settings", "source", "days"),
    [
        ("subject;visit;date;scan_id", ("2020-03-05", "2020-04-02"), "", "baseline", [0, 28]),
        ("subject;visit;day;scan_id", ("05MAR2020", "02APR2020"), "", "baseline", [0, 28]),
        ("subject;visit;ADT;scan_id", ("05.03.2020", "02.04.2020"), "%d.%m.%Y", "baseline", [0, 28]),
        ("subject;visit;day;scan_id", ("20200305", "20200402"), "%Y%m%d", "baseline", [0, 28]),
        ("subject;visit;TRTSDT;ADT;scan_id", ("2020-03-06;2020-03-05", "2020-03-06;2020-04-03"), "",
         "first_treatment", [-1, 28]),
    ],
)  # fmt: skip
def test_dates_become_days(tmp_path, header, first, settings, source, days):
    text = f"{header}\n01;baseline;{first[0]};a0\n01;d28;{first[1]};a28\n"
    visits, *_ = _visits(tmp_path, text, f'[input]\ndate_format = "{settings}"\n', "utf-16")
    assert (list(_days(visits).values()), visits.day_source) == (days, source)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1,baseline,03/04/2020,a0\n1,d28,01/05/2020,a28\n", "row 2, column date: is not a date in the format"),
        ("1,baseline,2020-03-05,a0\n1,d28,,a28\n", "row 3, column date: is empty, yet the row names a scan"),
        ("1,baseline,,\n1,d28,2020-03-05,a28\n", "row 3, column date: this subject has no date from which"),
    ],
)
def test_a_date_that_could_be_another_is_refused(tmp_path, rows, says):
    with pytest.raises(TableError, match=says):
        _visits(tmp_path, f"subject,visit,date,scan_id\n{rows}")


def test_a_day_column_of_dates_and_numbers_is_refused(tmp_path):
    with pytest.raises(TableError, match="row 2, column day: is not a date"):
        _visits(tmp_path, "subject,visit,day,scan_id\n1,baseline,0,a0\n1,d28,2020-04-02,a28\n")


WORDS = """[columns]
words = [{column = "walk_m", word = "Unable", value = 0}, {column = "crp", word = "<", value = "half"},
         {column = "crp", word = ">", value = "limit"}, {column = "crp", word = "below", value = 0.1}]
"""
LAB = """subject,visit,day,scan_id,walk_m,crp,age,sex
01,baseline,0,a0,400,<0.5,61,f
01,d28,28,a28,unable,>= 500,,
02,baseline,0,b0,350,below,44,m
02,d28,28,b28,360,2,44,m
02,lab 3,3,,,7,,
"""


def test_words_are_replaced_by_the_rule_of_the_settings_and_listed(tmp_path):
    visits, *_ = _visits(tmp_path, LAB, WORDS)
    values = [row.values for rows in visits.rows.values() for row in rows]
    assert [v.get("walk_m") for v in values] == [400, 0, 350, 360, None]
    assert [v.get("crp") for v in values] == [0.25, 500, 0.1, 2, 7]
    assert [(r["row"], r["column"], r["stated"], r["used"], r["rule"]) for r in visits.replaced] == [
        (3, "walk_m", "unable", 0, "Unable = 0.0"),
        (2, "crp", "<0.5", 0.25, "< = half"),
        (3, "crp", ">= 500", 500, "> = limit"),
        (4, "crp", "below", 0.1, "below = 0.1"),
    ]
    with pytest.raises(TableError, match="row 3, column walk_m: 'unable' is no number"):
        _visits(tmp_path, LAB)


def test_facts_of_a_subject_are_no_outcomes(tmp_path):
    visits, scans, config = _visits(tmp_path, LAB, WORDS)
    assert visits.covariates == {"age": {"01": "61", "02": "44"}, "sex": {"01": "f", "02": "m"}}
    assert {extra.column for extra in visits.extras} == {"walk_m", "crp"}
    placements, changes = place(visits, config), changes_of(visits, scans, config)
    assert {r.measure for r in numeric_outcomes(placements, visits, (("all", None),), config)} == {"walk_m", "crp"}
    age = [r for r in summaries(placements, changes, visits, config) if r.measure == "age"]
    assert [(r.quantity, r.visit, r.summary.n, r.summary.mean) for r in age] == [
        ("covariate", "baseline", 2, 52.5)
    ]
    with pytest.raises(TableError, match="row 5, column age: a covariate has one value per subject"):
        _visits(tmp_path, LAB.replace("b28,360,2,44", "b28,360,2,45"), WORDS)


def test_a_visit_of_the_laboratory_alone_has_no_rows_for_the_ct(tmp_path):
    visits, scans, config = _visits(tmp_path, LAB, WORDS)
    changes, placements = changes_of(visits, scans, config), place(visits, config)
    assert {c.visit for c in changes} == {"baseline", "d28"}
    assert {p.visit for p in placements} == {"baseline", "lab 3", "d28"}
    assert missing_values(changes, placements, visits) == [
        {"subject": "01", "arm": None, "visit": "lab 3", "day": None, "what": "crp", "reason": "NO_VISIT"}
    ]


def test_a_visit_whose_scans_are_all_missing_stays_a_visit_of_the_ct(tmp_path):
    text = LAB.replace("visit,day,scan_id", "visit,status,day,scan_id").replace("baseline,", "baseline,,")
    text = text.replace("d28,28", "d28,,28").replace("lab 3,3", "lab 3,missing,3")
    visits, scans, config = _visits(tmp_path, text, WORDS)
    assert {c.visit for c in changes_of(visits, scans, config)} == {"baseline", "lab 3", "d28"}


PLAIN = "subject,visit,day,arm,scan_id,crp\n1,baseline,0,cells,a0,3\n1,d28,28,cells,a28,4\n"


@pytest.mark.parametrize("name", ["Day\u00a028", "DAY\u200928", "d\u201328", "d \u2212 28"])
def test_a_visit_with_another_blank_or_dash_is_the_same_visit(tmp_path, name):
    text = PLAIN + f"2,baseline,0,placebo,b0,3\n2,{name},27,placebo,b28,4\n"
    visits, _scans, config = _visits(tmp_path, text.replace("d28,28", "Day 28,28") if "D" in name else text)
    assert len(visits.visits) == 2
    assert config.windows.named(visits.visits[1]).visit == "d28"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("Total,baseline,,cells,,7\n", "row 4, column subject: 'Total' is a row of totals"),
        ("1.01E+11,baseline,0,cells,,7\n", "row 4, column subject: is a number that a spreadsheet has shortened"),
        ("2,baseline,0,cells,,-99\n", "row 4, column crp: -99 is what databases write for a missing value"),
        ("2,baseline,0,cells,,999\n", "row 4, column crp: 999 is what databases write"),
        ("2,baseline,0,cells,,12 %\n", "row 4, column crp: has a percent sign, and other rows"),
        ("2,baseline,0,cells,,ND\n", "row 4, column crp: 'ND' is no number"),
        ("1,d28,28,cells,a28,4\n", "row 4, column visit: 'd28' stands in row 3"),
        ("01,d28,28,cells,,4\n", "row 4, column visit: this subject has no visit 'baseline'"),
    ],
)
def test_what_an_export_adds_to_the_data_is_never_data(tmp_path, rows, says):
    with pytest.raises(TableError, match=says):
        _visits(tmp_path, PLAIN + rows)


def test_a_code_of_a_missing_value_is_read_as_the_settings_say(tmp_path):
    text = PLAIN + "2,baseline,0,cells,b0,-99\n"
    values = {
        settings: [
            row.values.get("crp")
            for rows in _visits(tmp_path, text, f"[columns]\n{settings}\n")[0].rows.values()
            for row in rows
        ]
        for settings in ('missing_words = ["", "-99"]', 'numeric = ["crp"]')
    }
    assert list(values.values()) == [[3, 4, None], [3, 4, -99]]
    _visits(tmp_path, text.replace(",3\n", ",-3\n"))  # a column with other negative numbers may hold it


def test_percentages_are_read_as_percentages(tmp_path):
    visits, *_ = _visits(tmp_path, PLAIN.replace(",3\n", ",96 %\n").replace(",4\n", ",97.5%\n"))
    assert [row.values["crp"] for row in visits.rows["1"]] == [96, 97.5]
