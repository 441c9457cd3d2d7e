"""Checks that need the lung mask: found, whole, plausible."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config, Quality
from volumetry.domain import CtScan, Finding, Grid, Measurement, TissueMap, Volumes
from volumetry.image.orientation import axial_view
from volumetry.quality.aerated_lung import density_findings
from volumetry.quality.blood_pool import contrast_findings
from volumetry.quality.metal import metal_findings
from volumetry.quality.missed_consolidation import dense_tissue_findings
from volumetry.quality.places import images
from volumetry.quality.pleural_fluid import fluid_findings
from volumetry.quality.sides import side_findings
from volumetry.quality.suspect_solid import suspect_findings
from volumetry.quality.unlabelled_haze import haze_findings
from volumetry.quality.weight import points_if_lesion, points_if_no_lesion, weighed

_WALL_RADIUS_MM = 60.0
"""Of the sharpest curve of a lung's outer wall; a flatter wall loses less beyond the same chord."""
_TREND_MM = 10.0
"""Depth from the cut over which the change of the lung's cross-section is read."""


def lung_findings(
    tissue: TissueMap,
    scan: CtScan,
    measurement: Measurement,
    config: Config,
    blood_hu: float | None = None,
) -> list[Finding]:
    """What the segmented lungs show about how far their numbers can be trusted.

    A lung smaller than ``[quality] min_lung_ml`` does not count as a lung and is then the only finding: a share of
    nothing is not 0 %.

    Parameters
    ----------
    tissue
        The network's classes, postprocessed, with sides.
    scan
        HU on the same grid.
    measurement
        Their numbers.
    config
        ``[quality]`` holds the limits.
    blood_hu
        From `blood_pool_hu`; None if it is not known.

    Returns
    -------
    list[Finding]
        In a fixed order, not by severity.
    """
    volumes = measurement.volumes_ml
    lung_ml = volumes.lung
    if lung_ml < config.quality.min_lung_ml:
        least_ml = config.quality.min_lung_ml
        text = f"{lung_ml:.0f} mL of lung were found; a lung needs at least {least_ml:.0f} mL to be measured"
        return [_finding("NO_LUNGS_FOUND", text, lung_ml, config)]
    with ThreadPoolExecutor(1) as beside:  # it takes as long as all the others
        dense = beside.submit(lambda: list(dense_tissue_findings(tissue, scan, config)))
        found = [*_plausibility(measurement, config), *density_findings(tissue, scan, volumes, config)]
        found += _truncated_ends(tissue, scan, volumes, config)
        found += _truncated_field(tissue, scan, lung_ml, config)
        found += side_findings(tissue, scan, config)
        found += _dropped(tissue, volumes, config)
        found += fluid_findings(tissue, scan, volumes, config)
        found += _organs(tissue, volumes, config)
        found += shallow_findings(tissue.dropped_ml, volumes, config)
        found += suspect_findings(tissue, scan, volumes, blood_hu, config)
        found += haze_findings(tissue, scan, volumes, config)
        found += metal_findings(tissue, scan, config, blood_hu)
        found += contrast_findings(scan.series, blood_hu, config)
    return found + dense.result()


def _plausibility(measurement: Measurement, config: Config) -> Iterator[Finding]:
    limits, lung_ml = config.quality, measurement.volumes_ml.lung
    if not limits.lung_low_ml <= lung_ml <= limits.lung_high_ml:
        text = (
            f"the lung volume is {lung_ml:.0f} mL; adult lungs have {limits.lung_low_ml:.0f} to "
            f"{limits.lung_high_ml:.0f} mL: look whether the mask misses lung or includes anything else (every "
            f"slice). Not quantified: the lung volume is the denominator of every percentage"
        )
        yield _finding("LUNG_VOLUME_IMPLAUSIBLE", text, lung_ml, config)
    left, right = measurement.sides["left"].lung, measurement.sides["right"].lung
    if max(left, right) > limits.side_ratio * min(left, right):
        moves = _estimate(max(left, right) - min(left, right), measurement.volumes_ml)
        text = (
            f"left lung {left:.0f} mL, right lung {right:.0f} mL: look whether part of the smaller one is missing "
            f"from the mask (every slice). If so, and if it is as large as the other, {moves}"
        )
        yield _finding("ONE_LUNG", text, min(left, right), config)


