"""Hand-run on a quiet machine: how many times faster two workers are than one, with the shipped model.

Run: python tests/benchmarks/batch_throughput.py [SCANS] [THREADS]
Every scan is a copy of the sample phantom. Printed for each number of workers: seconds in all, and scans per
minute once every worker is warm. THREADS (1) are those of each worker, so that a second worker means a second
core; with 0 the cores are shared among the workers, as `volumetry batch` does by itself: one worker uses them all.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def scans_per_minute(scans: Path, out: Path, workers: int, threads: int) -> tuple[float, float]:
    """Seconds in all, and the rate once every worker is warm."""
    from volumetry.batch import Cluster, find_scans, run_on_cluster
    from volumetry.config import load_config

    ended: list[float] = []
    began = time.monotonic()
    cluster = Cluster(workers, threads=threads)
    run_on_cluster(find_scans(scans), out, cluster, load_config(), lambda *_: ended.append(time.monotonic()))
    warm = workers  # one scan of each worker pays for loading the model and for what is done once
    return time.monotonic() - began, 60 * (len(ended) - warm) / (ended[-1] - ended[warm - 1])


def main(count: int = 16, threads: int = 1) -> None:
    """The same scans with one worker and with two."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for n in range(count):
            shutil.copytree(REPOSITORY / "data-sample" / "phantom-001", root / "in" / f"s{n:02d}")
        figures = {}
        for workers in (1, 2):
            whole_s, rate = scans_per_minute(root / "in", root / f"out{workers}", workers, threads)
            figures[workers] = (whole_s, rate)
            sys.stdout.write(f"{workers} workers: {whole_s:.1f} s in all, {rate:.2f} scans per minute when warm\n")
            sys.stdout.flush()
        (one_s, one), (two_s, two) = figures[1], figures[2]
        sys.stdout.write(
            f"2 workers against 1: {one_s / two_s:.2f} times in all, {two / one:.2f} times when warm\n"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
