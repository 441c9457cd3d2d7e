"""Where the slices lie: is this one uniform stack, and what is its grid.

Positions are projections of ImagePositionPatient on the slice normal. Nothing else gives a spacing: neither
SliceThickness, nor SliceLocation, nor SpacingBetweenSlices, nor the numbering.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volumetry.config import Config
from volumetry.config import Geometry as Tolerances
from volumetry.domain import Finding, Grid
from volumetry.scan.checks.needed import advice_on, tells_nothing, wanting
from volumetry.scan.checks.positions import Array, angle_deg, is_orthonormal, orientation_of_most, orthonormal
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.places import images_from_to
from volumetry.wording import EVERY_SLICE, for_reader

_SAME_PLACE_MM = 0.01
"""Positions this close are equal: far below any slice spacing, above the rounding of decimal strings."""
_NEAR_INTEGER = 0.15
"""How far a gap may be from a multiple of the spacing and still count as lost slices."""
_FAR_OFF = 20.0
"""A lone end slice further away than so many spacings was not lost from the stack but put in a wrong place."""
_OBLIQUE_DEG = 1.0
_TILT_NOTE_MM = 0.05


@dataclass(frozen=True, slots=True)
class StackGeometry:
    """A uniform stack, its slices ordered along the normal.

    Parameters
    ----------
    slices
        Ordered along `normal`.
    grid
        k runs along `normal`; for a tilted stack along the line of the slice positions.
    spacing_mm
        Distance of neighbouring slices along the normal; the grid's own step is longer in a tilted stack.
    tilt_deg
        Angle between the line of the positions and the normal, in degrees.
    normal
        Unit vector, LPS: cross product of row and column direction, DICOM PS3.3 C.7.6.2.1.1.
    """

    slices: tuple[SliceHeader, ...]
    grid: Grid
    spacing_mm: float
    tilt_deg: float
    normal: tuple[float, float, float]

    @property
    def coverage_mm(self) -> float:
        """Height of the stack along the normal, the half slices at its ends included."""
        return round(len(self.slices) * self.spacing_mm, 6)


def stack_geometry(slices: Sequence[SliceHeader], config: Config) -> tuple[StackGeometry | None, list[Finding]]:
    """Check the geometry of a stack.

    Parameters
    ----------
    slices
        Of one stack, in any order.
    config
        ``[geometry]`` holds the tolerances.

    Returns
    -------
    geometry, findings
        The geometry is None where no grid describes the stack; a finding then refuses.
    """
    findings = [*_plane_findings(slices, config)]
    axes = _axes(slices, config, findings)
    positions = _positions_mm(slices, config, findings)
    if axes is None or positions is None:
        return None, findings
    order = np.argsort(positions @ axes[2], kind="stable")
    ordered = tuple(slices[n] for n in order)
    in_axes = positions[order] @ axes.T  # row, column, normal coordinate of every slice
    problems = [*_place_findings(in_axes, ordered, config)]
    findings += problems
    spacing_yx = ordered[0].pixel_spacing_mm
    if len(ordered) < 2 or any(f.code not in ("POSITION_JITTER",) for f in problems) or spacing_yx is None:
        return None, findings
    if any(f.code in ("MIXED_MATRIX", "MIXED_PIXEL_SPACING", "NO_PIXEL_SPACING") for f in findings):
        return None, findings
    geometry = _fitted(ordered, in_axes, axes, (spacing_yx[0], spacing_yx[1]))
    return geometry, [*findings, *_tilt_findings(geometry, in_axes, config)]


def _plane_findings(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Matrix, pixel spacing and frame of reference: one of each."""
    matrices = {(h.rows, h.columns) for h in slices}
    if len(matrices) > 1:
        sizes = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(matrices))
        yield found(
            config, "MIXED_MATRIX", f"slices of one stack have different matrices ({sizes})", len(matrices)
        )
    spacings = [h.pixel_spacing_mm for h in slices]
    missing = sum(1 for s in spacings if s is None or min(s) <= 0)
    if missing:
        what = wanting(slices, "PixelSpacing", missing, "missing or not positive")
        yield found(config, "NO_PIXEL_SPACING", f"{what}: no pixel has a known size", missing, advice_on(slices))
    else:
        values = np.asarray(spacings, float)
        apart = float(np.max(np.ptp(values, axis=0) / values.min(axis=0)))
        if apart > config.geometry.pixel_spacing_tolerance:
            message = f"{named('PixelSpacing')} differs by {100 * apart:.3g} % between slices: not one volume"
            yield found(config, "MIXED_PIXEL_SPACING", message, apart)
    frames = {h.frame_of_reference for h in slices} - {None}
    if len(frames) > 1 and not tells_nothing([h.frame_of_reference for h in slices], config.geometry.min_slices):
        message = f"{named('FrameOfReferenceUID')} has {len(frames)} values: the positions cannot be compared"
        yield found(config, "MIXED_FRAME_OF_REFERENCE", message, len(frames))


