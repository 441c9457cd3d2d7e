"""A trial that was computed from a table and not from a batch: the trace says where it ends."""

import json

import pytest
from trial_tables import RESULTS, scan, write_csv

from volumetry.errors import UsageError
from volumetry.explain import explain
from volumetry.storage.digests import file_sha256


@pytest.fixture
def trial(tmp_path):
    """One row of changes.csv, and the record of the trial beside it."""
    (tmp_path / "data").mkdir()
    results = write_csv(tmp_path / "data" / "results.csv", RESULTS, [scan("a", 10.0), scan("b", 8.0)])
    (tmp_path / "trial").mkdir()
    row = {
        "subject": "S1",
        "visit": "d28",
        "measure": "lesion",
        "arm": "A",
        "baseline_scan_id": "a",
        "scan_id": "b",
    }
    row |= {"baseline_percent": 10.0, "value_percent": 8.0}
    table = write_csv(tmp_path / "trial" / "changes.csv", tuple(row), [row])
    record = {
        "software_version": "1",
        "config_sha256": "0" * 64,
        "inputs_sha256": {"results": file_sha256(results), "visits": "0" * 64},
        "files_sha256": {"changes.csv": file_sha256(table)},
    }
    (tmp_path / "trial" / "trial.json").write_text(json.dumps(record), "utf-8")
    return table


def test_scans_of_a_table_are_traced_to_its_rows(trial):
    found = explain(trial, "2")  # the table of results is found beside the trial, by its digest
    assert "batch" not in found
    assert found["table_of_results"] == {"folder": "data", "results_are_those_used": True}
    assert [(one["scan_id"], one["row_of_results"], one["status"]) for one in found["scans"]] == [
        ("a", 2, "measured"),
        ("b", 3, "measured"),
    ]
    assert found["scans"][1]["value"]["percent_of_lung"]["lesion"] == 8.0
    (remark,) = found["remarks"]
    assert "not from a batch" in remark


def test_a_value_that_is_another_in_the_table_now_is_remarked(trial):
    write_csv(trial.parent.parent / "data" / "results.csv", RESULTS, [scan("a", 10.0), scan("b", 9.0)])
    with pytest.raises(UsageError, match="not found beside it"):
        explain(trial, "2")
    remarks = explain(trial, "2", trial.parent.parent / "data")["remarks"]
    assert any("the value that counts now is 9 %" in remark for remark in remarks)
    assert any("another now" in remark for remark in remarks)


def test_a_table_of_nothing_is_said_to_be_that(trial):
    alone = trial.parent.parent / "data" / "results.csv"
    with pytest.raises(UsageError, match="neither a batch nor a trial"):
        explain(alone, "a")
