"""`volumetry batch` in a process of its own, with the segmenters of `deadly` in the network's place."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_series

TESTS = Path(__file__).resolve().parent
SMALL = PhantomSpec((44, 80, 92), (6.0, 4.0, 4.0))
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from deadly import segmenter
from volumetry.batch import run_on_cluster
from volumetry.cli import common, main
if __name__ == "__main__":
    common.segmenter_of = segmenter
    run_on_cluster.__kwdefaults__["factory"] = "deadly:segmenter"
    main(sys.argv[1:])
"""


class BatchCommand:
    """A scan tree, an output folder, and the command that makes one from the other.

    Parameters
    ----------
    work
        An empty folder.
    out
        The output folder, if it is not ``work/out``.
    kernels
        One small phantom for each; what `deadly.Deadly` does to it goes by this name.
    """

    def __init__(self, work: Path, kernels: list[str], out: Path | None = None) -> None:
        self.scans, self.out, self.go = work / "in", out or work / "out", work / "go"
        self._script = work / "run.py"
        self._script.write_text(SCRIPT.format(tests=str(TESTS)), "utf-8")
        phantom = make_phantom(SMALL)
        for n, kernel in enumerate(kernels):
            write_series(phantom, self.scans / f"s{n:02d}", SeriesSpec(kernel=kernel, series=str(n)))

    def start(self, *more: str, prefix: tuple[str, ...] = (), **environment: str) -> "subprocess.Popen[str]":
        """Begin the batch; its standard error is a pipe."""
        command = [*prefix, sys.executable, str(self._script), "batch", str(self.scans), "--out", str(self.out)]
        return subprocess.Popen(  # noqa: S603  our own script
            [*command, *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "VOLUMETRY_TEST_GO": str(self.go), **environment},
            start_new_session=True,
        )

    def run(self, *more: str, prefix: tuple[str, ...] = (), **environment: str) -> tuple[int, str]:
        """The whole batch: exit code, and what it said on standard error."""
        process = self.start(*more, prefix=prefix, **environment)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    def whole(self) -> list[str]:
        """Scans under their final name."""
        return sorted(path.parent.name for path in self.out.glob("scans/*/record.json"))

    def rows(self) -> dict[str, dict[str, str]]:
        """Rows of results.csv by scan."""
        table = (self.out / "results.csv").read_text("utf-8").splitlines()
        return {row["scan_id"]: row for row in csv.DictReader(table)}
