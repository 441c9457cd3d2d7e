"""report.html: one safe file that says what the result says."""

import copy
import html
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from small_results import LESIONS, measured_phantom

from volumetry.codes import CATALOGUE
from volumetry.deliver import as_document
from volumetry.deliver.report import content_security_policy, report_page, text, write_report
from volumetry.deliver.report.beside import beside
from volumetry.deliver.report.crowding import crowding
from volumetry.deliver.report.histogram import lung_histogram
from volumetry.deliver.report.images import LUNG_WINDOW, chest_of, pair, projections
from volumetry.deliver.report.key_slices import chest_with_doubt, key_slices, thirds
from volumetry.domain import FLUID, CtScan, Finding, ScanFailure, SeriesInfo, Side, Status, Tissue, TissueMap
from volumetry.image.orientation import axial_view
from volumetry.measure.components import bin_names
from volumetry.phantom import (
    AXIAL,
    CORONAL,
    HEAD_TO_FEET,
    PRONE,
    SAGITTAL,
    Lesion,
    PhantomSpec,
    make_phantom,
    rotated,
    tilted,
    truth_map,
)


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("series"), config)


@pytest.fixture(scope="module")
def page(case, config):
    return report_page(case.document, config, case.analysis.tissue, case.analysis.scan).decode("utf-8")


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def text_of(page):
    body = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(body))


def pixels(picture):
    return np.asarray(Image.open(BytesIO(b64decode(picture.uri.partition(",")[2])))).astype(int)


def test_the_page_loads_nothing_and_runs_nothing(page):
    tags = Tags(page).found
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in tags}
    addresses = [a[key] for _, a in tags for key in ("src", "href", "srcset", "action", "data") if key in a]
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not [a for _, a in tags if any(key == "style" or key.startswith("on") for key in a)]
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)


def test_the_policy_allows_exactly_the_style_of_the_page(page):
    (policy,) = [a["content"] for t, a in Tags(page).found if a.get("http-equiv") == "Content-Security-Policy"]
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert policy == content_security_policy(styles[1])
    for style in styles:
        assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")


def test_the_page_says_the_numbers_of_the_result(case, page):
    said, document = text_of(page), case.document
    for key in ("lesion", "ground_glass", "solid"):
        assert f"{document['percent_of_lung'][key]:.1f}" in said
    assert f"{document['volumes_ml']['lung']:,.0f} mL" in said
    for flag in document["flags"]:
        assert flag["code"] in said
        if flag["severity"] == "review":
            assert CATALOGUE[flag["code"]].hint in said
    for digest in ("input_sha256", "config_sha256", "mask_sha256"):
        assert document["provenance"][digest] in said
    assert "Right lung" in said
    assert "Upper third" in said


def test_intervals_are_shown_where_there_are_any(case, config, page):
    assert " to 9.9 %" not in text_of(page)
    assert "No interval is given" in text_of(page)
    document = copy.deepcopy(case.document)
    document["interval_percent"] = {"lesion": [1.2, 9.9]}
    said = text_of(report_page(document, config).decode())
    assert "1.2 to 9.9 %" in said
    assert "No interval is given" not in said
    assert "made of" not in said


def test_an_interval_says_its_coverage_and_its_parts_and_a_readers_mask_has_none(case, config):
    document = copy.deepcopy(case.document)
    document["interval_percent"] = {"lesion": [1.2, 9.9], "ground_glass": [0.0, 4.4], "solid": [0.3, 7.7]}
    document["interval_level"] = 0.85
    points = {"lesion": 1.25, "ground_glass": 0.75, "solid": 2.25}
    floor = dict.fromkeys(points, 1.0)
    document["interval_parts"] = {"boundary": points, "something_new": {"lesion": 0.5}, "floor": floor}
    said = text_of(report_page(document, config).decode())
    assert "coverage of 85 %" in said
    assert "Outline of the disease shifted 1.25 0.75 2.25" in said
    assert "Something new 0.50 \u2013 \u2013" in said
    assert "Added in quadrature, with 1 of any scan, then widened by calibration." in said
    assert "Floor" not in said
    assert "Interval 1.2 to 9.9 % 0.0 to 4.4 % 0.3 to 7.7 %" in said
    corrected = {**case.document, "corrected_by": "R", "reason": "because", "automatic": document}
    said = text_of(report_page(corrected, config).decode())
    assert "it would be the model's, and this mask is a reader's" in said


def test_a_flag_that_this_page_has_never_heard_of_is_shown(case, config):
    flag = {**case.document["flags"][0], "code": "NEW_DOUBT", "severity": "review", "message": "m", "hint": "do h"}
    said = text_of(report_page({**case.document, "flags": [flag], "status": "review"}, config).decode())
    assert "M NEW_DOUBT What to do: do h" in said


