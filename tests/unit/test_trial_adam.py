"""ADSL and ADQS: records, flags and days as ADaM has them, and transport files with labels."""

import csv
import io
from pathlib import Path

import pyreadstat
import pytest

from volumetry.errors import ConfigError
from volumetry.trial import analyse, load_trial_config
from volumetry.trial.adam import adam_files
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

SAMPLE = Path(__file__).resolve().parents[2] / "data-sample" / "trial"


def _files(tmp_path, facts, study="NCT1"):
    """The sample with further columns."""
    lines = (SAMPLE / "visits.csv").read_text("utf-8").splitlines()
    lines = [f"{lines[0]},{','.join(facts)}", *(f"{line},{','.join(facts.values())}" for line in lines[1:])]
    (tmp_path / "visits.csv").write_text("\n".join(lines) + "\n", "utf-8")
    text = f'[output]\nadam_study = "{study}"\n[columns]\ncovariates = {list(facts)!r}\n'
    (tmp_path / "mine.toml").write_text(text.replace("'", '"'), "utf-8")
    config = load_trial_config(tmp_path / "mine.toml")
    scans = read_results(SAMPLE)
    done = analyse(read_visits(tmp_path / "visits.csv", scans, config), scans, config)
    return done, adam_files(done.changes, done.placements, done.visits, config)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return _files(tmp_path_factory.mktemp("adam"), {"age": "61", "sex": "f", "PPROTFL": "yes"})


def _rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_one_record_per_subject_with_flags(made):
    done, files = made
    rows = _rows(files["adsl.csv"])
    assert [row["SUBJID"] for row in rows] == list(done.visits.rows)
    assert {(r["AGE"], r["SEX"], r["PPROTFL"]) for r in rows} == {("61.0", "f", "Y")}
    assert [row["USUBJID"] for row in rows if row["DTHFL"] == "Y"] == ["NCT1-016"]


def test_parameters_are_those_of_changes_csv(made):
    done, files = made
    rows = {(r["USUBJID"], r["PARAMCD"], r["AVISIT"]): r for r in _rows(files["adqs.csv"])}
    for change in (c for c in done.changes if c.measure == "lesion" and "value_percent" in c.levels):
        row = rows[f"NCT1-{change.subject}", "LESPCT", change.visit]
        assert float(row["AVAL"]) == change.levels["value_percent"]
        assert int(row["ADY"]) == (change.day + 1 if change.day >= 0 else change.day)
        assert row["ABLFL"] == ("Y" if change.is_baseline else "")
        for name, scale in (("CHG", "absolute_points"), ("PCHG", "relative_percent")):
            known = change.changes.get(scale)
            assert row[name] == "" if known is None else float(row[name]) == pytest.approx(known)
    walks = [r for (_s, code, _v), r in rows.items() if code == "WALK_M"]
    assert len(walks) == sum("walk_m" in p.values for p in done.placements)


def test_transport_files_have_labels_and_no_time(made, tmp_path):
    _done, files = made
    for name in ("adsl", "adqs"):
        (tmp_path / f"{name}.xpt").write_bytes(files[f"{name}.xpt"])
        frame, meta = pyreadstat.read_xport(str(tmp_path / f"{name}.xpt"))
        rows = _rows(files[f"{name}.csv"])
        assert list(frame.columns) == list(rows[0])
        assert len(frame) == len(rows)
        assert all(label and len(label) <= 40 for label in meta.column_labels)
        assert frame["USUBJID"].tolist() == [row["USUBJID"] for row in rows]
    assert frame["AVAL"].tolist() == pytest.approx([float(row["AVAL"]) for row in rows])
    assert files["adqs.xpt"].count(b"01JAN60:00:00:00") >= 2


def test_no_study_no_files_and_no_two_columns_of_one_name(tmp_path):
    assert _files(tmp_path, {"age": "61"}, study="")[1] == {}
    with pytest.raises(ConfigError, match="same first eight letters"):
        _files(tmp_path, {"screening_a": "1", "screening_b": "2"})
