"""A dropped scan: streamed to a private folder, measured, shown, and removed."""

import asyncio
import errno
import io
import json
import os
import stat
import time
import zipfile

import numpy as np
import pytest
import web_scenes
from web_client import Client

from volumetry.deliver.report import text
from volumetry.errors import BusyError, UsageError
from volumetry.image.nifti import read_nifti
from volumetry.phantom import SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.web import drop_in
from volumetry.web.drop_in import drop_in_app
from volumetry.web.jobs import Jobs
from volumetry.web.uploads import UploadLimits

LIMITS = UploadLimits(max_files=60, max_file_bytes=3_000_000, max_total_bytes=3_000_000)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = web_scenes.write_scan(tmp_path_factory.mktemp("drop") / "scan")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


class Page:
    """What drop.js does."""

    def __init__(self, config, tmp_path, **more):
        self.delivered = []
        self.jobs = Jobs(ThresholdSegmenter(), config, LIMITS, self.deliver_more, **more)
        self.client = Client(drop_in_app(self.jobs)).enter()
        self.jobs.start()

    def deliver_more(self, document, analysis, result):
        assert document == json.loads((result / "result.json").read_text("utf-8"))
        self.delivered.append(analysis)
        (result / "report.html").write_text("<p>report")

    def new(self):
        return self.client.post("/jobs").json()["job"]

    def put(self, job, what, content):
        return self.client.ask("PUT", f"/jobs/{job}/{what}", content=content).status_code

    def start(self, job):
        return self.client.post(f"/jobs/{job}/start").status_code

    def facts(self, job):
        return self.client.get(f"/jobs/{job}").json()

    def end(self, job):
        while (facts := self.facts(job))["state"] in ("waiting", "running"):
            time.sleep(0.05)
        return facts

    def close(self):
        self.jobs.close()
        self.client.close()


