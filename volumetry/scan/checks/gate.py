"""Every check on the headers of one stack; all of them run, so that a row lists every code."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding, SeriesInfo, most_severe_first
from volumetry.scan.checks.composition import Stack
from volumetry.scan.checks.geometry import StackGeometry, stack_geometry
from volumetry.scan.checks.numbering import numbering_findings
from volumetry.scan.checks.pixel_attributes import pixel_findings
from volumetry.scan.checks.uids import uid_findings
from volumetry.scan.findings import found, found_mildly, named, plural, refuses
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.headers.syntaxes import DECODERS
from volumetry.scan.places import images_with
from volumetry.wording import EVERY_SLICE, for_reader

_ROUNDING_MM = 0.01
_BYTES_PER_VOXEL = 12
"""Peak need of the whole line per voxel: stored 2, HU 4, masks and labels 3, working copies 3."""


_LESION_MM = 30.0
"""Height of the lesion for which partial volume is stated: a usual patch of one segment."""
_NO_VOLUME = frozenset({"TOO_FEW_SLICES", "NOT_CT_NUMBERS", "NOT_CT"})


@dataclass(frozen=True, slots=True)
class GatedStack:
    """A stack with everything found in its headers.

    Parameters
    ----------
    slices
        Along the normal where there is a geometry; otherwise in the order of the files.
    findings
        The most severe first.
    geometry
        None where no grid describes the stack.
    series
        The acquisition; None without a geometry.
    """

    slices: tuple[SliceHeader, ...]
    findings: tuple[Finding, ...]
    geometry: StackGeometry | None
    series: SeriesInfo | None

    @property
    def measurable(self) -> bool:
        """Whether the headers allow a number."""
        return self.geometry is not None and not refuses(self.findings)

    @property
    def may_be_volume(self) -> bool:
        """Whether this can be the chest volume; a stack refused for one of three codes never was."""
        return not any(finding.code in _NO_VOLUME for finding in self.findings)

    @property
    def verdict(self) -> str:
        """``measurable``, or the code that refuses."""
        return "measurable" if self.measurable else self.findings[0].code


def gate(stack: Stack, config: Config) -> GatedStack:
    """Check one stack by its headers: geometry, coverage, pixel attributes, UIDs, numbering, patient.

    Parameters
    ----------
    stack
        From `stacks_of`.
    config
        Tolerances, limits, and what follows from each code.

    Returns
    -------
    GatedStack
        Measurable unless a finding refuses.
    """
    geometry, findings = stack_geometry(stack.slices, config)
    findings += stack.findings
    findings += _coverage(stack.slices, geometry, config)
    findings += _size(stack.slices, config)
    findings += pixel_findings(stack.slices, config)
    findings += uid_findings(stack.slices, config)
    findings += _object(stack, config)
    findings += numbering_findings(stack, geometry, config)
    findings += _patient(stack.slices, config)
    if geometry is not None:
        findings += _spacing(geometry, config)
    slices = geometry.slices if geometry else stack.slices
    return GatedStack(slices, most_severe_first(findings), geometry, _series_info(geometry))


def _coverage(slices: Sequence[SliceHeader], geometry: StackGeometry | None, config: Config) -> Iterator[Finding]:
    least = config.geometry
    if len(slices) < least.min_slices:
        message = f"{plural(len(slices), 'slice')}; a chest volume has at least {least.min_slices}"
        yield found(config, "TOO_FEW_SLICES", message, len(slices))
    elif geometry is not None and geometry.coverage_mm < least.min_coverage_mm - _ROUNDING_MM:
        covered = geometry.coverage_mm
        message = (
            f"{len(slices)} slices cover {covered:.0f} mm; a chest volume covers {least.min_coverage_mm:.0f} mm"
        )
        yield found(config, "TOO_FEW_SLICES", message, covered)


def _object(stack: Stack, config: Config) -> Iterator[Finding]:
    """What the images call themselves, and whether all parts of an object that was split for transfer are here."""
    called = sum(h.is_localizer for h in stack.slices)
    if called:
        message = f"{named('ImageType')} says LOCALIZER in {called} of {len(stack.slices)} parallel slices"
        message = for_reader(
            f"{message}: a whole stack is not a localizer",
            "whether vessels and fissures are as sharp and noise is as low as in a diagnostic CT",
            images_with(stack.slices, lambda h: h.is_localizer),
            "not quantified: low dose and thick slices impair the segmentation by density; size and position"
            " are not affected",
        )
        yield found(config, "CALLED_LOCALIZER", message, called)
    parts: dict[str, set[int]] = defaultdict(set)
    totals: dict[str, int] = {}
    for header in stack.series:
        if header.concatenation is not None:
            whole, part, total = header.concatenation
            parts[whole].add(part)
            totals[whole] = max(total, totals.get(whole, 0))
    lost = sum(max(0, max(total, *parts[whole]) - len(parts[whole])) for whole, total in totals.items())
    if lost:
        tag = named("InConcatenationTotalNumber")
        message = f"{plural(lost, 'part')} of a multi-frame object that was split for transfer are missing ({tag})"
        yield found(config, "MANIFEST_MISMATCH", message, lost)


def _size(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    voxels = sum(h.rows * h.columns for h in slices)
    needed_gb = voxels * _BYTES_PER_VOXEL / 2**30
    if needed_gb > config.limits.max_memory_gb:
        message = f"needs about {needed_gb:.1f} GB of memory; {config.limits.max_memory_gb:g} GB are allowed"
        yield found(config, "TOO_LARGE", message, round(needed_gb, 1))


def _spacing(geometry: StackGeometry, config: Config) -> Iterator[Finding]:
    """Spacing against thickness and tags; the tags never change the spacing."""
    limits, spacing = config.geometry, geometry.spacing_mm
    thicknesses = [h.thickness_mm for h in geometry.slices if h.thickness_mm is not None and h.thickness_mm > 0]
    thickest = max([spacing, *thicknesses])
    if thicknesses:
        yield from _against_thickness(spacing, min(thicknesses), max(thicknesses), config)
    if thickest > limits.thick_mm + _ROUNDING_MM:
        message = for_reader(
            f"slice thickness or spacing is {thickest:.2f} mm; image features change above {limits.thick_mm:g} mm",
            "at the domes, the fissures, and the top and bottom of each lesion: they blur with what lies above and"
            " below",
            EVERY_SLICE,
            f"each lesion's top and bottom are uncertain by half a slice, {thickest / 2:.2f} mm: at most "
            f"{100 * min(1.0, thickest / _LESION_MM):.0f} % of a lesion {_LESION_MM:g} mm high, "
            f"{100 * min(1.0, thickest / geometry.coverage_mm):.1f} % of a structure as high as the stack",
        )
        if thickest > limits.thick_refuse_mm - _ROUNDING_MM:
            yield found(config, "THICK_SLICES", message, thickest)
        else:
            mild = Outcome.FLAG if config.profile == "trial" else Outcome.NOTE
            yield found_mildly(config, "THICK_SLICES", mild, message, thickest)
    tags = {h.spacing_tag_mm for h in geometry.slices if h.spacing_tag_mm is not None}
    wrong = [tag for tag in tags if tag < 0 or abs(tag - spacing) > limits.spacing_tag_tolerance * spacing]
    if wrong:
        message = f"{named('SpacingBetweenSlices')} is {wrong[0]:g} mm, but the positions give {spacing:.3f} mm"
        message = for_reader(
            f"{message}; the positions are used",
            "at the table positions of neighbouring images",
            images_with(geometry.slices, lambda h: h.spacing_tag_mm in wrong),
            f"none if the positions are right; if the element is right, every volume is wrong by a factor of "
            f"{abs(wrong[0]) / spacing:.3g}, and percentages are correct",
        )
        yield found(config, "SPACING_TAG_CONFLICT", message, wrong[0])
    pixel = geometry.grid.spacing_kji_mm[1:]
    yield from _pixel_size(geometry, config)
    yield from _against_field(geometry, config)
    if max(pixel) > limits.large_fov_pixel_mm:
        message = for_reader(
            f"pixels of {max(pixel):.2f} mm: the field of view is large and the lung small in it",
            "whether the mask follows the lung's outline",
            EVERY_SLICE,
            f"not quantified: the outline is uncertain by half a pixel, {max(pixel) / 2:.2f} mm",
        )
        yield found(config, "LARGE_FOV", message, max(pixel))


def _pixel_size(geometry: StackGeometry, config: Config) -> Iterator[Finding]:
    """In-plane pixel size: unusual is a note, unlikely asks a reader, impossible refuses."""
    limits, (slice_mm, *pixel) = config.geometry, geometry.grid.spacing_kji_mm
    what = named("PixelSpacing") if geometry.slices[0].has_header else "the pixel size"
    message = f"{what} is {pixel[0]:.3g} x {pixel[1]:.3g} mm in slices {slice_mm:.3g} mm apart"
    code = "PIXEL_SPACING_RANGE"
    if max(pixel) > _MOST_PIXEL_MM:
        yield Finding(code, Outcome.REFUSE, f"{message}: implausible for a chest CT", max(pixel))
    elif not _LIKELY_PIXEL_MM[0] <= min(pixel) <= max(pixel) <= _LIKELY_PIXEL_MM[1]:
        message = _of_body_size(f"{message}: unlikely for a chest CT")
        yield found_mildly(config, code, Outcome.FLAG, message, max(pixel))
    elif min(pixel) < limits.pixel_spacing_min_mm or max(pixel) > limits.pixel_spacing_max_mm:
        yield found(config, code, _of_body_size(f"{message}: unusual for a chest CT"), max(pixel))


def _of_body_size(what: str) -> str:
    effect = "none if it is right; a pixel size that is 10 % too large makes every volume 21 % too large"
    return for_reader(what, "whether the body has a plausible size", EVERY_SLICE, effect)


_MOST_PIXEL_MM = 5.0
_LIKELY_PIXEL_MM = (0.25, 1.5)


def _against_field(geometry: StackGeometry, config: Config) -> Iterator[Finding]:
    """Pixel size against the reconstructed field: who shrinks a matrix may forget PixelSpacing.

    A crop that keeps its pixels gives a ratio above 1 too, so this asks a reader and does not refuse by default.
    """
    stated = {h.reconstruction_mm for h in geometry.slices if h.reconstruction_mm is not None}
    if len(stated) != 1 or min(stated) <= 0:
        return
    (_, rows, columns), (_, row_mm, column_mm) = geometry.grid.shape_kji, geometry.grid.spacing_kji_mm
    field_mm, diameter_mm = max(rows * row_mm, columns * column_mm), min(stated)
    ratio = diameter_mm / field_mm
    if abs(ratio - 1) > _FIELD_TOLERANCE:
        message = for_reader(
            f"{named('ReconstructionDiameter')} is {diameter_mm:g} mm, but rows and columns times "
            f"{named('PixelSpacing')} give {field_mm:.1f} mm: the image was cropped, or its matrix was changed "
            "but PixelSpacing was not",
            "whether the body has the same size as in the PACS",
            EVERY_SLICE,
            f"none if it was cropped; else every volume is wrong by a factor of {ratio**2:.2g}, but no percentage",
        )
        yield found(config, "PIXEL_SPACING_CONFLICT", message, round(ratio, 3))


_FIELD_TOLERANCE = 0.02
"""Ten scanners' headers agree within 0.3 %."""


