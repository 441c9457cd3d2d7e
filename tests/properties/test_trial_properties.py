"""What is true of every trial."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volumetry.domain import Status
from volumetry.storage.csv_tables import csv_bytes, number_in, read_table
from volumetry.trial import pairwise
from volumetry.trial import statistics as ours
from volumetry.trial.comparability import grade_pair
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import ScanRow

samples = st.lists(st.integers(-500, 500), min_size=4, max_size=15).map(lambda x: np.array(x, float))
LIMITS = load_trial_config().pair


@given(samples, samples, st.integers(-100, 100))
def test_moving_one_arm_moves_the_shift_and_its_interval(a, b, by):
    assert pairwise.hodges_lehmann(a + by, b) == pairwise.hodges_lehmann(a, b) + by
    before, after = (ours.shift_interval(x, b, 0.9, exact=False) for x in (a, a + by))
    assert (before is None) == (after is None)
    if before is not None:
        assert (after.low, after.high) == (before.low + by, before.high + by)


@given(samples, samples)
def test_swapping_the_arms_turns_the_sign(a, b):
    assert pairwise.hodges_lehmann(a, b) == -pairwise.hodges_lehmann(b, a)
    for exact in (True, False):
        there, back = ours.shift_interval(a, b, 0.9, exact), ours.shift_interval(b, a, 0.9, exact)
        assert (there is None) == (back is None)
        if there is not None:
            assert (there.low, there.high) == (-back.high, -back.low)
            assert there.low <= pairwise.hodges_lehmann(a, b) <= there.high
    one, other = ours.rank_sum(a, b, 50), ours.rank_sum(b, a, 50)
    assert (one is None) == (other is None)
    if one is not None:
        assert one.p == pytest.approx(other.p)
        assert 0 < one.p <= 1


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_and_keeps_the_order(p):
    adjusted = ours.holm(p)
    assert all(raw <= new <= 1 for raw, new in zip(p, adjusted, strict=True))
    by_raw = [new for _raw, new in sorted(zip(p, adjusted, strict=True))]
    assert by_raw == sorted(by_raw)


@given(st.floats(500, 9000), st.floats(500, 9000))
def test_predicted_shift_is_what_breath_alone_does_to_a_share(base_ml, visit_ml):
    scans = [ScanRow("s", Status.MEASURED, None, ml={"lung": ml, "lesion": 100.0}) for ml in (base_ml, visit_ml)]
    pair = grade_pair(*scans, LIMITS)
    before, after = 100 * 100 / base_ml, 100 * 100 / visit_ml
    assert pair.predicted_shift_percent == pytest.approx(100 * (after - before) / before, abs=1e-9)
    off = abs(visit_ml / base_ml - 1)
    if abs(off - 0.10) > 1e-6 and abs(off - 0.15) > 1e-6:
        assert pair.grade == ("A" if off < 0.10 else "B" if off < 0.15 else "C")


cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@given(st.lists(cells, min_size=1, max_size=6))
def test_a_table_comes_back_as_it_was_written_and_runs_no_formula(texts):
    rows = [{"subject": "007", "text": text} for text in texts]
    content = csv_bytes(("subject", "text"), rows)
    for row in list(csv.reader(io.StringIO(content.decode("utf-8"))))[1:]:
        assert not row[1].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("text", ["=1+1", "+49", "-x", "@a", "plain", "'quoted", 'with "quotes", and, commas'])
def test_disarming_is_undone_on_reading(tmp_path, text):
    (tmp_path / "t.csv").write_bytes(csv_bytes(("subject", "text"), [{"subject": "007", "text": text}]))
    row = read_table(tmp_path / "t.csv", ("subject",)).rows[0]
    assert (row.cells["subject"], row.cells["text"]) == ("007", text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_digit_of_a_number_survives(value):
    assert number_in(csv_bytes(("x",), [{"x": value}]).decode().split()[1]) == value
