"""Two batches of the same scans: how numbers moved, what else changed, which conclusions flip."""

import csv
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from dictionaries import not_described
from typer.testing import CliRunner

from volumetry.assurance.bridge import Limits, compare_batches
from volumetry.assurance.bridge.conclusions import conclusions
from volumetry.cli import app
from volumetry.trial.compare import Comparison
from volumetry.trial.statistics import RankTest, summarise

SAMPLE = Path(__file__).parents[2] / "data-sample" / "trial"
PIXELS = "provenance.pixels_sha256"


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def written(folder, rows):
    folder.mkdir()
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def measured():
    rows = [row for row in rows_of(SAMPLE / "results.csv") if row["status"] == "measured"][:12]
    for number, row in enumerate(rows):
        row[PIXELS] = f"{number:064x}"
    return rows


def moved(rows, points):
    return [
        row | {"percent_of_lung.lesion": float(row["percent_of_lung.lesion"]) + by}
        for row, by in zip(rows, points, strict=True)
    ]


def test_bias_and_limits_are_those_of_bland_and_altman(measured, tmp_path):
    # n = 12 differences of +-1: mean 0, SD sqrt(12 / 11); limits at 1.96 SD; t(0.975; 11) = 2.201.
    new = written(tmp_path / "new", moved(measured, [1, -1] * 6))
    outcome = compare_batches(written(tmp_path / "old", measured), new, tmp_path / "out", Limits(points=0.9))
    lesion, *others = rows_of(tmp_path / "out" / "agreement.csv")
    sd = (12 / 11) ** 0.5
    assert (lesion["quantity"], lesion["n"], lesion["beyond_limit"]) == ("lesion", "12", "12")
    assert float(lesion["bias"]) == pytest.approx(0, abs=1e-12)
    assert float(lesion["upper"]) == pytest.approx(1.96 * sd)
    assert float(lesion["bias_high"]) == pytest.approx(2.201 * sd / 12**0.5, rel=1e-4)
    assert all(float(row["bias"]) == 0 and row["beyond_limit"] == "0" for row in others)
    assert not_described(tmp_path / "out") == []
    assert outcome.compared == 12
    assert not outcome.changed


def test_a_scan_beyond_its_limit_is_listed_and_the_limit_itself_is_not_beyond(measured, tmp_path):
    new = moved(measured, [0.5] * 10 + [3, -3])
    new[0]["volumes_ml.lung"] = 1.03 * float(measured[0]["volumes_ml.lung"])
    outcome = compare_batches(
        written(tmp_path / "old", measured), written(tmp_path / "new", new), tmp_path / "out", Limits(0.75, 2.0)
    )
    listed = {(shift.scan_id, shift.quantity): round(shift.difference, 6) for shift in outcome.beyond}
    assert listed == {
        (measured[10]["scan_id"], "lesion"): 3.0,
        (measured[11]["scan_id"], "lesion"): -3.0,
        (measured[0]["scan_id"], "lung"): 3.0,
    }
    said = re.sub(r"<[^>]+>", " ", html.unescape((tmp_path / "out" / "bridge.html").read_text("utf-8")))
    assert measured[10]["scan_id"] in said
    assert "+3.00 points" in said


def test_what_cannot_be_compared_is_said_and_not_counted(measured, tmp_path):
    new = [dict(row) for row in measured[1:]]  # the first is missing
    new[0] |= {"status": "refused", "code": "MISSING_SLICES"}
    new[1][PIXELS] = "f" * 64
    new[2] |= {"status": "review", "flags": "METAL"}
    new.append(measured[0] | {"scan_id": "added", PIXELS: "e" * 64})
    old, new = written(tmp_path / "old", measured), written(tmp_path / "new", new)
    outcome = compare_batches(old, new, tmp_path / "out")
    what = {(scan_id, kind.split(":")[0]): (was, now) for scan_id, kind, was, now in outcome.changed}
    assert what == {
        (measured[0]["scan_id"], "only in the old batch"): ("measured", ""),
        (measured[1]["scan_id"], "status"): ("measured", "refused MISSING_SLICES"),
        (measured[2]["scan_id"], "other images under this id"): ("", ""),
        (measured[3]["scan_id"], "status"): ("measured", "review"),
        (measured[3]["scan_id"], "flags"): ("", "METAL"),
        ("added", "only in the new batch"): ("", "measured"),
    }
    assert outcome.compared == 12 - 3
    assert json.loads((tmp_path / "out" / "bridge.json").read_text("utf-8"))["compared"] == 9


def test_a_readers_correction_of_one_batch_is_no_shift_of_the_model(measured, tmp_path):
    wanted = [
        *(f"percent_of_lung.{name}" for name in ("lesion", "ground_glass", "solid")),
        *(f"volumes_ml.{name}" for name in ("lung", "lesion", "ground_glass", "solid")),
    ]
    old = [row | dict.fromkeys((f"automatic.{name}" for name in wanted), "") for row in measured]
    for row in old[:2]:
        row |= {f"automatic.{name}": row[name] for name in wanted}
        row |= {
            "reading": "reader",
            "corrected_by": "R1",
            "percent_of_lung.lesion": "99",
            "volumes_ml.lung": "9000",
        }
    old[1]["automatic.volumes_ml.lung"] = ""
    outcome = compare_batches(
        written(tmp_path / "old", old), written(tmp_path / "new", measured), tmp_path / "out"
    )
    assert outcome.compared == 11
    assert not outcome.beyond
    assert all(float(row["bias"]) == 0 for row in rows_of(tmp_path / "out" / "agreement.csv"))
    named = [(scan_id, was, now) for scan_id, what, was, now in outcome.changed if what.startswith("value that")]
    assert named == [(row["scan_id"], "of a reader", "automatic") for row in old[:2]]


