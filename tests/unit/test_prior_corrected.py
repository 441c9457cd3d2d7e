"""A reader corrects a result that has a prior: the change is that of the reader's mask."""

import json
import shutil

import jsonschema
import nibabel
import numpy as np
import pytest
import web_scenes

from volumetry.case import measured_folder
from volumetry.cli import main
from volumetry.deliver import result_schema
from volumetry.domain import Tissue
from volumetry.image.nifti import read_nifti
from volumetry.phantom import SeriesSpec, make_phantom, write_series
from volumetry.prior import CorrectedPriors, Priors
from volumetry.prior.corrected import restated
from volumetry.remeasure import remeasure
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.storage.salt import VARIABLE

SALT = "a secret of the tests alone"
VISITS = {"before": (web_scenes.LATER, "20251202"), "now": (web_scenes.SPEC, "20260101")}
MEASURES = ("lesion", "ground_glass", "solid")


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv(VARIABLE, SALT)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    for seed, (name, (spec, day)) in enumerate(VISITS.items(), 1):
        study = "0" if name == "before" else "1"
        series = SeriesSpec(names="random", study=study, study_date=day, seed=seed)
        write_series(make_phantom(spec), root / name, series)
    return root


@pytest.fixture(scope="module")
def measured(scans, tmp_path_factory, config):
    """The present scan with the earlier one as its prior, both automatic."""
    root = tmp_path_factory.mktemp("measured")
    for name in VISITS:
        priors = Priors([root / "before"], None, config) if name == "now" else None
        folder = root / name
        measured_folder(
            scans / name, folder, name, ThresholdSegmenter(), config, salt=SALT.encode(), priors=priors
        )
    return root


