"""How long do the tables of a large trial take, how much memory, how large is the page? Run by hand.

    python tests/benchmarks/trial_size.py [--subjects 5000] [--visits 7] [--keep FOLDER]

Simulated subjects in two arms, with the intervals of every scan and their parts, so that measurement error is
carried into every difference. The command runs as its users run it, in a process of its own on one core; what is
printed are its seconds, its peak memory, and the size of report.html and of the whole folder.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

VISITS = (("baseline", 0), ("d10", 10), ("d28", 28), ("d90", 90), ("m6", 180), ("m9", 270), ("m12", 365))
MEASURES = ("lesion", "solid", "ground_glass")
PARTS = ("boundary", "threshold", "augmentation", "hu_offset", "undecided", "floor", "reference")


def tables(folder: Path, subjects: int, visits: int) -> None:
    """results.csv and visits.csv; 5 % of the follow-ups are missing."""
    rng = np.random.default_rng(1)
    results, seen = [], []
    for number in range(subjects):
        subject, arm = f"{number:05d}", ("cells", "placebo")[number % 2]
        lesion_0, lung_0 = rng.uniform(5, 40), rng.uniform(3000, 5500)
        for n, (visit, day) in enumerate(VISITS[:visits]):
            scan_id = f"{subject}-{visit}"
            absent = n > 0 and rng.uniform() < 0.05
            effect = (2.0 if arm == "cells" else 0.0) * n
            lesion = lesion_0 * max(0.02, 1 - 0.1 * n - effect / 100 + (0.2 * rng.standard_normal() if n else 0))
            late = int(rng.integers(-2, 3)) if n else 0
            walk = "" if absent else f"{400 + 20 * n + 30 * rng.standard_normal():.1f}"
            seen.append(
                (subject, visit, day + late, arm, "" if absent else scan_id, "missing" if absent else "", walk)
            )
            if not absent:
                results.append(_scan(scan_id, lesion, lesion * 0.3, lung_0 * rng.uniform(0.95, 1.06)))
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(results[0]))
        writer.writeheader()
        writer.writerows(results)
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as stream:
        names = ("subject", "visit", "day", "arm", "scan_id", "status", "walk_m")
        csv.writer(stream).writerows([names, *seen])


def _scan(scan_id: str, lesion: float, solid: float, lung_ml: float) -> dict[str, object]:
    shares = {"lesion": lesion, "solid": solid, "ground_glass": lesion - solid}
    row: dict[str, object] = {"scan_id": scan_id, "status": "measured", "volumes_ml.lung": lung_ml}
    row |= {f"volumes_ml.{m}": share * lung_ml / 100 for m, share in shares.items()}
    row |= {f"percent_of_lung.{m}": share for m, share in shares.items()}
    row |= {f"interval_percent.{m}": f"{share * 0.94!r};{share * 1.07!r}" for m, share in shares.items()}
    row |= {f"interval_parts.{p}.{m}": 0.02 * share for p in PARTS for m, share in shares.items()}
    row |= {"interval_level": 0.95, "series.thickness_mm": 1.0, "series.kernel": "B40f", "series.kvp": 120}
    for rule, factor in (("hu", 1.0), ("network", 0.95)):
        row[f"components_by_rule.{rule}.solid_ml"] = solid * factor * lung_ml / 100
        row[f"components_by_rule.{rule}.ground_glass_ml"] = (lesion - solid * factor) * lung_ml / 100
    return row


def main() -> None:
    """Make the tables, run the command, print what it took."""
    options = argparse.ArgumentParser()
    options.add_argument("--subjects", type=int, default=5000)
    options.add_argument("--visits", type=int, default=len(VISITS))
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        tables(folder, given.subjects, given.visits)
        out = folder / "out"
        command = (sys.executable, "-m", "volumetry", "trial", str(folder), "--visits", str(folder / "visits.csv"))
        started = perf_counter()
        subprocess.run(  # noqa: S603  our own command
            [*command, "--out", str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        )
        seconds = perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s, peak_mb = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        report_mb = (out / "report.html").stat().st_size / 1e6
        all_mb = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
        print(  # noqa: T201  a script's answer
            f"{given.subjects} subjects x {given.visits} visits: {seconds:.1f} s ({cpu_s:.1f} s of processor), "
            f"peak {peak_mb:.0f} MiB, report {report_mb:.2f} MB, folder {all_mb:.1f} MB"
        )


if __name__ == "__main__":
    main()
