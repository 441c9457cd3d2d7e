"""How the coarse chest network is taught: what is known of a voxel, what is drawn, the loss, and going on."""

import hashlib
import math
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import nn

from volumetry.errors import ConfigError, InputError, ModelError, OutputError
from volumetry.segment.card import read_card
from volumetry.segment.thorax import Region
from volumetry.segment.thorax_weights import load_context, read_context_card, verify_context_probe
from volumetry.segment.weights import find_model, load_model
from volumetry.training.by_architecture import train_model
from volumetry.training.config import Model, load_recipe
from volumetry.training.continued import context_of, looks_of, take_over
from volumetry.training.dice import dice
from volumetry.training.thorax import truth
from volumetry.training.thorax.augment import batch_of, sample
from volumetry.training.thorax.chest_files import _set_tumour, read_chest
from volumetry.training.thorax.chests import Chest, load_chests, packed
from volumetry.training.thorax.config import ChestFile, ThoraxConfig, load_thorax_config
from volumetry.training.thorax.disease import with_disease
from volumetry.training.thorax.evaluate import drawn_figures
from volumetry.training.thorax.fluid import with_fluid
from volumetry.training.thorax.loss import membership, partial_loss
from volumetry.training.thorax.organs import with_organ
from volumetry.training.thorax.pack import pack
from volumetry.training.thorax.scene import Chance, Scene
from volumetry.training.thorax.train import learning_rate, train_thorax
from volumetry.training.train import new_state
from volumetry.training.two_looks import join

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "configs" / "train-thorax3d.toml"
SLICES = REPOSITORY / "configs" / "train-lesion25d.toml"


def small_config(tmp_path: Path, **changes: str) -> Path:
    """The shipped configuration with a tiny network, four steps and one chest of each kind."""
    text = SHIPPED.read_text("utf-8")
    head = text.split("[data]")[0]
    for key, value in {
        "channels": "[4, 4, 4, 6]",
        "steps": "4",
        "warmup_steps": "1",
        "last_steps": "2",
        "checkpoint_every": "1",
        "validate_every": "4",
        **changes,
    }.items():
        head = "\n".join(f"{key} = {value}" if line.startswith(f"{key} =") else line for line in head.splitlines())
    chests = "".join(
        f'[[data.chests]]\nname = "{name}"\nimage = "{name}"\nheld_out = {held}\nsource = "drawn"\nterms = ""\n'
        for name, held in (("one", "false"), ("two", "true"))
    )
    path = tmp_path / "small.toml"
    path.write_text(f'{head}\n[data]\nroot = "."\nstored_mm = 8.0\nsample_shape = [16, 16, 16]\n{chests}', "utf-8")
    return path


def drawn_chest(name: str = "one", side: int = 24) -> Chest:
    """A box of a body with two ellipsoid lungs, in steps of 8 mm."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij")
    lung = np.zeros((side,) * 3, bool)
    for at in (-0.45, 0.45):
        lung |= (k / 0.8) ** 2 + (j / 0.6) ** 2 + ((i - at) / 0.35) ** 2 < 1
    hu = np.where(lung, -850.0, 30.0).astype(np.float32)
    regions = np.where(lung, truth.LUNG, truth.NO_LUNG).astype(np.uint8)
    return Chest(name, hu, regions, lung.astype(np.float32), (8.0, 8.0, 8.0))


def file_of_chests(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one", "two"):
            archive.writestr(f"{name}.safetensors", packed(drawn_chest(name)))
    return path


def test_the_shipped_configuration_keeps_whole_patients_apart() -> None:
    config = load_thorax_config(SHIPPED)
    held_out = {chest.name for chest in config.data.chests if chest.held_out}
    assert held_out == {"pneumonia-001", "pneumonia-002", "ricord-000082", "lung1-003", "lidc-0003", "qin-0003"}
    assert len(config.data.chests) == 19


def test_a_set_of_regions_is_bits() -> None:
    regions = torch.tensor([[[[truth.LUNG, truth.NO_LUNG, truth.UNKNOWN]]]], dtype=torch.uint8)
    found = membership(regions)[0, :, 0, 0]
    assert found[:, 0].tolist() == [region is Region.LUNG for region in Region]
    assert found[:, 1].tolist() == [region not in (Region.LUNG, Region.FLUID) for region in Region]
    assert found[:, 2].all()


def test_the_loss_of_partial_labels_is_the_one_computed_by_hand() -> None:
    """Three voxels: lung for certain, not lung nor fluid, unknown; only lung's overlap has a weight."""
    p = torch.tensor([[0.1, 0.5, 0.1, 0.1, 0.1, 0.1], [0.2, 0.3, 0.1, 0.05, 0.25, 0.1], [1 / 6] * 6])
    logits = (p.log() + torch.tensor([[3.0], [-2.0], [0.5]])).T.reshape(1, 6, 1, 1, 3)
    regions = torch.tensor([[[[truth.LUNG, truth.NO_LUNG, truth.UNKNOWN]]]], dtype=torch.uint8)
    entropy = -(math.log(0.5) + math.log(0.2 + 0.05 + 0.25 + 0.1)) / 2
    lung_dice = (2 * 0.5 + 1) / (0.5 + 0.3 + 1 + 1)
    weight = torch.tensor([0.0, 2.0, 7.0, 0.0, 0.0, 0.0])  # no fluid in the batch: its weight does not count
    assert float(partial_loss(logits, regions, weight)) == pytest.approx(entropy + 2 * (1 - lung_dice), rel=1e-5)


