"""What training is made of: drawn lesions, lung masks, the loss, batches that follow from the seed."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from scipy.ndimage import binary_dilation, binary_erosion

from volumetry.config import load_config
from volumetry.errors import ConfigError, InputError
from volumetry.scan import read_scan
from volumetry.segment.preprocess import Plane
from volumetry.storage.shipped import shipped
from volumetry.training.ablation import ABLATIONS, left_of
from volumetry.training.augment import Drawing
from volumetry.training.config import Round, Scan, load_recipe
from volumetry.training.dataset import SCAN, Bank, _scan, infected_by_slice, nearest
from volumetry.training.drawn_thorax import drawn_thorax
from volumetry.training.faint import DENSER_BY_HU, FAINT, faint_volumes
from volumetry.training.filled import FILLED, Drawn, _cut_anew, filled_volumes
from volumetry.training.phantom_volumes import phantom_volumes
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID, SOME_LESION, SOME_LUNG, Sample, Truth
from volumetry.training.shown import Looks, on_network_grid, varied
from volumetry.training.synthesis import Lesions, rim_filled_as_beside, with_lesions
from volumetry.training.threshold_lungs import threshold_lungs
from volumetry.training.train import learning_rate, masked_loss

SHIPPED = load_recipe(shipped("configs") / "train-lesion25d.toml")
RECIPE = SHIPPED.model_copy(update={"input": SHIPPED.input.model_copy(update={"inputs": ("enhanced", "window")})})
"""Without what lies around a slice."""


SPACING = (4.0, 2.0, 2.0)


def healthy() -> tuple[np.ndarray, np.ndarray]:
    """Two ellipsoid lungs with a vessel in each."""
    k, j, i = np.indices((24, 90, 120))
    side = np.abs(i - 60) - 28
    lung = ((k - 12) / 11) ** 2 + ((j - 45) / 34) ** 2 + (side / 21) ** 2 < 1
    hu = np.where(lung, -860, 40).astype(np.float32)
    hu[lung & (np.hypot(j - 45, side) < 2)] = 20
    return hu, lung


@pytest.mark.parametrize("seed", range(8))
def test_drawn_lesions_lie_in_the_lung_and_raise_its_density(seed: int) -> None:
    hu, lung = healthy()
    sick, truth = with_lesions(hu, lung, SPACING, np.random.default_rng(seed))
    lesion = (truth & Truth.LESION) > 0
    assert set(np.unique(truth).tolist()) <= {0, int(AERATED), int(GROUND_GLASS), int(SOLID)}
    assert not (lesion & ~lung).any()
    assert ((truth & Truth.LUNG > 0) == lung).all()
    np.testing.assert_array_equal(sick[~lung], hu[~lung])
    assert (truth == int(SOLID)).sum() == 0 or sick[truth == int(SOLID)].mean() > -500
    assert not lesion.any() or sick[lesion].mean() > hu[lung].mean() + 50
    again, same = with_lesions(hu, lung, SPACING, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, sick)
    np.testing.assert_array_equal(same, truth)


def test_ground_glass_spares_vessels_and_consolidation_hides_them() -> None:
    hu, lung = healthy()
    vessel = lung & (hu > 0)
    hazy, truth = with_lesions(
        hu, lung, SPACING, np.random.default_rng(2), Lesions((20, 20), solid=0, dependent=0)
    )
    assert (truth[vessel] == int(GROUND_GLASS)).any()
    assert (hazy[vessel] >= hu[vessel]).all()
    filled, truth = with_lesions(
        hu, lung, SPACING, np.random.default_rng(2), Lesions((9, 9), solid=1, dependent=0)
    )
    solid = truth == int(SOLID)
    assert abs(filled[solid & vessel].mean() - filled[solid & ~vessel].mean()) < 150


def test_what_is_asked_of_lesions_is_drawn() -> None:
    """All dense, or none; of a size between the smallest and the largest ball, and towards the back."""
    hu, lung = healthy()
    for solid, kind in ((0.0, GROUND_GLASS), (1.0, SOLID)):
        plan = Lesions((1, 1), (12.0, 12.0), solid, dependent=0)
        volumes, rows = [], []
        for seed in range(30):
            _, truth = with_lesions(hu, lung, SPACING, np.random.default_rng(seed), plan)
            drawn = (truth == int(kind)) | ((truth == int(GROUND_GLASS)) & (solid == 1.0))
            assert ((truth & Truth.LESION) > 0).sum() == drawn.sum()
            volumes.append(drawn.sum() * np.prod(SPACING) / 1000)
            rows.append(np.argwhere(drawn)[:, 1].mean() if drawn.any() else 45)
        assert 0 < np.median(volumes) < 4 / 3 * np.pi * (1.6 * 1.2) ** 3
        assert np.mean(rows) > 45


def test_a_dependent_part_lies_at_the_back() -> None:
    hu, lung = healthy()
    plan = Lesions((0, 0), dependent=1.0)
    _, truth = with_lesions(hu, lung, SPACING, np.random.default_rng(1), plan)
    rows = np.argwhere(truth == int(SOLID))[:, 1]
    assert len(rows)
    assert np.percentile(rows, 5) > 45


def test_a_slice_is_a_volume_of_one() -> None:
    hu, lung = healthy()
    _, truth = with_lesions(hu[12:13], lung[12:13], SPACING, np.random.default_rng(0))
    assert truth.shape == (1, *hu.shape[1:])
    assert (truth & Truth.LESION).any()


def test_a_slice_without_lung_stays_as_it_is() -> None:
    hu = np.full((1, 50, 50), 40, np.float32)
    sick, truth = with_lesions(hu, np.zeros(hu.shape, bool), SPACING, np.random.default_rng(0))
    assert not truth.any()
    np.testing.assert_array_equal(sick, hu)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_thorax_is_dense_around_its_lungs(seed: int) -> None:
    hu, truth = drawn_thorax(np.random.default_rng(seed))
    if (truth == int(AERATED)).sum() > 200:
        assert np.median(hu[truth == int(AERATED)]) < -700
    assert (np.median(hu[0]), np.median(hu[-1])) == pytest.approx((-1000, -1000), abs=50)


def test_threshold_lungs_take_lungs_and_leave_trachea_stomach_and_room() -> None:
    """Ellipsoid lungs, a trachea above them, stomach gas below, air around; truth by formula."""
    spacing = (4.0, 2.0, 2.0)
    z, y, x = (i * s for i, s in zip(np.indices((80, 130, 180)), spacing, strict=True))
    hu = np.full(z.shape, -1000.0, np.float32)
    hu[((y - 130) / 115) ** 2 + ((x - 180) / 165) ** 2 < 1] = 30
    lungs = (((z - 190) / 100) ** 2 + ((y - 130) / 75) ** 2 + ((np.abs(x - 180) - 80) / 55) ** 2) < 1
    hu[lungs] = -850
    trachea = (z > 180) & (np.hypot(y - 110, x - 180) < 9)
    stomach = (((z - 45) / 30) ** 2 + ((y - 80) / 40) ** 2 + ((x - 230) / 35) ** 2) < 1
    hu[trachea | stomach] = -1000
    found = threshold_lungs(hu, spacing)
    assert 2 * (found & lungs).sum() / (found.sum() + lungs.sum()) > 0.98
    assert not (found & trachea).any()
    assert not (found & stomach & ~lungs).any()


def test_no_lung_gives_an_empty_mask() -> None:
    assert not threshold_lungs(np.full((20, 40, 40), 30, np.float32), (4.0, 2.0, 2.0)).any()


def test_what_is_unknown_does_not_move_the_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8)
    value = (torch.rand(2, 3, 8, 8) > 0.5).float()
    known = torch.ones_like(value)
    known[1, 2] = 0
    changed = logits.clone()
    changed[1, 2] = 50 * torch.randn(8, 8)
    weight = torch.tensor([1.0, 1.5, 0.75])
    assert masked_loss(changed, value, known, weight) == masked_loss(logits, value, known, weight)
    assert masked_loss(changed, value, torch.ones_like(known), weight) != masked_loss(logits, value, known, weight)


def test_where_all_is_known_the_loss_is_entropy_plus_monais_dice() -> None:
    torch.manual_seed(1)
    logits, value = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.5).float()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, value)
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)(logits, value)
    found = masked_loss(logits, value, torch.ones_like(value), torch.ones(3))
    assert float(found) == pytest.approx(float(entropy + dice), rel=1e-5)


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    rounds = (Round(steps=1100, learning_rate=0.5), Round(steps=500, learning_rate=0.2))
    plan = RECIPE.schedule.model_copy(update={"rounds": rounds, "warmup_steps": 100})
    assert learning_rate(plan, 49) == pytest.approx(0.25)
    assert learning_rate(plan, 100) == pytest.approx(0.5)
    assert learning_rate(plan, 600) == pytest.approx(0.25)
    assert learning_rate(plan, 1099) == pytest.approx(0, abs=1e-5)
    assert learning_rate(plan, 1149) == pytest.approx(0.1)
    assert learning_rate(plan, 1400) == pytest.approx(0.1)
    assert learning_rate(plan, 1600) == pytest.approx(0)


def test_each_round_draws_from_its_own_piles() -> None:
    base = drawing(0)
    white = np.full((64, 64), 255, np.uint8)
    dense = Sample({"enhanced": white, "window": white}, np.full_like(white, int(SOLID)), FILLED, "p", "0")
    bank = replace(base.bank, training=(*base.bank.training, dense))
    rounds = (Round(steps=2, learning_rate=1), Round(steps=2, learning_rate=1, shares={FILLED: 1000.0}))
    both = replace(base, bank=bank, schedule=base.schedule.model_copy(update={"rounds": rounds}))
    for step in range(2):
        for mine, without in zip(both.step(step), base.step(step), strict=True):
            assert torch.equal(mine, without), "the first round has none"
    assert all(value[:, 2].any() for value in (both.step(2)[1], both.step(3)[1]))
    assert not both.step(0)[1][:, 2].any()


def test_each_round_may_have_augmentation_of_its_own() -> None:
    """Another brightness in the second round moves its pictures apart; what the first draws is not changed."""
    still = dict.fromkeys(("noise", "blur", "window_contrast", "window_brightness", "only_enhanced"), 0.0)
    base = replace(drawing(6), augment=RECIPE.augment.model_copy(update=still))
    noisy = Round(steps=1, learning_rate=1, augment={"window_brightness": 0.5})
    plan = base.schedule.model_copy(update={"rounds": (Round(steps=1, learning_rate=1), noisy), "batch": 16})
    both, without = (
        replace(base, schedule=plan),
        replace(base, schedule=plan.model_copy(update={"rounds": plan.rounds[:1]})),
    )
    assert torch.equal(both.step(0)[0], without.step(0)[0])

    def lung_greys(drawn: Drawing, step: int) -> torch.Tensor:
        picture, value, _ = drawn.step(step)
        window = picture[:, 1] * RECIPE.input.deviation + RECIPE.input.mean
        return torch.stack([window[n][value[n, 0] > 0].median() for n in range(16) if (value[n, 0] > 0).any()])

    assert lung_greys(both, 0).std() < 0.01
    assert lung_greys(both, 1).std() > 0.1


def test_where_the_window_is_exact_a_grey_level_stands_for_one_density() -> None:
    """Of the linear window of the recipe; otherwise it is moved by more than faint haze."""
    truth = np.full((64, 64), int(AERATED), np.uint8)
    plane = Plane(np.full((64, 64), -800, np.float32))
    recipe = RECIPE.input_recipe
    expected = 255 * (-800 - recipe.window_low) / (recipe.window_high - recipe.window_low)
    greys: dict[bool, list[int]] = {}
    left: dict[bool, list[int]] = {}
    for exact in (True, False):
        rng = np.random.default_rng(3)
        looks = Looks(recipe, exact_window=exact)
        samples = [varied(plane, truth, looks, rng, (SCAN, "p", "0")) for _ in range(12)]
        greys[exact] = [int(np.median(sample.grey_ji["window"])) for sample in samples]
        left[exact] = rng.integers(1000, size=4).tolist()
    assert greys[True] == [round(expected)] * 12
    assert np.ptp(greys[False]) > 255 * 90 / (recipe.window_high - recipe.window_low)
    assert left[True] == left[False], "what is drawn next is the same"


def test_a_dense_lesion_meets_its_wall_without_a_dark_line() -> None:
    hu, lung = healthy()
    edge = binary_dilation(lung) & ~lung
    hu[edge] = -400
    in_plane = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)
    dark = {}
    for touching in (True, False):
        plan = Lesions((12, 12), (10.0, 25.0), solid=1, dependent=0, back=0.0, touching=touching)
        sick, truth = with_lesions(hu, lung, SPACING, np.random.default_rng(1), plan)
        solid = (truth & Truth.SOLID) > 0
        beside = edge & binary_dilation(solid, in_plane) & ~binary_dilation(lung & ~solid, iterations=2)
        assert np.count_nonzero(beside) > 100
        dark[touching] = np.mean(sick[beside] < -300)
    assert dark[False] == 1
    assert dark[True] < 0.1


def slices_of(volumes: Iterable[Drawn]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number, HU and truth of each slice to learn from."""
    for sick, truth, slices in volumes:
        yield from ((k, sick[k], truth[k]) for k in slices)


