"""Dropped scans, measured one at a time."""

import queue
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volumetry.case import Add, measure_case, nothing_more
from volumetry.config import Config
from volumetry.deliver import as_document
from volumetry.domain import Segmenter
from volumetry.errors import UsageError, VolumetryError
from volumetry.pipeline import STAGES, failure_of, failure_of_bug
from volumetry.storage.atomic import prepare_folder
from volumetry.storage.unfinished import unfinished_folder
from volumetry.web.cases import ViewCase, case_of
from volumetry.web.uploads import Upload, UploadLimits
from volumetry.web.viewer import new_id

SCAN_ID = "dropped-scan"
"""The result's name: those of the dropped files may name a patient and are never sent here."""

_PATIENCE_S = 2.0
"""A scan at hand when the server ends is given up; deep in a library, its thread may only end with the process."""
_MOST_WAITING = 20
_MOST_KEPT_IN_MEMORY = 4


@dataclass(slots=True)
class Job:
    """One dropped scan: ``uploading``, ``waiting``, ``running``, then ``done`` or ``stopped``."""

    upload: Upload
    result: Path
    state: str = "uploading"
    stage: str | None = None
    stop: dict[str, str] | None = None
    document: dict[str, Any] | None = None
    case: ViewCase | None = None

    def facts(self) -> dict[str, Any]:
        """What the page shows."""
        document = self.document or {}
        return {
            "state": self.state,
            "stages": ["unpack", *STAGES, "deliver"],
            "stage": self.stage,
            "stop": self.stop,
            **{key: document.get(key) for key in ("status", "message", "percent_of_lung", "volumes_ml")},
            "flags": [
                {key: flag[key] for key in ("code", "severity", "message", "hint")}
                for flag in document.get("flags", [])
            ],
            "has_report": self.case is not None and self.case.report is not None,
        }


@dataclass(slots=True)
class Jobs:
    """All scans of one server; a thread measures one after the other.

    Parameters
    ----------
    segmenter, config
        As for `volumetry.pipeline.analyse_scan`.
    limits
        Of one upload.
    on_delivered
        Writes more into a result's folder: report, SEG, SR.
    keep
        Results stay here, under random names; without it they go with the server. Uploads always go.
    """

    segmenter: Segmenter
    config: Config
    limits: UploadLimits
    on_delivered: Add = nothing_more
    keep: Path | None = None
    _table: dict[str, Job] = field(default_factory=dict)
    _queue: "queue.Queue[str | None]" = field(default_factory=queue.Queue)
    _private: Path | None = None
    _worker: threading.Thread | None = None
    _closing: bool = False
    _making: Path | None = None
    _naming: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Make the private folder and begin to measure what comes."""
        self._private = Path(tempfile.mkdtemp(prefix="volumetry-"))
        self._worker = threading.Thread(target=self._work, name="volumetry-jobs", daemon=True)
        self._worker.start()

    @property
    def at_work(self) -> bool:
        """Whether a scan is still being measured, also after `close`."""
        return self._worker is not None and self._worker.is_alive()

    def close(self) -> None:
        """Stop measuring; nothing of a patient stays on the disk but results that were asked for and are whole."""
        self._closing = True
        self._queue.put(None)
        if self._worker is not None:
            self._worker.join(_PATIENCE_S)
        with self._naming:  # no result gets its name any more
            if self._making is not None:
                shutil.rmtree(self._making, ignore_errors=True)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    @property
    def root(self) -> Path:
        """The private folder in which everything of this server lies."""
        if self._private is None:
            raise AssertionError("not started")
        return self._private

    def new(self) -> str:
        """Id of a new, empty job; raises UsageError if too many wait."""
        if sum(job.state in ("uploading", "waiting", "running") for job in self._table.values()) >= _MOST_WAITING:
            raise UsageError("too many scans are waiting", hint="Wait until one is measured.")
        job_id = new_id()
        result = (self.keep or self.root) / f"result-{job_id}"
        self._table[job_id] = Job(Upload(self.root / f"upload-{job_id}", self.limits), result)
        return job_id

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._table.get(job_id)

    def case(self, job_id: str) -> ViewCase | None:
        """What the viewer shows of a job that is done."""
        job = self._table.get(job_id)
        return job.case if job else None

    def submit(self, job_id: str) -> None:
        """The upload has ended: measure it when its turn comes."""
        self._table[job_id].state = "waiting"
        self._queue.put(job_id)

    def refuse(self, job_id: str, stop: VolumetryError) -> None:
        """End a job before it was measured; one that is gone already is left alone."""
        job = self._table.get(job_id)
        if job is None:
            return
        job.upload.remove()
        job.stop, job.state = _as_stop(stop), "stopped"

    def remove(self, job_id: str) -> None:
        """Forget a job that is not at work, and what it left; raises UsageError if it is."""
        job = self._table.get(job_id)
        if job is None:
            return
        if job.state in ("waiting", "running"):
            raise UsageError("this scan is being measured")
        job.upload.remove()
        if self.keep is None:
            shutil.rmtree(job.result, ignore_errors=True)
        self._table.pop(job_id, None)

    def _work(self) -> None:
        while (job_id := self._queue.get()) is not None:
            job = self._table.get(job_id)
            if job is not None and job.state == "waiting" and not self._closing:
                self._measure(job)
                self._forget_oldest()

    def _measure(self, job: Job) -> None:
        job.state = "running"
        try:
            self._enter(job, "unpack")
            scan = job.upload.ready()
            prepare_folder(job.result.parent)
            with unfinished_folder(job.result.parent) as self._making:
                self._measure_into(self._making, scan, job)
        except VolumetryError as stop:
            job.document = job.document or as_document(failure_of(stop, SCAN_ID))
            job.stop, job.state = _as_stop(stop), "stopped"
        except Exception as bug:  # noqa: BLE001  a bug costs its own scan, never the server
            failure = failure_of_bug(bug, SCAN_ID)
            job.document = as_document(failure)
            job.stop = {"code": failure.code, "message": failure.message, "hint": failure.hint}
            job.state = "stopped"
        finally:
            job.upload.remove()

    def _measure_into(self, making: Path, scan: Path, job: Job) -> None:
        """Write the result under a hidden name; it gets its own when everything is in it."""
        case = measure_case(
            scan,
            making,
            SCAN_ID,
            self.segmenter,
            self.config,
            on_stage=lambda stage: self._enter(job, stage),
            add=self.on_delivered,
        )
        job.document = case.document
        analysis = case.measured()
        report = making / "report.html"
        shown = case_of(analysis, report.read_bytes() if report.is_file() else None)
        with self._naming:
            self._enter(job, "deliver")
            making.rename(job.result)
        job.case, job.state = shown, "done"

    def _enter(self, job: Job, stage: str) -> None:
        if self._closing:
            raise UsageError("the server was stopped")
        job.stage = stage

    def _forget_oldest(self) -> None:
        """A CT is hundreds of MB: only the last few stay in memory."""
        done = [job_id for job_id, job in self._table.items() if job.case is not None]
        for job_id in done[:-_MOST_KEPT_IN_MEMORY]:
            self.remove(job_id)


def _as_stop(stop: VolumetryError) -> dict[str, str]:
    return {"code": stop.code, "message": stop.message, "hint": stop.hint}
