"""Hand-run: 40 phantom scans, the batch's process group killed at random moments 30 times, the tree compared.

Run: python tests/benchmarks/batch_kills.py [SCANS] [ROUNDS] [WORKERS]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

RUN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from volumetry.batch import Cluster, find_scans, run_batch, run_on_cluster
from volumetry.config import load_config
from deadly import segmenter
if __name__ == "__main__":
    scans, out, config = find_scans(Path({scans!r})), Path({out!r}), load_config()
    if {workers}:
        run_on_cluster(scans, out, Cluster(workers={workers}), config, factory="deadly:segmenter")
    else:
        run_batch(scans, out, segmenter(config), config)
"""


def whole_scans(out: Path) -> int:
    """Scans under their final name."""
    return len(list(out.glob("scans/*/record.json")))


def main(scans: int = 40, rounds: int = 30, workers: int = 2) -> None:
    """Kill and restart; then let it end and compare."""
    from trees import tree_of

    from volumetry.batch import verify
    from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_series

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        phantom = make_phantom(PhantomSpec((44, 80, 92), (6.0, 4.0, 4.0)))
        for n in range(scans):
            write_series(phantom, work / "in" / f"s{n:02d}", SeriesSpec(series=str(n)))

        def start(out: str) -> "subprocess.Popen[bytes]":
            script = work / f"{out}.py"
            text = RUN.format(tests=str(TESTS), scans=str(work / "in"), out=str(work / out), workers=workers)
            script.write_text(text, "utf-8")
            return subprocess.Popen([sys.executable, str(script)], start_new_session=True)  # noqa: S603  our script

        began = time.time()
        assert start("reference").wait() == 0
        alone_s = time.time() - began
        dice, kills = random.Random(0), 0  # noqa: S311  no secret
        for n in range(rounds):
            process = start("out")
            # half at any moment of a run, half once it is sure to be measuring
            before = whole_scans(work / "out")
            if n % 2 and before < scans:
                while process.poll() is None and whole_scans(work / "out") == before:
                    time.sleep(0.01)
                time.sleep(dice.uniform(0, 0.3))
            else:
                time.sleep(dice.uniform(0.05, 4))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
            sys.stdout.write(f"round {n + 1}: {whole_scans(work / 'out')} scans whole, {kills} kills\n")
            sys.stdout.flush()
        assert start("out").wait() == 0
        found, expected = tree_of(work / "out"), tree_of(work / "reference")
        differing = [name for name in sorted(found | expected) if found.get(name) != expected.get(name)]
        assert not differing, differing[:20]
        assert verify(work / "out").passed
        sys.stdout.write(f"identical after {kills} kills; the uninterrupted run took {alone_s:.0f} s\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
