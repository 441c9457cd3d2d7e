"""Acquisitions that no tag distinguishes: the numbering or the clock runs over the same place more than once."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from volumetry.scan.checks.positions import along_normal_mm, orientation_of_most
from volumetry.scan.headers.slice_header import SliceHeader

_MOST_SWEEPS = 4


def repeated_sweeps(slices: Sequence[SliceHeader]) -> Iterator[tuple[str, list[list[SliceHeader]]]]:
    """Candidates for two to four sweeps: slices in numbering order that run through the stack more than once.

    A shuffled numbering changes its direction far more often and gives nothing.
    """
    most = orientation_of_most(slices)
    placed = [h for h in slices if h.position_lps_mm is not None]
    if most is None or len(placed) < 6:
        return
    place = dict(zip((h.key for h in placed), along_normal_mm(placed, most), strict=True))
    numbered = [h for h in placed if h.instance_number is not None]
    if len(numbered) == len(placed):
        yield from _named("InstanceNumber", _by_repeats(numbered, place))
        yield from _named("InstanceNumber", _by_turns(sorted(numbered, key=_number), place))
    timed = [h for h in placed if h.acquisition_time is not None]
    if len(timed) == len(placed) == len({h.acquisition_time for h in timed}):
        yield from _named("AcquisitionTime", _by_turns(sorted(timed, key=_time), place))


def _named(keyword: str, groups: list[list[SliceHeader]]) -> Iterator[tuple[str, list[list[SliceHeader]]]]:
    if len(groups) > 1:
        yield keyword, groups


def _number(header: SliceHeader) -> int:
    return header.instance_number or 0


def _time(header: SliceHeader) -> str:
    return header.acquisition_time or ""


def _by_repeats(slices: list[SliceHeader], place: dict[Hashable, float]) -> list[list[SliceHeader]]:
    """Groups if every number occurs equally often, twice or more."""
    by_number: dict[int, list[SliceHeader]] = {}
    for header in sorted(slices, key=lambda h: place[h.key]):
        by_number.setdefault(_number(header), []).append(header)
    times = {len(same) for same in by_number.values()}
    if len(times) != 1 or not 1 < min(times) <= _MOST_SWEEPS:
        return []
    return [[same[n] for same in by_number.values()] for n in range(min(times))]


def _by_turns(ordered: list[SliceHeader], place: dict[Hashable, float]) -> list[list[SliceHeader]]:
    """Runs between the jumps back, if there are few and each is long."""
    steps = np.diff([place[h.key] for h in ordered])
    direction = np.sign(np.median(np.sign(steps)))
    back = np.flatnonzero(np.sign(steps) != direction) + 1
    if direction == 0 or not 0 < len(back) < _MOST_SWEEPS:
        return []
    runs = [list(part) for part in np.split(np.asarray(ordered, dtype=object), back)]
    return runs if min(map(len, runs)) >= max(3, len(ordered) // 8) else []
