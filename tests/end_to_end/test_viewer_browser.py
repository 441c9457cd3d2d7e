"""The pages in a real browser: what is on the screen, what is asked for, what is refused."""

import io
import os
import re
import shutil
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pydicom
import pytest
import web_scenes
from web_browser import PATIENCE_MS, Watched, absent, chromium, open_viewer, picture, serving

from volumetry.deliver.report import write_report
from volumetry.phantom import SeriesSpec, make_phantom, tilted, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.web.cases import load_case
from volumetry.web.drop_in import drop_in_app
from volumetry.web.jobs import Jobs
from volumetry.web.uploads import UploadLimits
from volumetry.web.viewer import viewer_app, viewer_is_there

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, config):
    root = tmp_path_factory.mktemp("browser")
    for name, spec in (("now", web_scenes.SPEC), ("before", web_scenes.LATER)):
        web_scenes.measured(web_scenes.write_scan(root / name / "scan", spec), root / name / "result", config)
    return root


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def needs_viewer():
    if not viewer_is_there():
        absent("this installation was built without npm, so without the viewer's script")


@pytest.fixture
def run():
    """Serve an app in a thread for the length of a test."""
    with serving() as start:
        yield start


@pytest.fixture(scope="module")
def tilted_case(tmp_path_factory, config):
    """Slices of a gantry that leans by 15 degrees."""
    root = tmp_path_factory.mktemp("tilted")
    spec = replace(web_scenes.SPEC, direction_lps=tilted(15.0), shape_kji=(42, 150, 118))
    web_scenes.measured(web_scenes.write_scan(root / "scan", spec), root / "result", config)
    return load_case(root / "result", config, root / "scan")


