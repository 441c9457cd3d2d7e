"""A scan beside earlier results of the same person: who is refused, what the change is, what the pages show."""

import copy
import hashlib
import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import jsonschema
import nibabel
import numpy as np
import pytest
import web_scenes
from PIL import Image
from pydicom import dcmread

from volumetry.batch import correct, find_scans, replay, run_batch, verify
from volumetry.case import annex_of, measured_folder
from volumetry.cli import main
from volumetry.cli.viewing import _measured_study
from volumetry.deliver import as_document, result_schema
from volumetry.deliver.report import change, report_page
from volumetry.deliver.report.annex import NOTHING
from volumetry.deliver.report.summary import _change_page
from volumetry.deliver.report.trend import HEIGHT, WIDTH, trend_of
from volumetry.deliver.result import as_plain
from volumetry.domain import Tissue
from volumetry.errors import InputError
from volumetry.image.nifti import read_nifti
from volumetry.phantom import SeriesSpec, make_phantom, write_series
from volumetry.pipeline import analyse_scan
from volumetry.prior import Priors
from volumetry.prior.compared import require_same_person, visit_of
from volumetry.remeasure import remeasure
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.storage.salt import VARIABLE, patient_digest, patient_salt

SALT = "a secret of the tests alone"


def scan(folder, spec, **series):
    write_series(make_phantom(spec), folder, SeriesSpec(names="random", **series))
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """LATER was drawn with less disease: here it is the earlier visit, so that disease has come."""
    root = tmp_path_factory.mktemp("scans")
    scan(root / "before", web_scenes.LATER, study="0", study_date="20251202", seed=1)
    scan(root / "now", web_scenes.SPEC, study_date="20260101", seed=2)
    scan(root / "other", web_scenes.LATER, study="0", study_date="20251202", subject="SYN-002", seed=3)
    scan(root / "nobody", web_scenes.LATER, study="0", study_date="20251202", subject="ANONYMOUS", seed=4)
    return root


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv(VARIABLE, SALT)


@pytest.fixture(scope="module")
def results(scans, tmp_path_factory, config):
    """A result of every scan, under one secret."""
    root = tmp_path_factory.mktemp("results")
    for place in scans.iterdir():
        measured_folder(place, root / place.name, place.name, ThresholdSegmenter(), config, salt=SALT.encode())
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def document(folder):
    return json.loads((folder / "result.json").read_text("utf-8"))


def counted_ml(folder):
    """Volumes by counting the delivered mask with another reader than the report's."""
    labels, affine = read_nifti(folder / "mask.nii.gz")
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return {int(tissue): float(np.count_nonzero(labels == tissue) * voxel_ml) for tissue in Tissue}


@pytest.fixture(scope="module")
def both(scans, results, tmp_path_factory, config):
    """The present scan measured with the earlier one as prior."""
    root = tmp_path_factory.mktemp("both")
    priors = Priors([results / "before"], scans / "before", config)
    measured_folder(
        scans / "now", root / "now", "now", ThresholdSegmenter(), config, salt=SALT.encode(), priors=priors
    )
    assert priors.stop is None
    (root / "before").symlink_to(results / "before")
    return root


