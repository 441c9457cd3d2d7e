"""The network as a segmenter: geometry, thresholds, settings. Stubs stand in for learned weights."""

import math
import threading
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from stub_model import stub
from torch import nn

from volumetry.config import load_config
from volumetry.domain import SHARES, CtScan, Grid, SeriesInfo, Tissue
from volumetry.errors import ModelError
from volumetry.segment import network as network_module
from volumetry.segment.card import CardCalibration
from volumetry.segment.network import OUTPUTS, NetworkSegmenter, chosen_precision, load_segmenter
from volumetry.segment.preprocess import pictures_of
from volumetry.segment.thresholds import Cuts, labelled
from volumetry.segment.uncertainty import class_counts, spread_points, threshold_counts
from volumetry.segment.weights import Model
from volumetry.training.drawn_thorax import drawn_thorax
from volumetry.training.samples import Truth
from volumetry.training.synthesis import Lesions, with_lesions

SETTINGS = load_config(overrides={"segment": {"device": "cpu", "batch_slices": 3, "precision": "fp32"}}).segment


class BackThirdIsLung(nn.Module):
    """Says lung where the row is in the back third of the picture, ground glass in the left half of that."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = torch.arange(x.shape[2])[:, None].expand(x.shape[2:]) + 0.5
        column = torch.arange(x.shape[3])[None].expand(x.shape[2:]) + 0.5
        lung = row - self.rows * 2 / 3
        lesion = torch.minimum(lung, column - self.columns / 2)
        return torch.stack([lung, lesion, torch.full_like(lung, -9)])[None].expand(len(x), -1, -1, -1)


@pytest.fixture(autouse=True)
def _stubs_have_no_probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "shipped" not in request.node.name:
        monkeypatch.setattr(network_module, "verify_probe", lambda model, device: 0.0)


def scan_of(shape, spacing, directions=((0, 0, 1), (0, 1, 0), (1, 0, 0)), no_data=None) -> CtScan:
    hu = np.random.default_rng(0).normal(-500, 300, shape).astype(np.float32)
    return CtScan(
        hu, Grid(shape, spacing, direction_lps=directions), SeriesInfo("1", shape[0], spacing), (), no_data
    )


TILT = (0.0, math.sin(0.3), math.cos(0.3))


@pytest.mark.parametrize(
    ("shape", "spacing", "directions", "back", "left"),
    [
        ((7, 60, 72), (2.0, 0.7, 0.7), ((0, 0, 1), (0, 1, 0), (1, 0, 0)), (1, False), (2, False)),
        ((12, 60, 72), (1.0, 0.7, 0.7), ((0, 0, -1), (0, -1, 0), (-1, 0, 0)), (1, True), (2, True)),
        ((60, 14, 72), (0.7, 2.0, 0.7), ((0, 1, 0), (0, 0, -1), (1, 0, 0)), (0, False), (2, False)),
        ((7, 60, 72), (5.0, 0.7, 0.7), (TILT, (0, 1, 0), (1, 0, 0)), (1, False), (2, False)),
    ],
    ids=["axial", "feet first, prone, thin", "coronal", "tilted"],
)
def test_the_mask_lies_where_the_network_put_it(shape, spacing, directions, back, left) -> None:
    """Whatever the orientation and spacing: the back third of the scan is lung, its left half diseased."""
    segmenter = NetworkSegmenter(stub(BackThirdIsLung(30, 36)), SETTINGS)
    labels = segmenter(scan_of(shape, spacing, directions)).labels_kji
    index = np.indices(shape)

    def share(axis: int, flipped: bool) -> np.ndarray:
        along = (index[axis] + 0.5) / shape[axis]
        return 1 - along if flipped else along

    expected = np.where(share(*back) > 2 / 3, np.where(share(*left) > 0.5, 2, 1), 0)
    np.testing.assert_array_equal(labels, expected)


def test_labels_follow_the_thresholds() -> None:
    lung = [0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.5, 0.49]
    lesion = [0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.49, 0.5]
    solid = [0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.5, 0.5]
    expected = [0, 1, 2, 2, 3, 1, 1, 3]
    found = labelled(np.array([[lung], [lesion], [solid]], np.float32), Cuts(0.5, 0.5, 0.5))
    np.testing.assert_array_equal(found, [expected])
    stricter = Cuts(0.5, 0.95, 0.5)
    assert labelled(np.array([[lung], [lesion], [solid]], np.float32), stricter).max() == Tissue.AERATED


class AllAlike(nn.Module):
    """Sure of lung everywhere, with one probability of lesion, and one of solid."""

    def __init__(self, lesion: float, solid: float = 1e-4) -> None:
        super().__init__()
        self.logits = [math.log(p / (1 - p)) for p in (0.9999, lesion, solid)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full((len(x), 1, *x.shape[2:]), logit) for logit in self.logits], 1)


@pytest.mark.parametrize(
    ("setting", "in_scan", "in_slice"),
    [
        ("model", Tissue.AERATED, Tissue.GROUND_GLASS),
        (0.57, *[Tissue.GROUND_GLASS] * 2),
        (0.63, *[Tissue.AERATED] * 2),
    ],
)
def test_a_lesion_begins_where_the_card_says_for_what_is_looked_at_or_where_the_user_says(
    setting: str | float, in_scan: Tissue, in_slice: Tissue
) -> None:
    """A probability of 0.6 is a lesion in slices, which the card cuts at 0.55, and none in scans, cut at 0.65."""
    model = stub(AllAlike(0.6))
    calibration = CardCalibration(
        temperature=dict.fromkeys(OUTPUTS, 1.0), lesion_probability={"scans": 0.65, "slices": 0.55}, level=0.95,
        floor_points=0.0, reference=dict.fromkeys(SHARES, 0.0), widening=dict.fromkeys(SHARES, 1.0),
    )  # fmt: skip
    model = replace(model, card=model.card.model_copy(update={"calibration": calibration}))
    segmenter = NetworkSegmenter(model, SETTINGS.model_copy(update={"lesion_probability": setting}))
    assert np.unique(segmenter(scan_of((3, 60, 72), (2.0, 0.7, 0.7))).labels_kji) == [in_scan]
    assert np.unique(segmenter.slices([np.zeros((64, 64), np.uint8)])[0]) == [in_slice]


@pytest.mark.parametrize(
    ("setting", "in_scan", "in_slice"),
    [
        ("model", Tissue.GROUND_GLASS, Tissue.SOLID),
        (0.3, *[Tissue.SOLID] * 2),
        (0.5, *[Tissue.GROUND_GLASS] * 2),
    ],
)
def test_a_lesion_is_solid_where_the_card_says_for_slices_or_where_the_user_says(
    setting: str | float, in_scan: Tissue, in_slice: Tissue
) -> None:
    """A probability of 0.4 is solid in slices, which the card cuts at 0.35; of scans it says nothing: 0.5."""
    calibration = CardCalibration(
        temperature=dict.fromkeys(OUTPUTS, 1.0), solid_probability={"slices": 0.35}, level=0.95,
        floor_points=0.0, reference=dict.fromkeys(SHARES, 0.0), widening=dict.fromkeys(SHARES, 1.0),
    )  # fmt: skip
    model = stub(AllAlike(0.9, 0.4))
    model = replace(model, card=model.card.model_copy(update={"calibration": calibration}))
    segmenter = NetworkSegmenter(model, SETTINGS.model_copy(update={"solid_probability": setting}))
    assert np.unique(segmenter(scan_of((3, 60, 72), (2.0, 0.7, 0.7))).labels_kji) == [in_scan]
    assert np.unique(segmenter.slices([np.zeros((64, 64), np.uint8)])[0]) == [in_slice]


def test_a_card_that_fitted_no_cut_has_an_even_one() -> None:
    segmenter = NetworkSegmenter(stub(AllAlike(0.6)), SETTINGS)
    assert set(segmenter.cuts.values()) == {Cuts(0.5, 0.5, 0.5)}


def test_voxels_without_data_are_outside() -> None:
    no_data = np.zeros((4, 60, 72), bool)
    no_data[:, 50:, :10] = True
    segmenter = NetworkSegmenter(stub(BackThirdIsLung(30, 36)), SETTINGS)
    labels = segmenter(scan_of((4, 60, 72), (2.0, 0.7, 0.7), no_data=no_data)).labels_kji
    assert not labels[no_data].any()
    assert labels[:, 50:, 10:].all()


def test_the_network_sees_the_body_and_says_of_it_what_it_says_of_the_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that strides, and air around: fewer pixels, the same labels at their own place."""
    hu = scan_of((4, 60, 72), (2.0, 1.4, 1.4)).hu_kji
    wide = np.pad(hu, ((0, 0), (100, 60), (81, 47)), constant_values=-1024)
    around = CtScan(wide, Grid(wide.shape, (2.0, 1.4, 1.4)), SeriesInfo("1", 4, (2.0, 1.4, 1.4)))
    shapes = []

    class Coarse(nn.Module):
        """Says one thing of each block of 16 pixels: on another phase there are other blocks."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(batch.shape[2:]))
            found = nn.functional.interpolate(nn.functional.avg_pool2d(batch[:, -1:], 16), scale_factor=16)[:, 0]
            return torch.stack([found + 0.5, found, found - 9], dim=1)

    segmenter = NetworkSegmenter(stub(Coarse()), SETTINGS)
    boxed = segmenter(around).labels_kji
    assert all(rows <= 96 and columns <= 112 for rows, columns in shapes), shapes
    monkeypatch.setattr(network_module, "body_box", lambda hu, step: (slice(0, 220), slice(0, 200)))
    whole = segmenter(around).labels_kji
    assert len(np.unique(whole[:, 100:160, 81:153])) > 1
    np.testing.assert_array_equal(boxed[:, 100:160, 81:153], whole[:, 100:160, 81:153])
    assert not boxed[:, :90].any()
    assert not boxed[:, :, 165:].any()


class Uneven(nn.Module):
    """Grey and column decide: a mirror, and another HU, give other answers."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        grey = batch[:, -1]
        across = torch.linspace(-1.5, 1.5, batch.shape[3]).expand_as(grey)
        return torch.stack([grey + 2.5, grey + across - 0.3, grey - across - 0.5], dim=1)