def test_the_servers_folder_never_looks_abandoned_to_another_machine(tmp_path, monkeypatch):
    """What nothing touched for a day is cleared away there, whether its writer lives or not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(drop_in, "_TOUCH_EVERY_S", 0.01)
    with drop_in._all_that_is_temporary():
        (folder,) = tmp_path.iterdir()
        os.utime(folder, (0, 0))
        deadline = time.monotonic() + 30
        while folder.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - folder.stat().st_mtime < 60
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_of_the_same_folder_is_refused_as_long_as_the_first_runs(config, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun = []

    def run(_server, _say, _open):
        begun.append(1)
        if len(begun) == 1:
            with pytest.raises(
                BusyError, match="another `volumetry serve` keeps its results in this folder"
            ) as refused:
                drop_in.serve(ThresholdSegmenter(), config, keep=tmp_path / "kept")
            assert "--keep" in refused.value.hint
            drop_in.serve(ThresholdSegmenter(), config, keep=tmp_path / "other")
            drop_in.serve(ThresholdSegmenter(), config)

    monkeypatch.setattr(drop_in, "run_and_open", run)
    drop_in.serve(ThresholdSegmenter(), config, keep=tmp_path / "kept")
    drop_in.serve(ThresholdSegmenter(), config, keep=tmp_path / "kept")
    assert len(begun) == 4


@pytest.fixture
def page(config, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Page(config, tmp_path)
    yield made
    made.close()


def private_files(page):
    return [path for path in page.jobs.root.rglob("*") if path.is_file()]


def test_a_dropped_folder_is_measured_shown_and_removed(page, scan, tmp_path):
    job = page.new()
    for content in scan:
        assert page.put(job, "files", content) == 204
    files = private_files(page)
    assert len(files) == len(scan)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert stat.S_IMODE(page.jobs.root.stat().st_mode) == 0o700
    assert page.start(job) == 202
    facts = page.end(job)
    assert facts["state"] == "done", facts["stop"]
    drawn = web_scenes.GROUND_GLASS.shape.volume_ml
    assert facts["volumes_ml"]["ground_glass"] == pytest.approx(drawn, rel=0.1)
    assert {flag["code"] for flag in facts["flags"]} >= {"THICK_SLICES"}
    assert page.delivered[0].scan.series.slice_count == len(scan)
    assert page.delivered[0].result.provenance.patient_digest  # a kept result can be a prior
    assert page.client.get(f"/cases/{job}/facts.json").json()["has_ct"] is True
    assert page.client.get(f"/cases/{job}/report.html").text == "<p>report"
    left = {path.name for path in private_files(page)}
    assert left == {"result.json", "results.csv", "run.json", "mask.nii.gz", "report.html"}
    page.jobs.close()
    assert list(tmp_path.iterdir()) == []


def test_a_zip_is_measured_like_its_folder(page, scan):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for n, content in enumerate(scan):
            zipped.writestr(f"Doe^Jane/{n}.dcm", content)
    job = page.new()
    assert page.put(job, "zip", packed.getvalue()) == 204
    page.start(job)
    facts = page.end(job)
    assert facts["state"] == "done", facts["stop"]
    assert page.delivered[0].result.scan_id == "dropped-scan-1"
    assert "Doe" not in str(facts)


@pytest.mark.parametrize(
    ("what", "content", "code"),
    [("zip", b"PK no archive", "ZIP_REJECTED"), ("files", b"no image", None)],
)
def test_what_is_no_scan_ends_with_a_reason_and_nothing_left(page, what, content, code):
    job = page.new()
    page.put(job, what, content)
    page.start(job)
    facts = page.end(job)
    assert facts["state"] == "stopped"
    assert facts["stop"]["message"]
    assert facts["stop"]["hint"]
    assert code in (None, facts["stop"]["code"])
    assert facts["volumes_ml"] is None
    assert private_files(page) == []
    assert page.client.get(f"/viewer/{job}").status_code == 404


def test_a_refused_scan_lists_every_reason(page, scan):
    job = page.new()
    for content in scan[::8]:  # few slices, far apart
        page.put(job, "files", content)
    page.start(job)
    facts = page.end(job)
    refusals = [flag["code"] for flag in facts["flags"] if flag["severity"] == "refuse"]
    assert facts["status"] == "refused"
    assert facts["stop"]["code"] == refusals[0]
    assert "TOO_FEW_SLICES" in refusals


def test_an_upload_beyond_the_limits_is_cut_off_and_removed(page):
    job = page.new()
    seen = []

    async def endless():
        while True:
            seen.append(1)
            yield bytes(100_000)

    assert page.put(job, "files", endless()) == 413
    assert len(seen) <= 32
    assert page.facts(job)["stop"]["code"] == "LIMIT_EXCEEDED"
    assert private_files(page) == []
    assert page.put(job, "files", b"more") == 409


def test_too_many_files_are_refused(page):
    job = page.new()
    answers = [page.put(job, "files", b"x") for _ in range(61)]
    assert answers == [204] * 60 + [413]


def test_jobs_that_do_not_exist_or_have_begun_are_refused(page, scan):
    assert page.put("nothing", "files", b"x") == 404
    assert page.start("nothing") == 404
    assert page.client.get("/jobs/nothing").status_code == 404
    assert page.client.get("/jobs/../../etc/passwd").status_code == 404
    job = page.new()
    page.put(job, "files", scan[0])
    page.start(job)
    assert page.put(job, "files", scan[1]) == 409
    page.end(job)
    assert page.client.ask("DELETE", f"/jobs/{job}").status_code == 204
    assert page.client.get(f"/jobs/{job}").status_code == 404


def test_a_bug_costs_its_own_scan_and_its_text_is_not_shown(page, scan, monkeypatch):
    def broken(*_args):
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("volumetry.case.analyse_scan", broken)
    job = page.new()
    page.put(job, "files", scan[0])
    page.start(job)
    facts = page.end(job)
    assert facts["stop"]["code"] == "INTERNAL_ERROR"
    assert "Doe" not in str(facts)
    monkeypatch.undo()
    assert page.jobs._worker.is_alive()


def test_no_more_scans_wait_than_can_be_kept(page):
    for _ in range(20):
        page.new()
    assert page.client.post("/jobs").status_code == 409
    with pytest.raises(UsageError, match="too many"):
        page.jobs.new()


def test_results_that_are_to_be_kept_stay_and_uploads_do_not(config, scan, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    page = Page(config, tmp_path, keep=tmp_path / "kept")
    job = page.new()
    for content in scan:
        page.put(job, "files", content)
    page.start(job)
    assert page.end(job)["state"] == "done"
    page.close()
    assert list((tmp_path / "tmp").iterdir()) == []
    kept = [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert sorted(kept) == ["mask.nii.gz", "report.html", "result.json", "results.csv", "run.json"]


def measured(page, scan):
    job = page.new()
    for content in scan:
        page.put(job, "files", content)
    page.start(job)
    assert page.end(job)["state"] == "done"
    return job


def test_results_survive_the_server_where_they_are_kept_and_the_numbers_go_on(config, scan, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    first = Page(config, tmp_path, keep=tmp_path / "kept")
    job = measured(first, scan)
    told = first.facts(job)
    first.close()
    (tmp_path / "kept" / "result-broken").mkdir()
    (tmp_path / "kept" / "result-broken" / "result.json").write_text("{")
    again = Page(config, tmp_path, keep=tmp_path / "kept")
    (shown,) = again.client.get("/jobs").json()
    assert shown["job"] == job
    for key in ("number", "percent_of_lung", "volumes_ml", "flags", "has_report", "acquired"):
        assert shown[key] == told[key]
    assert again.client.get(f"/cases/{job}/report.html").text == "<p>report"
    facts = again.client.get(f"/cases/{job}/facts.json").json()
    assert (facts["has_ct"], facts["volumes_ml"]) == (False, told["volumes_ml"])
    assert again.client.post("/jobs").json()["number"] == 2
    again.close()


def test_refusals_survive_the_server_where_results_are_kept_and_go_with_their_card(
    config, scan, tmp_path, monkeypatch
):
    """Refused on reading, beyond the limits, and left by its page; the disk holds the reason and nothing sent."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    first = Page(config, tmp_path, keep=tmp_path / "kept")
    refused, too_large, left = first.new(), first.new(), first.new()
    for content in scan[::8]:  # few slices, far apart
        first.put(refused, "files", content)
    first.start(refused)
    first.end(refused)
    assert first.put(too_large, "files", bytes(3_000_001)) == 413
    first.put(left, "files", scan[0])
    monkeypatch.setattr("volumetry.web.jobs._ABANDONED_S", 0.0)
    time.sleep(0.01)
    first.jobs._expire()
    told = {job: first.facts(job) for job in (refused, too_large, left)}
    first.close()
    assert {path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()} == {
        *("result.json", "results.csv", "run.json")
    }
    again = Page(config, tmp_path, keep=tmp_path / "kept")
    shown = again.client.get("/jobs").json()
    assert [one["job"] for one in shown] == [refused, too_large, left]
    for one in shown:
        assert one["state"] == "stopped"
        for key in ("number", "stop", "status", "flags", "slices"):
            assert one[key] == told[one["job"]][key]
    assert [one["stop"]["code"] for one in shown][1:] == ["LIMIT_EXCEEDED", "LIMIT_EXCEEDED"]
    assert "TOO_FEW_SLICES" in {flag["code"] for flag in shown[0]["flags"]}
    assert again.client.get(f"/viewer/{refused}").status_code == 404
    assert again.new() not in told
    assert again.client.ask("DELETE", f"/jobs/{too_large}").status_code == 204
    again.close()
    last = Page(config, tmp_path, keep=tmp_path / "kept")
    assert [one["job"] for one in last.client.get("/jobs").json()] == [refused, left]
    last.close()


