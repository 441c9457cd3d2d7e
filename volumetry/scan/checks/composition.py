"""Headers -> stacks: duplicates and scouts dropped, then everything that is not one acquisition is split.

This comes before any test of spacing: two interleaved acquisitions look like one good stack.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.needed import one_per_slice
from volumetry.scan.checks.positions import along_normal_mm, angle_deg, is_orthonormal, orientation_of_most
from volumetry.scan.checks.sweeps import repeated_sweeps
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.slice_header import SliceHeader, by_series

Key = Callable[[SliceHeader], Hashable]

_ORTHOGONAL_DEG = 45.0
"""A slice tilted more than this against the others is another plane."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices that claim to be one volume.

    Parameters
    ----------
    slices
        In no particular order.
    series
        All images of the series they came from, scouts included: the numbering is judged on these.
    findings
        What the composition has shown.
    """

    slices: tuple[SliceHeader, ...]
    series: tuple[SliceHeader, ...]
    findings: tuple[Finding, ...] = ()


def stacks_of(headers: Sequence[SliceHeader], dropped: Sequence[SliceHeader], config: Config) -> tuple[Stack, ...]:
    """Split the images of a folder into stacks, the largest first.

    Parameters
    ----------
    headers
        Slices that may be measured.
    dropped
        Scouts and pictures: they belong to no stack, but the numbering of their series counts them.
    config
        Tolerances, and what follows from each code.

    Returns
    -------
    tuple[Stack, ...]
        Each of one acquisition: one series, matrix, orientation and sweep.
    """
    beside = by_series(dropped)
    stacks = [s for uid, mine in by_series(headers).items() for s in _stacks_of_series(mine, beside[uid], config)]
    return tuple(sorted(stacks, key=lambda s: (-len(s.slices), min(h.instance for h in s.slices))))


def with_pooled_series(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Take series of one image each for one series: a converter or an anonymiser gave every slice its own UID."""
    counts = Counter(header.series_uid for header in headers)
    alone = {uid for uid, count in counts.items() if count == 1}
    if len(alone) < _FEWEST_POOLED:
        return list(headers)
    return [replace(header, pooled=header.series_uid in alone) for header in headers]


_FEWEST_POOLED = 3


def drop_pictures(headers: Sequence[SliceHeader], config: Config) -> tuple[list[SliceHeader], list[Finding]]:
    """Drop pictures that were saved as CT images: secondary, without a position, in a series of originals.

    Parameters
    ----------
    headers
        Of an input.
    config
        What follows from each code.

    Returns
    -------
    kept, findings
        In the given order; one finding if any was dropped.
    """
    pictures: set[Hashable] = set()
    for mine in by_series(headers).values():
        nowhere = [h for h in mine if _is_picture(h)]
        if len(nowhere) < len(mine) - len(nowhere):
            pictures |= {h.key for h in nowhere}
    if not pictures:
        return list(headers), []
    message = (
        f"{plural(len(pictures), 'picture')} dropped: {named('ImageType')} is SECONDARY and no place is given"
    )
    kept = [header for header in headers if header.key not in pictures]
    return kept, [found(config, "NON_CT_OBJECT_DROPPED", message, len(pictures))]


def _is_picture(header: SliceHeader) -> bool:
    nowhere = header.position_lps_mm is None and header.orientation is None
    return nowhere and not header.unreadable and "SECONDARY" in header.image_type[:2]