def test_what_is_unknown_moves_no_weight() -> None:
    logits = torch.randn(1, 6, 2, 2, 2, requires_grad=True)
    regions = torch.full((1, 2, 2, 2), truth.UNKNOWN, dtype=torch.uint8)
    regions[0, 0, 0, 0] = truth.LUNG
    partial_loss(logits, regions, torch.ones(6)).backward()
    assert logits.grad is not None
    moved = logits.grad[0].abs().sum(0) > 0
    assert moved.sum() == 1
    assert moved[0, 0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_disease_stays_lung_and_only_makes_it_denser(seed: int) -> None:
    before = Scene.of(drawn_chest(), "cpu")
    after = with_disease(before, Chance((seed,)))
    assert torch.equal(after.regions, before.regions)
    assert torch.equal(after.lung, before.lung)
    assert bool((after.hu >= before.hu).all())
    assert torch.equal(after.hu[before.lung == 0], before.hu[before.lung == 0])
    assert bool((after.hu > before.hu).any())


@pytest.mark.parametrize("seed", range(12))
def test_organs_and_fluid_take_lung_away_and_nothing_becomes_lung(seed: int) -> None:
    before = Scene.of(drawn_chest(), "cpu")
    fluid = with_fluid(before, Chance((seed,)))
    organ = with_organ(before, Chance((seed,)))
    for after in (fluid, organ):
        assert not bool((after.is_lung & ~before.is_lung).any())
        assert bool((after.lung <= before.lung + 1e-6).all())
        changed = after.regions != before.regions
        assert bool((after.lung[changed] < 0.5).all())
    taken = before.is_lung & ~fluid.is_lung
    assert set(fluid.regions[taken].tolist()) <= {truth.FLUID}
    # Wholly fluid: -5 to 30 HU with noise of at most 15.
    wholly = fluid.hu[taken & (fluid.lung < 0.02)]
    assert not len(wholly) or -30 < float(wholly.mean()) < 55


def test_most_draws_of_fluid_and_of_an_organ_take_some_lung() -> None:
    """A pocket or a plate may be smaller than a voxel of 8 mm, a winding vessel may miss the lung."""
    before = Scene.of(drawn_chest(), "cpu")
    for draw in (with_fluid, with_organ):
        lost = [int((before.is_lung & ~draw(before, Chance((seed,))).is_lung).sum()) for seed in range(12)]
        assert sum(voxels > 0 for voxels in lost) >= 8


def test_a_voxel_half_filled_twice_is_no_denser_than_its_filling() -> None:
    """Half of a voxel lung at -850, half wall at 30: filled with 30 twice it is 30, and not more."""
    chest = drawn_chest()
    half = replace(chest, hu_kji=np.full_like(chest.hu_kji, -410), lung_kji=np.full_like(chest.lung_kji, 0.5))
    scene = replace(Scene.of(half, "cpu"), lung_hu=torch.full((24, 24, 24), -850.0))
    level, whole = torch.full((24, 24, 24), 30.0), torch.ones(24, 24, 24)
    for _ in range(2):
        scene = scene.filled(whole, level)
    assert scene.hu.unique().tolist() == pytest.approx([30.0])
    assert scene.displaced(whole, level, truth.FLUID).hu.unique().tolist() == pytest.approx([30.0])


def test_a_sample_unmoved_is_the_chest_itself(tmp_path: Path) -> None:
    """Without any change, a grid of the chest's own step shows the chest's own middle."""
    still = dict.fromkeys(("rotate_deg", "scale_ln", "shift", "mirror", "bend_mm", "cut", "arms"), "0.0")
    still |= dict.fromkeys(("noise_hu", "offset_hu", "disease", "organs"), "0.0") | {"coarse_mm": "8.0"}
    config = load_thorax_config(small_config(tmp_path, **still))
    config = config.model_copy(update={"draw": config.draw.model_copy(update={"fluid": 0.0})})
    chest = drawn_chest()
    hu, regions = sample([Scene.of(chest, "cpu")], config, Chance((3,)))
    assert np.array_equal(regions.numpy(), chest.regions_kji[4:-4, 4:-4, 4:-4])
    # A kernel and thicker slices reach two voxels far; in the flat body beyond, the HU are the chest's own.
    flat = ndimage.binary_erosion(chest.hu_kji == 30, np.ones((3, 3, 3)), iterations=2)[4:-4, 4:-4, 4:-4]
    assert flat.sum() > 20
    assert np.abs(hu.numpy()[flat] - 30).max() < 0.01


def test_a_step_follows_from_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    config = load_thorax_config(small_config(tmp_path))
    scenes = [Scene.of(drawn_chest(), "cpu")]
    first, again, other = (batch_of(scenes, config, step) for step in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_rate_goes_up_stays_and_goes_down(tmp_path: Path) -> None:
    plan = load_thorax_config(SHIPPED).schedule
    assert learning_rate(plan, 0) == pytest.approx(plan.learning_rate / plan.warmup_steps)
    assert learning_rate(plan, plan.warmup_steps) == plan.learning_rate
    assert learning_rate(plan, plan.steps - plan.last_steps) == plan.learning_rate
    assert learning_rate(plan, plan.steps - 1) == pytest.approx(plan.learning_rate / plan.last_steps)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    config, data = small_config(tmp_path), file_of_chests(tmp_path / "chests.zip")
    whole = train_thorax(config, tmp_path / "whole", data, "cpu")

    class KilledError(Exception):
        pass

    def kill(step: int, steps: int, figures: object) -> None:
        if step == 3:  # after the checkpoint of step 2, before that of step 3
            raise KilledError

    with pytest.raises(KilledError):
        train_thorax(config, tmp_path / "killed", data, "cpu", kill)
    resumed = train_thorax(config, tmp_path / "killed", data, "cpu")
    for name in ("model.safetensors", "card.toml"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()
    assert (whole.parent / "thorax3d-0.1.0-run/curves.csv").read_text() == (
        resumed.parent / "thorax3d-0.1.0-run/curves.csv"
    ).read_text()


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    data = file_of_chests(tmp_path / "chests.zip")
    train_thorax(small_config(tmp_path), tmp_path / "out", data, "cpu")
    for changes in (
        {"seed": "1"},
        {"steps": "5"},
    ):  # at the end the rate had gone down, as the number of steps said
        with pytest.raises(OutputError, match="another configuration"):
            train_thorax(small_config(tmp_path, **changes), tmp_path / "out", data, "cpu")


def test_a_run_made_shorter_in_time_ends_as_one_that_was_so_from_the_start(tmp_path: Path) -> None:
    """Of eight steps with two on the way down, stopped after three and given five in all."""
    data = file_of_chests(tmp_path / "chests.zip")

    class StoppedError(Exception):
        pass

    def stop(step: int, steps: int, figures: object) -> None:
        if step == 4:  # the checkpoint of step 3 is there
            raise StoppedError

    with pytest.raises(StoppedError):
        train_thorax(small_config(tmp_path, steps="8"), tmp_path / "changed", data, "cpu", stop)
    changed = train_thorax(small_config(tmp_path, steps="5"), tmp_path / "changed", data, "cpu")
    straight = train_thorax(small_config(tmp_path, steps="5"), tmp_path / "straight", data, "cpu")
    assert (changed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


def test_a_model_folder_states_its_chests_and_is_verified(tmp_path: Path) -> None:
    folder = train_thorax(small_config(tmp_path), tmp_path / "out", file_of_chests(tmp_path / "chests.zip"), "cpu")
    model = load_context(folder, read_context_card(folder))
    assert verify_context_probe(model) < 1e-4
    assert model.card.training_cases == ("one",)
    assert model.card.held_out_cases == ("two",)
    assert model.coarse_mm == 5.0
    assert model.stride == 4
    assert "mean lung" in model.card.story["metrics"]
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(ModelError, match="sha256"):
        load_context(folder, read_context_card(folder))


def test_both_networks_make_one_model_folder(tmp_path: Path) -> None:
    data = file_of_chests(tmp_path / "chests.zip")
    chest = train_thorax(small_config(tmp_path), tmp_path / "out", data, "cpu")
    slices = find_model("default")
    folder = join(slices, chest, tmp_path / "models", "9.0.0", lung_probability=0.2)
    assert folder.name == f"{read_card(slices).name}-9.0.0"
    model = load_model(folder)
    assert model.context is not None
    assert model.context.card.lung_probability == 0.2
    assert model.context.card.training_cases == ("one",)
    alone = read_card(slices).model_copy(update={"context": None})
    assert model.card.sha256 not in (alone.sha256, model.context.card.sha256)
    for name, tensor in load_context(chest, read_context_card(chest)).network.state_dict().items():
        assert torch.equal(model.context.network.state_dict()[name], tensor)
    with pytest.raises(ModelError, match="exists"):
        join(slices, chest, tmp_path / "models", "9.0.0")
    again = join(folder, chest, tmp_path / "models", "9.1.0", lung_probability=0.2)
    assert read_card(again).sha256 == model.card.sha256  # the version decides no number
    weights = folder / "thorax3d_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="sha256"):
        load_model(folder)


def test_a_packed_file_must_hold_the_chests(tmp_path: Path) -> None:
    config = load_thorax_config(small_config(tmp_path))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    (tmp_path / "text.zip").write_text("no archive", "utf-8")
    with pytest.raises(InputError, match="does not hold one"):
        list(load_chests(config, tmp_path / "empty.zip", held_out=False))
    with pytest.raises(InputError, match="no file of packed chests"):
        list(load_chests(config, tmp_path / "text.zip", held_out=False))


def test_sides_that_the_strides_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiples of 64"):
        load_thorax_config(small_config(tmp_path, channels="[4, 4, 4, 4, 4, 4, 4, 4]"))


def test_overlap_is_twice_the_common_over_the_sum() -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, True])
    assert dice(a, b) == pytest.approx(2 / 5)
    assert dice(a & False, b & False) == 1.0


def test_the_settings_are_frozen_and_the_digest_leaves_prose_out(tmp_path: Path) -> None:
    config = load_thorax_config(SHIPPED)
    other_words = config.model_copy(update={"model": config.model.model_copy(update={"remark": "other words"})})
    other_seed = config.model_copy(update={"schedule": config.schedule.model_copy(update={"seed": 1})})
    assert isinstance(config, ThoraxConfig)
    assert other_words.sha256 == config.sha256
    assert other_seed.sha256 != config.sha256


def stored_volume(path: Path, values: np.ndarray) -> None:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(path))


def boxed_chest(folder: Path) -> dict[str, np.ndarray]:
    """A body in air with two blocks of lung, a trachea between them and a block of liver, in steps of 2 mm."""
    hu = np.full((60, 80, 110), -1000, np.int16)
    hu[:, 5:75, 5:105] = 40
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[10:50, 15:65, 15:45] = lungs[10:50, 15:65, 65:95] = 1
    hu[lungs == 1] = -850
    k, j, i = np.indices(hu.shape)
    trachea = ((j - 40) ** 2 + (i - 55) ** 2 <= 4.5**2) & (k >= 24)
    hu[trachea] = -1000
    unknown = np.zeros(hu.shape, bool)
    unknown[20:30, 66 - 6 : 65, 20:40] = True
    lungs[unknown] = 255
    organs = np.zeros(hu.shape, np.uint8)
    organs[0:9, 20:60, 20:40] = 3
    stored_volume(folder / "ct.nii.gz", hu)
    stored_volume(folder / "lungs.nii.gz", lungs)
    stored_volume(folder / "organs.nii.gz", organs)
    return {"lung": lungs == 1, "unknown": unknown, "liver": organs == 3, "trachea": trachea}


def test_what_files_say_of_a_chest_becomes_sets_of_regions(tmp_path: Path) -> None:
    """Read on its own grid, so that no voxel is a mixture: each part has the set that was drawn, in its place."""
    drawn = boxed_chest(tmp_path)
    config = load_thorax_config(small_config(tmp_path))
    config = config.model_copy(update={"data": config.data.model_copy(update={"stored_mm": 2.0})})
    spec = ChestFile(
        name="boxed",
        image="ct.nii.gz",
        lungs="lungs.nii.gz",
        organs="organs.nii.gz",
        scheme="clinic",
        source="",
        terms="",
    )
    chest = read_chest(spec, tmp_path, config)
    # In the plane the chest is cut to the body with two voxels beside it, then six of air are put around.
    regions = chest.regions_kji[:, 6:-6, 6:-6]
    place = (slice(None), slice(3, 77), slice(3, 107))
    assert regions.shape == drawn["lung"][place].shape
    assert set(regions[drawn["lung"][place]]) == {truth.LUNG}
    assert set(regions[drawn["unknown"][place]]) == {truth.UNKNOWN}
    assert set(regions[drawn["liver"][place]]) == {truth.ABDOMEN}
    assert set(regions[drawn["trachea"][place]]) <= {truth.AIRWAY, truth.AIRWAY | truth.LUNG}
    assert not (regions[~(drawn["lung"] | drawn["unknown"])[place]] == truth.LUNG).any()
    assert set(chest.regions_kji[:, :6].ravel()) == {truth.BODY}
    lung_ml = chest.lung_kji.sum() * np.prod(chest.spacing_kji_mm) / 1000
    assert lung_ml == pytest.approx(drawn["lung"].sum() * 0.008, rel=1e-4)


def test_packed_chests_are_the_ones_that_were_read(tmp_path: Path) -> None:
    boxed_chest(tmp_path)
    config = load_thorax_config(small_config(tmp_path))
    spec = ChestFile(name="boxed", image="ct.nii.gz", lungs="lungs.nii.gz", source="", terms="")
    config = config.model_copy(update={"data": config.data.model_copy(update={"chests": (spec,)})})
    pack(config, tmp_path, tmp_path / "chests.zip")
    (found,), read = (
        load_chests(config, tmp_path / "chests.zip", held_out=False),
        read_chest(spec, tmp_path, config),
    )
    assert np.array_equal(found.regions_kji, read.regions_kji)
    assert found.hu_kji == pytest.approx(read.hu_kji, abs=0.5)
    assert found.lung_kji == pytest.approx(read.lung_kji, abs=0.5 / 255 + 1e-6)
    assert found.spacing_kji_mm == read.spacing_kji_mm


def test_a_tumour_that_touches_lung_is_lung_and_another_is_unknown() -> None:
    known = np.full((3, 3, 12), truth.NO_LUNG, np.uint8)
    known[:, :, :4] = truth.LUNG
    tumour = np.zeros(known.shape, bool)
    tumour[:, :, 4:6] = tumour[:, :, 9:11] = True
    _set_tumour(known, tumour)
    assert [int(v) for v in known[1, 1]] == [truth.LUNG] * 6 + [truth.NO_LUNG] * 3 + [truth.UNKNOWN] * 2 + [
        truth.NO_LUNG
    ]


def test_the_configuration_says_which_training_it_is_for(tmp_path: Path) -> None:
    folder = train_model(
        small_config(tmp_path), tmp_path / "out", file_of_chests(tmp_path / "chests.zip"), "cpu", None
    )
    assert folder is not None
    assert folder.name == "thorax3d-0.1.0"
    with pytest.raises(ConfigError, match="residual_units"):  # which only the slices' network has
        train_model(small_config(tmp_path, architecture='"monai-unet-2d"'), tmp_path / "out", None, "cpu", None)


def test_packed_chests_are_learned_from_where_nothing_reads_scans(tmp_path: Path) -> None:
    """As on a machine with a GPU that holds torch and little else."""
    file_of_chests(tmp_path / "chests.zip")
    config = small_config(tmp_path)
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('SimpleITK', 'pydicom', 'nibabel', 'highdicom', 'typer', 'rich'))\n"
        "from pathlib import Path\n"
        "from volumetry.training.thorax.train import train_thorax\n"
        "train_thorax(*(Path(argument) for argument in sys.argv[1:4]), 'cpu')\n"
    )
    command = [sys.executable, "-c", program, str(config), str(tmp_path / "out"), str(tmp_path / "chests.zip")]
    subprocess.run(command, check=True, cwd=REPOSITORY, timeout=300)  # noqa: S603  this program itself
    assert (tmp_path / "out" / "thorax3d-0.1.0" / "card.toml").is_file()