@pytest.mark.parametrize("healthy_lung", [True, False])
def test_filled_volumes_say_only_what_is_known(healthy_lung: bool) -> None:
    hu, lung = healthy()
    vessel = np.zeros_like(lung)
    vessel[:, 40:50] = lung[:, 40:50]
    hu[vessel] = -100
    found = list(slices_of(filled_volumes(hu, lung, SPACING, 6, np.random.default_rng(0), healthy_lung)))
    seen = {int(value) for _, _, truth in found for value in np.unique(truth)}
    if healthy_lung:
        assert seen == {0, int(AERATED), int(GROUND_GLASS), int(SOLID)}
    else:
        assert seen == {0, int(SOME_LUNG), int(GROUND_GLASS), int(SOLID), int(SOME_LESION)}
        assert all((truth & Truth.LESION).any() for _, _, truth in found)
    for k, sick, truth in found:
        apart = np.stack([hu[max(k - 1, 0)], hu[k], hu[min(k + 1, len(hu) - 1)]])
        far = ~binary_dilation((truth & Truth.LESION) > 0, iterations=4)
        outside = far & ~lung[max(k - 1, 0) : k + 2].any(axis=0)
        assert (sick[outside] <= apart.max(axis=0)[outside] + 0.1).all(), "only lungs are filled"
        assert (sick[outside] >= apart.min(axis=0)[outside] - 0.1).all()
        # Lung by half: no voxel that most of its neighbours above and below call something else.
        near = lung[max(k - 1, 0) : k + 2]
        assert not ((truth & Truth.LUNG) > 0)[~near.any(axis=0)].any()
        assert ((truth & Truth.LUNG) > 0)[near.all(axis=0)].all()
    solid = np.concatenate([sick[truth == int(SOLID)] for _, sick, truth in found])
    assert np.median(solid) > -300


