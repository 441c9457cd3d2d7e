"""N scans in, N rows out; resume; one run at a time. The line itself is replaced by a stand-in."""

import csv
import json
from pathlib import Path

import pydicom
import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.batch import find_scans, run_batch, safe_scan_id
from volumetry.codes import Outcome
from volumetry.domain import Finding, ScanRefusedError
from volumetry.errors import BusyError
from volumetry.segment.hu_segmenter import ThresholdSegmenter


@pytest.fixture
def line(monkeypatch):
    """A reader that gives a drawn chest, a refusal, or a bug, by the folder's name."""
    read = []

    def read_scan(folder: Path, _config):
        read.append(folder.name)
        if "refused" in folder.name:
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "RescaleSlope (0028,1053) is missing")])
        if "bug" in folder.name:
            raise KeyError("ZZPHIZZ")
        return scan_of(chest()[0], AXIAL)

    monkeypatch.setattr("volumetry.pipeline.read_scan", read_scan)
    return read


def _tree(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "1").write_bytes(b"x")
    return root


def _rows(out):
    return list(csv.DictReader((out / "results.csv").read_text("utf-8").splitlines()))


def test_a_bad_scan_and_a_bug_cost_one_row_each(tmp_path, line, config):
    scans = find_scans(_tree(tmp_path / "in", "a", "b_refused", "c_bug", "d"))
    run_batch(scans, tmp_path / "out", ThresholdSegmenter(), config)
    rows = _rows(tmp_path / "out")
    assert [r["scan_id"] for r in rows] == ["a", "b_refused", "c_bug", "d"]
    assert [r["status"] for r in rows][1:3] == ["refused", "failed"]
    assert {r["status"] for r in (rows[0], rows[3])} <= {"measured", "review"}
    assert rows[2]["code"] == "INTERNAL_ERROR"
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"ZZPHIZZ" not in everything  # an exception's text may hold values


def test_running_again_does_only_what_is_missing_torn_or_changed(tmp_path, line, config):
    scans = find_scans(_tree(tmp_path / "in", "a", "b_refused", "c"))
    out = tmp_path / "out"
    run_batch(scans, out, ThresholdSegmenter(), config)
    before = (out / "results.csv").read_bytes()
    line.clear()
    run_batch(scans, out, ThresholdSegmenter(), config)
    assert line == []
    assert (out / "results.csv").read_bytes() == before
    mask = out / "scans" / "a" / "mask.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-1])
    (tmp_path / "in" / "c" / "2").write_bytes(b"more")
    run_batch(scans, out, ThresholdSegmenter(), config)
    assert line == ["a", "c"]
    line.clear()
    other = config.model_copy(update={"profile": "trial"})
    run_batch(scans, out, ThresholdSegmenter(), other)
    assert len(line) == 3


def test_two_runs_never_share_a_folder(tmp_path, line, config):
    scans = find_scans(_tree(tmp_path / "in", "a"))
    out = tmp_path / "out"

    def second_run(*_):
        with pytest.raises(BusyError) as stop:
            run_batch(scans, out, ThresholdSegmenter(), config)
        assert stop.value.exit_code == 75

    run_batch(scans, out, ThresholdSegmenter(), config, second_run)
    assert len(_rows(out)) == 1


def test_scans_are_found_at_any_depth_and_an_empty_folder_is_owed_a_row(tmp_path):
    root = _tree(tmp_path / "in", "s1/v1", "s1/v2", "s2/v1")
    (root / "s3").mkdir()
    (root / "visits.csv").write_text("subject,visit")
    assert [scan.scan_id for scan in find_scans(root)] == ["s1_v1", "s1_v2", "s2_v1", "s3"]


def test_names_that_become_the_same_id_stay_two_scans(tmp_path):
    scans = find_scans(_tree(tmp_path / "in", "a b", "a_b"))
    assert len({scan.scan_id for scan in scans}) == 2


@pytest.mark.parametrize("folder", ["DOE JANE", "2020-Doe-Jane-thorax", "H-4711-x", "h4711"])
def test_a_folder_named_after_the_patient_becomes_a_digest(tmp_path, folder):
    path = tmp_path / folder
    path.mkdir()
    header = pydicom.Dataset()
    header.PatientName, header.PatientID = "Doe^Jane", "H4711"
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    header.save_as(path / "x", enforce_file_format=True)
    assert safe_scan_id(path).startswith("scan-")
    plain = path.rename(tmp_path / "S01_visit2")
    assert safe_scan_id(plain) == "S01_visit2"


def test_the_record_of_a_scan_is_json(tmp_path, line, config):
    run_batch(find_scans(_tree(tmp_path / "in", "a")), tmp_path / "out", ThresholdSegmenter(), config)
    assert json.loads((tmp_path / "out" / "scans" / "a" / "run.json").read_text("utf-8"))["scan_id"] == "a"