def test_a_trial_that_loses_its_effect_is_said_to_conclude_otherwise(tmp_path):
    rows = rows_of(SAMPLE / "results.csv")
    visits = [row for row in rows_of(SAMPLE / "visits.csv") if int(row["subject"].strip("S")) <= 24]
    with (tmp_path / "visits.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, visits[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(visits)
    baseline = {row["scan_id"].split("-")[0]: row for row in rows if row["scan_id"].endswith("-baseline")}
    shares = [f"percent_of_lung.{name}" for name in ("lesion", "ground_glass", "solid")]

    def as_at_baseline(row):
        return {name: baseline[row["scan_id"].split("-")[0]][name] for name in shares if row[name]}

    new = written(tmp_path / "new", [row | as_at_baseline(row) for row in rows])
    command = ["compare", str(SAMPLE), str(new), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--visits", str(tmp_path / "visits.csv")])
    assert done.exit_code == 0, done.output
    lines = rows_of(tmp_path / "out" / "conclusions.csv")
    significant = [line for line in lines if line["p_old"] and float(line["p_old"]) < 0.05]
    assert significant, "the synthetic trial has an effect"
    assert all("significance" in line["flips"] for line in significant)
    assert len(significant) < len(lines)
    assert f"{len([line for line in lines if line['flips']])} conclusions" in done.output
    assert (tmp_path / "out" / "trial-new" / "endpoint.csv").is_file()


def comparison(shift, p):
    summary = summarise(np.array([1.0, 2.0]))
    test = None if p is None else RankTest(p, "exact", 1.0)
    return Comparison("lesion", "absolute_points", "d10", "A", "B", summary, summary, shift=shift, test=test)


@pytest.mark.parametrize(
    ("old", "new", "flips"),
    [
        ((-3.0, 0.01), (-2.0, 0.04), ()),
        ((-3.0, 0.01), (-2.0, 0.05), ("significance",)),
        ((-0.1, 0.6), (0.1, 0.7), ()),  # between two that are not significant the sign is noise
        ((-3.0, 0.01), (3.0, 0.01), ("direction",)),
        ((-3.0, 0.01), (0.5, 0.5), ("significance", "direction")),
        ((-3.0, 0.01), (None, None), ("estimate", "significance")),
    ],
)
def test_what_flips(old, new, flips):
    (found,) = conclusions([comparison(*old)], [comparison(*new)], 0.05)
    assert found.flips == flips


def test_the_new_trial_keeps_exclusions_and_corrections_of_the_same_images(measured, tmp_path):
    people = ("decision", "decided_by", "outdated_decision", "corrected_by")
    old = [row | dict.fromkeys(people, "") | {"automatic.percent_of_lung.solid": ""} for row in measured]
    old[0] |= {"decision": "exclude", "decided_by": "A. Manager"}
    old[1] |= {"outdated_decision": "exclude by A. Manager on 2026-01-01: motion"}
    old[2] |= {"decision": "accept", "decided_by": "R1"}
    corrected = {"reading": "reader", "corrected_by": "R2", "decision": "accept", "percent_of_lung.solid": "0.5"}
    old[3] |= corrected | {"automatic.percent_of_lung.solid": measured[3]["percent_of_lung.solid"]}
    old[4] |= corrected
    old[5] |= {"decision": "exclude"}
    new = [row | {"percent_of_lung.solid": "0.25"} for row in measured]
    new[4]["component_rule"] = f"not {measured[4]['component_rule']}"
    new[5][PIXELS] = "f" * 64
    visits = SAMPLE / "visits.csv"
    ids = {row["scan_id"] for row in measured}
    kept = [row for row in rows_of(visits) if row["scan_id"] in ids]
    with (tmp_path / "visits.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, kept[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    sides = written(tmp_path / "old", old), written(tmp_path / "new", new)
    compare_batches(*sides, tmp_path / "out", visits=tmp_path / "visits.csv")
    adopted = rows_of(tmp_path / "out" / "results-adopted.csv")
    assert [row["decision"] for row in adopted[:6]] == ["exclude", "", "", "accept", "", ""]
    assert adopted[1]["outdated_decision"].startswith("exclude by")
    assert [row["percent_of_lung.solid"] for row in adopted[2:6]] == ["0.25", "0.5", "0.25", "0.25"]
    assert adopted[3]["automatic.percent_of_lung.solid"] == "0.25"
    missing = {(row["scan_id"], row["reason"]) for row in rows_of(tmp_path / "out" / "trial-new" / "missing.csv")}
    assert {(adopted[0]["scan_id"], "EXCLUDED"), (adopted[1]["scan_id"], "EXCLUSION_OUTDATED")} <= missing
    assert not_described(tmp_path / "out") == []