def test_the_change_is_the_difference_of_the_two_masks(both):
    folder = both
    now = document(folder / "now")
    jsonschema.validate(now, result_schema())
    (visit,) = now["prior"]["visits"]
    then_ml, now_ml = counted_ml(folder / "before"), counted_ml(folder / "now")
    lesion = [sum(ml[t] for t in (Tissue.GROUND_GLASS, Tissue.SOLID)) for ml in (then_ml, now_ml)]
    lung = [sum(ml[t] for t in Tissue if t) for ml in (then_ml, now_ml)]
    assert visit["change_ml"]["lesion"] == pytest.approx(lesion[1] - lesion[0], abs=1e-6)
    assert visit["change_ml"]["solid"] == pytest.approx(now_ml[3] - then_ml[3], abs=1e-6)
    points = 100 * (lesion[1] / lung[1] - lesion[0] / lung[0])
    assert visit["change_points"]["lesion"] == pytest.approx(points, abs=1e-9)
    assert visit["days_before"] == 30  # 2 December to 1 January
    assert visit["lung_volume_ratio"] == pytest.approx(lung[1] / lung[0])
    page = (folder / "now" / "report.html").read_text("utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert f"{points:+.1f} percentage points" in words
    assert "Since 2025-12-02 (30 days)" in words
    assert page.count('class="two"') == 3


def test_slices_beside_each_other_lie_at_the_same_share_of_the_lungs(both):
    page = (both / "now" / "report.html").read_text("utf-8")
    placed = re.findall(r"third: image (\d+), z\s\S+\smm earlier, image (\d+), z\s\S+\smm now", page)
    assert len(placed) == 3
    shares = []
    for which, name in enumerate(("before", "now")):
        slices = np.nonzero(read_nifti(both / name / "mask.nii.gz")[0].any(axis=(1, 2)))[0]
        shares.append([(int(pair[which]) - 1 - slices[0] + 0.5) / len(slices) for pair in placed])
    assert shares[0] == pytest.approx(shares[1], abs=1 / len(slices))
    pictures = re.findall(r'<div class="two">.*?src="(data:[^"]+)".*?src="(data:[^"]+)"', page, re.S)
    for pair in pictures:
        grey = [np.asarray(Image.open(BytesIO(b64decode(uri.partition(",")[2])))) for uri in pair]
        assert all(picture.std() > 10 for picture in grey)


@pytest.mark.parametrize(
    ("earlier", "now", "code"),
    [
        ("other", "now", "OTHER_PATIENT"),
        ("nobody", "now", "PATIENT_UNKNOWN"),
        ("before", "nobody", "PATIENT_UNKNOWN"),
        ("now", "before", "PRIOR_NOT_OLDER"),
        ("before", "before", "PRIOR_NOT_OLDER"),
    ],
)
def test_a_prior_that_cannot_be_one_is_refused(run, scans, results, tmp_path, earlier, now, code):
    ended, _, said = run("check", scans / now, "--out", tmp_path / "now", "--prior", results / earlier, "--quiet")
    assert ended == 3
    assert f"[{code}]" in said
    element = {"OTHER_PATIENT": "PatientID", "PATIENT_UNKNOWN": "PatientID", "PRIOR_NOT_OLDER": "AcquisitionDate"}
    assert element[code] in said
    assert "volumetry inspect" not in said  # inspect says nothing of a pair
    if earlier == "nobody":  # known before the scan is measured
        assert not (tmp_path / "now").exists()
        return
    assert "prior" not in document(tmp_path / "now")
    page = (tmp_path / "now" / "report.html").read_text("utf-8")
    said = page.partition("Not compared with the earlier result that was given")[2].partition("</section>")[0]
    assert f"[{code}]" in said
    assert f"the prior {earlier}" not in said  # as on the terminal: the scan may be another patient's


@pytest.mark.parametrize(
    ("earlier", "code"),
    [("other", "OTHER_PATIENT"), ("nobody", "PATIENT_UNKNOWN"), ("later", "PRIOR_NOT_OLDER"), ("before", None)],
)
def test_the_viewer_shows_no_prior_that_check_would_refuse(run, results, monkeypatch, earlier, code):
    shown = []
    monkeypatch.setattr("volumetry.web.viewer.view", lambda result, *given, **more: shown.append(result))
    now = results / ("before" if earlier == "later" else "now")
    prior = results / ("now" if earlier == "later" else earlier)
    ended, _, said = run("view", now, "--prior", prior)
    assert (ended, bool(shown)) == ((3, False) if code else (0, True))
    assert code is None or f"[{code}]" in said


@pytest.mark.parametrize("file", ["", "result.json"])
def test_a_prior_is_not_replaced_by_the_result_that_is_compared_with_it(run, scans, results, tmp_path, file):
    shutil.copytree(results / "before", tmp_path / "before")
    prior = tmp_path / "before" / file
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "before", "--prior", prior, "--quiet")
    assert ended == 2
    assert "would be replaced" in said
    assert document(tmp_path / "before") == document(results / "before")


def test_a_prior_that_is_refused_says_what_to_look_at(run, results):
    """Of a result, `inspect` shows nothing: it is no advice here."""
    advice = {
        ("now", "other"): ("OTHER_PATIENT", ["PatientID (0010,0020)", "same patient"]),
        ("before", "now"): (
            "PRIOR_NOT_OLDER",
            ["AcquisitionDate (0008,0022)", "series.acquisition_date of result.json"],
        ),
    }
    for (now, prior), (code, words) in advice.items():
        ended, _, said = run("view", results / now, "--prior", results / prior)
        assert (ended, f"[{code}]" in said) == (3, True)
        assert [word for word in words if word not in said] == []
        assert "inspect" not in said


