"""`volumetry train`: data in, a model folder out; killed at any time, it continues from where it was."""

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from volumetry.errors import ConfigError
from volumetry.segment.network import chosen_device, fix_cublas_workspace
from volumetry.segment.weights import build_network, channels_last
from volumetry.training.augment import Drawing
from volumetry.training.checkpoint import (
    CHECKPOINT,
    CURVES,
    State,
    begin_from_mean,
    due,
    follow,
    keep_end,
    load_checkpoint,
    mean_of_ends,
    save_checkpoint,
    trim,
)
from volumetry.training.config import Schedule, TrainConfig, load_recipe
from volumetry.training.continued import take_over
from volumetry.training.curves import draw_curves
from volumetry.training.dataset import Bank, build_bank
from volumetry.training.held_out_metrics import pooled_dice
from volumetry.training.package import write_model_folder
from volumetry.training.samples import OUTPUTS

Progress = Callable[[int, int, Mapping[str, float]], None]


def train(
    config_path: Path,
    out: Path,
    data: Path | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
) -> Path | None:
    """Train as the configuration says and write the model folder.

    Parameters
    ----------
    config_path
        A training configuration, ``configs/train-*.toml``.
    out
        Where the model folder goes; the run's own files lie beside it in ``<name>-<version>-run/``.
    data
        Data root, instead of the configuration's.
    device
        ``auto``, ``cpu`` or ``cuda``.
    resume
        Continue a checkpoint of this very configuration if there is one.
    progress
        Called after each step with step, steps and the latest figures.

    Returns
    -------
    Path or None
        The model folder; None if the time limit came first (run again to continue).

    Raises
    ------
    OutputError
        If a checkpoint of another configuration is in the way.
    ConfigError, InputError
        If the configuration or the data are wrong.
    """
    config, device = load_recipe(config_path), chosen_device(device)
    run = out / f"{config.model.name}-{config.model.version}-run"
    run.mkdir(parents=True, exist_ok=True)
    prepare(config.schedule)
    root = data or Path(config.data.root)
    state = new_state(config, device)
    take_over(state, config)
    if resume and (run / CHECKPOINT).is_file():
        load_checkpoint(run / CHECKPOINT, state, config.digests)
    trim(run / CURVES, state.step)
    bank = _run(config, partial(_bank, config_path.name, config, root), state, run, device, progress)
    if bank is None:
        return None
    draw_curves(run / CURVES, run / "curves.png")
    network = mean_of_ends(state, len(config.schedule.rounds), config.schedule.average_rounds)
    return write_model_folder(out, config, bank, network, root)


def _bank(name: str, config: TrainConfig, root: Path, exact_window: bool) -> Bank:
    """What rounds learn from; there is everything that they draw."""
    bank = build_bank(config, root, exact_window)
    drawn = {pile for part in config.schedule.rounds for pile, share in part.shares.items() if share}
    if missing := drawn - set(bank.piles):
        raise ConfigError(
            f"{name}: schedule.rounds draws from what is not there: {', '.join(sorted(missing))}",
            hint=f"The data make {', '.join(sorted(bank.piles))}; see data.filled_volumes and data.faint_volumes.",
        )
    return bank