def test_faint_haze_is_hardly_denser_than_lung_and_only_in_lungs() -> None:
    hu, lung = healthy()
    usual = float(np.median(hu[lung]))
    denser = []
    for sick, truth, slices in faint_volumes(hu, lung, SPACING, 24, np.random.default_rng(0)):
        assert slices == np.flatnonzero(lung.any(axis=(1, 2))).tolist()
        assert not truth[~lung].any()
        assert set(np.unique(truth[lung])) <= {int(AERATED), int(GROUND_GLASS), int(SOLID)}
        haze = binary_erosion(truth == int(GROUND_GLASS), iterations=2)
        if haze.sum() > 200:
            denser.append(float(np.median(sick[haze])) - usual)
    # The mean lies 70 + 340 u^2 HU above the lung, u even in 0 to 1, and counts by 85 %: below 150 HU in 56 %.
    assert len(denser) > 8
    assert min(denser) > DENSER_BY_HU / 2
    assert np.mean(np.array(denser) < 150) > 0.4
    assert max(denser) > 150


def test_no_faint_haze_is_asked_for_where_there_may_be_no_lung() -> None:
    hu, lung = healthy()
    assert list(faint_volumes(hu, np.zeros_like(lung), SPACING, 0, np.random.default_rng(0))) == []


