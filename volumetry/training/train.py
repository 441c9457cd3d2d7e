"""`volumetry train`: data in, a model folder out; killed at any time, it continues from where it was."""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn
from torch.nn import functional

from volumetry.errors import ConfigError, OutputError
from volumetry.segment.network import chosen_device, fix_cublas_workspace
from volumetry.segment.weights import build_network, channels_last
from volumetry.training.augment import Drawing
from volumetry.training.config import Schedule, TrainConfig, load_recipe
from volumetry.training.curves import draw_curves
from volumetry.training.dataset import Bank, build_bank
from volumetry.training.held_out_metrics import pooled_dice
from volumetry.training.package import write_model_folder
from volumetry.training.samples import OUTPUTS

CHECKPOINT = "checkpoint.safetensors"
CURVES = "curves.csv"

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(slots=True)
class State:
    """What a run is made of between two steps; a checkpoint holds all of it.

    Randomness is not part of it: a step's batch follows from the seed and the step's number.
    """

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0


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
    bank = build_bank(config, root)
    drawn = {pile for part in config.schedule.rounds for pile, share in part.shares.items() if share}
    if missing := drawn - set(bank.piles):
        raise ConfigError(
            f"{config_path.name}: schedule.rounds draws from what is not there: {', '.join(sorted(missing))}",
            hint=f"The data make {', '.join(sorted(bank.piles))}; see data.dense_volumes and data.filled_volumes.",
        )
    state = new_state(config, device)
    if resume and (run / CHECKPOINT).is_file():
        load_checkpoint(run / CHECKPOINT, state, config.sha256)
    _trim(run / CURVES, state.step)
    if not _run(config, bank, state, run, device, progress):
        return None
    draw_curves(run / CURVES, run / "curves.png")
    return write_model_folder(out, config, bank, state.average, root)


def _run(config: TrainConfig, bank: Bank, state: State, run: Path, device: str, progress: Progress | None) -> bool:
    """Take the steps that are left, leaving checkpoints and curves; False if the time limit came first."""
    plan = config.schedule
    started = time.monotonic()
    with (run / CURVES).open("a", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        for figures in steps(config, bank, state, device):
            if _due(state.step, plan.validate_every, plan.steps):
                figures |= pooled_dice(state.average, bank.held_out, config.input_recipe, device)
            rows.writerows((state.step, name, f"{value:.6g}") for name, value in figures.items())
            if progress:
                progress(state.step, plan.steps, figures)
            late = time.monotonic() - started > 60 * plan.max_minutes
            if late or _due(state.step, plan.checkpoint_every, plan.steps):
                stream.flush()
                save_checkpoint(run / CHECKPOINT, state, config.sha256)
            if late and state.step < plan.steps:
                return False
    return True


def _trim(table: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint: they will be written again."""
    if table.is_file():
        kept = [line for line in table.read_text("utf-8").splitlines() if int(line.split(",")[0]) <= step]
        table.write_text("".join(f"{line}\n" for line in kept), "utf-8")


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


def steps(config: TrainConfig, bank: Bank, state: State, device: str) -> Iterator[dict[str, float]]:
    """Train one step after the other from where `state` is; gives each step's loss and learning rate."""
    schedule = config.schedule
    drawing = Drawing(bank, config.augment, config.input_recipe, schedule)
    weight = torch.tensor([getattr(config.loss, name) for name in OUTPUTS], device=device)
    while state.step < schedule.steps:
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
        _follow(state, schedule.ema_decay)
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


def _follow(state: State, decay: float) -> None:
    """The average follows the learner; faster at the start, so that it does not remember random weights."""
    share = min(decay, (1 + state.step) / (10 + state.step))
    learner = state.network.state_dict()
    with torch.no_grad():
        for name, kept in state.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(learner[name], 1 - share)
            else:
                kept.copy_(learner[name])


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def save_checkpoint(path: Path, state: State, digest: str) -> None:
    """Write everything a resumed run needs; moved into place when whole, so that a kill leaves the old one."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors["step"] = torch.tensor(state.step)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    beside = path.with_suffix(".part")
    with beside.open("wb") as stream:
        stream.write(save_tensors(contiguous, metadata={"config_sha256": digest}))
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def load_checkpoint(path: Path, state: State, digest: str) -> None:
    """Put `state` where the checkpoint was.

    Raises
    ------
    OutputError
        If the checkpoint belongs to another configuration.
    """
    with safe_open(path, framework="pt") as stored:
        if (stored.metadata() or {}).get("config_sha256") != digest:
            raise OutputError(
                f"{path.parent.name} holds the checkpoint of another configuration",
                hint="Train into another folder, or start over without resuming.",
            )
    tensors = load_tensors(path.read_bytes())
    for prefix, module in (("network.", state.network), ("average.", state.average)):
        module.load_state_dict(_under(tensors, prefix))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        index, moment = name.split(".", 1)
        moments.setdefault(int(index), {})[moment] = tensor
    state.optimiser.load_state_dict({**state.optimiser.state_dict(), "state": moments})
    state.step = int(np.asarray(tensors["step"]))


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