def test_doubt_is_what_moves_when_the_slices_are_seen_otherwise() -> None:
    """Written out once more from whole planes.

    Thresholds on every slice; a mirror and HU on a sample of three. No slice is averaged with those beside it.
    """
    moves = load_config().interval.model_copy(update={"slices": 3, "hu_offset": 60.0})
    calibration = CardCalibration(
        temperature=dict.fromkeys(OUTPUTS, 1.0),
        level=0.95,
        reference=dict.fromkeys(SHARES, 0.1),
        floor_points=0.0,
        undecided=0.75,
        widening=dict.fromkeys(SHARES, 2.0),
    )
    made = stub(Uneven())
    both = made.card.input.model_copy(update={"inputs": ("enhanced", "window")})
    card = made.card.model_copy(update={"calibration": calibration, "input": both})
    segmenter = NetworkSegmenter(Model(made.network, card, made.folder), SETTINGS, interval=moves)
    scan = scan_of((40, 64, 80), (2.0, 1.4, 1.4))
    scan.hu_kji[...] += np.linspace(-200, 200, 80, dtype=np.float32)
    doubt = segmenter(scan).doubt

    def seen(numbers: Iterable[int], offset: float = 0.0, mirrored: bool = False) -> np.ndarray:
        pictures = [pictures_of(scan.hu_kji[k] + np.float32(offset), segmenter.recipe) for k in numbers]
        return segmenter.probabilities(pictures, mirrored).transpose(1, 0, 2, 3)

    sample = (6, 20, 33)  # the middles of three thirds of forty slices
    counts = threshold_counts(seen(range(40)), Cuts(0.5, 0.5, 0.5), moves.threshold_step)
    for name, again in (
        ("base", seen(sample)),
        ("mirrored", seen(sample, mirrored=True)),
        ("hu low", seen(sample, -60.0)),
        ("hu high", seen(sample, 60.0)),
    ):
        counts[name] = class_counts(again, Cuts(0.5, 0.5, 0.5))
    expected = spread_points(counts)
    assert doubt is not None
    assert doubt.widening == calibration.widening
    assert doubt.undecided_weight == 0.75
    beside = math.exp(-0.5 * (2.0 / SETTINGS.smooth_between_slices_mm) ** 2)
    averaged = np.array([beside, 1, beside]) / (1 + 2 * beside)
    lung, lesion, _ = ndimage.correlate1d(seen(range(40)), averaged, axis=1, mode="nearest")
    aerated = (lung >= 0.5) & (lesion < 0.5)
    share = 100 * np.count_nonzero(aerated & (lesion >= 0.05)) / np.count_nonzero((lung >= 0.5) | (lesion >= 0.5))
    assert doubt.undecided_percent == pytest.approx(share, abs=0.1)
    assert share > 5, "all is decided, nothing is tested"
    for part, points in expected.items():
        assert doubt.points[part] == pytest.approx(points, abs=0.05), part
        assert max(points.values()) > 0.5, f"{part}: nothing moves, nothing is tested"