def share_of(pixels, hue):
    """Share of the picture in which red, green and blue stand to each other as in a tint laid over grey."""
    red, green, blue = (pixels[..., n] for n in range(3))
    return {
        "yellow": ((red - blue > 50) & (green - blue > 40)),
        "magenta": ((red - green > 40) & (blue - green > 10)),
        "blue": ((blue - red > 15) & (green - red > 5)),
    }[hue].mean()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Where pictures go; VOLUMETRY_SHOTS keeps them for the eye."""
    folder = tmp_path_factory.mktemp("shots")
    yield folder
    if wanted := os.environ.get("VOLUMETRY_SHOTS"):
        shutil.copytree(folder, wanted, dirs_exist_ok=True)


@pytest.mark.usefixtures("needs_viewer")
def test_the_viewer_shows_the_lesions_and_reads_out_what_lies_under_the_cross(
    browser, folders, run, config, shots
):
    case = load_case(folders / "now" / "result", config, folders / "now" / "scan")
    server = run(viewer_app({"now": case}, "/viewer/now"))
    watched = Watched(browser)
    page = watched.page
    page.set_viewport_size({"width": 760, "height": 640})
    page.goto(server.link)
    page.wait_for_selector("body[data-state]", timeout=PATIENCE_MS)
    assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#notes")
    pixels = picture(page, shots / "planes.png")
    assert share_of(pixels, "blue") > 0.03
    assert share_of(pixels, "yellow") > 0.002
    assert share_of(pixels, "magenta") > 0.001
    # In the 3-D tile both lesions shine through the lung: the patient's right, with the ground glass, to the left.
    left, top, width, height = page.evaluate(
        "volumetry.panes[0].nv.screenSlices.find((tile) => tile.axCorSag === 4).leftTopWidthHeight.map(Math.round)"
    )
    canvas, main = page.locator("canvas").bounding_box(), page.locator("main").bounding_box()
    left, top = left + round(canvas["x"] - main["x"]), top + round(canvas["y"] - main["y"])
    tile = pixels[top : top + height, left : left + width]
    assert share_of(tile[:, : width // 2], "yellow") > 0.005 > share_of(tile[:, width // 2 :], "yellow")
    assert share_of(tile[:, width // 2 :], "magenta") > 0.005 > share_of(tile[:, : width // 2], "magenta")
    assert ((tile[..., 2] > tile[..., 0]) & (tile[..., 2] > 20)).mean() > 0.05
    # The cross stands in the largest lesion, whose place and HU are those of the phantom.
    said = page.inner_text(".at")
    x, y, z = web_scenes.GROUND_GLASS.centre_lps_mm
    at = [float(word) for word in said.split("mm")[0].split() if word[0].isdigit()]
    assert at == pytest.approx([abs(x), abs(y), abs(z)], abs=3.0)
    assert said.startswith("R ")  # LPS x is negative: the patient's right
    assert -700 < int(said.split("·")[1].split()[0]) < -500
    assert said.endswith("Ground glass")

    page.keyboard.press("n")
    assert page.inner_text(".at").endswith("Consolidation")
    assert page.inner_text(".at").startswith("L ")
    assert re.search(r"slice \d+ of 40, image \d+", page.inner_text(".at"))
    page.keyboard.press("a")
    page.keyboard.press("2")
    axial = picture(page, shots / "axial.png")
    assert page.get_attribute("[data-window=soft]", "aria-pressed") == "true"
    # The patient's right lung, with the ground glass, is on the left of the picture.
    half = axial.shape[1] // 2
    assert share_of(axial[:, :half], "yellow") > 10 * share_of(axial[:, half:], "yellow")
    page.uncheck("[data-label='2']")
    assert share_of(picture(page, shots / "no-ground-glass.png")[:, :half], "yellow") < 1e-3
    page.keyboard.press("m")
    assert share_of(picture(page, shots / "no-mask.png"), "blue") < share_of(axial, "blue") / 5
    assert watched.complaints == []
    assert watched.asked_only(server.address)


@pytest.mark.usefixtures("needs_viewer")
@pytest.mark.parametrize("viewer", ["viewer", "slices"])
def test_the_cross_finds_the_largest_lesion_and_its_slice_in_a_tilted_stack(
    browser, run, config, tilted_case, viewer
):
    server = run(viewer_app({"now": tilted_case}, f"/{viewer}/now"))
    page = Watched(browser).page
    open_viewer(page, server.link)
    lesion = tilted_case.facts()["lesions"][0]["ras_mm"]
    slice_ = round((np.linalg.inv(tilted_case.affine_ras) @ [*lesion, 1.0])[2]) + 1
    said = page.inner_text(".at")
    assert f"slice {slice_} of 42" in said
    assert f"image {slice_} " in said
    at = [float(number) for number in re.search(r"R ([\d.]+) +P ([\d.]+) +S ([\d.]+) mm", said).groups()]
    assert at == pytest.approx([abs(mm) for mm in web_scenes.GROUND_GLASS.centre_lps_mm], abs=3.0)
    assert said.endswith("Ground glass")


@pytest.mark.usefixtures("needs_viewer")
def test_an_earlier_visit_follows_by_the_place_in_the_lungs(browser, folders, run, config, shots):
    cases = {
        name: load_case(folders / name / "result", config, folders / name / "scan") for name in ("now", "before")
    }
    cases["now"] = replace(cases["now"], document={**cases["now"].document, "scan_id": MARKUP})
    server = run(viewer_app(cases, "/viewer/now/before"))
    watched = Watched(browser, color_scheme="dark")
    page = watched.page
    page.goto(server.link)
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    picture(page, shots / "visits.png")
    low, high = cases["before"].facts()["lung_box_ras_mm"]
    now_low, now_high = cases["now"].facts()["lung_box_ras_mm"]
    now = cases["now"].facts()["lesions"][0]["ras_mm"]
    expected = [
        b0 + (p - a0) / (a1 - a0) * (b1 - b0)
        for p, a0, a1, b0, b1 in zip(now, now_low, now_high, low, high, strict=True)
    ]
    before = page.evaluate("volumetry.panes[1].mm")
    assert before == pytest.approx(expected, abs=3.0)
    page.uncheck("#link")
    page.keyboard.press("PageUp")
    assert page.evaluate("volumetry.panes[0].mm")[2] == pytest.approx(now[2] + 50.0, abs=1.0)
    assert page.evaluate("volumetry.panes[1].mm") == before
    assert page.locator("h2").all_inner_texts()[0] == f"This visit: {MARKUP}"
    assert page.query_selector("main img") is None
    assert watched.complaints == []


@pytest.fixture
def drop_page(browser, run, config, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def add_report(document, analysis, result):
        write_report(document, result, config, analysis.tissue, analysis.scan)

    jobs = Jobs(ThresholdSegmenter(), config, UploadLimits(), add_report)
    server = run(drop_in_app(jobs))
    watched = Watched(browser)
    watched.page.goto(server.link)
    # The link's page leads on to this one, whose last line is its script: before that, nothing answers a choice.
    watched.page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    return watched, server, jobs


def dropped(watched, selector, files):
    watched.page.set_input_files(selector, files)
    watched.page.wait_for_selector(".job[data-state]", timeout=PATIENCE_MS)
    return watched.page.inner_text(".job")


@pytest.mark.usefixtures("needs_viewer")
def test_a_dropped_folder_gives_its_numbers_and_opens_in_the_viewer(drop_page, folders, shots):
    watched, server, jobs = drop_page
    said = dropped(watched, "#folder", folders / "now" / "scan")
    picture(watched.page, shots / "drop-good.png")
    case = load_case(folders / "now" / "result", jobs.config)
    percent = case.document["percent_of_lung"]
    assert f"{percent['lesion']:.1f} % of the lung" in said
    assert f"{percent['solid']:.1f} % consolidation" in said
    assert "THICK_SLICES" in said
    with watched.context.expect_page() as opened:
        watched.page.click("text=Open the report")
    opened.value.wait_for_selector("h1")
    # Card and report say the same sentence, and so do the viewers.
    sentence = watched.page.inner_text(".job .figures")
    assert opened.value.inner_text(".sentence").replace("\N{NO-BREAK SPACE}", " ").startswith(sentence)
    opened.value.screenshot(path=shots / "report-page.png")
    assert opened.value.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    with watched.context.expect_page() as opened:
        watched.page.click("text=Open the viewer")
    opened.value.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    assert opened.value.inner_text(".at").endswith("Ground glass")
    assert opened.value.inner_text("#verdict") == sentence
    assert list(jobs.root.rglob("upload-*")) == []
    assert watched.complaints == []
    assert watched.asked_only(server.address)


def test_five_uploads_are_there_after_a_reload_and_after_a_restart(browser, run, config, folders, tmp_path, shots):
    def server_of():
        jobs = Jobs(ThresholdSegmenter(), config, UploadLimits(), keep=tmp_path / "kept")
        server = run(drop_in_app(jobs))
        watched = Watched(browser)
        watched.page.goto(server.link)
        watched.page.wait_for_selector("body[data-state=ready]")
        return watched, jobs

    watched, jobs = server_of()
    for number in range(1, 6):
        watched.page.set_input_files("#folder", folders / "now" / "scan")
        watched.page.wait_for_selector(f".job[data-state=done]:has-text('Scan {number}:')", timeout=PATIENCE_MS)
    assert sum(job.case is not None for _, job in jobs.all()) == 4
    figures = watched.page.locator(".figures").all_inner_texts()
    titles = [f"Scan {number}: 40 slices, acquired 2026-01-01" for number in range(5, 0, -1)]
    for again in (False, True):
        if again:
            watched, _ = server_of()
        else:
            watched.page.reload()
            watched.page.wait_for_selector("body[data-state=ready]")
        assert watched.page.locator(".job h2").all_inner_texts() == titles
        assert watched.page.locator(".figures").all_inner_texts() == figures
        assert watched.complaints == []
    picture(watched.page, shots / "drop-five.png")


def test_a_folder_that_no_longer_fits_says_why_also_after_a_restart(browser, run, config, folders, tmp_path):
    """Four files are under way at once: after the refusal of one, the server turns the others down."""

    def page_of():
        jobs = Jobs(ThresholdSegmenter(), config, UploadLimits(max_files=8), keep=tmp_path / "kept")
        server = run(drop_in_app(jobs))
        watched = Watched(browser)
        watched.page.goto(server.link)
        watched.page.wait_for_selector("body[data-state=ready]")
        return watched

    watched = page_of()
    watched.page.set_input_files("#folder", folders / "now" / "scan")
    watched.page.wait_for_selector(".job[data-state=stopped]", timeout=PATIENCE_MS)
    said = watched.page.inner_text(".job")
    assert "more than 8 files" in said
    assert "could not be sent" not in said
    watched = page_of()
    assert watched.page.locator(".job[data-state=stopped]").count() == 1
    again = watched.page.inner_text(".job")
    assert again.startswith("Scan 1\n")
    assert [line for line in said.splitlines() if "8 files" in line or "LIMIT_EXCEEDED" in line] == [
        line for line in again.splitlines() if "No number" in line or "LIMIT_EXCEEDED" in line
    ]
    assert watched.page.locator(".stages li").count() == 0, "at which stage is not known"
    assert watched.complaints == []


@pytest.mark.usefixtures("needs_viewer")
def test_markup_in_every_text_of_a_good_scan_is_text_on_every_page(drop_page, folders, tmp_path, shots):
    watched, _, _ = drop_page
    asked = []
    watched.context.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    shutil.copytree(folders / "now" / "scan", tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        slice_ = pydicom.dcmread(path)
        for name in ("SeriesDescription", "StudyDescription", "ProtocolName", "Manufacturer"):
            setattr(slice_, name, MARKUP)
        slice_.ConvolutionKernel = "<img src=x>"
        slice_.save_as(path)
    said = dropped(watched, "#folder", tmp_path / "in")
    assert "of the lung (" in said
    shown = [watched.page]
    for link, ready in (("Open the report", "h1"), ("Open the viewer", "body[data-state=ready]")):
        with watched.context.expect_page() as opened:
            watched.page.click(f"text={link}")
        opened.value.wait_for_selector(ready, timeout=PATIENCE_MS)
        shown.append(opened.value)
    picture(shown[1], shots / "markup-report.png")
    for text in (MARKUP, "<img src=x>"):  # maker and kernel, which the report names
        assert shown[1].inner_text("main").count(text) == 1
    assert [page.locator("img[src=x]").count() for page in shown] == [0, 0, 0]
    assert asked == []
    assert watched.complaints == []


def test_a_refused_scan_is_titled_by_what_was_read_of_it_also_after_a_reload(drop_page, folders, tmp_path):
    watched, _, _ = drop_page
    (tmp_path / "in").mkdir()
    for path in sorted(
        (folders / "now" / "scan").iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber
    )[:3]:
        shutil.copy(path, tmp_path / "in")
    assert "TOO_FEW_SLICES" in dropped(watched, "#folder", tmp_path / "in")
    title = watched.page.inner_text(".job h2")
    watched.page.reload()
    watched.page.wait_for_selector("body[data-state=ready]")
    assert title == watched.page.inner_text(".job h2") == "Scan 1: 3 slices, acquired 2026-01-01"


def test_a_folder_without_files_is_said_to_be_empty(drop_page):
    watched, _, jobs = drop_page
    watched.page.evaluate("measure([], false)")
    assert "found no file" in watched.page.inner_text(".job[data-state=stopped]")
    assert jobs.all() == []


def test_a_scan_dropped_before_the_earlier_ones_are_listed_has_one_card(drop_page, folders, tmp_path):
    watched, _, _ = drop_page
    held = []
    watched.page.route("**/jobs", lambda route: held.append(route) if not held else route.continue_())
    watched.page.reload()
    watched.page.wait_for_selector("#zone")
    (tmp_path / "in").mkdir()
    for path in sorted((folders / "now" / "scan").iterdir())[:3]:
        shutil.copy(path, tmp_path / "in")
    watched.page.set_input_files("#folder", tmp_path / "in")
    watched.page.wait_for_timeout(500)  # time enough for a page that does not wait to send the scan
    held[0].continue_()
    watched.page.wait_for_selector(".job[data-state=stopped]", timeout=PATIENCE_MS)
    assert watched.page.locator(".job").count() == 1
    assert "TOO_FEW_SLICES" in watched.page.inner_text(".job")


def test_a_scan_with_markup_and_a_gap_is_refused_in_words(drop_page, tmp_path, shots):
    watched, _, _ = drop_page
    folder = tmp_path / "in"
    write_series(make_phantom(web_scenes.SPEC), folder, SeriesSpec(kernel="<img src=x>"))
    sorted(folder.iterdir())[20].unlink()
    said = dropped(watched, "#folder", folder)
    picture(watched.page, shots / "drop-bad.png")
    assert "MISSING_SLICES" in said
    assert "No number" in said
    assert watched.page.query_selector("#jobs img") is None


def test_a_hostile_zip_is_refused_and_leaves_nothing(drop_page, tmp_path, shots):
    watched, _, jobs = drop_page
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../../escaped.dcm", bytes(64 * 2**20))
    bomb = {"name": "<b>scan</b>.zip", "mimeType": "application/zip", "buffer": packed.getvalue()}
    said = dropped(watched, "#zip", [bomb])
    picture(watched.page, shots / "drop-hostile.png")
    assert "ZIP_REJECTED" in said
    assert not list(tmp_path.rglob("escaped*"))
    assert [path for path in jobs.root.rglob("*") if path.is_file()] == []


def test_a_stranger_without_the_link_sees_nothing(browser, run, config):
    server = run(drop_in_app(Jobs(ThresholdSegmenter(), config, UploadLimits())))
    watched = Watched(browser)
    answer = watched.page.goto(server.address)
    assert answer.status == 403
    assert watched.page.query_selector("#zone") is None
    watched.page.goto(server.link)
    watched.page.wait_for_selector("#zone")
    stranger = Watched(browser)
    assert stranger.page.goto(server.link).status == 403


def test_a_page_from_elsewhere_cannot_make_the_server_act(browser, run, config):
    jobs = Jobs(ThresholdSegmenter(), config, UploadLimits())
    ours, other = run(drop_in_app(jobs)), run(drop_in_app(Jobs(ThresholdSegmenter(), config, UploadLimits())))
    watched = Watched(browser)
    watched.page.goto(ours.link)
    watched.page.wait_for_selector("#zone")
    watched.page.goto(other.link)
    watched.page.wait_for_selector("#zone")
    # The same browser holds the cookies of both servers.
    evil = watched.context.new_page()
    evil.route("http://evil.example/**", lambda route: route.fulfill(body="<p>evil", content_type="text/html"))
    evil.goto("http://evil.example/")
    evil.evaluate(
        f"fetch('{ours.address}jobs', {{method: 'POST', credentials: 'include', mode: 'no-cors'}}).catch(() => 0)"
    )
    assert (
        evil.evaluate(
            f"fetch('{ours.address}session.json', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
        )
        == "refused"
    )
    assert jobs._table == {}


@pytest.fixture
def slices_page(browser, run, config, folders, tmp_path):
    """The page of a copy of the result, with corrections measured as the command `view` has them measured."""
    result, scan = tmp_path / "result", folders / "now" / "scan"
    shutil.copytree(folders / "now" / "result", result)

    case = load_case(result, config, scan)
    server = run(viewer_app({"now": case}, "/slices/now", {"now": partial(web_scenes.corrected, result, scan)}))
    watched = Watched(browser)
    watched.page.set_viewport_size({"width": 1100, "height": 900})
    open_viewer(watched.page, server.link)
    return watched, result, case, server


def test_slices_show_what_the_scan_holds_without_a_graphics_card(slices_page, shots):
    watched, _, case, server = slices_page
    page = watched.page
    pixels = picture(page, shots / "slices.png")
    assert share_of(pixels, "blue") > 0.02
    assert share_of(pixels, "yellow") > 0.001
    said = page.inner_text("body > .at")
    x, y, z = web_scenes.GROUND_GLASS.centre_lps_mm
    at = [float(word) for word in said.split("·")[2].split() if word[0].isdigit()]
    assert at == pytest.approx([abs(x), abs(y), abs(z)], abs=3.0)
    assert " of 40 from the feet" in said
    number = int(said.split("image ")[1].split()[0])
    slice_ = case.image_numbers.index(number)
    assert case.affine_ras[2, 2] * slice_ + case.affine_ras[2, 3] == pytest.approx(z, abs=3.0)
    assert said.endswith("Ground glass")
    assert -700 < int(said.split(" HU")[0].split()[-1].replace("\u2212", "-")) < -500
    notes = page.inner_text("#notes")
    for flag in case.document["flags"]:
        what = {"review": "A reader must look", "look": "Noted"}[flag["severity"]]
        assert f"{what}: {flag['message']} ({flag['code']})" in notes
    page.keyboard.press("2")
    assert page.get_attribute("[data-window='1']", "aria-pressed") == "true"
    assert "W 400 L 40" in page.inner_text("[data-window='1']")
    page.keyboard.press("n")
    assert page.inner_text("body > .at").endswith("Consolidation")
    assert watched.complaints == []
    assert watched.asked_only(server.address)


def test_one_plane_can_be_as_large_as_the_window(slices_page):
    page = slices_page[0].page
    widths = page.evaluate("[...document.querySelectorAll('#grid canvas')].map((one) => one.clientWidth)")
    page.hover("#coronal")
    page.keyboard.press("x")
    large = page.evaluate("[...document.querySelectorAll('#grid canvas')].map((one) => one.clientWidth)")
    assert [one > 0 for one in large] == [False, True, False, False]
    assert large[1] > 1.9 * widths[1]
    page.dblclick("#coronal")
    assert page.evaluate("[...document.querySelectorAll('#grid canvas')].map((one) => one.clientWidth)") == widths


def test_the_earlier_scan_stands_beside_at_the_same_share_of_the_lungs(browser, folders, run, config, shots):
    cases = {
        name: load_case(folders / name / "result", config, folders / name / "scan") for name in ("now", "before")
    }
    server = run(viewer_app(cases, "/slices/now/before"))
    watched = Watched(browser)
    page = watched.page
    page.goto(server.link)
    page.wait_for_selector("body[data-state]", timeout=PATIENCE_MS)
    assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#notes")
    ends = {}
    for name, case in cases.items():
        within = np.nonzero(case.labels_kji.any(axis=(1, 2)))[0]
        # From the feet, whichever way the stack runs.
        upward = case.affine_ras[2, 2] > 0
        ends[name] = within if upward else sorted(len(case.labels_kji) - 1 - within)
    for aim in (0.2, 0.8):
        wanted = int(ends["now"][0] + aim * len(ends["now"]))
        here = page.evaluate(READ_SLICE)
        page.hover("#axial")
        for _ in range(abs(wanted - here)):
            page.keyboard.press("ArrowUp" if wanted > here else "ArrowDown")
        assert page.evaluate(READ_SLICE) == wanted
        share = (wanted - ends["now"][0] + 0.5) / len(ends["now"])
        assert page.evaluate("() => window.volumetry.earlier.slice") == int(
            ends["before"][0] + share * len(ends["before"])
        )
    page.screenshot(path=shots / "beside.png")
    assert "Lower right: the earlier scan" in page.inner_text("#notes")
    assert not watched.complaints


READ_SLICE = "() => Number(/axial slice (\\d+) of/.exec(document.querySelector('.at').textContent)[1]) - 1"
