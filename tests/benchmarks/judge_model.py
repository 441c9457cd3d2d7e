"""A candidate model against everything at hand that it should not lose on, before it is shipped.

    PYTHONPATH=tests python tests/benchmarks/judge_model.py MODEL DATA FOLDER [PART ...]

Parts, all by default: ``phantoms`` (the gate of ``tests/accuracy/test_shipped_model.py``), ``chests`` (the whole
chests of docs/validation.md), ``annotated`` (slices labelled in this project) and ``planted`` (single lesions
inserted into six chests; about a quarter of an hour of one core). FOLDER keeps ``PART.json`` and, for each chest,
the mask as ``NAME.nii.gz`` beside a picture of the largest bodies of lesion in three planes. Figures on held-out
labelled slices are on the model's card.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from accuracy.test_shipped_model import CASES, figures
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config, load_config
from volumetry.domain import CtScan, Segmenter, Tissue, TissueMap
from volumetry.image.orientation import axial_view
from volumetry.pipeline import Analysis, analyse
from volumetry.segment.network import load_segmenter
from volumetry.training.annotate.__main__ import ANNOTATED
from volumetry.training.annotate.report import report
from volumetry.training.dataset import infected_by_slice
from volumetry.training.evaluate_scans import evaluate_scans
from volumetry.training.held_out_metrics import area_under_curve
from volumetry.training.scan_list import read_listed, read_volume_on

HRCT = ("normal-001", "covid-p001", "pneumonia-001")
CHESTS = (
    "lidc-0003", "qin-0003", "lidc-1011", "qin-0028", "lidc-0001", "qin-0009", "tcga-a4ma", "onko-rt",
    "ricord-000082", "pneumonia-002", "lung1-003", "lung1-002", "4dlung-113",
)  # fmt: skip
TUMOURS = {
    "lung1-002": ("lung1-002-rt-tumour", 1),
    "lung1-003": ("lung1-003-rt-tumour", 1),
    "4dlung-113": ("4dlung-113-rt-tumour", 1),
    "qin-0028": ("qin-0028-tumour-votes", 5),
}
"""File of a contoured tumour, and the value from which a voxel belongs to it."""
PLANTED = ("normal-001", "lidc-0003", "lidc-1011", "lidc-0001", "qin-0003", "tcga-a4ma")
BODIES = 4
WINDOW_HU = (-1150.0, 350.0)

Row = dict[str, Any]


def main() -> None:
    """Run the wanted parts."""
    model, data, folder = (Path(word).resolve() for word in sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(overrides={"segment": {"model": str(model), "device": "cpu", "precision": "fp32"}})
    segmenter = load_segmenter(config)
    parts: dict[str, Callable[[], Any]] = {
        "phantoms": lambda: phantoms(segmenter),
        "chests": lambda: chests(segmenter, config, data, folder),
        "annotated": lambda: annotated(segmenter, config, data),
        "planted": lambda: planted(segmenter, config, data, folder),
    }
    for part in sys.argv[4:] or parts:
        (folder / f"{part}.json").write_text(json.dumps(parts[part](), indent=1), "utf-8")


def phantoms(segmenter: Segmenter) -> list[Row]:
    """The gate, as figures."""
    rows = []
    for case in CASES:
        lung, lesion, points = figures(case, segmenter)
        kept = (
            lung >= case.lung and (lesion is None or lesion >= (case.lesion or 0)) and abs(points) <= case.points
        )
        rows.append({"case": case.name, "lung": lung, "lesion": lesion, "points": points, "kept": kept})
        shown = "" if lesion is None else f", lesion {lesion:.3f}"
        say(f"{case.name}: lung {lung:.3f}{shown}, {points:+.2f} points: {'kept' if kept else 'LOST'}")
    return rows


def chests(segmenter: Segmenter, config: Config, data: Path, folder: Path) -> list[Row]:
    """Volumes of whole chests, with their masks and pictures."""
    rows = []
    for name in (*HRCT, *CHESTS):
        scan = read_listed(data / "hrct" / name if name in HRCT else data / "chests" / f"{name}.nii.gz", config)
        done = analyse(scan, segmenter, config)
        row = {"chest": name} | volumes_of(done) | known_of(name, done, data)
        rows.append(row)
        say(
            " ".join(
                f"{key} {value:.2f}" if isinstance(value, float) else f"{value}" for key, value in row.items()
            )
        )
        draw(name, scan, done.tissue, folder)
    return rows


def volumes_of(done: Analysis) -> Row:
    """What the table of docs/validation.md holds."""
    volumes = done.result.measurement.volumes_ml
    return {
        "lung_ml": volumes.lung,
        "lesion_percent": 100 * volumes.lesion / volumes.lung,
        "ground_glass_ml": volumes.ground_glass,
        "solid_ml": volumes.solid,
        **{key: value for key, value in done.result.dropped_ml.items() if value and key.startswith("lesion")},
        "flags": [finding.code for finding in done.result.findings],
    }


def known_of(name: str, done: Analysis, data: Path) -> Row:
    """Against a reader's flags, the lungs at hand and a contoured tumour."""
    labels, row = done.tissue.labels_kji, {}
    flags = data / "hrct" / f"{name}-slices.csv"
    if flags.is_file():
        axial = axial_view(done.scan.grid).of(labels)
        infected = infected_by_slice(flags, len(axial))
        area = np.count_nonzero(axial > Tissue.AERATED, axis=(1, 2)).astype(np.int64)
        row["auc"] = area_under_curve(area[infected], area[~infected])
    lungs = data / "chests" / f"{name}-lungs.nii.gz"
    if lungs.is_file():
        given = (read_volume_on(lungs, done.scan.grid) == 1) & (done.scan.hu_kji < -500)
        row["aerated_recognised_percent"] = 100 * float((labels > 0)[given].mean())
    if name in TUMOURS:
        file, least = TUMOURS[name]
        tumour = read_volume_on(data / "chests" / f"{file}.nii.gz", done.scan.grid) >= least
        row["tumour_as_lesion_percent"] = 100 * float((labels > Tissue.AERATED)[tumour].mean())
    return row


