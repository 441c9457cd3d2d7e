"""What the viewer shows is the result and its scan, and nothing else."""

import hashlib
import importlib.util
import json
import shutil
from base64 import b64encode
from hashlib import sha256

import nibabel as nib
import numpy as np
import pytest
import web_scenes
from scenes import AXIAL, ball, chest
from scipy import ndimage
from web_client import Client

from volumetry.domain import Grid, Tissue
from volumetry.errors import InputError, UsageError
from volumetry.image.nifti import nifti_bytes, thinning_steps
from volumetry.web import viewer
from volumetry.web.cases import ViewCase, case_of, largest_lesions, load_case, lung_box_ras_mm

TILTED = Grid(
    (30, 40, 50), (5.0, 1.5, 0.8), (-20.0, 11.0, 7.0), ((0.0, 0.2, 0.96**0.5), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, config):
    root = tmp_path_factory.mktemp("view")
    analysis = web_scenes.measured(web_scenes.write_scan(root / "scan"), root / "result", config)
    return root / "result", root / "scan", analysis


def test_the_case_is_the_scan_and_the_mask(folders, config):
    result, scan, analysis = folders
    case = load_case(result, config, scan)
    assert np.array_equal(case.labels_kji, analysis.tissue.labels_kji)
    assert np.abs(case.hu_kji - analysis.scan.hu_kji).max() <= 0.5
    assert case.affine_ras == pytest.approx(analysis.scan.grid.affine_ras, abs=1e-4)
    fresh = case_of(analysis)
    assert np.array_equal(fresh.hu_kji, case.hu_kji)
    assert fresh.facts()["percent_of_lung"] == case.facts()["percent_of_lung"]


def test_the_largest_lesion_lies_where_it_was_drawn(folders, config):
    lesions = load_case(folders[0], config).facts()["lesions"]
    drawn = [web_scenes.GROUND_GLASS, web_scenes.SOLID]
    assert [one["ml"] for one in lesions] == pytest.approx([one.shape.volume_ml for one in drawn], rel=0.1)
    for found, lesion in zip(lesions, drawn, strict=True):
        lps = np.multiply(found["ras_mm"], [-1, -1, 1])
        assert np.abs(lps - lesion.centre_lps_mm).max() < 3.0


def test_another_scan_than_the_one_measured_is_refused(folders, config, tmp_path):
    other = web_scenes.write_scan(tmp_path / "other", web_scenes.LATER)
    with pytest.raises(InputError, match="not the scan"):
        load_case(folders[0], config, other)


def test_a_ct_as_nifti_must_lie_on_the_masks_grid(folders, config, tmp_path):
    result, _, analysis = folders
    affine = analysis.scan.grid.affine_ras
    image = nib.Nifti1Image(analysis.scan.hu_kji.T, affine)
    nib.save(image, tmp_path / "ct.nii.gz")
    assert np.array_equal(load_case(result, config, tmp_path / "ct.nii.gz").hu_kji, case_of(analysis).hu_kji)
    affine = affine.copy()
    affine[2, 3] += 5.0
    nib.save(nib.Nifti1Image(analysis.scan.hu_kji.T, affine), tmp_path / "moved.nii")
    with pytest.raises(InputError, match="another grid"):
        load_case(result, config, tmp_path / "moved.nii")
    (tmp_path / "broken.nii").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        load_case(result, config, tmp_path / "broken.nii")


def test_without_a_scan_no_hu_are_made_up(folders, config):
    case = load_case(folders[0], config)
    assert case.facts()["has_ct"] is False
    values = nib.Nifti1Image.from_bytes(case.ct_nifti(reduced=False)).get_fdata()
    assert len(np.unique(values)) == 1


def test_a_folder_without_a_measured_result_is_refused(config, tmp_path, folders):
    with pytest.raises(UsageError, match=r"result\.json"):
        load_case(tmp_path, config)
    document = json.loads((folders[0] / "result.json").read_text("utf-8"))
    (tmp_path / "result.json").write_text(json.dumps(document | {"status": "refused", "code": "NO_LUNGS_FOUND"}))
    with pytest.raises(UsageError, match="NO_LUNGS_FOUND"):
        load_case(tmp_path, config)


def test_the_reduced_copy_keeps_true_values_at_their_true_places():
    rng = np.random.default_rng(1)
    volume = rng.integers(-1000, 1000, TILTED.shape_kji).astype(np.int16)
    image = nib.Nifti1Image.from_bytes(nifti_bytes(volume, TILTED.affine_ras, (1, 2, 4)))
    thin = np.asarray(image.dataobj)
    assert thin.shape == (13, 20, 30)
    for i, j, k in ((0, 0, 0), (12, 19, 29), (5, 7, 11)):
        assert thin[i, j, k] == volume[k, 2 * j, 4 * i]
        lps = (image.affine @ [i, j, k, 1])[:3] * [-1, -1, 1]
        assert lps == pytest.approx(TILTED.lps_mm(np.array([k, 2.0 * j, 4.0 * i])), abs=1e-4)


@pytest.mark.parametrize("shape", [(300, 512, 512), (1200, 768, 768), (40, 128, 128), (30, 2048, 2048)])
def test_what_is_reduced_can_be_drawn_in_software(shape):
    steps = thinning_steps(shape, (1.0, 0.7, 0.7))
    assert np.prod(np.ceil(np.divide(shape, steps))) <= 2_000_000


def test_lesions_are_those_that_scipy_finds():
    _, tissue = chest()
    labels = tissue.labels_kji.copy()
    for centre, radius in (((15, 30, 16), 20.0), ((25, 32, 46), 12.0), ((24, 20, 46), 9.0)):
        labels[ball(AXIAL, centre, radius)] = Tissue.SOLID
    lesion = labels == Tissue.SOLID
    numbered, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    sizes = sorted(ndimage.sum(lesion, numbered, range(1, count + 1)), reverse=True)
    found = largest_lesions(labels, AXIAL.affine_ras)
    assert [one["ml"] for one in found] == pytest.approx([size * AXIAL.voxel_ml for size in sizes])
    inverse = np.linalg.inv(AXIAL.affine_ras)
    for one in found:
        i, j, k = np.rint(inverse @ [*one["ras_mm"], 1])[:3].astype(int)
        assert labels[k, j, i] == Tissue.SOLID
    assert largest_lesions(tissue.labels_kji, AXIAL.affine_ras) == []


def test_the_lungs_box_holds_every_lung_voxel_and_touches_it():
    _, tissue = chest()
    low, high = lung_box_ras_mm(tissue.labels_kji, AXIAL.affine_ras)
    index = np.argwhere(tissue.labels_kji)
    ras = AXIAL.lps_mm(index.astype(float)) * [-1, -1, 1]
    assert low == pytest.approx(ras.min(axis=0))
    assert high == pytest.approx(ras.max(axis=0))
    assert lung_box_ras_mm(np.zeros_like(tissue.labels_kji), AXIAL.affine_ras) is None


def test_ids_are_opaque_and_unknown_ones_are_not_found(folders, config):
    case = load_case(folders[0], config, folders[1])
    client = Client(viewer.viewer_app({"one": case}, "/viewer/one")).enter()
    assert client.get("/").headers["location"] == "/viewer/one"
    assert client.get("/cases/one/facts.json").json()["scan_id"] == "S1"
    assert client.get("/cases/one/whole/ct.nii").content == case.ct_nifti(reduced=False)
    for path in ("/viewer/two", "/cases/two/facts.json", "/cases/one/other/ct.nii", "/cases/one/report.html"):
        assert client.get(path).status_code == 404
    client.close()
    assert len({viewer.new_id() for _ in range(50)}) == 50


def page_of_view(monkeypatch, result, config, *given, **more):
    """The client of the app that `view` runs."""
    apps = []
    monkeypatch.setattr(viewer, "LocalServer", lambda app, _port: apps.append(app))
    monkeypatch.setattr(viewer, "run_and_open", lambda *_arguments: None)
    viewer.view(result, config, *given, correct=lambda _edit: None, **more)
    return Client(apps[0]).enter()


def test_without_the_ct_that_its_correction_needs_a_mask_is_not_offered_for_correction(
    folders, config, tmp_path, monkeypatch
):
    result = tmp_path / "result"
    shutil.copytree(folders[0], result)
    document = json.loads((result / "result.json").read_text("utf-8"))
    by_hu = json.dumps(document | {"component_rule": "hu"})

    def offered(*given, **more):
        client = page_of_view(monkeypatch, result, config, *given, **more)
        case = client.get("/").headers["location"].rpartition("/")[2]
        facts = client.get(f"/cases/{case}/facts.json").json()
        answer = client.post(f"/cases/{case}/correction", content=b"{}\n")
        client.close()
        assert answer.status_code == (400 if facts["can_correct"] else 409)
        assert facts["can_correct"] is (facts["why_not_correct"] is None)
        return facts["why_not_correct"]

    assert offered() is None
    assert "need the CT. End this command and start it with --scan FOLDER" in offered(rule="hu")
    (result / "result.json").write_text(by_hu)
    assert "need the CT. End this command and start it with --scan FOLDER" in offered()
    assert offered(rule="network") is None
    assert offered(folders[1]) is None
    (result / "ct.nii.gz").touch()
    assert offered() is None


def test_the_report_is_served_without_scripts():
    page = b"<style>p { color: red }</style><p>report</p>"
    case = ViewCase({"provenance": {"mask_sha256": "0"}}, np.zeros((1, 1, 1), np.uint8), np.eye(4), None, page)
    client = Client(viewer.viewer_app({"one": case}, "/")).enter()
    answer = client.get("/cases/one/report.html")
    client.close()
    assert answer.content == page
    policy = answer.headers["content-security-policy"]
    assert "script" not in policy
    assert "unsafe" not in policy
    style = b64encode(sha256(b"p { color: red }").digest()).decode()
    assert f"style-src 'sha256-{style}'" in policy
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))


