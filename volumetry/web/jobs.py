"""Dropped scans, measured one at a time.

A result stays as long as its folder: that of the server, or the one in which results are kept, whose earlier
results a new server shows again. So does the reason why an upload was refused, as a result.json without numbers.
The CT of the last few stays in memory for the viewer; of the others it is gone.
"""

import json
import queue
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from volumetry.case import Add, measure_case, nothing_more, with_patient
from volumetry.config import Config
from volumetry.deliver import as_document, fill_failure
from volumetry.deliver.report import text
from volumetry.domain import ScanFailure, Segmenter
from volumetry.errors import InputError, OutputError, UsageError, VolumetryError
from volumetry.pipeline import STAGES, failure_of, failure_of_bug
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.salt import patient_salt
from volumetry.storage.unfinished import temporary_folder, unfinished_folder
from volumetry.web.cases import ViewCase, case_of, load_case
from volumetry.web.corrections import Correct, Edit, needs_ct
from volumetry.web.readings import Corrections
from volumetry.web.uploads import Upload, UploadLimits
from volumetry.web.viewer import new_id
from volumetry.wording import HU_RULE_NEEDS_CT

CorrectResult = Callable[[Path, Path | None, Edit], tuple[dict[str, Any], str]]
"""Called with a result's folder, its CT as NIfTI if it is at hand, and an edited mask; gives the correction's
result.json and its name."""

_SCAN_ID = "dropped-scan-{}"
"""The result's name, by its number: those of the dropped files may name a patient and are never sent here."""
_NUMBERED = re.compile(_SCAN_ID.format(r"(\d+)"))

_PATIENCE_S = 2.0
"""A scan at hand when the server ends is given up; deep in a library, its thread may only end with the process."""
_MOST_WAITING = 20
_ABANDONED_S = 900.0
"""An upload of which nothing arrives for so long is removed."""
_LOOK_S = 30.0
_MOST_KEPT_IN_MEMORY = 4
_REPORT, _RESULT = "report.html", "result-"


