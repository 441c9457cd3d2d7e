"""What a training run of the coarse chest network does: TOML in, validated and frozen settings out."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from volumetry.segment.thorax import stride_of
from volumetry.storage.toml_file import load_toml

ARCHITECTURE = "monai-unet-3d"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(_Section):
    """What is made and what its card says of it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    architecture: str = Field(pattern=rf"^{ARCHITECTURE}$")
    channels: tuple[int, ...] = Field(min_length=4)
    coarse_mm: float = Field(gt=0)
    intended_use: str
    never_tested_on: str
    licence: str
    remark: str = ""


class Schedule(_Section):
    """How long and how fast: a linear warm-up, a constant rate, and a linear way down at the end."""

    seed: int = Field(ge=0)
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    last_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    checkpoint_every: int = Field(gt=0)
    validate_every: int = Field(gt=0)
    threads: int = Field(gt=0)


class Loss(_Section):
    """Weight of each region's overlap beside the cross-entropy, which has weight 1."""

    body: float = Field(ge=0)
    lung: float = Field(ge=0)
    fluid: float = Field(ge=0)
    airway: float = Field(ge=0)
    mediastinum: float = Field(ge=0)
    abdomen: float = Field(ge=0)


class Draw(_Section):
    """Share of samples into which each kind of thing is drawn."""

    disease: float = Field(ge=0, le=1)
    organs: float = Field(ge=0, le=1)
    fluid: float = Field(ge=0, le=1)


class Augment(_Section):
    """How far a chest may be changed and still be one."""

    rotate_deg: float = Field(ge=0)
    scale_ln: float = Field(ge=0)
    shift: float = Field(ge=0)
    mirror: float = Field(ge=0, le=1)
    bend_mm: float = Field(ge=0)
    cut: float = Field(ge=0, le=1)
    arms: float = Field(ge=0, le=1)
    noise_hu: float = Field(ge=0)
    offset_hu: float = Field(ge=0)


class ChestFile(_Section):
    """One chest and what is known of it; paths are relative to the data root.

    Parameters
    ----------
    image
        A NIfTI volume in HU, or a folder of DICOM.
    lungs
        A mask on the same grid: 1 lung, 255 unknown. Without it the lungs are found by threshold.
    lungs_above
        If positive, what is higher than this in `lungs` is lung, and nothing is unknown.
    organs, scheme
        Labels of organs on the same grid, and whose numbers they are.
    tumour, tumour_from
        A tumour on the same grid: what has at least this value.
    diseased
        What a threshold misses may be lung.
    thin_mm
        Half the thickness up to which what is dense is no body but a blanket; less where a chest wall is thin.
    """

    name: str
    image: str
    lungs: str = ""
    lungs_above: float = Field(default=0, ge=0)
    organs: str = ""
    scheme: str = ""
    tumour: str = ""
    tumour_from: int = Field(default=1, ge=1)
    diseased: bool = False
    thin_mm: float = Field(default=3.0, gt=0)
    held_out: bool = False
    source: str
    terms: str


class Data(_Section):
    """What is learned from, and what is kept to be judged by: whole patients."""

    root: str
    stored_mm: float = Field(gt=0)
    sample_shape: tuple[int, int, int]
    chests: tuple[ChestFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Data":
        names = [chest.name for chest in self.chests]
        if len(set(names)) < len(names):
            raise ValueError("two chests have the same name")
        return self


class ThoraxConfig(_Section):
    """All settings of a training run."""

    model: Model
    schedule: Schedule
    loss: Loss
    draw: Draw
    augment: Augment
    data: Data

    @model_validator(mode="after")
    def _sample_fits(self) -> "ThoraxConfig":
        stride = stride_of(self.model.channels)
        if any(n % stride for n in self.data.sample_shape):
            raise ValueError(f"data.sample_shape must hold multiples of {stride}, got {self.data.sample_shape}")
        if self.schedule.warmup_steps + self.schedule.last_steps > self.schedule.steps:
            raise ValueError("schedule.warmup_steps and last_steps are more than steps")
        return self

    @property
    def sha256(self) -> str:
        """Digest of what decides the weights."""
        return self._digest(set())

    def sha256_at(self, step: int) -> str:
        """Digest of what decided the weights up to a step; a checkpoint goes on under settings that agree so far.

        Where the run ends decides nothing before its rate goes down. So a run may be made longer or shorter while
        its rate is constant, and ends as one that was so from the start.
        """
        constant = step <= self.schedule.steps - self.schedule.last_steps
        return self._digest({"steps", "last_steps"} if constant else set())

    def _digest(self, later: set[str]) -> str:
        prose = {"intended_use", "never_tested_on", "licence", "remark"}
        decides = self.model_dump(mode="json", exclude={"model": prose, "schedule": later})
        canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def load_thorax_config(path: Path) -> ThoraxConfig:
    """Settings of a training run.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing or out of range.
    """
    return load_toml(path, ThoraxConfig, hint="Compare the file with configs/train-thorax3d.toml.")
