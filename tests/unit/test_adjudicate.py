"""Two blinded readers: agreement as published, and one accepted value for each reading, with who and why."""

import csv
import json

import pytest
from dictionaries import not_described

from volumetry.blinding.adjudicate import SHARES, adjudicate, write_adjudication
from volumetry.blinding.agreement import icc_absolute, kappa, limits_of_agreement
from volumetry.blinding.package import READ_COLUMNS
from volumetry.errors import UsageError
from volumetry.storage.csv_tables import TableError


def test_the_intraclass_correlation_is_that_of_shrout_and_fleiss():
    """Shrout and Fleiss 1979, table 2: six targets, four judges; the interval is that of R's package psych."""
    found = icc_absolute([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert found.value == pytest.approx(0.29, abs=0.005)
    assert (found.low, found.high) == (pytest.approx(0.019, abs=0.0005), pytest.approx(0.76, abs=0.005))
    assert icc_absolute([[1, 1], [2, 2], [5, 5]]).value == pytest.approx(1)
    assert icc_absolute([[1, 1], [1, 1], [1, 1]]) is None


def test_the_limits_of_agreement_are_those_of_bland_and_altman():
    """Bland and Altman 1986, peak flow by two meters: -2.1 (-22.0 to 17.8), limits -79.7 and 75.5 by 2 SD."""
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    found = limits_of_agreement(mini, wright)
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert (found.bias.low, found.bias.high) == (pytest.approx(-22.0, abs=0.1), pytest.approx(17.8, abs=0.1))
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias.value - 2 * found.sd, found.bias.value + 2 * found.sd) == (
        pytest.approx(-79.7, abs=0.1),
        pytest.approx(75.5, abs=0.1),
    )
    assert found.upper.value == pytest.approx(found.bias.value + 1.96 * found.sd, abs=0.01)


def test_kappa_is_that_of_cohen():
    """20 both yes, 15 both no, 5 and 10 apart: observed 0.7, by chance 0.5, kappa 0.4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = kappa([a for a, _ in pairs], [b for _, b in pairs])
    assert found.value == pytest.approx(0.4)
    assert found.high - found.value == pytest.approx(1.96 * (0.7 * 0.3 / 50) ** 0.5 / 0.5, rel=1e-3)
    assert kappa([True, True], [True, True]) is None


@pytest.fixture
def package(tmp_path):
    (tmp_path / "package").mkdir()
    readings = {f"R000{n}": {} for n in (1, 2, 3)}
    (tmp_path / "package" / "manifest.json").write_text(json.dumps({"readings": readings}))
    return tmp_path / "package"


def read(reading, reader, lesion=10.0, solid=4.0, **more):
    row = dict.fromkeys(READ_COLUMNS, "") | {"reading_id": reading, "reader": reader, "evaluable": "yes"}
    shares = dict(zip(SHARES, (lesion, lesion - solid, solid), strict=True))
    return (
        row | {name: str(value) for name, value in shares.items()} | {"normal_ct": "no", "fibrosis": "no"} | more
    )


def table(package, name, rows):
    path = package.parent / name
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, READ_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def by_reading(found):
    return {row["reading_id"]: row for row in found.accepted}


def two_readers(package):
    """They agree on the first, differ by 8 points on the second, and on the third one sees fibrosis."""
    a = table(package, "a.csv", [read("R0001", "A"), read("R0002", "A", 10), read("R0003", "A", fibrosis="yes")])
    b = table(package, "b.csv", [read("R0001", "B", 12), read("R0002", "B", 18), read("R0003", "B")])
    return [a, b]


def test_within_the_limit_the_mean_is_accepted_and_beyond_it_the_adjudicators_value(package, tmp_path):
    reads = two_readers(package)
    found = adjudicate(package, reads, 5.0, "C")
    assert found.waiting == ["R0002", "R0003"]
    write_adjudication(found, tmp_path / "out", "C")
    assert not_described(tmp_path / "out") == []
    form = list(csv.DictReader((tmp_path / "out" / "adjudication.csv").read_text("utf-8").splitlines()))
    assert [(row["reading_id"], row["reader"], row["lesion_percent"]) for row in form] == [
        ("R0002", "C", ""),
        ("R0003", "C", ""),
    ]
    first = by_reading(found)["R0001"]
    assert (first["lesion_percent"], first["ground_glass_percent"], first["solid_percent"]) == (11.0, 7.0, 4.0)
    assert (first["accepted"], first["accepted_by"]) == ("yes", "A and B")
    assert by_reading(found)["R0002"]["accepted"] == "no"
    assert by_reading(found)["R0002"].get("lesion_percent") is None
    third = table(package, "c.csv", [read("R0002", "C", 17), read("R0003", "C", fibrosis="yes")])
    done = adjudicate(package, [*reads, third], 5.0, "C")
    assert done.waiting == []
    second = by_reading(done)["R0002"]
    assert (second["lesion_percent"], second["accepted_by"]) == (17.0, "C")
    assert "lesion_percent differs by 8 points" in second["why"]
    assert by_reading(done)["R0003"]["fibrosis"] is True
    agreement = {(row["measure"], row["statistic"]): row for row in done.agreement}
    assert agreement["lesion_percent", "bias"]["value"] == pytest.approx((2 + 8 + 0) / 3)
    assert agreement["evaluable", "kappa"].get("value") is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lesion_percent": "101"}, "row 2, column lesion_percent: is not a number from 0 to 100"),
        ({"solid_percent": "9"}, "row 2, column lesion_percent: is 5 points off"),
        ({"evaluable": "no"}, "has a value, but the reading is not evaluable"),
        ({"evaluable": ""}, "column evaluable: must be yes or no"),
        ({"fibrosis": "maybe"}, "column fibrosis: must be yes, no or empty"),
        ({"normal_ct": "yes"}, "column normal_ct: is yes, but there is lesion"),
        ({"reading_id": "R0009"}, "is not a reading of this package"),
        ({"reading_id": "R0002"}, "is read twice by one reader"),
        ({"reader": ""}, "column reader: is empty"),
    ],
)
def test_a_read_that_cannot_be_is_named(package, wrong, says):
    rows = [read("R0001", "A") | wrong, read("R0002", "A"), read("R0003", "A")]
    b = table(package, "b.csv", [read(f"R000{n}", "B") for n in (1, 2, 3)])
    with pytest.raises(TableError, match=says):
        adjudicate(package, [table(package, "a.csv", rows), b], 5.0, "C")


def test_a_form_that_was_filled_in_is_never_overwritten(package, tmp_path):
    both = two_readers(package)
    out, form = tmp_path / "out", tmp_path / "out" / "adjudication.csv"
    write_adjudication(adjudicate(package, both, 5, "R3"), out, "R3")
    empty = form.read_bytes()
    write_adjudication(adjudicate(package, both, 5, "R3"), out, "R3")
    assert form.read_bytes() == empty
    table(package, "out/adjudication.csv", [read(f"R000{n}", "R3", 12, comment="motion") for n in (2, 3)])
    filled = form.read_bytes()
    write_adjudication(adjudicate(package, both, 5, "R3"), out, "R3")  # the form was not given
    assert form.read_bytes() == filled
    found = adjudicate(package, [*both, form], 5, "R3")
    write_adjudication(found, out, "R3")
    assert not found.waiting
    assert form.read_bytes() == filled
    table(package, "out/adjudication.csv", [read("R0002", "R3", 12)])
    accepted = (out / "accepted.csv").read_bytes()
    with pytest.raises(UsageError, match="filled in already"):
        write_adjudication(adjudicate(package, both, 5, "R3"), out, "R3")
    assert (out / "accepted.csv").read_bytes() == accepted


def test_the_set_must_be_complete_and_the_adjudicator_asked(package):
    a, b = two_readers(package)
    short = table(package, "short.csv", [read("R0001", "B"), read("R0003", "B")])
    with pytest.raises(TableError, match="R0002 was not read by B"):
        adjudicate(package, [a, short], 5.0, "C")
    needless = table(package, "c.csv", [read("R0001", "C")])
    with pytest.raises(TableError, match="R0001 needs no adjudicator"):
        adjudicate(package, [a, b, needless], 5.0, "C")
    with pytest.raises(UsageError, match="two readers"):
        adjudicate(package, [a], 5.0, "C")
    with pytest.raises(UsageError, match="limit"):
        adjudicate(package, [a, b], float("nan"), "C")
