"""Which tissue became which: the visit's tissue map laid over the baseline's, counted in mL. Exploratory.

The mapping runs from baseline to visit. Every baseline voxel is counted once in its own mL, so rows add up to
the baseline's volumes exactly; times the Jacobian determinant it is counted in the visit's mL, so columns add up
to the visit's volumes as far as the mapping reaches. What it does not reach is stated, never spread over cells.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetry.changemap.registration import Quality, Registration, as_image, lung_box, register
from volumetry.config import ChangeMapSettings
from volumetry.domain import CtScan, Grid, Tissue, TissueMap, VoxelLabel
from volumetry.errors import InputError

NAMES: Mapping[Tissue, str] = {
    Tissue.OUTSIDE: "outside",
    Tissue.AERATED: "normal",
    Tissue.GROUND_GLASS: "ground_glass",
    Tissue.SOLID: "solid",
    Tissue.UNCLASSED: "unclassed",
}
"""How the table calls the tissues; ``outside`` means: no lung there in that scan."""

_REACH_MM = 15.0
"""Room around the baseline's lungs in which visit lung is still looked for."""
_SAMPLE_MM = 1.0
"""The visit is looked up at places no farther from each other than this."""


class Change(VoxelLabel):
    """Codes of the change map; what a voxel of the baseline's grid went through."""

    OUTSIDE = 0
    NORMAL = 1
    STABLE_GROUND_GLASS = 2
    STABLE_SOLID = 3
    GROUND_GLASS_TO_SOLID = 4
    SOLID_TO_GROUND_GLASS = 5
    RESOLVED = 6
    NEW_GROUND_GLASS = 7
    NEW_SOLID = 8
    UNMAPPED = 9
    """Lung at baseline, but no lung at its place in the visit."""
    UNCLASSED = 10
    """Lesion that the HU rule calls neither ground glass nor solid, before or after."""


def _code_of(before: Tissue, after: Tissue) -> Change:
    if before is Tissue.OUTSIDE:
        return Change.OUTSIDE
    if after is Tissue.OUTSIDE:
        return Change.UNMAPPED
    if Tissue.UNCLASSED in (before, after):
        return Change.UNCLASSED
    named = {
        (Tissue.AERATED, Tissue.AERATED): Change.NORMAL,
        (Tissue.AERATED, Tissue.GROUND_GLASS): Change.NEW_GROUND_GLASS,
        (Tissue.AERATED, Tissue.SOLID): Change.NEW_SOLID,
        (Tissue.GROUND_GLASS, Tissue.GROUND_GLASS): Change.STABLE_GROUND_GLASS,
        (Tissue.GROUND_GLASS, Tissue.SOLID): Change.GROUND_GLASS_TO_SOLID,
        (Tissue.SOLID, Tissue.SOLID): Change.STABLE_SOLID,
        (Tissue.SOLID, Tissue.GROUND_GLASS): Change.SOLID_TO_GROUND_GLASS,
    }
    return named.get((before, after), Change.RESOLVED)


CODES: Mapping[tuple[Tissue, Tissue], Change] = {(a, b): _code_of(a, b) for a in Tissue for b in Tissue}
"""The code of every pair of tissues, baseline first."""

SUMMARIES: Mapping[str, tuple[Change, ...]] = {
    "stable": (Change.STABLE_GROUND_GLASS, Change.STABLE_SOLID),
    "ground_glass_to_solid": (Change.GROUND_GLASS_TO_SOLID,),
    "solid_to_ground_glass": (Change.SOLID_TO_GROUND_GLASS,),
    "resolved": (Change.RESOLVED,),
    "new": (Change.NEW_GROUND_GLASS, Change.NEW_SOLID),
    "unclassed": (Change.UNCLASSED,),
    "unmapped": (Change.UNMAPPED,),
}
"""The named sums of the table."""

Table = Mapping[tuple[Tissue, Tissue], float]