@pytest.mark.parametrize(
    ("then", "now", "code"),
    [("HOSP1", "HOSP2", "OTHER_PATIENT"), ("HOSP1", "HOSP1", None), ("HOSP1", None, None), (None, "HOSP2", None)],
)
def test_the_same_id_of_two_issuers_is_of_two_patients(scans, results, config, tmp_path, then, now, code):
    """PS3.3 C.2.2: IssuerOfPatientID identifies the authority that issued the id."""
    places = {"before": results / "before", "now": results / "now"}
    for name, issuer in (("before", then), ("now", now)):
        if issuer is None:
            continue
        shutil.copytree(scans / name, tmp_path / name)
        for path in (tmp_path / name).iterdir():
            slice_ = dcmread(path)
            slice_.IssuerOfPatientID = issuer
            slice_.save_as(path)
        places[name] = tmp_path / f"{name}-result"
        measured_folder(tmp_path / name, places[name], name, ThresholdSegmenter(), config, salt=SALT.encode())
    if code is None:
        require_same_person(*(document(places[name]) for name in ("now", "before")))
    else:
        with pytest.raises(InputError, match="its IssuerOfPatientID") as stop:
            require_same_person(*(document(places[name]) for name in ("now", "before")))
        assert stop.value.code == code


def test_a_damaged_digest_is_of_nobody(results):
    now, before = document(results / "now"), document(results / "before")
    before["provenance"]["patient_digest"] = now["provenance"]["patient_digest"].partition("-")[0]
    with pytest.raises(InputError) as stop:
        require_same_person(now, before)
    assert stop.value.code == "OTHER_PATIENT"


def test_a_prior_without_a_date_is_not_said_to_be_exchanged(run, results, tmp_path):
    undated = document(results / "before")
    del undated["series"]["acquisition_date"]
    (tmp_path / "prior.json").write_text(json.dumps(undated))
    ended, _, said = run("view", results / "now", "--prior", tmp_path / "prior.json")
    assert (ended, "[PRIOR_NOT_OLDER]" in said) == (3, True)
    assert "export with its date" in said
    assert "exchanged" not in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "refused"}', '{"volumes_ml": {"lung": 0}}'])
def test_what_is_not_a_result_is_refused_before_anything_is_measured(run, scans, tmp_path, content):
    (tmp_path / "prior.json").write_text(content)
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", tmp_path / "prior.json")
    assert (ended, "PRIOR_NO_RESULT" in said) == (3, True)
    assert not (tmp_path / "now").exists()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (None, lambda _: {"status": "refused"}),
        (None, lambda _: {"flags": None}),
        (None, lambda _: {"interval_percent": {"lesion": [1.0]}}),
        (None, lambda _: {"interval_percent": {"lesion": ["1", "2"]}}),
        (None, lambda _: {"interval_percent": {"lesion": [2.0, 1.0]}}),
        (None, lambda _: {"interval_percent": [3]}),
        ("series", lambda _: {"thickness_mm": "thin"}),
        ("volumes_ml", lambda ml: {"lung": 0}),
        ("volumes_ml", lambda ml: {"lung": str(ml["lung"])}),
        ("volumes_ml", lambda ml: {"lung": float("inf")}),
        ("volumes_ml", lambda ml: {"lesion": ml["lung"] + 1, "ground_glass": ml["lung"] + 1}),
        ("volumes_ml", lambda ml: {"lesion": ml["lesion"] + 0.01 * ml["lung"]}),  # 1 % of the lung more
        ("volumes_ml", lambda ml: {"solid": ml["lesion"]}),
        ("percent_of_lung", lambda shares: {"lesion": shares["lesion"] + 1}),
    ],
)
def test_numbers_that_are_not_those_of_a_measured_scan_are_no_prior(results, tmp_path, config, part, change):
    sound = document(results / "before")
    sound["interval_percent"] = {"lesion": [1.0, 2.0]}
    (tmp_path / "prior.json").write_text(json.dumps(sound), "utf-8")
    assert Priors([tmp_path / "prior.json"], None, config).stop is None
    place = sound if part is None else sound[part]
    place.update(change(place))
    (tmp_path / "prior.json").write_text(json.dumps(sound), "utf-8")
    with pytest.raises(InputError) as stop:
        Priors([tmp_path / "prior.json"], None, config)
    assert stop.value.code == "PRIOR_NO_RESULT"


