"""One scan's work: measured in a folder of its own, which then appears under its final name in one step.

The same function runs in this process and in a worker of a cluster. A process that dies leaves nothing under a
final name; what it left elsewhere is swept away when the next run begins.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.batch.find import ScanFolder
from volumetry.batch.records import Stamp, TornError, content_of, listing_of, read_record, write_record
from volumetry.batch.succession import alone, take_place
from volumetry.case import failed_case, measure_case, with_patient
from volumetry.codes import CATALOGUE
from volumetry.config import Config
from volumetry.deliver.report.key_slices import key_slice_png
from volumetry.domain import ScanFailure, Segmenter, Status
from volumetry.errors import ConfigError, ModelError, OutputError, UsageError
from volumetry.pipeline import Analysis, failure_of
from volumetry.quality.trachea_noise import control_figures
from volumetry.storage.atomic import sync_folder, write_whole
from volumetry.storage.salt import patient_salt

KEY_SLICE = "key_slice.png"

Brief = dict[str, Any]
"""``scan_id``, ``status``, ``code``, ``record_sha256``, ``input_sha256`` (of the pixels measured) and
``content_sha256`` (of their files): what the batch needs of a scan."""


@dataclass(frozen=True, slots=True)
class Order:
    """One scan to measure.

    Parameters
    ----------
    scan
        Where its files are and what it is called.
    stamp
        What the result will depend on; kept in its record.
    workshop
        Folder for unfinished work, of this run alone.
    final
        The scan's folder once it is whole.
    again
        An older result may lie there: it stays until the new one takes its place.
    older_sha256
        Digest of that one's record, if it has one that can be read.
    """

    scan: ScanFolder
    stamp: Stamp
    workshop: Path
    final: Path
    again: bool = False
    older_sha256: str | None = None

    @property
    def earlier(self) -> Path:
        """Where what is replaced goes."""
        return self.final.parent.parent / "earlier" / self.scan.scan_id

    @property
    def stop_note(self) -> Path:
        """Where a worker that ends itself leaves the code that it did so for."""
        return self.workshop / f"{self.scan.scan_id}.stop"


def carry_out(order: Order, segmenter: Segmenter, config: Config) -> Brief:
    """Measure one scan; a known error, and any bug, become its row.

    Parameters
    ----------
    order
        The scan, and where its result goes.
    segmenter
        Labels the tissue.
    config
        Every setting that decides a number, and limits.

    Returns
    -------
    Brief
        Of the scan's record.

    Raises
    ------
    OutputError
        If the result cannot be written: no later scan could keep its row either.
    """
    done = _done_already(order)
    if done is not None:
        return done
    content: str | None = None
    figures: Mapping[str, float] = {}

    def add(_document: dict[str, Any], analysis: Analysis, folder: Path) -> None:
        nonlocal content, figures
        content = _content_measured(order)
        figures = control_figures(analysis.scan, analysis.tissue)
        if not any(finding.code == "BURNED_IN" for finding in analysis.result.findings):
            write_whole(folder / KEY_SLICE, key_slice_png(analysis.scan, analysis.tissue))

    def noted(analysis: Analysis) -> Analysis:
        return with_patient(analysis, patient_salt())

    scan_id = order.scan.scan_id
    with _bench(order) as folder:
        try:
            case = measure_case(order.scan.path, folder, scan_id, segmenter, config, noted=noted, add=add)
        except (
            ConfigError,
            ModelError,
            UsageError,
        ) as stop:  # this worker's: the row says so
            case = failed_case(failure_of(stop, scan_id), folder, config)
        return _seal(order, folder, case.document, {} if case.stop else figures, content)


def give_up(order: Order, code: str, message: str, config: Config) -> Brief:
    """Write the row of a scan that no worker could finish.

    Parameters
    ----------
    order
        The scan, and where its result goes.
    code
        Of the catalogue.
    message
        What happened.
    config
        Recorded in run.json.

    Returns
    -------
    Brief
        Of the scan's record.
    """
    failure = ScanFailure(order.scan.scan_id, Status.FAILED, code, message, CATALOGUE[code].hint)
    with _bench(order) as folder:
        return _seal(order, folder, failed_case(failure, folder, config).document, {}, None)


def brief_of(record: Mapping[str, Any]) -> Brief:
    """The summary of a finished scan, from its record.

    Parameters
    ----------
    record
        Content of its record.

    Returns
    -------
    Brief
        What the batch needs of a scan.
    """
    facts = {key: record[key] for key in ("scan_id", "status", "code", "input_sha256")}
    return {**facts, "content_sha256": record.get("content_sha256"), "record_sha256": record["sha256"]}


def _done_already(order: Order) -> Brief | None:
    """A cluster may run a finished scan again when the worker that finished it dies before it was heard."""
    with contextlib.suppress(FileNotFoundError, TornError):
        record = read_record(order.final)
        return None if record["sha256"] == order.older_sha256 else brief_of(record)
    return None


@contextlib.contextmanager
def _bench(order: Order) -> Iterator[Path]:
    """A folder for one try; two workers that were given the same scan do not meet in it."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{order.scan.scan_id}.", dir=order.workshop))  # noqa: TID251  the batch clears it
    except OSError as wrong:
        raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from wrong
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _content_measured(order: Order) -> str | None:
    """Digest of the files that were measured; none if they are no longer those that were ordered."""
    content = content_of(order.scan)
    return content if listing_of(order.scan) == order.stamp["listing_sha256"] else None


def _seal(
    order: Order, folder: Path, document: Mapping[str, Any], figures: Mapping[str, float], content: str | None
) -> Brief:
    """Write the record and let the folder appear under its final name."""
    record = write_record(folder, document, order.stamp, figures, content)
    try:
        if order.again:
            with alone(order.earlier):
                done = _done_already(order)
                if done is not None:
                    return done
                take_place(folder, record, order.final, order.earlier)
            sync_folder(order.earlier)
        else:
            os.rename(folder, order.final)
    except OSError as wrong:
        done = _done_already(order)
        if done is not None:
            return done
        raise OutputError(f"cannot move the result of a scan into place: {wrong.strerror}") from wrong
    sync_folder(order.final.parent)
    return brief_of(record)
