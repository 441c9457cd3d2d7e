"""The numbers of one scan with their provenance, or why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from volumetry.codes import Outcome
from volumetry.domain.finding import Finding, most_severe_first
from volumetry.domain.scan import SeriesInfo
from volumetry.domain.tissue import Interval
from volumetry.errors import InputError


class Status(StrEnum):
    """How a scan ended."""

    MEASURED = "measured"
    REVIEW = "review"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Volumes:
    """Volumes of one region in mL."""

    aerated: float
    ground_glass: float
    solid: float
    unclassed: float = 0.0

    @property
    def lesion(self) -> float:
        """Ground glass and solid, and under the HU rule what is lesion but neither."""
        return self.ground_glass + self.solid + self.unclassed

    @property
    def lung(self) -> float:
        """Aerated lung and lesion together: the denominator."""
        return self.aerated + self.lesion

    def percent_of_lung(self) -> dict[str, float]:
        """Lesion, ground glass and solid as a share of this region's lung; empty where there is no lung."""
        if self.lung <= 0:
            return {}
        return {
            "lesion": 100 * self.lesion / self.lung,
            "ground_glass": 100 * self.ground_glass / self.lung,
            "solid": 100 * self.solid / self.lung,
        }


@dataclass(frozen=True, slots=True)
class ComponentSplit:
    """How one rule divides the lesion, in mL; what an HU cut leaves to neither class is listed apart."""

    ground_glass_ml: float
    solid_ml: float
    lesion_below_ml: float = 0.0
    lesion_above_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """The numbers of one scan.

    Parameters
    ----------
    hu_bins_ml
        The whole lung by HU; the names of the bins state the cuts.
    values
        By key, the measures of `volumetry.measure.table` that have a function; None where one is not defined.
    """

    volumes_ml: Volumes
    sides: Mapping[str, Volumes]
    zones: Mapping[str, Volumes]
    component_rule: str
    components_by_rule: Mapping[str, ComponentSplit]
    hu_bins_ml: Mapping[str, float]
    values: Mapping[str, float | None]
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which program, weights and settings made a number from which input.

    Parameters
    ----------
    lesion_probability
        From which probability on the network's lesion was lesion; None where no network said so.
    """

    software_version: str
    model: str
    model_sha256: str | None
    config_sha256: str
    input_sha256: str
    pixels_sha256: str
    mask_sha256: str | None
    device: str
    precision: str
    packages: Mapping[str, str]
    created: str
    lesion_probability: float | None = None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A scan that was measured, with everything needed to believe it.

    Parameters
    ----------
    peak_memory_mb
        The most that this scan held at once; None where the system does not tell.
    """

    scan_id: str
    status: Status
    findings: tuple[Finding, ...]
    measurement: Measurement
    series: SeriesInfo
    provenance: Provenance
    dropped_ml: Mapping[str, float]
    timing_s: Mapping[str, float]
    peak_memory_mb: float | None
    blood_pool_hu: float | None = None
    """Density of heart and great vessels: whether contrast was given. None where it could not be measured."""


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan that gives no number, and why."""

    scan_id: str
    status: Status
    code: str
    message: str
    hint: str
    findings: tuple[Finding, ...] = ()
    series: SeriesInfo | None = None


Outcomes = ScanResult | ScanFailure


class ScanRefusedError(InputError):
    """The scan cannot be measured; every reason found is in `findings`, the most severe first.

    Parameters
    ----------
    findings
        At least one with outcome ``refuse``; flags, repairs and notes found on the way may be among them.
    series
        What is known of the series, if one was found.
    """

    def __init__(self, findings: tuple[Finding, ...] | list[Finding], series: SeriesInfo | None = None) -> None:
        ordered = most_severe_first(findings)
        if not ordered or ordered[0].outcome is not Outcome.REFUSE:
            raise ValueError("a refusal needs a finding that refuses")
        super().__init__(ordered[0].message, ordered[0].code, ordered[0].hint)
        self.findings = ordered
        self.series = series

    def __reduce__(self) -> tuple[type["ScanRefusedError"], tuple[tuple[Finding, ...], SeriesInfo | None]]:
        return type(self), (self.findings, self.series)
