"""Does the input still give this number? Every scan is measured again and compared; nothing is written."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from volumetry.batch.find import ScanFolder
from volumetry.config import Config, stored_config
from volumetry.deliver import as_document
from volumetry.domain import Segmenter, TissueMap
from volumetry.errors import ConfigError, InputError, VolumetryError
from volumetry.image.nifti import read_nifti
from volumetry.pipeline import analyse_scan, failure_of

Verdict = Literal["identical", "differs", "input changed", "no input", "no result"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One scan measured again.

    Parameters
    ----------
    scan_id
        Name of the scan in the results.
    verdict
        ``identical``: the same mask, voxel for voxel, and the same volumes (or the same refusal).
    differing_voxels, difference_ml
        Voxels whose tissue is another now, and each volume now minus then, where there are two masks to compare.
    detail
        What changed, in words: program, weights, settings, status.
    """

    scan_id: str
    verdict: Verdict
    differing_voxels: int | None
    difference_ml: dict[str, float]
    detail: str


def replay(
    out: Path, scans: Sequence[ScanFolder], segmenter_of: Callable[[Config], Segmenter]
) -> Iterator[Replayed]:
    """Measure scans of a batch again under the settings in their own run records, one at a time.

    Parameters
    ----------
    out
        The batch's folder.
    scans
        Where the input is now; matched by scan id.
    segmenter_of
        Makes the segmenter from the recorded settings, such as `volumetry.segment.network.load_segmenter`. Called
        once for each settings that occur.

    Yields
    ------
    Replayed
        One for each scan, in their order.
    """
    loaded: dict[tuple[str, str], Segmenter] = {}
    for scan in scans:
        folder = out / "scans" / scan.scan_id
        try:
            run = json.loads((folder / "run.json").read_bytes())
            then = json.loads((folder / "result.json").read_bytes())
        except (OSError, ValueError):
            yield Replayed(
                scan.scan_id, "no result", None, {}, "the batch does not contain a complete result of this scan"
            )
            continue
        if not scan.path.exists():
            yield Replayed(scan.scan_id, "no input", None, {}, "the scan is not there")
            continue
        try:
            config = stored_config(run["config"])
        except (KeyError, ConfigError):
            detail = "the run record does not hold settings that this version understands"
            yield Replayed(scan.scan_id, "no result", None, {}, detail)
            continue
        wanted = (config.sha256, config.segment.device)
        if wanted not in loaded:
            loaded = {wanted: segmenter_of(config)}
        yield _replayed(scan, folder, then, config, loaded[wanted])


def _replayed(
    scan: ScanFolder, folder: Path, then: dict[str, Any], config: Config, segmenter: Segmenter
) -> Replayed:
    try:
        analysis = analyse_scan(scan.path, segmenter, config, scan.scan_id)
    except VolumetryError as stop:
        now = as_document(failure_of(stop, scan.scan_id))
        same = now["status"] == then["status"] and now["code"] == then["code"]
        detail = "" if same else f"was {_words(then)}, is {_words(now)}"
        return Replayed(scan.scan_id, "identical" if same else "differs", None, {}, detail)
    now = as_document(analysis.result)
    if "volumes_ml" not in then:
        return Replayed(scan.scan_id, "differs", None, {}, f"was {_words(then)}, is {_words(now)}")
    voxels = _differing_voxels(folder / "mask.nii.gz", analysis.tissue)
    difference = {
        name: now["volumes_ml"][name] - ml for name, ml in then["volumes_ml"].items() if name in now["volumes_ml"]
    }
    difference = {name: ml for name, ml in difference.items() if ml}
    changed = _changed(then["provenance"], now["provenance"])
    if then["provenance"]["input_sha256"] != now["provenance"]["input_sha256"]:
        return Replayed(scan.scan_id, "input changed", voxels, difference, changed)
    if _words(then) != _words(now):
        changed = "; ".join(filter(None, [f"was {_words(then)}, is {_words(now)}", changed]))
        return Replayed(scan.scan_id, "differs", voxels, difference, changed)
    verdict: Verdict = "identical" if voxels == 0 and not difference else "differs"
    return Replayed(scan.scan_id, verdict, voxels, difference, changed)


def _words(document: dict[str, Any]) -> str:
    return f"{document['status']} {document['code'] or ''}".strip()


def _changed(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Which of program, weights, device and libraries are not those of the record."""
    names = ("software_version", "model", "model_sha256", "device", "precision")
    changed = [f"{name} was {then[name]}, is {now[name]}" for name in names if then[name] != now[name]]
    libraries = then["packages"].items() ^ now["packages"].items()
    changed += [f"other version of {name}" for name in sorted({name for name, _ in libraries})]
    return "; ".join(changed)


def _differing_voxels(mask: Path, tissue: TissueMap) -> int | None:
    """Voxels whose label is not the one in the file; None if the file has another shape or cannot be read."""
    try:
        labels, _ = read_nifti(mask)
    except InputError:
        return None
    return int((labels != tissue.mask_kji).sum()) if labels.shape == tissue.labels_kji.shape else None