def test_an_upload_that_its_page_has_left_expires(page, scan, monkeypatch):
    job = page.new()
    page.put(job, "files", scan[0])
    monkeypatch.setattr("volumetry.web.jobs._ABANDONED_S", 0.0)
    time.sleep(0.01)
    page.jobs._expire()
    facts = page.facts(job)
    assert facts["state"] == "stopped"
    assert "minutes" in facts["stop"]["message"]
    assert private_files(page) == []


def test_the_rest_of_an_expired_upload_does_not_change_why_it_ended(page, scan, monkeypatch):
    job = page.new()

    async def stalls():
        yield scan[0][:1000]
        monkeypatch.setattr("volumetry.web.jobs._ABANDONED_S", -1.0)
        page.jobs._expire()
        yield scan[0][1000:]

    answer = asyncio.run(drop_in._received(page.jobs, job, page.jobs.get(job).upload.add_file(stalls())))
    assert answer.status_code == 413
    assert page.facts(job)["stop"]["code"] == "LIMIT_EXCEEDED"
    assert private_files(page) == []


@pytest.mark.parametrize(("what", "name"), [("files", "open"), ("zip", "open"), ("new", "mkdir")])
def test_a_full_disk_says_so(page, scan, monkeypatch, what, name):
    before, real = None if what == "new" else page.new(), getattr(type(page.jobs.root), name)

    def full(path, *arguments, **more):
        if "upload-" in str(path) and (name == "mkdir" or path.name != "scan"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **more)

    monkeypatch.setattr(f"pathlib.Path.{name}", full)
    if what == "new":
        answer = page.client.post("/jobs")
        assert (answer.status_code, "No space left" in answer.json()["message"]) == (507, True)
        return
    assert page.put(before, what, scan[0]) == 413
    assert "No space left" in page.facts(before)["stop"]["message"]
    assert private_files(page) == []


