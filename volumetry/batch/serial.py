"""The batch in its simplest form: one scan after the other, each with its own folder and its own row."""

import fcntl
import hashlib
import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volumetry import __version__
from volumetry.batch.find import ScanFolder
from volumetry.codes import CATALOGUE
from volumetry.config import Config
from volumetry.deliver import deliver, deliver_failure, write_table
from volumetry.deliver.files import prepare_folder, write_whole
from volumetry.domain import ScanFailure, Segmenter, Status
from volumetry.errors import BusyError, OutputError, VolumetryError
from volumetry.pipeline import analyse_scan, failure_of

Document = Mapping[str, Any]
OnScan = Callable[[ScanFolder, Document, bool], None]


def run_batch(
    scans: list[ScanFolder], out: Path, segmenter: Segmenter, config: Config, on_scan: OnScan = lambda *_: None
) -> list[Document]:
    """Measure every scan; N scans in are N rows out.

    What a former run finished under the same version, settings and weights, from files of the same names, sizes
    and times, is not done again.

    Parameters
    ----------
    scans
        From `find_scans`.
    out
        Results go to ``out/scans/<scan_id>/``; ``out/results.csv`` is rewritten after every scan.
    on_scan
        Called after each scan with its document and whether it was there already.

    Raises
    ------
    BusyError
        If another run holds the folder.
    OutputError
        If results cannot be written: no later scan could keep its row either.
    """
    prepare_folder(out)
    documents: list[Document] = []
    with _held(out):
        for scan in scans:
            folder = out / "scans" / scan.scan_id
            stamp = _stamp(scan, segmenter, config)
            known = _finished(folder, stamp)
            document = known if known is not None else _outcome(scan, folder, segmenter, config)
            if known is None:
                write_whole(folder / "batch.json", json.dumps(stamp, indent=2, sort_keys=True).encode())
            documents.append(document)
            write_table(out / "results.csv", documents)
            on_scan(scan, document, known is not None)
        write_table(out / "results.csv", documents)
    return documents


def _outcome(scan: ScanFolder, folder: Path, segmenter: Segmenter, config: Config) -> Document:
    """One scan's document; our own errors, and any bug, become its row."""
    try:
        analysis = analyse_scan(scan.path, segmenter, config, scan.scan_id)
        return deliver(analysis.result, analysis.tissue, config, folder)
    except OutputError:
        raise
    except VolumetryError as stop:
        return deliver_failure(failure_of(stop, scan.scan_id), config, folder)
    except Exception as bug:  # noqa: BLE001  a bug costs its own scan, never the batch
        code = CATALOGUE["MEMORY_LIMIT" if isinstance(bug, MemoryError) else "INTERNAL_ERROR"]
        text = f"{type(bug).__name__} in {_where(bug)}"
        failure = ScanFailure(scan.scan_id, Status.FAILED, code.name, text, code.hint)
        return deliver_failure(failure, config, folder)


def _where(bug: Exception) -> str:
    """Module and line of the last frame of ours; the exception's own text may hold values of the header."""
    frames = [f for f in traceback.extract_tb(bug.__traceback__) if "volumetry" in Path(f.filename).parts]
    last = frames[-1] if frames else traceback.extract_tb(bug.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno} ({last.name})"


def _stamp(scan: ScanFolder, segmenter: Segmenter, config: Config) -> dict[str, str]:
    """What a result depends on, as far as it can be told without reading the pixels."""
    listing = hashlib.sha256()
    for parent, below, names in os.walk(scan.path):
        below.sort()
        for name in sorted(names, key=os.fsencode):
            path = Path(parent, name)
            status = path.lstat()
            entry = (os.fsencode(path.relative_to(scan.path)).hex(), status.st_size, status.st_mtime_ns)
            listing.update(repr(entry).encode())
    facts = segmenter.facts
    return {
        "software_version": __version__,
        "config_sha256": config.sha256,
        "model": f"{facts.name}-{facts.version}",
        "model_sha256": facts.sha256 or "",
        "precision": facts.precision,
        "listing_sha256": listing.hexdigest(),
    }


def _finished(folder: Path, stamp: dict[str, str]) -> Document | None:
    """The document of a former run, if it is whole and was made from the same."""
    try:
        if json.loads((folder / "batch.json").read_text("utf-8")) != stamp:
            return None
        record = json.loads((folder / "run.json").read_text("utf-8"))
        for name, sha256 in record["files_sha256"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
                return None
        document: Document = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return None if document.get("status") == Status.FAILED else document


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold the folder for this run; the kernel lets go of it however the run ends."""
    descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            raise BusyError("another run holds this output folder") from busy
        yield
    finally:
        os.close(descriptor)
