"""A reader's correction: the scan measured again on the edited mask, written beside the automatic result."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry import __version__
from volumetry.codes import CATALOGUE, Outcome
from volumetry.config import Config
from volumetry.deliver import as_document
from volumetry.deliver.dicom import DicomOptions, Export, Revision
from volumetry.deliver.people import READER
from volumetry.deliver.report import report_page
from volumetry.deliver.report.annex import NOTHING, Annex
from volumetry.deliver.report.beside import Beside
from volumetry.deliver.result import as_json
from volumetry.domain import (
    FLUID,
    CtScan,
    Finding,
    Provenance,
    ScanRefusedError,
    ScanResult,
    Status,
    Tissue,
    TissueMap,
    most_severe_first,
)
from volumetry.errors import OutputError, UsageError
from volumetry.image.nifti import mask_bytes
from volumetry.measure import by_component_rule, check_identities, distribution_of, measure
from volumetry.measure.table import hu_keys
from volumetry.pipeline import mask_digest, measured_lobes, package_versions
from volumetry.quality import blood_pool_hu, lung_findings
from volumetry.remeasure.automatic import Automatic, read_automatic
from volumetry.remeasure.edited import read_edited_mask
from volumetry.remeasure.lattice import EditedMaskError
from volumetry.remeasure.mirrored import refuse_mirrored
from volumetry.remeasure.source import Source, source_of
from volumetry.segment.lobes import divide
from volumetry.storage.atomic import next_numbered, prepare_folder, write_json, write_whole
from volumetry.storage.digests import file_sha256
from volumetry.storage.unfinished import unfinished_folder
from volumetry.wording import solid_name

_AUTOMATIC = (
    "status",
    "volumes_ml",
    "percent_of_lung",
    "interval_percent",
    "interval_level",
    "interval_parts",
    "sides",
    "zones",
    "component_rule",
    "components_by_rule",
    "provenance",
)
"""What of the automatic result stands beside the corrected one."""
_OF_THE_MODEL = ("interval_percent", "interval_level", "interval_parts")
"""A calibration of the model says nothing of a reader's mask."""
_MAX_READER, _MAX_REASON = 120, 2000
_ASKED = {"reader": "State who edited the mask, by name or code.", "reason": "State why the mask was edited."}


@dataclass(frozen=True, slots=True)
class DrawnOn:
    """The mask that was edited, as far as the editor knows it.

    Parameters
    ----------
    mask_sha256
        Its digest (`mask_sha256` in the provenance of the automatic result or of a correction).
    last
        Number of the last correction that was there; 0 for none. The edit becomes the next one, or none.
    """

    mask_sha256: str
    last: int


class EarlierVisits(Protocol):
    """Earlier visits that a correction is compared with."""

    def visits(self, automatic: Mapping[str, Any], corrected: Mapping[str, Any], /) -> list[dict[str, Any]]:
        """What the correction states under ``prior``, the oldest first."""

    def pictures(self, document: dict[str, Any], tissue: TissueMap, scan: CtScan | None, /) -> Sequence[Beside]:
        """Slices of an earlier visit and of this one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a correction gets its number: the one after `last`, or any that is free."""

    parent: Path
    last: int | None = None

    def numbered(self) -> Path:
        final = next_numbered(self.parent)
        if self.last is not None and int(final.name) != self.last + 1:
            raise _corrected_meanwhile(self.last + 1)
        return final

    def take(self, hidden: Path, final: Path) -> None:
        """Rename, which fails if another correction took this number meanwhile."""
        try:
            os.rename(hidden, final)
        except OSError:
            if self.last is not None and final.exists():
                raise _corrected_meanwhile(self.last + 1) from None
            raise


def _corrected_meanwhile(number: int) -> UsageError:
    return UsageError(
        f"correction {number} was written while this one was measured, and this one does not contain it",
        "CORRECTED_MEANWHILE",
        CATALOGUE["CORRECTED_MEANWHILE"].hint,
    )


