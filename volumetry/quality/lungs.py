"""Checks that need the lung mask: found, whole, plausible."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config, Quality
from volumetry.domain import CtScan, Finding, Grid, Measurement, Tissue, TissueMap
from volumetry.quality.dense_tissue import dense_tissue_findings
from volumetry.quality.sides import side_findings

_TREND_MM = 10.0
"""Depth from the cut over which the change of the lung's cross-section is read."""


def lung_findings(tissue: TissueMap, scan: CtScan, measurement: Measurement, config: Config) -> list[Finding]:
    """Everything the lungs themselves say about how far their numbers can be trusted.

    A lung smaller than ``[quality] min_lung_ml`` is no lung and the only finding: a share of nothing is not 0 %.
    """
    lung_ml = measurement.volumes_ml.lung
    if lung_ml < config.quality.min_lung_ml:
        least_ml = config.quality.min_lung_ml
        text = f"{lung_ml:.0f} mL of lung found; under {least_ml:.0f} mL there is no lung to measure"
        return [_finding("NO_LUNGS_FOUND", text, lung_ml, config)]
    with ThreadPoolExecutor(1) as beside:  # it takes as long as all the others
        dense = beside.submit(lambda: list(dense_tissue_findings(tissue, scan, config)))
        found = [*_plausibility(measurement, config), *_aerated_hu(tissue, scan, config)]
        found += _truncated_ends(tissue, lung_ml, config)
        found += _truncated_field(tissue, scan, config)
        found += side_findings(tissue, scan, config)
        found += _dropped(tissue, config)
    return found + dense.result()


def _plausibility(measurement: Measurement, config: Config) -> Iterator[Finding]:
    limits, lung_ml = config.quality, measurement.volumes_ml.lung
    if not limits.lung_low_ml <= lung_ml <= limits.lung_high_ml:
        text = (
            f"lung volume {lung_ml:.0f} mL; adult lungs have {limits.lung_low_ml:.0f} to {limits.lung_high_ml:.0f}"
        )
        yield _finding("LUNG_VOLUME_IMPLAUSIBLE", text, lung_ml, config)
    left, right = measurement.sides["left"].lung, measurement.sides["right"].lung
    if max(left, right) > limits.side_ratio * min(left, right):
        yield _finding("ONE_LUNG", f"left lung {left:.0f} mL, right lung {right:.0f} mL", min(left, right), config)


def _dropped(tissue: TissueMap, config: Config) -> Iterator[Finding]:
    """Whether tidying left out enough lesion for a reader to look."""
    lost_ml = tissue.dropped_ml.get("lesion_outside_lungs_ml", 0.0)
    if lost_ml > config.quality.lesion_outside_flag_ml:
        text = f"{lost_ml:.0f} mL called lesion lie outside both lungs and are counted in no volume"
        yield _finding("LESION_OUTSIDE_LUNG", text, lost_ml, config)