def test_what_goes_wrong_in_the_interval_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: NetworkSegmenter, *_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(NetworkSegmenter, "_doubt", broken)
    with pytest.raises(RuntimeError, match="broken"):
        NetworkSegmenter(stub(BackThirdIsLung(30, 36)), SETTINGS)(scan_of((4, 60, 72), (2.0, 0.7, 0.7)))


def test_batches_change_nothing_and_progress_counts_every_slice() -> None:
    scan = scan_of((7, 60, 72), (2.0, 0.7, 0.7))
    seen: list[tuple[int, int]] = []
    torch.manual_seed(0)
    from volumetry.segment.weights import build_network

    model = stub(build_network("monai-unet-2d", 1, (4, 8), 1, 3).eval())
    one = SETTINGS.model_copy(update={"batch_slices": 1})
    together = NetworkSegmenter(model, SETTINGS, lambda done, of: seen.append((done, of)))(scan)
    alone = NetworkSegmenter(model, one)(scan)
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert np.mean(together.labels_kji != alone.labels_kji) < 1e-4


def test_batches_are_computed_beside_each_other_on_one_core_each() -> None:
    """Each of two batches waits until the other is in the network, too."""
    both = threading.Barrier(2)
    cores: list[int] = []

    class Meets(BackThirdIsLung):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 1:  # not of the probe
                cores.append(torch.get_num_threads())
                both.wait(60)
            return super().forward(batch)

    hu = np.full((6, 32, 32), -800, np.float32)
    scan = CtScan(hu, Grid(hu.shape, (5.0, 1.4, 1.4)), SeriesInfo("1", 6, (5.0, 1.4, 1.4)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        NetworkSegmenter(stub(Meets(32, 32)), SETTINGS)(scan)
        assert cores == [1, 1]
        assert torch.get_num_threads() == 2, "the caller's torch is left as it was"
    finally:
        torch.set_num_threads(before)


def test_the_size_of_a_batch_depends_on_the_device_unless_it_is_set() -> None:
    model = stub(BackThirdIsLung(30, 36))
    assert NetworkSegmenter(model, SETTINGS.model_copy(update={"batch_slices": "auto"})).batch_slices == 4
    assert NetworkSegmenter(model, SETTINGS).batch_slices == 3


def test_ready_made_slices_come_back_at_their_own_size() -> None:
    segmenter = NetworkSegmenter(stub(BackThirdIsLung(320, 320)), SETTINGS)
    labels = segmenter.slices([np.zeros((640, 640), np.uint8), np.zeros((320, 320), np.uint8)])
    assert [found.shape for found in labels] == [(640, 640), (320, 320)]
    assert [np.count_nonzero(found) / found.size for found in labels] == pytest.approx([1 / 3] * 2, abs=0.002)


def test_facts_name_weights_device_and_precision() -> None:
    model = stub(BackThirdIsLung(1, 1))
    facts = NetworkSegmenter(model, SETTINGS).facts
    assert (facts.name, facts.version, facts.sha256) == ("stub", "1", model.card.sha256)
    assert (facts.device, facts.precision) == ("cpu", "fp32")


def test_the_digest_follows_everything_that_decides_a_number_and_nothing_else() -> None:
    card = stub(BackThirdIsLung(1, 1)).card
    shares = ("lesion", "ground_glass", "solid")
    warm = CardCalibration(
        temperature=dict.fromkeys(OUTPUTS, 2.0), level=0.95, floor_points=0.1,
        reference=dict.fromkeys(shares, 0.1), widening=dict.fromkeys(shares, 1.0),
    )  # fmt: skip
    changes = (
        {"weights": card.weights.model_copy(update={"sha256": "1" * 64})},
        {"input": card.input.model_copy(update={"window_high": 150.0})},
        {"calibration": warm},
        {"calibration": warm.model_copy(update={"temperature": dict.fromkeys(OUTPUTS, 2.1)})},
        {"calibration": warm.model_copy(update={"lesion_probability": {"scans": 0.6}})},
        {"calibration": warm.model_copy(update={"undecided": 0.5})},
    )
    digests = {card.sha256, *(card.model_copy(update=change).sha256 for change in changes)}
    assert len(digests) == 1 + len(changes)
    assert card.model_copy(update={"story": {"remark": "other words"}}).sha256 == card.sha256


def test_bf16_is_chosen_where_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [chosen_precision(wanted, "cpu") for wanted in ("fp32", "bf16")] == ["fp32", "bf16"]
    for able, expected in (
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx2": True}, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able, raising=False)
        assert chosen_precision("auto", "cpu") == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert chosen_precision("auto", "cpu") == "fp32", "a torch that does not tell"


def test_a_device_that_is_not_there_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no CUDA device") as stop:
        NetworkSegmenter(stub(BackThirdIsLung(1, 1)), SETTINGS.model_copy(update={"device": "cuda"}))
    assert stop.value.exit_code == 5


def test_a_model_with_other_outputs_stops_it() -> None:
    with pytest.raises(ModelError, match="outputs"):
        NetworkSegmenter(stub(BackThirdIsLung(1, 1), outputs=("lung",)), SETTINGS)


def test_the_shipped_model_gives_the_same_answer_twice_and_nearly_the_same_shares_in_bf16() -> None:
    """A drawn thorax with ground glass and consolidation in a quarter of its lungs, at every precision."""
    drawn = [drawn_thorax(np.random.default_rng(seed)) for seed in (11, 12, 13, 14)]
    hu = np.stack([slice_hu[:192, :192] for slice_hu, _ in drawn])
    lung = np.stack([(truth[:192, :192] & Truth.LUNG) > 0 for _, truth in drawn])
    plan = Lesions((4, 4), (6.0, 12.0), solid=0.5, dependent=0)
    hu, _ = with_lesions(hu, lung, (5.0, 1.4, 1.4), np.random.default_rng(3), plan)
    scan = CtScan(hu, Grid(hu.shape, (5.0, 1.4, 1.4)), SeriesInfo("1", 2, (5.0, 1.4, 1.4)))

    def labels(precision: str) -> np.ndarray:
        config = load_config(overrides={"segment": {"device": "cpu", "precision": precision}})
        return load_segmenter(config)(scan).labels_kji

    exact, again, fast = labels("fp32"), labels("fp32"), labels("bf16")
    np.testing.assert_array_equal(exact, again)
    for tissue in (Tissue.GROUND_GLASS, Tissue.SOLID):
        shares = [100 * np.count_nonzero(found == tissue) / np.count_nonzero(found) for found in (exact, fast)]
        assert shares[0] > 1, "there is something to compare"
        assert shares[1] == pytest.approx(shares[0], abs=0.1)