def test_a_filled_lesion_meets_its_wall_without_a_dark_line() -> None:
    hu, lung = healthy()
    edge = binary_dilation(lung) & ~lung
    hu[edge] = -400
    inside = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    dark = []
    for k, sick, truth in slices_of(filled_volumes(hu, lung, SPACING, 6, np.random.default_rng(0), True)):
        solid = (truth & Truth.SOLID) > 0
        own = edge[k] & (edge[max(k - 1, 0)] | lung[max(k - 1, 0)]) & (edge[min(k + 1, 23)] | lung[min(k + 1, 23)])
        beside = own & binary_dilation(solid, inside) & ~binary_dilation(lung[k] & ~solid, iterations=2)
        dark += (sick[beside] < -300).tolist()
    assert len(dark) > 200
    assert np.mean(dark) < 0.15


def test_slices_cut_anew_are_thicker_or_lie_between() -> None:
    """One slice of 1 among zeros shows what each new slice is a mean of."""
    one = np.zeros((9, 2, 2), np.float32)
    one[4] = 1
    kinds = set()
    for seed in range(12):
        hu, lung = _cut_anew(one, one > 0, np.random.default_rng(seed))
        above, own, below = hu[3, 0, 0], hu[4, 0, 0], hu[5, 0, 0]
        assert above + own + below == pytest.approx(1)
        assert 0 < above <= 0.5
        assert not hu[[0, 1, 2, 6, 7, 8]].any()
        np.testing.assert_array_equal(lung, hu >= 0.5)
        assert below in (0, above)
        kinds.add(bool(below))
    assert kinds == {True, False}


