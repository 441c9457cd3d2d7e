"""The change map: a phantom pair with a known motion, the margins, and pairs that must give no map.

The chest breathes (lungs at 100 % and 90 % of full inspiration), and lesions move with it: their places and
heights follow `_moved`, which is how the phantom's lungs move. In the baseline's mL every expected cell is then
the formula of an ellipsoid, 4/3 pi a b c, or a difference of two.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volumetry.changemap.change_map import CODES, Change, ChangeMap, change_map
from volumetry.changemap.files import write_change_map
from volumetry.changemap.registration import as_image, lung_box, part_of, register
from volumetry.config import Config, load_config
from volumetry.domain import CtScan, Grid, SeriesInfo, Tissue, TissueMap
from volumetry.errors import InputError
from volumetry.image.nifti import mask_bytes
from volumetry.phantom import Lesion, PhantomSpec, make_phantom, tilted, truth_map, write_series

BREATH = 0.9
APEX_MM, LUNG_MIDDLE_MM, LEAN = 120.0, -52.5, 0.1
GRID = PhantomSpec((150, 204, 226), (1.8, 1.4, 1.4), vessels=False)  # its vessels do not move with its breath
SMALL = PhantomSpec((92, 100, 112), (3.0, 2.9, 2.9))

QUICK = load_config(overrides={"change_map": {"working_mm": 4.0, "iterations": [40, 30, 8]}})

Vector = tuple[float, float, float]
SHRINKS, HARDENS, RESOLVES, APPEARS = (-88.0, 5, -8), (89.0, 6, -5), (67.0, 50, -60), (-67.0, 50, -60)


def _moved(centre: Vector) -> Vector:
    """Where a point of the lung lies at the other depth of breath: towards the apex, and along the lung's lean."""
    x, y, z = centre
    return x + math.copysign(LEAN * (1 - BREATH) * (z - LUNG_MIDDLE_MM), x), y, APEX_MM + (z - APEX_MM) * BREATH


def _visit_lesion(kind: str, centre: Vector, radii: Vector) -> Lesion:
    return Lesion(kind, _moved(centre), (radii[0], radii[1], radii[2] * BREATH))


def _ellipsoid_ml(radii: Vector) -> float:
    return 4 / 3 * math.pi * math.prod(radii) / 1000


def _scan(spec: PhantomSpec) -> tuple[CtScan, TissueMap]:
    return _as_scan(make_phantom(spec).hu_kji, truth_map(spec))


def _as_scan(hu_kji: np.ndarray, tissue: TissueMap) -> tuple[CtScan, TissueMap]:
    series = SeriesInfo("1.2.3", tissue.grid.shape_kji[0], tissue.grid.spacing_kji_mm)
    return CtScan(hu_kji, tissue.grid, series), tissue


BASELINE = replace(
    GRID,
    lesions=(
        Lesion("ground_glass", SHRINKS, (24, 25, 26)),
        Lesion("ground_glass", HARDENS, (22, 24, 26)),
        Lesion("solid", RESOLVES, (18, 17, 20)),
    ),
)
VISIT = replace(
    GRID,
    breath=BREATH,
    lesions=(
        _visit_lesion("ground_glass", SHRINKS, (17, 18, 19)),
        _visit_lesion("solid", HARDENS, (22, 24, 26)),
        _visit_lesion("ground_glass", APPEARS, (18, 17, 20)),
    ),
)
_N, _G, _S = Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID
TRUTH_ML = {
    (_G, _G): _ellipsoid_ml((17, 18, 19)),
    (_G, _N): _ellipsoid_ml((24, 25, 26)) - _ellipsoid_ml((17, 18, 19)),
    (_G, _S): _ellipsoid_ml((22, 24, 26)),
    (_S, _N): _ellipsoid_ml((18, 17, 20)),
    (_N, _G): _ellipsoid_ml((18, 17, 20)),
    (_S, _G): 0.0,
    (_S, _S): 0.0,
    (_N, _S): 0.0,
}
LESION_ML = sum(TRUTH_ML.values())


@pytest.fixture(scope="module")
def pair() -> tuple[tuple[CtScan, TissueMap], tuple[CtScan, TissueMap]]:
    return _scan(BASELINE), _scan(VISIT)


@pytest.fixture(scope="module")
def result(pair, config: Config) -> ChangeMap:
    return change_map(*pair, config.change_map)


@pytest.mark.parametrize("cell", TRUTH_ML, ids=lambda cell: f"{cell[0].name}-{cell[1].name}")
def test_every_cell_is_within_five_percent_of_the_formula(result: ChangeMap, cell: tuple[Tissue, Tissue]) -> None:
    expected = TRUTH_ML[cell]
    tolerance = 0.05 * expected if expected else 0.02 * LESION_ML
    assert result.baseline_ml[cell] == pytest.approx(expected, abs=tolerance)