@dataclass(frozen=True, slots=True)
class Margin:
    """One tissue's own volume in a scan, and where the table has it; all in mL.

    Parameters
    ----------
    own_ml
        Counted on the scan's own mask.
    mapped_ml
        In the cells of the table that join lung to lung.
    outside_ml
        At a place where the other scan has no lung.
    """

    own_ml: float
    mapped_ml: float
    outside_ml: float

    @property
    def remainder_ml(self) -> float:
        """What neither of them holds: beyond the mapping's reach, or lost to its sampling. Baseline: 0."""
        return self.own_ml - self.mapped_ml - self.outside_ml


@dataclass(frozen=True, slots=True, eq=False)
class ChangeMap:
    """What became of the lung.

    Parameters
    ----------
    changes_kji
        uint8, codes of `Change`, on the baseline's own `grid`.
    grid
        Of the baseline.
    baseline_ml, visit_ml
        mL by (baseline tissue, visit tissue), measured in the baseline's and in the visit's lung.
    baseline_margins, visit_margins
        Each tissue's own volume, and how much of it the table holds.
    quality
        Of the registration.
    """

    changes_kji: NDArray[np.uint8]
    grid: Grid
    baseline_ml: Table
    visit_ml: Table
    baseline_margins: Mapping[Tissue, Margin]
    visit_margins: Mapping[Tissue, Margin]
    quality: Quality

    def summary_ml(self, *, visit: bool = False) -> dict[str, float]:
        """The named sums of the table.

        Parameters
        ----------
        visit
            In the visit's mL instead of the baseline's.

        Returns
        -------
        dict[str, float]
            mL by name.
        """
        table = self.visit_ml if visit else self.baseline_ml
        return {
            name: float(sum(ml for pair, ml in table.items() if CODES[pair] in codes))
            for name, codes in SUMMARIES.items()
        }

    @property
    def lung_ratio(self) -> float:
        """Visit lung over baseline lung, from their own masks."""
        return _lung_ml(self.visit_margins) / _lung_ml(self.baseline_margins)

    @property
    def mapped_ratio(self) -> float:
        """The same by the Jacobian, over the baseline lung that has a place in the visit's lung."""
        visit, baseline = (
            sum(margin.mapped_ml for margin in margins.values())
            for margins in (self.visit_margins, self.baseline_margins)
        )
        return visit / baseline


def change_map(
    baseline: tuple[CtScan, TissueMap], visit: tuple[CtScan, TissueMap], settings: ChangeMapSettings
) -> ChangeMap:
    """Lay a visit over its baseline and count which tissue became which.

    Parameters
    ----------
    baseline, visit
        Scan and delivered tissue map, each on the scan's own grid; the grids may differ.
    settings
        ``[change_map]`` of the configuration.

    Returns
    -------
    ChangeMap
        On the baseline's grid, with the quality of the registration.

    Raises
    ------
    InputError
        ``REGISTRATION_POOR``, with every reason, if the lungs cannot be brought together: then there is no map.
    """
    if not all((tissue.labels_kji != Tissue.OUTSIDE).any() for _, tissue in (baseline, visit)):
        raise _poor(("one of the scans has no lung in its mask",))
    pairs = tuple((scan.hu_kji, tissue) for scan, tissue in (baseline, visit))
    registration = register(pairs[0], pairs[1], settings)
    _require_good(registration.quality.shortcomings(settings))
    result = _counted(baseline[1], visit[1], registration)
    lost = abs(sum(margin.remainder_ml for margin in result.visit_margins.values()))
    share = lost / _lung_ml(result.visit_margins)
    if share > settings.max_remainder_share:
        limit = 100 * settings.max_remainder_share
        raise _poor((f"{100 * share:.1f} % of the visit's lung is in no cell of the table, above {limit:g} %",))
    return result


def _require_good(shortcomings: tuple[str, ...]) -> None:
    if shortcomings:
        raise _poor(shortcomings)


def _poor(reasons: tuple[str, ...]) -> InputError:
    hint = "Check that both scans show the same patient and the whole lungs; no change map is given for this pair."
    return InputError(
        f"the visit cannot be laid over its baseline: {'; '.join(reasons)}", "REGISTRATION_POOR", hint
    )


