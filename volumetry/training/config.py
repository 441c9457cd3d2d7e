"""What a training run does: TOML in, validated and frozen settings out."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, model_validator

from volumetry.segment.card import PictureSettings
from volumetry.segment.preprocess import InputRecipe
from volumetry.storage.digests import canonical_sha256
from volumetry.storage.toml_file import Section, load_toml


class Model(Section):
    """What is made and what its card says of it.

    Parameters
    ----------
    continues, continues_sha256
        A model folder, and its card's digest. Its slices' network is where the weights start, with 0 for inputs
        that it does not know; its network of the whole chest is the one whose answer the slices see.
    chest_network, chest_network_sha256
        For a run from random weights: folder of a network of the whole chest, and the digest of its weights. The
        slices see its answer, and it goes into the model folder.
    lung_probability
        From where on that network calls a voxel of its grid lung, in which disease may lie.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    architecture: str
    channels: tuple[int, ...] = Field(min_length=2)
    residual_units: int = Field(ge=0)
    intended_use: str
    never_tested_on: str
    licence: str = "research only: the weights inherit the terms of the data below"
    remark: str = ""
    continues: str = ""
    continues_sha256: str = ""
    chest_network: str = ""
    chest_network_sha256: str = ""
    lung_probability: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_network_of_the_chest(self) -> Self:
        if self.continues and self.chest_network:
            raise ValueError("a model that is continued brings its own network of the whole chest")
        return self


class Round(Section):
    """Some steps with a learning rate that warms up and falls to nothing.

    Parameters
    ----------
    shares
        Of piles that other rounds do not draw from, or in this round instead of the data's own.
    from_mean_of
        The round begins with the mean of the weights at the ends of so many rounds before it, and with a fresh
        optimiser; 0 goes on with the weights as they are.
    threads
        In place of the schedule's; with another number, sums are taken in another order and weights differ.
    augment
        Settings of `Augment` in place of the run's own.
    exact_window
        Scans are shown in the window in which they are measured, so that a grey level stands for one density.
        Otherwise the window varies by more than a hundred HU from slice to slice.
    """

    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    shares: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    from_mean_of: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, gt=0)
    augment: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    exact_window: bool = False


class Schedule(Section):
    """How long and how fast."""

    seed: int = Field(ge=0)
    rounds: tuple[Round, ...] = Field(min_length=1)
    batch: int = Field(gt=0)
    crop_px: int = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    average_rounds: int = Field(default=1, ge=1)
    """The model's weights are the mean of those at the ends of the last so many rounds."""
    max_minutes: float = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    validate_every: int = Field(gt=0)
    precision: Literal["fp32", "bf16"]
    threads: int = Field(gt=0)

    @property
    def steps(self) -> int:
        """Of all rounds."""
        return sum(part.steps for part in self.rounds)

    @property
    def ends(self) -> tuple[int, ...]:
        """Steps taken at the end of each round."""
        return tuple(accumulate(part.steps for part in self.rounds))

    def round_of(self, step: int) -> tuple[Round, int]:
        """The round that `step` (from 0) belongs to, and its place in it; after the end, the last one."""
        for part in self.rounds[:-1]:
            if step < part.steps:
                return part, step
            step -= part.steps
        return self.rounds[-1], step

    def stretches(self, step: int) -> Iterator[tuple[bool, int]]:
        """Whether scans are shown in their exact window from `step` on, and up to which step; so on to the end.

        After the end, the last stretch.
        """
        for exact, parts in groupby(
            zip(self.rounds, self.ends, strict=True), key=lambda part: part[0].exact_window
        ):
            last = max(end for _, end in parts)
            if step < last or last == self.steps:
                yield exact, last


class Loss(Section):
    """Weight of each output in the loss."""

    lung: float = Field(ge=0)
    lesion: float = Field(ge=0)
    solid: float = Field(ge=0)


