"""The nouns. Each is frozen and valid from birth: no later stage asks again whether it makes sense.

Coordinates are DICOM's patient system, LPS (x grows to the patient's left, y to the back, z to the head), in mm.
Arrays are indexed ``kji``: k across slices, j down the rows, i along a row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import CATALOGUE, Outcome, severity_rank
from volumetry.errors import InputError

Vector = tuple[float, float, float]
Box = tuple[slice, slice, slice]

BODY_HU = -500.0
"""Half-way between air and soft tissue: the outline of the body."""


class Tissue(IntEnum):
    """What a voxel is. Labels exclude each other, so volumes add up."""

    OUTSIDE = 0
    AERATED = 1
    GROUND_GLASS = 2
    SOLID = 3
    UNCLASSED = 4
    """Lesion that the HU rule calls neither ground glass nor solid; never there under the network's rule."""


class Side(IntEnum):
    """The patient's own left and right, told from LPS coordinates and never from the array index."""

    NONE = 0
    LEFT = 1
    RIGHT = 2


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels are.

    Parameters
    ----------
    shape_kji
        Number of slices, rows, columns.
    spacing_kji_mm
        Length of one step along each array axis. For a tilted stack this is the length of the step itself,
        not its projection on the slice normal.
    origin_lps_mm
        Centre of voxel (0, 0, 0).
    direction_lps
        One unit vector per array axis (k, j, i): where it points. They need not be orthogonal (gantry tilt).

    Raises
    ------
    ValueError
        If a step is not positive and finite, a direction is no unit vector, or the three are coplanar.

    Examples
    --------
    >>> Grid((10, 10, 10), (2.0, 1.0, 1.0)).voxel_ml
    0.002
    """

    shape_kji: tuple[int, int, int]
    spacing_kji_mm: Vector
    origin_lps_mm: Vector = (0.0, 0.0, 0.0)
    direction_lps: tuple[Vector, Vector, Vector] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        if len(self.shape_kji) != 3 or not all(n >= 1 for n in self.shape_kji):
            raise ValueError(f"a grid needs three axes of at least one voxel, got {self.shape_kji}")
        if len(self.spacing_kji_mm) != 3 or not all(0 < step < math.inf for step in self.spacing_kji_mm):
            raise ValueError(f"spacing must be positive and finite, got {self.spacing_kji_mm} mm")
        if not all(math.isfinite(x) for x in self.origin_lps_mm):
            raise ValueError(f"origin must be finite, got {self.origin_lps_mm} mm")
        axes = np.asarray(self.direction_lps, float)
        if axes.shape != (3, 3) or not np.allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-6):
            raise ValueError(f"directions must be three unit vectors, got {self.direction_lps}")
        if not abs(np.linalg.det(axes)) > 0.1:
            raise ValueError(f"directions must span space, got {self.direction_lps}")

    @property
    def step_lps_mm(self) -> NDArray[np.float64]:
        """3 x 3: column n is the step in mm, as LPS, when array axis n (k, j, i) grows by one."""
        steps: NDArray[np.float64] = (
            np.asarray(self.direction_lps, float) * np.asarray(self.spacing_kji_mm)[:, None]
        )
        return steps.T

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel: absolute determinant of the index-to-mm matrix, right for tilted stacks too."""
        k, j, i = self.step_lps_mm.T
        return float(abs(k @ np.cross(j, i))) / 1000

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """4 x 4 for NIfTI: (i, j, k, 1) to RAS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.step_lps_mm[:, ::-1]
        affine[:3, 3] = self.origin_lps_mm
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine

    def part(self, box: Box) -> "Grid":
        """The grid of a box of voxels, where it lies in the patient; the box is not empty and has no steps."""
        start = np.array([part.start for part in box], float)
        shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
        x, y, z = (float(at) for at in self.lps_mm(start))
        return Grid(shape, self.spacing_kji_mm, (x, y, z), self.direction_lps)

    def lps_mm(self, index_kji: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of voxel indices; shape (..., 3) in, (..., 3) out."""
        positions: NDArray[np.float64] = index_kji @ self.step_lps_mm.T + np.asarray(self.origin_lps_mm)
        return positions


@dataclass(frozen=True, slots=True)
class Finding:
    """One code that a scan earned, with the facts.

    Parameters
    ----------
    code
        A name of the catalogue.
    outcome
        What follows from it in this run.
    message
        What, where (tag, slice, mm) and why it matters; nothing that identifies a patient.
    value
        The number behind it, if there is one.
    advice
        What to do in this very case, where the catalogue's hint for the code is too general.
    """

    code: str
    outcome: Outcome
    message: str
    value: float | int | str | None = None
    advice: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CATALOGUE:
            raise ValueError(f"{self.code} is not in the catalogue")

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.advice or CATALOGUE[self.code].hint


