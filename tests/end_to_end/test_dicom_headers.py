"""`check --dicom` and `receive` on headers as hospitals write them: exit code, objects, result, and silence."""

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from io import BytesIO

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from volumetry.archive.earlier import Part, part_of, result_folder
from volumetry.cli import main
from volumetry.phantom import Lesion, PhantomSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LESIONS = (Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),)
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
KINDS = {
    "Japanese": ({"SpecificCharacterSet": rb"\ISO 2022 IR 87", "PatientName": JAPANESE}, "山田"),
    "Greek": ({"SpecificCharacterSet": b"ISO_IR 126", "PatientName": "Διονυσιος".encode("iso8859_7")}, "Διον"),
    "a misspelt set": ({"SpecificCharacterSet": b"ISO IR 192", "PatientName": "Wang^X=王".encode()}, "王"),
    "a messy header": (
        {
            "PatientAge": b"60",
            "PatientSex": b"Male",
            "PatientBirthDate": b"1960-05-01",
            "StudyDate": b"2026.01.01",
            "AccessionNumber": b"ACC-2026-0000000000000001",
            "StudyID": b"A study id that is much longer than 16",
            "PatientID": b"ID/with^odd chars " + b"x" * 60,
            "PatientName": b"Quixote^B^C^D^E^F",
            "ReferringPhysicianName": b"Dr. X / Dr. Y" + b"y" * 80,
        },
        "Quixote",
    ),
}


@pytest.fixture(scope="module")
def volume():
    return make_phantom(PhantomSpec((62, 96, 96), (4.5, 3.4, 3.4), LESIONS, vessels=False))


