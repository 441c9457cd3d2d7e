"""`volumetry train` for real, on a very small dataset: data in, a model folder out, the same after a kill."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from slice_folders import write_dataset

from volumetry.config import load_config
from volumetry.errors import ConfigError, OutputError
from volumetry.segment.network import load_segmenter
from volumetry.storage.shipped import shipped
from volumetry.training import train as training
from volumetry.training.ablation import NO_WINDOW, ablate
from volumetry.training.checkpoint import CHECKPOINT, CURVES
from volumetry.training.config import TrainConfig
from volumetry.training.dataset import Bank, build_bank
from volumetry.training.evaluate import evaluate
from volumetry.training.train import train

STEPS = 7
SMALL = {
    r"channels = \[.*\]": "channels = [4, 8]",
    r"residual_units = 2": "residual_units = 1",
    r"chest_network = .*\n": "",
    r"chest_network_sha256 = .*\n": "",
    r"inputs = \[.*\]": 'inputs = ["enhanced", "window"]',
    r"batch = 8": "batch = 2",
    r"crop_px = 192": "crop_px = 32",
    r"checkpoint_every = 100": "checkpoint_every = 2",
    r"validate_every = 2000": "validate_every = 4",
    r"warmup_steps = 200": "warmup_steps = 2",
    r"average_rounds = .*\n": "",
    r"phantom_slices = 150": "phantom_slices = 3",
    r"phantom_volumes = 24": "phantom_volumes = 0",
}
ROUNDS = f"""\
[[schedule.rounds]]
steps = {STEPS - 1}
learning_rate = 2e-3

[[schedule.rounds]]
steps = 1
learning_rate = 1e-3
shares = {{ tiny = 0.7, phantom = 0.2, masked = 0.0 }}

"""
SLICES = """
[[data.slices]]
folder = "tiny"
share = 0.5
held_out_cases = ["b", "c"]
calibration_cases = ["c"]
source = "drawn by the test"
terms = "none"
"""


class KilledError(Exception):
    """Stands for a kill between two checkpoints."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    text = (shipped("configs") / "train-lesion25d.toml").read_text("utf-8")
    text = text[: text.index("[[schedule.rounds]]")] + ROUNDS + text[text.index("[loss]") : text.index("[[data.")]
    for old, new in SMALL.items():
        text, found = re.subn(f"^{old}", new, text, count=1, flags=re.MULTILINE)
        assert found, old
    path = tmp_path / "tiny.toml"
    text = re.sub(r'^version = ".*"$', 'version = "0.0.1"', text, flags=re.MULTILINE)
    path.write_text(text + SLICES, "utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y, x = np.indices((48, 48))
    values = (np.hypot(y - 24, x - 24) < 15).astype(np.uint8)
    values[np.hypot(y - 30, x - 24) < 5] = 2
    slices = {name: np.roll(values, rng.integers(-3, 4), 0) for name in ("a_0", "a_1", "b_0", "c_0")}
    return write_dataset(tmp_path / "data" / "tiny", {1: "lung", 2: "lesion"}, slices).parent


def test_a_killed_run_ends_where_an_unbroken_one_does(recipe: Path, data: Path, tmp_path: Path) -> None:
    unbroken = train(recipe, tmp_path / "unbroken", data)

    def kill_after_three(step: int, steps: int, figures: object) -> None:
        if step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, tmp_path / "killed", data, progress=kill_after_three)
    seen: list[int] = []
    resumed = train(recipe, tmp_path / "killed", data, progress=lambda step, steps, figures: seen.append(step))

    assert seen == list(range(3, STEPS + 1)), "resumes after the checkpoint of step 2"
    assert unbroken is not None
    assert resumed is not None
    for name in ("model.safetensors", "card.toml"):
        assert (resumed / name).read_bytes() == (unbroken / name).read_bytes()
    runs = [folder / "lesion25d-0.0.1-run" for folder in (tmp_path / "unbroken", tmp_path / "killed")]
    assert (runs[0] / CHECKPOINT).read_bytes() == (runs[1] / CHECKPOINT).read_bytes()
    assert (runs[0] / CURVES).read_text() == (runs[1] / CURVES).read_text()
    assert (runs[1] / "curves.png").stat().st_size > 1000


def _averaged(recipe: Path, rounds: int) -> None:
    text = recipe.read_text("utf-8")
    text = re.sub(r"^average_rounds = .*\n", "", text, flags=re.MULTILINE)
    recipe.write_text(text.replace("[[schedule.rounds]]", f"average_rounds = {rounds}\n\n[[schedule.rounds]]", 1))


