"""Five simulated trials for an independent recomputation in R, run by hand.

    python tests/benchmarks/recompute.py FOLDER
    Rscript tests/benchmarks/recompute.R FOLDER

The first makes the tables of five trials and runs `volumetry trial` on each. The second reads only results.csv and
visits.csv, computes the tables again with R's own functions, and prints the largest difference for every figure.
It needs the packages coin and nlme (Debian: r-base-core, r-cran-coin, r-cran-nlme).
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

VISITS = (("baseline", 0), ("d10", 10), ("d28", 28), ("d90", 90))
TRIALS = {  # sizes, step to which shares are rounded, chance of a baseline of 0, of a death, of a scan not made
    "large": ((65, 35), 0.0, 0.0, 0.03, 0.08),
    "small": ((14, 12), 0.0, 0.0, 0.02, 0.05),
    "ties": ((40, 30), 0.5, 0.0, 0.02, 0.08),
    "zeros": ((30, 45), 0.0, 0.12, 0.02, 0.10),
    "deaths": ((22, 23), 0.0, 0.05, 0.12, 0.15),
}
SETTINGS = """[statistics]
multiplicity = "holm"
risk_difference = "{difference}"
[models]
analyses = ["ancova", "rank_ancova", "van_elteren", "median_difference", "mmrm"]
covariates = ["age"]
factors = ["site"]
strata = ["site"]
bootstrap_draws = 200
"""


def tables(
    folder: Path, sizes, step: float, zero: float, death: float, lost: float, rng: np.random.Generator
) -> None:
    """results.csv and visits.csv of one trial."""
    results, visits = [], []
    for number in range(sum(sizes)):
        subject, arm = f"{number:03d}", "cells" if number < sizes[0] else "placebo"
        facts = (int(rng.integers(30, 75)), int(rng.integers(1, 4)))
        base, lung, status = 0.0 if rng.random() < zero else rng.uniform(4, 30), rng.uniform(3000, 5500), ""
        level = rng.normal(0, 0.15)
        for n, (visit, day) in enumerate(VISITS):
            status = "died" if status == "died" or (n and rng.random() < death) else ""
            state = status or ("missing" if n and rng.random() < lost else "")
            change = 1 - 0.12 * n - (0.1 if arm == "cells" and n else 0) + level + 0.25 * rng.standard_normal()
            share = base * max(change, 0.0) if n else base
            if base == 0 and n:
                share = rng.uniform(0, 2)
            share = round(share / step) * step if step else share
            scan_id = "" if state else f"{subject}-{visit}"
            honeycomb = "" if state else ("yes" if rng.random() < 0.2 + 0.1 * (arm == "cells") else "no")
            walk = "" if state else round(300 + 15 * n + 40 * rng.standard_normal())
            visits.append((subject, visit, day, arm, scan_id, state, walk, honeycomb, *facts))
            if not state:
                volume = lung * (1 + 0.08 * rng.standard_normal())
                shares = (share, share * 0.3, share * 0.7)
                results.append((scan_id, "measured", volume, *(s * volume / 100 for s in shares), *shares))
    measures = ("lesion", "solid", "ground_glass")
    head = ("scan_id", "status", "volumes_ml.lung", *(f"volumes_ml.{m}" for m in measures))
    _write(folder / "results.csv", (*head, *(f"percent_of_lung.{m}" for m in measures)), results)
    columns = ("subject", "visit", "day", "arm", "scan_id", "status", "walk_m", "honeycomb", "age", "site")
    _write(folder / "visits.csv", columns, visits)


def _write(path: Path, head, rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def main() -> None:
    """Make and run them."""
    for place, (name, design) in enumerate(TRIALS.items()):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        tables(folder, *design, np.random.default_rng([7, place]))
        difference = ("newcombe", "miettinen_nurminen")[place % 2]
        (folder / "mine.toml").write_text(SETTINGS.format(difference=difference), "utf-8")
        command = (sys.executable, "-m", "volumetry", "trial", folder, "--visits", folder / "visits.csv")
        subprocess.run(  # noqa: S603  our own command
            [*map(str, command), "--out", str(folder / "out"), "--config", str(folder / "mine.toml")], check=True
        )


if __name__ == "__main__":
    main()
