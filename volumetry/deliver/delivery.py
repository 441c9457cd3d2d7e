"""One scan's folder: mask, result, row and run record, in the order that makes the record the last to appear."""

import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from volumetry import __version__
from volumetry.config import Config
from volumetry.deliver.result import as_document, as_json
from volumetry.deliver.row import table_bytes
from volumetry.domain import ScanFailure, ScanResult, TissueMap
from volumetry.image.nifti import mask_bytes
from volumetry.storage.atomic import write_json, write_whole

RECEIVED = "received.json"
"""Of a study that came over the network: which images it had."""

NAMES = (
    "mask.nii.gz",
    "result.json",
    "results.csv",
    "run.json",
    "report.html",
    "report.pdf",
    "seg.dcm",
    "sr.dcm",
    "report-pdf.dcm",
    "report-image.dcm",
    RECEIVED,
    "corrections",
)
"""What belongs to one result: a later run into the folder moves all of it aside together.

Of the corrections, only those of other images than the later run's: `volumetry.deliver.corrections`.
"""


def fill(result: ScanResult, tissue: TissueMap, config: Config, making: Path) -> dict[str, Any]:
    """Write a measured scan's files into the hidden folder of a `new_result`; the caller may add more to it.

    Parameters
    ----------
    result
        The numbers.
    tissue
        The delivered map, written as mask.nii.gz.
    config
        Recorded in run.json.
    making
        The hidden folder.

    Returns
    -------
    dict[str, Any]
        Content of result.json.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    started = perf_counter()
    files = {"mask.nii.gz": write_whole(making / "mask.nii.gz", mask_bytes(tissue), named_later=True)}
    deliver_s = perf_counter() - started
    timing = {**result.timing_s, "deliver": deliver_s}
    timing["total"] = sum(s for name, s in timing.items() if name != "total")
    document = as_document(replace(result, timing_s=timing))
    return _finish(document, files, config, making)


def fill_failure(failure: ScanFailure, config: Config, making: Path) -> dict[str, Any]:
    """Write the files of a scan that gives no number into the hidden folder of a `new_result`.

    Parameters
    ----------
    failure
        The row of the scan.
    config
        Recorded in run.json.
    making
        The hidden folder.

    Returns
    -------
    dict[str, Any]
        Content of result.json.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    return _finish(as_document(failure), {}, config, making)


def _finish(document: dict[str, Any], files: dict[str, str], config: Config, folder: Path) -> dict[str, Any]:
    table = table_bytes([document], config.measure.hu_cuts)
    files["result.json"] = write_whole(folder / "result.json", as_json(document), named_later=True)
    files["results.csv"] = write_whole(folder / "results.csv", table, named_later=True)
    record = {
        "scan_id": document["scan_id"],
        "status": document["status"],
        "software_version": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "config": config.stored(),
        "config_sha256": config.sha256,
        "files_sha256": files,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / "run.json", record)
    return document