def _axes(slices: Sequence[SliceHeader], config: Config, findings: list[Finding]) -> Array | None:
    """Row direction, column direction and normal of the stack: the mean over its slices."""
    geometry = config.geometry
    name = named("ImageOrientationPatient")
    usable = [h.orientation for h in slices if h.orientation is not None]
    bad = len(slices) - sum(is_orthonormal(o, geometry.orthonormal_tolerance) for o in usable)
    if bad:
        what = wanting(slices, "ImageOrientationPatient", bad, "missing or not orthonormal")
        message = f"{what}: no normal, no spacing"
        findings.append(found(config, "BAD_ORIENTATION", message, bad, advice_on(slices)))
        return None
    most = orientation_of_most(slices)
    if most is None:
        raise AssertionError("orthonormal orientations have a most common one")
    angles = [angle_deg(o, most) for o in usable]
    if max(angles) <= geometry.orientation_deg:
        return orthonormal(np.mean(usable, axis=0).tolist())
    odd = sum(angle > geometry.orientation_deg for angle in angles)
    if odd >= geometry.min_slices and max(angles) > geometry.non_axial_deg:
        message = f"{odd} of {len(slices)} slices lie in another plane: several reformats in one series"
        findings.append(found(config, "MIXED_ORIENTATION", message, odd))
    else:
        message = f"{name} differs by up to {max(angles):.2f} degrees between slices ({plural(odd, 'slice')})"
        findings.append(found(config, "BAD_ORIENTATION", message, max(angles)))
    return None


def _positions_mm(slices: Sequence[SliceHeader], config: Config, findings: list[Finding]) -> Array | None:
    missing = sum(1 for h in slices if h.position_lps_mm is None)
    if missing:
        what = wanting(slices, "ImagePositionPatient", missing, "missing")
        message = f"{what}; no other tag is taken for it"
        findings.append(found(config, "BAD_POSITIONS", message, missing, advice_on(slices)))
        return None
    positions = np.asarray([h.position_lps_mm for h in slices], float)
    if len(slices) > 1 and np.ptp(positions, axis=0).max() < _SAME_PLACE_MM:
        message = (
            f"{named('ImagePositionPatient')} is the same in all {len(slices)} slices: the stack has no height"
        )
        findings.append(found(config, "BAD_POSITIONS", message))
        return None
    return positions