def _against_thickness(spacing: float, thinnest: float, thickest: float, config: Config) -> Iterator[Finding]:
    limits, tag = config.geometry, named("SliceThickness")
    if spacing >= limits.sampled_ratio * thinnest - _ROUNDING_MM:
        message = (
            f"slices {spacing:.2f} mm apart but {thinnest:.2f} mm thick by {tag}: most of the lung was not imaged"
        )
        yield found(config, "SAMPLED_HRCT", message, spacing / thinnest)
    elif spacing > limits.slice_gap_ratio * thinnest:
        missing = 100 * (1 - thinnest / spacing)
        message = for_reader(
            f"slices {spacing:.2f} mm apart but {thinnest:.2f} mm thick by {tag}: part of the lung was not imaged",
            "at lesions seen in only one or two slices",
            EVERY_SLICE,
            f"{missing:.0f} % of the lung lies between the slices and is assumed to be like its neighbours: at "
            f"most {missing:.0f} % of the lung volume and of each lesion",
        )
        yield found(config, "SLICE_GAP", message, spacing / thinnest)
    overlap = thickest / spacing
    if overlap > limits.slice_gap_ratio:
        message = for_reader(
            f"slices {thickest:.2f} mm thick by {tag} every {spacing:.2f} mm",
            "at the top and bottom of each lesion: they are blurred over the slice thickness",
            EVERY_SLICE,
            "nothing is counted twice; the top and bottom of a lesion are uncertain by half a slice, "
            f"{thickest / 2:.2f} mm: at most {100 * min(1.0, thickest / _LESION_MM):.0f} % of a lesion "
            f"{_LESION_MM:g} mm high",
        )
        if overlap > limits.overlap_flag_ratio:
            yield found(config, "SLICE_OVERLAP", message, overlap)
        else:
            yield found_mildly(config, "SLICE_OVERLAP", Outcome.NOTE, message, overlap)


