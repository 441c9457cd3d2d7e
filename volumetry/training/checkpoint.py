"""Where a run is between two steps: kept on disk, taken up again, and its table of curves with it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from volumetry.errors import OutputError

CHECKPOINT = "checkpoint.safetensors"
CURVES = "curves.csv"


@dataclass(slots=True)
class State:
    """What a run is made of between two steps; a checkpoint holds all of it.

    Randomness is no part of it: a step's batch follows from the seed and the step's number.
    """

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0
    ends: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    """The average's weights at the end of each round, by its number from 0."""


def follow(state: State, decay: float) -> None:
    """The average follows the learner; faster at the start, so that it does not remember random weights."""
    share = min(decay, (1 + state.step) / (10 + state.step))
    learner = state.network.state_dict()
    with torch.no_grad():
        for name, kept in state.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(learner[name], 1 - share)
            else:
                kept.copy_(learner[name])


def keep_end(state: State, number: int) -> None:
    """Keep the average's weights as those at the end of a round."""
    state.ends[number] = {
        name: tensor.detach().cpu().clone() for name, tensor in state.average.state_dict().items()
    }


def mean_of_ends(state: State, rounds: int, count: int) -> nn.Module:
    """The average with the mean of its weights at the ends of the last rounds.

    Parameters
    ----------
    state
        Of a run that has ended.
    rounds
        Of the run.
    count
        Of the rounds, the last so many; 1 leaves the average as it is.

    Returns
    -------
    nn.Module
        Weights that were learned one after the other from one start lie close enough together for their mean to be
        a network (Izmailov et al., UAI 2018, arXiv:1803.05407).

    Raises
    ------
    OutputError
        If the run was begun by a version that did not keep the ends of rounds.
    """
    if count == 1:
        return state.average
    wanted = range(rounds - count, rounds)
    if missing := [number + 1 for number in wanted if number not in state.ends]:
        raise OutputError(
            f"the checkpoint does not hold the weights at the end of round {missing[0]}",
            hint="It was begun by an earlier version. Train from the start.",
        )
    mean = {
        name: torch.stack([state.ends[number][name] for number in wanted]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.average.state_dict().items()
    }
    state.average.load_state_dict(mean)
    return state.average


def begin_from_mean(state: State, rounds: int, count: int) -> None:
    """Learner and average become the mean of the last `count` of `rounds` rounds; the optimiser starts anew."""
    mean = mean_of_ends(state, rounds, count).state_dict()
    state.network.load_state_dict(mean)
    state.average.load_state_dict(mean)
    state.optimiser.state.clear()


def due(step: int, every: int, last: int) -> bool:
    """Whether something that is done every so many steps, and at the end, is done now."""
    return step % every == 0 or step == last


def trim(table: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint: they will be written again."""
    if table.is_file():
        kept = [line for line in table.read_text("utf-8").splitlines() if int(line.split(",")[0]) <= step]
        table.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def save_checkpoint(path: Path, state: State, digest: str) -> None:
    """Write everything a resumed run needs; moved into place when whole, so that a kill leaves the old one."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    for number, weights in state.ends.items():
        tensors |= {f"ends.{number}.{name}": tensor for name, tensor in weights.items()}
    tensors["step"] = torch.tensor(state.step)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    beside = path.with_suffix(".part")
    with beside.open("wb") as stream:
        stream.write(save_tensors(contiguous, metadata={"config_sha256": digest}))
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def step_of(path: Path) -> int:
    """How far a checkpoint's run had come."""
    with safe_open(path, framework="np") as stored:
        return int(stored.get_tensor("step"))


def load_checkpoint(path: Path, state: State, digests: Collection[str]) -> None:
    """Put `state` where the checkpoint was.

    Parameters
    ----------
    path
        Of the checkpoint.
    state
        Of a run of the same architecture.
    digests
        Of the configurations whose checkpoints the run may go on from.

    Raises
    ------
    OutputError
        If the checkpoint belongs to another configuration.
    """
    with safe_open(path, framework="pt") as stored:
        if (stored.metadata() or {}).get("config_sha256") not in digests:
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
    for name, tensor in _under(tensors, "ends.").items():
        number, weight = name.split(".", 1)
        state.ends.setdefault(int(number), {})[weight] = tensor


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