def test_in_the_visits_ml_the_cells_are_as_much_smaller_as_the_breath(result: ChangeMap) -> None:
    for cell in ((_G, _G), (_G, _S), (_N, _G)):
        assert result.visit_ml[cell] == pytest.approx(BREATH * TRUTH_ML[cell], rel=0.05)


def test_summaries_name_the_cells(result: ChangeMap) -> None:
    named = result.summary_ml()
    assert named["stable"] == pytest.approx(TRUTH_ML[_G, _G], rel=0.05)
    assert named["ground_glass_to_solid"] == pytest.approx(TRUTH_ML[_G, _S], rel=0.05)
    assert named["resolved"] == pytest.approx(TRUTH_ML[_G, _N] + TRUTH_ML[_S, _N], rel=0.05)
    assert named["solid_to_ground_glass"] == named["unclassed"] == 0


def test_rows_add_up_to_the_baselines_volumes(result: ChangeMap, pair) -> None:
    tissue = pair[0][1]
    for row in (_N, _G, _S):
        own = np.count_nonzero(tissue.labels_kji == row) * tissue.grid.voxel_ml
        assert sum(result.baseline_ml[row, column] for column in Tissue) == pytest.approx(own, rel=1e-9)
        assert result.baseline_margins[row].remainder_ml == pytest.approx(0, abs=1e-6)


def test_columns_add_up_to_the_visits_volumes_but_for_the_stated_remainder(result: ChangeMap, pair) -> None:
    tissue = pair[1][1]
    for column in (_N, _G, _S):
        own = np.count_nonzero(tissue.labels_kji == column) * tissue.grid.voxel_ml
        cells = sum(result.visit_ml[row, column] for row in Tissue)
        margin = result.visit_margins[column]
        assert cells + margin.remainder_ml == pytest.approx(own, rel=1e-9)
        assert abs(margin.remainder_ml) < 0.01 * own
        assert margin.own_ml - margin.mapped_ml == pytest.approx(margin.outside_ml + margin.remainder_ml)


def test_the_jacobian_gives_the_change_of_the_lung(result: ChangeMap) -> None:
    assert result.lung_ratio == pytest.approx(BREATH, rel=0.005)  # the phantom's lungs are proportional to breath
    assert result.mapped_ratio == pytest.approx(BREATH, rel=0.01)
    assert result.quality.jacobian_median == pytest.approx(BREATH, rel=0.01)


def test_the_map_lies_on_the_baselines_own_grid(result: ChangeMap, pair) -> None:
    before = pair[0][1].labels_kji
    assert result.grid == pair[0][1].grid
    assert np.array_equal(result.changes_kji == Change.OUTSIDE, before == Tissue.OUTSIDE)
    hardened = result.changes_kji == Change.GROUND_GLASS_TO_SOLID
    assert hardened.any()
    assert (before[hardened] == Tissue.GROUND_GLASS).all()


def test_the_same_pair_gives_the_same_map() -> None:
    moving = replace(SMALL, scale_lps=(0.97, 1.0, 0.9), lesions=(Lesion("solid", (80.0, 5, -8), (12, 12, 12)),))
    two = [change_map(_scan(SMALL), _scan(moving), QUICK.change_map) for _ in range(2)]
    assert two[0].visit_ml == two[1].visit_ml
    assert np.array_equal(two[0].changes_kji, two[1].changes_kji)
    assert two[0].quality == two[1].quality
    assert two[0].quality.structure_correlation > 0.5  # scaled chests keep their vessels


def test_a_tilted_stack_is_laid_over_an_upright_one() -> None:
    shape = (SMALL.shape_kji[0], SMALL.shape_kji[1] + 20, SMALL.shape_kji[2])
    lesion = Lesion("solid", (-80.0, 5, -8), (20, 20, 20))
    tilt = replace(SMALL, direction_lps=tilted(12.0), shape_kji=shape, lesions=(lesion,))
    found = change_map(_scan(tilt), _scan(replace(SMALL, lesions=(lesion,))), QUICK.change_map)
    assert found.baseline_ml[_S, _S] == pytest.approx(_ellipsoid_ml((20, 20, 20)), rel=0.05)


def _flipped(scan: CtScan, tissue: TissueMap, axis: int) -> tuple[CtScan, TissueMap]:
    hu, labels = (np.ascontiguousarray(np.flip(array, axis)) for array in (scan.hu_kji, tissue.labels_kji))
    return _as_scan(hu, TissueMap(labels, tissue.grid))


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["head to feet", "front to back", "left to right"])
def test_a_flipped_visit_gives_no_map(axis: int) -> None:
    with pytest.raises(InputError, match="cannot be laid over") as refusal:
        change_map(_scan(SMALL), _flipped(*_scan(SMALL), axis), QUICK.change_map)
    assert refusal.value.code == "REGISTRATION_POOR"


def test_another_patients_vessels_give_no_map() -> None:
    with pytest.raises(InputError, match="vessels do not match"):
        change_map(_scan(SMALL), _scan(replace(SMALL, seed=5)), QUICK.change_map)


