"""Hand-run: what the batch itself costs per scan, in time and in CPU, and whether its own process grows.

Run: python tests/benchmarks/batch_overhead.py [SCANS] [WORKERS]
The scans are folders without DICOM files: each is refused as soon as it is opened.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main(count: int = 10_000, workers: int = 2) -> None:
    """Time and memory over trivial scans; with 0 workers in this process."""
    from deadly import segmenter

    from volumetry.batch import Cluster, ScanFolder, run_batch, run_on_cluster
    from volumetry.config import load_config

    config = load_config()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "empty").mkdir()
        scans = [ScanFolder(f"s{n:06d}", root / "empty") for n in range(count)]
        seen = {"n": 0, "since": time.time(), "cpu": 0.0}

        def told(*_: object) -> None:
            seen["n"] += 1
            if seen["n"] == 100:
                used = resource.getrusage(resource.RUSAGE_SELF)
                seen.update(since=time.time(), cpu=used.ru_utime + used.ru_stime)
            if seen["n"] % (count // 10) == 0:
                each = 1000 * (time.time() - seen["since"]) / max(1, seen["n"] - 100)
                used = resource.getrusage(resource.RUSAGE_SELF)
                own = 1000 * (used.ru_utime + used.ru_stime - seen["cpu"]) / max(1, seen["n"] - 100)
                sys.stdout.write(
                    f"{seen['n']} scans: {each:.1f} ms each, {own:.1f} ms of this process's CPU, "
                    f"peak {used.ru_maxrss / 1024:.0f} MB\n"
                )
                sys.stdout.flush()

        if workers:
            run_on_cluster(scans, root / "out", Cluster(workers), config, told, factory="deadly:segmenter")
        else:
            run_batch(scans, root / "out", segmenter(config), config, told)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
