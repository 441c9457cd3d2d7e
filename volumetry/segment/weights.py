"""The model folder: weights, their card, and a probe that shows if this machine computes what the maker's did.

Nothing here runs code that a file brings: weights are safetensors, the card is TOML, and the network is built by
name from the list below.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from volumetry.domain import SHARES
from volumetry.errors import ModelError
from volumetry.segment.monai_networks import Convolution, UNet
from volumetry.segment.preprocess import InputRecipe, PictureKind
from volumetry.storage.digests import canonical_sha256
from volumetry.storage.shipped import shipped
from volumetry.storage.toml_file import Section, load_toml

CARD = "card.toml"
PROBE_TOLERANCE = 1e-3


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


ARCHITECTURES = {"monai-unet-2d": _monai_unet_2d}


class Architecture(Section):
    """Name in our list, and its arguments."""

    name: str
    channels: tuple[int, ...] = Field(min_length=2, max_length=8)
    residual_units: int = Field(ge=0, le=8)
    outputs: tuple[str, ...] = Field(min_length=1)


class PictureSettings(Section):
    """How a scan becomes pictures; the fields of `InputRecipe` that a training configuration sets."""

    spacing_mm: float
    slab_mm: float
    hu_low: float
    hu_high: float
    clahe_tiles: int
    clahe_clip: float
    slice_side_px: int
    mean: float
    deviation: float
    window_low: float = -1050.0
    window_high: float = 200.0
    inputs: tuple[PictureKind, ...] = Field(("enhanced",), min_length=1)


class CardInput(PictureSettings):
    """How a scan becomes the network's input; the fields of `InputRecipe`."""

    pad_multiple: int


class StoredFile(Section):
    """A file of the model folder and its digest."""

    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class CardCalibration(Section):
    """What held-out cases say of this model's probabilities and shares.

    `temperature` divides each output's logit (Guo et al. 2017). `lesion_probability` is where a lesion begins, by
    what is looked at (`segment.cuts`). The rest makes the interval; see `domain.Doubt`.
    """

    temperature: dict[str, float]
    lesion_probability: dict[Literal["scans", "slices"], Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict
    )
    level: float = Field(gt=0, lt=1)
    reference: dict[str, float]
    floor_points: float = Field(ge=0)
    widening: dict[str, float]

    @model_validator(mode="after")
    def _all_there(self) -> "CardCalibration":
        if not (set(self.reference) == set(self.widening) == set(SHARES) and min(self.temperature.values()) > 0):
            raise ValueError(
                f"calibration must name {', '.join(SHARES)} and a positive temperature of each output"
            )
        return self


class Card(Section):
    """What a model is: the parts that a machine reads. The rest of the card is for people and stays in `story`."""

    name: str
    version: str
    architecture: Architecture
    input: CardInput
    weights: StoredFile
    probe_input: StoredFile
    probe_output: StoredFile
    training_cases: dict[str, list[str]] = Field(default_factory=dict)
    calibration: CardCalibration | None = None
    story: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _calibrates_its_outputs(self) -> "Card":
        if self.calibration and set(self.calibration.temperature) != set(self.architecture.outputs):
            raise ValueError("calibration.temperature must name the architecture's outputs")
        return self

    @property
    def sha256(self) -> str:
        """Digest of all that decides the model's numbers: the weights' own, how pictures are made, calibration."""
        parts = self.model_dump(mode="json", include={"architecture", "input", "weights", "calibration"})
        return canonical_sha256(parts)

    @property
    def temperature(self) -> tuple[float, ...]:
        """What each output's logit is divided by."""
        found = self.calibration.temperature if self.calibration else {}
        return tuple(found.get(name, 1.0) for name in self.architecture.outputs)

    @property
    def lesion_probability(self) -> Mapping[str, float]:
        """From which probability on a voxel is lesion, by what is looked at; empty if nobody fitted it."""
        fitted = self.calibration.lesion_probability if self.calibration else {}
        return {str(looked_at): cut for looked_at, cut in fitted.items()}

    @property
    def recipe(self) -> InputRecipe:
        """How pictures are made for this model."""
        return InputRecipe(**self.input.model_dump())


@dataclass(frozen=True, slots=True)
class Model:
    """A verified network, ready to compute.

    Parameters
    ----------
    network
        In evaluation mode, float32, on the CPU.
    card, folder
        Its description and where it came from.
    """

    network: nn.Module
    card: Card
    folder: Path


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
    """Folder of a model: ``default`` (the newest that ships), a shipped name like ``lesion2d-0.5.0``, or a path.

    Raises
    ------
    ModelError
        If there is none.
    """
    root = shipped("models")
    if name == "default":
        found = sorted((path.parent for path in root.glob(f"*/{CARD}")), key=_version_key)
        if not found:
            raise ModelError("no model ships with this installation")
        return found[-1]
    for folder in (root / name, Path(name)):
        if (folder / CARD).is_file():
            return folder
    raise ModelError(f"no model {Path(name).name!r}: neither shipped nor a folder with a {CARD}")


def _version_key(folder: Path) -> tuple[tuple[int, ...], str]:
    name, _, version = folder.name.rpartition("-")
    return tuple(int(part) if part.isdigit() else -1 for part in version.split(".")), name


def read_card(folder: Path) -> Card:
    """The card of a model folder.

    Raises
    ------
    ModelError
        If it is missing, not TOML, or lacks what is needed to build the network.
    """
    return load_toml(folder / CARD, Card, called=f"{folder.name}: {CARD}", stop=ModelError)


def verified_bytes(folder: Path, stored: StoredFile) -> bytes:
    """Contents of a file, read once and checked against its digest before anything looks inside.

    Raises
    ------
    ModelError
        If it is missing or was changed.
    """
    try:
        contents = (folder / stored.file).read_bytes()
    except OSError as wrong:
        raise ModelError(f"{folder.name}: cannot read {stored.file}: {wrong.strerror}") from wrong
    found = hashlib.sha256(contents).hexdigest()
    if found != stored.sha256:
        raise ModelError(f"{folder.name}: {stored.file}: sha256 {found[:12]} is not the one on its card")
    return contents


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
    tensors = _tensors(folder, card.weights)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as wrong:
        raise ModelError(f"{folder.name}: the weights do not fit the architecture on the card") from wrong
    return Model(fused(network.eval().requires_grad_(False)), card, folder)


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
    probe = _tensors(model.folder, model.card.probe_input)["input"]
    expected = _tensors(model.folder, model.card.probe_output)["probabilities"]
    with torch.inference_mode():
        found = torch.sigmoid(model.network.to(device)(probe.to(device)).float()).cpu()
    if found.shape != expected.shape:
        raise ModelError(
            f"{model.folder.name}: the probe's output is {tuple(found.shape)}, not {tuple(expected.shape)}"
        )
    difference = float((found - expected).abs().max())
    if not difference <= PROBE_TOLERANCE:
        raise ModelError(f"{model.folder.name}: the probe is off by {difference:.2g}, more than {PROBE_TOLERANCE}")
    return difference


def _tensors(folder: Path, stored: StoredFile) -> dict[str, torch.Tensor]:
    try:
        return load_tensors(verified_bytes(folder, stored))
    except SafetensorError as wrong:
        raise ModelError(f"{folder.name}: {stored.file} is not a safetensors file") from wrong