@pytest.mark.parametrize(
    ("file", "how"),
    [("result.json", "changed"), ("mask.nii.gz", "changed"), ("mask.nii.gz", "missing"), ("run.json", "changed")],
)
def test_a_result_whose_files_were_changed_is_no_prior(run, scans, results, tmp_path, file, how):
    before = tmp_path / "before"
    shutil.copytree(results / "before", before)
    path = before / file
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"{}" if file == "run.json" else path.read_bytes() + b" ")
    given = [before, path] if file == "result.json" else [before]
    for prior in given:
        ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", prior)
        assert (ended, "[PRIOR_NO_RESULT]" in said) == (3, True), said
        assert f"{file} of the prior before {'is missing' if how == 'missing' else 'was changed'}" in said
    assert not (tmp_path / "now").exists()


def test_two_results_of_one_day_are_refused_before_anything_is_measured(run, scans, results, tmp_path):
    again = document(results / "before")
    again["scan_id"], again["reading"] = "corrected", "reader"
    (tmp_path / "corrected.json").write_text(json.dumps(again), "utf-8")
    for second, names in ((results / "before", "before"), (tmp_path / "corrected.json", "before and corrected")):
        priors = ("--prior", results / "before", "--prior", second)
        ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", *priors)
        assert (ended, "[PRIOR_REPEATED]" in said) == (3, True)
        assert f"two priors are of the same day, 2025-12-02: {names}" in said
        assert not (tmp_path / "now").exists()


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_a_result_of_another_schema_is_refused_before_anything_is_measured(run, scans, results, tmp_path, schema):
    other = document(results / "before") | {"schema": schema}
    (tmp_path / "prior.json").write_text(json.dumps(other), "utf-8")
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", tmp_path / "prior.json")
    assert (ended, "[PRIOR_SCHEMA]" in said) == (3, True)
    assert f"the prior before has schema {schema!r}" in said
    assert not (tmp_path / "now").exists()


def test_a_result_of_schema_1_without_later_keys_is_a_prior(run, scans, results, tmp_path):
    """What schema 1 has got since it began is absent in older results."""
    older = document(results / "before")
    for key in ("reading", "lobes", "severity_score", "severity_score_range", "distribution", "blood_pool_hu"):
        older.pop(key, None)
    older["volumes_ml"].pop("fluid", None)
    (tmp_path / "prior.json").write_text(json.dumps(older), "utf-8")
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", tmp_path / "prior.json")
    assert ended == 0, said
    (visit,) = document(tmp_path / "now")["prior"]["visits"]
    assert visit["reading"] == "automatic"
    assert visit["volumes_ml"]["lesion"] == older["volumes_ml"]["lesion"]


def test_the_correction_that_counts_is_the_prior_and_the_automatic_result_by_name(
    run, scans, results, tmp_path, config
):
    """A reader took all disease out of the earlier scan: the change is all that the present one has."""
    before = tmp_path / "before"
    shutil.copytree(results / "before", before)
    labels, affine = read_nifti(before / "mask.nii.gz")
    edited = np.where(labels > Tissue.AERATED, np.uint8(Tissue.AERATED), labels).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(edited.transpose(2, 1, 0), affine), tmp_path / "edited.nii.gz")
    remeasure(before, scans / "before", tmp_path / "edited.nii.gz", "R1", "no disease", config)
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", before)
    assert ended == 0, said
    now = document(tmp_path / "now")
    (visit,) = now["prior"]["visits"]
    assert (visit["reading"], visit["volumes_ml"]["lesion"]) == ("reader", 0)
    assert visit["change_ml"]["lesion"] == now["volumes_ml"]["lesion"] > 0
    assert "2025-12-02, corrected" in (tmp_path / "now" / "report.html").read_text("utf-8")

    ended, _, said = run("check", scans / "now", "--out", tmp_path / "auto", "--prior", before / "result.json")
    assert ended == 0, said
    (visit,) = document(tmp_path / "auto")["prior"]["visits"]
    assert visit["reading"] == "automatic"
    assert visit["volumes_ml"]["lesion"] == document(before)["volumes_ml"]["lesion"] > 0

    correction = before / "corrections" / "1"
    correction.chmod(0o755)
    (correction / "mask.nii.gz").unlink()
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "damaged", "--prior", before)
    assert (ended, "correction 1 of the prior before counts" in said) == (3, True), said
    assert not (tmp_path / "damaged").exists()


