"""The card of a model folder: what a machine reads of it, and the files that it vouches for."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from volumetry.domain import SHARES
from volumetry.errors import ModelError
from volumetry.segment.preprocess import InputRecipe, PictureKind
from volumetry.storage.digests import canonical_sha256
from volumetry.storage.toml_file import Section, load_toml

CARD = "card.toml"
PROBE_TOLERANCE = 1e-3
"""Of probabilities: what the maker's machine and this one may differ by."""


class Architecture(Section):
    """Name in our list, and its arguments."""

    name: str
    channels: tuple[int, ...] = Field(min_length=2, max_length=8)
    residual_units: int = Field(ge=0, le=8)
    outputs: tuple[str, ...] = Field(min_length=1)


class PictureSettings(Section):
    """How a scan becomes pictures; the fields of `InputRecipe` that a training configuration sets.

    `enhance_scans` says how scans are measured; in training, scans are shown both ways.
    """

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
    enhance_scans: bool = True


class CardInput(PictureSettings):
    """How a scan becomes the network's input; the fields of `InputRecipe`."""

    pad_multiple: int


class StoredFile(Section):
    """A file of the model folder and its digest."""

    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


Fitted = dict[Literal["scans", "slices"], Annotated[float, Field(gt=0, lt=1)]]
"""A probability by what is looked at."""


class CardCalibration(Section):
    """What calibrating cases say of this model's probabilities and shares.

    `temperature` divides each output's logit (Guo et al. 2017). `lesion_probability` is where a lesion begins, and
    `solid_probability` where it is solid, by what is looked at (`segment.thresholds`). The rest makes the
    interval; see `domain.Doubt`, where `undecided` is the weight.
    """

    temperature: dict[str, float]
    lesion_probability: Fitted = Field(default_factory=dict)
    solid_probability: Fitted = Field(default_factory=dict)
    level: float = Field(gt=0, lt=1)
    reference: dict[str, float]
    floor_points: float = Field(ge=0)
    undecided: float = Field(0.0, ge=0)
    widening: dict[str, float]
    range: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _all_there(self) -> "CardCalibration":
        if not (set(self.reference) == set(self.widening) == set(SHARES) and min(self.temperature.values()) > 0):
            raise ValueError(
                f"calibration must name {', '.join(SHARES)} and a positive temperature of each output"
            )
        return self


class ContextArchitecture(Section):
    """Name in our list, and its arguments."""

    name: str = Field(pattern="^monai-unet-3d$")
    channels: tuple[int, ...] = Field(min_length=4, max_length=8)
    outputs: tuple[str, ...]
    coarse_mm: float = Field(gt=0)


class ContextCard(Section):
    """The coarse chest network: what a machine reads of it; the rest is for people and stays in `story`.

    ``lung_probability`` is from where on a voxel of its grid is lung, and may hold disease.
    """

    name: str
    version: str
    architecture: ContextArchitecture
    weights: StoredFile
    probe_input: StoredFile
    probe_output: StoredFile
    lung_probability: float = Field(0.5, gt=0, lt=1)
    training_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    story: dict[str, Any] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of all that decides the network's answer."""
        return canonical_sha256(
            self.model_dump(mode="json", include={"architecture", "weights", "lung_probability"})
        )


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
    context: ContextCard | None = None
    story: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _calibrates_its_outputs(self) -> "Card":
        if self.calibration and set(self.calibration.temperature) != set(self.architecture.outputs):
            raise ValueError("calibration.temperature must name the architecture's outputs")
        return self

    @property
    def sha256(self) -> str:
        """Digest of all that decides the model's numbers: both networks', how pictures are made, calibration."""
        parts = self.model_dump(mode="json", include={"architecture", "input", "weights", "calibration"})
        if self.input.enhance_scans:
            del parts["input"]["enhance_scans"]  # digests of cards from before there was a choice
        if self.calibration:
            del parts["calibration"]["range"]  # moves no number
            for added in ("solid_probability", "undecided"):
                if not parts["calibration"][added]:
                    del parts["calibration"][added]  # the same
        return canonical_sha256(parts | ({"context": self.context.sha256} if self.context else {}))

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
    def solid_probability(self) -> Mapping[str, float]:
        """From which probability on a lesion is solid, by what is looked at; empty if nobody fitted it."""
        fitted = self.calibration.solid_probability if self.calibration else {}
        return {str(looked_at): cut for looked_at, cut in fitted.items()}

    @property
    def recipe(self) -> InputRecipe:
        """How pictures are made for this model."""
        return InputRecipe(**self.input.model_dump())


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


def stored_tensors(folder: Path, stored: StoredFile) -> dict[str, torch.Tensor]:
    """Tensors of a file of a model folder, checked against its digest.

    Raises
    ------
    ModelError
        If it is missing, was changed or is not a safetensors file.
    """
    try:
        return load_tensors(verified_bytes(folder, stored))
    except SafetensorError as wrong:
        raise ModelError(f"{folder.name}: {stored.file} is not a safetensors file") from wrong


def probe_difference(name: str, found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference of a probe's probabilities from those on file.

    Raises
    ------
    ModelError
        If their shapes differ, or the difference is larger than `PROBE_TOLERANCE`.
    """
    if found.shape != expected.shape:
        raise ModelError(f"{name}: the probe's output is {tuple(found.shape)}, not {tuple(expected.shape)}")
    difference = float((found - expected).abs().max())
    if not difference <= PROBE_TOLERANCE:
        raise ModelError(f"{name}: the probe is off by {difference:.2g}, more than {PROBE_TOLERANCE}")
    return difference
