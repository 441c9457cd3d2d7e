"""Two delivered results and their scans -> the change map's files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from volumetry import __version__
from volumetry.changemap.change_map import CODES, NAMES, Change, ChangeMap, change_map
from volumetry.changemap.picture import picture_bytes
from volumetry.config import Config
from volumetry.deliver import new_result, settle
from volumetry.domain import CtScan, Grid, TissueMap
from volumetry.errors import InputError
from volumetry.image.nifti import labels_bytes, read_nifti
from volumetry.scan import read_scan
from volumetry.storage.atomic import prepare_folder, write_json, write_whole
from volumetry.storage.csv_tables import csv_line

FILES = ("change_map.nii.gz", "transitions.csv", "change_map.png", "change_map.json")
SCHEMA = 1

_AFFINE_TOLERANCE_MM = 1e-3
_HINT = "Measure this scan again with `volumetry check` and use the new result."


def write_change_map(
    baseline_scan: Path, baseline_result: Path, visit_scan: Path, visit_result: Path, out: Path, config: Config
) -> dict[str, Any]:
    """Lay a visit over its baseline and write what became of the lung.

    Parameters
    ----------
    baseline_scan, visit_scan
        Folders of DICOM files.
    baseline_result, visit_result
        Folders that `volumetry check` or `batch` made of them: ``result.json`` and ``mask.nii.gz``.
    out
        Gets ``transitions.csv`` (mL by pair of tissues), ``change_map.nii.gz`` (codes of `Change` on the
        baseline's own grid), ``change_map.png`` and ``change_map.json``, the last to appear. What an earlier
        run left there is kept under ``earlier/``.
    config
        Settings; ``[change_map]`` decides the registration and its limits.

    Returns
    -------
    dict
        What ``change_map.json`` says.

    Raises
    ------
    InputError
        ``REGISTRATION_POOR`` if the scans cannot be brought together, ``NO_MASK`` or ``RESULT_MISMATCH`` if a
        result is not that of its scan; then nothing is written.
    OutputError
        If the folder cannot be written.
    """
    prepare_folder(out)
    baseline, baseline_facts = _read(baseline_scan, baseline_result, config, "baseline")
    visit, visit_facts = _read(visit_scan, visit_result, config, "visit")
    result = change_map(baseline, visit, config.change_map)
    document = {
        "schema": SCHEMA,
        "exploratory": True,
        "baseline": baseline_facts,
        "visit": visit_facts,
        **as_document(result),
        "software_version": __version__,
        "config_sha256": config.sha256,
    }
    content = {
        "change_map.nii.gz": labels_bytes(result.changes_kji, result.grid),
        "transitions.csv": table_bytes(result),
        "change_map.png": picture_bytes(baseline[0], result),
    }
    with new_result(out, FILES) as making:
        document["files_sha256"] = {name: write_whole(making / name, data) for name, data in content.items()}
        write_json(making / "change_map.json", document)
        return document


def as_document(result: ChangeMap) -> dict[str, Any]:
    """Table, sums, margins, quality and legend as plain values; mL unless the key says otherwise."""
    q = result.quality
    return {
        "transitions_ml": [
            {"baseline": NAMES[a], "visit": NAMES[b], "baseline_ml": ml, "visit_ml": result.visit_ml[a, b]}
            for (a, b), ml in result.baseline_ml.items()
        ],
        "summary_baseline_ml": result.summary_ml(),
        "summary_visit_ml": result.summary_ml(visit=True),
        "margins_ml": {
            which: {
                NAMES[tissue]: {
                    "own": m.own_ml,
                    "mapped": m.mapped_ml,
                    "no_lung_in_the_other": m.outside_ml,
                    "remainder": m.remainder_ml,
                }
                for tissue, m in margins.items()
            }
            for which, margins in (("baseline", result.baseline_margins), ("visit", result.visit_margins))
        },
        "lung_volume_ratio": {"own_masks": result.lung_ratio, "jacobian": result.mapped_ratio},
        "quality": {
            "lung_dice_after_affine": q.lung_dice_before,
            "lung_dice": q.lung_dice,
            "surface_distance_mm": q.surface_mm,
            "implausible_jacobian_share": q.implausible_share,
            "jacobian_percentiles": {"p1": q.jacobian_p1, "p50": q.jacobian_median, "p99": q.jacobian_p99},
            "structure_correlation": q.structure_correlation,
        },
        "legend": {str(code.value): code.name.lower() for code in Change},
    }


def table_bytes(result: ChangeMap) -> bytes:
    """``transitions.csv``: one row per pair of tissues, then what neither cell holds, in mL of either scan."""
    lines = [csv_line(("baseline", "visit", "change", "baseline_ml", "visit_ml"))]
    for (a, b), ml in result.baseline_ml.items():
        lines.append(csv_line((NAMES[a], NAMES[b], CODES[a, b].name.lower(), ml, result.visit_ml[a, b])))
    for tissue, margin in result.visit_margins.items():
        lines.append(csv_line(("unknown", NAMES[tissue], "remainder", "", margin.remainder_ml)))
    return b"".join(lines)


def _read(
    scan_folder: Path, result_folder: Path, config: Config, which: str
) -> tuple[tuple[CtScan, TissueMap], dict[str, Any]]:
    """A scan with the map that was delivered for it; what does not belong together is refused."""
    facts = _facts(result_folder, which)
    scan = read_scan(scan_folder, config)
    labels = _labels(result_folder, scan.grid, which)
    digests = (
        ("pixels_sha256", scan.pixels_sha256),
        ("mask_sha256", hashlib.sha256(labels.tobytes()).hexdigest()),
    )
    for name, now in digests:
        if facts[name] is not None and facts[name] != now:
            message = f"the {which}'s result was not made from this scan and mask: {name} differs"
            raise InputError(message, "RESULT_MISMATCH", _HINT)
    return (scan, TissueMap.of_mask(labels, scan.grid, looked=False)), facts


def _facts(folder: Path, which: str) -> dict[str, Any]:
    try:
        settle(folder)
        document = json.loads((folder / "result.json").read_text("utf-8"))
        provenance = document.get("provenance", {})
        return {
            "scan_id": document["scan_id"],
            "status": document["status"],
            **{name: provenance.get(name) for name in ("pixels_sha256", "mask_sha256", "model", "model_sha256")},
        }
    except (OSError, ValueError, KeyError, AttributeError) as wrong:
        raise InputError(
            f"the {which}'s result.json cannot be read ({type(wrong).__name__})", "NO_MASK", _HINT
        ) from wrong


def _labels(folder: Path, grid: Grid, which: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        labels, affine_ras = read_nifti(folder / "mask.nii.gz")
    except InputError as wrong:
        hint = "Refused and failed scans have no mask. " + _HINT
        raise InputError(f"the {which}'s {wrong.message}", "NO_MASK", hint) from wrong
    apart_mm = np.abs(affine_ras - grid.affine_ras).max()
    if labels.shape != grid.shape_kji or labels.dtype != np.uint8 or not apart_mm < _AFFINE_TOLERANCE_MM:
        raise InputError(f"the {which}'s mask does not lie on the grid of its scan", "RESULT_MISMATCH", _HINT)
    return np.ascontiguousarray(labels)
