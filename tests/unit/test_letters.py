"""Queries: a name that lasts, one letter for each site with what is new, and what became of them."""

import csv
import html
import re

import pytest
from typer.testing import CliRunner

from volumetry.batch import list_scans, run_batch, verify
from volumetry.batch.letters import answer, write_letters
from volumetry.cli import app
from volumetry.config import load_config
from volumetry.errors import UsageError
from volumetry.segment.hu_segmenter import ThresholdSegmenter


def delivered(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "notes.txt").write_text("the images come later")


@pytest.fixture
def batch(tmp_path):
    root, out = tmp_path / "scans", tmp_path / "out"
    delivered(root, "A/S1/v1", "A/S2/v1", "B/S3/v1")

    def run():
        scans = list_scans(root, "{site}/{subject}/{visit}")
        run_batch(scans, out, ThresholdSegmenter(), load_config())

    run()
    return root, out, run


def queries(out):
    with (out / "queries.csv").open(encoding="utf-8", newline="") as stream:
        return {row["scan_id"]: row for row in csv.DictReader(stream)}


def said(path):
    return re.sub(
        r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html.unescape(path.read_text("utf-8")), flags=re.S)
    )


def test_a_query_is_sent_once_and_its_answer_stands_in_the_table(batch, tmp_path):
    root, out, run = batch
    before = queries(out)
    assert {row["state"] for row in before.values()} == {"open"}
    assert len({row["query_id"] for row in before.values()}) == 3
    done = CliRunner().invoke(
        app, ["letters", str(out), "--out", str(tmp_path / "letters"), "--name", "M", "--study", "T1"]
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "letters").iterdir()) == ["letter-A-1.html", "letter-B-1.html"]
    letter = said(tmp_path / "letters" / "letter-A-1.html")
    for row in before.values():
        assert (row["query_id"] in letter) == (row["site"] == "A")
    assert "2 queries" in letter
    assert letter.count("Request:") == 1, "both scans of A are empty: the request stands once"
    assert "Study T1" in letter
    assert "subject S1, visit v1" in letter
    assert {row["state"] for row in queries(out).values()} == {"sent"}

    delivered(root, "B/S4/v1")
    run()  # a later run keeps names and states; only what is new is in the next letter
    (second,) = write_letters(out, tmp_path / "letters", "M")
    assert (second.site, second.queries, second.path.name) == ("B", 1, "letter-B-2.html")
    assert write_letters(out, tmp_path / "letters", "M") == []

    own = before["A_S1_v1"]["query_id"]
    answer(out, own, "answered", "M", "resent on 3 March")
    row = queries(out)["A_S1_v1"]
    assert (row["query_id"], row["state"], row["state_by"], row["answer"]) == (
        own,
        "answered",
        "M",
        "resent on 3 March",
    )
    done = CliRunner().invoke(app, ["answer", str(out), own, "--text", "=1+1", "--name", "M", "--close"])
    assert done.exit_code == 0, done.output
    assert (queries(out)["A_S1_v1"]["state"], queries(out)["A_S1_v1"]["answer"]) == ("closed", "'=1+1")
    assert verify(out).faults == ()

    (root / "A/S1/v1" / "notes.txt").write_text("sent again, and still no images")
    run()
    assert queries(out)["A_S1_v1"]["state"] == "open"
    assert queries(out)["A_S2_v1"]["state"] == "sent"


def test_what_cannot_be_entered_is_said(batch, tmp_path):
    _, out, _ = batch
    own = queries(out)["A_S1_v1"]["query_id"]
    for wrong in (
        lambda: answer(out, "0123456789", "closed", "M", "why"),
        lambda: answer(out, own, "lost", "M", "why"),
        lambda: answer(out, own, "closed", " ", "why"),
        lambda: answer(out, own, "closed", "M", ""),
        lambda: write_letters(out, tmp_path / "letters", ""),
        lambda: write_letters(tmp_path / "elsewhere", tmp_path / "letters", "M"),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert {row["state"] for row in queries(out).values()} == {"open"}
