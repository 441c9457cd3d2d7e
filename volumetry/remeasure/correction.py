"""A reader's correction: the scan measured again on the edited mask, written beside the automatic result."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from volumetry import __version__
from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.deliver import as_document
from volumetry.deliver.files import prepare_folder, write_whole
from volumetry.deliver.nifti import mask_bytes
from volumetry.deliver.report import write_report
from volumetry.deliver.result import as_json
from volumetry.domain import (
    CtScan,
    Provenance,
    ScanRefusedError,
    ScanResult,
    Status,
    Tissue,
    TissueMap,
    most_severe_first,
)
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.measure import by_component_rule, check_identities, measure
from volumetry.pipeline import PACKAGES
from volumetry.quality import lung_findings
from volumetry.remeasure.edited import EditedMaskError, read_edited_mask
from volumetry.scan import read_scan
from volumetry.segment.tidy import with_sides

_AUTOMATIC = (
    "status",
    "volumes_ml",
    "percent_of_lung",
    "sides",
    "zones",
    "components_by_rule",
    "hu_bins_ml",
    "lesion_weight_hu_ml",
    "lesion_mass_g",
    "mean_lung_hu",
    "provenance",
)
"""What of the automatic result stands beside the corrected one."""
_MAX_READER, _MAX_REASON = 120, 2000


def remeasure(
    result_folder: Path, scan_folder: Path, mask_file: Path, reader: str, reason: str, config: Config | None = None
) -> tuple[dict[str, Any], Path]:
    """Measure a scan on a reader's mask and write it to ``RESULT/corrections/<n>/``.

    The edited mask is counted as it is: nothing is tidied, so that the numbers are the reader's. Sides are told
    anew. The automatic result is read and never written.

    Parameters
    ----------
    result_folder
        What `deliver` wrote: result.json, mask.nii.gz, run.json.
    scan_folder
        The scan it was measured from; its digest must be the result's.
    mask_file
        NIfTI or DICOM SEG on the scan's own grid, labels 0 to 4.
    reader, reason
        Who corrected it, and why; both stand in the result.
    config
        Settings; None means those of the automatic result, kept in its run.json.

    Returns
    -------
    document, folder
        The result.json written, and the folder with it, mask.nii.gz, report.html and run.json.

    Raises
    ------
    UsageError
        If the reader or the reason is missing.
    EditedMaskError
        If the mask does not fit the scan.
    InputError
        If the scan or the result is not the one that was corrected.
    ScanRefusedError
        If the corrected lungs cannot be measured.
    OutputError
        If the correction cannot be written; then nothing of it is left.
    """
    started = perf_counter()
    reader, reason = _text(reader, "reader", _MAX_READER), _text(reason, "reason", _MAX_REASON)
    automatic, run = _automatic(result_folder)
    settings = config or _settings_of(run)
    scan = read_scan(scan_folder, settings)
    if scan.input_sha256 != automatic["provenance"]["input_sha256"]:
        raise InputError(
            "the scan folder does not hold the scan that this result was measured from",
            hint="Give the folder whose input_sha256 is the one in result.json.",
        )
    edited = read_edited_mask(mask_file, scan.grid)
    result, delivered = _measured(edited, scan, settings, automatic)
    result = replace(result, timing_s={"total": perf_counter() - started})
    document = as_document(result) | {
        "corrected_by": reader,
        "reason": reason,
        "corrected_from": automatic["provenance"]["mask_sha256"],
        "changed_voxels": _changed(delivered, result_folder),
        "edited_file_sha256": _sha256(mask_file),
        "automatic": {key: automatic[key] for key in _AUTOMATIC if key in automatic},
    }
    return document, _write(document, delivered, scan, settings, result_folder / "corrections")


def _text(text: str, name: str, longest: int) -> str:
    cleaned = " ".join(text.split())
    if not cleaned or len(cleaned) > longest or not cleaned.isprintable():
        raise UsageError(f"the {name} must be said in 1 to {longest} printable characters")
    return cleaned


def _automatic(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The automatic result and its run record; its mask must still be the one that was written."""
    try:
        document = json.loads((folder / "result.json").read_text("utf-8"))
        run = json.loads((folder / "run.json").read_text("utf-8"))
        mask_sha256 = _sha256(folder / "mask.nii.gz")
    except (OSError, ValueError) as wrong:
        raise InputError(
            "the result folder holds no finished, measured result (result.json, mask.nii.gz, run.json)",
            hint="Run `volumetry check` on the scan first.",
        ) from wrong
    if "volumes_ml" not in document or mask_sha256 != run.get("files_sha256", {}).get("mask.nii.gz"):
        raise InputError(
            "mask.nii.gz in the result folder is not the automatic mask any more, or there is no number",
            hint="Keep the edited mask elsewhere and run `volumetry check` again: it makes the mask anew.",
        )
    return document, run