def remeasure(  # noqa: PLR0913  the command's own options
    result_folder: Path,
    scan: Path | None,
    mask_file: Path,
    reader: str,
    reason: str,
    config: Config | None = None,
    dicom: DicomOptions | None = None,
    corrections: Path | None = None,
    drawn_on: DrawnOn | None = None,
    priors: EarlierVisits | None = None,
) -> tuple[dict[str, Any], Path]:
    """Measure a scan on a reader's mask and write it to ``RESULT/corrections/<n>/``.

    The edited mask is counted as it is, without postprocessing: the numbers are the reader's. Only the sides are
    determined again.

    Parameters
    ----------
    result_folder
        What `deliver` wrote: result.json, mask.nii.gz, run.json.
    scan
        What it was measured from: the folder, whose digest must be the result's, or the CT as NIfTI. None takes
        ``ct.nii.gz`` beside the result if there is one, and else does without: then everything that is made from
        Hounsfield units is absent, and the code ``HU_NOT_MEASURED`` says so.
    mask_file
        NIfTI or DICOM SEG on the scan's own grid, labels 0 to 5.
    reader, reason
        Who corrected it, and why; both stand in the result.
    config
        Settings; None means those of the automatic result, kept in its run.json.
    dicom
        Also write SEG and SR of the corrected result; needs the scan's folder.
    corrections
        Folder in which the correction gets its number, in place of ``RESULT/corrections``.
    drawn_on
        The mask that was edited, if it is known; stands in the result.
    priors
        Earlier visits, `volumetry.prior.CorrectedPriors`; None states no change since any.

    Returns
    -------
    document, folder
        The result.json written, and the folder with it, mask.nii.gz, report.html and run.json.

    Raises
    ------
    UsageError
        If the reader or the reason is missing, or the scan is and cannot be done without. With the code
        ``CORRECTED_MEANWHILE`` there is another correction than `drawn_on` knows of, and nothing is written.
    EditedMaskError
        If the mask does not fit the scan.
    InputError
        If the scan or the result is not the one that was corrected, or a prior is not one of it.
    ScanRefusedError
        If the corrected lungs cannot be measured.
    OutputError
        If the correction cannot be written; then nothing of it is left. With the code ``DICOM_NOT_POSSIBLE`` it
        is written, without SEG and SR.
    """
    started = perf_counter()
    said = {"corrected_by": _text(reader, "reader", _MAX_READER), "reason": _text(reason, "reason", _MAX_REASON)}
    automatic = read_automatic(result_folder)
    settings = config or automatic.settings
    source = source_of(automatic, scan, settings)
    export = _export(source, settings, dicom, result_folder)
    series_uid = (automatic.document.get("series") or {}).get("series_uid")
    edited = read_edited_mask(mask_file, source.scan.grid, series_uid)
    refuse_mirrored(edited, automatic.tissue.mask_kji)
    result, delivered = _measured(edited, source, settings, automatic)
    result = result if export is None else export.noted(result)
    result = replace(result, timing_s={"total": perf_counter() - started})
    document = _document(result, source) | said | _compared(automatic, delivered, mask_file)
    annex = NOTHING
    if priors is not None:
        if visits := priors.visits(automatic.document, document):
            document["prior"] = {"visits": visits}
        annex = Annex(priors.pictures(document, delivered, source.ct))
    page = report_page(document, settings, delivered, source.ct, annex)
    place = _Place(corrections if corrections is not None else result_folder / "corrections")
    if drawn_on is not None:
        document["drawn_on"] = drawn_on.mask_sha256
        place = replace(place, last=drawn_on.last)
    return document, _write(document, delivered, page, settings, place, export)


def _export(source: Source, settings: Config, dicom: DicomOptions | None, result_folder: Path) -> Export | None:
    if dicom is None:
        return None
    if source.folder is None:
        raise UsageError("SEG and SR refer to the scan's own files", hint="Give the scan's folder by --scan.")
    return Export(source.folder, settings, replace(dicom, revision=Revision(earlier=(result_folder,))))


def _compared(automatic: Automatic, delivered: TissueMap, mask_file: Path) -> dict[str, Any]:
    """What was corrected by which file, and how much of it is another tissue now."""
    return {
        "edited_file_sha256": file_sha256(mask_file),
        "corrected_from": automatic.document["provenance"]["mask_sha256"],
        "changed_voxels": int(np.count_nonzero(automatic.tissue.mask_kji != delivered.mask_kji)),
        "automatic": {k: automatic.document[k] for k in (*_AUTOMATIC, *hu_keys()) if k in automatic.document},
    }


_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))
"""Zero-width non-joiner and joiner: they shape letters within Persian and Indic names."""


def _text(text: str, name: str, longest: int) -> str:
    cleaned = " ".join(text.split())
    visible = cleaned.translate(_JOINERS)
    if not visible.strip():
        raise UsageError(f"the {name} is empty", hint=_ASKED[name])
    if len(cleaned) > longest:
        hint = f"State it in at most {longest} characters."
        raise UsageError(f"the {name} has {len(cleaned)} characters", hint=hint)
    if not visible.isprintable():
        hint = "Type it again, without control characters."
        raise UsageError(f"the {name} contains characters that cannot be printed", hint=hint)
    return cleaned