def draw(name: str, scan: CtScan, tissue: TissueMap, folder: Path) -> None:
    """The mask, and the largest bodies of lesion in three planes, each through the voxel deepest inside."""
    import nibabel
    from matplotlib.figure import Figure

    view = axial_view(scan.grid)
    hu, labels = view.of(scan.hu_kji), view.of(tissue.labels_kji)
    image = nibabel.Nifti1Image(tissue.labels_kji.transpose(2, 1, 0), scan.grid.affine_ras)
    nibabel.save(image, folder / f"{name}.nii.gz")
    bodies, count = ndimage.label(labels > Tissue.AERATED)
    sizes = ndimage.sum_labels(np.ones_like(bodies), bodies, range(1, count + 1))
    spacing = view.spacing_mm(scan.grid)
    figure = Figure(figsize=(15, 5 * BODIES), layout="constrained")
    axes = figure.subplots(BODIES, 3, squeeze=False)
    for row, number in zip(axes, np.argsort(-np.asarray(sizes))[:BODIES], strict=False):
        deepest = ndimage.distance_transform_edt(bodies == number + 1).argmax()
        at = np.unravel_index(int(deepest), bodies.shape)
        for axis, (panel, point) in enumerate(zip(row, at, strict=True)):
            section(panel, hu.take(point, axis), labels.take(point, axis), np.delete(spacing, axis))
            if axis:
                panel.invert_yaxis()  # the head is up
            panel.set_title(f"{sizes[number] * scan.grid.voxel_ml:.1f} mL, {'kji'[axis]} = {point}")
    figure.savefig(folder / f"{name}.png", dpi=60)


def section(
    panel: Any, hu: NDArray[np.float32], labels: NDArray[np.uint8], spacing_mm: NDArray[np.float64]
) -> None:
    """One plane: lung outlined, ground glass and solid coloured."""
    aspect = spacing_mm[0] / spacing_mm[1]
    panel.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=aspect)
    for tissue, colour in ((Tissue.GROUND_GLASS, "cyan"), (Tissue.SOLID, "red")):
        if (labels == tissue).any():
            panel.contour(labels == tissue, [0.5], colors=colour, linewidths=0.8)
    if (labels > 0).any():
        panel.contour(labels > 0, [0.5], colors="yellow", linewidths=0.4)
    panel.axis("off")


def annotated(segmenter: Segmenter, config: Config, data: Path) -> Row:
    """The slices labelled in this project."""
    found = report(data, ANNOTATED, segmenter, config, say)
    for row in (*found["scans"], {"name": "all", **found["pooled"]}):
        say(f"{row['name']}: {row['dice']} {row['lesion_true_percent']:.2f} {row['lesion_found_percent']:.2f}")
    return found


def planted(segmenter: Segmenter, config: Config, data: Path, folder: Path) -> Row:
    """Single lesions in six chests; whatever was called lesion before is taken off."""
    lines = ["[planted]", "volumes_ml = [5, 20, 50, 200]", "levels_hu = [-600, 20]", "places = 1", "realistic = 0"]
    for name in PLANTED:
        path = data / ("hrct" if name in HRCT else "chests") / (name if name in HRCT else f"{name}.nii.gz")
        lines += ["[[scan]]", f'path = "{path}"', f'name = "{name}"', "normal = true"]
    listed = folder / "planted.toml"
    listed.write_text("\n".join(lines) + "\n", "utf-8")
    found = evaluate_scans(listed, segmenter, config)
    for row in found["planted"]:
        say(f"{row['name']} {row['volume_ml']:g} mL {row['level_hu']:g} HU: {row['error_percent']:+.1f} %")
    for kind in ("ground_glass", "solid"):
        errors = [abs(row["error_percent"]) for row in found["planted"] if row["kind"] == kind]
        say(f"{kind}: mean {np.mean(errors):.1f} %, worst {max(errors):.1f} %, {len(errors)} lesions")
    return found


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