def drop_localizers(headers: Sequence[SliceHeader], config: Config) -> tuple[list[SliceHeader], list[Finding]]:
    """Drop scouts: by ImageType, or because they lie across their series and are too few for a volume.

    A whole stack of parallel slices is not a scout, whatever its ImageType: attenuation scans of PET and SPECT and
    cone-beam CT say LOCALIZER, and the gate flags that.

    Parameters
    ----------
    headers
        Of an input.
    config
        What follows from each code.

    Returns
    -------
    kept, findings
        In the given order; one finding if any was dropped.
    """
    stacked = _stacks_called_localizer(headers, config)
    by_type = [h for h in headers if h.is_localizer and h.key not in stacked]
    rest = [h for h in headers if not h.is_localizer or h.key in stacked]
    across: list[SliceHeader] = []
    for mine in by_series(rest).values():
        most = orientation_of_most(mine)
        odd = [h for h in mine if most is not None and _lies_across(h, most)]
        if len(odd) < min(config.geometry.min_slices, len(mine) - len(odd)):
            across += odd
    dropped = len(by_type) + len(across)
    if not dropped:
        return list(headers), []
    gone = {h.key for h in across}
    message = f"{plural(dropped, 'scout image')} dropped: no part of the volume"
    return [h for h in rest if h.key not in gone], [found(config, "LOCALIZER_DROPPED", message, dropped)]


def _stacks_called_localizer(headers: Sequence[SliceHeader], config: Config) -> set[Hashable]:
    """Keys of images called scouts that are enough, parallel, and each at a place of its own."""
    keys: set[Hashable] = set()
    for mine in by_series(h for h in headers if h.is_localizer).values():
        most = orientation_of_most(mine)
        parallel = [h for h in mine if most is not None and not _lies_across(h, most)]
        places = {round(place, 2) for place in along_normal_mm(parallel, most)} if most is not None else set()
        if len(places) >= config.geometry.min_slices:
            keys |= {h.key for h in parallel}
    return keys


def _lies_across(header: SliceHeader, most: np.ndarray) -> bool:
    if header.orientation is None or not is_orthonormal(header.orientation, 0.01):
        return False
    return angle_deg(header.orientation, most) > _ORTHOGONAL_DEG


def _stacks_of_series(
    series: Sequence[SliceHeader], beside: Sequence[SliceHeader], config: Config
) -> Iterable[Stack]:
    whole = Stack(tuple(series), (*series, *beside))
    parts = [whole]
    for split in (_by_reconstruction, _by_acquisition, _by_frame):
        parts = [smaller for part in parts for smaller in split(part, config)]
    return parts


def _by_reconstruction(stack: Stack, config: Config) -> list[Stack]:
    """Split by what one reconstruction cannot have two of."""
    keys: tuple[tuple[str, Key], ...] = (
        ("ConvolutionKernel", lambda h: h.kernel and h.kernel.split("\\")[0].casefold()),
        ("KVP", lambda h: h.kvp and round(h.kvp)),
        ("StackID", lambda h: h.stack_id),
        ("TemporalPositionIdentifier", lambda h: h.temporal_position),
        ("NominalPercentageOfCardiacPhase", lambda h: None if h.cardiac_phase is None else round(h.cardiac_phase)),
    )
    parts = _by_image_type(stack, config)
    for keyword, key in keys:
        if not one_per_slice([None if (value := key(h)) is None else str(value) for h in stack.slices]):
            parts = [p for part in parts for p in _split(part, keyword, _groups(part.slices, key), config)]
    return parts


def _by_image_type(stack: Stack, config: Config) -> list[Stack]:
    """Split by the values of ImageType from the third on, where they went over the same place.

    Some exporters add a value to some slices of one volume; what the words say is judged by the gate.
    """
    groups = _groups(stack.slices, lambda h: h.image_type[2:] or None)
    apart = _cover_common_range(groups) and not _fill_each_others_holes(groups)
    return _split(stack, "ImageType", groups, config) if apart else [stack]


def _fill_each_others_holes(groups: Sequence[Sequence[SliceHeader]]) -> bool:
    """Whether the groups are one even stack together, and the largest is none without the others.

    Two acquisitions that went over the same place are even stacks each.
    """
    everything = [h for group in groups for h in group]
    most = orientation_of_most(everything)
    if most is None or len(groups) < 2 or any(h.position_lps_mm is None for h in everything):
        return False
    return _is_even(along_normal_mm(everything, most)) and not _is_even(along_normal_mm(groups[0], most))


