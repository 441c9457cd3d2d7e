"""Does the interval hold what it promises? Simulated trials with a known shift, run by hand.

    python tests/benchmarks/trial_coverage.py [--trials 200] [--seed 1]

Each trial has 65 subjects in one arm and 35 in the other, as NCT04288102 had. The relative change of the lesion at
d28 is -10 + effect + 38 * noise: 38 % is the SD that the published intervals imply. Noise is normal, or skewed
(centred log-normal, which bounds it below as a relative change is). Tables go through the whole engine: results,
visits, windows, pairs, change, comparison. What is printed: coverage of the 95 % interval with its own binomial
interval, the mean bias of the shift, and how often p < 0.05 where the effect is none.
"""

import argparse
import csv
import tempfile
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy import stats

from volumetry.trial.change import changes_of
from volumetry.trial.compare import contrasts_of, endpoint
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

ARMS = (("UC-MSC", 65), ("placebo", 35))
SPREAD_PERCENT = 38.0


def noise(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with mean 0 and SD 1."""
    if kind == "normal":
        return rng.standard_normal(n)
    sigma = 0.5
    values = np.exp(sigma * rng.standard_normal(n))
    mean = np.exp(sigma**2 / 2)
    return (values - mean) / (mean * np.sqrt(np.exp(sigma**2) - 1))


def tables(folder: Path, effect: float, kind: str, sizes, rng: np.random.Generator) -> None:
    """results.csv and visits.csv of one trial; about 8 % of the follow-ups are missing at random."""
    results, visits = [], []
    for arm, n in sizes:
        changes = -10 + (effect if arm != "placebo" else 0) + SPREAD_PERCENT * noise(kind, n, rng)
        for place, change in enumerate(changes):
            subject = f"{arm}-{place:03d}"
            base, lung = rng.uniform(4, 15), rng.uniform(3000, 5500)
            for visit, day, percent in (("baseline", 0, base), ("d28", 28, base * (1 + max(change, -100) / 100))):
                absent = visit == "d28" and rng.uniform() < 0.08
                scan_id = "" if absent else f"{subject}-{visit}"
                visits.append((subject, visit, day, arm, scan_id, "missing" if absent else ""))
                if not absent:
                    shares = (percent, percent / 5, percent * 4 / 5)
                    results.append((scan_id, "measured", lung, *(x * lung / 100 for x in shares), *shares))
    measures = ("lesion", "solid", "ground_glass")
    header = ("scan_id", "status", "volumes_ml.lung", *(f"volumes_ml.{m}" for m in measures))
    _write(folder / "results.csv", (*header, *(f"percent_of_lung.{m}" for m in measures)), results)
    _write(folder / "visits.csv", ("subject", "visit", "day", "arm", "scan_id", "status"), visits)


def _write(path: Path, header, rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def one(folder: Path):
    """The primary line of the trial's table."""
    config = load_trial_config()
    scans = read_results(folder)
    visits = read_visits(folder / "visits.csv", scans, config)
    rows = endpoint(changes_of(visits, scans, config), contrasts_of(visits.arms.values(), config), config)
    return next(row for row in rows if row.primary)


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    sizes_of = {"65 vs 35": ARMS, "14 vs 12": (("UC-MSC", 14), ("placebo", 12))}
    settings = product(sizes_of.items(), ("normal", "skewed"), (-13.31, 0.0))
    for stream, ((design, sizes), kind, effect) in enumerate(settings):
        # a stream of its own each: whether the interval holds depends on the ranks of the noise alone
        rng = np.random.default_rng([given.seed, stream])
        started, held, significant, shifts, methods = perf_counter(), 0, 0, [], set()
        with tempfile.TemporaryDirectory() as name:
            for _trial in range(given.trials):
                tables(Path(name), effect, kind, sizes, rng)
                row = one(Path(name))
                held += row.interval.low <= effect <= row.interval.high
                significant += row.test.p < 0.05
                shifts.append(row.shift)
                methods.add(row.interval.method)
        ends = stats.binomtest(held, given.trials).proportion_ci(method="exact")
        print(  # noqa: T201  a script's answer
            f"{design}, {kind}, effect {effect:g}: coverage {held}/{given.trials} "
            f"({100 * held / given.trials:.1f} %, 95 % CI {100 * ends.low:.1f}-{100 * ends.high:.1f}), "
            f"bias {np.mean(shifts) - effect:+.2f}, p < 0.05 in {significant}, "
            f"{'/'.join(sorted(methods))}, {perf_counter() - started:.0f} s"
        )


if __name__ == "__main__":
    main()
