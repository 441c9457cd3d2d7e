"""The coarse look at the whole chest: grids there and back, on the scanner's own axes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stub_model import AllDiseased, dark_is_lung, stub
from torch import nn

from volumetry.config import load_config
from volumetry.domain import CtScan, Grid, SeriesInfo, Tissue, TissueMap
from volumetry.segment import network as network_module
from volumetry.segment import organs
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.organs import Chest, bodies_of_fat, bodies_outside, chest_of, leave_out, lung_space
from volumetry.segment.thorax import (
    ContextNetwork,
    Region,
    coarse_shape,
    region_probabilities,
    stride_of,
    two_windows,
)
from volumetry.segment.thresholds import Cuts
from volumetry.segment.weights import Model

STEP_MM = (5.0, 5.0, 5.0)


def test_the_coarse_grid_covers_the_scan_from_edge_to_edge() -> None:
    assert coarse_shape((150, 512, 512), (2.0, 0.7, 0.7), 5.0) == (60, 72, 72)
    assert coarse_shape((1, 3, 3), (1.0, 1.0, 1.0), 5.0) == (1, 1, 1)


def test_disease_may_lie_in_lung_and_no_further_than_a_coarse_voxel_from_it() -> None:
    """A ball of air of 30 mm on a grid of 2.0 x 1.5 x 1.4 mm: a dilation by one voxel adds one along each axis."""
    shape, spacing, radius_mm = (60, 90, 100), (2.0, 1.5, 1.4), 30.0
    centre = np.array([60.0, 67.5, 70.0])
    mm = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    distance = np.sqrt(((mm - centre[:, None, None, None]) ** 2).sum(0))
    hu = np.where(distance < radius_mm, -1000.0, 0.0).astype(np.float32)
    nearby = lung_space(hu, spacing, dark_is_lung()).nearby_kji
    assert nearby[distance < radius_mm].all()
    assert not nearby[distance > radius_mm + 2 * 5.0].any()
    # A neighbour along an axis adds 5 mm, one along a diagonal 5 mm / sqrt(3) in its direction.
    low_ml, high_ml = (4 / 3 * np.pi * (radius_mm + more) ** 3 / 1000 for more in (5 / np.sqrt(3), 5.0))
    assert low_ml < np.count_nonzero(nearby) * np.prod(spacing) / 1000 < high_ml


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


CUTS = Cuts(0.5, 0.5, 0.5)


def block() -> tuple[np.ndarray, np.ndarray]:
    """HU, air in the first half along i; and probabilities: lesion from the sixth column on, lung everywhere."""
    hu = np.zeros((10, 20, 20), np.float32)
    hu[:, :, :10] = -800
    probabilities = np.zeros((3, *hu.shape), np.float16)
    probabilities[0] = 1
    probabilities[1, :, :, 5:] = 1
    return hu, probabilities


def seen_by(probabilities: np.ndarray, hu: np.ndarray) -> Chest:
    return chest_of(probabilities, hu, STEP_MM, lung_space(hu, STEP_MM, dark_is_lung()), CUTS)


def test_what_is_called_disease_and_lies_in_no_lung_is_neither_disease_nor_lung() -> None:
    hu, probabilities = block()
    chest = seen_by(probabilities, hu)
    assert chest.context.agreement == 1.0
    # Lesion in ten columns that are no lung, of which the first is within a voxel of the coarse grid.
    assert chest.context.lesion_in_organs_ml == pytest.approx(10 * 20 * 9 * 0.125)
    assert chest.context.doubtful_ml == chest.context.lesion_in_organs_ml  # it adjoins what stays
    before = probabilities.copy()
    leave_out(probabilities, chest, CUTS)
    assert (probabilities[..., :11] == before[..., :11]).all()
    assert not probabilities[:2, ..., 11:].any()


def test_a_body_goes_as_a_whole_if_it_is_no_lung_and_large_enough() -> None:
    """Three bodies: in lung; in an organ, with its rim; and a small one in an organ, which stays."""
    called, probability = np.zeros((10, 10, 40), bool), np.zeros((10, 10, 40), np.float32)
    called[:, :, :10] = called[:, :, 15:25] = called[:2, :2, 30:34] = True
    probability[:, :, :10], probability[:, :, 24] = 0.4, 0.9
    expected = np.zeros_like(called)
    expected[:, :, 15:25] = True  # one column of ten at 0.9: a mean of 0.09
    np.testing.assert_array_equal(bodies_outside(called, probability, 0.05), expected)
    probability[:, :, 24] = 1.0
    probability[:, :, 23] = 0.1
    assert not bodies_outside(called, probability, 0.05).any()


def test_a_body_apart_is_no_doubt_unless_it_is_as_large_as_a_lobe() -> None:
    """Lung, 10 x 20 x 10 voxels of 0.125 mL, and beside it a body of 2 x 10 x 7 or of 10 x 20 x 7 voxels."""
    for rows, columns, doubtful in ((slice(2), slice(10), False), (slice(None), slice(None), True)):
        hu, probabilities = block()
        probabilities[1] = 0
        probabilities[1, rows, columns, 13:] = 1
        ml = np.count_nonzero(probabilities[1]) * 0.125
        assert bool(ml >= 100) is doubtful
        context = chest_of(probabilities, hu, STEP_MM, lung_space(hu, STEP_MM, dark_is_lung()), CUTS).context
        assert context.lesion_in_organs_ml == pytest.approx(ml)
        assert context.doubtful_ml == pytest.approx(ml if doubtful else 0.0)


def test_fat_is_not_solid() -> None:
    """Fat; thin fat, mixed with lung; consolidation, whose border has the density of fat; fat with a vessel in it;
    and a speck of fat."""
    solid, hu = np.zeros((12, 12, 61), bool), np.full((12, 12, 61), -900, np.float32)
    fat, disease, with_vessel = (np.s_[1:11, 1:11, first : first + 10] for first in (1, 15, 30))
    for box in (fat, disease, with_vessel):
        solid[box], hu[box] = True, -100
    hu[3:9, 3:9, 17:23] = 30
    hu[1:11, 1:11, 33:35] = 40  # a fifth of the body
    speck = np.s_[5:7, 5:7, 45:49]
    solid[speck], hu[speck] = True, -100
    mixed = np.s_[1:11, 1:11, 50:60]  # means over 3 voxels are those of fat in 6 x 8 x 8 of 1000
    solid[mixed], hu[mixed], hu[1:11, 1:11, 51:59] = True, -250, -100
    expected = np.zeros_like(solid)
    expected[fat] = expected[mixed] = True
    np.testing.assert_array_equal(bodies_of_fat(solid, hu, 0.05), expected)


def test_lung_that_no_lesion_is_called_stays_where_the_chest_sees_none() -> None:
    hu, probabilities = block()
    probabilities[1] = 0.4
    everywhere = replace(seen_by(probabilities, hu), elsewhere_kji=np.ones(hu.shape, bool))
    leave_out(probabilities, everywhere, CUTS)
    assert (probabilities[0] == 1).all()
    assert not probabilities[1].any()


def test_agreement_is_the_share_of_aerated_lung_that_the_chest_shows_too() -> None:
    """Lung everywhere, without disease: at -800 HU the chest's network knows it, at -610 HU it is made not to."""
    hu, probabilities = block()
    probabilities[1] = 0
    dark = np.full_like(hu, -800)
    assert (
        chest_of(probabilities, dark, STEP_MM, lung_space(dark, STEP_MM, dark_is_lung()), CUTS).context.agreement
        == 1.0
    )
    strict = dark_is_lung(below_hu=-700)
    half = np.where(np.arange(20) < 10, -800, -610) + np.zeros_like(hu)
    seen = chest_of(probabilities, half, STEP_MM, lung_space(half, STEP_MM, strict), CUTS)
    assert seen.context.agreement == pytest.approx(11 / 20)  # ten columns, and one within a voxel
    assert seen.context.lesion_in_organs_ml == 0.0


