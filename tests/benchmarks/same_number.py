"""Hand-run: what precision, threads, batch size, file order and transfer syntax do to each proportion.

``python tests/benchmarks/same_number.py SCAN ...``. The first row is the reference (fp32, two threads, batches of
eight); the others give the difference of each share in points, and whether the mask is the same to the voxel.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHILD = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from volumetry.config import load_config
from volumetry.pipeline import analyse_scan
from volumetry.segment.network import load_segmenter
settings = {"precision": sys.argv[2], "device": "cpu", "batch_slices": int(sys.argv[4])}
config = load_config(overrides={"segment": settings})
result = analyse_scan(Path(sys.argv[1]), load_segmenter(config), config).result
print(json.dumps({"percent": result.measurement.volumes_ml.percent_of_lung(),
                  "lung_ml": result.measurement.volumes_ml.lung, "mask": result.provenance.mask_sha256}))
"""
WAYS = {
    "fp32, 2 threads, batch 8": ("fp32", 2, 8),
    "again": ("fp32", 2, 8),
    "1 thread": ("fp32", 1, 8),
    "batch 1": ("fp32", 2, 1),
    "batch 32": ("fp32", 2, 32),
    "bf16": ("bf16", 2, 8),
    "bf16, 1 thread": ("bf16", 1, 8),
}


def main() -> None:
    """Print one table for each scan."""
    for scan in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            reference = _measured(scan, *WAYS["fp32, 2 threads, batch 8"])
            _say(f"{scan.name}: {reference['percent']}, lung {reference['lung_ml']:.1f} mL")
            for name, way in WAYS.items():
                _say(_row(name, _measured(scan, *way), reference))
            _say(_row("file order", _measured(_shuffled(scan, Path(folder)), "fp32", 2, 8), reference))
            recoded = _recoded(scan, Path(folder))
            _say(_row("JPEG 2000 lossless", _measured(recoded, "fp32", 2, 8), reference))


def _row(name: str, found: dict[str, Any], reference: dict[str, Any]) -> str:
    moved = {key: found["percent"][key] - value for key, value in reference["percent"].items()}
    lung = 100 * (found["lung_ml"] / reference["lung_ml"] - 1)
    same = "same mask" if found["mask"] == reference["mask"] else "other mask"
    shares = ", ".join(f"{key} {points:+.4f}" for key, points in moved.items())
    return f"  {name}: {shares} points, lung {lung:+.4f} %, {same}"


def _measured(scan: Path, precision: str, threads: int, batch: int) -> dict[str, Any]:
    words = [sys.executable, "-c", CHILD, str(scan), precision, str(threads), str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)  # noqa: S603  our own program
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _shuffled(scan: Path, folder: Path) -> Path:
    """The same files under names in another order."""
    target = folder / "shuffled"
    target.mkdir()
    files = sorted(path for path in scan.rglob("*") if path.is_file())
    random.Random(1).shuffle(files)  # noqa: S311  an order, no secret
    for n, path in enumerate(files):
        shutil.copyfile(path, target / f"{n:05d}")
    return target


def _recoded(scan: Path, folder: Path) -> Path:
    """The same stored values, coded another way; decoded by SimpleITK where pydicom cannot."""
    import numpy as np
    import SimpleITK as sitk
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

    target = folder / "recoded"
    target.mkdir()
    for n, path in enumerate(sorted(path for path in scan.rglob("*") if path.is_file())):
        header = dcmread(path)
        image = sitk.ReadImage(str(path))
        slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
        stored = np.round((sitk.GetArrayFromImage(image)[0] - intercept) / slope)
        header.PixelData = stored.astype(np.int16 if header.PixelRepresentation else np.uint16).tobytes()
        header["PixelData"].VR = "OW"
        header["PixelData"].is_undefined_length = False
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.compress(JPEG2000Lossless, generate_instance_uid=False)
        header.save_as(target / f"{n:05d}.dcm")
    return target


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
