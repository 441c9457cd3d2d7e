"""Hand-run on a quiet machine: how full a batch keeps the cores, with the shipped model.

Run: python tests/benchmarks/batch_throughput.py [--scans FOLDER] [--times N] [--workers 0 1 2] [--threads N]
Every folder of FOLDER that holds a scan is measured N times over. By default it is the sample phantom, 16 times.
Printed for each number of workers (0 is this process alone): seconds in all, CPU seconds per scan, how much of all
cores was used, and scans per hour of one core, from start to end. The rate when warm leaves the first scan of each
worker out, which pays for loading the model. By default the workers share the cores, as in `volumetry batch`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CHILD = "import sys; from batch_throughput import measure; measure(*sys.argv[1:])"
"""Each batch has a process of its own, so that the CPU time of all its workers is known once they are gone."""


def measure(scans: str, out: str, times: str, workers: str, threads: str) -> None:
    """One batch; writes seconds, scans and the rate once every worker is warm."""
    from volumetry.batch import Cluster, ScanFolder, find_scans, run_batch, run_on_cluster
    from volumetry.config import load_config
    from volumetry.segment.network import load_segmenter

    found = find_scans(Path(scans))
    many = [ScanFolder(f"{scan.scan_id}-{n}", scan.path) for n in range(int(times)) for scan in found]
    ended: list[float] = []
    config, began = load_config(), time.monotonic()

    def told(*_: object) -> None:
        ended.append(time.monotonic())

    if int(workers):
        run_on_cluster(many, Path(out), Cluster(int(workers), threads=int(threads)), config, told)
    else:
        run_batch(many, Path(out), load_segmenter(config), config, told)
    warm = max(1, int(workers))
    rate = 60 * (len(ended) - warm) / (ended[-1] - ended[warm - 1])
    sys.stdout.write(f"{time.monotonic() - began} {len(many)} {rate}\n")


def main() -> None:
    """The same scans with each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, default=REPOSITORY / "data-sample" / "phantom-001")
    parser.add_argument("--times", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for workers in asked.workers:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as out:
            words = [str(asked.scans), f"{out}/out", str(asked.times), str(workers), str(asked.threads)]
            done = subprocess.run(  # noqa: S603  this file, by our own interpreter
                [sys.executable, "-c", CHILD, *words],
                cwd=Path(__file__).parent,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        whole_s, scans, rate = map(float, done.stdout.split()[-3:])
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        sys.stdout.write(
            f"{workers} workers: {whole_s:.1f} s for {scans:.0f} scans, {rate:.2f} a minute when warm; "
            f"{cpu_s / scans:.1f} s of CPU a scan, {100 * cpu_s / whole_s / cores:.0f} % of {cores} cores, "
            f"{3600 * scans / whole_s / cores:.0f} scans per core and hour\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