def written(volume, folder, values):
    """A series of which every header holds these bytes: put into the files, for pydicom would code them anew."""
    write_series(volume, folder)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        for n, keyword in enumerate(values):
            put(ds, keyword, b"QQ%02d" % n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the place holders are no values of their VR
            ds.save_as(path)
        data = path.read_bytes()
        for n, (keyword, value) in enumerate(values.items()):
            padded = value + b" " * (len(value) % 2)
            assert data.count(b"\x04\x00QQ%02d" % n) == 1, keyword
            data = data.replace(b"\x04\x00QQ%02d" % n, len(padded).to_bytes(2, "little") + padded)
        path.write_bytes(data)
    return folder


def put(ds, keyword, raw):
    tag = Tag(tag_for_keyword(keyword))
    ds._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_check_writes_the_objects_whatever_the_header_says(kind, volume, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())
    values, name = KINDS[kind]
    scan, out = written(volume, tmp_path / "in", values), tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(["check", str(scan), "--out", str(out), "--scan-id", "S", "--dicom", "--pdf", "--capture"])
    said = capfd.readouterr()
    assert not end.value.code, said.err
    for file in ("seg.dcm", "sr.dcm", "report-pdf.dcm", "report-image.dcm"):
        assert name in str(pydicom.dcmread(out / file).PatientName)
    result = json.loads((out / "result.json").read_text("utf-8"))
    codes = {flag["code"] for flag in result["flags"]}
    assert ("EXPORT_NORMALISED" in codes) == (kind in ("a misspelt set", "a messy header"))
    records = [(out / name).read_text("utf-8") for name in ("result.json", "run.json")]
    for text in (said.out, said.err, *records):
        assert name not in text
        assert "odd chars" not in text
        assert "Warning" not in text


def test_without_a_frame_of_reference_the_reason_is_told(volume, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())
    scan = written(volume, tmp_path / "in", {"FrameOfReferenceUID": b""})
    for out, more, code in (("out", [], 7), ("made", ["--config", str(tmp_path / "site.toml")], 0)):
        (tmp_path / "site.toml").write_text("[export]\ngenerate_uids = true\n")
        with pytest.raises(SystemExit) as end:
            main(["check", str(scan), "--out", str(tmp_path / out), "--scan-id", "S", "--dicom", *more])
        said = capfd.readouterr()
        assert int(end.value.code or 0) == code, said.err
        assert "lesion" in said.out  # the numbers are shown all the same
        made = {path.name for path in (tmp_path / out).iterdir()}
        assert {"result.json", "mask.nii.gz", "run.json", "report.html"} <= made
        assert ("seg.dcm" in made) == ("sr.dcm" in made) == (code == 0)
        flags = json.loads((tmp_path / out / "result.json").read_text("utf-8"))["flags"]
        messages = {flag["code"]: flag["message"] for flag in flags}
        expected = "EXPORT_UIDS_GENERATED" if code == 0 else "DICOM_NOT_POSSIBLE"
        assert "FrameOfReferenceUID (0020,0052)" in messages[expected]
        if code:
            assert "FrameOfReferenceUID (0020,0052)" in said.err


def test_a_received_study_without_usable_uids_is_measured_and_not_sent(volume, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())
    whole = written(volume, tmp_path / "whole", {"PatientSex": b"Male"})
    odd = written(volume, tmp_path / "odd", {"FrameOfReferenceUID": b""})
    sent = []

    def two_studies(_node, _out, on_study, _send_back, **_more):
        sent.extend([{path.name for path in on_study(study)} for study in (whole, odd)])

    monkeypatch.setattr("volumetry.archive.receive.receive", two_studies)
    with pytest.raises(SystemExit) as end:
        main(["receive", "--out", str(tmp_path / "out")])
    assert not end.value.code
    assert sent == [{"seg.dcm", "sr.dcm"}, set()]
    assert "FrameOfReferenceUID (0020,0052)" in capfd.readouterr().out
    assert len(list((tmp_path / "out").glob("study-*/result.json"))) == 2


def test_a_study_received_again_gives_the_same_objects_and_the_page_if_asked(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())
    first = written(volume, tmp_path / "0123-1", {"PatientSex": b"M"})
    shutil.copytree(first, tmp_path / "0123-2")  # as the inbox names arrivals of one study
    sent = []

    def twice(_node, _out, on_study, _send_back, **_more):
        for study in (first, tmp_path / "0123-2"):
            sent.append({path.name: path.read_bytes() for path in on_study(study)})
            time.sleep(1.1)  # dates of making are written to the second

    monkeypatch.setattr("volumetry.archive.receive.receive", twice)
    with pytest.raises(SystemExit) as end:
        main(["receive", "--out", str(tmp_path / "out"), "--pdf"])
    assert not end.value.code
    assert [set(files) for files in sent] == [{"seg.dcm", "sr.dcm", "report-pdf.dcm"}] * 2
    assert sent[0]["seg.dcm"] == sent[1]["seg.dcm"]
    assert sent[0]["sr.dcm"] == sent[1]["sr.dcm"]
    page = pydicom.dcmread(BytesIO(sent[0]["report-pdf.dcm"]))
    assert page.EncapsulatedDocument.startswith(b"%PDF-")
    assert page.StudyInstanceUID == pydicom.dcmread(next(first.iterdir())).StudyInstanceUID
    images = sorted(first.glob("*.dcm"))
    result = result_folder(tmp_path / "out", "0123")
    assert part_of(first, result) is None
    images[0].unlink()
    assert part_of(first, result) == Part(1, len(images))


def test_no_setting_of_python_brings_a_librarys_warning_back(volume, tmp_path):
    scan = written(volume, tmp_path / "in", {"PatientID": b"Quixote" * 20, "SpecificCharacterSet": b"KLINGON"})
    command = [sys.executable, "-W", "always", "-m", "volumetry", "inspect", str(scan), "--no-pixels"]
    environment = {**os.environ, "PYTHONWARNINGS": "always"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603  our own
    assert done.returncode == 0, done.stderr
    assert "Quixote" not in done.stdout + done.stderr
    assert "KLINGON" not in done.stdout + done.stderr