def _is_even(places_mm: Sequence[float]) -> bool:
    gaps = np.diff(np.sort(places_mm))
    return bool(gaps.size and gaps.min() > 0.9 * np.median(gaps) and gaps.max() < 1.1 * np.median(gaps))


def _by_acquisition(stack: Stack, config: Config) -> list[Stack]:
    """Split by acquisition, but only acquisitions that went over the same place.

    One volume may well be made of consecutive acquisitions, and some scanners give each slice its own number.
    Original and derived images are separated here too: as parts of one stack they are only flagged.
    """
    keys: tuple[tuple[str, Key], ...] = (
        ("ImageType", lambda h: h.image_type[:2] or None),
        ("AcquisitionNumber", lambda h: h.acquisition_number),
        ("AcquisitionTime", lambda h: h.acquisition_time),
    )
    for keyword, key in keys:
        groups = _groups(stack.slices, key)
        if 1 < len(groups) <= len(stack.slices) // 3 and _cover_common_range(groups):
            return _split(stack, keyword, groups, config)
    for keyword, sweeps in repeated_sweeps(stack.slices):
        if _cover_common_range(sweeps):
            return _split(stack, keyword, sweeps, config)
    return [stack]


def _by_frame(stack: Stack, config: Config) -> list[Stack]:
    """Split by matrix, pixel spacing and frame of reference where that leaves whole volumes at one place.

    Where it does not, the gate refuses the stack with a code of its own.
    """
    keys: tuple[Key, ...] = (
        lambda h: (h.rows, h.columns),
        lambda h: h.pixel_spacing_mm and tuple(round(x, 4) for x in h.pixel_spacing_mm),
        lambda h: h.frame_of_reference,
    )
    parts = [stack]
    for key in keys:
        smaller: list[Stack] = []
        for part in parts:
            groups = _groups(part.slices, key)
            whole = len(groups) > 1 and all(len(g) >= config.geometry.min_slices for g in groups)
            split = whole and _cover_common_range(groups)
            smaller += [replace(part, slices=tuple(g)) for g in groups] if split else [part]
        parts = smaller
    return parts


def _groups(slices: Sequence[SliceHeader], key: Key) -> list[list[SliceHeader]]:
    """Slices by value, the largest group first; slices without a value join the only other group there is."""
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in slices:
        groups[key(header)].append(header)
    if len(groups) == 2 and None in groups:
        return [list(slices)]
    return sorted(groups.values(), key=len, reverse=True)


def _split(stack: Stack, keyword: str, groups: list[list[SliceHeader]], config: Config) -> list[Stack]:
    """Two or more volumes become stacks; fewer cannot be distinguished, and the stack is ambiguous as a whole."""
    if len(groups) < 2:
        return [stack]
    enough = config.geometry.min_slices
    if sum(len(group) >= enough for group in groups) >= 2:
        return [replace(stack, slices=tuple(group)) for group in groups]
    sizes = ", ".join(str(len(group)) for group in groups[:6])
    message = (
        f"one series holds images that differ in {named(keyword)} (groups of {sizes}): "
        "they do not form one volume, and none of the groups can be taken for it"
    )
    return [replace(stack, findings=(*stack.findings, found(config, "AMBIGUOUS_VOLUMES", message, len(groups))))]


def _cover_common_range(groups: Sequence[Sequence[SliceHeader]]) -> bool:
    """Whether two groups of at least three slices went over the same place, by half of the shorter one."""
    everything = [h for group in groups for h in group]
    most = orientation_of_most(everything)
    if most is None:
        return False
    ranges = []
    for group in groups:
        places = along_normal_mm(group, most)
        if len(places) >= 3:
            ranges.append(np.quantile(places, (0.1, 0.9)).tolist())  # one misplaced slice makes no range
    for n, (low, high) in enumerate(ranges):
        for other_low, other_high in ranges[:n]:
            common = min(high, other_high) - max(low, other_low)
            if common > 0.5 * min(high - low, other_high - other_low):
                return True
    return False