def test_a_visit_without_lungs_gives_no_map() -> None:
    scan, tissue = _scan(SMALL)
    empty = TissueMap(np.zeros_like(tissue.labels_kji), tissue.grid)
    with pytest.raises(InputError, match="no lung") as refusal:
        change_map((scan, tissue), (scan, empty), QUICK.change_map)
    assert refusal.value.code == "REGISTRATION_POOR"


def test_every_limit_can_refuse() -> None:
    quality = register(*((s.hu_kji, t) for s, t in (_scan(SMALL), _scan(SMALL))), QUICK.change_map).quality
    assert quality.shortcomings(QUICK.change_map) == ()
    assert quality.lung_dice > 0.99
    spoilt = {
        "lung_dice": 0.9,
        "lung_dice_before": 0.5,
        "surface_mm": 9.0,
        "implausible_share": 0.1,
        "structure_correlation": 0.1,
    }
    for name, value in spoilt.items():
        assert len(replace(quality, **{name: value}).shortcomings(QUICK.change_map)) == 1


def test_every_pair_of_tissues_has_one_code() -> None:
    assert set(CODES.values()) == set(Change)
    assert CODES[Tissue.SOLID, Tissue.AERATED] is Change.RESOLVED
    assert CODES[Tissue.AERATED, Tissue.OUTSIDE] is Change.UNMAPPED


def test_a_part_of_a_grid_stays_in_its_place() -> None:
    grid = Grid((20, 10, 10), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0), tilted(10.0))
    labels = np.zeros(grid.shape_kji, np.uint8)
    labels[8:12, 3:6, 4:7] = 1
    box = lung_box(TissueMap(labels, grid), margin_mm=2.0)
    assert box == (slice(7, 13), slice(1, 8), slice(2, 9))
    assert part_of(grid, box).origin_lps_mm == pytest.approx(tuple(grid.lps_mm(np.array([7.0, 1.0, 2.0]))))
    image = as_image(labels, grid)
    assert image.TransformIndexToPhysicalPoint((4, 3, 8)) == pytest.approx(
        tuple(grid.lps_mm(np.array([8.0, 3, 4])))
    )


def _delivered(folder: Path, spec: PhantomSpec, pixels_sha256: str | None = None) -> tuple[Path, Path]:
    """A scan folder, and what `deliver` leaves of a perfect result: the keys that are read, and the mask."""
    write_series(make_phantom(spec), folder / "scan")
    (folder / "result").mkdir()
    document = {"scan_id": folder.name, "status": "measured", "provenance": {"pixels_sha256": pixels_sha256}}
    (folder / "result" / "result.json").write_text(json.dumps(document))
    (folder / "result" / "mask.nii.gz").write_bytes(mask_bytes(truth_map(spec)))
    return folder / "scan", folder / "result"


def test_files(tmp_path: Path) -> None:
    spec = replace(SMALL, lesions=(Lesion("ground_glass", (-80.0, 5, -8), (18, 18, 18)),))
    now = replace(SMALL, scale_lps=(1.0, 1.0, 0.95), lesions=(Lesion("solid", (80.0, 5, -8), (16, 16, 16)),))
    baseline, visit = _delivered(tmp_path / "a", spec), _delivered(tmp_path / "b", now)
    out = tmp_path / "map"
    document = write_change_map(*baseline, *visit, out, QUICK)
    assert {p.name for p in out.iterdir()} == {
        "change_map.json",
        "change_map.nii.gz",
        "change_map.png",
        "transitions.csv",
    }
    assert json.loads((out / "change_map.json").read_text()) == document
    image, mask = nib.load(out / "change_map.nii.gz"), nib.load(baseline[1] / "mask.nii.gz")
    assert np.allclose(image.affine, mask.affine)
    assert image.shape == mask.shape
    assert document["summary_baseline_ml"]["resolved"] == pytest.approx(_ellipsoid_ml((18, 18, 18)), rel=0.05)
    assert (out / "change_map.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "transitions.csv").read_text().splitlines()[0] == "baseline,visit,change,baseline_ml,visit_ml"
    first = (out / "change_map.nii.gz").read_bytes()
    write_change_map(*baseline, *visit, out, QUICK)
    assert (out / "earlier" / "1" / "change_map.nii.gz").read_bytes() == first


def test_a_result_of_another_scan_is_refused(tmp_path: Path) -> None:
    good = _delivered(tmp_path / "a", SMALL)
    other = _delivered(tmp_path / "b", SMALL, pixels_sha256="0" * 64)
    with pytest.raises(InputError, match="visit's result was not made from this scan") as refusal:
        write_change_map(*good, *other, tmp_path / "map", QUICK)
    assert refusal.value.code == "RESULT_MISMATCH"
    (good[1] / "mask.nii.gz").unlink()
    with pytest.raises(InputError, match="baseline's mask") as refusal:
        write_change_map(*good, *other, tmp_path / "map", QUICK)
    assert refusal.value.code == "NO_MASK"
    assert list((tmp_path / "map").iterdir()) == []
