"""Does each interval hold what it promises, and each test its level? Simulated trials, run by hand.

    python tests/benchmarks/model_coverage.py [--trials 200] [--seed 1] [--keep FILE]

Eight designs: 65 against 35 subjects (as NCT04288102 had) or 14 against 12, normal or skewed changes (SD 38 %), no
effect or -13.31. Each trial has a baseline, three sites, two visits and 10 % missing at random; the
functions are those that the tables call. Printed for every method: coverage of the 95 % interval and how often
p < 0.05 without an effect, each with the 95 % interval of the simulation itself.

Trials are taken in turn from all designs, and `--keep` names a file to which every trial is added: a run that was
stopped goes on from there, and `--trials 0` prints what it holds.
"""

import argparse
import json
from collections import defaultdict
from itertools import product
from pathlib import Path

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


def simulated(seed: int, trials: int, known: set[tuple[str, str, float, int]]):
    """Every trial that is not known yet, in turn from all designs: its key, and (method, holds, p) of each."""
    truth = {(kind, effect): _truth(kind, effect) for kind, effect in product(MEDIAN, (0.0, EFFECT))}
    streams = {
        (kind, design, effect): np.random.default_rng([seed, stream, int(effect != 0)])
        for stream, (kind, design) in enumerate(product(MEDIAN, SIZES))
        for effect in (0.0, EFFECT)
    }
    for place in range(trials):
        for (kind, design, effect), rng in streams.items():
            in_a, sites, baseline, values = trial(kind, effect, SIZES[design], rng)
            if (kind, design, effect, place) not in known:
                found = [*of_changes(in_a, sites, baseline, values, effect, kind)]
                found += of_proportions(in_a, values, truth[kind, effect])
                found += of_fits(in_a, baseline, values, effect)
                yield (kind, design, effect, place), found


def _plain(value: object) -> object:
    return None if value is None else float(value)  # type: ignore[arg-type]  # a truth value or p


def main() -> None:
    """Simulate and print a table in Markdown."""
    options = argparse.ArgumentParser()
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    lines = given.keep.read_text().splitlines() if given.keep and given.keep.exists() else []
    done = {tuple(key): found for key, found in map(json.loads, lines)}
    for key, found in simulated(given.seed, given.trials, set(done)):
        done[key] = [(method, _plain(holds), _plain(p)) for method, holds, p in found]
        if given.keep:
            with given.keep.open("a") as stream:
                stream.write(json.dumps((key, done[key])) + "\n")
    held: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    rejected: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for (kind, design, effect, _place), found in done.items():
        for method, holds, p in found:
            cell = (kind, design, method)
            held[cell] += [] if holds is None else [bool(holds)]
            rejected[cell] += [p < 0.05] if p is not None and effect == 0 else []
    head = "| method | design | trials | coverage, % | p < 0.05 without an effect, % |"
    print(f"{head}\n|---|---|---|---|---|")  # noqa: T201  a script's answer
    for cell in sorted(held.keys() | rejected.keys()):
        kind, design, method = cell
        shares = f"{_share(held[cell])} | {_share(rejected[cell])}"
        trials = f"{max(len(held[cell]), len(rejected[cell]))}"
        print(f"| {method} | {design}, {kind} | {trials} | {shares} |")  # noqa: T201


if __name__ == "__main__":
    main()
