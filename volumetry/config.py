"""Settings, read from TOML files, validated and frozen.

``configs/default.toml`` contains every key with its unit and reason; other files contain differences only. A
misspelt key stops the run. The digest of the settings that affect a measurement is in every result.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from volumetry.codes import CATALOGUE, Outcome, strictest
from volumetry.errors import ConfigError
from volumetry.storage.digests import canonical_sha256
from volumetry.storage.settings_files import merged_settings, read_toml
from volumetry.storage.toml_file import Section, validated

Share = Field(gt=0, lt=1)
SETTINGS_VERSION = 2
"""Version of the settings that runs store; 1 if none is stated. A key that is removed goes into `_DROPPED`."""
_DROPPED: dict[str, frozenset[str]] = {
    "change_map": frozenset({"mesh_mm"}),
    "deliver": frozenset({"include_patient_id"}),
    "interval": frozenset({"every_slices"}),
    "tidy": frozenset(
        {"dome_flatness", "dome_height_mm", "dome_rest_share", "gas_edge_mm", "gas_in_lung_share", "gas_wall_mm"}
    ),
}
"""Keys of version 1 that no longer exist, by section."""
_DECIDES_NO_NUMBER: Any = {
    "limits": True,
    "change_map": True,
    "export": True,
    "report": True,
    "receive": True,
    "segment": {"device", "batch_slices"},
}
"""Settings that do not affect a measurement: where it runs, its limits, and what is made of it afterwards."""


class Limits(Section):
    """Resource limits for one scan, checked on its headers before anything is decoded."""

    max_files: int = Field(gt=0)
    max_depth: int = Field(gt=0)
    max_rows_columns: int = Field(gt=0)
    max_file_mb: float = Field(gt=0)
    max_inflation_ratio: float = Field(gt=1)
    max_unpacked_gb: float = Field(gt=0)
    max_memory_gb: float = Field(gt=0)
    decode_timeout_s: float = Field(gt=0)
    decode_memory_gb: float = Field(gt=0)
    scan_timeout_s: float = Field(gt=0)
    worker_memory_gb: float = Field(ge=0)


class Select(Section):
    """Which of several measurable series is taken."""

    rule: Literal["none", "thinnest", "kernel", "kernel_then_thinnest"]
    kernel_preference: tuple[str, ...]

    @model_validator(mode="after")
    def _kernels_named(self) -> "Select":
        if self.rule.startswith("kernel") and not self.kernel_preference:
            raise ValueError(f"rule {self.rule!r} needs kernel_preference")
        return self


class Geometry(Section):
    """Tolerances of the checks on slice positions and orientations."""

    jitter_pass_mm: float = Field(ge=0)
    jitter_pass_share: float = Share
    jitter_flag_mm: float = Field(ge=0)
    jitter_flag_share: float = Share
    duplicate_share: float = Share
    missing_gap_share: float = Share
    orientation_deg: float = Field(gt=0, lt=45)
    orthonormal_tolerance: float = Share
    pixel_spacing_tolerance: float = Share
    tilt_deg: float = Field(gt=0, lt=45)
    non_axial_deg: float = Field(gt=0, lt=90)
    slice_gap_ratio: float = Field(gt=1)
    sampled_ratio: float = Field(gt=1)
    overlap_flag_ratio: float = Field(gt=1)
    thick_mm: float = Field(gt=0)
    thick_refuse_mm: float = Field(gt=0)
    spacing_tag_tolerance: float = Share
    min_slices: int = Field(ge=2)
    min_coverage_mm: float = Field(gt=0)
    pixel_spacing_min_mm: float = Field(gt=0)
    pixel_spacing_max_mm: float = Field(gt=0)
    large_fov_pixel_mm: float = Field(gt=0)
    adult_years: int = Field(ge=0)


class Hounsfield(Section):
    """Plausibility limits for the Hounsfield units of a chest CT."""

    padding_hu: float
    air_mode_min_hu: float
    air_mode_max_hu: float
    air_drift_hu: float = Field(gt=0)
    tissue_min_hu: float
    tissue_max_hu: float
    lung_peak_min_hu: float
    lung_peak_max_hu: float
    min_distinct_values: int = Field(gt=1)
    metal_hu: float
    metal_ml: float = Field(gt=0)
    metal_reach_mm: float = Field(gt=0)


class Segment(Section):
    """Which model, where it runs, and at which probability a voxel belongs to a class."""

    model: str
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    batch_slices: Literal["auto"] | Annotated[int, Field(gt=0)]
    lung_probability: float = Share
    lesion_probability: Literal["model"] | float
    solid_probability: Literal["model"] | float
    context_agreement: float = Share
    smooth_between_slices_mm: float = Field(ge=0)

    @field_validator("lesion_probability", "solid_probability", mode="before")
    @classmethod
    def _the_models_or_a_probability(cls, value: object) -> object:
        if value != "model" and not (isinstance(value, float) and 0 < value < 1):
            raise ValueError(f'{value!r} is neither "model" nor a probability between 0 and 1')
        return value


class IntervalSettings(Section):
    """What is varied, and by how much, to see how far the percentages change."""

    slices: int = Field(ge=0)
    threshold_step: float = Share
    hu_offset: float = Field(gt=0)
    boundary_mm: float = Field(ge=0)


class Tidy(Section):
    """Clean-up of the tissue map."""

    min_lung_island_mm3: float = Field(ge=0)
    min_lesion_island_mm3: float = Field(ge=0)
    min_component_island_mm3: float = Field(ge=0)
    max_lung_hole_mm3: float = Field(ge=0)
    shallow_lesion_mm: float = Field(ge=0)
    max_shallow_lesion_ml: float = Field(ge=0)
    min_lung_body_ml: float = Field(gt=0)
    min_second_lung_share: float = Share
    gas_hu: float
    min_gas_ml: float = Field(gt=0)
    soft_hu: float
    soft_thick_mm: float = Field(gt=0)
    min_soft_ml: float = Field(gt=0)
    edge_mm: float = Field(gt=0)
    wall_mm: float = Field(gt=0)
    in_lung_share: float = Share
    rim_reach_mm: float = Field(gt=0)
    rim_mm: float = Field(gt=0)
    fragment_distance_mm: float = Field(ge=0)
    joined_share: float = Share
    side_marker_mm: float = Field(gt=0)


class Measure(Section):
    """How the lesion is divided into ground glass and consolidation."""

    component_rule: Literal["network", "hu"]
    hu_cuts: tuple[float, float, float]

    @field_validator("hu_cuts")
    @classmethod
    def _rising(cls, cuts: tuple[float, float, float]) -> tuple[float, float, float]:
        if not cuts[0] < cuts[1] < cuts[2]:
            raise ValueError(f"hu_cuts must rise, got {list(cuts)}")
        return cuts


class Quality(Section):
    """Limits of the checks on the segmentation."""

    min_lung_ml: float = Field(gt=0)
    lung_low_ml: float = Field(gt=0)
    lung_high_ml: float = Field(gt=0)
    cut_flag_cm2: float = Field(gt=0)
    cut_note_share: float = Share
    cut_refuse_share: float = Share
    cut_refuse_cm2: float = Field(gt=0)
    cut_unknown_cm2: float = Field(gt=0)
    fov_contact_cm2: float = Field(gt=0)
    side_ratio: float = Field(gt=1)
    lesion_outside_flag_ml: float = Field(gt=0)
    dense_outside_flag_ml: float = Field(gt=0)
    suspect_ml: float = Field(gt=0)
    move_points: float = Field(ge=0)


CHARTER_RULES = ("thickness", "spacing", "kernel", "kvp", "contrast", "scanner", "coverage", "slices")


class Charter(Section):
    """What a trial's imaging protocol allows; an empty range or list, or 0, sets no rule."""

    thickness_mm: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    kvp: tuple[float, ...]
    kernels: tuple[str, ...]
    scanners: tuple[str, ...]
    contrast: Literal["any", "with", "without"]
    min_coverage_mm: float = Field(ge=0)
    min_slices: int = Field(ge=0)
    volumes: bool
    refuse: tuple[str, ...]

    @field_validator("thickness_mm", "spacing_mm", "kvp")
    @classmethod
    def _range_or_nothing(cls, limits: tuple[float, ...]) -> tuple[float, ...]:
        if limits and not (len(limits) == 2 and 0 <= limits[0] <= limits[1]):
            raise ValueError(f"a range is [low, high], or [] for no rule; got {list(limits)}")
        return limits

    @field_validator("refuse")
    @classmethod
    def _known_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        if not set(rules) <= set(CHARTER_RULES):
            raise ValueError(f"refuse names rules of the charter: {', '.join(CHARTER_RULES)}")
        return rules


