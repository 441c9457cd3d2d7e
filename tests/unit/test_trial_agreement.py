"""The visits table against the batch: whose scan it is, and whether two rows show one scan."""

import pytest
from trial_tables import RESULTS, VISITS, read, scan, visit, write_csv

from volumetry.storage.csv_tables import TableError
from volumetry.trial import run_trial
from volumetry.trial.agreement import disagreements, require_agreement
from volumetry.trial.change import changes_of
from volumetry.trial.config import load_trial_config

CONFIG = load_trial_config()
PIXELS = "provenance.pixels_sha256"
ROWS = [
    visit("S1", "baseline", 0, "a"),
    visit("S1", "d28", 28, "b"),
    visit("S2", "baseline", 0, "c"),
    visit("S2", "d28", 28, "d"),
]


def _scans(pixels="wxyz", **of_b):
    cells = [("a", "S1", "BASELINE"), ("b", "S1", "D 28"), ("c", "S2", "baseline"), ("d", "S2", "d28")]
    rows = [
        scan(name, subject=subject, visit=of, **{PIXELS: digest})
        for (name, subject, of), digest in zip(cells, pixels, strict=True)
    ]
    rows[1] |= of_b
    return rows


def _grades(tmp_path, pixels):
    known, visits = read(tmp_path, _scans(pixels), ROWS, CONFIG)
    changes = [c for c in changes_of(visits, known, CONFIG) if c.measure == "lesion" and not c.is_baseline]
    return {c.subject: (c.pair.grade, c.pair.reasons) for c in changes}, list(disagreements(visits, known))


@pytest.mark.parametrize(
    ("pixels", "one", "other"),
    [
        ("wxyz", ("A", ()), ("A", ())),
        ("wwyz", ("C", ("SAME_IMAGES:C",)), ("A", ())),
        ("wxyx", ("C", ("SAME_IMAGES_ELSEWHERE:C",)), ("C", ("SAME_IMAGES_ELSEWHERE:C",))),
        (("", "", "", ""), ("A", ()), ("A", ())),
    ],
)
def test_a_pair_whose_images_stand_twice_is_not_comparable(tmp_path, pixels, one, other):
    grades, said = _grades(tmp_path, pixels)
    assert grades == {"S1": one, "S2": other}
    assert len(said) == (len(set(pixels)) == 3)


@pytest.mark.parametrize(
    ("of_b", "column"),
    [({"subject": "S2"}, "column subject"), ({"visit": "Baseline"}, "column visit")],
)
def test_a_scan_of_another_subject_or_visit_stops_the_trial(tmp_path, of_b, column):
    known, visits = read(tmp_path, _scans(**of_b), ROWS, CONFIG)
    with pytest.raises(TableError, match=f"row 3, {column}.*'b'"):
        require_agreement(visits, known, "visits.csv")
    with pytest.raises(TableError, match="row 3"):
        run_trial(tmp_path / "results.csv", tmp_path / "visits.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_the_table_does_not_have_is_only_named(tmp_path):
    known, visits = read(tmp_path, _scans(subject="NCT-S1", visit="V2"), ROWS, CONFIG)
    require_agreement(visits, known, "visits.csv")
    said = list(disagreements(visits, known))
    assert [("subject" in line, "visit " in line, "rows 3" in line) for line in said] == [
        (True, False, True),
        (False, True, True),
    ]


def test_a_table_without_subjects_and_digests_is_taken_as_before(tmp_path):
    scans = [scan(name) for name in "abcd"]
    write_csv(tmp_path / "results.csv", RESULTS, scans)
    write_csv(tmp_path / "visits.csv", VISITS, ROWS)
    known, visits = read(tmp_path, scans, ROWS, CONFIG)
    require_agreement(visits, known, "visits.csv")
    assert list(disagreements(visits, known)) == []
