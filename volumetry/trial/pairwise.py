"""Differences of all pairs of two samples, one of which is the Hodges-Lehmann shift, without forming them all."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_ALL_PAIRS = 20_000
"""Up to so many differences, forming them all is the fastest way to one of them."""
_MOST_STEPS = 80
_NEAR = 0.1  # of the spread of the differences: near enough to stand for their density at the shift
_QUARTILES_OF_NORMAL = 1.349  # its interquartile range, in standard deviations


def hodges_lehmann(a: Values, b: Values) -> float:
    """Shift of `a` against `b`: the median of all pairwise differences a_i - b_j.

    Parameters
    ----------
    a, b
        Two samples, not empty.

    Returns
    -------
    float
        In the unit of the values. It is not the difference of the medians.

    References
    ----------
    Hodges and Lehmann: Estimates of location based on rank tests. Ann. Math. Statist. 34 (1963), 598-611.

    Examples
    --------
    >>> hodges_lehmann(np.array([1.0, 3.0]), np.array([0.0, 10.0]))
    -3.0
    """
    pairs = a.size * b.size
    middle = ((pairs - 1) // 2, pairs // 2)
    if pairs <= _ALL_PAIRS:
        return float(np.mean(ordered_differences(a, b, middle)))
    return float(np.mean(_differences_at(np.sort(a), np.sort(b), *middle)))


def hodges_lehmann_of_draws(a: Values, b: Values, drawn_a: Values, drawn_b: Values) -> list[float]:
    """The shift of every draw of two samples whose values were moved a little, exact as that of `hodges_lehmann`.

    How far a moved value moves the shift follows from the density of the differences around the shift: where that
    says the shift of a draw lies, the search for it begins.

    Parameters
    ----------
    a, b
        The samples before they were moved, not empty.
    drawn_a, drawn_b
        The moved values, shape (draws, values of the sample).

    Returns
    -------
    list[float]
        Of each draw.
    """
    pairs = a.size * b.size
    if pairs <= _ALL_PAIRS:
        return [hodges_lehmann(one, other) for one, other in zip(drawn_a, drawn_b, strict=True)]
    middle = ((pairs - 1) // 2, pairs // 2)
    shift, reach = hodges_lehmann(a, b), _NEAR * _spread(np.sort(a), np.sort(b))
    near_a, near_b = _pairs_within(a - shift, b, reach), _pairs_within(b + shift, a, reach)
    slope = float(near_a.sum()) / (2 * reach) if reach else 0.0
    if slope == 0:
        slope, starts = 1.0, np.full(len(drawn_a), shift)
    else:
        starts = shift + ((drawn_a - a) @ near_a - (drawn_b - b) @ near_b) / near_a.sum()
    shifts = []
    for one, other, start in zip(np.sort(drawn_a, axis=1), np.sort(drawn_b, axis=1), starts.tolist(), strict=True):
        found = _differences_near(one, other, *middle, (start, slope))
        if found is None:
            found = _differences_at(one, other, *middle, (start, slope))
        shifts.append(float(found.sum() / found.size))
    return shifts


def ordered_differences(a: Values, b: Values, places: Sequence[int]) -> list[float]:
    """Differences a_i - b_j at these places, from 0, of their rising order; fast for thousands of values too.

    >>> ordered_differences(np.array([1.0, 3.0]), np.array([0.0, 10.0]), (0, 3))
    [-9.0, 3.0]
    """
    if a.size * b.size <= _ALL_PAIRS:
        ordered = np.partition(np.subtract.outer(a, b), places, axis=None)
        return [float(ordered[place]) for place in places]
    a, b = np.sort(a), np.sort(b)
    return [float(_differences_at(a, b, place, place)[0]) for place in places]


def _spread(a: Values, b: Values) -> float:
    """Standard deviation of the differences of two sorted samples, if both are normal."""
    return math.hypot(*(float(x[3 * x.size // 4] - x[x.size // 4]) / _QUARTILES_OF_NORMAL for x in (a, b)))


def _pairs_within(values: Values, others: Values, reach: float) -> Values:
    """How many of the others lie within reach of each value."""
    ordered = np.sort(others)
    ends = [np.searchsorted(ordered, values + way * reach) for way in (1, -1)]
    return (ends[0] - ends[1]).astype(float)


def _few(n_a: int, n_b: int) -> int:
    """So many differences are formed and put in order without a further step of the search."""
    return max(64, (n_a + n_b) // 2)


def _smaller(a: Values, b: Values, limit: float) -> NDArray[np.intp]:
    """How many of `b` are smaller than each of `a` moved by the limit; both are sorted."""
    merged = np.argsort(np.concatenate([a - limit, b]), kind="stable")  # two sorted runs: a single merge
    return np.flatnonzero(merged < a.size) - np.arange(a.size)


def _differences_near(a: Values, b: Values, place: int, last: int, start: tuple[float, float]) -> Values | None:
    """What `_differences_at` finds, if that is near enough to where it is expected; None if it is not.

    One merge counts the differences up to `start`, and knows for each value of `a` those that are next to it. From
    there the values are followed, up or down, until none has a difference left between the start and a bound
    behind the one that is sought.
    """
    limit, slope = start
    first, few = _smaller(a, b, limit), _few(a.size, b.size)
    count = a.size * b.size - int(first.sum())
    way, far = (1, last + 1 - count) if count <= place else (-1, count - place)
    if far > few or (way < 0 and last >= count):
        return None
    bound = way * limit + (far + few / 8) / slope
    rows, at, found = np.arange(a.size), first - (way > 0), []
    for _step in range(_MOST_STEPS):
        differences = way * (a[rows] - b.take(at, mode="clip"))
        near = np.flatnonzero((differences <= bound) & (at >= 0) & (at < b.size))
        if not near.size:
            break
        found.append(differences[near])
        rows, at = rows[near], at[near] - way
    else:
        return None
    ordered = np.sort(np.concatenate(found)) if found else np.empty(0)
    if ordered.size < far:
        return None
    return ordered[place - count : far] if way > 0 else -ordered[count - last - 1 : far][::-1]


def _differences_at(
    a: Values, b: Values, place: int, last: int, start: tuple[float, float] | None = None
) -> Values:
    """Differences at neighbouring places of the order, `place` to `last`, of two sorted samples.

    Differences below a limit are counted by merging the samples, one of them moved by the limit; the limit is
    moved until few differences lie between two limits around the places, and only those are formed. `start` is
    where the difference is expected, and how fast the count rises there.
    """
    pairs = a.size * b.size
    few = _few(a.size, b.size)
    if start is None:
        slope = pairs / (math.sqrt(2 * math.pi) * (_spread(a, b) or 1.0))  # of the count, if both are normal
        start = float(a[a.size // 2] - b[b.size // 2]), slope
    limit, slope = start
    low, high = float(a[0] - b[-1]) - 1.0, float(a[-1] - b[0]) + 1.0
    first_low, first_high = np.full(a.size, b.size), np.zeros(a.size, np.intp)
    below, up_to = 0, pairs
    own = np.arange(a.size)
    for step in range(_MOST_STEPS):
        first = _smaller(a, b, limit)
        count = pairs - int(first.sum())
        if count == last and place < last:
            limit -= few / 4 / slope  # fell between the two places: look from below
            continue
        if count <= place:
            low, below, first_low, aim = limit, count, first, place + few / 4
        else:
            high, up_to, first_high, aim = limit, count, first, place - few / 4
        if up_to - below <= few:
            break
        limit = limit + (aim - count) / slope
        if step > 1 or not low < limit < high:  # steps by the normal slope first, then along the counts
            limit = low + (high - low) * min(max((aim - below) / (up_to - below), 0.05), 0.95)
        if step > _MOST_STEPS // 2:
            limit = (low + high) / 2  # many differences are equal
    counts = first_low - first_high
    of_a = np.repeat(own, counts)
    of_b = np.arange(of_a.size) - (np.cumsum(counts) - counts)[of_a] + first_high[of_a]
    return np.sort(a[of_a] - b[of_b])[place - below : last - below + 1]  # faster than a partition, for so few
