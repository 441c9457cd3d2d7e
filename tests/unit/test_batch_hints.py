"""What a person is told where a batch cannot go on as asked, and that no name or row is lost on the way."""

import shutil
from dataclasses import replace

import pydicom
import pytest
from batch_command import SMALL
from scenes import chest, scan_of
from typer.testing import CliRunner

from volumetry.batch import ScanFolder, decide, find_scans, read_manifest, run_batch, verify
from volumetry.batch.derive import scans_without_files
from volumetry.cli import app
from volumetry.errors import UsageError
from volumetry.phantom import SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter


@pytest.fixture
def batch(tmp_path, monkeypatch, config):
    """Two measured scans, and how to run again."""
    hu, _ = chest()
    monkeypatch.setattr("volumetry.pipeline.read_scan", lambda *_: replace(scan_of(hu), input_sha256="0" * 64))
    scans = []
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(name.encode())
        scans.append(ScanFolder(name, tmp_path / name))
    out = tmp_path / "out"

    def run(which=scans, leftovers="ask"):
        return run_batch(which, out, ThresholdSegmenter(), config, leftovers=leftovers)

    run()
    return out, scans, run


def test_a_later_delivery_does_not_take_the_name_of_an_earlier_scan(batch, tmp_path):
    out, _, run = batch
    row = (out / "results.csv").read_bytes()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "1.dcm").write_bytes(b"another patient")
    other = ScanFolder("a", tmp_path / "later")
    with pytest.raises(UsageError, match="other files than before under the same scan_id: a"):
        run([other], "append")
    assert (out / "results.csv").read_bytes() == row
    assert not (out / "earlier").exists()
    run([other], "replace")
    assert (out / "earlier" / "a" / "1").is_dir()
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "b", copied)
    run([ScanFolder("b", copied)], "append")
    assert not (out / "earlier" / "b").exists(), "the same files elsewhere are the same scan"


def test_a_decision_says_why_there_is_nothing_to_decide(batch):
    out, scans, run = batch
    run(scans[:1], "prune")
    for scan_id, words in (("b", "moved to earlier/"), ("nobody", "has no scan nobody")):
        with pytest.raises(UsageError, match=words):
            decide(out, scan_id, "accept", "A. Reader", "fine")
    (out / "scans" / "a" / "record.json").unlink()
    with pytest.raises(UsageError, match="is not whole"):
        decide(out, "a", "accept", "A. Reader", "fine")


def test_a_decision_says_that_the_tables_wait(batch):
    out, _, _ = batch
    assert scans_without_files(out) == []
    shutil.rmtree(out / "scans" / "b")
    given = ["decide", str(out), "a", "exclude", "--name", "A. Reader", "--reason", "motion"]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    assert "b lost its files" in found.stderr
    assert "Run the batch again" in found.stderr


def test_what_an_interrupted_run_left_comes_with_advice(batch):
    out, _, run = batch
    (out / ".work" / "x").mkdir(parents=True)
    (fault,) = verify(out).faults
    assert (fault.kind, fault.path) == ("added", ".work")
    assert "run the batch again" in fault.detail
    run()
    assert verify(out).passed


def test_a_place_without_a_header_does_not_keep_the_name_of_its_folder(tmp_path):
    phantom = make_phantom(SMALL)
    write_series(phantom, tmp_path / "Mustermann" / "baseline", SeriesSpec())
    for path in (tmp_path / "Mustermann" / "baseline").iterdir():
        header = pydicom.dcmread(path)
        header.PatientName = "Mustermann^Erika"
        header.save_as(path)
    (tmp_path / "Mustermann" / "day 28").mkdir()
    (tmp_path / "Mustermann" / "day 28" / "1.dcm").write_bytes(b"torn")
    (tmp_path / "S02" / "baseline").mkdir(parents=True)
    (tmp_path / "S02" / "baseline" / "1.dcm").write_bytes(b"torn")
    scans = find_scans(tmp_path, "{subject}/{visit}")
    assert len(scans) == 3
    told = [text for scan in scans for text in (scan.scan_id, scan.subject, scan.visit, scan.key_fault)]
    assert not [text for text in told if "mustermann" in text.casefold()]
    assert [scan.subject for scan in scans] == ["", "", "S02"]


def test_a_path_that_is_listed_twice_is_named_as_that(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "list.csv").write_text("path,subject\nx,S1\nx/.,S2\n", "utf-8")
    with pytest.raises(UsageError, match="line 3: the path of line 2 again"):
        read_manifest(tmp_path / "list.csv")
