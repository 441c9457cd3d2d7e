"""Hand-run: how long each stage of ``volumetry check`` takes, beside a peer's network and beside its floor.

Run on a machine that does nothing else:
``python tests/benchmarks/speed.py --scan FOLDER --slices 300 800 --peer``.

Cold is the command in a process of its own; warm is the same scan a second time in one process. The floor is a
plain SimpleITK read and one pass of the U-Net over the slices as it sees them. The peer is lungmask's network
(``pip install lungmask``) with random weights: its time does not depend on them. With ``--figure FILE.png`` the
cold times are drawn against the number of slices: a straight line is what is wanted.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHILD = """
import json, resource, sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from volumetry.config import load_config
from volumetry.pipeline import analyse_scan
from volumetry.segment.network import load_segmenter
config = load_config(overrides={"segment": {"precision": sys.argv[2], "device": "cpu"}})
segmenter = load_segmenter(config)
rows = []
for _ in range(2):
    start = time.perf_counter()
    done = analyse_scan(Path(sys.argv[1]), segmenter, config)
    rows.append({**done.result.timing_s, "total": time.perf_counter() - start,
                 "percent": done.result.measurement.volumes_ml.percent_of_lung()})
    shape = done.scan.grid.shape_kji
    del done
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"warm": rows[-1], "peak_mb": peak, "slices": shape[0]}))
"""
FLOOR = """
import json, resource, sys, time
from pathlib import Path
import numpy as np, SimpleITK as sitk, torch
torch.set_num_threads(int(sys.argv[2]))
from volumetry.config import load_config
from volumetry.domain import Grid
from volumetry.segment.resampling import network_shape
from volumetry.segment.network import load_segmenter
segmenter = load_segmenter(load_config(overrides={"segment": {"device": "cpu"}}))
start, cpu = time.perf_counter(), time.process_time()
names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(sys.argv[1])
image = sitk.ReadImage(names)
read, read_cpu = time.perf_counter() - start, time.process_time() - cpu
shape = network_shape(image.GetSize()[::-1], image.GetSpacing()[::-1], segmenter.recipe)
step = segmenter.recipe.pad_multiple
rows, columns = (-(-side // step) * step for side in shape[1:])
batch = torch.zeros((4, len(segmenter.recipe.inputs), rows, columns)).to(memory_format=torch.channels_last)
network = segmenter.model.network
start, cpu = time.perf_counter(), time.process_time()
with torch.inference_mode():
    for _ in range(-(-shape[0] // 4)):
        network(batch)
found = {"floor_read": read, "floor_network": time.perf_counter() - start,
         "floor_cpu": read_cpu + time.process_time() - cpu,
         "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
if sys.argv[3] == "peer":
    from lungmask.resunet import UNet
    peer = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False).eval()
    start, passes = time.perf_counter(), 3
    with torch.inference_mode():
        for _ in range(passes):
            peer(torch.zeros((4, 1, 256, 256)))
    each = (time.perf_counter() - start) / (4 * passes)
    found |= {"peer_network": each * image.GetSize()[2]}
print(json.dumps(found))
"""


PHANTOM = """
import sys
from pathlib import Path
from volumetry.phantom import PhantomSpec, make_phantom, write_series
slices = int(sys.argv[2])
spec = PhantomSpec(shape_kji=(slices, 512, 512), spacing_kji_mm=(330 / slices, 0.7, 0.7), seed=1)
write_series(make_phantom(spec), Path(sys.argv[1]))
"""


def main() -> None:
    """Measure all scans and write a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scan", type=Path, nargs="*", default=[])
    options.add_argument("--slices", type=int, nargs="*", default=[300, 800])
    options.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    options.add_argument("--precision", nargs="*", default=["fp32", "bf16"])
    options.add_argument("--peer", action="store_true")
    options.add_argument("--figure", type=Path)
    given = options.parse_args()
    _say(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    _say(f"start-up: {_startup()}")
    with tempfile.TemporaryDirectory() as folder:
        scans = [*given.scan, *(phantom(Path(folder), count) for count in given.slices)]
        _say("scan | precision | threads | cold wall | read | segment | measure | deliver | warm total | peak MB")
        cold: dict[str, list[tuple[int, float]]] = {}
        for scan in scans:
            for precision in given.precision:
                for threads in given.threads:
                    row, slices, wall_s = _row(scan, precision, threads)
                    _say(row)
                    cold.setdefault(f"{precision}, {threads} threads", []).append((slices, wall_s))
            _say(f"{scan.name} {run(FLOOR, scan, 2, 'peer' if given.peer else 'none')}")
    if given.figure:
        _drawn(cold, given.figure)


def _drawn(cold: dict[str, list[tuple[int, float]]], target: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in cold.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xlabel="slices of 512 x 512", ylabel="seconds, cold", ylim=(0, None), xlim=(0, None))
    axes.legend()
    figure.savefig(target, dpi=120)


def _row(scan: Path, precision: str, threads: int) -> tuple[str, int, float]:
    cold = _cold(scan, precision, threads)
    warm = run(CHILD, scan, precision, threads)
    stages = " | ".join(
        f"{cold['timing_s'].get(name, 0):.1f}" for name in ("read", "segment", "measure", "deliver")
    )
    row = (
        f"{scan.name} ({warm['slices']}) | {precision} | {threads} | {cold['wall']:.1f} | {stages} | "
        f"{warm['warm']['total']:.1f} | {cold['peak_mb']:.0f}"
    )
    return row, warm["slices"], cold["wall"]


def _cold(scan: Path, precision: str, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        settings = Path(out) / "speed.toml"
        settings.write_text(f'[segment]\nprecision = "{precision}"\ndevice = "cpu"\n', "utf-8")
        command = ["check", str(scan), "--out", f"{out}/result", "--config", str(settings), "--quiet"]
        program = [sys.executable, "-c", "from volumetry.cli import main; main()", *command]
        start = time.perf_counter()
        subprocess.run(program, check=False, env=_environment(threads), capture_output=True)  # noqa: S603  our own program
        wall = time.perf_counter() - start
        found: dict[str, Any] = json.loads((Path(out) / "result" / "result.json").read_text("utf-8"))
    return {"wall": wall, "timing_s": found["timing_s"], "peak_mb": found["peak_memory_mb"]}


def run(program: str, scan: Path, *arguments: object) -> dict[str, Any]:
    words = [sys.executable, "-c", program, str(scan), *map(str, arguments)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=_environment(2))  # noqa: S603  our own program
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}


def _startup() -> str:
    times = []
    for words in (["--help"], ["check", "--help"]):
        start = time.perf_counter()
        program = [sys.executable, "-c", "from volumetry.cli import main; main()", *words]
        subprocess.run(program, check=False, capture_output=True)  # noqa: S603  our own program
        times.append(f"{' '.join(words)} {time.perf_counter() - start:.2f} s")
    return ", ".join(times)


def phantom(folder: Path, slices: int) -> Path:
    """A 512 x 512 chest of so many slices over 330 mm.

    Made in a process of its own: a child's peak memory begins with its parent's.
    """
    target = folder / f"phantom-{slices}"
    subprocess.run([sys.executable, "-c", PHANTOM, str(target), str(slices)], check=True)  # noqa: S603  our own program
    return target


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