def _place_findings(in_axes: Array, ordered: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Gaps and in-plane shifts of slices ordered along the normal."""
    along_mm = in_axes[:, 2]
    numbers = [header.instance_number for header in ordered]
    gaps_mm = np.diff(along_mm)
    real_gaps_mm = gaps_mm[gaps_mm > _SAME_PLACE_MM]
    if not real_gaps_mm.size:
        if len(along_mm) > 1:
            yield found(
                config, "BAD_POSITIONS", "all slices lie in one plane; only their in-plane position changes"
            )
        return
    usual_mm = float(np.median(real_gaps_mm))
    tolerances = config.geometry
    same = np.flatnonzero(gaps_mm < tolerances.duplicate_share * usual_mm)
    if same.size:
        message = (
            f"{plural(same.size, 'pair')} of slices at one position (first at slices {same[0]} and {same[0] + 1})"
        )
        yield found(
            config, "DUPLICATE_POSITION", f"{message}: it is not known which belongs to the volume", same.size
        )
        kept = np.concatenate([[True], gaps_mm >= tolerances.duplicate_share * usual_mm])
        along_mm, numbers = along_mm[kept], [n for n, keep in zip(numbers, kept, strict=True) if keep]
    off_mm = _off_line_mm(along_mm)
    residual_mm = float(off_mm.max())
    passes, flags = _jitter_limits_mm(usual_mm, tolerances)
    if residual_mm > flags:
        yield _uneven(np.diff(along_mm), usual_mm, _numbered_gaps(numbers), config)
    yield from _in_plane(in_axes, ordered, usual_mm, config)
    if passes < residual_mm <= flags:
        worst, height_mm = int(off_mm.argmax()), float(np.ptp(along_mm)) + usual_mm
        message = for_reader(
            f"slice positions deviate by up to {residual_mm:.3f} mm from even spacing of {usual_mm:.3f} mm",
            "at the table positions of neighbouring images, the worst first",
            images_from_to(ordered, worst, worst) if len(along_mm) == len(ordered) else EVERY_SLICE,
            f"at most {100 * min(1.0, 2 * residual_mm / usual_mm):.1f} % of a structure in a single slice, "
            f"{100 * 2 * residual_mm / height_mm:.2g} % of a structure as high as the stack",
        )
        yield found(config, "POSITION_JITTER", message, residual_mm)


def _jitter_limits_mm(spacing_mm: float, tolerances: Tolerances) -> tuple[float, float]:
    passes = max(tolerances.jitter_pass_mm, tolerances.jitter_pass_share * spacing_mm)
    return passes, max(tolerances.jitter_flag_mm, tolerances.jitter_flag_share * spacing_mm)


def _off_line_mm(along_mm: Array) -> Array:
    """Distance of each position from the straight line through all of them (least squares)."""
    k = np.arange(len(along_mm))
    if len(k) <= 2:
        return np.zeros(len(k))
    off_mm: Array = np.abs(along_mm - np.polyval(np.polyfit(k, along_mm, 1), k))
    return off_mm


def _numbered_gaps(numbers: Sequence[int | None]) -> Array:
    """How many slices each gap is by InstanceNumber; NaN where the numbers do not show it."""
    known = np.array([math.nan if number is None else float(number) for number in numbers])
    steps: Array = np.abs(np.diff(known))
    return steps


def _uneven(gaps_mm: Array, usual_mm: float, numbered: Array, config: Config) -> Finding:
    """Name the cause of uneven gaps: a slice put far off, slices lost, or a spacing that changes."""
    ends_mm = (gaps_mm[0], gaps_mm[-1])
    end = 0 if gaps_mm[0] >= gaps_mm[-1] else -1
    as_numbered = abs(numbered[end] * usual_mm - gaps_mm[end]) < _NEAR_INTEGER * usual_mm
    if len(gaps_mm) > 2 and max(ends_mm) > _FAR_OFF * usual_mm and not as_numbered:
        message = f"an end slice lies {max(ends_mm):.1f} mm from its neighbour; the usual gap is {usual_mm:.2f} mm"
        return found(
            config, "BAD_POSITIONS", f"{message}: its {named('ImagePositionPatient')} is wrong", max(ends_mm)
        )
    ratios = gaps_mm / usual_mm
    wide = np.flatnonzero(ratios > 2 - 2 * _NEAR_INTEGER)
    whole = np.abs(ratios - np.rint(ratios)) <= _NEAR_INTEGER * np.maximum(1, np.rint(ratios) / 4)
    if wide.size and whole.all() and wide.size < max(2, config.geometry.missing_gap_share * len(gaps_mm)):
        lost = int(np.rint(ratios[wide] - 1).sum())
        where = ", ".join(f"{gaps_mm[n]:.2f} mm after slice {n}" for n in wide[:5])
        message = f"about {plural(lost, 'slice')} missing inside the stack: {where}, usual gap {usual_mm:.2f} mm"
        return found(config, "MISSING_SLICES", f"{message}; the volume would be too small or stretched", lost)
    sizes, counts = np.unique(np.round(gaps_mm, 1), return_counts=True)
    largest = sorted(np.argsort(-counts, kind="stable")[:6])
    histogram = ", ".join(f"{counts[n]} x {sizes[n]:.1f} mm" for n in largest)
    return found(config, "NONUNIFORM_SPACING", f"the slice spacing is not one number; gaps: {histogram}")


def _in_plane(
    in_axes: Array, ordered: Sequence[SliceHeader], usual_mm: float, config: Config
) -> Iterator[Finding]:
    """In-plane shift of every slice against the straight line along the normal: constant, or a tilt."""
    along_mm = in_axes[:, 2]
    passes, flags = _jitter_limits_mm(usual_mm, config.geometry)
    off_mm = np.zeros(len(along_mm))
    for axis in (0, 1):
        line = np.polyval(_robust_line(along_mm, in_axes[:, axis]), along_mm)
        off_mm = np.maximum(off_mm, np.abs(in_axes[:, axis] - line))
    worst = int(off_mm.argmax())
    if off_mm[worst] > flags:
        odd = int((off_mm > flags).sum())
        message = f"{plural(odd, 'slice')} shifted in plane, the worst (slice {worst}) by {off_mm[worst]:.2f} mm"
        yield found(config, "BAD_POSITIONS", f"{message} by {named('ImagePositionPatient')}", float(off_mm[worst]))
    elif off_mm[worst] > passes:
        message = for_reader(
            f"slices are up to {off_mm[worst]:.3f} mm off in plane",
            "whether the body outline is at the same place as in the neighbouring images",
            images_from_to(ordered, worst, worst),
            "none, 0 %: a shift of a slice in its own plane does not change areas",
        )
        yield found(config, "POSITION_JITTER", message, float(off_mm[worst]))


def _robust_line(x: Array, y: Array) -> Array:
    """Straight line that one wrong slice cannot bend: median of the slopes between halves of the stack."""
    half = len(x) // 2
    if half < 1:
        return np.array([0.0, float(np.median(y))])
    run = x[half : 2 * half] - x[:half]
    slope = float(np.median((y[half : 2 * half] - y[:half])[run > 0] / run[run > 0])) if np.any(run > 0) else 0.0
    return np.array([slope, float(np.median(y - slope * x))])


def _fitted(
    ordered: tuple[SliceHeader, ...], in_axes: Array, axes: Array, spacing_yx: tuple[float, float]
) -> StackGeometry:
    """Grid from the straight line through the full positions: a tilted stack gives an honest, sheared grid."""
    k = np.arange(len(ordered))
    step, origin = np.polyfit(k, in_axes @ axes, 1)
    in_step = axes @ step
    grid = Grid(
        shape_kji=(len(ordered), ordered[0].rows, ordered[0].columns),
        spacing_kji_mm=(round(float(np.linalg.norm(step)), 9), spacing_yx[0], spacing_yx[1]),
        origin_lps_mm=_vector(origin),
        direction_lps=(_vector(step / np.linalg.norm(step)), _vector(axes[1]), _vector(axes[0])),
    )
    tilt = math.degrees(math.atan2(float(np.hypot(in_step[0], in_step[1])), float(in_step[2])))
    return StackGeometry(ordered, grid, round(float(in_step[2]), 9), tilt, _vector(axes[2]))


def _vector(values: Array) -> tuple[float, float, float]:
    """Plain numbers, free of the fit's last digits (1e-9 mm)."""
    x, y, z = (round(float(v), 9) + 0.0 for v in values)
    return x, y, z


def _tilt_findings(geometry: StackGeometry, in_axes: Array, config: Config) -> Iterator[Finding]:
    tilt, tolerances = geometry.tilt_deg, config.geometry
    drift_mm = float(np.linalg.norm(in_axes[-1, :2] - in_axes[0, :2]))
    if tilt > tolerances.tilt_deg:
        message = for_reader(
            f"slices are sheared by {tilt:.1f} degrees against their normal (gantry tilt)",
            "whether the mask follows lung and lesions in the tilted sections",
            EVERY_SLICE,
            f"0 % from the shear, because the grid is sheared too (otherwise {_by_cosine(tilt):.1f} %); the "
            "model's error on tilted sections is not quantified, because it was trained on few of them",
        )
        yield found(config, "GANTRY_TILT", message, tilt)
    elif drift_mm > _TILT_NOTE_MM:
        yield found(
            config, "SMALL_TILT", f"slices are sheared by {tilt:.2f} degrees, {drift_mm:.2f} mm in all", tilt
        )
    oblique = math.degrees(math.acos(min(1.0, abs(geometry.normal[2]))))
    if oblique > tolerances.non_axial_deg:
        message = for_reader(
            f"the slice normal lies {oblique:.0f} degrees from the body axis: not an axial reconstruction",
            "whether the mask follows lung and lesions",
            EVERY_SLICE,
            "0 % from the geometry, which is used as it is; the model's error on non-axial sections is not "
            "quantified, because it was trained on axial ones",
        )
        yield found(config, "NON_AXIAL", message, oblique)
    elif oblique > _OBLIQUE_DEG:
        yield found(config, "OBLIQUE", f"the slice normal lies {oblique:.1f} degrees from the body axis", oblique)


def _by_cosine(tilt_deg: float) -> float:
    """Percent by which a volume is too large if the step between tilted slices is taken for their distance."""
    return 100 * (1 / math.cos(math.radians(tilt_deg)) - 1)
