"""Which mask of a result is shown: the corrections that lie on the disk, whole and of the same images."""

import json
import shutil

import numpy as np
import pytest
import web_scenes

from volumetry.image.nifti import nifti_bytes
from volumetry.remeasure import correction, remeasure
from volumetry.storage.atomic import write_whole
from volumetry.web.cases import load_case
from volumetry.web.readings import Corrections


@pytest.fixture(scope="module")
def measured(tmp_path_factory, config):
    root = tmp_path_factory.mktemp("readings")
    web_scenes.measured(web_scenes.write_scan(root / "scan"), root / "result", config)
    return root / "result"


@pytest.fixture
def result(measured, tmp_path, monkeypatch):
    """A copy of the result; its corrections are written without the pictures of the page, which take long."""

    monkeypatch.setattr(correction, "report_page", lambda *_: b"<html></html>")
    shutil.copytree(measured, tmp_path / "result")
    return tmp_path / "result"


def correct(result, config, reader, label):
    """A block of the right lung gets a label; the labels of the whole mask."""
    case = load_case(result, config)
    labels = case.labels_kji.copy()
    labels[20, 50:60, 30:35] = label
    write_whole(result.parent / "edited.nii", nifti_bytes(labels, case.affine_ras))
    remeasure(result, None, result.parent / "edited.nii", reader, "because")
    return labels


def test_the_last_correction_is_current_and_all_of_them_can_be_shown(result, config):
    (result / "corrections" / "²").mkdir(parents=True)  # a digit, and no number
    readers = [f"R{number}" for number in range(1, 11)]
    masks = [correct(result, config, reader, 2 + number % 2) for number, reader in enumerate(readers)]
    case = load_case(result, config)
    readings = case.readings()
    assert [one.facts()["reader"] for one in readings.corrections] == readers  # 10 comes behind 9
    assert (readings.current.number, readings.last, readings.notes) == (10, 10, ())
    assert readings.mask_sha256 == readings.current.document["provenance"]["mask_sha256"]
    for wanted, mask in (("automatic", case.labels_kji), ("3", masks[2]), (None, masks[9])):
        assert np.array_equal(case.shown(readings, wanted).labels_kji, mask)
    with pytest.raises(KeyError):
        case.shown(readings, "11")


def test_without_a_correction_the_automatic_mask_is_current(result, config):
    case = load_case(result, config)
    readings = case.readings()
    assert (readings.corrections, readings.current, readings.last) == ((), None, 0)
    assert readings.mask_sha256 == case.mask_sha256
    assert case.shown(readings, None) is case


@pytest.mark.parametrize("file", ["mask.nii.gz", "result.json", "run.json"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_correction_that_is_not_whole_is_not_shown_and_said(result, config, file, how):
    correct(result, config, "R1", 3)
    correct(result, config, "R2", 2)
    path = result / "corrections" / "2" / file
    path.write_bytes(b"{}") if how == "changed" else path.unlink()
    readings = load_case(result, config).readings()
    assert (readings.current.number, readings.last) == (1, 2)
    assert readings.notes == ("Correction 2 cannot be shown: its files are missing or were changed.",)


def test_a_correction_of_other_images_is_not_shown_and_said(result, config):
    correct(result, config, "R1", 3)
    case = load_case(result, config)
    other = case.document | {"provenance": case.document["provenance"] | {"pixels_sha256": "0" * 64}}
    readings = case.corrections.look(other)
    assert readings.current is None
    assert readings.notes == ("Correction 1 cannot be shown: it was drawn on other images.",)


def test_where_another_says_which_one_counts_that_one_is_current(result, config):
    for reader in ("R1", "R2"):
        correct(result, config, reader, 3)
    document = load_case(result, config).document
    for counted, current in (((1, ""), 1), ((None, "correction 2 by R2 is not counted: why"), None)):
        there = Corrections(result, result / "corrections", lambda counted=counted: counted)
        readings = there.look(document)
        assert (None if readings.current is None else readings.current.number) == current
        assert readings.notes == ((f"Batch: {counted[1]}.",) if counted[1] else ())
        assert len(readings.corrections) == 2


def test_a_scan_that_was_measured_again_has_another_automatic_mask(result, config):
    """An edit of the mask that was shown before is then not one of the current mask."""
    case = load_case(result, config)
    document = json.loads((result / "result.json").read_text("utf-8"))
    document["provenance"]["mask_sha256"] = "1" * 64
    (result / "result.json").write_text(json.dumps(document))
    assert case.readings().mask_sha256 == "1" * 64 != case.mask_sha256


def test_the_folder_of_a_correction_is_shown_as_what_it_is(result, config):
    correct(result, config, "R1", 3)
    assert load_case(result, config).mask_name == "the automatic mask"
    assert load_case(result / "corrections" / "1", config).mask_name == "the mask of R1"