BLOCK = Grid((20, 60, 80), (5.0, 2.8, 2.8))


def segmented_block(monkeypatch: pytest.MonkeyPatch, model: Model, wanted: float) -> TissueMap:
    """A block whose middle is air; the chest's network agrees with 0.95 of the lung, heard from `wanted` on."""
    for name in ("verify_probe", "verify_context_probe"):
        monkeypatch.setattr(network_module, name, lambda model, device: 0.0)
    monkeypatch.setattr(organs, "AERATED_HU", (-2000.0, -600.0))
    monkeypatch.setattr(
        network_module,
        "chest_of",
        lambda *given: replace(chest_of(*given), context=replace(chest_of(*given).context, agreement=0.95)),
    )
    hu = np.zeros(BLOCK.shape_kji, np.float32)
    hu[:, :, 20:60] = -1000
    settings = load_config(
        overrides={"segment": {"device": "cpu", "precision": "fp32", "context_agreement": wanted}}
    )
    scan = CtScan(hu, BLOCK, SeriesInfo("1.2", BLOCK.shape_kji[0], BLOCK.spacing_kji_mm))
    return NetworkSegmenter(model, settings.segment)(scan)


@pytest.mark.parametrize(("wanted", "heard"), [(0.9, True), (0.99, False)])
def test_the_segmenter_hears_the_chest_where_it_knows_the_lung(
    monkeypatch: pytest.MonkeyPatch, wanted: float, heard: bool
) -> None:
    """The middle of a block is air. Only if it is heard, the chest's network takes away what it states, in mL."""
    model = replace(stub(AllDiseased()), context=dark_is_lung())
    found, grid = segmented_block(monkeypatch, model, wanted), BLOCK
    taken_ml = np.count_nonzero(found.labels_kji == Tissue.OUTSIDE) * grid.voxel_ml
    assert found.context.lesion_in_organs_ml > 0
    assert found.dropped_ml == ({"lesion_in_organs_ml": found.context.lesion_in_organs_ml} if heard else {})
    assert taken_ml == pytest.approx(found.dropped_ml.get("lesion_in_organs_ml", 0.0), rel=0.02)
    # Lung is 40 of 80 columns of 2.8 mm, and one coarse voxel of some 5 mm on either side: 2 columns.
    assert taken_ml == pytest.approx(20 * 60 * 36 * grid.voxel_ml if heard else 0.0, rel=0.03)