def _aerated_hu(tissue: TissueMap, scan: CtScan, config: Config) -> Iterator[Finding]:
    """The most frequent HU of what is called aerated lung must be lung: the last net under a wrong rescale."""
    limits = config.hounsfield
    first, last, step = -1100, 190, 10
    histogram = np.zeros((last - first) // step, np.int64)
    for labels, hu in zip(tissue.labels_kji, scan.hu_kji, strict=True):
        histogram += np.histogram(hu[labels == Tissue.AERATED], histogram.size, (first, last))[0]
    if histogram.sum() == 0:
        return
    peak_hu = float(first + step * int(histogram.argmax()) + step / 2)
    if not limits.lung_peak_min_hu <= peak_hu <= limits.lung_peak_max_hu:
        low, high = limits.lung_peak_min_hu, limits.lung_peak_max_hu
        text = f"aerated lung peaks at {peak_hu:.0f} HU, not between {low:.0f} and {high:.0f}: no Hounsfield units"
        yield _finding("HU_IMPLAUSIBLE", text, peak_hu, config)


def _truncated_ends(tissue: TissueMap, lung_ml: float, config: Config) -> Iterator[Finding]:
    """Lung in the lowest or highest section: the rest of it was not imaged."""
    axis = _axis_of_body(tissue.grid)
    area_cm2 = _section_area_cm2(tissue, axis)
    gap_mm = _section_distance_mm(tissue.grid, axis)
    head_last = tissue.grid.step_lps_mm[2, axis] >= 0
    for name, areas in (
        ("LUNG_TRUNCATED_BASE", area_cm2 if head_last else area_cm2[::-1]),
        ("LUNG_TRUNCATED_APEX", area_cm2[::-1] if head_last else area_cm2),
    ):
        if areas[0] <= config.quality.cut_flag_cm2:
            continue
        lost_ml = missing_beyond_cut_ml(areas, gap_mm)
        share = None if lost_ml is None else lost_ml / (lung_ml + lost_ml)
        estimate = (
            "the loss cannot be estimated"
            if share is None
            else f"about {100 * share:.2f} % of the lung is missing"
        )
        outcome = Outcome.REFUSE if _too_much_cut(areas[0], share, config.quality) else config.outcome_of(name)
        end = "lowest" if name.endswith("BASE") else "highest"
        text = f"{areas[0]:.1f} cm2 of lung in the {end} section: {estimate}; the volume is a lower bound"
        yield Finding(name, outcome, text, round(float(areas[0]), 2))


def _too_much_cut(area_cm2: float, share: float | None, limits: Quality) -> bool:
    if share is None:
        return area_cm2 > limits.cut_unknown_cm2
    return area_cm2 > limits.cut_refuse_cm2 or share > limits.cut_refuse_share


def missing_beyond_cut_ml(area_from_cut_cm2: NDArray[np.float64], slice_distance_mm: float) -> float | None:
    """Lung volume beyond a cut, if its cross-section went on shrinking as it does before the cut.

    Half of area squared over slope: the tail of a paraboloid, whose cross-section shrinks in proportion to height.
    None if the section does not shrink towards the cut.

    >>> paraboloid_cm2 = np.arange(2.0, 12.0)   # grows 1 cm2 per mm; a triangle of 2 cm2 by 2 mm lies beyond
    >>> missing_beyond_cut_ml(paraboloid_cm2, 1.0)
    0.2
    """
    depth = min(len(area_from_cut_cm2), max(3, round(_TREND_MM / slice_distance_mm) + 1))
    slope_cm2_per_mm = np.polyfit(np.arange(depth) * slice_distance_mm, area_from_cut_cm2[:depth], 1)[0]
    if slope_cm2_per_mm <= 1e-6:  # level, up to rounding
        return None
    return round(float(area_from_cut_cm2[0] ** 2 / slope_cm2_per_mm / 2 / 10), 9)


def _truncated_field(tissue: TissueMap, scan: CtScan, config: Config) -> Iterator[Finding]:
    """Lung that touches the frame of the image, or the circle beyond which the scanner gave no values."""
    grid = tissue.grid
    k_mm, j_mm, i_mm = grid.spacing_kji_mm
    lung = tissue.labels_kji > 0
    contact_mm2 = 0.0
    for axis in {0, 1, 2} - {_axis_of_body(grid)}:
        face_mm2 = float(np.prod(np.delete(grid.spacing_kji_mm, axis)))
        contact_mm2 += face_mm2 * np.count_nonzero(lung.take([0, -1], axis=axis))
    if scan.no_data_kji is not None:
        for plane, missing in zip(lung, scan.no_data_kji, strict=True):
            contact_mm2 += k_mm * i_mm * _touching(plane, missing) + k_mm * j_mm * _touching(plane.T, missing.T)
    if contact_mm2 / 100 > config.quality.fov_contact_cm2:
        text = (
            f"lung touches the edge of the field of view over {contact_mm2 / 100:.1f} cm2: part of it is cut off"
        )
        yield _finding("LUNG_TRUNCATED_FOV", text, contact_mm2 / 100, config)


def _touching(plane: NDArray[np.bool_], missing: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(plane[1:] & missing[:-1]) + np.count_nonzero(plane[:-1] & missing[1:]))


def _axis_of_body(grid: Grid) -> int:
    """The array axis that runs most nearly from feet to head: k in an axial scan."""
    return int(np.argmax(np.abs(np.asarray(grid.direction_lps)[:, 2])))


def _section_area_cm2(tissue: TissueMap, axis: int) -> NDArray[np.float64]:
    first, second = np.delete(tissue.grid.step_lps_mm.T, axis, axis=0)
    pixel_cm2 = float(np.linalg.norm(np.cross(first, second))) / 100
    counts: NDArray[np.intp] = np.count_nonzero(np.moveaxis(tissue.labels_kji, axis, 0), axis=(1, 2))
    return counts * np.float64(pixel_cm2)


def _section_distance_mm(grid: Grid, axis: int) -> float:
    first, second = np.delete(grid.step_lps_mm.T, axis, axis=0)
    normal = np.cross(first, second)
    return float(abs(grid.step_lps_mm[:, axis] @ normal) / np.linalg.norm(normal))


def _finding(code: str, text: str, value: float, config: Config) -> Finding:
    return Finding(code, config.outcome_of(code), text, round(float(value), 3))