def test_same_result_same_bytes(case, config, page):
    again = report_page(case.document, config, case.analysis.tissue, case.analysis.scan)
    assert again == page.encode()


def test_hostile_text_is_text(case, config):
    document = copy.deepcopy(case.document)
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    document["scan_id"] = document["series"]["kernel"] = document["series"]["manufacturer"] = attack
    document["flags"] = [
        {**document["flags"][0], "message": attack, "hint": attack, "severity": s} for s in ("review", "look")
    ]
    document |= {"corrected_by": attack, "reason": attack, "automatic": case.document}
    page = report_page(document, config).decode()
    tags = Tags(page).found
    assert "script" not in {tag for tag, _ in tags}
    assert not [a for _, a in tags if "onerror" in a]
    assert text_of(page).count("alert(1)") >= 6
    assert "{{ 7 * 7 }}" in text_of(page)


def test_a_refused_scan_has_a_page_with_code_and_hint_and_no_number(config, tmp_path):
    finding = Finding("MISSING_SLICES", CATALOGUE["MISSING_SLICES"].outcome, "about 3 slices missing", 3)
    failure = ScanFailure("S9", Status.REFUSED, finding.code, finding.message, finding.hint, (finding,))
    path = write_report(as_document(failure), tmp_path, config)
    assert path.stat().st_mode & 0o077 == 0
    page = path.read_text("utf-8")
    said = text_of(page)
    assert "MISSING_SLICES" in said
    assert finding.hint in said
    assert "about 3 slices missing" in said
    assert " mL" not in said
    assert "<img" not in page


def test_a_lung_without_disease_is_said_to_have_none(case, config):
    document = copy.deepcopy(case.document)
    for volumes in (document["volumes_ml"], *document["sides"].values(), *document["zones"].values()):
        volumes |= {"aerated": volumes["lung"], "ground_glass": 0.0, "solid": 0.0, "lesion": 0.0}
    document["percent_of_lung"] = {"lesion": 0.0, "ground_glass": 0.0, "solid": 0.0}
    page = report_page(document, config, case.analysis.tissue, case.analysis.scan).decode()
    assert "No ground glass and no consolidation was segmented" in text_of(page)


def test_what_neither_class_holds_is_named_and_the_parts_add_up(case):
    document = copy.deepcopy(dict(case.document))
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    ml |= {"lung": 1000.0, "lesion": 100.0, "ground_glass": 60.0, "solid": 30.0}
    percent |= {"lesion": 10.0, "ground_glass": 6.0, "solid": 3.0}
    said = text.sentence(document)
    assert "10.0 % of the lung" in said
    solid = "consolidation" if document["component_rule"] == "network" else "solid component"
    assert f"6.0 % ground glass, 3.0 % {solid} and 1.0 % of neither class" in said
    document["component_rule"] = "hu"
    assert "3.0 % solid component" in text.sentence(document)
    document["component_rule"] = "network"
    assert "3.0 % consolidation" in text.sentence(document)
    document["components_by_rule"] = {"hu": {"ground_glass_ml": 40.0, "solid_ml": 25.0}}
    assert "40.0 mL and 25.0 mL; 35.0 mL of the disease would be in neither." in text.rule(document)


@pytest.mark.parametrize(("rule", "other"), [("network", "solid component"), ("hu", "consolidation")])
def test_the_solid_component_has_one_name_on_a_page_and_the_other_is_explained_once(case, config, rule, other):
    document = lobed(case.document) | {"component_rule": rule}
    name = "consolidation" if rule == "network" else "solid component"
    said = text_of(report_page(document, config, case.analysis.tissue, case.analysis.scan).decode())
    assert re.search(rf"% of lung [\d.,]+ mL {name} [\d.<]+ %", said, re.I)
    assert said.lower().count(name) > 8
    assert said.lower().count(other) == (0 if rule == "network" else 1)
    assert len(re.findall(r"\bsolid\b(?! component)", said, re.I)) == (1 if rule == "network" else 0)
    summary = text.rule(document)
    assert ("call solid" in summary) == (rule == "network")


def test_shares_that_do_not_add_up_as_they_are_rounded_say_so(case):
    document = copy.deepcopy(dict(case.document))
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    ml |= {"lung": 1000.0, "lesion": 18.4, "ground_glass": 15.5, "solid": 2.9}
    percent |= {"lesion": 1.84, "ground_glass": 1.55, "solid": 0.29}
    assert text.rounding(document) == "The shares are rounded and do not add up exactly."  # 1.6 and 0.3, not 1.8
    percent |= {"lesion": 1.8, "ground_glass": 1.5, "solid": 0.3}
    ml |= {"lesion": 18.0, "ground_glass": 15.0, "solid": 3.0}
    assert text.rounding(document) == ""