class TruthOfHu(nn.Module):
    """Names lung whatever is lighter than a cut: at 1e4 HU everything, at -500 the aerated alone."""

    def __init__(self, cut_hu: float) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.cut = (cut_hu + 600) / 500

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.full((x.shape[0], len(Region), *x.shape[2:]), -20.0)
        logits[:, Region.LUNG] = 20 * (self.cut - x[:, 0])
        logits[:, Region.BODY] = -20 * (self.cut - x[:, 0])
        return logits


def test_drawn_figures_of_networks_whose_answer_is_known(tmp_path: Path) -> None:
    """Who calls all of the chest lung keeps every consolidation, and organs; who goes by air keeps neither."""
    config = load_thorax_config(small_config(tmp_path))
    chests = [drawn_chest(), drawn_chest("two")]
    all_lung, air_alone = (drawn_figures(TruthOfHu(cut), chests, config) for cut in (1e4, -500.0))
    assert all_lung["drawn consolidation kept"] == 1.0
    assert all_lung["organs called lung, mL per chest"] > 1000
    assert air_alone["drawn consolidation kept"] < 0.5
    assert air_alone["organs called lung, mL per chest"] == 0.0


def test_a_run_from_random_weights_takes_over_the_network_of_the_whole_chest_alone(tmp_path: Path) -> None:
    folder = train_thorax(small_config(tmp_path), tmp_path / "out", file_of_chests(tmp_path / "chests.zip"), "cpu")
    shipped_recipe = load_recipe(SLICES)
    told = {
        "chest_network": str(folder),
        "chest_network_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "lung_probability": 0.125,
    }
    config = shipped_recipe.model_copy(update={"model": shipped_recipe.model.model_copy(update=told)})
    looks = looks_of(config)
    assert looks.context is not None
    assert (looks.context.card.name, looks.context.card.lung_probability) == ("thorax3d", 0.125)

    state, untouched = new_state(config, "cpu"), new_state(config, "cpu")
    take_over(state, config)
    weights = zip(state.network.parameters(), untouched.network.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in weights)

    made = tmp_path / "model"
    made.mkdir()
    entry = context_of(config, made)["context"]
    assert entry["lung_probability"] == 0.125
    for part in ("weights", "probe_input", "probe_output"):
        name = entry[part]["file"]
        assert (made / name).read_bytes() == (folder / name.removeprefix("thorax3d_")).read_bytes()

    other = told | {"chest_network_sha256": "0" * 64}
    with pytest.raises(ModelError, match="is not the network of the whole chest"):
        looks_of(config.model_copy(update={"model": config.model.model_copy(update=other)}))


def test_a_model_that_is_continued_brings_its_own_network_of_the_whole_chest() -> None:
    told = load_recipe(SLICES).model.model_dump()
    with pytest.raises(ValueError, match="brings its own"):
        Model(**(told | {"continues": "runs/other-1.0.0"}))