def test_a_model_can_be_the_mean_of_the_ends_of_rounds(recipe: Path, data: Path, tmp_path: Path) -> None:
    _averaged(recipe, 2)
    folder = train(recipe, tmp_path / "out", data)
    assert folder is not None
    kept = load_file(tmp_path / "out" / "lesion25d-0.0.1-run" / CHECKPOINT)
    weights = load_file(folder / "model.safetensors")
    moved = 0
    for name, found in weights.items():
        first, last = kept[f"ends.0.{name}"].double(), kept[f"ends.1.{name}"].double()
        moved += int((first != last).any())
        if found.is_floating_point():
            np.testing.assert_allclose(found.double(), (first + last) / 2, rtol=1e-6, atol=1e-9)
    assert moved > len(weights) / 2, "the rounds end on different weights"


def _begins_from_mean(recipe: Path) -> None:
    """A third round, of a step with a learning rate of next to nothing, from the mean of the first two."""
    _averaged(recipe, 1)
    third = "[[schedule.rounds]]\nsteps = 1\nlearning_rate = 1e-12\nfrom_mean_of = 2\n\n[loss]"
    recipe.write_text(recipe.read_text("utf-8").replace("[loss]", third, 1))


def test_a_round_may_have_threads_of_its_own(recipe: Path, data: Path, tmp_path: Path) -> None:
    _begins_from_mean(recipe)
    text = re.sub(r"^threads = .*", "threads = 1", recipe.read_text("utf-8"), flags=re.MULTILINE)
    recipe.write_text(text.replace("from_mean_of = 2", "from_mean_of = 2\nthreads = 2"), "utf-8")
    seen: list[int] = []
    train(recipe, tmp_path / "out", data, progress=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [1] * (len(seen) - 1) + [2]
    assert len(seen) > 2


def test_rounds_in_the_exact_window_learn_from_data_shown_in_it(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data are read again where that changes, and after a kill only as they are needed."""
    recipe.write_text(
        recipe.read_text("utf-8").replace("steps = 1\n", "steps = 1\nexact_window = true\n"), "utf-8"
    )
    shown: list[tuple[bool, int]] = []
    seen = [0]

    def noted(config: TrainConfig, root: Path, exact_window: bool = False) -> Bank:
        shown.append((exact_window, seen[-1]))
        return build_bank(config, root, exact_window)

    def kill(step: int, steps: int, figures: object) -> None:
        seen.append(step)
        if step == STEPS:
            raise KilledError

    monkeypatch.setattr(training, "build_bank", noted)
    unbroken = train(recipe, tmp_path / "unbroken", data, progress=lambda step, *_: seen.append(step))
    assert shown == [(False, 0), (True, STEPS - 1)]
    with pytest.raises(KilledError):
        train(recipe, tmp_path / "killed", data, progress=kill)
    shown.clear()
    resumed = train(recipe, tmp_path / "killed", data)
    assert [exact for exact, _ in shown] == [True]
    assert unbroken is not None
    assert resumed is not None
    assert (resumed / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_a_round_may_begin_from_the_mean_of_the_rounds_before(recipe: Path, data: Path, tmp_path: Path) -> None:
    _begins_from_mean(recipe)
    assert train(recipe, tmp_path / "out", data) is not None
    kept = load_file(tmp_path / "out" / "lesion25d-0.0.1-run" / CHECKPOINT)
    moved = 0
    for name in (name.removeprefix("network.") for name in kept if name.startswith("network.")):
        first, last = kept[f"ends.0.{name}"].double(), kept[f"ends.1.{name}"].double()
        moved += int((first != last).any())
        for part in ("network", "average"):
            found = kept[f"{part}.{name}"].double()
            if kept[f"network.{name}"].is_floating_point() and "running" not in name:
                np.testing.assert_allclose(found, (first + last) / 2, rtol=1e-6, atol=1e-9)
    assert moved > 10, "the rounds end on different weights"
    assert int(kept["optimiser.0.step"]) == 1, "the optimiser has forgotten the rounds before"


def test_a_run_killed_in_a_round_that_began_from_a_mean_ends_as_an_unbroken_one(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    _begins_from_mean(recipe)
    text = recipe.read_text("utf-8").replace("steps = 1\nlearning_rate = 1e-12", "steps = 4\nlearning_rate = 1e-3")
    recipe.write_text(text, "utf-8")
    unbroken = train(recipe, tmp_path / "unbroken", data)

    def kill(step: int, steps: int, figures: object) -> None:
        if step == STEPS + 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, tmp_path / "killed", data, progress=kill)
    resumed = train(recipe, tmp_path / "killed", data)
    assert unbroken is not None
    assert resumed is not None
    assert (resumed / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_a_round_cannot_begin_from_the_mean_of_rounds_that_are_not_there(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    _begins_from_mean(recipe)
    recipe.write_text(recipe.read_text("utf-8").replace("from_mean_of = 2", "from_mean_of = 3"), "utf-8")
    with pytest.raises(ConfigError, match="round 3"):
        train(recipe, tmp_path / "out", data)


def test_the_mean_of_rounds_needs_their_ends(recipe: Path, data: Path, tmp_path: Path) -> None:
    _averaged(recipe, 2)
    train(recipe, tmp_path / "out", data)
    checkpoint = tmp_path / "out" / "lesion25d-0.0.1-run" / CHECKPOINT
    with safe_open(checkpoint, framework="pt") as stored:
        digest = stored.metadata()
    kept = {name: tensor for name, tensor in load_file(checkpoint).items() if not name.startswith("ends.0.")}
    save_file(kept, checkpoint, metadata=digest)
    with pytest.raises(OutputError, match="end of round 1"):
        train(recipe, tmp_path / "out", data)
    _averaged(recipe, 3)
    with pytest.raises(ConfigError, match="average_rounds"):
        train(recipe, tmp_path / "other", data)


def test_the_model_folder_serves_the_segmenter_and_its_card_tells_the_split(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    folder = train(recipe, tmp_path / "out", data)
    assert folder is not None
    segmenter = load_segmenter(load_config(overrides={"segment": {"model": str(folder), "device": "cpu"}}))
    result = evaluate(data / "tiny", segmenter)
    assert (result["cases_in_training"], result["cases_not_in_training"]) == (["a"], ["b", "c"])
    card = tomllib.loads((folder / "card.toml").read_text("utf-8"))
    assert card["training_cases"]["tiny"] == ["a"]
    held_out = evaluate(data / "tiny", segmenter, cases=("b", "c"))["pooled"]["dice"]
    assert card["story"]["metrics"]["tiny"]["lung"] == pytest.approx(held_out["lung"], abs=1e-4)
    assert card["story"]["calibration"]["fitted_on"] == ["tiny c"]
    # One case calibrates: the interval holds it, by construction, and says nothing else.
    assert card["story"]["calibration"]["coverage_where_fitted"]["tiny"]["lesion"]["covered"] == 1
    assert set(card["calibration"]["temperature"]) == {"lung", "lesion", "solid"}
    first = load_file(folder / "model.safetensors")
    assert all(np.isfinite(tensor.float().numpy()).all() for tensor in first.values())


def test_a_last_round_that_began_from_a_mean_can_be_ablated(recipe: Path, data: Path, tmp_path: Path) -> None:
    _begins_from_mean(recipe)
    train(recipe, tmp_path / "out", data)
    assert "everything" in ablate(recipe, tmp_path / "out", data, run_steps=2)


def test_a_share_of_what_is_not_made_is_told(recipe: Path, data: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text("utf-8").replace("tiny = 0.7", "tiny = 0.7, filled = 0.1"), "utf-8")
    with pytest.raises(ConfigError, match="filled"):
        train(recipe, tmp_path / "out", data)


def test_a_checkpoint_of_other_settings_is_not_continued(recipe: Path, data: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", data)
    recipe.write_text(recipe.read_text("utf-8").replace("gamma = 0.3", "gamma = 0.2"), "utf-8")
    with pytest.raises(OutputError, match="another configuration"):
        train(recipe, tmp_path / "out", data)


def test_a_run_with_a_further_round_goes_on_from_the_shorter_one(recipe: Path, data: Path, tmp_path: Path) -> None:
    """The rounds before are the same, so that it ends where a run with all of them does."""
    text = recipe.read_text("utf-8")
    begin, end = text.rindex("[[schedule.rounds]]"), text.index("[loss]")
    shorter = tmp_path / "shorter.toml"
    shorter.write_text(text[:begin] + text[end:], "utf-8")
    train(shorter, tmp_path / "longer", data)
    seen: list[int] = []
    longer = train(recipe, tmp_path / "longer", data, progress=lambda step, steps, figures: seen.append(step))
    straight = train(recipe, tmp_path / "straight", data)
    assert seen == [STEPS]
    assert longer is not None
    assert straight is not None
    assert (longer / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="another configuration"):
        train(shorter, tmp_path / "longer", data)


def test_the_time_limit_stops_with_a_checkpoint(recipe: Path, data: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text("utf-8").replace("max_minutes = 600.0", "max_minutes = 1e-9"), "utf-8")
    steps: list[int] = []
    for _ in range(STEPS - 1):
        assert train(recipe, tmp_path / "out", data, progress=lambda step, of, figures: steps.append(step)) is None
    assert train(recipe, tmp_path / "out", data, progress=lambda step, of, figures: steps.append(step)) is not None
    assert steps == list(range(1, STEPS + 1))


def test_ablations_leave_one_thing_out_and_stand_on_the_card(recipe: Path, data: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", data)
    table = ablate(recipe, tmp_path / "out", data, run_steps=2)
    made = {"everything", NO_WINDOW}
    assert set(table) == {"steps", "learning_rate", *made}, "what the last round does not draw cannot be left out"
    rows = [table[name] for name in made]
    assert all(0 <= figure <= 1 for row in rows for figure in row.values())
    folder = train(recipe, tmp_path / "out", data)
    assert folder is not None
    assert tomllib.loads((folder / "card.toml").read_text("utf-8"))["story"]["ablations"] == table