def _counted(baseline: TissueMap, visit: TissueMap, registration: Registration) -> ChangeMap:
    box = lung_box(baseline, _REACH_MM)
    grid = baseline.grid.part(box)
    before = np.ascontiguousarray(baseline.labels_kji[box])
    crop = lung_box(visit)
    moving = as_image(np.ascontiguousarray(visit.labels_kji[crop]), visit.grid.part(crop))
    counted, weighted = np.zeros((2, len(Tissue) ** 2))
    offsets = _offsets_kji(grid)
    share_ml = grid.voxel_ml / len(offsets)
    for offset_kji in offsets:
        after, jacobian = _sampled(moving, registration, grid, offset_kji)
        pair = (before * np.uint8(len(Tissue)) + after).ravel()
        counted += np.bincount(pair, minlength=len(counted)) * share_ml
        weighted += np.bincount(pair, jacobian.ravel(), minlength=len(counted)) * share_ml
    after, _ = _sampled(moving, registration, grid, (0.0, 0.0, 0.0))
    changes = np.zeros(baseline.grid.shape_kji, np.uint8)
    changes[box] = _lookup()[before * np.uint8(len(Tissue)) + after]
    baseline_ml, visit_ml = (
        {(a, b): float(ml[a * len(Tissue) + b]) for a, b in CODES if a or b} for ml in (counted, weighted)
    )
    return ChangeMap(
        changes_kji=changes,
        grid=baseline.grid,
        baseline_ml=baseline_ml,
        visit_ml=visit_ml,
        baseline_margins={t: _margin(t, baseline, baseline_ml) for t in _LUNG},
        visit_margins={t: _margin(t, visit, {(b, a): ml for (a, b), ml in visit_ml.items()}) for t in _LUNG},
        quality=registration.quality,
    )


def _offsets_kji(grid: Grid) -> list[tuple[float, ...]]:
    """Places within a voxel, in voxels from its centre, at which the visit is looked up.

    One look-up per thick slice would beat against the visit's own slices and lose or double whole layers.
    """
    counts = [max(1, math.ceil(step / _SAMPLE_MM - 1e-6)) for step in grid.spacing_kji_mm]
    return list(itertools.product(*([(n + 0.5) / count - 0.5 for n in range(count)] for count in counts)))


def _sampled(
    moving: sitk.Image, registration: Registration, grid: Grid, offset_kji: tuple[float, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The visit's tissue, and the Jacobian determinant, at one place of every voxel of a baseline grid."""
    x, y, z = (float(v) for v in grid.lps_mm(np.asarray(offset_kji)))
    place = as_image(np.empty(grid.shape_kji, np.uint8), replace(grid, origin_lps_mm=(x, y, z)))
    after = sitk.Resample(moving, place, registration.transform, sitk.sitkNearestNeighbor, 0)
    jacobian = sitk.Resample(registration.jacobian, place, sitk.Transform(), sitk.sitkLinear, 1.0)
    return sitk.GetArrayFromImage(after), sitk.GetArrayFromImage(jacobian)


_LUNG = tuple(t for t in Tissue if t is not Tissue.OUTSIDE)


def _margin(tissue: Tissue, own: TissueMap, table: Table) -> Margin:
    """Margin of one tissue; `table` is keyed by this scan's tissue first."""
    own_ml = float(np.count_nonzero(own.labels_kji == tissue) * own.grid.voxel_ml)
    mapped_ml = sum(table[tissue, other] for other in _LUNG)
    return Margin(own_ml, mapped_ml, table[tissue, Tissue.OUTSIDE])


def _lookup() -> NDArray[np.uint8]:
    codes = np.zeros(len(Tissue) ** 2, np.uint8)
    for (before, after), code in CODES.items():
        codes[before * len(Tissue) + after] = code
    return codes


def _lung_ml(margins: Mapping[Tissue, Margin]) -> float:
    return sum(margin.own_ml for margin in margins.values())
