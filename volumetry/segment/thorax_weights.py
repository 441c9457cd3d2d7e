"""The coarse chest network of a model folder: verified, ready to look at a chest."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from volumetry.errors import ModelError
from volumetry.segment.card import CARD, ContextCard, probe_difference, stored_tensors
from volumetry.segment.thorax import ContextNetwork, Region, stride_of, two_windows
from volumetry.storage.toml_file import load_toml


@dataclass(frozen=True, slots=True)
class ContextModel:
    """A coarse chest network in evaluation mode, float32.

    Parameters
    ----------
    network
        HU in two windows to logits of the regions.
    card, folder
        What stands on the model's card, and where the files lie that it names.
    """

    network: nn.Module
    card: ContextCard
    folder: Path

    @property
    def coarse_mm(self) -> float:
        """Step of its grid."""
        return self.card.architecture.coarse_mm

    @property
    def stride(self) -> int:
        """Voxels of which its input's sides are multiples."""
        return stride_of(self.card.architecture.channels)


def read_context_card(folder: Path) -> ContextCard:
    """The card of a folder that holds a coarse chest network alone.

    Raises
    ------
    ModelError
        If it is missing, not TOML, or lacks what is needed to build the network.
    """
    return load_toml(folder / CARD, ContextCard, called=f"{folder.name}: {CARD}", stop=ModelError)


def load_context(folder: Path, card: ContextCard) -> ContextModel:
    """Digests first, then the network from our list, then every weight.

    Parameters
    ----------
    folder
        Of the model.
    card
        Names the files in it.

    Returns
    -------
    ContextModel
        Without gradients, on the CPU; `verify_context_probe` says whether this machine computes what it should.

    Raises
    ------
    ModelError
        If a file is missing or changed, or weights and card do not fit.
    """
    if card.architecture.outputs != tuple(region.name.lower() for region in Region):
        raise ModelError(f"{folder.name}: the outputs of {card.name} are not the regions of this version")
    network = ContextNetwork(card.architecture.channels)
    try:
        network.load_state_dict(stored_tensors(folder, card.weights), strict=True)
    except RuntimeError as wrong:
        raise ModelError(f"{folder.name}: the weights of {card.name} do not fit its architecture") from wrong
    return ContextModel(network.eval().requires_grad_(False), card, folder)


def verify_context_probe(model: ContextModel, device: str = "cpu") -> float:
    """Largest difference between the stored output and what this machine computes from the stored input.

    Parameters
    ----------
    model
        With its probe; its network is moved to the device.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    float
        Of probabilities, 0 to 1.

    Raises
    ------
    ModelError
        If it is larger than 1e-3: this machine, these libraries or these weights are not those of the card.
    """
    probe = stored_tensors(model.folder, model.card.probe_input)["hu"].to(device)
    expected = stored_tensors(model.folder, model.card.probe_output)["probabilities"]
    network = model.network.to(device)
    with torch.inference_mode():
        found = torch.softmax(network(two_windows(probe)).float(), 1).cpu()
    return probe_difference(model.card.name, found, expected)
