"""One scan's way to DICOM, around its delivery: the source is read first, so that the result can say of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.deliver.dicom.delivery import write_seg_and_sr, write_summary
from volumetry.deliver.dicom.options import DicomOptions
from volumetry.deliver.dicom.source import ExportSource, export_source
from volumetry.deliver.report.summary import Summary
from volumetry.domain import ScanRefusedError, ScanResult, Status, TissueMap, most_severe_first


class Export:
    """SEG and SR of one scan.

    Whatever is wrong with the source's headers costs the objects at most, never the measurement: `noted` stops for
    nothing but an outcome that the settings make a refusal, and `write` raises what it met, after the delivery.

    Parameters
    ----------
    scan_folder, config
        What was measured, and with which settings.
    options
        What is written.
    """

    def __init__(self, scan_folder: Path, config: Config, options: DicomOptions) -> None:
        self._scan_folder, self._config, self.options = scan_folder, config, options
        self._source: ExportSource | None = None
        self._stop: Exception | None = None

    def noted(self, result: ScanResult) -> ScanResult:
        """The result, with what its objects will say differently from the source, or why there will be none.

        Parameters
        ----------
        result
            Of the scan.

        Returns
        -------
        ScanResult
            With findings, and a status that follows from them.

        Raises
        ------
        ScanRefusedError
            If the settings make one of these codes a refusal.
        """
        try:
            self._source = export_source(self._scan_folder, result.provenance.input_sha256, self._config)
        except Exception as stop:  # noqa: BLE001  raised again by `write`: the measurement is delivered first
            self._stop = stop
            return result
        findings = most_severe_first([*result.findings, *self._source.findings])
        if any(finding.outcome is Outcome.REFUSE for finding in findings):
            raise ScanRefusedError(findings, result.series)
        flagged = any(finding.outcome is Outcome.FLAG for finding in findings)
        return replace(result, findings=findings, status=Status.REVIEW if flagged else Status.MEASURED)

    def write(self, document: Mapping[str, Any], tissue: TissueMap, folder: Path) -> dict[str, Path]:
        """Write SEG and SR, as `write_seg_and_sr`.

        Parameters
        ----------
        document
            Content of result.json.
        tissue
            The delivered map.
        folder
            The result's.

        Returns
        -------
        dict[str, Path]
            Paths by name of the file.

        Raises
        ------
        OutputError, ScanRefusedError
            As `write_seg_and_sr`, and whatever `noted` met.
        """
        return write_seg_and_sr(document, tissue, self._ready(), folder, self._config, self.options)

    def write_summary(self, summary: Summary, document: Mapping[str, Any], folder: Path) -> dict[str, Path]:
        """Write the summary page, as `volumetry.deliver.dicom.write_summary`.

        Parameters
        ----------
        summary
            From `volumetry.deliver.report.summary.summary_of`.
        document
            Content of result.json.
        folder
            The result's.

        Returns
        -------
        dict[str, Path]
            Paths by name of the file.

        Raises
        ------
        OutputError, ScanRefusedError
            As `write_summary`, and whatever `noted` met.
        """
        return write_summary(summary, document, self._ready(), folder, self._config, self.options)

    def _ready(self) -> ExportSource | Path:
        if self._stop is not None:
            raise self._stop
        return self._source if self._source is not None else self._scan_folder
