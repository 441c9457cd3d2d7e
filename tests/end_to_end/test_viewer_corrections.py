"""Corrections on the page in a real browser: saved, shown again, and never lost to another reader's."""

import json
import os
import re
import shutil
from functools import partial
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import web_scenes
from web_browser import PATIENCE_MS, Watched, absent, chromium, open_viewer, picture, serving

from volumetry.deliver.report import text
from volumetry.domain import FLUID
from volumetry.image.pictures import TISSUE_RGB
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.web.cases import load_case
from volumetry.web.drop_in import drop_in_app
from volumetry.web.jobs import Jobs
from volumetry.web.uploads import UploadLimits
from volumetry.web.viewer import viewer_app, viewer_is_there

VOXEL_ML = 5.0 * 2.0 * 2.0 / 1000
SPOT = (84, 52, 27)
"""Column, row and slice of a voxel in the left lung, above the solid lesion."""
OTHER_SPOT = (30, 60, 24)
"""Of one in the right lung, away from the ground glass."""
READ_PIXEL = """([i, j]) => {
  // The picture of the axial plane at its own resolution, before it is scaled and marked.
  const { volume, planes } = volumetry;
  const own = [i, j];
  const at = [0, 1].map((d) => volume.ownIndex(d, own[volume.order[d]]));
  return [...planes[0].picture.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
}"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, config):
    root = tmp_path_factory.mktemp("corrections")
    web_scenes.measured(web_scenes.write_scan(root / "scan"), root / "result", config)
    return root


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Where pictures go; VOLUMETRY_SHOTS keeps them for the eye."""
    folder = tmp_path_factory.mktemp("shots")
    yield folder
    if wanted := os.environ.get("VOLUMETRY_SHOTS"):
        shutil.copytree(folder, wanted, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def needs_viewer():
    if not viewer_is_there():
        absent("this installation was built without npm, so without the viewer's script")


@pytest.fixture
def viewer(browser, config, folders, tmp_path):
    """A copy of the result, and a server of it that can be started again; `watched` is a page of the first one."""
    result, scan = tmp_path / "result", folders / "scan"
    shutil.copytree(folders / "result", result)
    with serving() as start:

        def served():
            case = load_case(result, config, scan)
            correct = partial(web_scenes.corrected, result, scan)
            server = start(viewer_app({"now": case}, "/slices/now", {"now": correct}))
            watched = Watched(browser)
            watched.page.set_viewport_size({"width": 1100, "height": 900})
            open_viewer(watched.page, server.link)
            return watched, server

        watched, server = served()
        case = load_case(result, config, scan)
        yield SimpleNamespace(watched=watched, server=server, served=served, result=result, case=case)


def saved(viewer, number, name):
    return viewer.result / "corrections" / str(number) / name


def document(viewer, number):
    return json.loads(saved(viewer, number, "result.json").read_text("utf-8"))


def mask(viewer, number):
    """Labels of a correction, (k, j, i), as nibabel reads them."""
    return np.asarray(nib.load(saved(viewer, number, "mask.nii.gz")).dataobj).T


def labels_on(page, shape_kji):
    """Labels that the page holds, (k, j, i)."""
    return np.array(page.evaluate("[...volumetry.volume.labels]"), np.uint8).reshape(shape_kji)


def paint(page, spot, label, radius=8):
    """A disc of a label in an axial slice, by the page's own brush; the count of voxels that changed."""
    return page.evaluate(
        """([spot, label, radius]) => {
          const { volume, edits } = volumetry;
          const at = [0, 1, 2].map((d) => volume.ownIndex(d, spot[volume.order[d]]));
          edits.begin();
          edits.paint(2, at, radius, label, { erase: false, within: true });
          edits.end();
          changed();
          return edits.changed;
        }""",
        [list(spot), label, radius],
    )


def disc(radius):
    """Pixels of 2 mm within a disc."""
    reach = range(-(radius // 2), radius // 2 + 1)
    return sum((2 * du) ** 2 + (2 * dv) ** 2 <= radius**2 for du in reach for dv in reach)


def save(page, reader="R1", reason="consolidation added"):
    page.click("#save")
    page.fill("#reader", reader)
    page.fill("#reason", reason)
    page.click("#send")


def wait_for_saved(page, number):
    page.wait_for_selector(f"#notes >> text=Correction {number} is saved", timeout=PATIENCE_MS)
    page.wait_for_selector(f"body[data-reading='{number}']", timeout=PATIENCE_MS)


def choose(page, number):
    page.select_option("#readings", str(number))
    page.wait_for_selector(f"body[data-reading='{number}']", timeout=PATIENCE_MS)


def test_a_mask_corrected_on_the_page_is_measured_beside_the_automatic_one(viewer, shots):
    watched, result, case = viewer.watched, viewer.result, viewer.case
    page = watched.page
    before = (result / "result.json").read_bytes(), (result / "mask.nii.gz").read_bytes()
    i, j, k = SPOT
    assert case.labels_kji[k, j, i] == 1
    # What the brush, the filling, the smoothing and the undo do is done on the page by its own functions.
    done = page.evaluate(
        """([i, j, k]) => {
          const { volume, edits } = volumetry;
          const find = (own) => [0, 1, 2].map((d) => volume.ownIndex(d, own[volume.order[d]]));
          for (const slice of [k, k + 4]) {
            edits.begin();
            edits.paint(2, find([i, j, slice]), 8, 3, { erase: false, within: true });
            edits.end();
          }
          const painted = edits.changed;
          const filled = edits.fill(3, true);
          edits.begin();
          edits.paint(2, find([i, j, k]), 30, 2, { erase: false, within: true });
          edits.end();
          edits.undo();
          return [painted, filled, edits.changed];
        }""",
        [i, j, k],
    )
    assert done == [2 * disc(8), 3 * disc(8), 5 * disc(8)]
    # By hand: brush and pointer on the axial canvas.
    page.keyboard.press("b")
    page.click("[data-label='3']")
    page.evaluate("([i, j, k]) => { volumetry.goTo([i, j, k]); }", [i, j, k + 2])
    spot = page.evaluate("volumetry.screenOf('axial')")
    page.mouse.move(*spot)
    page.mouse.down()
    page.mouse.move(spot[0] + 40, spot[1])
    page.mouse.up()
    drawn = page.evaluate("volumetry.edits.changed")
    assert drawn > 5 * disc(8)
    picture(page, shots / "slices-edited.png")
    save(page)
    wait_for_saved(page, 1)
    corrected = json.loads((result / "corrections" / "1" / "result.json").read_text("utf-8"))
    automatic = case.document["volumes_ml"]
    assert corrected["changed_voxels"] == drawn
    assert corrected["volumes_ml"]["solid"] == pytest.approx(automatic["solid"] + drawn * VOXEL_ML, abs=1e-6)
    assert corrected["volumes_ml"]["lung"] == pytest.approx(automatic["lung"], abs=1e-6)
    assert (corrected["corrected_by"], corrected["reason"]) == ("R1", "consolidation added")
    assert ((result / "result.json").read_bytes(), (result / "mask.nii.gz").read_bytes()) == before
    assert watched.complaints == []


LESION_SLICES = (16, 20)
"""Both show the solid lesion of the left lung."""
AERATED_SPOT = (36, 42)
"""Column and row in the right lung; aerated around in these slices and those in between."""
STROKE = """([spot, slices, label, radius]) => {
  const { volume, edits } = volumetry;
  for (const slice of slices) {
    edits.begin();
    const own = [spot[0], spot[1], slice];
    edits.paint(2, [0, 1, 2].map((d) => volume.ownIndex(d, own[volume.order[d]])), radius, label,
      { erase: false, within: true });
    edits.end();
  }
}"""


@pytest.fixture
def two_lesions(viewer):
    """The page with a base whose solid lesion is two: in `LESION_SLICES`, and aerated lung in between."""
    base = viewer.case.labels_kji.copy()
    low, high = LESION_SLICES
    assert (base[low] == 3).any()
    assert (base[high] == 3).any()
    base[low + 1 : high][base[low + 1 : high] == 3] = 1
    page = viewer.watched.page
    page.evaluate("(base) => volumetry.edits.begins(Uint8Array.from(base))", base.ravel().tolist())
    return page, base


def test_filling_between_slices_leaves_a_lesion_that_was_not_painted_as_it_is(two_lesions):
    page, base = two_lesions
    low, high = LESION_SLICES
    i, j = AERATED_SPOT
    assert (base[low : high + 1, j - 5 : j + 6, i - 5 : i + 6] == 1).all()
    page.evaluate(STROKE, [AERATED_SPOT, LESION_SLICES, 3, 8])
    assert page.evaluate("volumetry.edits.fill(3, true)") == 3 * disc(8)
    rows, columns = np.ogrid[: base.shape[1], : base.shape[2]]
    expected = base.copy()
    expected[low : high + 1, 4 * ((rows - j) ** 2 + (columns - i) ** 2) <= 8**2] = 3
    assert np.array_equal(labels_on(page, base.shape), expected)


def test_strokes_that_were_undone_are_not_filled_between(two_lesions):
    page, base = two_lesions
    page.evaluate(STROKE, [AERATED_SPOT, LESION_SLICES, 3, 8])
    for _ in LESION_SLICES:
        assert page.evaluate("[volumetry.edits.undo(), volumetry.edits.fill(3, true)]") == [True, 0]
    assert page.evaluate("volumetry.edits.undo()") is False
    assert np.array_equal(labels_on(page, base.shape), base)


@pytest.mark.parametrize("label", [1, 2, 3])
def test_smoothing_only_inside_the_mask_leaves_its_outline(viewer, label):
    page, before = viewer.watched.page, viewer.case.labels_kji
    outline = before > 0
    changed = {}
    for within in (True, False):
        changed[within] = page.evaluate(
            """([slices, label, within]) => {
              const edits = volumetry.edits;
              return slices.map((slice) => edits.smooth(slice, label, within)).reduce((a, b) => a + b);
            }""",
            [list(range(before.shape[0])), label, within],
        )
        smooth = labels_on(page, before.shape)
        if within:
            assert np.array_equal(smooth > 0, outline)
        while page.evaluate("volumetry.edits.undo()"):
            pass
    assert changed[False] > 0
    if label == 1:  # the edge of the lung is smoothed where it may be
        assert changed[False] > changed[True]


def test_fluid_painted_on_the_page_is_saved_measured_and_drawn_in_its_own_colour(viewer, shots):
    watched, case = viewer.watched, viewer.case
    page = watched.page
    i, j, k = 30, 75, 20  # between the right lung and the skin of the back
    radius_mm = 6
    assert not case.labels_kji[k, j - 3 : j + 4, i - 3 : i + 4].any()
    page.evaluate("([i, j, k]) => { volumetry.goTo([i, j, k]); }", [i, j, k])
    grey = page.evaluate(READ_PIXEL, [i, j])
    page.keyboard.press("b")
    page.click("[data-label='5']")
    page.uncheck("#within")
    for _ in range(abs(radius_mm - int(page.input_value("#radius")))):
        page.keyboard.press("]")
    spot = page.evaluate("volumetry.screenOf('axial')")
    page.mouse.move(*spot)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    count = disc(radius_mm)
    assert page.evaluate("volumetry.edits.changed") == count
    picture(page, shots / "slices-fluid.png")
    # 40 % of the label's own colour over the grey that was there.
    drawn = page.evaluate(READ_PIXEL, [i, j])
    assert grey[0] == grey[1] == grey[2]
    assert drawn == pytest.approx([round(0.6 * grey[0] + 0.4 * one) for one in TISSUE_RGB[FLUID]], abs=1)
    assert page.inner_text("body > .at").endswith("Pleural fluid")
    save(page, "R2", "small effusion added")
    wait_for_saved(page, 1)
    page.reload()
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    labels = mask(viewer, 1)
    assert np.count_nonzero(labels == FLUID) == count
    assert labels[k, j, i] == FLUID
    assert np.array_equal(labels_on(page, labels.shape), labels)
    page.evaluate("([i, j, k]) => { volumetry.goTo([i, j, k]); }", [i, j, k])
    assert page.evaluate(READ_PIXEL, [i, j]) == drawn
    picture(page, shots / "slices-fluid-reloaded.png")
    corrected = document(viewer, 1)
    assert corrected["volumes_ml"]["fluid"] == pytest.approx(count * VOXEL_ML)
    for key in ("lung", "lesion"):
        assert corrected["volumes_ml"][key] == pytest.approx(case.document["volumes_ml"][key])
    assert "Pleural fluid" in page.inner_text("#verdict")
    assert (corrected["corrected_by"], corrected["reason"]) == ("R2", "small effusion added")
    assert watched.complaints == []


def test_a_saved_correction_is_what_the_viewer_shows_from_then_on(viewer, shots):
    page = viewer.watched.page
    assert page.is_hidden("#reading")
    count = paint(page, SPOT, 3)
    assert count == disc(8)
    save(page)
    wait_for_saved(page, 1)
    corrected, labels = document(viewer, 1), mask(viewer, 1)
    assert np.count_nonzero(labels != viewer.case.labels_kji) == count
    day = corrected["provenance"]["created"][:10]

    def shows_the_correction(page):
        assert np.array_equal(labels_on(page, labels.shape), labels)
        assert page.inner_text("#verdict") == f"S1: {text.sentence(corrected)}"
        said = page.inner_text("#reading-said")
        assert re.match(rf"Correction 1 by R1 of {day} \d\d:\d\d UTC is shown, with its numbers\.", said), said
        assert "Reason: consolidation added." in said
        page.goto(page.url.partition("/slices")[0] + page.get_attribute("#report", "href"))
        assert "consolidation added" in page.inner_text("main")
        page.go_back()
        page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)

    shows_the_correction(page)
    page.reload()
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    shows_the_correction(page)
    watched, server = viewer.served()  # as after a restart: nothing is left but the folder
    page = watched.page
    shows_the_correction(page)
    picture(page, shots / "corrected.png")

    choose(page, 0)
    assert np.array_equal(labels_on(page, labels.shape), viewer.case.labels_kji)
    assert page.inner_text("#verdict") == f"S1: {text.sentence(viewer.case.document)}"
    said = page.inner_text("#reading-said")
    assert said.startswith("The automatic mask is shown")
    assert f"It is not the current mask: that is correction 1 by R1 of {day}" in said
    picture(page, shots / "automatic-again.png")
    page.reload()
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    assert page.inner_text("#reading-said").startswith("The automatic mask is shown")
    choose(page, 1)
    shows_the_correction(page)
    assert watched.complaints == viewer.watched.complaints == []
    assert watched.asked_only(server.address)


def test_an_edit_starts_from_the_mask_that_is_shown(viewer):
    page = viewer.watched.page
    first = paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    page.reload()
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    second = paint(page, OTHER_SPOT, 3)
    assert second == disc(8)  # counted from the correction, not from the automatic mask
    page.click("#save")
    assert f"{second} voxels" in page.inner_text("#changed")
    assert "than in correction 1 by R1" in page.inner_text("#changed")
    page.click("#cancel")
    save(page, "R2", "right side too")
    wait_for_saved(page, 2)
    both = mask(viewer, 2)
    for i, j, k in (SPOT, OTHER_SPOT):
        assert both[k, j, i] == 3
    now = document(viewer, 2)
    assert now["changed_voxels"] == first + second
    assert now["volumes_ml"]["solid"] == pytest.approx(
        viewer.case.document["volumes_ml"]["solid"] + (first + second) * VOXEL_ML
    )
    assert now["drawn_on"] == document(viewer, 1)["provenance"]["mask_sha256"]
    assert now["corrected_from"] == viewer.case.document["provenance"]["mask_sha256"]
    options = page.locator("#readings option").all_inner_texts()
    assert [option.split(",")[0] for option in options] == [
        "The automatic mask",
        "Correction 1 by R1",
        "Correction 2 by R2",
    ]
    assert viewer.watched.complaints == []


def test_two_readers_at_once_lose_nothing(viewer, shots):
    first = viewer.watched.page
    second = viewer.watched.context.new_page()
    second.set_viewport_size({"width": 1100, "height": 900})
    open_viewer(second, first.url)
    paint(first, SPOT, 3)
    count = paint(second, OTHER_SPOT, 2)
    save(first)
    wait_for_saved(first, 1)
    before = {path: path.read_bytes() for path in viewer.result.rglob("*") if path.is_file()}

    save(second, "R2", "ground glass added")
    second.wait_for_selector("#unsaved:not(:empty)", timeout=PATIENCE_MS)
    refused = second.inner_text("#unsaved")
    assert refused.startswith("Not saved: correction 1 by R1 is the current mask now, and this edit was drawn on")
    second.screenshot(path=shots / "two-readers.png")
    assert not (viewer.result / "corrections" / "2").exists()
    assert second.evaluate("volumetry.edits.changed") == count
    i, j, k = OTHER_SPOT
    assert labels_on(second, viewer.case.labels_kji.shape)[k, j, i] == 2
    with viewer.watched.context.expect_page() as opened:
        second.click("#other")
    opened.value.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
    assert opened.value.inner_text("#reading-said").startswith("Correction 1 by R1")

    assert second.inner_text("#send") == "Save as a further correction"
    second.click("#send")
    wait_for_saved(second, 2)
    assert {path: path.read_bytes() for path in before} == before
    ours, theirs = mask(viewer, 2), mask(viewer, 1)
    assert ours[k, j, i] == 2
    i, j, k = SPOT
    assert (theirs[k, j, i], ours[k, j, i]) == (3, 1)
    automatic = viewer.case.document["provenance"]["mask_sha256"]
    assert document(viewer, 1)["drawn_on"] == document(viewer, 2)["drawn_on"] == automatic

    # The first reader goes on from correction 1, which is no longer the current one.
    paint(first, OTHER_SPOT, 3, radius=4)
    save(first, "R1", "more of it")
    first.wait_for_selector("#unsaved:not(:empty)", timeout=PATIENCE_MS)
    assert "correction 2 by R2 is the current mask now" in first.inner_text("#unsaved")
    assert not (viewer.result / "corrections" / "3").exists()


def test_an_edit_that_is_not_saved_is_not_left_unasked(viewer):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    count = paint(page, OTHER_SPOT, 3)
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.select_option("#readings", "0")
    page.wait_for_timeout(500)
    assert len(asked) == 1
    assert "not saved" in asked[0]
    assert page.input_value("#readings") == "1"
    assert page.evaluate("volumetry.edits.changed") == count
    page.once("dialog", lambda dialog: dialog.accept())
    choose(page, 0)
    assert np.array_equal(labels_on(page, viewer.case.labels_kji.shape), viewer.case.labels_kji)


def test_a_key_over_a_plane_scrolls_and_never_chooses_another_mask(viewer):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    page.hover("#axial")
    page.evaluate("([i, j, k]) => { volumetry.goTo([i, j, k]); }", SPOT)
    slices = "document.querySelector('.at').textContent.match(/slice (\\d+) of/)[1]"
    at = int(page.evaluate(slices))
    choose(page, 0)
    choose(page, 1)
    assert page.evaluate("document.activeElement.id") != "readings"
    page.keyboard.press("ArrowUp")
    page.focus("#readings")  # also where it has the focus, such as by the Tab key
    page.keyboard.press("ArrowUp")
    page.focus("#opacity")
    opacity = page.input_value("#opacity")
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(500)
    assert (page.get_attribute("body", "data-reading"), page.input_value("#readings")) == ("1", "1")
    assert page.input_value("#opacity") == opacity
    assert int(page.evaluate(slices)) == at + 3
    # Away from the planes, the control has its own keys.
    page.hover("#verdict")
    page.keyboard.press("ArrowUp")
    assert float(page.input_value("#opacity")) == pytest.approx(float(opacity) + 0.05)
    assert int(page.evaluate(slices)) == at + 3


@pytest.mark.parametrize("control", ["#readings", "#opacity", "#radius", "#within"])
def test_window_and_tool_keys_work_whatever_control_was_used_last(viewer, control):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    page.focus(control)
    pressed = (("2", "window", 1), ("e", "tool", "erase"), ("1", "window", 0), ("b", "tool", "brush"))
    for key, state, value in pressed:
        page.keyboard.press(key)
        assert page.evaluate("(name) => volumetry.state[name]", state) == value
    assert page.get_attribute("body", "data-reading") == "1"


def test_no_key_changes_the_mask_in_the_middle_of_a_stroke(viewer):
    page = viewer.watched.page
    paint(page, OTHER_SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    count = paint(page, OTHER_SPOT, 2)
    page.evaluate("([i, j, k]) => { volumetry.goTo([i, j, k]); }", SPOT)
    page.click("[data-tool=brush]")
    page.focus("#readings")
    page.mouse.move(*page.evaluate("volumetry.screenOf('axial')"))
    page.mouse.down()
    painted = page.evaluate("volumetry.edits.changed")
    assert painted > count
    for key in ("z", "f", "g", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.evaluate("[volumetry.edits.changed, document.body.dataset.reading]") == [painted, "1"]
    page.mouse.up()
    page.keyboard.press("z")
    assert page.evaluate("volumetry.edits.changed") == count


def test_the_automatic_mask_can_be_made_the_current_one_again(viewer):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    assert page.is_disabled("#save")
    choose(page, 0)
    save(page, "R2", "the automatic mask was right")
    page.wait_for_selector("#unsaved:not(:empty)", timeout=PATIENCE_MS)
    page.click("#send")
    wait_for_saved(page, 2)
    assert np.array_equal(mask(viewer, 2), viewer.case.labels_kji)
    assert document(viewer, 2)["changed_voxels"] == 0
    assert mask(viewer, 1)[SPOT[::-1]] == 3


def test_the_page_says_why_a_mask_cannot_be_corrected_and_offers_no_tools(browser, viewer):
    with serving() as start:
        server = start(viewer_app({"now": viewer.case}, "/slices/now", {"now": "it needs the CT."}))
        watched = Watched(browser)
        open_viewer(watched.page, server.link)
        assert "The mask cannot be corrected on this page: it needs the CT." in watched.page.inner_text("#notes")
        assert watched.page.is_hidden("#tools")
        watched.page.keyboard.press("b")
        assert watched.page.evaluate("volumetry.state.tool") == "look"
        assert watched.complaints == []


def test_a_field_that_is_empty_is_named(viewer):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    before = len(viewer.watched.asked)
    for reader, reason, says in (("", "x", "Reader is empty"), ("R1", "  ", "Reason is empty")):
        save(page, reader, reason)
        assert page.inner_text("#unsaved").startswith(says)
        page.click("#cancel")
    assert len(viewer.watched.asked) == before
    assert not (viewer.result / "corrections").exists()


@pytest.mark.usefixtures("needs_viewer")
def test_the_3d_viewer_shows_the_correction_too(viewer, shots):
    page = viewer.watched.page
    paint(page, SPOT, 3)
    save(page)
    wait_for_saved(page, 1)
    place = (viewer.case.affine_ras @ [*SPOT, 1.0])[:3].tolist()

    def label_at_the_spot():
        page.wait_for_selector("body[data-state]", timeout=PATIENCE_MS)
        assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#notes")
        page.evaluate("(mm) => goTo(volumetry.panes[0], mm)", place)
        return page.inner_text(".at").rpartition("\u00b7")[2].strip()

    page.click("#solid")
    assert label_at_the_spot() == "Consolidation"
    assert page.inner_text("#reading-said").startswith("Correction 1 by R1 of ")
    assert page.inner_text("#verdict") == text.sentence(document(viewer, 1))
    picture(page, shots / "solid-corrected.png")
    with page.expect_navigation():
        page.select_option("#readings", "0")
    assert label_at_the_spot() == "Aerated lung"
    assert page.inner_text("#reading-said").startswith("The automatic mask is shown")
    assert viewer.watched.complaints == []


def test_the_page_of_serve_shows_a_correction_and_keeps_it_over_a_restart(
    browser, config, folders, tmp_path, shots
):
    def server_of(start):
        jobs = Jobs(
            ThresholdSegmenter(), config, UploadLimits(), keep=tmp_path / "kept", correct=web_scenes.corrected
        )
        watched = Watched(browser)
        watched.page.goto(start(drop_in_app(jobs)).link)
        watched.page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
        return watched

    with serving() as start:
        watched = server_of(start)
        watched.page.set_input_files("#folder", folders / "scan")
        watched.page.wait_for_selector(".job[data-state=done]", timeout=PATIENCE_MS)
        automatic = watched.page.inner_text(".figures")
        with watched.context.expect_page() as opened:
            watched.page.click("text=Open the slices")
        slices = opened.value
        slices.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
        paint(slices, SPOT, 3)
        save(slices)
        wait_for_saved(slices, 1)
        sentence = slices.inner_text("#verdict").partition(": ")[2]
        assert sentence != automatic
        watched.page.reload()
        watched.page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
        for page in (watched.page, server_of(start).page):
            assert page.inner_text(".figures") == sentence
            said = page.inner_text(".job .words")
            assert "Corrected by R1 on 20" in said
            assert f"The automatic mask gave: {automatic}" in said
        page.screenshot(path=shots / "drop-corrected.png")
        with page.context.expect_page() as opened:
            page.click("text=Open the slices")
        opened.value.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
        assert opened.value.inner_text("#reading-said").startswith("Correction 1 by R1 of ")
        assert "cannot be shown" not in said
        with next((tmp_path / "kept").glob("*/corrections/1/mask.nii.gz")).open("ab") as damaged:
            damaged.write(b"x")
        page.reload()
        page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE_MS)
        assert page.inner_text(".figures") == automatic
        said = page.inner_text(".job .words")
        assert "Correction 1 cannot be shown: its files are missing or were changed." in said
