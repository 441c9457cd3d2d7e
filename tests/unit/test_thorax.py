"""The coarse look at the whole chest: grids there and back, on the scanner's own axes."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from volumetry.domain import CtScan, Grid, SegmenterFacts, SeriesInfo, Tissue, TissueMap
from volumetry.errors import ModelError
from volumetry.segment.thorax import (
    ContextNetwork,
    Region,
    coarse_hu,
    coarse_shape,
    region_probabilities,
    stride_of,
    thorax_context,
    two_windows,
)
from volumetry.segment.thorax_segmenter import ContextSegmenter, load_with_context
from volumetry.segment.thorax_weights import ContextCard, ContextModel
from volumetry.storage.shipped import shipped
from volumetry.training.thorax.judge import outside_of_lung


def scan_of(hu_kji: np.ndarray, grid: Grid) -> CtScan:
    return CtScan(hu_kji.astype(np.float32), grid, SeriesInfo("1.2", grid.shape_kji[0], grid.spacing_kji_mm))


class DarkIsLung(nn.Module):
    """Lung where a voxel is darker than -500 HU, half-way from air to water, else body."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.full((x.shape[0], len(Region), *x.shape[2:]), -20.0)
        denser = 20 * (x[:, 0] - (-500 + 600) / 500)
        logits[:, Region.LUNG], logits[:, Region.BODY] = -denser, denser
        return logits


def test_the_coarse_grid_covers_the_scan_from_edge_to_edge() -> None:
    assert coarse_shape((150, 512, 512), (2.0, 0.7, 0.7), 5.0) == (60, 72, 72)
    assert coarse_shape((1, 3, 3), (1.0, 1.0, 1.0), 5.0) == (1, 1, 1)


def test_coarse_hu_is_linear_in_place_and_keeps_the_mean() -> None:
    k, j, i = np.meshgrid(np.arange(20), np.arange(30), np.arange(40), indexing="ij")
    scan = scan_of(3.0 * k - 2.0 * j + 5.0 * i, Grid((20, 30, 40), (2.5, 1.0, 1.0)))
    coarse = coarse_hu(scan, 5.0)
    assert coarse.shape == (10, 6, 8)
    # Centres of a grid twice and five times as coarse lie at 0.5 + 2 n and 2 + 5 n of the finer one.
    kk, jj, ii = np.meshgrid(0.5 + 2 * np.arange(10), 2 + 5 * np.arange(6), 2 + 5 * np.arange(8), indexing="ij")
    inner = (slice(1, -1),) * 3
    assert coarse[inner] == pytest.approx((3.0 * kk - 2.0 * jj + 5.0 * ii)[inner], abs=0.01)
    assert coarse.mean() == pytest.approx(scan.hu_kji.mean(), abs=0.5)


def test_labels_come_back_on_a_grid_of_any_direction() -> None:
    """A ball of air off the centre, in each orientation: within 3 % of 4/3 pi r3, and in its place."""
    shape, spacing, radius_mm = (60, 90, 100), (2.0, 1.5, 1.4), 30.0
    centre = np.array([45.0, 60.0, 90.0])
    mm = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    ball = ((mm - centre[:, None, None, None]) ** 2).sum(0) < radius_mm**2
    hu = np.where(ball, -1000.0, 0.0)
    upright = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    upside_down = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
    coronal = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
    for direction in (upright, upside_down, coronal):
        grid = Grid(shape, spacing, direction_lps=direction)
        found = thorax_context(scan_of(hu, grid), DarkIsLung(), 5.0, 1)
        lung = found == Region.LUNG
        assert set(np.unique(found)) == {Region.BODY, Region.LUNG}
        assert lung.sum() * grid.voxel_ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.03)
        place = np.array(ndimage.center_of_mass(lung)) * spacing + 0.5 * np.array(spacing)
        assert place == pytest.approx(centre, abs=0.5)