class ExportSettings(Section):
    """How DICOM SEG and SR are written."""

    generate_uids: bool
    segmentation: Literal["binary", "binary_deflated", "labelmap"]


class ReportSettings(Section):
    """What report pages state in addition to the result."""

    print_patient: bool


class ReceiveSettings(Section):
    """Where the node of `receive` keeps images that name a patient, and how much it receives at a time."""

    transit: str
    max_incoming_gb: float = Field(gt=0)


class ChangeMapSettings(Section):
    """How two visits are registered, and when the registration is rejected."""

    working_mm: float = Field(gt=0)
    iterations: tuple[int, ...] = Field(min_length=1)
    smoothing_steps: float = Field(gt=0)
    noise_hu: float = Field(ge=0, lt=850)
    min_affine_dice: float = Share
    min_lung_dice: float = Share
    max_surface_mm: float = Field(gt=0)
    jacobian_range: tuple[float, float]
    max_implausible_share: float = Share
    min_structure_correlation: float = Share
    min_structure_hu: float = Field(gt=0)
    max_remainder_share: float = Share

    @field_validator("jacobian_range")
    @classmethod
    def _around_one(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= limits[0] < 1 < limits[1]:
            raise ValueError(f"jacobian_range must lie around 1 and above 0, got {list(limits)}")
        return limits


class Config(Section):
    """All settings of a run."""

    profile: Literal["default", "trial"]
    outcomes: dict[str, Outcome]
    limits: Limits
    select: Select
    geometry: Geometry
    hounsfield: Hounsfield
    segment: Segment
    interval: IntervalSettings
    tidy: Tidy
    measure: Measure
    quality: Quality
    charter: Charter
    export: ExportSettings
    report: ReportSettings
    receive: ReceiveSettings
    change_map: ChangeMapSettings

    @field_validator("outcomes")
    @classmethod
    def _only_stricter(cls, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        for name, outcome in outcomes.items():
            if name not in CATALOGUE:
                raise ValueError(f"{name} is not a code of the catalogue")
            if strictest((outcome, CATALOGUE[name].outcome)) is not outcome:
                raise ValueError(f"{name} is {CATALOGUE[name].outcome}; it cannot be made {outcome}")
        return outcomes

    def outcome_of(self, code: str, mild: Outcome | None = None) -> Outcome:
        """Outcome of a code: the stricter of the profile's outcome and that of these settings.

        Parameters
        ----------
        code, mild
            Of the catalogue; and an outcome instead of the profile's, in a range where the catalogue is milder.

        Returns
        -------
        Outcome
            The stricter of the two.
        """
        entry = CATALOGUE[code]
        base = mild or (entry.trial_outcome if self.profile == "trial" else entry.outcome)
        return strictest((base, self.outcomes.get(code, base)))

    @property
    def sha256(self) -> str:
        """Digest of the resolved settings that affect a measurement, whatever files they came from.

        Device, batch size, limits, export, report, node and change map are left out: a change of these makes no
        result out of date.
        """
        return canonical_sha256(self.model_dump(mode="json", exclude=_DECIDES_NO_NUMBER))

    @property
    def limits_sha256(self) -> str:
        """Digest of the limits: a scan that could not be measured may be measurable under others."""
        return canonical_sha256(self.limits.model_dump(mode="json"))

    def stored(self) -> dict[str, Any]:
        """All settings for a run record; `stored_config` reads them, also in later versions."""
        return {"settings_version": SETTINGS_VERSION, **self.model_dump(mode="json")}


def decides_a_number(section: str, key: str) -> bool:
    """Whether a setting affects a measurement or a finding; see `Config.sha256`."""
    left_out = _DECIDES_NO_NUMBER.get(section, ())
    return left_out is not True and key not in left_out


def load_config(*files: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Settings from the shipped defaults, then each file, then `overrides`; later ones win key by key.

    Parameters
    ----------
    files
        TOML files that state differences. A bare name such as ``nct04288102`` means a shipped one.
    overrides
        Nested differences, for example from command-line options.

    Returns
    -------
    Config
        Valid.

    Raises
    ------
    ConfigError
        If a file is missing or not TOML, or a key is unknown, removed, missing or out of range.

    Examples
    --------
    >>> load_config("nct04288102").measure.component_rule
    'hu'
    """
    merged: dict[str, Any] = {}
    paths = [Path(file) for file in files]
    for path in (Path("default"), *paths):
        merged = merged_settings(merged, read_toml(path))
    merged = merged_settings(merged, overrides or {})
    for section, removed in _DROPPED.items():
        stated = merged.get(section)
        for key in removed.intersection(stated if isinstance(stated, Mapping) else ()):
            message = f"{section}.{key} is a setting of an earlier version and has no effect any more"
            raise ConfigError(message, hint="Delete the line, or run the version that the settings were made for.")
    return validated(merged, Config, called=", ".join(path.name for path in paths) or "default.toml")


def stored_config(settings: Mapping[str, Any]) -> Config:
    """Settings that an earlier run kept: what its version did not know yet has the shipped default.

    Raises
    ------
    ConfigError
        If they are those of a newer version, hold a key that no version knew, or a value out of its range.
    """
    version = settings.get("settings_version", 1)
    if not isinstance(version, int) or version > SETTINGS_VERSION:
        message = f"settings of version {version}; this program knows them up to {SETTINGS_VERSION}"
        raise ConfigError(message, hint="Use the version of volumetry that made this result, or a later one.")
    kept: dict[str, Any] = {}
    for section, value in settings.items():
        dropped = _DROPPED.get(section, frozenset())
        if section == "settings_version" or (dropped and isinstance(value, Mapping) and not set(value) - dropped):
            continue
        keep = isinstance(value, Mapping)
        kept[section] = {k: v for k, v in value.items() if k not in dropped} if keep else value
    return validated(merged_settings(read_toml(Path("default")), kept), Config, called="the run's settings")
