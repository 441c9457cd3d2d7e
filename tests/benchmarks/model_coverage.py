"""Does each interval hold what it promises, and each test its level? Simulated trials, run by hand.

    python tests/benchmarks/model_coverage.py [--trials 200] [--fits 200] [--seed 1]

Eight designs: 65 against 35 subjects (as NCT04288102 had) or 14 against 12, normal or skewed changes (SD 38 %), no
effect or -13.31. Each trial has a baseline, three sites, two visits and 10 % missing at random; the
functions are those that the tables call. Printed for every method: coverage of the 95 % interval and how often
p < 0.05 without an effect, each with the 95 % interval of the simulation itself. `--fits` bounds the trials of the
mixed model and of imputation, which take longest.
"""

import argparse
from collections import defaultdict
from itertools import product

import numpy as np
from scipy import stats
from trial_coverage import noise

from volumetry.trial import adjusted, proportions
from volumetry.trial.imputation import Incomplete, analysed, imputed
from volumetry.trial.kenward_roger import adjusted_covariance
from volumetry.trial.statistics import can_be_exact, fisher, median_interval, rank_sum, shift_interval, woolf
from volumetry.trial.unstructured import contrast, fit

SIZES = {"65 v 35": (65, 35), "14 v 12": (14, 12)}
EFFECT, SD, LEVEL, MISSING, LIMIT = -13.31, 38.0, 0.95, 0.1, -30.0
MEDIAN = {"normal": 0.0, "skewed": float((1 - np.exp(0.125)) / (np.exp(0.125) * np.sqrt(np.exp(0.25) - 1)))}
"""Of the noise, whose mean is 0: exp(0.5 z) has the median 1 and the mean exp(0.125)."""


def trial(kind: str, effect: float, sizes: tuple[int, int], rng: np.random.Generator):
    """Arm, site, baseline and two changes of every subject; the second is missing at random for some."""
    n = sum(sizes)
    in_a = np.repeat([1.0, 0.0], sizes)
    baseline = rng.standard_normal(n)
    first = 0.6 * noise(kind, n, rng)
    change = first + 0.8 * noise(kind, n, rng) if kind == "normal" else noise(kind, n, rng)
    values = np.column_stack([SD * first + effect * in_a / 2, SD * change + effect * in_a])
    values[rng.random(n) < MISSING, 1] = np.nan
    return in_a, rng.integers(0, 3, n).astype(str), baseline, values


def of_changes(in_a, sites, baseline, values, effect, kind):
    """Method, whether its interval holds the truth, and its p; None where there is none."""
    known = ~np.isnan(values[:, 1])
    y, a_arm, base, site = values[known, 1], in_a[known], baseline[known][:, None], sites[known]
    a, b = y[a_arm > 0], y[a_arm == 0]
    found = shift_interval(a, b, LEVEL, exact=can_be_exact(a, b, 50))
    yield "Hodges-Lehmann and rank-sum", found and found.low <= effect <= found.high, rank_sum(a, b, 50).p
    middle = median_interval(b, LEVEL)
    yield "median of an arm", middle and middle.low <= SD * MEDIAN[kind] <= middle.high, None
    done = adjusted.ancova(y, a_arm, base, LEVEL)
    yield "ANCOVA", done and done.low <= effect <= done.high, done and done.p
    yield "rank ANCOVA", None, adjusted.rank_ancova(y, a_arm, base).p
    yield "van Elteren", None, adjusted.van_elteren(y, a_arm, site).p
    yield "interaction", None, _p(adjusted.interaction(y, a_arm, (site == "1")[:, None] * 1.0, base))
    boot = adjusted.median_difference(a, b, LEVEL, 1999, 1)
    yield "median difference (BCa)", boot and boot.low <= effect <= boot.high, None


def _p(effect):
    return effect and effect.p


