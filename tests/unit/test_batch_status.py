"""What came of each visit, and the charts of scanners and sites."""

import csv
import re
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby, permutations
from math import comb

import numpy as np
import pytest
from dictionaries import not_described
from matplotlib.dates import date2num
from scenes import chest, scan_of

from volumetry.batch import ScanFolder, decide, run_batch, verify
from volumetry.batch.charts import TAIL, chart_figure, individuals_chart, shares_chart
from volumetry.batch.current import Current
from volumetry.batch.expected import ExpectedVisit, read_expected
from volumetry.batch.status import ScanState, visit_states
from volumetry.codes import Outcome
from volumetry.domain import Finding, ScanRefusedError
from volumetry.segment.hu_segmenter import ThresholdSegmenter

D2 = 1.128


def test_limits_do_not_depend_on_the_order_within_a_day():
    values = [3.0, 7.0, 4.0, 9.0, 1.0, 6.0, 2.0, 8.0]
    days = [date(2026, 1, day) for day in (5, 5, 6, 9, 9, 9, 12, 13)]
    chart = individuals_chart(values, days)
    orders = [[]]
    for _, group in groupby(zip(days, values, strict=True), key=lambda pair: pair[0]):
        own = [value for _, value in group]
        orders = [[*order, *other] for order in orders for other in permutations(own)]
    mean = np.mean([np.abs(np.diff(order)).mean() for order in orders])
    assert chart.high - chart.centre == pytest.approx(3 * mean / D2)
    assert individuals_chart([7.0, 3.0, *values[2:]], days) == chart


def test_a_run_needs_eight_values_and_ends_on_a_day_with_both_sides():
    low, high = [-1.0] * 8, [1.0] * 8
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(16)]
    assert individuals_chart([*low, *high], days).runs == (7, 15)
    mixed = [*days[:3], days[3], days[3], *days[4:15]]  # the fourth and fifth value came on one day
    values = [-1.0, -1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0, *([1.0] * 6), 0.0]
    assert np.mean(values) == pytest.approx(-0.0625)
    assert individuals_chart(values, mixed).runs == ()


def test_limits_of_shares_are_binomial():
    pooled, points = shares_chart([(1, 10), (0, 40), (9, 10)])
    p = 10 / 60
    assert pooled == pytest.approx(100 * p)

    def at_most(k, n):
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    for (count, n), point in zip([(1, 10), (0, 40), (9, 10)], points, strict=True):
        improbable = at_most(count, n) < TAIL or 1 - at_most(count - 1, n) < TAIL
        assert point.is_beyond is improbable
    assert [point.is_beyond for point in points] == [False, True, True]
    _, none = shares_chart([(0, 5), (0, 9)])
    assert [(point.low, point.high, point.is_beyond) for point in none] == [(0, 0, False)] * 2


def test_points_lie_at_their_dates_and_are_not_joined():
    days = [date(2026, 1, 5), date(2026, 1, 5), date(2026, 3, 20)]
    axes = chart_figure(days, [1.0, 2.0, 3.0], individuals_chart([1.0, 2.0, 3.0], days), "HU").axes[0]
    points = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    assert sorted(x for line in points for x in line.get_xdata()) == [date2num(day) for day in days]
    assert {line.get_linestyle() for line in points} == {"None"}


def _scan(scan_id, subject, visit, status="measured", day=None, site="", **people):
    scan = ScanFolder(scan_id, None, subject, visit, site)
    return ScanState(scan, status, Current(**people), 0, day)


def test_visits_are_those_expected_and_those_that_came():
    expected = [
        ExpectedVisit("S1", "Baseline", "A"),
        ExpectedVisit("S1", "Day 28"),
        ExpectedVisit("S2", "Baseline"),
    ]
    excluded = {"decision": {"decision": "exclude"}}
    found = visit_states(
        [
            _scan("a", "s1", "baseline", "review"),
            _scan("b", "S1", "baseline", "refused"),
            _scan("c", "S2", "extra", **excluded),
            _scan("d", "", "baseline"),
        ],
        expected,
    )
    told = {(visit.subject, visit.visit): (visit.state, visit.expected, visit.site) for visit in found}
    assert told == {
        ("S1", "Baseline"): ("review", True, "A"),
        ("S1", "Day 28"): ("missing", True, "A"),
        ("S2", "Baseline"): ("missing", True, ""),
        ("S2", "extra"): ("excluded", False, ""),
    }


def test_visits_that_nobody_listed_come_in_the_order_of_their_days():
    first = date(2026, 1, 1)
    scans = [
        _scan(f"{subject}{days}", subject, visit, day=first + timedelta(days=days))
        for subject in ("S1", "S2")
        for visit, days in (("week 12", 84), ("week 2", 14), ("baseline", 0))
    ]
    found = visit_states(scans, ())
    assert [visit.visit for visit in found if visit.subject == "S1"] == ["baseline", "week 2", "week 12"]
    assert {visit.expected for visit in found} == {None}


