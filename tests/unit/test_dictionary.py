"""The dictionary beside a table: every column that a table can have is described, with the unit of its numbers."""

import csv
import io

import pytest
from dictionaries import not_described

from volumetry.assurance.bridge import report as bridge
from volumetry.batch import queries, status, tables
from volumetry.blinding import adjudicate, package
from volumetry.deliver import columns
from volumetry.deliver.people import NAMES
from volumetry.deliver.tables import dictionary_bytes, header_of
from volumetry.intake import run as intake
from volumetry.trial import (
    change,
    compare,
    families,
    layout,
    missing,
    mixed,
    models,
    other_outcomes,
    outcomes,
    people,
)

EVERY = (
    *(
        ("batch", name, written)
        for name, written in (
            ("results.csv", (*columns(), "site", "subject", "visit", "batch_flags", *NAMES)),
            ("scans.csv", tables.SCANS),
            ("queries.csv", (*queries.COLUMNS, *queries.STATE)),
            ("decisions.csv", tables.DECISIONS),
            ("corrections.csv", tables.CORRECTIONS),
            ("visits.csv", tables.VISITS),
        )
    ),
    *(
        ("trial", name, written)
        for name, written in (
            ("endpoint.csv", compare.COLUMNS),
            ("secondary.csv", compare.COLUMNS),
            ("sensitivity.csv", (*compare.COLUMNS, "analysis")),
            ("changes.csv", change.COLUMNS),
            ("events.csv", outcomes.EVENT_COLUMNS),
            ("summary.csv", outcomes.SUMMARY_COLUMNS),
            ("missing.csv", missing.COLUMNS),
            ("readings.csv", people.COLUMNS),
            ("replaced.csv", other_outcomes.REPLACED_COLUMNS),
            ("mixed.csv", mixed.COLUMNS),
            ("models.csv", models.COLUMNS),
            ("decisions.csv", families.COLUMNS),
            ("table.csv", ("arm_a", "arm_b", "measure", *layout.HEADINGS)),
        )
    ),
    *(
        ("bridge", name, written)
        for name, written in (
            ("shifts.csv", bridge.SHIFTS),
            ("agreement.csv", bridge.AGREEMENT),
            ("changed.csv", bridge.CHANGED),
            ("conclusions.csv", bridge.CONCLUSIONS),
        )
    ),
    ("intake", "manifest.csv", intake.COLUMNS),
    ("intake", "sources.csv", intake.OF_SOURCES),
    ("intake", "expected.csv", intake.OF_VISITS),
    ("adjudication", "joined.csv", ("scan_id", *package.PLAN_COLUMNS, *adjudicate.ACCEPTED)),
    *(
        ("adjudication", name, written)
        for name, written in (
            ("accepted.csv", adjudicate.ACCEPTED),
            ("agreement.csv", adjudicate.AGREEMENT),
            ("adjudication.csv", package.READ_COLUMNS),
        )
    ),
)


def _said(kind, name, written):
    rows = csv.DictReader(io.StringIO(dictionary_bytes(kind, {name: written}).decode("utf-8")))
    return {row["column"]: (row["unit"], row["meaning"]) for row in rows}


@pytest.mark.parametrize(
    ("kind", "name", "written"), EVERY, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_column_of_every_table_is_described(kind, name, written):
    found = _said(kind, name, written)
    assert list(found) == list(dict.fromkeys(written))
    assert [column for column, (_, meaning) in found.items() if not meaning] == []


def test_units_follow_from_the_name_or_are_stated():
    changes = _said("trial", "changes.csv", change.COLUMNS)
    ends = {"_ml": ("mL", "HU.mL"), "_percent": ("%",), "_g": ("g",), "_points": ("points of lung",)}
    for column, (unit, _) in changes.items():
        for end, units in ends.items():
            assert not column.endswith(end) or unit in units, column
    results = _said("batch", "results.csv", columns())
    assert results["volumes_ml.lung"][0] == "mL"
    assert results["percent_of_lung.solid"][0] == "%"
    assert results["hu_bins_ml.below_-750"][0] == "mL"


def test_other_hu_cuts_are_described_too():
    cuts = (-900.0, -800.0, 0.5)
    found = _said("batch", "results.csv", columns(cuts))
    assert found["hu_bins_ml.-900_to_-800"][0] == "mL"
    assert all(meaning for _, meaning in found.values())


def test_a_column_that_nobody_knows_has_no_meaning(tmp_path):
    assert _said("trial", "x.csv", ("visit", "unheard"))["unheard"] == ("", "")
    assert header_of(b'\xef\xbb\xbfa,"b,c"\n1,2\n') == ("a", "b,c")
    (tmp_path / "x.csv").write_text("visit,unheard\n", "utf-8")
    (tmp_path / "dictionary.csv").write_bytes(dictionary_bytes("trial", {"x.csv": ("visit", "unheard")}))
    assert not_described(tmp_path) == ["x.csv: unheard"]


def test_columns_are_described_once():
    assert set(status.COLUMNS) & {"state", "queries_open"}
    assert _said("batch", "visit_status.csv", ("state",))["state"][1] == "", "status.COLUMNS describes it"
