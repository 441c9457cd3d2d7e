"""How far the arm difference moves because each scan's own number is uncertain.

Every share is drawn from a two-piece normal through the scan's value and the ends of its interval, at the level
that the scan states; the shift is computed for every draw. What comes out is measurement error alone: which
patients were in the trial is fixed.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from volumetry.trial.change import Change
from volumetry.trial.compare import Comparison, arm_of
from volumetry.trial.config import Statistics
from volumetry.trial.results import ScanRow
from volumetry.trial.statistics import Values

_DIFFERENCES_AT_ONCE = 2_000_000
_LEAST_BASELINE_PERCENT = 1e-3  # a drawn baseline of 0 has no relative change


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
    done = []
    for place, row in enumerate(rows):
        if row.shift is None or row.arm_b is None:
            done.append(row)
            continue
        pairs = [
            [c for c in changes if (c.measure, c.visit, arm_of(c)) == (row.measure, row.visit, arm) and c.pair]
            for arm in (row.arm_a, row.arm_b)
        ]
        known = [[c for c in of if row.scale in c.changes] for of in pairs]
        rng = np.random.default_rng([settings.seed, place])
        a, b = (_drawn(of, row.scale, settings, rng) for of in known)
        if a is None or b is None:
            done.append(row)
        else:
            done.append(replace(row, measurement=_interval(a, b, settings.ci_level)))
    return done


def _drawn(changes: list[Change], scale: str, settings: Statistics, rng: np.random.Generator) -> Values | None:
    """Changes under measurement error, shape (draws, subjects); None if an interval is unknown."""
    columns = []
    for change in changes:
        base = _shares(change.baseline_scan, change.measure, settings, rng)
        visit = _shares(change.scan, change.measure, settings, rng)
        if base is None or visit is None:
            return None
        points = visit - base
        columns.append(
            100 * points / np.maximum(base, _LEAST_BASELINE_PERCENT) if scale == "relative_percent" else points
        )
    return np.stack(columns, axis=1)


def _shares(scan: ScanRow | None, measure: str, settings: Statistics, rng: np.random.Generator) -> Values | None:
    if scan is None or measure not in scan.interval_percent:
        return None
    value = scan.percent[measure]
    low, high = scan.interval_percent[measure]
    z_end = NormalDist().inv_cdf((1 + (scan.interval_level or settings.interval_level)) / 2)
    z = rng.standard_normal(settings.simulations)
    reach = np.where(z > 0, max(high - value, 0.0), max(value - low, 0.0))
    return np.clip(value + z * reach / z_end, 0.0, 100.0)


def _interval(a: Values, b: Values, level: float) -> tuple[float, float]:
    step = max(1, _DIFFERENCES_AT_ONCE // (a.shape[1] * b.shape[1]))
    shifts = [
        np.median((a[n : n + step, :, None] - b[n : n + step, None, :]).reshape(len(a[n : n + step]), -1), axis=1)
        for n in range(0, len(a), step)
    ]
    low, high = np.quantile(np.concatenate(shifts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