def _dropped(tissue: TissueMap, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """Whether tidying left out enough lesion, where there is thorax, for a reader to look."""
    dropped = tissue.dropped_ml
    lost_ml = dropped.get("lesion_beside_lungs_ml", dropped.get("lesion_outside_lungs_ml", 0.0))
    if lost_ml > config.quality.lesion_outside_flag_ml:
        points = points_if_lesion(volumes, lost_ml)
        text = (
            f"{lost_ml:.0f} mL labelled lesion lie outside the lungs and are not counted: look for consolidated "
            f"lung that is missing from the mask (every slice). If all of it is lesion, the lesion percentage is "
            f"{points:.2f} points higher"
        )
        yield weighed(config, "LESION_OUTSIDE_LUNG", text, lost_ml, points)


def shallow_findings(dropped_ml: Mapping[str, float], volumes: Volumes, config: Config) -> Iterator[Finding]:
    """Whether tidying took enough lesion for an edge of the lung for a reader to look.

    Examples
    --------
    >>> from volumetry.config import load_config
    >>> volumes = Volumes(aerated=1900.0, ground_glass=100.0, solid=0.0)
    >>> (finding,) = shallow_findings({"lesion_shallow_ml": 20.0}, volumes, load_config())
    >>> finding.code, finding.value, finding.outcome.value
    ('LESION_SHALLOW', 20.0, 'flag')
    """
    shallow_ml = dropped_ml.get("lesion_shallow_ml", 0.0)
    if shallow_ml > config.quality.lesion_outside_flag_ml and volumes.lung > 0:
        points = 100 * shallow_ml / volumes.lung
        text = (
            f"{shallow_ml:.0f} mL of small lesions lie nowhere deeper than {config.tidy.shallow_lesion_mm:g} mm "
            f"below the edge of the lung and are counted as aerated lung: look for small subpleural disease that "
            f"was left out (every slice). With all of it the lesion percentage is {points:.2f} points higher"
        )
        yield weighed(config, "LESION_SHALLOW", text, shallow_ml, points)


def _organs(tissue: TissueMap, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """Whether the look at the whole chest failed, or took enough away, for a reader to look."""
    context, wanted = tissue.context, config.segment.context_agreement
    if context is None:
        return
    in_organs_ml = context.lesion_in_organs_ml
    if context.agreement < wanted:
        points = points_if_no_lesion(volumes, in_organs_ml)
        text = (
            f"the whole-chest network recognises {100 * context.agreement:.0f} % of the aerated lung, less than "
            f"{100 * wanted:.0f} %, and was not used: look whether organs beside the lungs are labelled lesion "
            f"(every slice). Without what it assigns to organs, the lesion percentage is {points:.2f} points lower"
        )
        yield _finding("CHEST_NOT_RECOGNISED", text, context.agreement, config)
    elif in_organs_ml > config.quality.lesion_outside_flag_ml:
        points = points_if_lesion(volumes, context.doubtful_ml)
        text = (
            f"{in_organs_ml:.0f} mL of the lesion lie in organs, fat or the chest wall according to the "
            f"whole-chest network and are not counted; {context.doubtful_ml:.0f} mL of them adjoin disease in "
            f"the lung or are as large as a lobe: look whether consolidated lung was left out (every slice). With "
            f"these the lesion percentage is at most {points:.2f} points higher"
        )
        yield weighed(config, "LESION_IN_ORGAN", text, in_organs_ml, points)


def _truncated_ends(tissue: TissueMap, scan: CtScan, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """Lung in the lowest or highest section: the rest of it was not imaged."""
    lung_ml = volumes.lung
    axis = axial_view(tissue.grid).axes[0]
    first, count = _sections_with_values(scan, axis)
    area_cm2 = _section_area_cm2(tissue, axis)[first : first + count]
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
        outcome = Outcome.REFUSE if _too_much_cut(areas[0], share, config.quality) else _cut(name, share, config)
        lowest = name.endswith("BASE")
        at = (
            ", at an edge of every slice"
            if axis
            else f", {images(scan, [first if lowest == head_last else first + count - 1])}"
        )
        text = (
            f"{areas[0]:.1f} cm\u00b2 of lung in the {'lowest' if lowest else 'highest'} section{at}: look "
            f"whether the lung extends further; {_estimate(lost_ml, volumes)}; the volume is a lower bound"
        )
        yield Finding(name, outcome, text, round(float(areas[0]), 2))


def _sections_with_values(scan: CtScan, axis: int) -> tuple[int, int]:
    """First section along an axis that is not padding throughout, and how many up to the last such one."""
    count = scan.grid.shape_kji[axis]
    if scan.no_data_kji is None or axis:
        return 0, count
    known = np.flatnonzero([not plane.all() for plane in scan.no_data_kji])
    return (int(known[0]), int(known[-1] - known[0]) + 1) if known.size else (0, count)


def _estimate(lost_ml: float | None, volumes: Volumes) -> str:
    """What is missing, and how far the share of lesion moves if all of that, or none, is lesion."""
    if lost_ml is None:
        return "the loss is not quantified, because the lung does not get smaller towards this end"
    percent = 100 * lost_ml / (volumes.lung + lost_ml)
    if_none = 100 * volumes.lesion / volumes.lung - 100 * volumes.lesion / (volumes.lung + lost_ml)
    points = max(points_if_lesion(volumes, lost_ml), if_none)
    moves = f"which changes the lesion percentage by at most {points:.2f} points"
    return f"about {percent:.2f} % of the lung is missing, {moves}"


def _cut(code: str, share: float | None, config: Config) -> Outcome:
    """A note, in every profile, where next to nothing is missing; a stricter setting is followed."""
    if share is None or share >= config.quality.cut_note_share:
        return config.outcome_of(code)
    return config.outcome_of(code, Outcome.NOTE)


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


def _truncated_field(tissue: TissueMap, scan: CtScan, lung_ml: float, config: Config) -> Iterator[Finding]:
    """Lung that touches the frame of the image, or the circle beyond which the scanner gave no values.

    What lies beyond a chord c of a section is at most the segment of a circle, c^3 / 12 R, and a lung's outer wall
    is no more curved than with a radius of 60 mm.
    """
    contact_mm2 = _contact_mm2(tissue, scan)
    if contact_mm2.sum() / 100 <= config.quality.fov_contact_cm2:
        return
    thick_mm = tissue.grid.spacing_kji_mm[0]
    lost_ml = float(np.sum((contact_mm2 / thick_mm) ** 3)) / 12 / _WALL_RADIUS_MM * thick_mm / 1000
    share = lost_ml / (lung_ml + lost_ml)
    where = images(scan, np.flatnonzero(contact_mm2).tolist())
    text = (
        f"lung touches the edge of the field of view over {contact_mm2.sum() / 100:.1f} cm2 (look at {where}): "
        f"part of it was not imaged, at most {100 * share:.2f} % of the lung by the width of the contact"
    )
    outcome = _cut("LUNG_TRUNCATED_FOV", share, config)
    yield Finding("LUNG_TRUNCATED_FOV", outcome, text, round(float(contact_mm2.sum() / 100), 3))


def _contact_mm2(tissue: TissueMap, scan: CtScan) -> NDArray[np.float64]:
    """Area over which the lung of each slice touches the frame, or voxels without a value."""
    grid = tissue.grid
    k_mm, j_mm, i_mm = grid.spacing_kji_mm
    labels = tissue.labels_kji
    contact_mm2 = np.zeros(len(labels))
    for axis in {0, 1, 2} - {axial_view(grid).axes[0]}:
        face_mm2 = float(np.prod(np.delete(grid.spacing_kji_mm, axis)))
        if axis == 0:
            for end in (0, -1):
                contact_mm2[end] += face_mm2 * np.count_nonzero(labels[end])
        else:
            contact_mm2 += face_mm2 * np.count_nonzero(labels.take([0, -1], axis=axis), axis=(1, 2))
    if scan.no_data_kji is not None:
        for k, (plane, missing) in enumerate(zip(labels > 0, scan.no_data_kji, strict=True)):
            contact_mm2[k] += k_mm * i_mm * _touching(plane, missing) + k_mm * j_mm * _touching(plane.T, missing.T)
    return contact_mm2


def _touching(plane: NDArray[np.bool_], missing: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(plane[1:] & missing[:-1]) + np.count_nonzero(plane[:-1] & missing[1:]))


def _section_area_cm2(tissue: TissueMap, axis: int) -> NDArray[np.float64]:
    first, second = np.delete(tissue.grid.step_lps_mm.T, axis, axis=0)
    pixel_cm2 = float(np.linalg.norm(np.cross(first, second))) / 100
    sections = np.moveaxis(tissue.labels_kji, axis, 0)  # one by one: of the whole, numpy makes a copy first
    return np.array([np.count_nonzero(section) for section in sections]) * np.float64(pixel_cm2)


def _section_distance_mm(grid: Grid, axis: int) -> float:
    first, second = np.delete(grid.step_lps_mm.T, axis, axis=0)
    normal = np.cross(first, second)
    return float(abs(grid.step_lps_mm[:, axis] @ normal) / np.linalg.norm(normal))


def _finding(code: str, text: str, value: float, config: Config) -> Finding:
    return Finding(code, config.outcome_of(code), text, round(float(value), 3))
