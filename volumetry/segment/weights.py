"""The model folder: weights, their card, and a probe that shows if this machine computes what the maker's did.

Nothing here runs code that a file brings: weights are safetensors, the card is TOML, and the network is built by
name from the list below.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from volumetry.errors import ModelError
from volumetry.segment.card import CARD, Card, probe_difference, read_card, stored_tensors
from volumetry.segment.monai_networks import Convolution, UNet
from volumetry.segment.thorax_weights import ContextModel, load_context
from volumetry.storage.shipped import shipped


def _monai_unet_2d(inputs: int, channels: tuple[int, ...], residual_units: int, outputs: int) -> nn.Module:
    """MONAI's residual U-Net on slices; every level strides, the first too."""
    network: nn.Module = UNet(
        spatial_dims=2,
        in_channels=inputs,
        out_channels=outputs,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=residual_units,
        norm="BATCH",
        act="RELU",
    )
    return network


BY_NAME_ONLY = ("open", "open25d")
"""Models of other terms, at some cost in accuracy: never the default, however new."""
ARCHITECTURES = {"monai-unet-2d": _monai_unet_2d}


@dataclass(frozen=True, slots=True)
class Model:
    """A verified network, ready to compute.

    Parameters
    ----------
    network
        In evaluation mode, float32, on the CPU.
    card, folder
        Its description and where it came from.
    context
        The coarse network of the whole chest that the card names, if it names one.
    """

    network: nn.Module
    card: Card
    folder: Path
    context: ContextModel | None = None


def build_network(
    architecture: str, inputs: int, channels: tuple[int, ...], residual_units: int, outputs: int
) -> nn.Module:
    """A network of our list with random weights.

    Raises
    ------
    ModelError
        If the name is not in the list.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"architecture {architecture!r} is not one of {sorted(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](inputs, channels, residual_units, outputs)


def channels_last(network: nn.Module, device: str) -> nn.Module:
    """The network on a device, laid out channels last: same numbers, and on a CPU up to twice as fast."""
    moved = network.to(device)
    # torch's stub knows memory_format only together with a tensor argument.
    return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # see above


def find_model(name: str) -> Path:
    """Folder of a model: ``default`` (the newest research model), a shipped name or the path of a folder.

    Raises
    ------
    ModelError
        If there is none.
    """
    root = shipped("models")
    if name == "default":
        folders = (path.parent for path in root.glob(f"*/{CARD}"))
        found = sorted((f for f in folders if f.name.rpartition("-")[0] not in BY_NAME_ONLY), key=_version_key)
        if not found:
            raise ModelError("no model ships with this installation")
        return found[-1]
    for folder in (root / name, Path(name)):
        if (folder / CARD).is_file():
            return folder
    raise ModelError(f"no model {Path(name).name!r}: neither shipped nor a folder with a {CARD}")


def _version_key(folder: Path) -> tuple[tuple[int, ...], str]:
    name, _, version = folder.name.rpartition("-")
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split(".")), name


def load_model(folder: Path) -> Model:
    """Check the digests, build the network that the card names, and load every tensor of its weights.

    Parameters
    ----------
    folder
        Of the model: card, weights and probe.

    Returns
    -------
    Model
        Without gradients, in evaluation mode, on the CPU.

    Raises
    ------
    ModelError
        If a file is missing or changed, or weights and architecture do not fit.
    """
    card = read_card(folder)
    plan = card.architecture
    inputs, outputs = len(card.input.inputs), len(plan.outputs)
    network = build_network(plan.name, inputs, plan.channels, plan.residual_units, outputs)
    tensors = stored_tensors(folder, card.weights)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as wrong:
        raise ModelError(f"{folder.name}: the weights do not fit the architecture on the card") from wrong
    context = load_context(folder, card.context) if card.context else None
    return Model(fused(network.eval().requires_grad_(False)), card, folder, context)


def fused(network: nn.Module) -> nn.Module:
    """The network with each batch norm folded into the convolution before it: the same function, a third cheaper.

    Only for inference; weights are folded in place.
    """
    for block in network.modules():
        if isinstance(block, Convolution) and isinstance(getattr(block, "adn", None), nn.Module):
            norm = getattr(block.adn, "N", None)
            if isinstance(norm, nn.BatchNorm2d):
                upward = isinstance(block.conv, nn.ConvTranspose2d)
                block.conv = fuse_conv_bn_eval(block.conv, norm, transpose=upward)
                block.adn.N = nn.Identity()
            if isinstance(getattr(block.adn, "A", None), nn.ReLU):
                block.adn.A = nn.ReLU(inplace=True)
    return network


def verify_probe(model: Model, device: str = "cpu") -> float:
    """Largest difference between the stored output and what this machine computes from the stored input.

    Parameters
    ----------
    model
        With its probe.
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
    probe = stored_tensors(model.folder, model.card.probe_input)["input"]
    expected = stored_tensors(model.folder, model.card.probe_output)["probabilities"]
    with torch.inference_mode():
        found = torch.sigmoid(model.network.to(device)(probe.to(device)).float()).cpu()
    return probe_difference(model.folder.name, found, expected)