def test_no_slice_that_judges_a_scan_is_learned_from(tmp_path: Path) -> None:
    """Nor one beside it, where slices are means with their neighbours; nor one that a reader called infected."""
    (tmp_path / "scan").symlink_to(shipped("data-sample") / "phantom-001")
    recipe = replace(RECIPE.input_recipe, inputs=("window",))
    scan = read_scan(tmp_path / "scan", load_config())
    count = len(on_network_grid(scan.hu_kji, scan.grid, recipe)[0])
    sick = range(80, 84)
    rows = "".join(f"{count - 1 - k},{int(k in sick)}\n" for k in range(count))
    (tmp_path / "flags.csv").write_text("slice_from_top,infected\n" + rows)
    few = {"synthetic_volumes": 1, "filled_volumes": 1, "faint_volumes": 1}
    data = RECIPE.data.model_copy(update=few)
    spec = Scan(folder="scan", infected_csv="flags.csv", source="drawn", terms="none")
    rngs = np.random.default_rng(0), np.random.default_rng(2), np.random.default_rng(3)
    found = list(_scan(spec, tmp_path, Looks(recipe), data, rngs))
    judging = data.held_out(count)
    seen = {(sample.kind, judged) for sample, judged in found}
    assert seen == {
        ("scan", True),
        ("scan", False),
        ("synthetic", True),
        ("synthetic", False),
        (FILLED, False),
        (FAINT, False),
    }
    for sample, judged in found:
        k = int(sample.name.split()[0])
        assert k not in sick
        assert judging[k] == judged
        if sample.kind in (FILLED, FAINT):
            assert not judging[max(0, k - 1) : k + 2].any()
            assert not {k - 1, k + 1} & set(sick)


def test_what_an_ablation_leaves_out_is_not_there() -> None:
    flat = np.zeros((4, 4), np.uint8)
    lesion = np.full((4, 4), int(SOLID), np.uint8)
    samples = [
        Sample({"enhanced": flat, "window": flat}, truth, kind, "p", "0")
        for kind in ("ma20", "scan", FILLED)
        for truth in (flat, lesion)
    ]
    bank = Bank(tuple(samples), (), {"ma20": 0.4, "scan": 0.1})
    left = left_of(bank, frozenset({"scan"}))
    assert {sample.kind for sample in left.training} == {"ma20", FILLED}
    assert left.shares == {"ma20": 0.4}
    no_undrawn = left_of(bank, ABLATIONS["without undrawn slices of scans"])
    assert {(s.kind, bool(s.truth_ji.any())) for s in no_undrawn.training} == {
        ("ma20", False), ("ma20", True), (FILLED, True),
    }  # fmt: skip