def test_a_prior_is_shown_on_the_slices_page_also_without_the_script(monkeypatch, config, tmp_path):
    monkeypatch.setattr(viewer, "NIIVUE", "absent.js")
    web_scenes.measured(web_scenes.write_scan(tmp_path / "scan"), tmp_path / "result", config)
    shown = []
    monkeypatch.setattr(viewer, "LocalServer", lambda app, _port: shown.append(app))
    monkeypatch.setattr(viewer, "run_and_open", lambda *_: None)
    viewer.view(tmp_path / "result", config, prior=tmp_path / "result")
    client = Client(shown[0]).enter()
    start = client.get("/").headers["location"]
    now, then = start.removeprefix("/slices/").split("/")
    assert client.get(start).status_code == 200
    assert client.get(f"/cases/{then}/facts.json").json()["acquisition_date"] == "20260101"
    assert client.get(f"/slices/{now}/unknown").status_code == 404
    client.close()


def hook(root):
    path = root / ".ci" / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_here_is_the_pinned_one(request):
    build = hook(request.config.rootpath)
    script = viewer.static_folder() / viewer.NIIVUE
    if not script.exists():
        pytest.skip("this installation was built without npm")
    assert hashlib.sha256(script.read_bytes()).hexdigest() == build.MEMBER_SHA256
    assert build.is_current(script)


def test_a_script_that_was_not_reviewed_stops_the_build(request):
    build = hook(request.config.rootpath)
    with pytest.raises(RuntimeError, match="tarball"):
        build.reviewed(b"another tarball", b"another script")


def test_without_npm_the_build_goes_on_and_says_so(request, monkeypatch, tmp_path):
    build = hook(request.config.rootpath)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(build.NotFetchedError, match="npm"):
        build.fetch(tmp_path / "niivue.js")
    assert not (tmp_path / "niivue.js").exists()