def test_by_the_hu_rule_a_mask_can_be_corrected_as_long_as_its_ct_is_there(config, tmp_path, scan, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    by_hu = config.model_copy(update={"measure": config.measure.model_copy(update={"component_rule": "hu"})})
    page = Page(by_hu, tmp_path, keep=tmp_path / "kept", correct=web_scenes.corrected)
    job = measured(page, scan)
    facts = page.client.get(f"/cases/{job}/facts.json").json()
    assert (facts["can_correct"], facts["why_not_correct"]) == (True, None)
    page.close()
    page = Page(by_hu, tmp_path, keep=tmp_path / "kept", correct=web_scenes.corrected)
    facts = page.client.get(f"/cases/{job}/facts.json").json()
    assert facts["can_correct"] is False
    assert (
        "need the CT, and this page no longer has it. To correct the mask, open the kept result with"
        in facts["why_not_correct"]
    )
    answer = page.client.post(f"/cases/{job}/correction", content=b"{}\n")
    assert (answer.status_code, answer.json()["message"]) == (409, facts["why_not_correct"])
    page.close()


@pytest.mark.parametrize("kept", [False, True])
def test_by_the_hu_rule_a_ct_with_fractions_of_hu_is_not_corrected_on_the_page(
    config, tmp_path, monkeypatch, kept
):
    """The page keeps whole HU: its CT would not give the result's numbers back."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write_series(make_phantom(web_scenes.SPEC), tmp_path / "scan", SeriesSpec(slope=0.3))
    by_hu = config.model_copy(update={"measure": config.measure.model_copy(update={"component_rule": "hu"})})
    page = Page(by_hu, tmp_path, keep=tmp_path / "kept" if kept else None, correct=web_scenes.corrected)
    job = measured(page, [path.read_bytes() for path in (tmp_path / "scan").iterdir()])
    facts = page.client.get(f"/cases/{job}/facts.json").json()
    assert (facts["has_ct"], facts["can_correct"]) == (True, False)
    what = "open the kept result" if kept else "start `volumetry serve --keep FOLDER` and drop it"
    assert f"this page keeps it in whole HU only. To correct the mask, {what}" in facts["why_not_correct"]
    page.close()


def test_a_mask_edited_on_the_page_becomes_a_correction_with_and_without_the_ct(
    config, tmp_path, scan, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    page = Page(config, tmp_path, keep=tmp_path / "kept", correct=web_scenes.corrected)
    job = page.new()
    for content in scan:
        page.put(job, "files", content)
    assert page.client.post(f"/cases/{job}/correction", content=b"{}\n").status_code == 404  # nothing to correct
    page.start(job)
    assert page.end(job)["state"] == "done"
    assert page.client.get(f"/cases/{job}/facts.json").json()["can_correct"] is True
    labels, affine = read_nifti(tmp_path / "kept" / f"result-{job}" / "mask.nii.gz")
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    edited = labels.astype(np.uint8)
    edited[edited == 3] = 2

    def body():
        words = {"reader": "R1", "reason": "no consolidation"}
        drawn_on = page.client.get(f"/cases/{job}/facts.json").json()["mask_sha256"]
        return json.dumps({**words, "drawn_on": drawn_on}).encode() + b"\n" + edited.tobytes()

    evil = {"origin": "http://evil.example"}
    assert page.client.post(f"/cases/{job}/correction", content=body(), headers=evil).status_code == 403
    assert not list((tmp_path / "kept").rglob("corrections"))
    automatic = page.facts(job)["sentence"]
    assert page.facts(job)["correction"] is None
    counted_ml = np.count_nonzero(edited == 2) * voxel_ml
    for number, has_hu in ((1, True), (2, False)):
        answer = page.client.post(f"/cases/{job}/correction", content=body())
        assert (answer.status_code, answer.json()["correction"]) == (201, str(number))
        folder = tmp_path / "kept" / f"result-{job}" / "corrections" / str(number)
        document = json.loads((folder / "result.json").read_text("utf-8"))
        assert document["volumes_ml"]["ground_glass"] == pytest.approx(counted_ml)
        assert document["corrected_by"] == "R1"
        assert (document.get("mean_lung_hu") is not None) is has_hu
        page.close()  # the next server has no CT in memory
        page = Page(config, tmp_path, keep=tmp_path / "kept", correct=web_scenes.corrected)
        facts, shown = page.facts(job), page.client.get(f"/cases/{job}/facts.json").json()
        assert facts["sentence"] == shown["sentence"] == text.sentence(document)
        assert (facts["correction"]["reader"], facts["automatic_sentence"]) == ("R1", automatic)
        assert (shown["shown"], shown["temporary"]) == (number, False)
    # A card says what the viewer says of a correction that was damaged, and counts the one before it.
    with (folder / "mask.nii.gz").open("ab") as file:
        file.write(b"x")
    facts, shown = page.facts(job), page.client.get(f"/cases/{job}/facts.json").json()
    assert (facts["correction"]["number"], shown["current"]) == (1, 1)
    assert facts["reading_notes"] == shown["reading_notes"]
    assert facts["reading_notes"] == ["Correction 2 cannot be shown: its files are missing or were changed."]
    page.close()
    assert not list(tmp_path.glob(".*.part"))
