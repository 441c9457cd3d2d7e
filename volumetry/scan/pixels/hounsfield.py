"""Stored numbers -> Hounsfield units, and the test whether that is what they are.

A wrong sign flag, a burnt-in window or a wrong intercept leaves a perfectly legal file, and no reader notices.
What every CT of a body shows, wherever it was taken, is air near -1000 HU and a peak of soft tissue and fat
near 0. These two are demanded. A lung peak is not: a head has none (the lungs are looked for later), and diffuse
disease moves it; so its absence would refuse the very patients that are to be measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import strictest
from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.image.threads import each_of
from volumetry.scan.checks.neighbours import (
    half_empty_finding,
    odd_slice_findings,
    seam_findings,
    without_half_empty_ends,
)
from volumetry.scan.findings import found, plural
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.pixels.air import (
    LARGE_BLOCK,
    AirEvidence,
    air_evidence,
    block_means,
    block_medians,
    block_size,
)
from volumetry.scan.pixels.decode import Stored
from volumetry.scan.pixels.padding import Mask, padding_mask
from volumetry.wording import EVERY_SLICE, for_reader

_LOWEST_HU, _HIGHEST_HU = -4096, 8192
_DENSE_HU = -300
"""Above this lies the body: tissue, fat, bone."""
_LEAST_TISSUE = 0.02
"""Share of all voxels with a value; a tight crop around the lungs still holds heart, walls and vessels."""
_COMB_HU = 3.5
"""Steps between used values near soft tissue; slopes up to 2 occur in good data, a burnt-in window gives more."""
_VALUES_OF_8_BITS, _COARSE_HU = 256, 12.5
_LUNG_END_HU, _BONE_END_HU = -1000.0, 500.0
"""A volume that was only stored in steps keeps its densities: it has more values than a window of 8 bits has, or,
where no header states a rescale that could be wrong, reaches from air to dense bone."""
_EMPTY_SLICE_AIR = 0.9
_COARSEST_SLOPE = 2.5
"""A slope up to this is not a fault, and it leaves fewer different values in the same range."""


@dataclass(frozen=True, slots=True)
class HuVolume:
    """HU of a stack with what was found in them.

    Parameters
    ----------
    hu_kji
        HU, float32; padding is set to air.
    no_data_kji
        Bool, True at padding; None without any.
    air_hu
        Mode of the air outside the body; None if not measurable.
    findings
        What the values themselves show.
    """

    hu_kji: NDArray[np.float32]
    no_data_kji: Mask | None
    air_hu: float | None
    findings: tuple[Finding, ...]


def hounsfield(stored_kji: Stored, slices: Sequence[SliceHeader], config: Config) -> HuVolume:
    """HU = stored x slope + intercept, slice by slice in float32; padding becomes air and is masked.

    Parameters
    ----------
    stored_kji
        Stored numbers, in the order of `slices`.
    slices
        Their headers, with the rescale pair.
    config
        ``[hounsfield]`` holds the limits of plausible HU.

    Returns
    -------
    HuVolume
        Of the same shape.

    References
    ----------
    DICOM PS3.3 C.8.2.1, CT Image module: Rescale Intercept (0028,1052) and Rescale Slope (0028,1053).
    """
    settings = config.hounsfield
    no_data = padding_mask(stored_kji, slices, settings)
    hu = np.empty(stored_kji.shape, np.float32)

    def rescale(k: int) -> None:
        slope, intercept = slices[k].rescale
        np.multiply(stored_kji[k], np.float32(slope), out=hu[k], casting="unsafe")
        hu[k] += np.float32(intercept)

    each_of(rescale, len(slices))
    findings: list[Finding] = []
    if no_data is not None:
        hu[no_data] = settings.padding_hu
        share = 100 * float(no_data.mean())
        message = (
            f"{share:.1f} % of the voxels are padding: set to {settings.padding_hu:g} HU, counted in no volume"
        )
        findings.append(found(config, "PADDING_MASKED", message, share))
    means = block_means(hu)
    inner = without_half_empty_ends(means, slices)
    if inner != slice(0, len(hu)):
        findings.append(half_empty_finding(inner, slices, config))
        no_data = np.zeros(hu.shape, bool) if no_data is None else no_data
        for outside in (slice(0, inner.start), slice(inner.stop, len(hu))):
            hu[outside], no_data[outside] = settings.padding_hu, True
    air_hu, more = _judged(hu[inner], means[inner], no_data, inner, slices, config)
    return HuVolume(hu, no_data, air_hu, _joined([*findings, *more]))


def _judged(
    hu: NDArray[np.float32],
    means: NDArray[np.float32],
    no_data: Mask | None,
    inner: slice,
    slices: Sequence[SliceHeader],
    config: Config,
) -> tuple[float | None, list[Finding]]:
    """Air outside the body, and what the values say against being HU; of the slices that are not set aside."""
    no_data = None if no_data is None else no_data[inner]
    mine = slices[inner]
    histograms = np.stack(each_of(lambda k: _histogram(hu[k], None if no_data is None else ~no_data[k]), len(hu)))
    air_hu, findings = _judge_air(_air(hu, means, no_data, histograms), config)
    findings += _uneven_rescale(means, no_data, mine, config)
    findings += odd_slice_findings(means, config)
    findings += seam_findings(means, slices, inner.start, config)
    coarseness = max(h.slope or 1.0 for h in mine) if mine[0].has_header else _STORED_IN_STEPS
    findings += _range_findings(histograms, means, coarseness, config)
    findings += _tissue_findings(histograms, mine[0].has_header, config)
    findings += _wrap_findings(hu, mine, config)
    return air_hu, findings


_STORED_IN_STEPS = 1.25
"""A volume stored in steps of 8 HU from air to bone holds about 200 values, in steps of 20 HU too few."""


def _histogram(plane_hu: NDArray[np.float32], valid: Mask | None) -> NDArray[np.int64]:
    """Counts per HU from `_LOWEST_HU` to `_HIGHEST_HU`; what lies beyond is counted at the ends."""
    values = plane_hu.ravel() if valid is None else plane_hu[valid]
    whole = np.floor(values + np.float32(1e-3))  # not rounded: half values would fall together in pairs
    bins = np.clip(whole, _LOWEST_HU, _HIGHEST_HU).astype(np.int32) - _LOWEST_HU
    return np.bincount(bins, minlength=_HIGHEST_HU - _LOWEST_HU + 1)


def _between(histograms: NDArray[np.int64], low: float, high: float) -> NDArray[np.int64]:
    """Counts from `low` to `high` HU, both included; per slice if there are slices."""
    first, last = (int(np.clip(round(x), _LOWEST_HU, _HIGHEST_HU)) - _LOWEST_HU for x in (low, high))
    counts: NDArray[np.int64] = histograms[..., first : last + 1].sum(axis=-1)
    return counts


def _air(
    hu: NDArray[np.float32], means: NDArray[np.float32], no_data: Mask | None, histograms: NDArray[np.int64]
) -> AirEvidence:
    """Where air lies; by medians of large blocks where the noise of air is cut off.

    Numbers that cannot go below -1024 HU cut it off there (sharp kernels, thin slices): the mean of air then lies
    far above air. A median does not, if its block holds many more pixels than the noise can turn.
    """
    whole = histograms.sum(axis=0)
    lowest = int(np.flatnonzero(whole)[0]) if whole.any() else 0
    at_floor = float(whole[lowest]) / max(1, int(_between(whole, _LOWEST_HU, _LIGHT_HU)))
    if at_floor < _CLIPPED_SHARE:
        return air_evidence(means, no_data)
    every = max(1, len(hu) // _MEDIAN_SLICES)
    few, few_without = hu[::every], None if no_data is None else no_data[::every]
    return air_evidence(block_medians(few), few_without, block_size(few.shape, LARGE_BLOCK))


_LIGHT_HU, _CLIPPED_SHARE, _MEDIAN_SLICES = -600.0, 0.02, 40


def _judge_air(air: AirEvidence, config: Config) -> tuple[float | None, list[Finding]]:
    low, high = config.hounsfield.air_mode_min_hu, config.hounsfield.air_mode_max_hu
    if air.inverted:
        message = "the rim of the image is dense and even, and it surrounds air: the values are inverted"
        return None, [found(config, "HU_IMPLAUSIBLE", message)]
    if air.outside_hu is None:
        return None, _judge_darkest(air.darkest_hu, config)
    if not low <= air.outside_hu <= high:
        message = f"air outside the body is at {air.outside_hu:.0f} HU, not between {low:g} and {high:g} HU"
        finding = found(
            config, "HU_IMPLAUSIBLE", f"{message}: pixel values are not calibrated in HU", round(air.outside_hu, 1)
        )
        return air.outside_hu, [finding]
    if abs(air.outside_hu + 1000) > config.hounsfield.air_drift_hu:
        drift_hu = air.outside_hu + 1000
        message = for_reader(
            f"air outside the body is at {air.outside_hu:.0f} HU, {drift_hu:+.0f} HU from -1000",
            "whether the trachea is near -1000 HU, and blood and muscle between 30 and 60 HU",
            EVERY_SLICE,
            f"mean density changes by up to {abs(drift_hu):.0f} HU, lesion mass by up to "
            f"{abs(drift_hu) / 1000:.3f} g per mL of lesion; for the lesion percentage not quantified",
        )
        return air.outside_hu, [found(config, "HU_DRIFT", message, round(air.outside_hu, 1))]
    return air.outside_hu, []


def _judge_darkest(darkest_hu: float, config: Config) -> list[Finding]:
    """A field without outside air: its trachea is near air, but a crop to one lung has no more than dark lung."""
    low, high = config.hounsfield.air_mode_min_hu, config.hounsfield.air_mode_max_hu
    message = f"no air outside the body; the darkest places are at {darkest_hu:.0f} HU"
    if not low <= darkest_hu <= _DARK_LUNG_HU:
        message = f"{message}, air and dark lung lie between {low:g} and {_DARK_LUNG_HU:g}: not calibrated in HU"
        return [found(config, "HU_IMPLAUSIBLE", message, round(darkest_hu, 1))]
    if darkest_hu > high:
        off_hu = darkest_hu + 1000
        message = for_reader(
            f"{message}: the calibration cannot be checked",
            "whether the trachea is near -1000 HU, and blood and muscle between 30 and 60 HU",
            EVERY_SLICE,
            f"none if that is dark lung; if it is air, mean density changes by up to {off_hu:.0f} HU and lesion "
            f"mass by up to {off_hu / 1000:.3f} g per mL of lesion; for the lesion percentage not quantified",
        )
        return [found(config, "HU_DRIFT", message, round(darkest_hu, 1))]
    return []


_DARK_LUNG_HU = -860.0


def _uneven_rescale(
    means: NDArray[np.float32], no_data: Mask | None, slices: Sequence[SliceHeader], config: Config
) -> Iterator[Finding]:
    """Slices of one rescale pair whose air lies elsewhere than that of the others: one of the pairs is wrong.

    A right pair moves stored numbers, never air. Judged over the whole stack, a wrong minority would not be seen.
    """
    groups: dict[tuple[float | None, float | None], list[int]] = {}
    for k, header in enumerate(slices):
        groups.setdefault((header.slope, header.intercept), []).append(k)
    if len(groups) == 1:
        return
    airs = []
    for rows in groups.values():
        without = None if no_data is None else no_data[rows]
        air = air_evidence(means[rows], without)
        airs.append(air.darkest_hu if air.outside_hu is None else air.outside_hu)
    apart = max(airs) - min(airs)
    if apart > _AIRS_APART_HU:
        message = (
            f"air lies {apart:.0f} HU apart in slices of {len(groups)} rescale pairs: one of the pairs is wrong"
        )
        yield found(config, "HU_IMPLAUSIBLE", message, round(apart, 1))


_AIRS_APART_HU = 30.0


def _range_findings(
    histograms: NDArray[np.int64], means: NDArray[np.float32], slope: float, config: Config
) -> Iterator[Finding]:
    """Too few different values in the volume, or a slice that holds one value only."""
    distinct = int((histograms.sum(axis=0) > 0).sum())
    least = config.hounsfield.min_distinct_values
    if distinct * float(np.clip(slope, 1, _COARSEST_SLOPE)) < least:
        message = f"{distinct} different values in the whole volume; a CT has at least {least}"
        yield found(config, "HU_IMPLAUSIBLE", f"{message}: a window was burnt in, or 8 bit", distinct)
        return
    below = float(np.mean(means < _FAR_BELOW_AIR_HU))
    if below > _LEAST_BELOW:
        message = f"{100 * below:.1f} % of the image lies below {_FAR_BELOW_AIR_HU:g} HU and is not padding"
        yield found(config, "HU_IMPLAUSIBLE", f"{message}: nothing is lighter than air", below)
    flat = np.flatnonzero((histograms > 0).sum(axis=1) <= 1)
    if flat.size:
        message = f"{plural(flat.size, 'slice')} of one value only (first: slice {flat[0]}): not an image"
        yield found(config, "HU_IMPLAUSIBLE", message, int(flat.size))


_FAR_BELOW_AIR_HU, _LEAST_BELOW = -1500.0, 0.005


def _tissue_findings(histograms: NDArray[np.int64], headers: bool, config: Config) -> Iterator[Finding]:
    """Soft tissue and fat: the peak of the body, in the volume and in every slice that has a body."""
    settings = config.hounsfield
    low, high = settings.tissue_min_hu, settings.tissue_max_hu
    whole = histograms.sum(axis=0)
    total = max(1, int(whole.sum()))
    smooth = np.convolve(whole, np.ones(21), mode="same")
    start = _DENSE_HU - _LOWEST_HU
    peak_hu = int(smooth[start:].argmax()) + _DENSE_HU
    share = float(_between(whole, low, high)) / total
    if not low <= peak_hu <= high or share < _LEAST_TISSUE:
        message = (
            f"the body's peak is at {peak_hu} HU and {100 * share:.1f} % of the voxels lie in [{low:g}, {high:g}]"
        )
        yield found(
            config, "HU_IMPLAUSIBLE", f"{message}, the range of fat and soft tissue: not calibrated in HU", peak_hu
        )
        return
    step_hu = _step_hu(whole, peak_hu)
    if step_hu is not None and step_hu >= (_COARSE_HU if _is_whole_scale(whole, headers) else _COMB_HU):
        message = f"values near soft tissue come in steps of {step_hu:.1f} HU: a window was burnt in, or 8 bit"
        yield found(config, "HU_IMPLAUSIBLE", message, step_hu)
    per_slice = np.maximum(1, histograms.sum(axis=1))
    tissue = _between(histograms, low, high) / per_slice
    light = _between(histograms, _LOWEST_HU, -500) / per_slice
    odd = np.flatnonzero((tissue < _LEAST_TISSUE / 2) & (light < _EMPTY_SLICE_AIR))
    if odd.size:
        message = (
            f"{plural(odd.size, 'slice')} without soft tissue (first: slice {odd[0]}): not in HU like the others"
        )
        yield found(config, "HU_IMPLAUSIBLE", message, int(odd.size))


def _is_whole_scale(whole: NDArray[np.int64], headers: bool) -> bool:
    """Whether coarse steps span the scale of a CT: a volume that was stored in steps, and no window of it."""
    used = np.flatnonzero(whole)
    if headers:
        return len(used) > _VALUES_OF_8_BITS
    return bool(used[0] + _LOWEST_HU <= _LUNG_END_HU and used[-1] + _LOWEST_HU >= _BONE_END_HU)


def _step_hu(whole: NDArray[np.int64], peak_hu: int) -> float | None:
    """Median distance of the values in real use around the peak; None where they are too few to decide."""
    around = whole[peak_hu - 60 - _LOWEST_HU : peak_hu + 61 - _LOWEST_HU]
    used = np.flatnonzero(around > 0.001 * around.sum())
    return float(np.median(np.diff(used))) if len(used) >= 8 else None


def _wrap_findings(hu: NDArray[np.float32], slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Bone that came out darker than air: unsigned numbers read as signed wrap round at the top of their range."""
    tops = [_highest_hu(header) for header in slices]
    if max(tops) > _BONE_HU:
        return
    wrapped = beside = 0
    for plane in hu:
        dark = plane[:, 1:-1] < _NOT_EVEN_AIR_HU
        wrapped += int(dark.sum())
        beside += int((dark & (np.maximum(plane[:, :-2], plane[:, 2:]) > _DENSE_BONE_HU)).sum())
    if wrapped >= 10 and beside > 0.05 * wrapped:
        message = (
            f"{wrapped} voxels below {_NOT_EVEN_AIR_HU:g} HU lie in dense bone: PixelRepresentation (0028,0103)"
        )
        yield found(config, "HU_IMPLAUSIBLE", f"{message} is wrong", wrapped)


_BONE_HU, _DENSE_BONE_HU, _NOT_EVEN_AIR_HU = 1500.0, 600.0, -1100.0


def _highest_hu(header: SliceHeader) -> float:
    slope, intercept = header.rescale
    top: int = 2 ** (header.bits_stored - (1 if header.signed else 0)) - 1
    return top * slope + intercept


def _joined(findings: list[Finding]) -> tuple[Finding, ...]:
    """One finding per code: the reasons for one code are joined, and the strictest outcome stands."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    return tuple(
        Finding(
            code,
            strictest(f.outcome for f in same),
            "; ".join(f.message for f in same),
            same[0].value,
            same[0].advice,
        )
        for code, same in by_code.items()
    )
