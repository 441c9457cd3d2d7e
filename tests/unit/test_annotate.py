"""Annotation without a network: shapes of known area, decisions of known effect, a model of known errors."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from volumetry.config import load_config
from volumetry.domain import CtScan, Grid, SegmenterFacts, Tissue, TissueMap
from volumetry.errors import ConfigError, InputError
from volumetry.image.nifti import labels_bytes
from volumetry.training.annotate.__main__ import ANNOTATED
from volumetry.training.annotate.agreement import agreement, areas, pooled, with_shift
from volumetry.training.annotate.draw import LUNG_WINDOW, PIXELS_PER_MM, box_around, slice_picture
from volumetry.training.annotate.paint import inside, painted
from volumetry.training.annotate.plan import (
    AnnotatedScan,
    Decision,
    Label,
    evenly_spaced,
    label_grid,
    read_decisions,
    read_labels,
    read_plan,
)
from volumetry.training.annotate.propose import Proposal, hulls, propose
from volumetry.training.annotate.report import figures, report, table_of
from volumetry.training.scan_list import read_listed

PIXEL = (0.8, 1.0)
SPEC = AnnotatedScan(name="a", path="a.nii.gz", source="drawn", terms="none", first=2, step=3, count=4)


def _disc(shape: tuple[int, int], centre_mm: tuple[float, float], radius_mm: float) -> np.ndarray:
    """Centre as (x, y)."""
    j, i = np.indices(shape)
    return np.hypot(j * PIXEL[0] - centre_mm[1], i * PIXEL[1] - centre_mm[0]) <= radius_mm


def _slice() -> tuple[np.ndarray, np.ndarray]:
    """Two round lungs in soft tissue; in one a vessel and a dome, in the other haze. HU and aerated lung."""
    shape = (200, 240)
    hu = np.full(shape, 40, np.float32)
    left, right = _disc(shape, (170, 80), 45), _disc(shape, (60, 80), 45)
    hu[left | right] = -860
    hu[_disc(shape, (60, 60), 4)] = 40
    hu[_disc(shape, (60, 95), 14)] = 40
    hu[_disc(shape, (170, 80), 15)] = -620
    return hu, (hu < -500) & (left | right)


@pytest.fixture(scope="module")
def proposal() -> Proposal:
    return propose(*_slice(), PIXEL)


def test_a_vessel_belongs_to_the_proposed_lung_and_a_dome_does_not(proposal):
    vessel, dome = _disc((200, 240), (60, 60), 4), _disc((200, 240), (60, 95), 13)
    assert proposal.lung_ji[vessel].all()
    assert not proposal.lung_ji[dome].any()
    two_discs = 2 * np.pi * 45**2 - np.pi * 14**2
    assert proposal.lung_ji.sum() * 0.8 == pytest.approx(two_discs, rel=0.02)


def test_regions_cover_haze_and_nothing_of_normal_lung(proposal):
    haze, normal = _disc((200, 240), (170, 80), 13), _disc((200, 240), (170, 55), 5)
    assert (proposal.regions_ji[haze] > 0).all()
    assert not proposal.regions_ji[normal].any()
    assert set(np.unique(proposal.regions_ji)) == set(range(proposal.regions_ji.max() + 1))


def test_lungs_that_touch_have_a_hull_each():
    left, right = (_disc((200, 300), (x, 80), 50) for x in (70, 210))
    bridge = np.zeros_like(left)
    bridge[98:102, 70:210] = True  # 3 mm
    found = hulls(left | right | bridge, PIXEL)
    assert found[left].all()
    assert found[right].all()
    assert not found[130:, 135:145].any()
    assert found.sum() == pytest.approx(left.sum() + right.sum(), rel=0.15)


def test_a_slice_without_anything_dense_has_no_regions():
    hu = np.full((40, 40), -860, np.float32)
    assert not propose(hu, np.ones((40, 40), bool), PIXEL).regions_ji.any()


def test_a_polygon_has_its_area_and_place():
    mask = inside([(20, 30), (60, 30), (60, 70), (20, 70)], (200, 240), PIXEL)
    assert mask.sum() * 0.8 == pytest.approx(40 * 40, rel=0.04)
    j, i = np.nonzero(mask)
    assert (j.mean() * 0.8, i.mean()) == pytest.approx((50, 40), abs=0.5)


ROUND_THE_HAZE = ((140.0, 50.0), (200.0, 50.0), (200.0, 110.0), (140.0, 110.0))


def test_limits_of_hu_find_the_outline_of_haze(proposal):
    stroke = Decision(slice=0, label="ground_glass", polygon_mm=ROUND_THE_HAZE, hu=(-740, -150))
    found = painted(proposal, [stroke]) == Label.GROUND_GLASS
    true = _disc((200, 240), (170, 80), 15)
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.98


def test_regions_may_be_named_in_place_of_a_polygon(proposal):
    haze = _disc((200, 240), (170, 80), 13)
    regions = tuple(int(n) for n in np.unique(proposal.regions_ji[haze]))
    labels = painted(proposal, [Decision(slice=0, label="solid", regions=regions)])
    assert (labels[haze] == Label.SOLID).all()


def test_strokes_are_painted_in_turn_and_stay_in_the_lung_unless_they_say_so(proposal):
    across = ((60.0, 80.0), (170.0, 80.0), (170.0, 120.0), (60.0, 120.0))
    between = (100, 115)  # row 80 mm, column 115 mm: soft tissue between the lungs
    at_lung, place = (100, 160), Decision(slice=0, label="ground_glass", polygon_mm=across)
    anywhere = Decision(slice=0, label="solid", polygon_mm=across, anywhere=True)
    unjudged = Decision(slice=0, label="unjudged", polygon_mm=across, anywhere=True)
    outside = Decision(slice=0, label="outside", polygon_mm=across, anywhere=True)
    for strokes, soft, lung in (
        ([], Label.OUTSIDE, Label.LUNG),
        ([place], Label.OUTSIDE, Label.GROUND_GLASS),
        ([place, anywhere], Label.SOLID, Label.SOLID),
        ([anywhere, place], Label.GROUND_GLASS, Label.GROUND_GLASS),
        ([anywhere, unjudged], Label.UNJUDGED, Label.UNJUDGED),
        ([unjudged, outside], Label.OUTSIDE, Label.OUTSIDE),
    ):
        labels = painted(proposal, strokes)
        assert (labels[between], labels[at_lung]) == (soft, lung)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"regions": [1], "polygon_mm": ROUND_THE_HAZE},
        {"polygon_mm": ROUND_THE_HAZE[:2]},
        {"regions": [1], "hu": (0, -10)},
        {"regions": [1], "label": "vessel"},
    ],
)
def test_a_stroke_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        Decision(**{"slice": 0, "label": "solid"} | wrong)


def test_slices_lie_evenly_in_the_lungs_and_at_equal_distance_from_both_ends():
    lung = np.zeros((60, 2, 2), bool)
    lung[7:50] = True
    first, step = evenly_spaced(lung, 5)
    assert step == 43 // 5
    last = first + 4 * step
    assert abs((first - 7) - (49 - last)) <= 1
    with pytest.raises(InputError, match="43 slices with lung"):
        evenly_spaced(lung, 44)


def _turned_grid() -> Grid:
    """k to the feet, j to the front, i to the right: all the other way round."""
    return Grid((20, 30, 40), (2.0, 0.8, 1.0), (10.0, 20.0, 30.0), ((0, 0, -1), (0, -1, 0), (-1, 0, 0)))


def test_labels_lie_where_their_slices_lie():
    grid = _turned_grid()
    found = label_grid(grid, SPEC)
    for number, k in enumerate(SPEC.slices):
        in_scan = grid.lps_mm(np.array([19 - k, 29 - 5, 39 - 7], float))
        assert found.lps_mm(np.array([number, 5, 7], float)) == pytest.approx(in_scan)
    with pytest.raises(InputError, match="slice 20 is asked for"):
        label_grid(grid, SPEC.model_copy(update={"first": 11}))


def _scan(grid: Grid) -> CtScan:
    from volumetry.domain import SeriesInfo

    return CtScan(np.zeros(grid.shape_kji, np.float32), grid, SeriesInfo("1.0", 20, grid.spacing_kji_mm))


def test_labels_are_read_only_where_they_belong(tmp_path):
    scan = _scan(_turned_grid())
    labels = np.random.default_rng(1).choice(np.array([0, 1, 2, 3, 255], np.uint8), (4, 30, 40))
    grid = label_grid(scan.grid, SPEC)
    (tmp_path / "a.nii.gz").write_bytes(labels_bytes(labels, grid))
    assert np.array_equal(read_labels(tmp_path, SPEC, scan), labels)
    with pytest.raises(InputError, match="do not lie on"):
        read_labels(tmp_path, SPEC.model_copy(update={"first": 3}), scan)
    (tmp_path / "a.nii.gz").write_bytes(labels_bytes(np.full_like(labels, 4), grid))
    with pytest.raises(InputError, match="other values"):
        read_labels(tmp_path, SPEC, scan)


def test_a_slice_that_was_not_chosen_is_not_painted(tmp_path):
    text = '[[paint]]\nslice = 3\nlabel = "lung"\nregions = [1]\n'
    (tmp_path / "a.toml").write_text(text.replace("3", "5"))
    assert len(read_decisions(tmp_path, SPEC)) == 1
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match="slice 3 was not chosen"):
        read_decisions(tmp_path, SPEC)
    (tmp_path / "a.toml").write_text(text.replace("label", "lable"))
    with pytest.raises(ConfigError, match="label"):
        read_decisions(tmp_path, SPEC)


def test_a_point_in_mm_is_where_the_picture_shows_it():
    hu = np.full((100, 120), -1150, np.float32)
    hu[40, 70] = 150  # y = 32 mm, x = 70 mm
    picture = slice_picture(hu, PIXEL, (50.5, 12.5, 90.5, 52.5), LUNG_WINDOW)
    grey = picture[:, :, 0].astype(float)
    grey[:, :20] = grey[:12] = 0  # the numbers of the grid
    rows, columns = np.indices(grey.shape)
    centre = ((rows * grey).sum() / grey.sum() + 0.5, (columns * grey).sum() / grey.sum() + 0.5)
    assert centre == pytest.approx(((32 - 12.5) * PIXELS_PER_MM, (70 - 50.5) * PIXELS_PER_MM), abs=1.0)


def test_the_box_of_a_picture_has_its_margin():
    mask = np.zeros((100, 120), bool)
    mask[10:20, 30:40] = True
    assert box_around(mask, PIXEL, 5.0) == pytest.approx((25.0, 3.0, 44.0, 20.2))


def test_labels_and_numbers_are_drawn(proposal):
    labels = painted(proposal, [Decision(slice=0, label="solid", polygon_mm=ROUND_THE_HAZE)])
    box = box_around(proposal.lung_ji, PIXEL)
    plain = slice_picture(proposal.hu_ji, PIXEL, box, LUNG_WINDOW)
    outlined = slice_picture(proposal.hu_ji, PIXEL, box, LUNG_WINDOW, labels, proposal.regions_ji)
    changed = (plain != outlined).any(axis=2)
    assert 0 < changed.mean() < 0.1


def test_figures_follow_from_areas():
    """By hand: 10 pixels of 2 cm2 each; one of them is not judged."""
    true = np.array([[0, 1, 1, 1, 1, 2, 2, 3, 3, 255]], np.uint8)
    found = np.array([[3, 1, 1, 2, 0, 2, 1, 3, 2, 3]], np.uint8)
    table = table_of(true, found, 2.0)
    assert table.sum() == 20
    row = figures([table])
    assert row["dice"] == pytest.approx(
        {"lung": 2 * 7 / (8 + 8), "lesion": 2 * 3 / (4 + 5), "ground_glass": 2 * 1 / (2 + 3), "solid": 2 / (2 + 2)}
    )
    assert row["lesion_true_percent"] == pytest.approx(100 * 4 / 8)
    assert row["lesion_error_points"] == pytest.approx(100 * (5 / 8 - 4 / 8))
    wrong = {kind: area for kind, area in row["errors_cm2"].items() if area}
    assert wrong == {
        "ground_glass_missed": 2.0,
        "solid_called_ground_glass": 2.0,
        "lung_called_ground_glass": 2.0,
        "outside_called_solid": 2.0,
        "lung_called_outside": 2.0,
        "lesion_where_not_judged": 2.0,
        "not_judged": 2.0,
    }


def test_a_share_of_no_lung_is_absent():
    nothing = np.zeros((1, 4), np.uint8)
    row = figures([table_of(nothing, nothing, 1.0)])
    assert row["dice"] == {}
    assert row["slice_error_points"] == {}
    assert "lesion_error_points" not in row


@dataclass
class Stub:
    """Gives a map that is known."""

    labels_kji: np.ndarray
    facts = SegmenterFacts("stub", "1")

    def __call__(self, scan: CtScan) -> TissueMap:
        return TissueMap(self.labels_kji, scan.grid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scan with two lungs, haze in one of them, and labels that agree with it in four slices."""
    shape = (20, 60, 80)
    labels = np.zeros(shape, np.uint8)
    labels[1:19, 8:52, 6:34] = labels[1:19, 8:52, 46:74] = Tissue.AERATED
    labels[4:16, 20:40, 50:70] = Tissue.GROUND_GLASS
    hu = np.select([labels == 1, labels == 2], [-850, -600], 40).astype(np.int16)
    image = nib.Nifti1Image(hu.T, np.diag([-3.0, -3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "a.nii.gz")
    (tmp_path / "labels").mkdir()
    keys = "\n".join(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in SPEC)
    (tmp_path / "labels" / "annotated.toml").write_text(f"[[scan]]\n{keys}\n")
    grid = label_grid(read_listed(tmp_path / "a.nii.gz", load_config()).grid, SPEC)
    (tmp_path / "labels" / "a.nii.gz").write_bytes(labels_bytes(labels[list(SPEC.slices)], grid))
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def test_a_model_that_says_the_same_has_no_error(folder):
    found = report(folder, folder / "labels", Stub(np.load(folder / "labels.npy")), load_config())
    assert found["truth"] == "annotated by us"
    assert found["pooled"]["dice"] == {"lung": 1.0, "lesion": 1.0, "ground_glass": 1.0}
    assert found["pooled"]["lesion_error_points"] == 0
    kinds = found["pooled"]["errors_cm2"]
    assert set(kinds.values()) == {0.0}
    assert [row["slice"] for row in found["scans"][0]["by_slice"]] == [2, 5, 8, 11]


def test_haze_that_a_model_misses_is_counted_in_the_slices_that_hold_it(folder):
    labels = np.load(folder / "labels.npy")
    labels[labels == Tissue.GROUND_GLASS] = Tissue.AERATED
    found = report(folder, folder / "labels", Stub(labels), load_config())
    area_cm2 = 20 * 20 * 0.3 * 0.3
    assert found["pooled"]["errors_cm2"]["ground_glass_missed"] == pytest.approx(3 * area_cm2)
    share = 100 * 20 * 20 / (2 * 44 * 28)
    errors = [row["lesion_error_points"] for row in found["scans"][0]["by_slice"]]
    assert errors == pytest.approx([0, -share, -share, -share])
    assert found["pooled"]["dice"]["lesion"] == 0


def test_agreement_of_two_sets_by_hand():
    first = np.array([[0, 1, 1, 2, 2, 3, 255]], np.uint8)
    other = np.array([[0, 1, 2, 2, 255, 1, 3]], np.uint8)
    found = pooled([areas(first, other, 0.5)])
    assert found == {
        "lung": {"dice": 1.0, "first_cm2": 2.0, "other_cm2": 2.0},
        "lesion": {"dice": pytest.approx(2 * 1 / (2 + 2)), "first_cm2": 1.0, "other_cm2": 1.0},
        "ground_glass": {"dice": pytest.approx(2 * 1 / (1 + 2)), "first_cm2": 0.5, "other_cm2": 1.0},
        "solid": {"dice": 0.0, "first_cm2": 0.5, "other_cm2": 0.0},
    }


def test_only_limits_of_lesions_are_moved():
    place = {"slice": 2, "polygon_mm": ROUND_THE_HAZE}
    limited = Decision(label="ground_glass", hu=(-730, -150), **place)
    assert with_shift(limited, 50).hu == (-680, -150)
    for stroke in (Decision(label="lung", hu=(-900, -500), **place), Decision(label="solid", **place)):
        assert with_shift(stroke, 50) == stroke


def test_a_second_look_is_compared_slice_by_slice(folder):
    """Haze from row 20 to 40 of 3 mm; the second look leaves a half of it out, at 30 and above."""
    whole = "[[140, 50], [220, 50], [220, 130], [140, 130]]"
    text = (
        f'[[paint]]\nslice = 5\nlabel = "ground_glass"\npolygon_mm = {whole}\nhu = [-750, -150]\nanywhere = true\n'
    )
    labels = folder / "labels"
    (labels / "a.toml").write_text(text)
    (labels / "second-look").mkdir()
    (labels / "second-look" / "a.toml").write_text(text.replace("130]", "88]"))
    found = agreement(folder, labels, load_config())
    haze = found["second_look"]["ground_glass"]
    assert haze["other_cm2"] / haze["first_cm2"] == pytest.approx(0.5, abs=0.06)
    assert haze["dice"] == pytest.approx(2 * 0.5 / 1.5, abs=0.06)
    assert found["hu_shifted"]["+50"]["ground_glass"]["first_cm2"] == pytest.approx(haze["first_cm2"])
    assert found["hu_shifted"]["+50"]["ground_glass"]["dice"] > 0.9


def test_our_annotations_are_whole_and_hold_no_image():
    plan = read_plan(ANNOTATED)
    assert sum(spec.count for spec in plan.scan) == 30
    for spec in plan.scan:
        image = nib.load(ANNOTATED / f"{spec.name}.nii.gz")
        assert image.shape[2] == spec.count
        assert set(np.unique(image.dataobj)) <= {int(label) for label in Label}
        assert image.header["descrip"].item() == b""
        read_decisions(ANNOTATED, spec)
    assert sum(path.stat().st_size for path in ANNOTATED.rglob("*") if path.is_file()) < 300_000


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["covid-p001", "pneumonia-001", "ricord-000082", "pneumonia-002"])
def test_our_labels_lie_on_the_tissue_that_they_name(shared, name):
    """A shift or a flip between labels and scan puts soft tissue into the lung."""
    spec = next(spec for spec in read_plan(ANNOTATED).scan if spec.name == name)
    scan = read_listed(shared / "data" / spec.path, load_config())
    labels = read_labels(ANNOTATED, spec, scan)
    from volumetry.image.orientation import axial_view

    hu = axial_view(scan.grid).of(scan.hu_kji)[list(spec.slices)]
    assert np.percentile(hu[labels == Label.LUNG], 95) < -300
    assert -750 < np.median(hu[labels == Label.GROUND_GLASS]) < -300
    if (labels == Label.SOLID).any():
        assert np.median(hu[labels == Label.SOLID]) > -200
