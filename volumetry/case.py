"""One scan's case: measured and delivered into a folder, whether it gives a number or a reason why not.

`check`, `batch`, `receive` and `serve` all come through here; they differ in how the folder gets its name.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from volumetry.config import Config
from volumetry.deliver import fill, fill_failure
from volumetry.deliver.corrections import Say, new_scan_result
from volumetry.deliver.report import Annex, write_report
from volumetry.deliver.report.annex import NOTHING
from volumetry.deliver.report.beside import Beside
from volumetry.domain import CtScan, ScanFailure, ScanResult, Segmenter, TissueMap
from volumetry.errors import ConfigError, ModelError, OutputError, ScanFailedError, UsageError, VolumetryError
from volumetry.pipeline import Analysis, OnStage, analyse_scan, failure_of, failure_of_bug, unheard
from volumetry.storage.salt import patient_digest

if TYPE_CHECKING:
    from volumetry.deliver.dicom import Export

_LOG = logging.getLogger(__name__)

Noted = Callable[[Analysis], Analysis]
"""Called with a measured scan before anything of it is written, to state more in its result."""


class PriorVisits(Protocol):
    """Earlier results that a scan is compared with, and why they were not."""

    stop: VolumetryError | None

    def noted(self, result: ScanResult, /) -> ScanResult:
        """The result with the comparison."""

    def pictures(self, document: Mapping[str, Any], tissue: TissueMap, scan: CtScan, /) -> Sequence[Beside]:
        """Slices of an earlier visit and of this one."""


def as_measured(analysis: Analysis) -> Analysis:
    """The result as it was measured."""
    return analysis


def with_patient(analysis: Analysis, salt: bytes | None) -> Analysis:
    """A measured scan whose result states a digest of its patient, so that later results can name it as a prior.

    Parameters
    ----------
    analysis
        As it was measured.
    salt
        From `volumetry.storage.salt.patient_salt`.

    Returns
    -------
    Analysis
        The same where there is no secret, or the header does not say whose the scan is.
    """
    if salt is None or analysis.scan.patient is None:
        return analysis
    digest = patient_digest(salt, analysis.scan.patient, analysis.scan.patient_issuer)
    stated = replace(analysis.result.provenance, patient_digest=digest)
    return replace(analysis, result=replace(analysis.result, provenance=stated))


Add = Callable[[dict[str, Any], Analysis, Path], object]
"""Called with result.json's document, the analysis and the unfinished folder, to write more into it."""


def nothing_more(_document: dict[str, Any], _analysis: Analysis, _making: Path) -> None:
    """The result's own files are all."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What became of one scan.

    Parameters
    ----------
    document
        Content of result.json.
    analysis
        The numbers and the map; None where the scan gives no number.
    stop
        Why there is no number; None where the scan was measured.
    """

    document: dict[str, Any]
    analysis: Analysis | None = None
    stop: VolumetryError | None = None

    def measured(self) -> Analysis:
        """The analysis of a measured scan; otherwise `stop` is raised.

        Returns
        -------
        Analysis
            Numbers, mask, scan and settings.
        """
        if self.analysis is None:
            raise self.stop or AssertionError("a case is either measured or stopped")
        return self.analysis


def measure_case(  # noqa: PLR0913  the options of a case are its parameters
    scan: Path,
    making: Path,
    scan_id: str,
    segmenter: Segmenter,
    config: Config,
    *,
    on_stage: OnStage = unheard,
    export: "Export | None" = None,
    noted: Noted = as_measured,
    add: Add = nothing_more,
) -> Case:
    """Measure one scan into an unfinished folder: mask, result, row and run record.

    Parameters
    ----------
    scan
        What `analyse_scan` takes.
    making
        A folder that has not been given its name yet; empty.
    scan_id, segmenter, config, on_stage
        As for `analyse_scan`.
    export
        With it the result states what its DICOM objects will say differently from the source.
    noted
        States more in the result of a measured scan, such as a comparison with an earlier one.
    add
        Writes more into the folder of a measured scan, such as a report.

    Returns
    -------
    Case
        Measured, or stopped: a scan that gives no number leaves the same files but for the mask, whether the scan
        was refused or the failure is ours.

    Raises
    ------
    ConfigError, ModelError, UsageError
        What is wrong with the installation or the command is not a result of the scan and leaves none.
    OutputError
        If the files cannot be written; its cause is the scan's own failure, if there was one.
    """
    try:
        analysis = analyse_scan(scan, segmenter, config, scan_id, on_stage)
        if export is not None:
            analysis = replace(analysis, result=export.noted(analysis.result))
        analysis = noted(analysis)
        on_stage("deliver")
        document = fill(analysis.result, analysis.tissue, config, making)
        add(document, analysis, making)
        return Case(document, analysis)
    except (ConfigError, ModelError, OutputError, UsageError):
        raise
    except VolumetryError as known:
        return failed_case(failure_of(known, scan_id), making, config, known)
    except Exception as bug:  # noqa: BLE001  a bug costs its own scan; `stop` carries it on
        failure = failure_of_bug(bug, scan_id)
        stop = ScanFailedError(failure.message, failure.code, failure.hint)
        stop.__cause__ = bug
        return failed_case(failure, making, config, stop)