def _settings_of(run: Mapping[str, Any]) -> Config:
    try:
        return Config.model_validate(run["config"])
    except (KeyError, ValidationError) as wrong:
        raise InputError(
            "run.json holds no settings that this version understands", hint="Give the settings by --config."
        ) from wrong


def _measured(
    edited: NDArray[np.uint8], scan: CtScan, settings: Config, automatic: Mapping[str, Any]
) -> tuple[ScanResult, TissueMap]:
    labels = _classed(edited, scan, settings)
    lost_ml = 0.0
    if scan.no_data_kji is not None:
        lost_ml = float(np.count_nonzero(labels[scan.no_data_kji]) * scan.grid.voxel_ml)
        labels[scan.no_data_kji] = Tissue.OUTSIDE
    tissue = with_sides(TissueMap(labels, scan.grid), scan, settings.tidy)
    measurement = measure(tissue, scan, settings.measure)
    delivered = by_component_rule(tissue, scan, settings.measure)
    check_identities(measurement, delivered)
    findings = most_severe_first([*scan.findings, *lung_findings(tissue, scan, measurement, settings)])
    if any(finding.outcome is Outcome.REFUSE for finding in findings):
        raise ScanRefusedError(findings, scan.series)
    made = automatic["provenance"]
    provenance = Provenance(
        software_version=__version__,
        model=f"reader's correction of {made['model']}",
        model_sha256=made.get("model_sha256"),
        config_sha256=settings.sha256,
        input_sha256=scan.input_sha256,
        pixels_sha256=scan.pixels_sha256,
        mask_sha256=hashlib.sha256(delivered.labels_kji.tobytes()).hexdigest(),
        device="reader",
        precision="",
        packages={name: version(name) for name in PACKAGES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    flagged = any(finding.outcome is Outcome.FLAG for finding in findings)
    result = ScanResult(
        scan_id=automatic["scan_id"],
        status=Status.REVIEW if flagged else Status.MEASURED,
        findings=findings,
        measurement=measurement,
        series=scan.series,
        provenance=provenance,
        dropped_ml={"no_data_ml": lost_ml} if lost_ml else {},
        timing_s={},
        peak_memory_mb=0.0,
    )
    return result, delivered


def _classed(edited: NDArray[np.uint8], scan: CtScan, settings: Config) -> NDArray[np.uint8]:
    """Labels 0 to 3. Label 4 comes from the HU rule, which will find it again from the nearer class."""
    labels = edited.copy()
    neither = labels == Tissue.UNCLASSED
    if neither.any() and settings.measure.component_rule != "hu":
        raise EditedMaskError(
            f"{int(neither.sum())} voxels have label 4 (lesion of neither class), which only the HU rule knows"
        )
    low = scan.hu_kji[neither] < settings.measure.hu_cuts[1]
    labels[neither] = np.where(low, Tissue.GROUND_GLASS, Tissue.SOLID).astype(np.uint8)
    return labels


def _changed(delivered: TissueMap, result_folder: Path) -> int:
    """Voxels whose label is not the automatic one."""
    before = read_edited_mask(result_folder / "mask.nii.gz", delivered.grid)
    return int(np.count_nonzero(before != delivered.labels_kji))


def _write(document: dict[str, Any], delivered: TissueMap, scan: CtScan, settings: Config, parent: Path) -> Path:
    """All files into a hidden folder, which then takes its number: a correction is whole or not there."""
    prepare_folder(parent)
    hidden = parent / f".{os.getpid()}.part"
    try:
        hidden.mkdir(mode=0o700)
        files = {"mask.nii.gz": write_whole(hidden / "mask.nii.gz", mask_bytes(delivered))}
        files["result.json"] = write_whole(hidden / "result.json", as_json(document))
        files["report.html"] = _sha256(write_report(document, hidden, settings, delivered, scan))
        record = {
            "scan_id": document["scan_id"],
            "status": document["status"],
            "corrected_by": document["corrected_by"],
            "corrected_from": document["corrected_from"],
            "edited_file_sha256": document["edited_file_sha256"],
            "software_version": __version__,
            "config": settings.model_dump(mode="json"),
            "config_sha256": settings.sha256,
            "files_sha256": files,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_whole(hidden / "run.json", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode("utf-8"))
        return _numbered(hidden, parent)
    except OSError as wrong:
        raise OutputError(f"cannot write the correction: {wrong.strerror}") from wrong
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _numbered(hidden: Path, parent: Path) -> Path:
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    final = parent / str(max(taken, default=0) + 1)
    os.rename(hidden, final)  # fails if another correction took this number meanwhile: it is never overwritten
    return final


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