def _run(
    config: TrainConfig,
    bank_of: Callable[[bool], Bank],
    state: State,
    run: Path,
    device: str,
    progress: Progress | None,
) -> Bank | None:
    """Take the steps that are left, leaving checkpoints and curves; the last data, None if time ran out."""
    plan, bank = config.schedule, None
    started = time.monotonic()
    with (run / CURVES).open("a", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        for exact_window, last in plan.stretches(state.step):
            bank = None  # the next data take as much memory
            bank = bank_of(exact_window)
            for figures in steps(config, bank, state, device, last):
                if due(state.step, plan.validate_every, plan.steps):
                    figures |= pooled_dice(state.average, bank.held_out, config.input_recipe, device)
                rows.writerows((state.step, name, f"{value:.6g}") for name, value in figures.items())
                if progress:
                    progress(state.step, plan.steps, figures)
                late = time.monotonic() - started > 60 * plan.max_minutes
                if late or due(state.step, plan.checkpoint_every, plan.steps):
                    stream.flush()
                    save_checkpoint(run / CHECKPOINT, state, config.sha256)
                if late and state.step < plan.steps:
                    return None
    return bank


def prepare(schedule: Schedule) -> None:
    """Seed and threads; two runs of one configuration on one machine give the same weights."""
    torch.set_num_threads(schedule.threads)
    torch.manual_seed(schedule.seed)
    fix_cublas_workspace()
    torch.use_deterministic_algorithms(True, warn_only=True)


def new_state(config: TrainConfig, device: str) -> State:
    """Fresh weights, their running average, and the optimiser."""
    torch.manual_seed(config.schedule.seed)

    def network() -> nn.Module:
        model = config.model
        inputs, outputs = len(config.input.inputs), len(OUTPUTS)
        return channels_last(
            build_network(model.architecture, inputs, model.channels, model.residual_units, outputs), device
        )

    learner, average = network(), network()
    average.load_state_dict(learner.state_dict())
    average.eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        learner.parameters(), lr=config.schedule.rounds[0].learning_rate, weight_decay=config.schedule.weight_decay
    )
    return State(learner, average, optimiser)


def steps(
    config: TrainConfig, bank: Bank, state: State, device: str, last: int | None = None
) -> Iterator[dict[str, float]]:
    """Train one step after the other from where `state` is; gives each step's loss and learning rate.

    Up to the step `last`, or to the end.
    """
    schedule = config.schedule
    drawing = Drawing(bank, config.augment, config.input_recipe, schedule)
    weight = torch.tensor([getattr(config.loss, name) for name in OUTPUTS], device=device)
    while state.step < (schedule.steps if last is None else last):
        part, done = schedule.round_of(state.step)
        torch.set_num_threads(part.threads or schedule.threads)
        if done == 0 and part.from_mean_of:
            begin_from_mean(state, schedule.ends.index(state.step) + 1, part.from_mean_of)
        picture, value, known = (part.to(device) for part in drawing.step(state.step))
        rate = learning_rate(schedule, state.step)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.network.train()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=schedule.precision == "bf16"):
            logits = state.network(picture.contiguous(memory_format=torch.channels_last))
        loss = masked_loss(logits.float(), value, known, weight)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
        state.optimiser.step()
        state.step += 1
        follow(state, schedule.ema_decay)
        if state.step in schedule.ends:
            keep_end(state, schedule.ends.index(state.step))
        yield {"loss": float(loss.detach()), "learning_rate": rate}


def learning_rate(schedule: Schedule, step: int) -> float:
    """In each round a linear warm-up, then half a cosine down to nothing."""
    part, step = schedule.round_of(step)
    if step < schedule.warmup_steps:
        return part.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, part.steps - schedule.warmup_steps)
    return part.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def masked_loss(
    logits: torch.Tensor, value: torch.Tensor, known: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy plus one minus soft Dice for each output, over the pixels where that output is known.

    Parameters
    ----------
    logits, value, known
        (n, outputs, j, i): logits, labels 0 or 1, and 1 where the label is known.
    weight
        One per output.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    where = (0, 2, 3)
    entropy = functional.binary_cross_entropy_with_logits(logits, value, reduction="none")
    entropy = (entropy * known).sum(where) / known.sum(where).clamp(min=1)
    probability = torch.sigmoid(logits) * known
    overlap = (probability * value).sum(where)
    dice = (2 * overlap + 1) / (probability.sum(where) + (value * known).sum(where) + 1)
    total: torch.Tensor = (weight * (entropy + 1 - dice)).sum() / weight.sum()
    return total