def failed_case(failure: ScanFailure, making: Path, config: Config, stop: VolumetryError | None = None) -> Case:
    """Write the files of a scan that gives no number; whatever was begun in the folder is removed first.

    Parameters
    ----------
    failure
        The row of the scan.
    making
        As for `measure_case`.
    config
        Recorded in run.json.
    stop
        The error that the case carries; by default a ScanFailedError made from `failure`.

    Returns
    -------
    Case
        Stopped.

    Raises
    ------
    OutputError
        If they cannot be written; from `stop`.
    """
    stop = stop or ScanFailedError(failure.message, failure.code, failure.hint)
    try:
        for left in making.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return Case(fill_failure(failure, config, making), stop=stop)
    except OSError as wrong:
        raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from stop
    except OutputError as unwritten:
        raise unwritten from stop


def measured_folder(  # noqa: PLR0913  the options of a case are its parameters
    scan: Path,
    out: Path,
    scan_id: str,
    segmenter: Segmenter,
    config: Config,
    on_stage: OnStage = unheard,
    export: "Export | None" = None,
    salt: bytes | None = None,
    priors: PriorVisits | None = None,
    say: Say = _LOG.warning,
    add: Add = nothing_more,
) -> tuple[Analysis, dict[str, Any]]:
    """Measure one scan into a folder, with a report; what an earlier run left there is kept.

    Parameters
    ----------
    scan, scan_id, segmenter, config, on_stage, export
        As for `measure_case`.
    out
        The result's folder; made if missing.
    salt
        From `volumetry.storage.salt.patient_salt`: the result then states a digest of its patient.
    priors
        Earlier results of the same person.
    say
        Told what became of readers' corrections in the folder, also where the scan gives no number.
    add
        As for `measure_case`; called after the report was written.

    Returns
    -------
    analysis, document
        The numbers with their mask, and the content of result.json.

    Raises
    ------
    ScanFailedError
        If reading ran out of time or memory, or the program failed; also if the result could not be written then.
    VolumetryError
        As `measure_case`, and the reason why the scan gives no number, after its result was written.
    """

    def noted(analysis: Analysis) -> Analysis:
        stated = with_patient(analysis, salt)
        return stated if priors is None else replace(stated, result=priors.noted(stated.result))

    def report(document: dict[str, Any], analysis: Analysis, making: Path) -> None:
        annex = annex_of(scan, document, analysis, priors)
        write_report(document, making, config, analysis.tissue, analysis.scan, annex)
        add(document, analysis, making)

    case: Case | None = None
    try:
        with new_scan_result(out, say) as making:
            case = measure_case(
                scan, making, scan_id, segmenter, config, on_stage=on_stage, export=export, noted=noted, add=report
            )
            if case.analysis is None:
                write_report(case.document, making, config)
    except OutputError as unwritten:
        stop = unwritten.__cause__ if case is None else case.stop
        if isinstance(stop, ScanFailedError):  # what happened first is said, too
            message = f"{stop.message}; and no result could be left: {unwritten.message}"
            raise ScanFailedError(message, stop.code, stop.hint) from stop
        raise
    return case.measured(), case.document


def annex_of(
    scan: Path, document: Mapping[str, Any], analysis: Analysis, priors: PriorVisits | None = None
) -> Annex:
    """What the pages of a measured scan hold beyond its result.

    Parameters
    ----------
    scan
        What was measured.
    document, analysis
        From it: the content of result.json, and the numbers with their mask.
    priors
        Earlier results of the same person.

    Returns
    -------
    Annex
        With slices of an earlier visit or why there are none, and with the patient where the settings ask for it.
    """
    annex = NOTHING
    if priors is not None:
        # Not the message: it names the other scan, which may be of another patient.
        stop = f"{priors.stop.hint} [{priors.stop.code}]" if priors.stop else ""
        pictures = priors.pictures(document, analysis.tissue, analysis.scan)
        annex = Annex(pictures, not_compared=stop)
    if not analysis.config.report.print_patient:
        return annex
    from volumetry.deliver.dicom.patient import patient_line

    return replace(annex, patient=patient_line(scan, analysis.scan.input_sha256, analysis.config))


def dicom_objects(
    export: "Export", analysis: Analysis, document: dict[str, Any], out: Path, annex: Annex = NOTHING
) -> list[Path]:
    """Write SEG and SR, and the summary objects that the options ask for, beside a result.

    Parameters
    ----------
    export
        What is written, and from which source.
    analysis
        The measured scan.
    document
        Content of result.json.
    out
        The result's folder.
    annex
        What the summary page holds beyond the result.

    Returns
    -------
    list[Path]
        The files written.

    Raises
    ------
    OutputError
        If an object cannot be made, read back or written.
    """
    from volumetry.deliver.dicom import dated_as
    from volumetry.deliver.report.summary import summary_of

    written = export.write(document, analysis.tissue, out)
    if export.options.pdf or export.options.secondary_capture:
        dated = dated_as(written["sr.dcm"], document)
        summary = summary_of(dated, analysis.tissue, analysis.scan, annex)
        written |= export.write_summary(summary, dated, out)
    return list(written.values())


def write_result(analysis: Analysis, folder: str | Path) -> dict[str, Any]:
    """Write a measured scan's mask, result, row, run record and report; an earlier result there is kept.

    Parameters
    ----------
    analysis
        From `analyse` or `analyse_scan`.
    folder
        Made if missing. An earlier result in it moves to ``earlier/``; readers' corrections of the same images
        stay, and the log says so.

    Returns
    -------
    dict
        What result.json says.

    Raises
    ------
    OutputError
        If anything cannot be written; then what was there before is still there.
    """
    with new_scan_result(Path(folder), _LOG.warning) as making:
        document = fill(analysis.result, analysis.tissue, analysis.config, making)
        write_report(document, making, analysis.config, analysis.tissue, analysis.scan)
    return document