def _patient(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Position and age."""
    ages = [h.age_years for h in slices if h.age_years is not None]
    if not ages:
        message = f"the age is not known, neither from {named('PatientAge')} nor from dates"
        yield found(config, "AGE_UNKNOWN", message)
    elif min(ages) < config.geometry.adult_years:
        message = for_reader(
            f"the patient is younger than {config.geometry.adult_years} years; the model was trained on adults",
            "whether the mask follows the lung and the lesions",
            EVERY_SLICE,
            "not quantified: the model's error on children is not known",
        )
        yield found(config, "OUT_OF_INTENDED_POPULATION", message)
    positions = Counter(h.patient_position for h in slices if h.patient_position)
    tag = named("PatientPosition")
    lying = {position[2:] for position in positions}
    if len(positions) > 1:
        usual = positions.most_common(1)[0][0]
        where = images_with(slices, lambda h: h.patient_position not in (usual, None))
        message = f"{tag} has {len(positions)} values in one stack"
        yield found(config, "POSITION_CONFLICT", for_reader(message, _LOOK_FOR_HEART, where, _BY_SIDE))
    if lying & {"P", "DR", "DL"}:
        message = for_reader(
            f"{tag} is prone or decubitus: this changes lung volume and dependent density",
            "whether haze in the dependent lung is disease or the effect of gravity",
            images_with(slices, lambda h: (h.patient_position or "")[2:] in ("P", "DR", "DL")),
            "not quantified: dependent density counts as ground glass, and lung volume depends on the position",
        )
        yield found(config, "PRONE", message)
    down = [h.orientation[4] for h in slices if h.orientation is not None]
    if down and ((lying == {"S"} and max(down) < -0.5) or (lying == {"P"} and min(down) > 0.5)):
        message = f"{tag} and {named('ImageOrientationPatient')} disagree about which side is posterior"
        message = for_reader(f"{message}: left and right may be swapped", _LOOK_FOR_HEART, EVERY_SLICE, _BY_SIDE)
        yield found(config, "POSITION_CONFLICT", message)


_LOOK_FOR_HEART = "on which side the apex of the heart and the liver lie"
_BY_SIDE = "volumes and percentages of both lungs together do not change; those by side may be swapped"


def _series_info(geometry: StackGeometry | None) -> SeriesInfo | None:
    """What may be stated of the series, each value the most common one."""
    if geometry is None:
        return None
    slices, first = geometry.slices, geometry.slices[0]
    thicknesses = [h.thickness_mm for h in slices if h.thickness_mm is not None and h.thickness_mm > 0]
    contrast_known = any(h.contrast_known for h in slices)
    return SeriesInfo(
        series_uid=first.series_uid or "",
        slice_count=len(slices),
        spacing_kji_mm=geometry.grid.spacing_kji_mm,
        thickness_mm=max(thicknesses) if thicknesses else None,
        kernel=first.kernel,
        kvp=first.kvp,
        manufacturer=first.manufacturer,
        model_name=first.model_name,
        contrast=any(h.contrast for h in slices) if contrast_known else None,
        acquisition_date=first.acquisition_date,
        patient_position=first.patient_position,
        transfer_syntax=Counter(h.pixels.syntax for h in slices).most_common(1)[0][0],
        decoder=", ".join(sorted({DECODERS[h.pixels.syntax] for h in slices if h.pixels.syntax in DECODERS}))
        or None,
        rows=first.rows,
        columns=first.columns,
        tilt_deg=round(geometry.tilt_deg, 4),
    )
