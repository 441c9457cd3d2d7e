"""Hand-run on a quiet machine: what one scan costs here, and what the networks of two other programs cost on it.

Run: pip install lungmask dynamic-network-architectures; python tests/benchmarks/peers.py SCAN [--threads N]
Each line is a process of its own: seconds, CPU seconds, peak memory. Ours is `volumetry check` as a whole, and the
network's part of it. The others are their networks alone, with random weights, since time does not depend on them:
reading, resampling and writing are not counted, which favours them.

* lungmask (R231): one pass of its U-Net for each slice, at 256 x 256; lungs alone.
* TotalSegmentator 2, task "total": windows of 128 x 128 x 128 voxels of 1.5 mm that overlap by half, in five of
  nnU-Net's plain U-Nets; and its "fast" mode, one such network at 3 mm. Three windows are timed, and the
  rest is counted from the size of the scan, without the margins that nnU-Net adds.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS_OF_TOTAL, WINDOW, CHANNELS = 5, 128, (32, 64, 128, 256, 320, 320)
TIMED = """
import json, resource, sys, time
import torch
torch.set_num_threads(int(sys.argv[1]))
{network}
with torch.inference_mode():
    network(batch)
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(3):
        network(batch)
    used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps([(time.perf_counter() - start) / 3, cpu / 3, used.ru_maxrss / 2**20]))
"""
LUNGMASK = """
from lungmask.resunet import UNet
network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False).eval()
batch = torch.zeros((4, 1, 256, 256))
"""
TOTAL = f"""
from dynamic_network_architectures.architectures.unet import PlainConvUNet
network = PlainConvUNet(1, 6, {CHANNELS}, torch.nn.Conv3d, 3, (1, 2, 2, 2, 2, 2), 2, 25, 2, conv_bias=True,
    norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs=dict(eps=1e-5, affine=True), nonlin=torch.nn.LeakyReLU).eval()
batch = torch.zeros((1, 1, {WINDOW}, {WINDOW}, {WINDOW}))
"""
OURS = """
import json, resource, sys, time
import torch
torch.set_num_threads(int(sys.argv[1]))
from pathlib import Path
from volumetry.config import load_config
from volumetry.scan import read_scan
from volumetry.segment.network import load_segmenter
config = load_config(overrides={"segment": {"device": "cpu"}})
scan, segmenter = read_scan(Path(sys.argv[2]), config), load_segmenter(config)
before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
segmenter(scan)
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps([time.perf_counter() - start, cpu, used.ru_maxrss / 2**20, scan.grid.shape_kji,
    scan.grid.spacing_kji_mm]))
"""


def windows(shape_kji: tuple[int, ...], spacing_kji_mm: tuple[float, ...], voxel_mm: float) -> int:
    """Windows that overlap by half and cover a scan."""
    sides = (n * mm / voxel_mm for n, mm in zip(shape_kji, spacing_kji_mm, strict=True))
    return math.prod(max(1, math.ceil((side - WINDOW) / (WINDOW / 2)) + 1) for side in sides)


def main() -> None:
    """One table for a scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    whole = _check(asked.scan, asked.threads)
    *ours, shape, spacing = timed(OURS, asked.threads, asked.scan)
    _say(f"{asked.scan.name}: {shape[0]} slices, {asked.threads} threads")
    _say("what | seconds | CPU seconds | peak GB")
    _row("volumetry check, all of it", whole)
    _row("of it: segmentation", ours)
    slice_s, cpu_s, gb = timed(TIMED.format(network=LUNGMASK), asked.threads)
    _row("lungmask, network", [slice_s / 4 * shape[0], cpu_s / 4 * shape[0], gb])
    each = timed(TIMED.format(network=TOTAL), asked.threads)
    for name, voxel_mm, networks in (("fast", 3.0, 1), ("total", 1.5, NETWORKS_OF_TOTAL)):
        count = networks * windows(shape, spacing, voxel_mm)
        _row(f"TotalSegmentator {name}, windows: {count}", [each[0] * count, each[1] * count, each[2]])


def _check(scan: Path, threads: int) -> list[float]:
    with tempfile.TemporaryDirectory() as out:
        words = ["check", str(scan), "--out", f"{out}/result", "--device", "cpu", "--quiet"]
        program = [sys.executable, "-c", "from volumetry.cli import main; main()", *words]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(program, check=True, env=_environment(threads))  # noqa: S603  our own program
        wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((Path(out) / "result" / "result.json").read_text("utf-8"))
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return [wall, cpu, found["peak_memory_mb"] / 1024]


def timed(program: str, threads: int, *words: object) -> list[float]:
    command = [sys.executable, "-c", program, str(threads), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment(threads))  # noqa: S603  our own program
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}


def _row(name: str, figures: list[float]) -> None:
    _say(f"{name} | {figures[0]:.1f} | {figures[1]:.1f} | {figures[2]:.1f}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