def of_fits(in_a, baseline, values, effect):
    """The same for the mixed model and multiple imputation."""
    rows = [(k, v) for k, v in product(range(len(in_a)), (0, 1)) if not np.isnan(values[k, v])]
    subjects, visits = (np.array(column) for column in zip(*rows, strict=True))
    at = np.eye(2)[visits]
    design = np.column_stack([at * in_a[subjects][:, None], at, at * baseline[subjects][:, None]])
    fitted = fit(values[subjects, visits], design, list(subjects), list(visits))
    for name, covariance in (("Satterthwaite", None), ("Kenward-Roger", fitted and adjusted_covariance(fitted))):
        done = fitted and contrast(fitted, np.eye(6)[1], LEVEL, covariance)
        yield f"MMRM, {name}", done and done.low <= effect <= done.high, done and done.p
    table = Incomplete(np.column_stack([baseline, values]), in_a > 0, np.zeros((len(in_a), 3), bool))
    done = analysed(table, [d["mar"] for d in imputed(table, ["mar"], 20, 1)], 2, LEVEL)
    yield "multiple imputation (MAR)", done and done.low <= effect <= done.high, done and done.p


def of_proportions(in_a, values, truth):
    """The same for responders: changes of at most -30 %."""
    known = ~np.isnan(values[:, 1])
    yes, arm = values[known, 1] <= LIMIT, in_a[known] > 0
    counts = (int(yes[arm].sum()), int(arm.sum()), int(yes[~arm].sum()), int((~arm).sum()))
    difference, ratio = truth[0] - truth[1], truth[0] * (1 - truth[1]) / (truth[1] * (1 - truth[0]))
    for name, method in (
        ("Newcombe", proportions.newcombe),
        ("Miettinen-Nurminen", proportions.miettinen_nurminen),
    ):
        found = method(*counts, LEVEL)
        yield f"risk difference, {name}", found.low <= difference <= found.high, None
    exact = proportions.exact_odds_ratio(*counts, LEVEL)
    yield (
        "odds ratio, exact; Fisher",
        (exact and exact.low <= ratio and (exact.high is None or ratio <= exact.high)),
        fisher(*counts),
    )
    approximate = woolf(*counts, LEVEL)
    yield "odds ratio, Woolf", approximate and approximate[1].low <= ratio <= approximate[1].high, None


def _truth(kind: str, effect: float) -> tuple[float, float]:
    drawn = SD * noise(kind, 2_000_000, np.random.default_rng(0)) if kind == "skewed" else None
    limits = (LIMIT - effect, LIMIT)
    if drawn is None:
        return tuple(float(stats.norm.cdf(limit / SD)) for limit in limits)
    return tuple(float((drawn <= limit).mean()) for limit in limits)


def _share(of: list[bool]) -> str:
    if not of:
        return "-"
    ends = stats.binomtest(sum(of), len(of)).proportion_ci(method="exact")
    return f"{100 * np.mean(of):.1f} ({100 * ends.low:.1f}-{100 * ends.high:.1f})"


def main() -> None:
    """Simulate and print a table in Markdown."""
    options = argparse.ArgumentParser()
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--fits", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    print("| method | design | coverage, % | p < 0.05 without an effect, % |\n|---|---|---|---|")  # noqa: T201
    for stream, (kind, (design, sizes)) in enumerate(product(MEDIAN, SIZES.items())):
        held: dict[str, list[bool]] = defaultdict(list)
        rejected: dict[str, list[bool]] = defaultdict(list)
        for effect in (0.0, EFFECT):
            rng, truth = np.random.default_rng([given.seed, stream, int(effect != 0)]), _truth(kind, effect)
            for place in range(given.trials):
                in_a, sites, baseline, values = trial(kind, effect, sizes, rng)
                found = [*of_changes(in_a, sites, baseline, values, effect, kind)]
                found += [*of_proportions(in_a, values, truth)]
                found += of_fits(in_a, baseline, values, effect) if place < given.fits else []
                for method, holds, p in found:
                    held[method] += [] if holds is None else [bool(holds)]
                    rejected[method] += [bool(p < 0.05)] if p is not None and effect == 0 else []
        for method in sorted(held.keys() | rejected.keys()):
            shares = _share(held[method]), _share(rejected[method])
            print(f"| {method} | {design}, {kind} | {shares[0]} | {shares[1]} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