def test_an_interval_that_reaches_nothing_is_said_to(case):
    document = copy.deepcopy(dict(case.document))
    document["interval_percent"] = {"lesion": [0.0, 0.7]}
    assert text.sentence(document).endswith("The interval begins at 0 %.")
    document["interval_percent"] = {"lesion": [0.1, 0.7]}
    assert "interval begins" not in text.sentence(document)


def test_intervals_that_a_flag_says_do_not_hold_are_said_not_to(case):
    document = copy.deepcopy(dict(case.document))
    document |= {"interval_percent": {"lesion": [0.1, 0.7]}, "interval_level": 0.95, "flags": []}
    assert "coverage of 95 %" in text.interval(document)
    document["flags"] = [{"code": "OUT_OF_CALIBRATION", "severity": "review"}]
    assert text.interval(document) == "The intervals do not hold for this scan (OUT_OF_CALIBRATION)."


def test_fluid_is_named_first_where_there_is_some_and_last_where_there_is_none(case, config):
    document = copy.deepcopy(dict(case.document))
    assert "luid" not in text_of(report_page(document, config).decode())  # nobody looked
    document["volumes_ml"]["fluid"] = 0.0
    said = text_of(report_page(document, config).decode())
    assert said.count("Pleural fluid: none found (less than about 100 mL may be missed).") == 1
    document["volumes_ml"]["fluid"] = 123.4
    assert "Pleural fluid: 123 mL, neither lung nor disease." in text.sentence(document)
    assert text.fluid(document) == ""


def test_the_sentence_says_which_lung(case):
    document = copy.deepcopy(case.document)
    document["sides"]["left"]["lesion"] = 0.2 * document["sides"]["left"]["lung"]
    document["sides"]["right"]["lesion"] = 0.05 * document["sides"]["right"]["lung"]
    assert "the left lung more (20.0 %) than the right (5.0 %)" in text.sentence(document)
    document["flags"] = [*document["flags"], {"code": "SIDE_CONFLICT"}]
    assert "left" not in text.sentence(document)  # a side that cannot be trusted is not named


@pytest.mark.parametrize(("lesion_ml", "percent"), [(9.9, 1.5), (40.0, 0.99)])
def test_no_place_is_named_of_a_trace(case, lesion_ml, percent):
    document = copy.deepcopy(case.document)
    document["volumes_ml"]["lesion"], document["percent_of_lung"]["lesion"] = lesion_ml, percent
    for zone in document["zones"].values():
        zone["lesion"] = 0.0
    document["sides"]["left"]["lesion"], document["sides"]["right"]["lesion"] = lesion_ml, 0.0
    document["zones"]["upper"]["lesion"] = lesion_ml
    said = text.sentence(document)
    assert not any(word in said for word in ("left", "right", "upper", "third"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((0, 0), ""),
        ((0, 3), ""),
        ((1, 1), "crowded"),
        ((3, 3), "full"),
        ((12, 4), "full"),
        ((20, 4), "full packed"),
    ],
)
def test_a_page_with_more_to_say_is_printed_smaller(case, config, flags, expected):
    message = {"code": "SUSPECT_SOLID", "message": "m" * 360, "hint": "h" * 100}
    review, look = ([{**message, "severity": kind}] * n for kind, n in zip(("review", "look"), flags, strict=True))
    document = {**case.document, "flags": [*review, *look]}
    page = report_page(document, config).decode()
    assert ('<main class="' + expected in page) if expected else "<main>" in page


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("a" * 1400, ""),
        ("a" * 1600, "crowded"),
        ("\u75c5" * 700, ""),
        ("\u75c5" * 800, "crowded"),
        ("\u75c5" * 1950, "full"),
    ],
)
def test_the_reason_of_a_correction_counts_by_its_width(case, reason, expected):
    """125 Latin signs a line, of Chinese half as many: 12 lines fit at full size, 30 on a crowded page."""
    assert crowding({**case.document, "flags": [], "corrected_by": "R1", "reason": reason}) == expected


def test_traces_are_not_written_as_nothing():
    assert text.share(0.0) == "0.0"
    assert text.share(0.01) == "<0.1"
    assert text.share(0.05) == "0.1"
    assert text.millilitres(0.02) == "<0.1"
    assert text.millilitres(4035.4) == "4,035"