def _measured(
    edited: NDArray[np.uint8], source: Source, settings: Config, automatic: Automatic
) -> tuple[ScanResult, TissueMap]:
    scan = source.scan
    split = TissueMap.of_mask(edited, scan.grid, looked=automatic.tissue.fluid_kji is not None)
    labels, fluid = _classed(split.labels_kji, scan, settings), split.fluid_kji
    lost_ml = 0.0
    if scan.no_data_kji is not None:
        lost_ml = float(np.count_nonzero(labels[scan.no_data_kji]) * scan.grid.voxel_ml)
        labels[scan.no_data_kji] = Tissue.OUTSIDE
        fluid = None if fluid is None else fluid & ~scan.no_data_kji
    tissue = source.sided(TissueMap(labels, scan.grid, fluid_kji=fluid), settings)
    measurement = measure(tissue, scan, settings.measure)
    delivered = by_component_rule(tissue, scan, settings.measure)
    check_identities(measurement, delivered)
    blood_hu = blood_pool_hu(tissue, scan) if source.has_hu else None
    findings = _findings(source, lung_findings(tissue, scan, measurement, settings, blood_hu))
    if any(finding.outcome is Outcome.REFUSE for finding in findings):
        raise ScanRefusedError(findings, scan.series)
    made = automatic.document["provenance"]
    provenance = Provenance(
        software_version=__version__,
        model=f"reader's correction of {made['model']}",
        model_sha256=made.get("model_sha256"),
        config_sha256=settings.sha256,
        input_sha256=scan.input_sha256,
        pixels_sha256=scan.pixels_sha256,
        mask_sha256=mask_digest(delivered),
        device="reader",
        precision="",
        packages=package_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        patient_digest=made.get("patient_digest"),
    )
    findings = most_severe_first([*findings, *_removed_classes(automatic, tissue)])
    flagged = any(finding.outcome is Outcome.FLAG for finding in findings)
    result = ScanResult(
        scan_id=automatic.document["scan_id"],
        status=Status.REVIEW if flagged else Status.MEASURED,
        findings=findings,
        measurement=measurement,
        series=scan.series,
        provenance=provenance,
        dropped_ml={"no_data_ml": lost_ml} if lost_ml else {},
        timing_s={},
        peak_memory_mb=None,
        blood_pool_hu=blood_hu,
        lobes=measured_lobes(lambda: divide(tissue, scan), delivered) if source.has_hu else None,
        distribution=distribution_of(delivered),
    )
    return result, delivered


def _findings(source: Source, of_the_mask: list[Finding]) -> tuple[Finding, ...]:
    judged = {finding.code for finding in of_the_mask}
    return most_severe_first([*(f for f in source.findings if f.code not in judged), *of_the_mask])


def _removed_classes(automatic: Automatic, tissue: TissueMap) -> list[Finding]:
    """A class that the automatic mask has and the reader's has not: meant so, or lost by an editor."""
    before, after = automatic.tissue.mask_kji, tissue.mask_kji
    solid = solid_name(automatic.document)
    names = ((Tissue.GROUND_GLASS, "ground glass"), (Tissue.SOLID, solid), (FLUID, "pleural fluid"))
    missing = [
        f"{name} ({count} voxels of the automatic mask)"
        for label, name in names
        if (count := int(np.count_nonzero(before == label))) and not (after == label).any()
    ]
    message = f"the edited mask has no {' and no '.join(missing)}: look whether the editor kept every label"
    return [Finding("CLASS_REMOVED", Outcome.NOTE, message, float(len(missing)))] if missing else []


def _document(result: ScanResult, source: Source) -> dict[str, Any]:
    """result.json of the correction, without what was not measured."""
    document = {key: value for key, value in as_document(result).items() if key not in _OF_THE_MODEL}
    document["reading"] = READER
    if source.has_hu:
        return document
    by_labels = {rule: split for rule, split in document["components_by_rule"].items() if rule != "hu"}
    counted = {key: value for key, value in document.items() if key not in hu_keys()}
    return counted | {"components_by_rule": by_labels}


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


def _write(
    document: dict[str, Any],
    delivered: TissueMap,
    page: bytes,
    settings: Config,
    place: _Place,
    export: Export | None,
) -> Path:
    """All files into a hidden folder, which then takes its number: a correction is whole or not there."""
    parent = place.parent
    prepare_folder(parent)
    try:
        with unfinished_folder(parent) as hidden:
            files = {"mask.nii.gz": write_whole(hidden / "mask.nii.gz", mask_bytes(delivered))}
            files["result.json"] = write_whole(hidden / "result.json", as_json(document))
            files["report.html"] = write_whole(hidden / "report.html", page)
            final, stop = place.numbered(), None
            if export is not None:
                try:
                    earlier = (
                        *export.options.revision.earlier,
                        *(parent / str(n) for n in range(1, int(final.name))),
                    )
                    revision = Revision(int(final.name), earlier)
                    export.options = replace(export.options, revision=revision)
                    written = export.write(document, delivered, hidden)
                    files |= {name: file_sha256(path) for name, path in written.items()}
                except OutputError as wrong:
                    if wrong.code != "DICOM_NOT_POSSIBLE":
                        raise
                    stop = wrong
            record = {
                "scan_id": document["scan_id"],
                "status": document["status"],
                "corrected_by": document["corrected_by"],
                "corrected_from": document["corrected_from"],
                "edited_file_sha256": document["edited_file_sha256"],
                "software_version": __version__,
                "config": settings.stored(),
                "config_sha256": settings.sha256,
                "files_sha256": files,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(hidden / "run.json", record)
            place.take(hidden, final)
    except OSError as wrong:
        raise OutputError(f"cannot write the correction: {wrong.strerror}") from wrong
    if stop is not None:
        raise OutputError(f"correction {final.name} is written; {stop.message}", stop.code, stop.hint) from stop
    return final