@pytest.fixture
def results(measured, tmp_path):
    for name in VISITS:
        shutil.copytree(measured / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def document(folder):
    return json.loads((folder / "result.json").read_text("utf-8"))


def edited(result, change):
    """A mask file that a reader made of the result's: `change` takes and gives the labels."""
    labels, affine = read_nifti(result / "mask.nii.gz")
    path = result.parent / f"edited-{len(list(result.parent.glob('edited-*')))}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(change(labels.astype(np.uint8)).transpose(2, 1, 0), affine), path)
    return path


def without_solid(labels):
    return np.where(labels == Tissue.SOLID, np.uint8(Tissue.AERATED), labels)


def as_ground_glass(labels):
    return np.where(labels == Tissue.SOLID, np.uint8(Tissue.GROUND_GLASS), labels)


def upper_half(labels):
    """As if the lung were imaged in its upper half alone."""
    half = labels.copy()
    half[: labels.shape[0] // 2] = Tissue.OUTSIDE
    return half


def counted_ml(folder):
    """Volumes by counting voxels of the delivered mask."""
    labels, affine = read_nifti(folder / "mask.nii.gz")
    ml = {
        tissue: np.count_nonzero(labels == tissue) * abs(np.linalg.det(affine[:3, :3])) / 1000 for tissue in Tissue
    }
    ground_glass, solid = ml[Tissue.GROUND_GLASS], ml[Tissue.SOLID]
    lung = ml[Tissue.AERATED] + ground_glass + solid
    return {"lung": lung, "lesion": ground_glass + solid, "ground_glass": ground_glass, "solid": solid}


def require_change_of_masks(visit, then, now):
    before_ml, after_ml = counted_ml(then), counted_ml(now)
    for name in MEASURES:
        points = 100 * (after_ml[name] / after_ml["lung"] - before_ml[name] / before_ml["lung"])
        assert visit["change_ml"][name] == pytest.approx(after_ml[name] - before_ml[name], abs=1e-6)
        assert visit["change_points"][name] == pytest.approx(points, abs=1e-6)
    ratio = after_ml["lung"] / before_ml["lung"]
    assert visit["change_ml"]["lung"] == pytest.approx(after_ml["lung"] - before_ml["lung"], abs=1e-6)
    assert visit["lung_volume_ratio"] == pytest.approx(ratio, abs=1e-9)
    assert visit["predicted_shift_percent"] == pytest.approx(100 * (1 / ratio - 1), abs=1e-6)


@pytest.mark.parametrize("change", [without_solid, upper_half])
def test_the_change_of_a_correction_is_that_of_the_readers_mask(run, scans, results, change):
    """The earlier folder is gone: result.json of the corrected result is enough."""
    now, before = results / "now", results / "elsewhere"
    (results / "before").rename(before)
    mask = edited(now, change)
    asked = ("--reader", "R1", "--reason", "bases", "--scan", scans / "now")
    ended, shown, said = run("remeasure", now, "--mask", mask, *asked)
    assert ended == 0, said
    assert "2025-12-02" in shown or "20251202" in shown
    folder = now / "corrections" / "1"
    corrected = document(folder)
    jsonschema.validate(corrected, result_schema())
    (automatic,), (visit,) = document(now)["prior"]["visits"], corrected["prior"]["visits"]
    require_change_of_masks(visit, before, folder)
    assert visit["change_ml"]["lesion"] != automatic["change_ml"]["lesion"]
    assert "READER_IN_ONE:B" in visit["reasons"]
    assert ("LUNG_VOLUME:C" in visit["reasons"]) == (change is upper_half)
    assert visit["grade"] == ("C" if change is upper_half else "B")
    for stated in ("volumes_ml", "percent_of_lung", "interval_percent", "days_before", "reading"):
        assert visit[stated] == automatic[stated]
    page = (folder / "report.html").read_text("utf-8")
    assert "Since 2025-12-02 (30 days)" in page
    assert page.count('class="two"') == 0


def test_a_correction_of_a_correction_states_its_own_change(results):
    now = results / "now"
    for number, change in enumerate((without_solid, as_ground_glass), 1):
        remeasure(now, None, edited(now, change), "R1", "try", priors=CorrectedPriors())
        (visit,) = document(now / "corrections" / str(number))["prior"]["visits"]
        require_change_of_masks(visit, results / "before", now / "corrections" / str(number))
    first = now / "corrections" / "1"
    _, folder = remeasure(first, None, edited(first, as_ground_glass), "R2", "again", priors=CorrectedPriors())
    (visit,) = document(folder)["prior"]["visits"]
    require_change_of_masks(visit, results / "before", folder)
    assert visit["reasons"].count("READER_IN_ONE:B") == 1


def test_a_prior_that_is_given_is_compared_in_full_and_shown_beside(run, scans, results):
    """The density of the aerated lung is known of a folder, and not of what the automatic result states."""
    now, mask = results / "now", edited(results / "now", without_solid)
    asked = ("--mask", mask, "--reader", "R1", "--reason", "x", "--scan", scans / "now")
    assert run("remeasure", now, *asked)[0] == 0
    given = ("--prior", results / "before", "--prior-scan", scans / "before")
    assert run("remeasure", now, *asked, *given)[0] == 0
    first, second = (document(now / "corrections" / number) for number in "12")
    ((stated,), (full,)) = (found["prior"]["visits"] for found in (first, second))
    assert "LUNG_DENSITY" in stated["unknown"]
    assert "LUNG_DENSITY" not in full["unknown"]
    assert stated["change_ml"] == pytest.approx(full["change_ml"], abs=1e-9)
    page = (now / "corrections" / "2" / "report.html").read_text("utf-8")
    assert page.count('class="two"') == 3
    ended, _, said = run("remeasure", now, *asked, "--prior-scan", scans / "before")
    assert (ended, "without its result" in said) == (2, True)
    ended, _, said = run("remeasure", now, *asked, "--prior", now)
    assert (ended, "[PRIOR_NOT_OLDER]" in said) == (3, True)
    assert not (now / "corrections" / "3").exists()


def test_a_correction_saved_in_the_viewer_is_compared_with_or_without_the_folder(run, scans, results, monkeypatch):
    saved = []

    def view(_result, *_given, correct, **_more):
        saved.append(correct)

    monkeypatch.setattr("volumetry.web.viewer.view", view)
    now = results / "now"
    assert run("view", now, "--scan", scans / "now", "--prior", results / "before")[0] == 0

    class Drawn:
        mask, reader, reason = edited(now, without_solid), "R1", "bases"
        drawn_on, last = document(now)["provenance"]["mask_sha256"], 0

    saved[0](Drawn)
    (results / "before").rename(results / "elsewhere")
    Drawn.last = 1
    saved[0](Drawn)
    for number, pictures in (("1", 3), ("2", 0)):
        folder = now / "corrections" / number
        (visit,) = document(folder)["prior"]["visits"]
        require_change_of_masks(visit, results / "elsewhere", folder)
        assert (folder / "report.html").read_text("utf-8").count('class="two"') == pictures


@pytest.mark.parametrize(
    ("reasons", "unknown", "flags", "said", "not_known"),
    [
        ([], [], ([], []), None, False),
        ([], [], ([], ["LUNG_TRUNCATED_BASE"]), "LUNG_CUT:C", False),
        (["LUNG_CUT:C"], [], ([], []), "LUNG_CUT:C", False),  # the earlier lung is truncated
        (["LUNG_CUT:C"], [], (["LUNG_TRUNCATED_BASE"], []), None, True),  # the earlier one may be as well
        ([], ["COVERAGE"], ([], ["LUNG_TRUNCATED_APEX"]), "LUNG_CUT:C", False),
    ],
)
def test_a_truncated_lung_is_judged_by_the_readers_mask(results, reasons, unknown, flags, said, not_known):
    automatic, corrected = (document(results / "now") for _ in range(2))
    for found, codes in zip((automatic, corrected), flags, strict=True):
        found["flags"] = [{"code": code} for code in codes]
    (visit,) = automatic["prior"]["visits"]
    again = restated({**visit, "reasons": reasons, "unknown": unknown}, automatic, corrected)
    assert [reason for reason in again["reasons"] if reason.startswith("LUNG_CUT")] == ([said] if said else [])
    assert ("COVERAGE" in again["unknown"]) == not_known


def test_what_depends_on_the_model_goes_and_what_the_scans_give_stays(results):
    automatic, corrected = (document(results / "now") for _ in range(2))
    (visit,) = automatic["prior"]["visits"]
    stated = ["KERNEL_CHANGED:B", "LUNG_DENSITY_CHANGED:C", "MODEL_CHANGED:C", "PRIOR_FLAGGED:B"]
    visit = {**visit, "reasons": stated, "unknown": ["KVP"]}
    same = restated({**visit, "reading": "reader"}, automatic, corrected)
    assert same["reasons"] == ["KERNEL_CHANGED:B", "LUNG_DENSITY_CHANGED:C", "PRIOR_FLAGGED:B"]
    assert same["grade"] == "C"

    corrected["mean_lung_hu"] += 1
    corrected["component_rule"] = "hu"
    corrected["provenance"]["config_sha256"] = "0" * 64
    other = restated(visit, automatic, corrected)
    kept = ["KERNEL_CHANGED:B", "PRIOR_FLAGGED:B"]
    assert other["reasons"] == [*kept, "READER_IN_ONE:B", "SETTINGS_CHANGED:B", "RULE_CHANGED:B"]
    assert other["unknown"] == ["KVP", "LUNG_DENSITY"]
    assert other["grade"] == "B"
    assert set(other["change_points"]) == {"lesion"}