@pytest.mark.parametrize("axes", [AXIAL, HEAD_TO_FEET, PRONE, CORONAL, SAGITTAL])
def test_pictures_stand_as_radiologists_see_them(axes):
    # Ground glass lies in the patient's right lung, solid in the left: on the picture's left and right.
    spec = PhantomSpec((80, 80, 80), (4.5, 4.5, 4.5), LESIONS, axes, vessels=False, seed=3)
    scan = CtScan(make_phantom(spec).hu_kji, spec.grid, SeriesInfo("1.2.3", 80, spec.spacing_kji_mm))
    chest = chest_of(scan, truth_map(spec))
    front, right, left = (pixels(p) for p in projections(chest))
    yellow = (front[..., 0] > 180) & (front[..., 1] > 120) & (front[..., 2] < 90)
    pink = (front[..., 0] > 150) & (front[..., 1] < 90)
    assert np.argwhere(yellow)[:, 1].mean() < front.shape[1] / 2 < np.argwhere(pink)[:, 1].mean()
    assert ((right[..., 0] > 180) & (right[..., 1] > 120) & (right[..., 2] < 90)).any()
    assert ((left[..., 0] > 150) & (left[..., 1] < 90)).any()
    assert not ((left[..., 0] > 180) & (left[..., 1] > 120) & (left[..., 2] < 90)).any()
    # The diaphragm's side is broad and the apex narrow: the lungs stand upright.
    lit = (front.sum(axis=2) > 0).sum(axis=1)
    assert lit[len(lit) // 10] < lit[len(lit) // 2]
    plain, masked = key_slices(chest)[1]
    assert pixels(plain).ndim == 2
    overlaid = pixels(masked)
    glass = (overlaid[..., 0] - overlaid[..., 2]) > 80
    assert np.argwhere(glass & (overlaid[..., 1] > 120))[:, 1].mean() < overlaid.shape[1] / 2


def test_pictures_are_cropped_to_the_lungs(case):
    chest = chest_of(case.analysis.scan, case.analysis.tissue)
    labels = case.analysis.tissue.labels_kji
    slices = np.flatnonzero(labels.any(axis=(1, 2)))
    assert chest.mask_zyx.shape[0] == slices[-1] - slices[0] + 1
    assert len(chest.slice_places) == chest.mask_zyx.shape[0]
    assert np.count_nonzero(chest.mask_zyx) == np.count_nonzero(labels)
    assert chest.mask_zyx.shape[1] < labels.shape[1]


def test_a_place_is_the_image_number_and_the_table_position_of_a_pacs(case):
    scan, tissue = case.analysis.scan, case.analysis.tissue
    last = int(np.flatnonzero(tissue.labels_kji.any(axis=(1, 2)))[-1])
    z_mm = scan.grid.origin_lps_mm[2] + last * scan.grid.step_lps_mm[2][0]
    named = CtScan(scan.hu_kji, scan.grid, scan.series, image_numbers=tuple(range(7, 7 + len(scan.hu_kji))))
    upper = chest_of(named, tissue).slice_places[-1 if scan.grid.step_lps_mm[2][0] > 0 else 0]
    assert upper == f"image {7 + last}, z\u00a0{z_mm:.1f}\u00a0mm".replace("-", "\u2212")


def test_a_slab_that_its_neighbours_do_not_show_is_no_key_slice():
    spec = PhantomSpec((130, 60, 60), (2.0, 5.0, 5.0), (), AXIAL, vessels=False, seed=3)
    labels = truth_map(spec).labels_kji.copy()
    lung = labels > 0
    low, high = np.flatnonzero(lung.any(axis=(1, 2)))[[0, -1]]
    middle = (low + high) // 2
    labels[middle + 6][lung[middle + 6]] = Tissue.SOLID  # one slab, all of its slice
    j, i = np.argwhere(lung[middle])[len(np.argwhere(lung[middle])) // 2]
    labels[middle - 6 : middle + 1, j - 2 : j + 3, i - 2 : i + 3] = Tissue.SOLID  # 14 mm high
    labels[~lung] = 0
    scan = CtScan(make_phantom(spec).hu_kji, spec.grid, SeriesInfo("1.2.3", 130, spec.spacing_kji_mm))
    chest = chest_of(scan, TissueMap(labels, spec.grid))
    captions = [plain.caption for plain, _ in key_slices(chest)]
    slab = chest.slice_places[middle + 6 - low]
    assert not any(slab in caption for caption in captions)
    consolidation = next(caption for caption in captions if caption.startswith("Most consolidation"))
    shown = [chest.slice_places[k - low] for k in range(middle - 6, middle + 1)]
    assert any(place in consolidation for place in shown)


@pytest.mark.parametrize("step_mm", [1.25, 2.0, 5.0])
def test_disease_at_the_border_of_two_thirds_is_shown_once(step_mm):
    """Planes of 240 mm, whose thirds meet at 160 mm: disease from 150 to 170 mm, and less of it at 200 mm."""
    at_mm = np.arange(0, 240, step_mm)
    border, above = abs(at_mm - 160) <= 10, abs(at_mm - 200) <= 10
    areas = np.where(border, 500 - abs(at_mm - 154), np.where(above, 40, 0)).astype(int)
    planes = {name: (z * step_mm, what) for name, (z, what) in thirds(areas, step_mm).items()}
    assert planes["Middle"][1] == "most continuous disease"
    assert 150 <= planes["Middle"][0] < 160
    assert abs(planes["Upper"][0] - 200) <= 10
    apart = "at least 27 mm from the other slices shown"  # a ninth of 240 mm
    assert planes["Upper"][1] == f"most continuous disease {apart}"
    assert planes["Lower"][1] == "no disease segmented"
    only = {name: (z * step_mm, what) for name, (z, what) in thirds(np.where(border, areas, 0), step_mm).items()}
    assert only["Upper"][1] == f"no disease segmented {apart}"
    heights = sorted(height for height, _ in only.values())
    assert min(np.diff(heights)) >= 240 / 9


def test_planes_through_the_largest_lesion_and_a_window_for_consolidation(case):
    chest = chest_of(case.analysis.scan, case.analysis.tissue)
    shown = dict(
        zip(("upper", "middle", "lower", "coronal", "sagittal", "mediastinal"), key_slices(chest), strict=True)
    )
    assert shown["coronal"][0].borders == ("R", "L", "H", "F")
    assert shown["sagittal"][0].borders == ("A", "P", "H", "F")
    assert "W 400 L 40" in shown["mediastinal"][0].caption
    # The larger of the two lesions is drawn at x -85 mm: LPS, so on the right.
    assert shown["sagittal"][0].caption.startswith("Sagittal, right lung, through the largest lesion")
    # Aerated lung is black in the mediastinal window, and grey in the lung window.
    mediastinal, lung = (pixels(shown[name][0]) for name in ("mediastinal", "middle"))
    assert np.mean(mediastinal == 0) > 0.1
    assert np.mean(lung == 0) < 0.05


@pytest.mark.parametrize("axes", [tilted(20.0), rotated(20.0), AXIAL, PRONE, CORONAL])
def test_the_position_of_a_plane_is_that_of_the_lesion_also_where_the_stack_leans(axes):
    x, y, _ = centre_mm = (-80.0, 10.0, -30.0)
    spec = PhantomSpec((90, 90, 90), (5.0,) * 3, (Lesion("solid", centre_mm, (15.0,) * 3),), axes, allow_cut=True)
    scan = CtScan(make_phantom(spec).hu_kji, spec.grid, SeriesInfo("1.2.3", 90, spec.spacing_kji_mm))
    chest = chest_of(scan, truth_map(spec))
    said = {name: text for pair in key_slices(chest) for name, _, text in [pair[0].caption.partition(", ")]}
    for name, axis, mm in (("Coronal", "y", y), ("Sagittal", "x", x)):
        shown = said[name].rpartition(f"{axis}\u00a0")[2].removesuffix("\u00a0mm").replace("\u2212", "-")
        assert float(shown) == pytest.approx(mm, abs=5.0)


@pytest.mark.parametrize("axes", [AXIAL, tilted(20.0), rotated(20.0)])
def test_the_area_of_a_key_slice_is_that_of_its_pixels_also_where_the_stack_leans(axes):
    lesion = Lesion("solid", (-80.0, 10.0, -30.0), (15.0,) * 3)
    spec = PhantomSpec((90, 90, 90), (5.0, 4.0, 4.0), (lesion,), axes, allow_cut=True)
    tissue = truth_map(spec)
    scan = CtScan(make_phantom(spec).hu_kji, spec.grid, SeriesInfo("1.2.3", 90, spec.spacing_kji_mm))
    most = np.count_nonzero(tissue.labels_kji == Tissue.SOLID, axis=(1, 2)).max() * 4.0 * 4.0 / 100
    said = " ".join(pair[0].caption for pair in key_slices(chest_of(scan, tissue)))
    assert re.findall(r"most continuous disease \(([\d.]+) cm²\)", said) == [f"{most:.1f}"]


def test_fat_that_was_called_solid_is_not_the_key_slice_of_consolidation():
    """Of two solid bodies the larger is fat, -100 HU, and the smaller is as dense as consolidation, 40 HU."""
    spec = PhantomSpec((130, 60, 60), (2.0, 5.0, 5.0), (), AXIAL, vessels=False, seed=3)
    labels, hu = truth_map(spec).labels_kji.copy(), make_phantom(spec).hu_kji.copy()
    low, high = np.flatnonzero(labels.any(axis=(1, 2)))[[0, -1]]
    places = {}
    for share, reach, level_hu in ((1 / 3, 4, -100.0), (2 / 3, 2, 40.0)):
        k = int(low + share * (high - low))
        j, i = np.argwhere(labels[k])[len(np.argwhere(labels[k])) // 2]
        box = (slice(k - 3, k + 4), slice(j - reach, j + reach + 1), slice(i - reach, i + reach + 1))
        labels[box] = Tissue.SOLID
        hu[box] = level_hu
        places[level_hu] = range(k - 3, k + 4)
    scan = CtScan(hu, spec.grid, SeriesInfo("1.2.3", 130, spec.spacing_kji_mm))
    chest = chest_of(scan, TissueMap(labels, spec.grid))
    (caption,) = (plain.caption for plain, _ in key_slices(chest) if plain.caption.startswith("Most consol"))
    shown = {level_hu: [chest.slice_places[k - low] for k in ks] for level_hu, ks in places.items()}
    assert shows(caption, shown[40.0])
    assert not shows(caption, shown[-100.0])
    (of_reader,) = (
        plain.caption for plain, _ in key_slices(replace(chest, of_reader=True)) if "Most consol" in plain.caption
    )
    assert shows(of_reader, shown[-100.0])  # the larger body, whatever its density


def lungs_with(bodies, *, flagged):
    """The chest of lungs with solid boxes, each (share of the height, reach in voxels, HU), 14 mm high."""
    spec = PhantomSpec((130, 60, 60), (2.0, 5.0, 5.0), (), AXIAL, vessels=False, seed=3)
    labels, hu = truth_map(spec).labels_kji.copy(), make_phantom(spec).hu_kji.copy()
    low, high = np.flatnonzero(labels.any(axis=(1, 2)))[[0, -1]]
    within = np.argwhere(labels[(low + high) // 2])
    j, i = within[len(within) // 3]
    places = []
    for share, reach, level_hu in bodies:
        k = int(low + share * (high - low))
        box = (slice(k - 3, k + 4), slice(j - reach, j + reach + 1), slice(i - reach, i + reach + 1))
        labels[box], hu[box] = Tissue.SOLID, level_hu
        places.append(range(k - 3 - low, k + 4 - low))
    scan = CtScan(hu, spec.grid, SeriesInfo("1.2.3", 130, spec.spacing_kji_mm))
    document = {"flags": [{"code": "SUSPECT_SOLID"}] if flagged else [], "blood_pool_hu": None}
    chest = chest_with_doubt(document, TissueMap(labels, spec.grid), scan)
    return chest, [[chest.slice_places[z] for z in planes] for planes in places]


FAT, CONSOLIDATION = (0.42, 6, -100.0), (0.58, 2, 40.0)
"""Both in the middle third; the fat is the larger."""
DOUBT = "includes a body flagged as possibly not disease (SUSPECT_SOLID)"


def captions_of(chest):
    said = [plain.caption for plain, _ in key_slices(chest)]
    return {caption.partition(",")[0]: caption for caption in said}


def shows(caption, places):
    return any(f": {place}" in caption for place in places)


def test_key_slices_prefer_lesion_that_no_check_doubts():
    chest, (fat, consolidation) = lungs_with((FAT, CONSOLIDATION), flagged=True)
    said = captions_of(chest)
    assert shows(said["Middle third"], consolidation)
    assert shows(said["Most consolidation not in doubt"], consolidation)
    for name in ("Coronal", "Sagittal"):
        assert "through the largest lesion not in doubt" in said[name]
    # The planes run through both bodies, which lie above each other; the axial ones through one.
    assert [name for name, caption in said.items() if DOUBT in caption] == ["Coronal", "Sagittal"]
    plain, (fat, _) = lungs_with((FAT, CONSOLIDATION), flagged=False)
    assert shows(captions_of(plain)["Middle third"], fat)
    assert not any("doubt" in caption or DOUBT in caption for caption in captions_of(plain).values())


def test_a_key_slice_of_lesion_in_doubt_says_so():
    chest, (fat,) = lungs_with((FAT,), flagged=True)
    said = captions_of(chest)
    assert shows(said["Middle third"], fat)
    assert "no disease segmented" in said["Upper third"]
    assert {name for name, caption in said.items() if DOUBT in caption} == {
        "Middle third",
        "Coronal",
        "Sagittal",
        "Most consolidation",
    }


def test_slices_of_two_visits_say_which_of_them_shows_lesion_in_doubt():
    flagged, _ = lungs_with((FAT,), flagged=True)
    plain, _ = lungs_with((CONSOLIDATION,), flagged=False)
    for then, now, which in (
        (flagged, plain, "the earlier"),
        (plain, flagged, "the present"),
        (flagged, flagged, "the earlier and the present"),
    ):
        upper, middle, lower = (shown.caption for shown in beside(then, now))
        # Where both show disease, the larger body wins.
        assert middle.endswith(f"; {which} slice includes a body flagged as possibly not disease (SUSPECT_SOLID)")
        assert "flagged" not in upper + lower


@pytest.mark.parametrize(("reach", "trace"), [(2, True), (3, False)])
def test_the_slice_of_a_trace_of_consolidation_says_that_it_may_be_none(reach, trace):
    """14 mm of boxes of 25 and of 35 mm: 8.8 and 17.2 mL."""
    chest, _ = lungs_with(((0.5, reach, 40.0),), flagged=False)
    caption = captions_of(chest)["Most consolidation"]
    said = "less than 10 mL in all, which may be a nodule, a vessel or the rim of an organ"
    assert (said in caption) == trace
    said = [plain.caption for plain, _ in key_slices(replace(chest, of_reader=True))]
    assert not any("less than" in caption for caption in said)  # a reader has told what it is


HILUM = "what is dense at a hilum may be vessels"


@pytest.mark.parametrize(
    ("up", "back", "across", "said"),
    [(0.5, 0.5, 0.35, True), (0.5, 0.5, 0.65, True), (0.5, 0.5, 0.1, False), (0.5, 0.15, 0.35, False)],
)
def test_consolidation_where_the_hila_lie_may_be_vessels(up, back, across, said):
    """Shares of the lungs' box from below, from the front and from the right: inner third against the rim."""
    spec = PhantomSpec((130, 60, 60), (2.0, 5.0, 5.0), (), AXIAL, vessels=False, seed=3)
    labels = truth_map(spec).labels_kji.copy()
    box = [np.flatnonzero((labels > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    k, j, i = (int(found[0] + share * np.ptp(found)) for found, share in zip(box, (up, back, across), strict=True))
    labels[k - 3 : k + 4, j - 1 : j + 2, i - 1 : i + 2] = Tissue.SOLID
    scan = CtScan(make_phantom(spec).hu_kji, spec.grid, SeriesInfo("1.2.3", 130, spec.spacing_kji_mm))
    chest = chest_of(scan, TissueMap(labels, spec.grid))
    captions = captions_of(chest)
    assert [name for name, caption in captions.items() if HILUM in caption] == (
        ["Middle third", "Coronal", "Sagittal", "Most consolidation"] if said else []
    )
    assert not any(HILUM in plain.caption for plain, _ in key_slices(replace(chest, of_reader=True)))


def test_of_a_scan_unlike_the_calibration_every_slice_with_disease_says_so():
    chest, _ = lungs_with((CONSOLIDATION,), flagged=False)
    doubt = "disease is uncertain here (OUT_OF_CALIBRATION)"
    assert not any(doubt in caption for caption in captions_of(chest).values())
    said = captions_of(replace(chest, uncalibrated=True))
    assert {name for name, caption in said.items() if doubt in caption} == {
        "Middle third",
        "Coronal",
        "Sagittal",
        "Most consolidation",
    }


FLUID_RGB = (124, 58, 237)


def effusion(case):
    """Fluid behind and below the right lung, and the same map without."""
    tissue, grid = case.analysis.tissue, case.analysis.tissue.grid
    view = axial_view(grid)
    fluid = np.zeros(grid.shape_kji, bool)
    right = np.argwhere(view.of(tissue.side_kji) == Side.RIGHT)
    x, back = right.min(axis=0)[2], right.max(axis=0)[1]
    z = int(np.flatnonzero(view.of(tissue.labels_kji).any(axis=(1, 2)))[0])
    view.of(fluid)[z - 3 : z + 6, back - 4 : back + 6, x + 4 : x + 16] = True
    return replace(tissue, fluid_kji=fluid & (tissue.labels_kji == 0)), tissue


def share_of_violet(picture):
    """Of the pixels, those whose colour leans to the fluid's."""
    shown = pixels(picture)
    return np.mean((shown[..., 2] - shown[..., 1] > 60) & (shown[..., 2] - shown[..., 0] > 30))


def test_fluid_is_drawn_where_the_mask_has_it_and_chooses_no_key_slice(case):
    with_fluid, without = effusion(case)
    wet, dry = (chest_of(case.analysis.scan, tissue) for tissue in (with_fluid, without))
    assert wet.mask_zyx.shape[0] == dry.mask_zyx.shape[0] + 3  # three slices below the lungs
    assert [one.caption for one, _ in key_slices(wet)] == [one.caption for one, _ in key_slices(dry)]
    front, right, left = projections(wet)
    assert share_of_violet(front) > 0.002
    assert share_of_violet(right) > 0.002
    assert [share_of_violet(left), *map(share_of_violet, projections(dry))] == [0, 0, 0, 0]
    row, column = np.argwhere(np.abs(pixels(front) - FLUID_RGB).sum(axis=2) < 30).mean(axis=0)
    assert row > 0.75 * front.height  # low in the picture
    assert column < front.width / 2  # on the patient's right
    z = int(np.flatnonzero((wet.mask_zyx == FLUID).any(axis=(1, 2)))[5])
    plain, masked = pair(wet, (0, z), "", LUNG_WINDOW)
    assert share_of_violet(masked) > 0.002
    assert pixels(plain).ndim == 2


def test_the_legend_has_fluid_only_where_there_is_some(case, config):
    with_fluid, without = effusion(case)
    for tissue, expected in ((with_fluid, 1), (without, 0)):
        document = copy.deepcopy(case.document)
        document["volumes_ml"]["fluid"] = tissue.fluid_ml or 0.0
        page = report_page(document, config, tissue, case.analysis.scan).decode()
        assert page.count('<i class="fluid_fill"></i>pleural fluid') == expected


def test_the_histogram_holds_the_whole_lung_and_knows_the_bins(case, config):
    cuts = config.measure.hu_cuts
    drawn = lung_histogram(case.analysis.scan, case.analysis.tissue, cuts)
    lung_ml = sum(bar.height for bar in drawn.bars) / drawn.height * drawn.top_ml
    assert lung_ml == pytest.approx(case.document["volumes_ml"]["lung"], rel=1e-3)
    for number, name in enumerate(bin_names(cuts)):
        ml = sum(bar.height for bar in drawn.bars if bar.bin_number == number) / drawn.height * drawn.top_ml
        # A bar is 20 HU wide and a cut may fall inside it.
        assert ml == pytest.approx(case.document["hu_bins_ml"][name], rel=0.1, abs=30)
    assert [hu for _, hu in drawn.cuts] == list(cuts)


def test_no_identity_and_no_text_chunk_in_a_picture(page):
    for uri in re.findall(r'src="(data:[^"]+)"', page):
        content = b64decode(uri.partition(",")[2])
        assert not re.search(rb"tEXt|iTXt|zTXt|eXIf", content)
    assert "SYN-001" not in page


def lobed(document, method="fissures", reason=None):
    """The document with a right upper lobe of 20 % disease."""
    lobe = {"lung": 500.0, "aerated": 400.0, "ground_glass": 75.0, "solid": 25.0, "lesion": 100.0}
    share = {"lesion": 20.0, "ground_glass": 15.0, "solid": 5.0}
    upper = lobe | {"percent_of_lobe": share, "lesion_percent_span": [12.5, 26.0]}
    lobes = {"method": method, "reason": reason, "right_upper": upper}
    return document | {"lobes": lobes, "severity_score": 2, "severity_score_range": [2, 3]}


def test_lobes_stand_in_a_table_with_their_span_and_the_score(case, config):
    document = lobed(case.document)
    said = text_of(report_page(document, config).decode("utf-8"))
    assert "Right upper 500 15.0 5.0 100 20.0 12.5 to 26.0 2" in said  # 5 to 25 % of a lobe score 2
    assert "CT severity score 2 of 25 between 2 and 3" in said  # in the head line, and with its source below
    assert "Pan et al., Radiology 2020;295:715" in said
    moved = "the fissures moved by their uncertainty and the percentage of each lobe by 1 point"
    assert f"CT severity score 2 of 25; 2 to 3 with {moved}." in said
    assert "The lobes follow the fissures that the CT shows." in said
    document["interval_percent"] = {"lesion": [10.0, 25.0]}
    said = text_of(report_page(document, config).decode("utf-8"))
    assert "2 to 3 with fissures and disease moved by their uncertainty" in said


def test_lobes_that_are_approximate_or_absent_say_why(case, config):
    approximate = lobed(case.document, "approximate", "slices are 5.0 mm apart")
    said = text_of(report_page(approximate, config).decode("utf-8"))
    assert "The lobes are approximate: slices are 5.0 mm apart." in said
    none = case.document | {"lobes": {"method": "none", "reason": "no left lung was found"}}
    none = {key: value for key, value in none.items() if not key.startswith("severity_score")}
    assert "were not divided into lobes: no left lung was found." in text_of(
        report_page(none, config).decode("utf-8")
    )
