"""An edited mask that a page sends: taken from its own page alone, and handed on as it was drawn."""

import hashlib
import json
import shutil
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import web_scenes
from web_client import Client

from volumetry.codes import CATALOGUE
from volumetry.errors import OutputError, UsageError
from volumetry.image.nifti import read_nifti
from volumetry.web.cases import load_case
from volumetry.web.viewer import viewer_app


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    root = tmp_path_factory.mktemp("corrected")
    web_scenes.measured(web_scenes.write_scan(root / "scan"), root / "result", config)
    return load_case(root / "result", config, root / "scan")


@pytest.fixture
def page(case):
    got = []

    def correct(edit):
        labels, affine = read_nifti(edit.mask)
        got.append((labels, affine, edit))
        if edit.reason == "full":
            raise OutputError("cannot write the correction: No space left on device")
        if not edit.reader:
            raise UsageError("the reader is empty")
        return {**case.document, "changed_voxels": 1, "status": "review"}, "1"

    client = Client(viewer_app({"now": case, "other": case}, "/slices/now", {"now": correct})).enter()
    yield client, got
    client.close()


def body(labels, reader="R1", reason="base added", **more):
    """What the page sends; an edit of the mask in `drawn_on`, by default of the array itself."""
    drawn_on = hashlib.sha256(labels.tobytes()).hexdigest()
    words = {"reader": reader, "reason": reason, "drawn_on": drawn_on, **more}
    return json.dumps(words).encode() + b"\n" + labels.tobytes()


def test_the_edited_mask_reaches_the_measurement_as_it_was_drawn(page, case):
    client, got = page
    labels = case.labels_kji.copy()
    labels[20, 50:60, 30:35] = 3
    drawn_on = hashlib.sha256(case.labels_kji.tobytes()).hexdigest()
    answer = client.post("/cases/now/correction", content=body(labels, drawn_on=drawn_on))
    assert (answer.status_code, answer.json()["correction"]) == (201, "1")
    assert f"{case.document['percent_of_lung']['solid']:.1f} % consolidation" in answer.json()["sentence"]
    ((sent, affine, edit),) = got
    assert np.array_equal(sent, labels)
    assert affine == pytest.approx(case.affine_ras, abs=1e-4)
    assert (edit.reader, edit.reason, edit.drawn_on, edit.last) == ("R1", "base added", drawn_on, 0)
    assert client.get("/cases/now/facts.json").json()["can_correct"] is True


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (lambda labels: body(labels[:-1]), 400),
        (lambda labels: body(np.full_like(labels, 6)), 400),
        (lambda labels: b'{"reader": "R1"}\n' + labels.tobytes(), 400),
        (lambda labels: b'{"reader": "R1", "reason": "base added"}\n' + labels.tobytes(), 400),
        (lambda labels: b"[]\n" + labels.tobytes(), 400),
        (lambda labels: b"no json\n" + labels.tobytes(), 400),
        (lambda labels: body(labels) + bytes(20_000), 413),
        (lambda labels: body(labels, drawn_on="0" * 64), 409),
        (lambda labels: body(labels, reader=""), 409),
        (lambda labels: body(labels, reason="full"), 507),
    ],
)
def test_what_is_not_a_mask_of_this_scan_is_refused(page, case, content, status):
    assert page[0].post("/cases/now/correction", content=content(case.labels_kji)).status_code == status


def test_a_case_that_cannot_be_corrected_and_a_page_from_elsewhere_are_refused(page, case):
    client, got = page
    content = body(case.labels_kji)
    assert client.post("/cases/other/correction", content=content).status_code == 404
    assert client.get("/cases/other/facts.json").json()["can_correct"] is False
    evil = {"origin": "http://evil.example"}
    assert client.post("/cases/now/correction", content=content, headers=evil).status_code == 403
    wrong = {"x-csrf-token": "guess"}
    assert client.post("/cases/now/correction", content=content, headers=wrong).status_code == 403
    assert got == []


