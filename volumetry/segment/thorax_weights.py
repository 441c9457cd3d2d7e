"""The model folder of the coarse chest network: weights, their card, and a probe."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from volumetry.errors import ModelError
from volumetry.segment.thorax import ContextNetwork, Region, stride_of, two_windows
from volumetry.segment.weights import CARD, PROBE_TOLERANCE, StoredFile, verified_bytes
from volumetry.storage.toml_file import load_toml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ContextArchitecture(_Part):
    """Name in our list, and its arguments."""

    name: str = Field(pattern="^monai-unet-3d$")
    channels: tuple[int, ...] = Field(min_length=4, max_length=8)
    outputs: tuple[str, ...]
    coarse_mm: float = Field(gt=0)


class ContextCard(_Part):
    """What a machine reads of the card; the rest is for people and stays in `story`."""

    name: str
    version: str
    architecture: ContextArchitecture
    weights: StoredFile
    probe_input: StoredFile
    probe_output: StoredFile
    training_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    story: dict[str, Any] = {}

    @property
    def sha256(self) -> str:
        """Digest of all that decides the network's answer."""
        parts = self.model_dump(mode="json", include={"architecture", "weights"})
        return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ContextModel:
    """A coarse chest network whose probe was reproduced, in evaluation mode, float32.

    Parameters
    ----------
    network
        HU in two windows to logits of the regions.
    card
        What stands on the model's card.
    """

    network: nn.Module
    card: ContextCard

    @property
    def coarse_mm(self) -> float:
        """Step of its grid."""
        return self.card.architecture.coarse_mm

    @property
    def stride(self) -> int:
        """Voxels of which its input's sides are multiples."""
        return stride_of(self.card.architecture.channels)


def load_context(folder: Path, device: str = "cpu") -> ContextModel:
    """Digests first, then the network from our list, then every weight, then the probe.

    Parameters
    ----------
    folder
        Of the model: card, weights and probe.
    device
        ``cpu`` or ``cuda``.

    Returns
    -------
    ContextModel
        Verified, on the device.

    Raises
    ------
    ModelError
        If a file is missing or changed, weights and card do not fit, or this machine computes something else than
        the maker's did.
    """
    card = load_toml(folder / CARD, ContextCard, called=f"{folder.name}: {CARD}", stop=ModelError)
    if card.architecture.outputs != tuple(region.name.lower() for region in Region):
        raise ModelError(f"{folder.name}: the card's outputs are not the regions of this version")
    network = ContextNetwork(card.architecture.channels)
    try:
        network.load_state_dict(_tensors(folder, card.weights), strict=True)
    except RuntimeError as wrong:
        raise ModelError(f"{folder.name}: the weights do not fit the architecture on the card") from wrong
    network = network.eval().requires_grad_(False).to(device)
    probe = _tensors(folder, card.probe_input)["hu"].to(device)
    expected = _tensors(folder, card.probe_output)["probabilities"]
    with torch.inference_mode():
        found = torch.softmax(network(two_windows(probe)), 1).cpu()
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    if not difference <= PROBE_TOLERANCE:
        raise ModelError(f"{folder.name}: the probe is off by {difference:.2g}, more than {PROBE_TOLERANCE}")
    return ContextModel(network, card)


def _tensors(folder: Path, stored: StoredFile) -> dict[str, torch.Tensor]:
    try:
        return load_tensors(verified_bytes(folder, stored))
    except SafetensorError as wrong:
        raise ModelError(f"{folder.name}: {stored.file} is not a safetensors file") from wrong