class BrighterIsDisease(nn.Module):
    """All is lung; disease has a probability of 0.1 at -850 HU and of 0.7 at -700 HU of the lung window."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = ((((hu + 1050) / 1250) - 0.35) / 0.25 for hu in (-850, -700))
        rise = (math.log(7 / 3) + math.log(9)) / (high - low)
        logits = torch.full((len(x), 3, *x.shape[2:]), 9.0)
        logits[:, 1] = torch.where(x[:, 0] < 0, rise * (x[:, 0] - low) - math.log(9), -9.0)  # not in the wall
        return logits


@pytest.mark.parametrize("wanted", [None, 0.9, 0.99], ids=["no chest", "heard", "not heard"])
@pytest.mark.parametrize(("deviation_mm", "called"), [(0.0, True), (1.5, False)])
def test_a_slab_of_one_slice_that_the_network_is_unsure_of_is_averaged_away(
    monkeypatch: pytest.MonkeyPatch, wanted: float | None, deviation_mm: float, called: bool
) -> None:
    """By weights of 0.55 and twice 0.23, 0.7 between two of 0.1 becomes 0.43."""
    for name in ("verify_probe", "verify_context_probe"):
        monkeypatch.setattr(network_module, name, lambda model, device: 0.0)
    monkeypatch.setattr(
        network_module,
        "chest_of",
        lambda *given: replace(chest_of(*given), context=replace(chest_of(*given).context, agreement=0.95)),
    )
    grid = Grid((20, 60, 80), (2.0, 1.4, 1.4))
    hu = np.zeros(grid.shape_kji, np.float32)
    hu[:, 10:50, 20:60] = -850
    hu[10, 10:50, 20:60] = -700
    model = stub(BrighterIsDisease(), inputs=("window", "space"))
    model = replace(model, context=dark_is_lung() if wanted else None)
    own = {"context_agreement": wanted or 0.9, "smooth_between_slices_mm": deviation_mm}
    settings = load_config(overrides={"segment": {"device": "cpu", "precision": "fp32", **own}}).segment
    found = NetworkSegmenter(model, settings)(CtScan(hu, grid, SeriesInfo("1.2", 20, grid.spacing_kji_mm)))
    inner = found.labels_kji[:, 20:40, 30:50]
    assert (inner[10] > Tissue.AERATED).all() == called
    assert (np.delete(inner, 10, axis=0) == Tissue.AERATED).all()


def test_the_chest_is_looked_at_on_one_core_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last bits would differ with the number of cores, and the slices see them."""
    cores, before = [], torch.get_num_threads()

    def looked(*given: object) -> np.ndarray:
        cores.append(torch.get_num_threads())
        return region_probabilities(*given)

    monkeypatch.setattr(organs, "region_probabilities", looked)
    torch.set_num_threads(2)
    try:
        segmented_block(monkeypatch, replace(stub(AllDiseased()), context=dark_is_lung()), 0.9)
        assert cores == [1]
        assert torch.get_num_threads() == 2, "the caller's torch is left as it was"
    finally:
        torch.set_num_threads(before)


class SpaceIsDisease(nn.Module):
    """All is lung; disease is where the chest's network sees lung, and everywhere if it says nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(x), 3, *x.shape[2:]), 9.0)
        logits[:, 1] = torch.where(x[:, 1] >= 0, 9.0, -9.0)
        return logits


@pytest.mark.parametrize(("wanted", "heard"), [(0.9, True), (0.99, False)])
def test_a_network_of_the_chest_that_is_not_heard_misleads_no_slice(
    monkeypatch: pytest.MonkeyPatch, wanted: float, heard: bool
) -> None:
    """The middle of a block is air. Without an answer of the chest network that counts, all is looked at anew."""
    model = replace(stub(SpaceIsDisease(), inputs=("window", "space")), context=dark_is_lung())
    found, grid = segmented_block(monkeypatch, model, wanted), BLOCK
    diseased_ml = np.count_nonzero(found.labels_kji > Tissue.AERATED) * grid.voxel_ml
    whole_ml = 20 * 60 * 80 * grid.voxel_ml
    assert diseased_ml == pytest.approx(whole_ml / 2 if heard else whole_ml, rel=0.06)


def test_a_few_slices_are_no_chest() -> None:
    hu, _ = block()
    assert lung_space(hu, (2.9, 5.0, 5.0), dark_is_lung()) is None
    assert lung_space(hu, (3.0, 5.0, 5.0), dark_is_lung()) is not None