def test_the_page_and_the_table_show_what_is_missing_and_what_was_decided(tmp_path, monkeypatch, config):
    hu, _ = chest()

    def read_scan(folder, _config):
        if folder.name == "c":
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "slice 3 has none")])
        return scan_of(hu)

    monkeypatch.setattr("volumetry.pipeline.read_scan", read_scan)
    for name in "abc":
        (tmp_path / name).mkdir()
    listed = tmp_path / "visits.csv"
    listed.write_text("USUBJID;VISIT;SITEID\nS1;base;Lyon\nS1;end;Lyon\nS2;base;Oslo\nS2;end;Oslo\n", "utf-8")
    scans = [
        ScanFolder("a", tmp_path / "a", "S1", "base", "Lyon"),
        ScanFolder("b", tmp_path / "b", "S1", "end", "Lyon"),
        ScanFolder("c", tmp_path / "c", "S2", "base", "Oslo"),
    ]
    out = tmp_path / "out"
    run_batch(scans, out, ThresholdSegmenter(), config, expected=read_expected(listed))
    decide(out, "b", "exclude", "A. Reader", "motion")
    run_batch(scans, out, ThresholdSegmenter(), config)  # without the list: the log still knows it
    assert verify(out).passed
    table = list(csv.DictReader((out / "visit_status.csv").read_text("utf-8").splitlines()))
    assert [(row["site"], row["subject"], row["visit"], row["expected"], row["state"]) for row in table] == [
        ("Lyon", "S1", "base", "yes", "measured"),
        ("Lyon", "S1", "end", "yes", "excluded"),
        ("Oslo", "S2", "base", "yes", "received"),
        ("Oslo", "S2", "end", "yes", "missing"),
    ]
    assert table[2]["queries_open"] == "1"
    assert not_described(out) == []
    queries = list(csv.DictReader((out / "queries.csv").read_text("utf-8").splitlines()))
    of_b = {
        (row["code"], row["state"], row["state_by"], row["answer"]) for row in queries if row["scan_id"] == "b"
    }
    assert of_b == {("SCAN_EXCLUDED", "closed", "A. Reader", "excluded")}
    assert [row["state"] for row in queries if row["scan_id"] == "c"] == ["open"]
    decide(out, "b", "accept", "B. Reader", "no motion")
    queries = list(csv.DictReader((out / "queries.csv").read_text("utf-8").splitlines()))
    assert "b" not in {row["scan_id"] for row in queries}
    decide(out, "b", "exclude", "A. Reader", "motion")
    overview = (out / "report.html").read_text("utf-8")
    pages = {name: (out / "sites" / f"site-{name}.html").read_text("utf-8") for name in ("Lyon", "Oslo")}
    cells = {
        name: [page.count(f'<td class="{state}">') for state in ("measured", "excluded", "received", "missing")]
        for name, page in pages.items()
    }
    assert cells == {"Lyon": [1, 1, 0, 0], "Oslo": [0, 0, 1, 1]}
    links = {link for page in pages.values() for link in re.findall(r'href="(?!#)([^"]+)"', page)}
    assert links == {"../report.html", "site-Lyon-scanners.html"}
    linked = {link.partition("#")[0] for link in re.findall(r'href="(?!#)([^"]+)"', overview)}
    assert linked == {str(path.relative_to(out)) for path in (out / "sites").iterdir()}
    assert 'class="card"' not in overview
    assert [page.count('class="card"') for page in pages.values()] == [2, 0]
    _pages_are_proved_and_made_again(out, scans, config)


def _pages_are_proved_and_made_again(out, scans, config):
    page = out / "sites" / "site-Oslo.html"
    content = page.read_bytes()
    page.write_bytes(content + b" ")
    assert [(fault.kind, fault.path) for fault in verify(out).faults] == [("changed", "sites/site-Oslo.html")]
    run_batch(scans, out, ThresholdSegmenter(), config)
    assert page.read_bytes() == content
    (out / "sites" / "site-Paris.html").write_bytes(b"x")
    assert [(fault.kind, fault.path) for fault in verify(out).faults] == [("added", "sites/site-Paris.html")]
    (out / "sites" / "site-Paris.html").unlink()
    moved = [replace(scan, site="Bergen") if scan.site == "Lyon" else scan for scan in scans]
    run_batch(moved, out, ThresholdSegmenter(), config)
    assert {path.name for path in (out / "sites").iterdir()} == {
        *("site-Bergen.html", "site-Bergen-scanners.html", "site-Oslo.html"),
    }
    assert verify(out).passed