class Augment(Section):
    """How far a picture may be changed and still be a chest CT."""

    rotate_deg: float = Field(ge=0)
    scale_low: float = Field(gt=0)
    scale_high: float = Field(gt=0)
    flip: float = Field(ge=0, le=1)
    gamma: float = Field(ge=0)
    contrast: float = Field(ge=0)
    brightness: float = Field(ge=0)
    noise: float = Field(ge=0)
    blur: float = Field(ge=0)
    crop_to_lung: float = Field(ge=0, le=1)
    only_enhanced: float = Field(ge=0, le=1)
    only_window: float = Field(ge=0, le=1)
    no_neighbours: float = Field(default=0.0, ge=0, le=1)
    no_chest: float = Field(default=0.0, ge=0, le=1)
    wrong_chest: float = Field(default=0.0, ge=0, le=1)
    window_contrast: float = Field(ge=0)
    window_brightness: float = Field(ge=0)


class Slices(Section):
    """A folder of labelled 8-bit slices with its ``dataset.toml``."""

    folder: str
    share: float = Field(gt=0)
    held_out_cases: tuple[str, ...] = ()
    calibration_cases: tuple[str, ...] = ()
    source: str
    terms: str


class Scan(Section):
    """A chest CT in HU whose slices without disease are known: from a reader's table, or because it has none."""

    folder: str
    infected_csv: str = ""
    source: str
    terms: str


class Masked(Section):
    """A CT volume with a lung mask, both as NIfTI; its disease is not known."""

    image: str
    mask: str
    source: str
    terms: str


class ChestVolume(Section):
    """A whole chest on the network's grid, as NIfTI in HU, with a mask of its lungs: 1 lung, 255 unknown.

    Parameters
    ----------
    tumour, tumour_from
        A labelled tumour: what has at least this value; of lower values nothing is known.
    own_disease
        Boxes in voxels (from and to along k, j, i) that hold the patient's own disease or a fault of the mask.
    pattern_volumes, filled_volumes, faint_volumes
        How often diffuse disease is drawn into the chest, any part of a lung filled, and faint ground glass drawn.
    diseased
        Of what lies in the lungs nothing is known; what lies outside them is no lesion.
    held_out
        Never learned from.
    calibrates
        Probabilities, thresholds and intervals are fitted to disease drawn into it, so that their coverage is not
        judged there. What is found in it without drawn disease still counts as held out from the weights alone.
    """

    image: str
    lungs: str
    tumour: str = ""
    tumour_from: int = Field(default=1, ge=1)
    own_disease: tuple[tuple[int, int, int, int, int, int], ...] = ()
    pattern_volumes: int = Field(default=0, ge=0)
    filled_volumes: int = Field(default=0, ge=0)
    faint_volumes: int = Field(default=0, ge=0)
    diseased: bool = False
    held_out: bool = False
    calibrates: bool = False
    source: str
    terms: str

    @model_validator(mode="after")
    def _unseen(self) -> "ChestVolume":
        if self.calibrates and not self.held_out:
            raise ValueError("a chest that calibrates must be held out")
        return self

    @property
    def name(self) -> str:
        """Of the patient: the file's name up to the first dot."""
        return Path(self.image).name.split(".")[0]


class Judged(Section):
    """A chest CT in HU that is never learned from, with a reader's table of infected slices."""

    folder: str
    infected_csv: str


