"""Settings of the trial's tables: ``configs/trial.toml`` holds every key, a user's file states differences."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from volumetry.errors import ConfigError
from volumetry.storage.digests import canonical_sha256
from volumetry.storage.settings_files import merged_settings, read_toml
from volumetry.storage.toml_file import Section, validated
from volumetry.trial.analysis_config import (
    AdverseEvents,
    Estimands,
    Models,
    Multiplicity,
    Output,
    Responders,
    Sets,
    Share,
    Subgroups,
)

_JOINTS = "-_\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
Grade = Literal["A", "B", "C"]
MeasureName = Literal["lesion", "solid", "ground_glass"]
ScaleName = Literal["relative_percent", "absolute_points"]


@lru_cache(4096)  # a table repeats a few names in every row
def plain(name: str) -> str:
    """A visit's or an arm's name for comparison: no case, spaces, dashes of any kind or underscores.

    >>> plain("Day 28") == plain("day-28") == plain("DAY_28") == plain("Day\N{EN DASH}28")
    True
    """
    return "".join(c for c in name.casefold() if not c.isspace() and c not in _JOINTS)


class TrialConfigError(ConfigError):
    """A setting of the analysis does not fit the data."""

    hint = "Correct the setting that the message names; configs/trial.toml states what each setting means."


class Baseline(Section):
    """Which visit is the baseline."""

    names: tuple[str, ...] = Field(min_length=1)


class PlannedVisit(Section):
    """One planned visit: the names it goes by, its day and the window around it, ends included."""

    visit: str = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1)
    day: float
    earliest: float
    latest: float

    @model_validator(mode="after")
    def _in_order(self) -> "PlannedVisit":
        if not self.earliest <= self.day <= self.latest:
            raise ValueError(f"{self.visit}: earliest, day, latest must rise")
        return self


class Windows(Section):
    """How rows are given to planned visits."""

    assign: Literal["label", "day"]
    unscheduled: tuple[str, ...]
    max_day: float = Field(gt=0)
    planned: tuple[PlannedVisit, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Windows":
        names = [plain(name) for visit in self.planned for name in {plain(n) for n in visit.names}]
        if len(set(names)) < len(names):
            raise ValueError("two planned visits share a name")
        return self

    def named(self, name: str) -> PlannedVisit | None:
        """The planned visit that goes by this name."""
        return next((v for v in self.planned if plain(name) in {plain(n) for n in v.names}), None)


class Input(Section):
    """How the columns of visits.csv are called, and how dates are written."""

    subject: tuple[str, ...]
    visit: tuple[str, ...]
    day: tuple[str, ...]
    study_day: tuple[str, ...]
    date: tuple[str, ...]
    first_treatment: tuple[str, ...]
    arm: tuple[str, ...]
    scan_id: tuple[str, ...]
    status: tuple[str, ...]
    date_format: str
    sheet: str

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Further names of every column."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name not in ("date_format", "sheet")
        }


class Arms(Section):
    """Which arm is the reference, and what is compared with what."""

    reference: tuple[str, ...] = Field(min_length=1)
    compare: Literal["reference", "all_pairs"]


class Endpoint(Section):
    """What the trial asks first."""

    primary_measure: MeasureName
    primary_visit: str
    primary_scale: ScaleName
    scales: tuple[ScaleName, ...] = Field(min_length=1)
    small_baseline_percent: float = Field(ge=0)

    @model_validator(mode="after")
    def _primary_is_computed(self) -> "Endpoint":
        if self.primary_scale not in self.scales:
            raise ValueError("primary_scale must be one of scales")
        return self


class NormalCt(Section):
    """When a CT counts as normal."""

    lesion_percent_below: float = Field(gt=0, le=100)


class Word(Section):
    """What a word in a column of numbers stands for."""

    column: str = Field(min_length=1)
    word: str = Field(min_length=1)
    value: float | Literal["limit", "half"]

    @model_validator(mode="after")
    def _limits_have_a_limit(self) -> "Word":
        if isinstance(self.value, str) and self.word not in ("<", ">"):
            raise ValueError(f"{self.word}: value {self.value!r} is for the words < and >, which state a limit")
        return self


class Columns(Section):
    """What the further columns of visits.csv are."""

    covariates: tuple[str, ...]
    words: tuple[Word, ...]

    yes_no: tuple[str, ...]
    numeric: tuple[str, ...]
    ignore: tuple[str, ...]
    missing_words: tuple[str, ...]


class Statistics(Section):
    """How arms are summarised and compared."""

    ci_level: float = Share
    quartiles: Literal[
        "linear", "median_unbiased", "normal_unbiased", "weibull", "hazen", "averaged_inverted_cdf", "inverted_cdf"
    ]
    exact_below_n: int = Field(ge=0, le=100)
    multiplicity: Literal["none", "holm"]
    simulations: int = Field(ge=100)
    seed: int = Field(ge=0)
    interval_level: float = Share
    risk_difference: Literal["newcombe", "miettinen_nurminen"]
    repeated_measures: bool


class Pair(Section):
    """Limits and grades of the comparability of two scans."""

    volume_b: float = Share
    volume_c: float = Share
    thickness_tolerance_mm: float = Field(ge=0)
    thin_mm: float = Field(gt=0)
    thick_mm: float = Field(gt=0)
    kvp_tolerance: float = Field(ge=0)
    density_tolerance_hu: float = Field(gt=0)
    kernel_families: tuple[tuple[str, ...], ...]
    kernel_grade: Grade
    kvp_grade: Grade
    contrast_changed_grade: Grade
    contrast_both_grade: Grade
    scanner_grade: Grade
    position_grade: Grade
    coverage_grade: Grade
    density_grade: Grade

    @model_validator(mode="after")
    def _rising(self) -> "Pair":
        if not (self.volume_b < self.volume_c and self.thin_mm < self.thick_mm):
            raise ValueError("volume_b < volume_c and thin_mm < thick_mm must hold")
        return self


class TrialConfig(Section):
    """All settings of the trial's tables."""

    input: Input
    baseline: Baseline
    windows: Windows
    arms: Arms
    endpoint: Endpoint
    normal_ct: NormalCt
    columns: Columns
    statistics: Statistics
    models: Models
    responders: Responders
    sets: Sets
    estimands: Estimands
    subgroups: Subgroups
    adverse_events: AdverseEvents
    multiplicity: Multiplicity
    output: Output
    pair: Pair

    @property
    def sha256(self) -> str:
        """Digest of the resolved settings, whatever files they came from."""
        return canonical_sha256(self.model_dump(mode="json"))


def load_trial_config(*files: Path) -> TrialConfig:
    """Settings from the shipped ``trial.toml``, then each file; later ones win key by key, lists as a whole.

    Parameters
    ----------
    files
        TOML files that state differences.

    Returns
    -------
    TrialConfig
        Valid.

    Raises
    ------
    ConfigError
        If a file is missing or not TOML, or a key is unknown, missing or out of range.

    Examples
    --------
    >>> load_trial_config().statistics.multiplicity
    'none'
    """
    merged: dict[str, Any] = {}
    for path in (Path("trial"), *files):
        merged = merged_settings(merged, read_toml(path))
    names = ", ".join(path.name for path in files) or "trial.toml"
    return validated(merged, TrialConfig, called=names, hint="Compare the file with configs/trial.toml.")
