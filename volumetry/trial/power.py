"""Power and sample size by simulation, with the test that the trial's tables use.

Changes of both arms are drawn around their means, some subjects are lost, and the arms are compared by the
rank-sum test of endpoint.csv. The power is the share of the simulated trials whose p-value is below the level.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from volumetry.trial.config import Statistics
from volumetry.trial.statistics import Values, rank_sum

_LOG_SD = 0.5  # of the skewed noise: bounded below, as a relative change is


@dataclass(frozen=True, slots=True)
class Design:
    """What a trial is planned to find.

    Parameters
    ----------
    n_a, n_b
        Subjects per arm; the second is the reference.
    difference
        Of the means, arm a minus reference, in the unit of the outcome.
    sd
        Within an arm.
    lost
        Share of subjects without the outcome, 0 to below 1.
    skewed
        Whether the noise is skewed (shifted log-normal) instead of normal.
    """

    n_a: int
    n_b: int
    difference: float
    sd: float
    lost: float = 0.0
    skewed: bool = False


@dataclass(frozen=True, slots=True)
class Power:
    """Share of simulated trials that were significant, with its exact 95 % interval."""

    design: Design
    trials: int
    power: float
    low: float
    high: float


def power(design: Design, settings: Statistics, trials: int, seed: int, alpha: float = 0.05) -> Power:
    """Simulate a design.

    Parameters
    ----------
    design
        Sizes, difference and spread.
    settings
        ``[statistics]``: the same as in the trial's analysis.
    trials
        How many to simulate, at least 1.
    seed
        Of the draws.
    alpha
        Two-sided level.

    Returns
    -------
    Power
        With the Clopper-Pearson interval of the simulation.

    Examples
    --------
    >>> from volumetry.trial.config import load_trial_config
    >>> found = power(Design(65, 35, -23.0, 38.0), load_trial_config().statistics, trials=50, seed=1)
    >>> found.low < found.power < found.high
    True
    """
    rng = np.random.default_rng(seed)
    significant = 0
    for _trial in range(trials):
        arms = []
        for n, mean in ((design.n_a, design.difference), (design.n_b, 0.0)):
            kept = int((rng.random(n) >= design.lost).sum())
            arms.append(mean + design.sd * _noise(kept, design.skewed, rng))
        test = rank_sum(arms[0], arms[1], settings.exact_below_n) if all(arm.size for arm in arms) else None
        significant += test is not None and test.p < alpha
    ends = stats.binomtest(significant, trials).proportion_ci(method="exact")
    return Power(design, trials, significant / trials, float(ends.low), float(ends.high))


def sample_size(
    wanted: float, design: Design, settings: Statistics, trials: int, seed: int, alpha: float = 0.05
) -> Power:
    """The smallest trial with the arms' ratio of `design` whose simulated power is at least `wanted`.

    Parameters
    ----------
    wanted
        Power, above 0 and below 1.
    design
        Its sizes state the ratio of the arms alone.
    settings, trials, seed, alpha
        As of `power`; every size is simulated with the same seed.

    Returns
    -------
    Power
        Of that trial.

    Raises
    ------
    ValueError
        If the power is not reached with 10,000 subjects in arm a.
    """

    def at(n_a: int) -> Power:
        n_b = max(2, round(n_a * design.n_b / design.n_a))
        sized = Design(n_a, n_b, design.difference, design.sd, design.lost, design.skewed)
        return power(sized, settings, trials, seed, alpha)

    below, above = 3, 6
    found = at(above)
    while found.power < wanted:
        below, above = above, above * 2
        if above > 10_000:
            raise ValueError("the wanted power is not reached with 10,000 subjects in an arm")
        found = at(above)
    while above - below > 1:
        middle = (below + above) // 2
        tried = at(middle)
        if tried.power >= wanted:
            above, found = middle, tried
        else:
            below = middle
    return found


def _noise(n: int, skewed: bool, rng: np.random.Generator) -> Values:
    """Mean 0 and SD 1."""
    z: Values = rng.standard_normal(n)
    if not skewed:
        return z
    mean = float(np.exp(_LOG_SD**2 / 2))
    spread = mean * float(np.sqrt(np.expm1(_LOG_SD**2)))
    return (np.exp(_LOG_SD * z) - mean) / spread