def test_a_correction_counts_on_when_its_images_are_measured_again(run, scans, results, tmp_path, config):
    """A reader took all disease out of the earlier scan, which is then measured again into the same folder."""
    before = tmp_path / "before"
    shutil.copytree(results / "before", before)
    labels, affine = read_nifti(before / "mask.nii.gz")
    edited = np.where(labels > Tissue.AERATED, np.uint8(Tissue.AERATED), labels).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(edited.transpose(2, 1, 0), affine), tmp_path / "edited.nii.gz")
    as_measured = (before / "result.json").read_bytes()
    without = document(before)
    without["provenance"]["patient_digest"] = None  # as versions before 0.2.0 measured it
    (before / "result.json").write_text(json.dumps(without), "utf-8")
    remeasure(before, scans / "before", tmp_path / "edited.nii.gz", "R1", "no disease", config)
    (before / "result.json").write_bytes(as_measured)
    ended, _, said = run("check", scans / "before", "--out", before, "--quiet")
    assert (ended, said) == (0, "look: 1 correction of a reader was kept and counts\n")
    assert [path.name for path in (before / "earlier" / "1").glob("corr*")] == []
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", before)
    assert ended == 0, said
    (visit,) = document(tmp_path / "now")["prior"]["visits"]
    assert (visit["reading"], visit["volumes_ml"]["lesion"]) == ("reader", 0)
    (tmp_path / "empty").mkdir()
    ended, _, said = run("check", tmp_path / "empty", "--out", before)
    assert (ended, "1 correction of a reader was kept; this run gave no number" in said) == (3, True), said
    ended, _, said = run("check", scans / "now", "--out", before)
    assert (ended, "1 correction of a reader was moved to earlier/" in said) == (0, True), said
    assert sorted(path.parent.name for path in before.rglob("corrections")) == ["3"]


def test_a_scan_of_a_batch_is_a_prior_and_no_table_has_its_digest(run, scans, results, tmp_path, config):
    shutil.copytree(scans / "before", tmp_path / "in" / "before")
    out, found = tmp_path / "out", find_scans(tmp_path / "in")
    run_batch(found, out, ThresholdSegmenter(), config)
    before = out / "scans" / "before"
    digest = document(results / "before")["provenance"]["patient_digest"]
    assert document(before)["provenance"]["patient_digest"] == digest
    tables = [path.read_text("utf-8") for path in out.rglob("*.csv")]
    assert any("provenance.patient_digest" in text for text in tables)
    assert not any(digest in text for text in tables)
    assert [one.verdict for one in replay(out, found, lambda _: ThresholdSegmenter())] == ["identical"]

    labels, affine = read_nifti(before / "mask.nii.gz")
    edited = np.where(labels > Tissue.AERATED, np.uint8(Tissue.AERATED), labels).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(edited.transpose(2, 1, 0), affine), tmp_path / "edited.nii.gz")

    def make(parent):
        edit = (tmp_path / "edited.nii.gz", "R1", "no disease", config)
        return remeasure(before, scans / "before", *edit, corrections=parent)

    correct(out, "before", make)
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", before)
    assert ended == 0, said
    (visit,) = document(tmp_path / "now")["prior"]["visits"]
    assert (visit["reading"], visit["volumes_ml"]["lesion"]) == ("reader", 0)
    assert verify(out).passed


def test_a_study_that_was_received_states_its_patient(scans, results, tmp_path, config):
    study = tmp_path / "abc-1"
    study.symlink_to(scans / "before")
    _measured_study(study, tmp_path / "out", ThresholdSegmenter(), config, False, print)
    said = document(tmp_path / "out" / "study-abc")["provenance"]["patient_digest"]
    assert said == document(results / "before")["provenance"]["patient_digest"]


def test_another_secret_is_not_another_patient(run, scans, results, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, SALT + " and of another hospital")
    ended, _, said = run("check", scans / "now", "--out", tmp_path / "now", "--prior", results / "before")
    assert (ended, "PATIENT_UNKNOWN" in said, "inspect" in said) == (3, True, False)
    assert document(tmp_path / "now")["status"] in ("measured", "review")


