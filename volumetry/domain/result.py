"""The numbers of one scan with their provenance, or why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from volumetry.codes import Outcome
from volumetry.domain.distribution import Distribution
from volumetry.domain.finding import Finding, most_severe_first
from volumetry.domain.prior import PriorVisit
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
    """Volumes of one region in mL.

    Parameters
    ----------
    aerated
        Lung outside every lesion.
    ground_glass, solid
        Lesion of each class. The registry of NCT04288102 calls the second consolidation.
    unclassed
        Lesion in neither class, under the HU rule.
    """

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
        """Lesion, ground glass and solid as a share of this region's lung.

        Returns
        -------
        dict[str, float]
            Percent by ``lesion``, ``ground_glass`` and ``solid``; empty where there is no lung.

        Notes
        -----
        NCT04288102 registers lesion, consolidation and ground-glass proportion "of full lung volume": one
        denominator.
        """
        if self.lung <= 0:
            return {}
        return {
            "lesion": 100 * self.lesion / self.lung,
            "ground_glass": 100 * self.ground_glass / self.lung,
            "solid": 100 * self.solid / self.lung,
        }


@dataclass(frozen=True, slots=True)
class ComponentSplit:
    """How one component rule divides the lesion.

    Parameters
    ----------
    ground_glass_ml, solid_ml
        Volumes of the two classes in mL.
    lesion_below_ml, lesion_above_ml
        Lesion below the lower and above the upper HU cut, in mL: in neither class. 0 under the network's rule.
    """

    ground_glass_ml: float
    solid_ml: float
    lesion_below_ml: float = 0.0
    lesion_above_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """The numbers of one scan.

    Parameters
    ----------
    volumes_ml
        Both lungs.
    sides
        By ``left`` and ``right``.
    zones
        By ``upper``, ``middle`` and ``lower``: thirds of the height of the lungs.
    component_rule
        Which rule made the classes: ``network`` or ``hu``.
    components_by_rule
        The lesion divided by each rule.
    hu_bins_ml
        Volume of the whole lung in mL by HU; the names of the bins state the cuts. NCT04288102 registers the cuts
        -750, -300 and 50 HU.
    values
        By key, the measures of `volumetry.measure.table` that have a function; None where one is not defined.
    interval
        Of the shares; None without a segmenter that states its uncertainty.
    fluid_ml
        Pleural fluid, in no lung; None where nobody looked for it.
    """

    volumes_ml: Volumes
    sides: Mapping[str, Volumes]
    zones: Mapping[str, Volumes]
    component_rule: str
    components_by_rule: Mapping[str, ComponentSplit]
    hu_bins_ml: Mapping[str, float]
    values: Mapping[str, float | None]
    interval: Interval | None = None
    fluid_ml: float | None = None


@dataclass(frozen=True, slots=True)
class LobeMeasurement:
    """The numbers of the five lobes.

    Parameters
    ----------
    method
        ``fissures`` where all fissures were followed in the CT, ``approximate`` where one was not, ``none`` where
        the lungs were not divided.
    reason
        Why not ``fissures``; None if they were followed.
    volumes_ml
        By lobe; empty without lobes.
    lesion_span_percent
        By lobe: lowest and highest share of lesion with the fissures moved by their uncertainty.
    severity_score
        CT severity score, 0 to 25; None without lobes.
    severity_score_range
        Its lowest and highest value: every share at the end of its span and of the interval, and a point further.
    """

    method: str
    reason: str | None
    volumes_ml: Mapping[str, Volumes] = field(default_factory=dict)
    lesion_span_percent: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    severity_score: int | None = None
    severity_score_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which program, weights and settings made a number from which input.

    Parameters
    ----------
    software_version
        Of volumetry.
    model
        ``name-version`` of the segmenter.
    model_sha256
        Of what decides the segmenter's numbers; None for one without weights.
    config_sha256
        Of the settings that decide a number.
    input_sha256, pixels_sha256
        As in `CtScan`.
    mask_sha256
        Of the delivered labels, uint8 in (k, j, i) order; None where no mask was made.
    device, precision
        On what, and in which arithmetic, the segmenter ran.
    packages
        Versions of the libraries that decide a number.
    created
        UTC, ISO 8601, to the second.
    lesion_probability
        Operating threshold: lesion where the network's probability reaches it; None without a network.
    patient_digest
        Of PatientID under a secret of the installation; None where the header states no id that is a patient's
        own, or the result was made in Python.
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
    patient_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A measured scan, with what is needed to judge its numbers.

    Parameters
    ----------
    scan_id
        Name of the scan in the results.
    status
        ``measured``, or ``review`` if a finding is a flag.
    findings
        The most severe first.
    measurement
        The numbers.
    series
        The acquisition.
    provenance
        Program, weights, settings and input.
    dropped_ml
        Volumes in mL that postprocessing removed or filled, by cause.
    timing_s
        Seconds by stage.
    peak_memory_mb
        Most memory that this scan held at once, in MB; None where the system does not report it.
    blood_pool_hu
        Median HU of heart and great vessels, which shows whether contrast was given; None if not measurable.
    lobes
        Numbers of the lobes; None where the lungs were not to be divided.
    priors
        Earlier visits of the same person that were compared with, the oldest first.
    distribution
        Where the disease lies; None without disease.
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
    lobes: LobeMeasurement | None = None
    priors: tuple[PriorVisit, ...] = ()
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan that gives no number, and the reason.

    Parameters
    ----------
    scan_id
        Name of the scan in the results.
    status
        ``refused`` if the scan is at fault, ``failed`` if the program or the machine is.
    code
        Of the catalogue.
    message
        What is wrong.
    hint
        What to do about it.
    findings
        What else was found, the most severe first.
    series
        What is known of the series, if one was found.
    """

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

    Raises
    ------
    ValueError
        If no finding refuses.
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
