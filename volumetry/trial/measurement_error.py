"""How far the arm difference moves because each scan's own number is uncertain.

Every share is drawn from a two-piece normal through the scan's value and the ends of its interval, at the level
that the scan states; the shift is computed for every draw. What comes out is measurement error alone: which
patients were in the trial is fixed.

The same model measured every scan, so its own part of the error (`reference` among the parts of the interval) is
drawn once per trial and moves all scans together; the other parts are drawn for each scan. Where the results do
not state the parts, everything is drawn for each scan.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from volumetry.trial.change import Change
from volumetry.trial.compare import Comparison, arm_of
from volumetry.trial.config import Statistics
from volumetry.trial.pairwise import Values, hodges_lehmann_of_draws
from volumetry.trial.results import MEASURES, ScanRow

_VALUES_AT_ONCE = 500_000
_LEAST_BASELINE_PERCENT = 1e-3  # a drawn baseline of 0 has no relative change


@dataclass(frozen=True, slots=True)
class _Shares:
    """One share of many scans: the value, one standard deviation to either side, and the model's part of it."""

    value: Values
    down: Values
    up: Values
    model: Values

    def drawn(self, model_z: Values, rng: np.random.Generator) -> Values:
        """Shares under measurement error, shape (draws, scans)."""
        drawn = rng.standard_normal((model_z.size, self.value.size))
        own = np.sqrt(1 - self.model**2)
        for n, z in enumerate(drawn):  # a draw at a time stays in the processor's cache
            z *= own
            z += model_z[n] * self.model
            z *= np.where(z > 0, self.up, self.down)
            z += self.value
            np.maximum(z, 0.0, out=z)
            np.minimum(z, 100.0, out=z)
        return drawn


def with_measurement(
    rows: Sequence[Comparison], changes: Sequence[Change], settings: Statistics
) -> list[Comparison]:
    """The comparisons with the interval of their shift from measurement alone.

    A comparison gets none unless every scan in it states an interval.

    Parameters
    ----------
    rows
        From `volumetry.trial.compare.endpoint`.
    changes
        From `changes_of`.
    settings
        Level, number of draws and seed.

    Returns
    -------
    list[Comparison]
        In the order of `rows`.
    """
    groups: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.pair and change.changes:
            groups[change.measure, change.visit].append(change)
    wanted: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row.shift is not None and row.arm_b is not None:
            wanted[row.measure, row.visit].append(place)
    done = list(rows)
    visits = list(dict.fromkeys(change.visit for change in changes))
    for (measure, visit), places in wanted.items():
        seed = (settings.seed, MEASURES.index(measure))
        members = [c for c in groups[measure, visit] if _states_intervals(c)]
        for place, shifts in _shifts([rows[p] for p in places], members, settings, seed, visits.index(visit)):
            if shifts is not None:
                low, high = np.quantile(shifts, [(1 - settings.ci_level) / 2, (1 + settings.ci_level) / 2])
                done[places[place]] = replace(rows[places[place]], measurement=(float(low), float(high)))
    return done


def _shifts(
    rows: Sequence[Comparison], members: list[Change], settings: Statistics, seed: tuple[int, int], visit: int
) -> Iterator[tuple[int, list[float] | None]]:
    """The shift of each row, all of one measure and visit, under every draw; None if an interval is unknown."""
    columns = [_columns(row, members) for row in rows]
    shifts: list[list[float]] = [[] for _row in rows]
    base, at_visit = (
        _shares([scan for scan in scans if scan], members[0].measure if members else "", settings)
        for scans in ([c.baseline_scan for c in members], [c.scan for c in members])
    )
    seen = _changed(base.value[None].copy(), at_visit.value[None].copy())
    model_z = np.random.default_rng(seed).standard_normal(settings.simulations)  # of every visit
    rng = np.random.default_rng((*seed, visit + 1))
    step = max(1, _VALUES_AT_ONCE // max(1, len(members)))
    for start in range(0, settings.simulations if any(columns) else 0, step):
        z = model_z[start : start + step]
        before = base.drawn(z, rng)
        drawn = _changed(before, at_visit.drawn(z, rng))
        for row, places, found in zip(rows, columns, shifts, strict=True):
            if places is not None:
                a, b = (seen[row.scale][0, of] for of in places)
                found += hodges_lehmann_of_draws(a, b, *(drawn[row.scale].take(of, axis=1) for of in places))
    yield from ((n, found or None) for n, found in enumerate(shifts))


def _columns(row: Comparison, members: Sequence[Change]) -> list[NDArray[np.intp]] | None:
    """Places of both arms among the members; None if one of a row's scans is not there."""
    of_arms = [
        np.array([n for n, c in enumerate(members) if arm_of(c) == arm and row.scale in c.changes], np.intp)
        for arm in (row.arm_a, row.arm_b)
    ]
    sizes = (row.a.n, row.b.n if row.b else 0)
    return of_arms if tuple(of.size for of in of_arms) == sizes else None


def _changed(before: Values, after: Values) -> dict[str, Values]:
    """Both changes by their name, in the shape of the shares; `before` and `after` are used up."""
    for base, value in zip(before, after, strict=True):  # a draw at a time, as above
        value -= base
        np.maximum(base, _LEAST_BASELINE_PERCENT, out=base)
        np.divide(value, base, out=base)
        base *= 100
    return {"absolute_points": after, "relative_percent": before}


def _states_intervals(change: Change) -> bool:
    scans = (change.baseline_scan, change.scan)
    return all(scan is not None and change.measure in scan.interval_percent for scan in scans)


def _shares(scans: Sequence[ScanRow], measure: str, settings: Statistics) -> _Shares:
    value = np.array([scan.percent[measure] for scan in scans])
    low, high = np.array([scan.interval_percent[measure] for scan in scans]).reshape(-1, 2).T
    levels = [scan.interval_level or settings.interval_level for scan in scans]
    z_end = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in levels])
    model = np.array([scan.model_part.get(measure, 0.0) for scan in scans])
    return _Shares(value, np.maximum(value - low, 0.0) / z_end, np.maximum(high - value, 0.0) / z_end, model)
