"""The whole line through the command line: exit codes, files, words."""

import csv
import json
import shutil

import jsonschema
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from volumetry.cli import main
from volumetry.deliver import result_schema
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LESIONS = (
    Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),
    Lesion("solid", (88.3, 12.2, 8.7), (15.0, 16.0, 14.0)),
)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    made = make_phantom(PhantomSpec((110, 160, 160), (2.5, 2.0, 2.0), LESIONS, vessels=False, seed=3))
    write_series(made, folder, SeriesSpec(names="random"))
    return folder, made


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command with the threshold segmenter in the network's place; exit code and what was said."""
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return call


def test_check_measures_a_phantom_and_delivers_its_mask(run, phantom, tmp_path):
    folder, made = phantom
    code, said = run("check", folder, "--out", tmp_path, "--scan-id", "S1")
    assert code == 0, said
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    jsonschema.validate(document, result_schema())
    assert document["scan_id"] == "S1"
    assert document["volumes_ml"]["lung"] == pytest.approx(made.truth["lung_ml"], rel=0.01)
    assert document["volumes_ml"]["ground_glass"] == pytest.approx(made.truth["ground_glass_ml"], rel=0.05)
    assert document["volumes_ml"]["solid"] == pytest.approx(made.truth["solid_ml"], rel=0.05)
    assert document["sides"]["left"]["solid"] == document["volumes_ml"]["solid"]
    assert document["sides"]["right"]["solid"] == 0
    assert "% of lung" in said

    image = nib.load(tmp_path / "mask.nii.gz")
    assert image.affine == pytest.approx(made.grid.affine_ras, abs=1e-4)
    solid_ras = image.affine @ [*np.argwhere(np.asarray(image.dataobj) == 3).mean(axis=0), 1]
    assert solid_ras[:3] * [-1, -1, 1] == pytest.approx(LESIONS[1].centre_lps_mm, abs=1.0)


def test_the_same_input_gives_the_same_result_times_aside(run, phantom, tmp_path):
    documents = []
    for name in ("first", "second"):
        run("check", phantom[0], "--out", tmp_path / name, "--quiet")
        document = json.loads((tmp_path / name / "result.json").read_text("utf-8"))
        for key in ("timing_s", "peak_memory_mb"):
            del document[key]
        del document["provenance"]["created"]
        documents.append(document)
    assert documents[0] == documents[1]
    masks = [(tmp_path / name / "mask.nii.gz").read_bytes() for name in ("first", "second")]
    assert masks[0] == masks[1]


def test_a_refused_scan_exits_with_three_and_leaves_a_code_and_no_number(run, phantom, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(phantom[0], damaged)
    by_position = sorted(damaged.iterdir(), key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))
    by_position[50].unlink()
    code, said = run("check", damaged, "--out", tmp_path / "out")
    assert code == 3
    assert "MISSING_SLICES" in said
    document = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    jsonschema.validate(document, result_schema())
    assert document["status"] == "refused"
    assert document["code"] == "MISSING_SLICES"
    assert "volumes_ml" not in document
    assert not (tmp_path / "out" / "mask.nii.gz").exists()


def test_batch_gives_one_row_per_scan_and_exits_with_eight(run, phantom, tmp_path):
    tree = tmp_path / "in"
    shutil.copytree(phantom[0], tree / "good")
    (tree / "empty").mkdir(parents=True)
    (tree / "text").mkdir()
    (tree / "text" / "note.txt").write_text("no scan here")
    code, said = run("batch", tree, "--out", tmp_path / "out")
    assert code == 8, said
    rows = {r["scan_id"]: r for r in csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines())}
    assert {name: row["code"] for name, row in rows.items()} == {
        "good": rows["good"]["code"],
        "empty": "EMPTY_INPUT",
        "text": "EMPTY_INPUT",
    }
    assert float(rows["good"]["volumes_ml.lung"]) > 1000
    assert rows["empty"]["volumes_ml.lung"] == ""