def test_a_document_alone_is_enough_for_the_numbers_and_several_make_a_trend(run, scans, results, tmp_path):
    older = document(results / "before")
    older["series"]["acquisition_date"], older["scan_id"] = "20251102", "older"
    (tmp_path / "older.json").write_text(json.dumps(older), "utf-8")
    ended = run(
        *("check", scans / "now", "--out", tmp_path / "now"),
        *("--prior", results / "before", "--prior", tmp_path / "older.json"),
    )
    assert ended[0] == 0, ended[2]
    now = document(tmp_path / "now")
    assert f"{now['prior']['visits'][0]['change_points']['lesion']:+.2f}" in ended[1]
    assert [visit["scan_id"] for visit in now["prior"]["visits"]] == ["older", "before"]
    trend = trend_of(now)
    lesion = next(line for line in trend.lines if line.key == "lesion")
    # 2 November, 2 December, 1 January: the middle visit lies half-way between days 0 and 60.
    assert [point.x for point in lesion.points] == [0, WIDTH / 2, WIDTH]
    top = float(trend.shares[-1][1])
    shares = [(older if n < 2 else now)["percent_of_lung"]["lesion"] for n in range(3)]
    expected = [HEIGHT * (1 - share / top) for share in shares]
    assert [point.y for point in lesion.points] == pytest.approx(expected, abs=0.01)
    assert "mask without the CT" in (tmp_path / "now" / "report.html").read_text("utf-8")


def test_every_printed_page_names_scan_and_date_and_the_patient_only_if_asked(both, scans, results, config):
    wanted = config.model_copy(update={"report": config.report.model_copy(update={"print_patient": True})})
    analysis = analyse_scan(scans / "now", ThresholdSegmenter(), wanted, "S<1>")
    priors = Priors([results / "before"], None, config)
    analysis = replace(analysis, result=replace(analysis.result, priors=document_priors(both)))
    annex = annex_of(scans / "now", as_document(analysis.result), analysis, priors)
    assert annex.patient == "patient Phantom Synthetic, ID SYN-001"
    page = report_page(as_document(analysis.result), wanted, annex=annex).decode()
    foot = re.findall(r"<style>(.*?)</style>", page, re.S)[1]
    assert "S\\3c 1\\3e , acquired 2026-01-01, patient Phantom Synthetic, ID SYN-001" in foot
    assert "does not contain a patient name" not in page
    plain = (both / "now" / "report.html").read_text("utf-8")
    assert "SYN-001" not in plain
    assert "Scan now, acquired 2026-01-01" in plain


@pytest.mark.parametrize(("count", "said"), [(6, []), (14, ["6 of 14 earlier results shown"])])
def test_the_pdf_says_how_many_earlier_results_it_leaves_out(both, count, said):
    shown = document(both / "now")
    shown["prior"]["visits"] *= count
    page = _change_page(shown, NOTHING, "line")
    rows = page.axes[-1].tables[0].get_celld()
    assert max(row for row, _ in rows) == 6
    lines = [text.get_text() for text in page.texts]
    assert [line.partition(",")[0] for line in lines if "earlier results" in line] == said


def document_priors(both):
    now, before = (document(both / name) for name in ("now", "before"))
    return (visit_of(now, before),)


def test_what_the_program_changed_lowers_the_grade_and_says_so(both, config):
    now, before = (document(both / name) for name in ("now", "before"))
    other = copy.deepcopy(before)
    other["provenance"]["model_sha256"] = "0" * 64
    other["component_rule"] = "hu"
    visit = visit_of(now, other)
    assert visit.grade == "C"
    assert {"MODEL_CHANGED:C", "RULE_CHANGED:B"} <= set(visit.reasons)
    assert set(visit.change_points) == {"lesion"}
    said = report_page({**now, "prior": {"visits": [as_plain(visit)]}}, config).decode()
    assert "another model measured the earlier scan" in said
    assert "not comparable" in said
    assert next(change.rows({**now, "prior": {"visits": [as_plain(visit)]}}))[1][6] == "\u2013"


def test_the_digest_names_nobody_without_the_secret(both):
    said = document(both / "now")["provenance"]["patient_digest"]
    assert said != patient_digest(b"another secret than this", "SYN-001")
    plain = (hash_(b"SYN-001").hexdigest() for hash_ in (hashlib.sha256, hashlib.sha1, hashlib.md5))
    assert not any(digest[:8] in said or digest[-8:] in said for digest in plain)
    assert "SYN-001" not in (both / "now" / "result.json").read_text("utf-8")


def test_the_secret_is_made_once_and_kept_to_its_user(tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    first = patient_salt(home)
    assert patient_salt(home) == first
    assert len(first) == 64
    assert (tmp_path / "volumetry" / "patient-salt").stat().st_mode & 0o077 == 0
    assert patient_salt({"HOME": str(tmp_path / "gone" / "away")}) is None
    assert [path.name for path in (tmp_path / "volumetry").iterdir()] == ["patient-salt"]