def test_a_segment_is_a_part_beyond_a_plane_in_any_direction() -> None:
    hu, lung = healthy()
    plan = Lesions(count=(0, 0), solid=1.0, dependent=0.0, segment=1.0)
    centres, shares = [], []
    for seed in range(12):
        _, truth = with_lesions(hu, lung, SPACING, np.random.default_rng(seed), plan)
        solid = (truth & Truth.SOLID) > 0
        shares.append(solid.sum() / lung.sum())
        centres.append(np.argwhere(solid).mean(axis=0))
    assert max(shares) < 0.2
    assert min(shares) > 0.005
    low, high = np.min(centres, axis=0), np.max(centres, axis=0)
    assert (low < [9, 35, 45]).all(), "feet, front, right"
    assert (high > [15, 55, 75]).all(), "head, back, left"


def test_a_wall_beside_a_lesion_is_filled_and_an_airway_stays_open() -> None:
    lung = np.zeros((1, 20, 30), bool)
    lung[:, 5:15, 5:15] = True
    hu = np.where(lung, -850, 40).astype(np.float32)
    hu[0, 5:15, 15] = -400
    hu[0, 4, 5:15] = -960
    lesion = np.zeros_like(lung)
    lesion[0, 5:9, 10:15] = True
    hu[lesion] = 7
    filled = rim_filled_as_beside(hu, lesion, lung, (2.0, 1.4, 1.4))
    assert (filled[0, 5:9, 15] == 7).all()
    assert (filled[0, 4, 5:15] == -960).all()
    assert (filled[0, 12:15, 15] == -400).all(), "not beside it"
    assert (filled[lung] == hu[lung]).all()
    assert (filled >= hu).all()


def drawing(seed: int) -> Drawing:
    lung = healthy()[1][12]
    truth = np.where(lung, int(SOME_LESION), 0).astype(np.uint8)
    samples = tuple(
        Sample(
            {
                "enhanced": np.where(lung, 40, 180).astype(np.uint8),
                "window": np.where(lung, 60, 250).astype(np.uint8),
            },
            truth,
            kind,
            f"p{n}",
            "0",
        )
        for kind in "ab"
        for n in range(3)
    )
    plan = RECIPE.schedule.model_copy(update={"crop_px": 64, "batch": 4, "seed": seed})
    return Drawing(Bank(samples, (), {"a": 0.5, "b": 0.5}), RECIPE.augment, RECIPE.input_recipe, plan)


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    first, other = drawing(1), drawing(1)
    other.step(0)
    for mine, theirs in zip(first.step(7), other.step(7), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(first.step(7)[0], first.step(8)[0])
    assert not torch.equal(first.step(7)[0], drawing(2).step(7)[0])


def test_picture_and_truth_are_moved_together() -> None:
    """Without shading, the dark lung and its truth cover the same pixels after any turn."""
    plain = {
        "gamma": 0,
        "contrast": 0,
        "brightness": 0,
        "noise": 0,
        "blur": 0,
        "crop_to_lung": 0,
        "scale_low": 0.9,
        "window_contrast": 0,
        "window_brightness": 0,
        "only_enhanced": 0,
        "only_window": 0,
    }
    base = drawing(3)
    picture, value, known = replace(base, augment=RECIPE.augment.model_copy(update=plain)).step(0)
    grey = picture[:, 0] * RECIPE.input.deviation + RECIPE.input.mean
    dark = (grey > 20 / 255) & (grey < 110 / 255)
    lung = value[:, 0] > 0
    assert float((dark & lung).sum() * 2 / (dark.sum() + lung.sum())) > 0.93
    assert not known[:, 2][lung].any()
    assert known[:, 2][~lung].all()
    window = picture[:, 1] * RECIPE.input.deviation + RECIPE.input.mean
    shades = [float(window[lung & dark].median()), float(grey[lung & dark].median())]
    assert shades == pytest.approx([60 / 255, 40 / 255], abs=0.01)


def test_now_and_then_only_one_picture_is_shown() -> None:
    """An absent picture is flat grey, 0 to the network."""
    always = RECIPE.augment.model_copy(update={"only_enhanced": 0.5, "only_window": 0.5})
    base = drawing(4)
    many = base.schedule.model_copy(update={"batch": 16})
    picture, _, _ = replace(base, augment=always, schedule=many).step(0)
    absent = (picture == 0).flatten(2).all(dim=2)
    assert (absent.sum(dim=1) == 1).all()
    assert absent.any(dim=0).all()


def test_the_chest_network_is_wrong_in_a_part_of_a_slice_now_and_then() -> None:
    """What it says is changed in one place, to lung or to no lung, and the truth is not."""
    lung = healthy()[1][12]
    grey = {"window": np.where(lung, 60, 250), "space": np.where(lung, 255, 0), "organs": np.where(lung, 0, 255)}
    truth = np.where(lung, int(AERATED), 0).astype(np.uint8)
    one = Sample({kind: picture.astype(np.uint8) for kind, picture in grey.items()}, truth, "a", "p", "0")
    base = drawing(5)
    plan = base.schedule.model_copy(update={"batch": 16})
    recipe = replace(base.recipe, inputs=("window", "space", "organs"))
    still = {"rotate_deg": 0, "scale_low": 1.0, "scale_high": 1.0, "flip": 0, "crop_to_lung": 0, "no_chest": 0}
    found = []
    for share in (0.0, 1.0):
        augment = base.augment.model_copy(update=still | {"wrong_chest": share})
        drawn = Drawing(Bank((one,), (), {"a": 1.0}), augment, recipe, plan)
        picture, value, _ = drawn.step(0)
        space = picture[:, 1] * RECIPE.input.deviation + RECIPE.input.mean
        found.append(((space - value[:, 0]).abs() > 0.9, value))
    (right, _), (wrong, still_true) = found
    assert not right.any(), "where it is not made wrong, it is the truth"
    share_wrong = wrong.float().mean(dim=(1, 2))
    assert (share_wrong > 0).sum() > 8
    assert share_wrong.max() < 0.9
    as_lung, as_none = wrong & (still_true[:, 0] == 0), wrong & (still_true[:, 0] == 1)
    assert as_lung.any()
    assert as_none.any()


def test_phantoms_are_whole_chests_with_exact_truth() -> None:
    looks = Looks(replace(RECIPE.input_recipe, inputs=("window", "below", "above")))
    found = list(phantom_volumes(2, looks, 3))
    assert {sample.group for sample in found} == {"volume 000", "volume 001"}
    for one in found:
        assert "window" in one.grey_ji
        lesion, lung = (one.truth_ji & bit > 0 for bit in (Truth.LESION, Truth.LUNG))
        assert not (lesion & ~lung).any()
    assert any({"below", "above"} <= set(one.grey_ji) for one in found)
    sick = {sample.group for sample in found if (sample.truth_ji & Truth.LESION).any()}
    assert sick == {"volume 001"}, "one in four has no lesion"


def test_labels_are_resized_without_a_shift() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:40] = 3
    small = nearest(labels, (20, 30))
    np.testing.assert_array_equal(np.argwhere(small)[[0, -1]], [[5, 10], [14, 19]])