def test_inspect_says_what_is_in_a_folder(run, phantom, tmp_path):
    code, said = run("inspect", phantom[0], "--json", tmp_path / "found.json")
    assert code == 0
    assert "110" in said
    (series,) = json.loads((tmp_path / "found.json").read_text("utf-8"))["series"]
    assert series["spacing_kji_mm"] == pytest.approx([2.5, 2.0, 2.0])
    assert series["measurable"] is True
    (tmp_path / "nothing").mkdir()
    code, said = run("inspect", tmp_path / "nothing")
    assert code == 3
    assert "EMPTY_INPUT" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check"], 2),
        (["check", "nowhere", "--out", "out"], 2),
        (["no-such-verb"], 2),
        (["check", "{scan}", "--out", "{tmp}/o", "--config", "nowhere.toml"], 4),
        (["check", "{scan}", "--out", "{tmp}/file/o"], 7),
    ],
)
def test_each_kind_of_stop_has_its_exit_code(run, phantom, tmp_path, arguments, code):
    (tmp_path / "file").write_text("")
    filled = [a.format(scan=phantom[0], tmp=tmp_path) for a in arguments]
    found, said = run(*filled)
    assert found == code, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("check", "", "--out", "results"), "an argument"),
        (("batch", "scans", "--out", ""), "the argument of --out"),
        (("batch", "scans", "--out="), "the argument of --out"),
        (("batch", "--out", "results", ""), "an argument"),
        (("check", "scan", "--quiet", "--out="), "the argument of --out"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(run, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    code, said = run(*arguments)
    assert code == 2
    assert f"{named} is empty" in said
    assert not list(tmp_path.iterdir())


def test_a_missing_model_exits_with_five(phantom, tmp_path, capsys):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f"[segment]\nmodel = '{tmp_path}/no-such-model'\n")
    with pytest.raises(SystemExit) as end:
        main(["check", str(phantom[0]), "--out", str(tmp_path / "o"), "--config", str(wrong)])
    assert end.value.code == 5
    assert "model" in capsys.readouterr().err


def test_no_planted_identity_appears_in_any_output(run, phantom, tmp_path):
    canary = "ZZPHIZZ"
    scan = tmp_path / "in" / f"{canary}_thorax"
    shutil.copytree(phantom[0], scan)
    planted = 0
    for path in scan.iterdir():
        header = pydicom.dcmread(path)
        for tag in (
            "PatientName",
            "PatientID",
            "StudyDescription",
            "SeriesDescription",
            "InstitutionName",
            "ReferringPhysicianName",
            "AccessionNumber",
            "PatientComments",
            "ProtocolName",
            "StationName",
        ):
            setattr(header, tag, canary)
            planted += 1
        header.save_as(path)
    assert planted
    spoken = run("batch", tmp_path / "in", "--out", tmp_path / "out")[1]
    spoken += run("inspect", scan, "--json", tmp_path / "found.json")[1]
    spoken += run("check", scan, "--out", tmp_path / "one")[1]
    assert canary not in spoken
    outputs = [*(tmp_path / "out").rglob("*"), *(tmp_path / "one").rglob("*"), tmp_path / "found.json"]
    for path in outputs:
        assert canary not in str(path.relative_to(tmp_path))
        if path.is_file() and path.name != "scans.csv":  # the site's own key to its folders
            content = path.read_bytes()
            assert canary.encode() not in content
            assert canary.encode("utf-16-le") not in content


def test_phantom_writes_valid_series_and_their_truth(run, tmp_path):
    code, said = run("phantom", tmp_path / "made", "--seed", 7)
    assert code == 0, said
    truth = json.loads((tmp_path / "made" / "truth.json").read_text("utf-8"))
    assert truth
    first = next(p for p in sorted((tmp_path / "made").rglob("*")) if p.is_file() and p.suffix != ".json")
    assert pydicom.dcmread(first).SOPClassUID == CTImageStorage
    assert run("phantom", tmp_path / "made")[0] == 7


def test_a_batch_is_proved_decided_on_and_exported(run, phantom, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(phantom[0], tmp_path / "in" / "S01")
    assert run("batch", tmp_path / "in", "--out", out, "--quiet")[0] == 0
    assert run("verify", out)[0] == 0
    code, said = run("decide", out, "S01", "accept", "--name", "A Reader", "--reason", "looked")
    assert code == 0, said
    assert "S01 accept" in said
    assert run("decide", out, "S01", "perhaps", "--name", "A", "--reason", "b")[0] == 2
    code, said = run("replay", out, "--scans", tmp_path / "in")
    assert code == 0, said
    assert "S01: identical" in said
    (tmp_path / "none").mkdir()
    assert (
        "not measured again, because the list lacks them: S01"
        in run("replay", out, "--scans", tmp_path / "none")[1]
    )
    code, said = run("export", "cdisc", out, "--out", tmp_path / "sdtm", "--study", "PHANTOM")
    assert code == 0, said
    assert list((tmp_path / "sdtm").glob("*.csv"))
    mask = out / "scans" / "S01" / "mask.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-1])
    code, said = run("verify", out)
    assert code == 1
    assert "mask.nii.gz" in said


def test_every_verb_has_help_with_an_example(run):
    from typer.main import get_command

    from volumetry.cli import app

    for verb in get_command(app).commands:
        code, said = run(verb, "--help")
        assert code == 0
        assert f"volumetry {verb}" in " ".join(said.split()), verb
        assert "[]" not in said, f"{verb}: something in brackets was taken for a style"
