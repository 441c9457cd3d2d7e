"""What a run takes over: the weights of a model that it goes on from, and a network of the whole chest.

Inputs that the model did not know get weights of 0, so the run begins with the answers that the model gives.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from volumetry.errors import ModelError
from volumetry.segment.card import CARD, ContextCard, StoredFile, read_card, stored_tensors, verified_bytes
from volumetry.segment.thorax_weights import load_context, read_context_card
from volumetry.segment.weights import find_model
from volumetry.storage.atomic import write_whole
from volumetry.training.checkpoint import State
from volumetry.training.config import TrainConfig
from volumetry.training.shown import Looks

PARTS = ("weights", "probe_input", "probe_output")
"""Files of a network in a model folder."""


def continued_model(config: TrainConfig) -> Path | None:
    """Folder of the model that a run goes on from, None if it starts from random weights.

    Raises
    ------
    ModelError
        If it is not there, or not the one that the configuration states.
    """
    if not config.model.continues:
        return None
    folder = find_model(config.model.continues)
    if read_card(folder).sha256 != config.model.continues_sha256:
        raise ModelError(
            f"{folder.name} is not the model that the configuration continues",
            hint="model.continues_sha256 is the digest that its results state as model_sha256.",
        )
    return folder


def looks_of(config: TrainConfig) -> Looks:
    """How scans are seen in a run: by its recipe, and by the network of the whole chest that it takes over.

    Raises
    ------
    ModelError
        If a folder is not there, or not the one that the configuration states.
    """
    found = _chest_network(config)
    return Looks(config.input_recipe, load_context(*found) if found else None)


def _chest_network(config: TrainConfig) -> tuple[Path, ContextCard] | None:
    """Folder and card of the network of the whole chest, None without one."""
    if not config.model.chest_network:
        folder = continued_model(config)
        context = read_card(folder).context if folder else None
        return (folder, context) if folder and context else None
    folder = Path(config.model.chest_network)
    card = read_context_card(folder).model_copy(update={"lung_probability": config.model.lung_probability})
    if card.weights.sha256 != config.model.chest_network_sha256:
        raise ModelError(
            f"{folder.name} is not the network of the whole chest that the configuration states",
            hint="model.chest_network_sha256 is the digest of its weights, which its card states.",
        )
    return folder, card


def take_over(state: State, config: TrainConfig) -> None:
    """Put the weights of the model that a run goes on from into its networks; nothing, if there is none.

    Raises
    ------
    ModelError
        If its architecture is another.
    """
    folder = continued_model(config)
    if folder is None:
        return
    old = stored_tensors(folder, read_card(folder).weights)
    for network in (state.network, state.average):
        network.load_state_dict(_widened(old, network.state_dict(), folder.name))


def _widened(
    old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """Weights for more inputs: 0 for those that the old ones do not have."""
    if old.keys() != new.keys():
        raise ModelError(f"the architecture of {name} is not that of the configuration")
    widened = {}
    for key, tensor in new.items():
        shape = old[key].shape
        if shape == tensor.shape:
            widened[key] = old[key]
            continue
        if len(shape) < 2 or shape[:1] + shape[2:] != tensor.shape[:1] + tensor.shape[2:] or shape > tensor.shape:
            raise ModelError(f"the architecture of {name} is not that of the configuration")
        widened[key] = torch.zeros_like(tensor)
        widened[key][:, : shape[1]] = old[key]
    return widened


def copy_context(source: Path, stored: Mapping[str, StoredFile], folder: Path, prefix: str = "") -> dict[str, Any]:
    """Copy the files of a network of the chest into a model folder; what its card says of them."""
    entries = {}
    for part, file in stored.items():
        write_whole(folder / f"{prefix}{file.file}", verified_bytes(source, file))
        entries[part] = {"file": f"{prefix}{file.file}", "sha256": file.sha256}
    return entries


def context_of(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """The ``context`` of a card, its files copied into `folder`; empty without a network of the whole chest."""
    found = _chest_network(config)
    if found is None:
        return {}
    source, card = found
    stored = {part: getattr(card, part) for part in PARTS}
    told = tomllib.loads((source / CARD).read_text("utf-8"))
    if config.model.chest_network:
        told, prefix = told | {"lung_probability": card.lung_probability}, f"{card.name}_"
    else:
        told, prefix = told["context"], ""
    return {"context": told | copy_context(source, stored, folder, prefix)}
