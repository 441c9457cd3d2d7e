"""Hand-run on a quiet machine: what a scan costs against its slices, and a batch against its scans.

Run: python tests/benchmarks/cost.py [--slices 60 132 250 400 800] [--scans 1 4 16] [--workers 0 2] [--out FOLDER]
About ten minutes on two cores; it writes cost.csv into the folder (docs/images by default), each row as soon as
it is measured, and draws cost.svg from it. ``--draw`` only draws. Everything is made from phantoms, so that anyone
can repeat it.

Against slices: `volumetry check` from a cold start with its report, for chests of 330 mm in so many slices. The
network sees slices thinner than 1.5 mm averaged to about 2 mm, so that its part stops growing at 165 of them. The
floor is what no program with this network can do without: a plain SimpleITK read and one pass over each slice that
the network sees, on one thread, which needs least CPU time. After
``pip install lungmask dynamic-network-architectures`` the networks of two peers stand beside it, with random
weights, as in peers.py: alone, without reading, resampling and writing.

Against scans: batches of the sample phantom of 60 slices with each number of workers, from start to end; 0 is one
process that measures one scan after the other.
"""

import argparse
import csv
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peers
import speed

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = ("what", "slices", "scans", "workers", "seconds", "cpu_seconds", "peak_gib")
CHECK, FLOOR, BATCH = "volumetry check", "floor: read and network alone", "volumetry batch"
LUNGMASK, TOTAL = "lungmask, network alone", "TotalSegmentator fast, network alone"
HEIGHT_MM, PIXEL_MM, SIDE = 330.0, 0.7, 512
"""Of the phantoms of `speed`."""


def main() -> None:
    """Measure everything, or what is missing of it in the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--slices", type=int, nargs="*", default=[60, 132, 250, 400, 800])
    options.add_argument("--scans", type=int, nargs="*", default=[1, 4, 16])
    options.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    options.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images")
    options.add_argument("--draw", action="store_true", help="only draw what cost.csv holds")
    asked = options.parse_args()
    table = asked.out / "cost.csv"
    if not asked.draw:
        _measure(table, asked)
    drawn(table, asked.out / "cost.svg")


def _measure(table: Path, asked: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")

        def row(*values: object) -> None:
            writer.writerow([f"{value:.2f}" if isinstance(value, float) else value for value in values])
            stream.flush()
            sys.stdout.write(f"{time.perf_counter() - began:.0f} s: {', '.join(map(str, values))}\n")
            sys.stdout.flush()

        writer.writerow(COLUMNS)
        with ThreadPoolExecutor(cores) as together:  # making them is not what is measured
            phantoms = list(together.map(lambda n: speed.phantom(Path(folder), n), reversed(asked.slices)))[::-1]
        for slices, phantom in zip(asked.slices, phantoms, strict=True):
            row(CHECK, slices, 1, "", *_checked(phantom))
            row(FLOOR, slices, 1, "", *_floor(phantom))
        for name, program in _peers().items():
            seconds, cpu_s, peak_gib = peers.timed(program, cores)
            for slices in asked.slices:
                passes = _passes(name, slices)
                row(name, slices, 1, "", seconds * passes, cpu_s * passes, peak_gib)
        for scans in asked.scans:
            for workers in asked.workers:
                row(BATCH, 60, scans, workers, *_batch(scans, workers), "")


def _checked(scan: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and GiB of a check from a cold start."""
    with tempfile.TemporaryDirectory() as out:
        words = ["check", str(scan), "--out", f"{out}/result", "--device", "cpu", "--quiet"]
        seconds, cpu_s = _run(["-c", "from volumetry.cli import main; main()", *words])
        found = json.loads((Path(out) / "result" / "result.json").read_text("utf-8"))
    return seconds, cpu_s, found["peak_memory_mb"] / 1024


def _floor(scan: Path) -> tuple[float, float, float]:
    found = speed.run(speed.FLOOR, scan, 1, "none")
    return found["floor_read"] + found["floor_network"], found["floor_cpu"], found["peak_mb"] / 1024


def _peers() -> dict[str, str]:
    """The programs of the peers that are installed."""
    programs = {LUNGMASK: ("lungmask", peers.LUNGMASK), TOTAL: ("dynamic_network_architectures", peers.TOTAL)}
    there = {name: code for name, (package, code) in programs.items() if importlib.util.find_spec(package)}
    return {name: peers.TIMED.format(network=code) for name, code in there.items()}


def _passes(name: str, slices: int) -> float:
    """How often a peer's network runs for a phantom: four slices at once, or a window."""
    if name == LUNGMASK:
        return slices / 4
    spacing = (HEIGHT_MM / slices, PIXEL_MM, PIXEL_MM)
    return float(peers.windows((slices, SIDE, SIDE), spacing, 3.0))


def _batch(scans: int, workers: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a batch, from start to end."""
    source = REPOSITORY / "data-sample" / "phantom-001"
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"scan-{n},{source}" for n in range(scans)]
        manifest = Path(folder) / "manifest.csv"
        manifest.write_text("\n".join(["scan_id,path", *lines, ""]), "utf-8")
        words = ["batch", str(manifest), "--out", f"{folder}/out", "--workers", str(workers), "--device", "cpu"]
        return _run(["-c", "from volumetry.cli import main; main()", *words, "--quiet"])


def _run(words: list[str]) -> tuple[float, float]:
    """Seconds and CPU seconds of a Python process and of all that it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own program
    wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def drawn(table: Path, target: Path) -> None:
    """The figure of a table.

    Parameters
    ----------
    table
        cost.csv.
    target
        An SVG, the same to the byte for the same table.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    mpl.rcParams["svg.hashsalt"] = "cost"
    figure, (of_slices, of_scans) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    styles = {CHECK: "o-", FLOOR: "o:", LUNGMASK: "s--", TOTAL: "^--"}
    for name, style in styles.items():
        points = sorted((int(row["slices"]), float(row["cpu_seconds"])) for row in rows if row["what"] == name)
        if points:
            of_slices.plot(*zip(*points, strict=True), style, label=name)
    # A straight line through the other programs' hundreds of seconds would lie on the axis: hence the logarithm.
    of_slices.set(
        xlabel="slices of 512 x 512",
        ylabel="CPU seconds, logarithmic",
        yscale="log",
        xlim=(0, None),
        ylim=(0.2, None),
    )
    of_slices.yaxis.set_major_formatter("{x:g}")
    of_slices.set_title("One scan")
    for workers in sorted({row["workers"] for row in rows if row["what"] == BATCH}):
        of = [row for row in rows if row["what"] == BATCH and row["workers"] == workers]
        points = sorted((int(row["scans"]), float(row["seconds"]) / int(row["scans"])) for row in of)
        label = "one process" if workers == "0" else f"{workers} workers"
        of_scans.plot(*zip(*points, strict=True), "o-", label=label)
    of_scans.set(xlabel="scans of 60 slices", ylabel="seconds per scan, start included")
    of_scans.set(ylim=(0, None), xlim=(0, None))
    of_scans.set_title("A batch")
    for axes in (of_slices, of_scans):
        if axes.lines:
            axes.legend(fontsize=8)
    figure.savefig(target, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
