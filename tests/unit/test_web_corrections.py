"""An edited mask that a page sends: taken from its own page alone, and handed on as it was drawn."""

import json

import numpy as np
import pytest
import web_scenes
from web_client import Client

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

    def correct(mask, reader, reason):
        labels, affine = read_nifti(mask)
        got.append((labels, affine, reader, reason))
        if reason == "full":
            raise OutputError("cannot write the correction: No space left on device")
        if not reader:
            raise UsageError("the reader must be said")
        return {**case.document, "changed_voxels": 1, "status": "review"}, "1"

    client = Client(viewer_app({"now": case, "other": case}, "/slices/now", {"now": correct})).enter()
    yield client, got
    client.close()


def body(labels, reader="R1", reason="base added"):
    return json.dumps({"reader": reader, "reason": reason}).encode() + b"\n" + labels.tobytes()


def test_the_edited_mask_reaches_the_measurement_as_it_was_drawn(page, case):
    client, got = page
    labels = case.labels_kji.copy()
    labels[20, 50:60, 30:35] = 3
    answer = client.post("/cases/now/correction", content=body(labels))
    assert (answer.status_code, answer.json()["correction"]) == (201, "1")
    assert f"{case.document['percent_of_lung']['solid']:.1f} % consolidation" in answer.json()["sentence"]
    ((sent, affine, reader, reason),) = got
    assert np.array_equal(sent, labels)
    assert affine == pytest.approx(case.affine_ras, abs=1e-4)
    assert (reader, reason) == ("R1", "base added")
    assert client.get("/cases/now/facts.json").json()["can_correct"] is True


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (lambda labels: body(labels[:-1]), 400),
        (lambda labels: body(np.full_like(labels, 6)), 400),
        (lambda labels: b'{"reader": "R1"}\n' + labels.tobytes(), 400),
        (lambda labels: b"no json\n" + labels.tobytes(), 400),
        (lambda labels: body(labels) + bytes(10_000), 413),
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