def test_what_is_put_around_a_scan_for_the_strides_is_cut_off_again() -> None:
    torch.manual_seed(0)
    channels = (4, 4, 6, 8)
    network = ContextNetwork(channels).eval()
    found = region_probabilities(network, np.zeros((9, 11, 5), np.float32), stride_of(channels))
    assert stride_of(channels) == 4
    assert found.shape == (len(Region), 9, 11, 5)
    assert found.sum(axis=0) == pytest.approx(np.ones((9, 11, 5)), abs=1e-5)


def test_the_windows_show_lung_and_soft_tissue_apart() -> None:
    hu = torch.tensor([-1100.0, -600.0, -100.0, 20.0, 110.0, 3000.0]).reshape(1, 1, 6)
    lung, soft = two_windows(hu)[:, 0, 0]
    assert lung.tolist() == pytest.approx([-1.0, 0.0, 1.0, 1.24, 1.42, 1.5])
    assert soft.tolist() == pytest.approx([-1.0, -1.0, -120 / 180, 0.0, 0.5, 1.5])


def test_a_lesion_deep_in_an_organ_lies_outside_and_one_at_the_rim_does_not() -> None:
    """Lung is the lower half of a block in i: what lies within 5 mm of it stays, as mL say."""
    grid = Grid((20, 20, 60), (5.0, 5.0, 1.0))
    hu = np.full(grid.shape_kji, 0.0)
    hu[:, :, :30] = -1000
    labels = np.zeros(grid.shape_kji, np.uint8)
    labels[:, :, :30] = Tissue.AERATED
    labels[:, :, 30:35] = Tissue.GROUND_GLASS
    labels[:, :, 35:45] = Tissue.SOLID
    found = outside_of_lung(scan_of(hu, grid), labels, DarkIsLung(), 5.0, 1)
    column_ml = 20 * 20 * grid.voxel_ml
    as_drawn = {"aerated": 30 * column_ml, "ground_glass": 5 * column_ml, "solid": 10 * column_ml}
    assert found.ml == pytest.approx(as_drawn)
    assert found.outside_ml == pytest.approx({"aerated": 0, "ground_glass": 0, "solid": 10 * column_ml})
    assert found.lesion_by_region_ml["body"] == pytest.approx(10 * column_ml)


class Painter:
    """A segmenter that calls the front of every slice aerated, the middle hazy and the back solid."""

    facts = SegmenterFacts("painter", "1.0", "a" * 64)

    def __call__(self, scan: CtScan, /) -> TissueMap:
        labels = np.zeros(scan.grid.shape_kji, np.uint8)
        labels[:, :20], labels[:, 20:40], labels[:, 40:] = Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID
        return TissueMap(labels, scan.grid)


def test_disease_outside_of_lung_is_outside_and_all_else_stays() -> None:
    card = ContextCard.model_validate(
        {
            "name": "thorax3d",
            "version": "0.1.0",
            "architecture": {
                "name": "monai-unet-3d",
                "channels": [4, 4, 4, 4],
                "outputs": [region.name.lower() for region in Region],
                "coarse_mm": 5.0,
            },
            **{name: {"file": "f", "sha256": "0" * 64} for name in ("weights", "probe_input", "probe_output")},
            "training_cases": [],
            "held_out_cases": [],
        }
    )
    grid = Grid((10, 60, 60), (5.0, 5.0, 5.0))
    hu = np.full(grid.shape_kji, 0.0)
    hu[:, :, :30] = -1000
    painter, scan = Painter(), scan_of(hu, grid)
    two_looks = ContextSegmenter(painter, ContextModel(DarkIsLung(), card))
    before, after = painter(scan).labels_kji, two_looks(scan).labels_kji
    assert np.array_equal(after[:, :20], before[:, :20])
    assert np.array_equal(after[:, 20:, :31], before[:, 20:, :31])  # lung, and one voxel of 5 mm beside it
    assert not after[:, 20:, 31:].any()
    assert two_looks.facts.version == "1.0+thorax3d-0.1.0"
    assert two_looks.facts.sha256 not in (None, painter.facts.sha256, card.sha256)


def test_without_a_model_of_the_chest_two_looks_are_refused() -> None:
    if list(shipped("models").glob("thorax3d-*")):
        pytest.skip("a model of the chest is installed")
    with pytest.raises(ModelError, match="no model of the whole chest"):
        load_with_context()