@pytest.fixture
def saved(case, config, tmp_path):
    """A page whose corrections are written, and the folder of the result."""
    result = tmp_path / "result"
    shutil.copytree(case.corrections.result, result)
    scan = case.corrections.result.parent / "scan"
    shown = load_case(result, config, scan)
    correct = partial(web_scenes.corrected, result, scan)
    client = Client(viewer_app({"now": shown}, "/slices/now", {"now": correct})).enter()
    yield client, result
    client.close()


def edited(case, label):
    labels = case.labels_kji.copy()
    labels[20, 50:60, 30:35] = label
    return labels


def test_an_edit_of_a_mask_that_is_no_longer_current_is_refused_until_its_user_knows(saved, case):
    """CORRECTED_MEANWHILE: the second of two readers who began with the same mask decides."""
    client, result = saved
    automatic = client.get("/cases/now/facts.json").json()["mask_sha256"]
    assert automatic == hashlib.sha256(case.labels_kji.tobytes()).hexdigest()
    first = client.post("/cases/now/correction", content=body(edited(case, 3), drawn_on=automatic))
    assert (first.status_code, first.json()["correction"]) == (201, "1")
    before = {path: path.read_bytes() for path in result.rglob("*") if path.is_file()}

    second = body(edited(case, 2), "R2", drawn_on=automatic)
    answer = client.post("/cases/now/correction", content=second)
    said = answer.json()
    assert (answer.status_code, said["code"], said["current"]) == (409, "CORRECTED_MEANWHILE", 1)
    assert "correction 1 by R1" in said["message"]
    assert said["hint"] == CATALOGUE["CORRECTED_MEANWHILE"].hint
    assert said["mask_sha256"] == hashlib.sha256(edited(case, 3).tobytes()).hexdigest()
    assert {path: path.read_bytes() for path in result.rglob("*") if path.is_file()} == before

    knowing = body(edited(case, 2), "R2", drawn_on=automatic, knows_of=said["mask_sha256"])
    answer = client.post("/cases/now/correction", content=knowing)
    assert (answer.status_code, answer.json()["correction"]) == (201, "2")
    assert {path: path.read_bytes() for path in before} == before
    # To have known of the first does not excuse from the second.
    third = body(edited(case, 1), "R3", drawn_on=automatic, knows_of=said["mask_sha256"])
    assert client.post("/cases/now/correction", content=third).json()["current"] == 2


def test_every_mask_of_a_scan_is_served_with_its_own_numbers(saved, case):
    client, result = saved
    automatic = client.get("/cases/now/facts.json").json()
    assert (automatic["shown"], automatic["current"], automatic["corrections"]) == (0, 0, [])
    labels = edited(case, 3)
    client.post("/cases/now/correction", content=body(labels, drawn_on=automatic["mask_sha256"]))
    corrected = json.loads((result / "corrections" / "1" / "result.json").read_text("utf-8"))
    for query, shown, volumes, mask in (
        ("", 1, corrected["volumes_ml"], labels),
        ("?reading=1", 1, corrected["volumes_ml"], labels),
        ("?reading=automatic", 0, case.document["volumes_ml"], case.labels_kji),
    ):
        facts = client.get(f"/cases/now/facts.json{query}").json()
        assert (facts["shown"], facts["current"], facts["volumes_ml"]) == (shown, 1, volumes)
        served = client.get(f"/cases/now/whole/mask.nii{query}").content
        assert np.array_equal(np.asarray(nib.Nifti1Image.from_bytes(served).dataobj).T, mask)
    (one,) = client.get("/cases/now/facts.json").json()["corrections"]
    assert (one["reader"], one["reason"]) == ("R1", "base added")
    assert "base added" in client.get("/cases/now/report.html").text
    assert client.get("/cases/now/report.html?reading=automatic").status_code == 404  # it was measured without one
    for unknown in ("2", "0", "-1", "x", "../1"):
        assert client.get(f"/cases/now/facts.json?reading={unknown}").status_code == 404
        assert client.get(f"/cases/now/whole/mask.nii?reading={unknown}").status_code == 404
