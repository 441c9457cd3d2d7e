"""The run: chests in, a model folder out; killed at any time, it goes on from where it was."""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from volumetry.segment.network import chosen_device, fix_cublas_workspace
from volumetry.segment.thorax import ContextNetwork, Region, two_windows
from volumetry.training.checkpoint import (
    CHECKPOINT,
    CURVES,
    State,
    due,
    follow,
    load_checkpoint,
    save_checkpoint,
    step_of,
    trim,
)
from volumetry.training.curves import draw_curves
from volumetry.training.thorax.augment import batch_of
from volumetry.training.thorax.chests import Chest, load_chests
from volumetry.training.thorax.config import Schedule, ThoraxConfig, load_thorax_config
from volumetry.training.thorax.evaluate import coarse_figures, drawn_figures
from volumetry.training.thorax.loss import partial_loss
from volumetry.training.thorax.package import write_thorax_folder
from volumetry.training.thorax.scene import Scene

Progress = Callable[[int, int, Mapping[str, float]], None]


def train_thorax(
    config_path: Path,
    out: Path,
    data: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train as the configuration says and write the model folder.

    Parameters
    ----------
    config_path
        A training configuration, ``configs/train-thorax3d.toml``.
    out
        Where the model folder goes; the run's own files lie beside it in ``<name>-<version>-run/``.
    data
        Data root instead of the configuration's, or a file that `pack` made.
    device
        ``auto``, ``cpu`` or ``cuda``. On one kind of device the same configuration gives the same weights.
    progress
        Called after each step with step, steps and the latest figures.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    ConfigError, InputError
        If the configuration or the data are wrong.
    OutputError
        If a checkpoint of another configuration is in the way.
    """
    config, device = load_thorax_config(config_path), chosen_device(device)
    run = out / f"{config.model.name}-{config.model.version}-run"
    run.mkdir(parents=True, exist_ok=True)
    fix_cublas_workspace()
    torch.set_num_threads(config.schedule.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    root = data or Path(config.data.root)
    scenes = [Scene.of(chest, device) for chest in load_chests(config, root, held_out=False)]
    judged = list(load_chests(config, root, held_out=True))
    state = new_state(config, device)
    if (run / CHECKPOINT).is_file():
        load_checkpoint(run / CHECKPOINT, state, (config.sha256_at(step_of(run / CHECKPOINT)),))
    trim(run / CURVES, state.step)
    _run(config, scenes, judged, state, run, progress)
    draw_curves(run / CURVES, run / "curves.png", "Dice and shares, held-out chests")
    return write_thorax_folder(out, config, state.average, judged)


def new_state(config: ThoraxConfig, device: str) -> State:
    """Fresh weights, their running average, and the optimiser."""
    torch.manual_seed(config.schedule.seed)
    learner = ContextNetwork(config.model.channels).to(device)
    average = ContextNetwork(config.model.channels).to(device)
    average.load_state_dict(learner.state_dict())
    average.eval().requires_grad_(False)
    plan = config.schedule
    optimiser = torch.optim.AdamW(learner.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    return State(learner, average, optimiser)


def _run(
    config: ThoraxConfig,
    scenes: Sequence[Scene],
    judged: Sequence[Chest],
    state: State,
    run: Path,
    progress: Progress | None,
) -> None:
    """Take the steps that are left, leaving checkpoints and curves."""
    plan = config.schedule
    with (run / CURVES).open("a", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        for figures in steps(config, scenes, state):
            if due(state.step, plan.validate_every, plan.steps):
                figures |= coarse_figures(state.average, judged, config)
                figures |= drawn_figures(state.average, judged, config)
            rows.writerows((state.step, name, f"{value:.6g}") for name, value in figures.items())
            if progress:
                progress(state.step, plan.steps, figures)
            if due(state.step, plan.checkpoint_every, plan.steps):
                stream.flush()
                save_checkpoint(run / CHECKPOINT, state, config.sha256_at(state.step))


def steps(config: ThoraxConfig, scenes: Sequence[Scene], state: State) -> Iterator[dict[str, float]]:
    """Train one step after the other from where `state` is; gives each step's loss and learning rate."""
    plan, device = config.schedule, scenes[0].hu.device
    weight = torch.tensor([getattr(config.loss, region.name.lower()) for region in Region], device=device)
    for hu, regions in _batches(scenes, config, range(state.step, plan.steps)):
        rate = learning_rate(plan, state.step)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.network.train()
        loss = partial_loss(state.network(two_windows(hu)), regions, weight)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
        state.optimiser.step()
        state.step += 1
        follow(state, plan.ema_decay)
        yield {"loss": float(loss.detach()), "learning_rate": rate}


def _batches(
    scenes: Sequence[Scene], config: ThoraxConfig, numbers: range
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each step's batch; the next one is drawn while the network learns from this one."""
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(batch_of, scenes, config, numbers.start)
        for step in numbers:
            batch = following.result()
            following = ahead.submit(batch_of, scenes, config, step + 1)
            yield batch


def learning_rate(plan: Schedule, step: int) -> float:
    """Up within the first steps, then constant, and straight down to nothing within the last."""
    up = (step + 1) / max(1, plan.warmup_steps)
    down = (plan.steps - step) / max(1, plan.last_steps)
    return plan.learning_rate * min(1.0, up, down)


if __name__ == "__main__":  # on a machine without the command line's libraries; `pack` says when
    configuration, packed, runs, kind = sys.argv[1:]
    train_thorax(Path(configuration), Path(runs), Path(packed), kind)