def most_severe_first(findings: tuple[Finding, ...] | list[Finding]) -> tuple[Finding, ...]:
    """Findings in the fixed order in which a row lists them: refusals, flags, repairs, notes."""
    order = list(Outcome)
    return tuple(sorted(findings, key=lambda f: (order.index(f.outcome), severity_rank(f.code))))


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What the header says of the acquisition: nothing that names the patient."""

    series_uid: str
    slice_count: int
    spacing_kji_mm: Vector
    thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    manufacturer: str | None = None
    model_name: str | None = None
    contrast: bool | None = None
    acquisition_date: str | None = None
    patient_position: str | None = None
    transfer_syntax: str | None = None
    decoder: str | None = None
    rows: int | None = None
    columns: int | None = None
    tilt_deg: float | None = None

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """What ConvolutionKernel may be called: the whole of it, and its first value.

        Siemens writes the strength of iterative reconstruction as a second value.
        """
        if self.kernel is None:
            return ()
        first = self.kernel.split("\\")[0]
        return (self.kernel,) if first == self.kernel else (self.kernel, first)


@dataclass(frozen=True, slots=True, eq=False)
class CtScan:
    """One CT series in Hounsfield units on the scanner's own grid.

    Parameters
    ----------
    hu_kji
        float32, the shape of `grid`; padding already set to -1000 HU.
    no_data_kji
        True where the scanner gave no value (padding); no volume counts these. None if there is none.
    input_sha256
        Of the canonical input: instances sorted by UID, stored pixels, rescale pairs, geometry.
    pixels_sha256
        Of pixels and geometry alone: the same scan under a new identity has the same one.
    image_numbers
        InstanceNumber (0020,0013) slice by slice, None where there is none; empty where no header was there.
    """

    hu_kji: NDArray[np.float32]
    grid: Grid
    series: SeriesInfo
    findings: tuple[Finding, ...] = ()
    no_data_kji: NDArray[np.bool_] | None = None
    input_sha256: str = ""
    pixels_sha256: str = ""
    air_hu: float | None = None
    """Mode of the air outside the body, a calibration figure."""
    image_numbers: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        if self.image_numbers and len(self.image_numbers) != self.grid.shape_kji[0]:
            raise ValueError(f"{len(self.image_numbers)} image numbers for {self.grid.shape_kji[0]} slices")
        if self.hu_kji.shape != self.grid.shape_kji or self.hu_kji.dtype != np.float32:
            raise ValueError(f"{self.hu_kji.dtype} {self.hu_kji.shape} is not float32 {self.grid.shape_kji}")
        if self.no_data_kji is not None and self.no_data_kji.shape != self.grid.shape_kji:
            raise ValueError("the no-data mask does not lie on the scan's grid")

    def part(self, box: Box) -> "CtScan":
        """What lies in a box of voxels; arrays are views."""
        no_data = None if self.no_data_kji is None else self.no_data_kji[box]
        numbers = self.image_numbers[box[0]]
        grid = self.grid.part(box)
        return replace(self, hu_kji=self.hu_kji[box], grid=grid, no_data_kji=no_data, image_numbers=numbers)


VOLUMES = ("lung", "aerated", "ground_glass", "solid", "lesion")
"""What is given in mL, of both lungs, of a side and of a zone."""
SHARES = ("lesion", "ground_glass", "solid")
"""What is given as a percentage of the lung."""
CAUSES = (
    "outside_lungs_ml",
    "lesion_outside_lungs_ml",
    "lesion_beside_lungs_ml",
    "holes_filled_ml",
    "lesion_specks_ml",
    "class_specks_ml",
)
"""Why tidying takes away, fills in or renames. ``lesion_beside_lungs_ml`` is the part of the lesion outside the
lungs that may be lung: what lies in the upper three quarters of their height. Below, in front of the recess, is
abdomen."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a segmenter knows of its own error on one scan.

    Parameters
    ----------
    points
        By part and share: points of lung by which the share moves when the segmentation is made differently.
    reference
        By share: how far this model's share lies from a reader's on cases like those it was calibrated on,
        relative to the share.
    floor_points
        No share is known better than this.
    widening
        By share: the factor on the parts' sum that made the interval cover.
    level
        Stated coverage, 0 to 1.
    """

    points: Mapping[str, Mapping[str, float]]
    reference: Mapping[str, float]
    floor_points: float
    widening: Mapping[str, float]
    level: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Limits of each share in percent of lung, the parts they are made of in points, and the stated coverage."""

    percent: Mapping[str, tuple[float, float]]
    parts: Mapping[str, Mapping[str, float]]
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class TissueMap:
    """The tissue of every voxel of a grid.

    Parameters
    ----------
    labels_kji
        uint8, values of `Tissue`.
    side_kji
        uint8, values of `Side`, 0 outside the lungs; None before the lungs are told apart.
    dropped_ml
        What tidying took away or filled in, by cause.
    doubt
        What the segmenter knows of its error; None if it cannot tell.
    """

    labels_kji: NDArray[np.uint8]
    grid: Grid
    side_kji: NDArray[np.uint8] | None = None
    dropped_ml: Mapping[str, float] = field(default_factory=dict)
    doubt: Doubt | None = None

    def __post_init__(self) -> None:
        for array in (self.labels_kji, self.side_kji):
            if array is not None and (array.shape != self.grid.shape_kji or array.dtype != np.uint8):
                raise ValueError(f"{array.dtype} {array.shape} is not uint8 {self.grid.shape_kji}")
        if self.labels_kji.size and self.labels_kji.max() > max(Tissue):
            raise ValueError(f"label {self.labels_kji.max()} is no tissue")


@dataclass(frozen=True, slots=True)
class SegmenterFacts:
    """Which segmenter made a map, for the record; the digest is of all that decides its numbers."""

    name: str
    version: str
    sha256: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    lesion_probability: float | None = None


class Segmenter(Protocol):
    """Anything that names the tissue of every voxel of a scan."""

    @property
    def facts(self) -> SegmenterFacts:
        """Name, weights and device, for the record."""
        ...

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan` on its own grid; islands and holes are left to tidying."""
        ...


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