def test_flags_count_from_the_head_and_arrays_from_the_feet(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("slice_from_top,infected\n0,1\n1,0\n2,0\n", "utf-8")
    assert infected_by_slice(table, 3).tolist() == [False, False, True]
    with pytest.raises(InputError, match="3 rows for 4 slices"):
        infected_by_slice(table, 4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("steps = ", "stepps = ", "stepps|steps"),
        ("crop_px = 192", "crop_px = 100", "multiple of 16"),
        ("scale_low = 0.7", "scale_low = 1.5", "scale_low is above"),
        ("threads = 2", "threads = 2\naugment = { noisse = 0.1 }", "noisse"),
        ("threads = 2", "threads = 2\naugment = { flip = 1.5 }", "flip"),
        ("[model]", "[model", "not valid TOML"),
        ('calibration_cases = ["case06"', 'calibration_cases = ["case01"', "must be among the held_out"),
    ],
)
def test_a_mistyped_recipe_stops(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (shipped("configs") / "train-lesion25d.toml").read_text("utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match=says):
        load_recipe(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path / "absent.toml")


def test_the_card_of_a_finite_number_is_toml() -> None:
    import tomllib

    from volumetry.training.card import as_toml

    card = {"a": "x \"quoted\" 'y' µ", "n": 0.5, "list": ["p", "q"], "s": {"t u": {"v": True}, "empty": {}}}
    assert tomllib.loads(as_toml(card)) == card
    assert not math.isnan(card["n"])