@dataclass(slots=True)
class Job:
    """One dropped scan: ``uploading``, ``waiting``, ``running``, then ``done`` or ``stopped``.

    One that an earlier server measured has no upload. What is `temporary` goes with the server.
    """

    number: int
    upload: Upload | None
    result: Path
    state: str = "uploading"
    stage: str | None = None
    stop: dict[str, str] | None = None
    document: dict[str, Any] | None = None
    case: ViewCase | None = None
    temporary: bool = False
    whole_hu: bool = True
    """Whether the CT has no fractions of HU, which `case` does not keep."""

    @property
    def corrections(self) -> Corrections:
        """Where readers' corrections of the result lie."""
        return Corrections(self.result, self.result / "corrections", temporary=self.temporary)

    def facts(self) -> dict[str, Any]:
        """What the page shows: the numbers of the current mask."""
        automatic = self.document or {}
        readings = self.corrections.look(automatic) if self.state == "done" else None
        correction = None if readings is None else readings.current
        document: Mapping[str, Any] = automatic if correction is None else correction.document
        shown_from = self.result if correction is None else correction.folder
        series = document.get("series") or {}
        return {
            "number": self.number,
            "slices": series.get("slice_count"),
            "acquired": series.get("acquisition_date"),
            "state": self.state,
            "stages": [] if self._of_earlier_stop else ["unpack", *STAGES, "deliver"],
            "stage": self.stage,
            "stop": self.stop,
            **{key: document.get(key) for key in ("status", "message", "percent_of_lung", "volumes_ml")},
            "sentence": text.sentence(document) if "volumes_ml" in document else None,
            "correction": None if correction is None else correction.facts(),
            "reading_notes": [] if readings is None else list(readings.notes),
            "automatic_sentence": None if correction is None else text.sentence(automatic),
            "flags": [
                {key: flag[key] for key in ("code", "severity", "message", "hint")}
                for flag in document.get("flags", [])
            ],
            "has_report": self.state == "done" and (shown_from / _REPORT).is_file(),
        }

    @property
    def scan_id(self) -> str:
        """Name of the result."""
        return _SCAN_ID.format(self.number)

    @property
    def _of_earlier_stop(self) -> bool:
        """Whether an earlier server stopped it: at which stage is not known."""
        return self.state == "stopped" and self.upload is None

    def clear(self) -> None:
        """Take the upload from the disk."""
        if self.upload is not None:
            self.upload.remove()

    def as_shown(self, config: Config) -> ViewCase | None:
        """What the viewer shows: of a CT that is no longer in memory, the mask alone."""
        if self.case is None and self.state == "done":
            return load_case(self.result, config, corrections=self.corrections)
        return self.case


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
        Results stay here, under random names, and those that are here are shown; without it they go with the
        server. Uploads always go.
    correct
        Measures a mask that was edited on the page.
    """

    segmenter: Segmenter
    config: Config
    limits: UploadLimits
    on_delivered: Add = nothing_more
    keep: Path | None = None
    correct: CorrectResult | None = None
    _table: dict[str, Job] = field(default_factory=dict)
    _queue: "queue.Queue[str | None]" = field(default_factory=queue.Queue)
    _private: Path | None = None
    _salt: bytes | None = None
    _until_closed: ExitStack = field(default_factory=ExitStack)
    _worker: threading.Thread | None = None
    _closing: bool = False
    _making: Path | None = None
    _highest: int = 0
    _naming: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Make the private folder and begin to measure what comes."""
        self._salt = patient_salt()
        self._private = self._until_closed.enter_context(temporary_folder())
        self._find_kept()
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
        self._until_closed.close()

    @property
    def root(self) -> Path:
        """The private folder in which everything of this server lies."""
        if self._private is None:
            raise AssertionError("not started")
        return self._private

    def new(self) -> str:
        """Id of a new, empty job; raises UsageError if too many wait."""
        self._expire()
        if sum(job.state in ("uploading", "waiting", "running") for job in self._table.values()) >= _MOST_WAITING:
            raise UsageError("too many scans are waiting", hint="Wait until one is measured.")
        job_id = new_id()
        result = (self.keep or self.root) / f"{_RESULT}{job_id}"
        upload = Upload(self.root / f"upload-{job_id}", self.limits)
        with self._naming:
            self._highest += 1
            self._table[job_id] = Job(self._highest, upload, result, temporary=self.keep is None)
        return job_id

    def all(self) -> list[tuple[str, Job]]:
        """Every job with its id, in the order of their numbers."""
        return sorted(self._table.items(), key=lambda item: item[1].number)

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._table.get(job_id)

    def case(self, job_id: str) -> ViewCase | None:
        """What the viewer shows of a job that is done."""
        job = self._table.get(job_id)
        return job.as_shown(self.config) if job else None

    def corrector(self, job_id: str) -> Correct | str | None:
        """What measures an edited mask of a job that is done, or why none does."""
        job = self._table.get(job_id)
        if self.correct is None or job is None or job.state != "done":
            return None
        has_ct = job.case is not None and job.whole_hu
        if not has_ct and needs_ct(job.result, job.document or {}):
            return _without_ct(job)
        return partial(self._correct, self.correct, job)

    def _correct(self, correct: CorrectResult, job: Job, edit: Edit) -> tuple[dict[str, Any], str]:
        """With the CT, if it is still in memory: the uploaded files are gone."""
        if job.case is None or job.case.hu_kji is None:
            return correct(job.result, None, edit)
        with unfinished_folder(self.root) as folder:
            ct = folder / "ct.nii"
            write_whole(ct, job.case.ct_nifti(reduced=False))
            try:
                return correct(job.result, ct, edit)
            except InputError:  # the viewer keeps whole HU: a CT with fractions does not give the result's numbers
                return correct(job.result, None, edit)

    def submit(self, job_id: str) -> None:
        """The upload has ended: measure it when its turn comes."""
        self._table[job_id].state = "waiting"
        self._queue.put(job_id)

    def refuse(self, job_id: str, stop: VolumetryError) -> None:
        """End a job before it was measured, unless it is gone or stopped: the first reason counts."""
        job = self._table.get(job_id)
        if job is None or job.state == "stopped":
            return
        job.clear()
        self._stopped(job, failure_of(stop, job.scan_id))

    def remove(self, job_id: str) -> None:
        """Forget a job that is not at work, and what it left; raises UsageError if it is."""
        job = self._table.get(job_id)
        if job is None:
            return
        if job.state in ("waiting", "running"):
            raise UsageError("this scan is being measured", hint="Remove it when it has been measured.")
        job.clear()
        if self.keep is None or job.state == "stopped":
            shutil.rmtree(job.result, ignore_errors=True)
        self._table.pop(job_id, None)

    def _work(self) -> None:
        while True:
            try:
                job_id = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                self._expire()
                continue
            if job_id is None:
                return
            job = self._table.get(job_id)
            if job is not None and job.state == "waiting" and not self._closing:
                self._measure(job)
                self._forget_oldest()

    def _measure(self, job: Job) -> None:
        job.state = "running"
        try:
            self._enter(job, "unpack")
            if job.upload is None:
                raise AssertionError("a job that waits has an upload")
            scan = job.upload.ready()
            prepare_folder(job.result.parent)
            with unfinished_folder(job.result.parent) as self._making:
                self._measure_into(self._making, scan, job)
        except VolumetryError as stop:
            self._stopped(job, failure_of(stop, job.scan_id))
        except Exception as bug:  # noqa: BLE001  a bug costs its own scan, never the server
            self._stopped(job, failure_of_bug(bug, job.scan_id))
        finally:
            job.clear()

    def _stopped(self, job: Job, failure: ScanFailure) -> None:
        """End a job that gives no number, and keep the reason where results are kept."""
        job.document = as_document(failure)
        job.stop = _stop_of(job.document)
        if self.keep is not None and not self._closing:
            with suppress(OutputError, OSError):  # a full disk costs the record of the stop, not the page
                prepare_folder(self.keep)
                with unfinished_folder(self.keep) as making:
                    fill_failure(failure, self.config, making)
                    making.rename(job.result)
        job.state = "stopped"

    def _measure_into(self, making: Path, scan: Path, job: Job) -> None:
        """Write the result under a hidden name; it gets its own when everything is in it."""
        case = measure_case(
            scan,
            making,
            job.scan_id,
            self.segmenter,
            self.config,
            on_stage=lambda stage: self._enter(job, stage),
            noted=lambda analysis: with_patient(analysis, self._salt),
            add=self.on_delivered,
        )
        job.document = case.document
        analysis = case.measured()
        report = making / _REPORT
        shown = case_of(analysis, report.read_bytes() if report.is_file() else None, job.corrections)
        job.whole_hu = shown.hu_kji is not None and np.array_equal(shown.hu_kji, analysis.scan.hu_kji)
        with self._naming:
            self._enter(job, "deliver")
            making.rename(job.result)
        job.case, job.state = shown, "done"

    def _enter(self, job: Job, stage: str) -> None:
        if self._closing:
            raise UsageError("the server was stopped", hint="Start it again, and drop the scan again.")
        job.stage = stage

    def _forget_oldest(self) -> None:
        """A CT is hundreds of MB: only the last few stay in memory; their results stay where they are."""
        in_memory = [job for job in list(self._table.values()) if job.case is not None]
        for job in in_memory[:-_MOST_KEPT_IN_MEMORY]:
            job.case = None

    def _expire(self) -> None:
        """End uploads that their page has left."""
        for job_id, job in list(self._table.items()):
            if job.state == "uploading" and job.upload is not None and job.upload.silent_s > _ABANDONED_S:
                message = f"nothing of this upload arrived for {_ABANDONED_S / 60:g} minutes, and it was removed"
                self.refuse(job_id, InputError(message, "LIMIT_EXCEEDED", "Drop the scan again."))

    def _find_kept(self) -> None:
        """What an earlier server left where results are kept; what is none of it is passed over."""
        for folder in sorted(self.keep.glob(f"{_RESULT}*")) if self.keep is not None else ():
            try:
                document = json.loads((folder / "result.json").read_text("utf-8"))
                said = _NUMBERED.fullmatch(document["scan_id"])
                stop = None if "volumes_ml" in document else _stop_of(document)
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if said is not None:
                state = "done" if stop is None else "stopped"
                job_id = folder.name.removeprefix(_RESULT)
                self._table[job_id] = Job(int(said[1]), None, folder, state, stop=stop, document=document)
        self._highest = max((job.number for job in self._table.values()), default=0)


def _without_ct(job: Job) -> str:
    """Why a mask that needs the CT cannot be corrected, and where it can."""
    if job.case is None:
        why, then = "this page no longer has it", "drop the scan again"
    else:
        why, then = (
            "this page keeps it in whole HU only",
            "start `volumetry serve --keep FOLDER` and drop it again",
        )
    if not job.temporary:
        then = "open the kept result with `volumetry view RESULT --scan FOLDER`"
    return f"{HU_RULE_NEEDS_CT}, and {why}. To correct the mask, {then}."


def _stop_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Why there is no number; KeyError if the document does not say it."""
    return {key: str(document[key]) for key in ("code", "message", "hint")}
