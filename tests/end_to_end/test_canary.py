"""A planted identity appears in no output, log, file name or process argument, however it may be coded."""

import base64
import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import pydicom
import pytest
from canary import CANARY, SCANNER, holds_canary, plant_folder, traces

from volumetry.cli import main
from volumetry.phantom import Lesion, PhantomSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LESIONS = (Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),)
PATIENT_OF_THE_SOURCE = frozenset(
    {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"}
    | {"ReferringPhysicianName", "StudyDescription", "ClinicalTrialSubjectID"}
)
"""SEG and SR belong to the patient of their source series by design (README), and hold no more of it than this."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{CANARY}-in") / CANARY / f"{CANARY}_thorax"
    write_series(make_phantom(PhantomSpec((62, 96, 96), (4.5, 3.4, 3.4), LESIONS, vessels=False)), folder)
    assert plant_folder(folder) > 62 * 25
    assert holds_canary(next(folder.iterdir()).read_bytes())
    return folder


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run a command; what it and its children were given, what all of them said, and its exit code."""
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    given = []

    class Recorded(subprocess.Popen):
        def __init__(self, arguments, *rest, **options):
            given.append(repr((arguments, options.get("env"), options.get("cwd"))))
            super().__init__(arguments, *rest, **options)

    monkeypatch.setattr(subprocess, "Popen", Recorded)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        assert not holds_canary("\n".join(given).encode())
        assert not holds_canary((said.out + said.err).encode())
        assert traces(temporary) == []
        return int(end.value.code or 0)

    call.given = given
    return call


@pytest.mark.parametrize(
    "coded",
    [
        CANARY.encode(),
        CANARY.encode("utf-16-le"),
        base64.b64encode(b"a name: " + CANARY.encode() + b" and more"),
        base64.b64encode(b"name: " + CANARY.encode()),
        base64.b64encode(b"the name: " + CANARY.encode() + b"!"),
        quote("Z").encode() + CANARY[1:].encode(),
        gzip.compress(b"x" + CANARY.encode(), mtime=0),
        b"stream\n" + zlib.compress(CANARY.encode()) + b"endstream",
        b"<img src=data:image/png;base64," + base64.b64encode(bytes(60) + CANARY.encode()) + b">",
    ],
    # Names that do not hold the bytes: every worker of a parallel run must collect the same ones.
    ids=[
        "plain",
        "UTF-16",
        "base64",
        "base64, shifted by one",
        "base64, shifted by two",
        "quoted",
        "gzip",
        "deflate in a PDF",
        "data address",
    ],
)
def test_the_search_finds_what_it_looks_for(coded):
    assert holds_canary(coded)


def test_check_with_everything_it_can_write(run, scan, tmp_path):
    out = tmp_path / "out"
    assert run("check", scan, "--out", out, "--dicom", "--pdf", "--capture") == 0
    assert run.given, "no child was seen: the test would prove nothing of process arguments"
    made = {path.name for path in out.iterdir()}
    assert {"result.json", "results.csv", "mask.nii.gz", "report.html", "report.pdf", "seg.dcm", "sr.dcm"} <= made
    of_the_patient = {name for name in made if name.endswith(".dcm")}
    assert [name for name in traces(out) if name not in of_the_patient] == []
    for name in of_the_patient:
        ds = pydicom.dcmread(out / name)
        assert not holds_canary(bytes(ds.preamble))
        holding = {e.keyword for e in ds.iterall() if e.VR != "SQ" and holds_canary(_bytes_of(e.value))}
        assert holding <= PATIENT_OF_THE_SOURCE, name


def _bytes_of(value):
    return value if isinstance(value, bytes) else str(value).encode()


def test_what_scanner_made_it_is_still_told(run, scan, tmp_path):
    """The search is not passed by telling nothing: the facts that the contract promises are there."""
    run("check", scan, "--out", tmp_path / "out")
    series = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["series"]
    source = pydicom.dcmread(next(scan.iterdir()), stop_before_pixels=True)
    told = {series["manufacturer"], series["model_name"], series["kernel"]}
    assert told == {str(source.get(keyword)) if source.get(keyword) else None for keyword in SCANNER}


def test_inspect_batch_and_what_is_made_of_a_batch(run, scan, tmp_path):
    out = tmp_path / "out"
    run("inspect", scan, "--json", tmp_path / "found.json")
    assert run("batch", scan.parent, "--out", out) == 0
    (scan_id,) = (path.name for path in (out / "scans").iterdir())
    assert run("verify", out) == 0
    assert run("replay", out, "--scans", scan.parent) == 0
    assert run("export", "cdisc", out, "--out", tmp_path / "sdtm", "--study", "S") == 0
    assert not holds_canary(scan_id.encode())
    assert traces(out) == ["scans.csv"]  # the site's own key from ids to folders, which is not to be passed on
    (row,) = csv.DictReader((out / "scans.csv").read_text("utf-8").splitlines())
    assert row == {"scan_id": scan_id, "subject": "", "visit": "", "site": "", "folder": scan.name}
    assert traces(tmp_path / "sdtm") == []
    assert not holds_canary((tmp_path / "found.json").read_bytes())


def test_an_intake_names_nobody_but_in_its_key_to_the_deliveries(run, scan, tmp_path):
    out, deliveries = tmp_path / "out", tmp_path / "in"
    (deliveries / CANARY).mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        for path in scan.iterdir():
            inner.write(path, f"{CANARY}/{path.name}")
    with zipfile.ZipFile(
        deliveries / CANARY / f"{CANARY}.zip", "w"
    ) as outer:  # its headers lie too deep for an id
        outer.write(tmp_path / "inner.zip", f"{CANARY}.zip")
    (tmp_path / "inner.zip").unlink()
    shutil.copytree(scan, deliveries / CANARY / f"{CANARY} 2")
    assert run("intake", deliveries, "--out", out, "--layout", "{subject}/{visit}") == 0
    holding = [name for name in traces(out) if not name.startswith("series/")]
    assert holding == ["sources.csv"]
    assert not [path for path in out.rglob("*") if holds_canary(path.name.encode())]
    rows = list(csv.DictReader((out / "manifest.csv").read_text("utf-8").splitlines()))
    assert [(row["subject"], row["verdict"]) for row in rows] == [("", "measurable")] * 2
    assert sorted(row["use"] for row in rows) == ["no", "yes"], "the same images, twice"


@pytest.mark.parametrize("damage", ["half a file", "a lost slice", "a number that is none"])
def test_a_refusal_names_nobody(run, scan, tmp_path, damage):
    copy = tmp_path / f"{CANARY}_copy"
    copy.mkdir()
    for path in scan.iterdir():
        os.link(path, copy / path.name)
    victim = sorted(copy.iterdir())[30]
    data = victim.read_bytes()
    victim.unlink()
    if damage == "half a file":
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "a number that is none":
        ds = pydicom.dcmread(scan / victim.name)
        raw = ds.get_item("RescaleSlope")
        ds["RescaleSlope"] = raw._replace(value=CANARY.encode() + b" ")
        ds.save_as(victim)
    assert run("check", copy, "--out", tmp_path / "out") == 3
    assert traces(tmp_path / "out") == []
    run("inspect", copy, "--json", tmp_path / "found.json")
    assert not holds_canary((tmp_path / "found.json").read_bytes())


def test_a_second_process_sees_no_identity_in_the_process_list(scan, tmp_path):
    """What `ps` shows of the decoding child: neither the path nor anything of the header."""
    script = (
        "import subprocess, sys, pathlib\n"
        "from volumetry.config import load_config\n"
        "from volumetry.scan import read_scan\n"
        "seen = []\n"
        "class Popen(subprocess.Popen):\n"
        "    def communicate(self, *a, **k):\n"
        "        here = pathlib.Path(f'/proc/{self.pid}')\n"
        "        if self.returncode is None:\n"
        "            while b'decode_child' not in (here / 'cmdline').read_bytes():\n"
        "                pass\n"
        "            for name in ('cmdline', 'environ', 'comm'):\n"
        "                seen.append((here / name).read_bytes())\n"
        "            seen.append(str((here / 'cwd').readlink()).encode())\n"
        "        return super().communicate(*a, **k)\n"
        "subprocess.Popen = Popen\n"
        "read_scan(pathlib.Path(sys.stdin.read()), load_config())\n"
        "sys.stdout.buffer.write(b'|'.join(seen))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=str(scan).encode(), capture_output=True, check=True)  # noqa: S603  our own script
    assert b"decode_child" in done.stdout
    assert not holds_canary(done.stdout)
    assert Path("/proc").is_dir()