class Data(Section):
    """What is learned from; paths are relative to the data root."""

    root: str
    scan_share: float = Field(ge=0)
    synthetic_share: float = Field(ge=0)
    masked_share: float = Field(ge=0)
    phantom_share: float = Field(ge=0)
    phantom_slices: int = Field(ge=0)
    phantom_volumes: int = Field(default=0, ge=0)
    synthetic_volumes: int = Field(ge=0)
    filled_volumes: int = Field(default=0, ge=0)
    faint_volumes: int = Field(default=0, ge=0)
    held_out_block_slices: int = Field(gt=0)
    slices: tuple[Slices, ...] = ()
    scans: tuple[Scan, ...] = ()
    masked: tuple[Masked, ...] = ()
    chests: tuple[ChestVolume, ...] = ()
    judged: tuple[Judged, ...] = ()

    def held_out(self, slices: int) -> NDArray[np.bool_]:
        """Which slices of a scan are kept for judging: every other block, feet first."""
        judged: NDArray[np.bool_] = (np.arange(slices) // self.held_out_block_slices) % 2 == 1
        return judged


class TrainConfig(Section):
    """All settings of a training run."""

    model: Model
    input: PictureSettings
    schedule: Schedule
    loss: Loss
    augment: Augment
    data: Data

    @model_validator(mode="after")
    def _crop_fits(self) -> "TrainConfig":
        step = 2 ** (len(self.model.channels) - 1)
        if self.schedule.crop_px % step:
            raise ValueError(f"schedule.crop_px must be a multiple of {step}, got {self.schedule.crop_px}")
        for spec in self.data.slices:
            if not set(spec.calibration_cases) <= set(spec.held_out_cases):
                raise ValueError("calibration_cases must be among the held_out_cases")
        if self.schedule.average_rounds > len(self.schedule.rounds):
            raise ValueError("schedule.average_rounds is more than there are rounds")
        for number, part in enumerate(self.schedule.rounds):
            if part.from_mean_of > number:
                raise ValueError(f"round {number + 1} begins from the mean of more rounds than came before it")
            Augment.model_validate(self.augment.model_dump() | part.augment)
        if self.augment.scale_low > self.augment.scale_high:
            raise ValueError("augment.scale_low is above augment.scale_high")
        return self

    @property
    def sha256(self) -> str:
        """Digest of what decides the weights; a checkpoint continues only under the settings it was made with."""
        prose: dict[str, Any] = {"model": {"intended_use", "never_tested_on", "remark", "licence", "continues"}}
        prose["model"].add("chest_network")
        # Digests of configurations from before there was any of this.
        data: dict[str, Any] = {
            name: True for name in ("phantom_volumes", "faint_volumes") if not getattr(self.data, name)
        }
        later = {
            name
            for name in ("diseased", "calibrates", "faint_volumes")
            if not any(getattr(chest, name) for chest in self.data.chests)
        }
        data["chests"] = {"__all__": later} if self.data.chests else True
        prose["data"] = data
        prose["input"] = {"enhance_scans"}  # how scans are measured, not how they are learned from
        if not self.model.continues:
            prose["model"].add("continues_sha256")
        if not self.model.chest_network:
            prose["model"] |= {"chest_network_sha256", "lung_probability"}
        later = {"no_neighbours", "no_chest", "wrong_chest"}
        prose["augment"] = {name for name in later if not getattr(self.augment, name)}
        schedule: dict[str, Any] = {"average_rounds": True} if self.schedule.average_rounds == 1 else {}
        later = {"from_mean_of", "threads", "augment", "exact_window"}
        unset = {name for name in later if not any(getattr(part, name) for part in self.schedule.rounds)}
        if unset:
            schedule["rounds"] = {"__all__": unset}
        prose["schedule"] = schedule
        settings = self.model_dump(mode="json", exclude=prose)
        settings["data"]["dense_volumes"] = 0  # of a pile that is no longer drawn; earlier digests hold it
        return canonical_sha256(settings)

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of this configuration and of it without its last rounds, whose checkpoints it goes on from."""
        rounds = self.schedule.rounds
        parts = (
            self.schedule.model_copy(update={"rounds": rounds[:count], "average_rounds": averaged})
            for count in range(1, len(rounds) + 1)
            for averaged in {1, self.schedule.average_rounds}  # which is for the model alone, not for a checkpoint
        )
        return tuple(self.model_copy(update={"schedule": part}).sha256 for part in parts)

    @property
    def measuring_recipe(self) -> InputRecipe:
        """How pictures are made when a scan is measured; stands on the card."""
        return InputRecipe(**self.input.model_dump(), pad_multiple=2 ** (len(self.model.channels) - 1))

    @property
    def input_recipe(self) -> InputRecipe:
        """How pictures are made for training: all of them, of scans too."""
        return replace(self.measuring_recipe, enhance_scans=True)


def load_recipe(path: Path) -> TrainConfig:
    """Settings of a training run.

    Parameters
    ----------
    path
        TOML file.

    Returns
    -------
    TrainConfig
        Valid.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing or out of range.
    """
    return load_toml(path, TrainConfig, hint="Compare the file with configs/train-lesion25d.toml.")
