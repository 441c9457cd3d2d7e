"""SEG and SR into a folder: written under a temporary name, read back, compared, and only then delivered."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from volumetry.codes import CATALOGUE
from volumetry.config import Config
from volumetry.deliver.dicom.captures import encapsulated_pdf, secondary_capture
from volumetry.deliver.dicom.compare import DiffersError, compare_seg, compare_sr, compare_summary
from volumetry.deliver.dicom.concepts import structures
from volumetry.deliver.dicom.options import DicomOptions
from volumetry.deliver.dicom.references import as_single_slices, files_of, refer_to_frames
from volumetry.deliver.dicom.report import structured_report
from volumetry.deliver.dicom.segmentation import segmentation
from volumetry.deliver.dicom.source import ExportSource, export_source, quiet_libraries, why
from volumetry.deliver.dicom.stamp import stamp
from volumetry.deliver.dicom.uids import tracking_uid
from volumetry.deliver.report.summary import Summary
from volumetry.domain import Grid, Tissue, TissueMap
from volumetry.errors import OutputError
from volumetry.storage.atomic import write_whole
from volumetry.storage.placing import new_result
from volumetry.wording import solid_name

_NAMES = ("seg.dcm", "sr.dcm")
_PDF, _CAPTURE = "report-pdf.dcm", "report-image.dcm"
_INVALID = "this series' headers do not make a valid DICOM object"
_MEND = "Use the NIfTI mask, or mend the headers at the source."
_UNREADABLE = "what was written cannot be read back"


def write_seg_and_sr(
    document: Mapping[str, Any],
    tissue: TissueMap,
    scan: Path | ExportSource,
    folder: Path,
    config: Config,
    options: DicomOptions | None = None,
) -> dict[str, Path]:
    """Write ``seg.dcm`` and ``sr.dcm`` for a measured scan; both carry the patient's data of the source series.

    Parameters
    ----------
    document
        result.json of the scan.
    tissue
        The delivered mask.
    scan, config
        What was measured, and with which settings: its headers are read again, unless `export_source` has done so.
    folder
        The result's folder; earlier objects there are moved to ``earlier/<n>/``.
    options
        What is written; by default a SEG of the form that the settings name.

    Returns
    -------
    dict
        File names and their paths.

    Raises
    ------
    ScanRefusedError
        If the scan folder changed since it was measured.
    OutputError
        If the headers cannot be referred to, or what was written is not what was measured; then nothing is left.
    """
    options = options or DicomOptions()
    if "volumes_ml" not in document:
        raise OutputError("a scan without a number has no mask to write as DICOM")
    source = _source(scan, document, config)
    _require_grid(source, tissue)
    kind = options.segmentation_type or config.export.segmentation
    options = replace(options, segmentation_type=kind)
    unclassed = any((section == Tissue.UNCLASSED).any() for section in tissue.labels_kji)
    by_hu = solid_name(document) != "consolidation"
    segments = structures(kind != "labelmap", unclassed, fluid=bool(tissue.fluid_ml), by_hu=by_hu)
    uids = [tracking_uid(source.headers[0], segment.tracked_as) for segment in segments]
    with _one_stop(_INVALID, _MEND):
        seg = segmentation(as_single_slices(source), tissue, segments, uids, document, options)
        refer_to_frames(seg, source)
        stamp(seg, document, folder, "seg.dcm")
        report = structured_report(files_of(source.headers), seg, segments, uids, document, options.revision)
        stamp(report, document, folder, "sr.dcm")
    if kind != "binary":
        seg.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian  # another writing of the same instance
    with new_result(folder, _NAMES) as making:
        seg_file, sr_file = (_saved(seg, making / "seg.dcm"), _saved(report, making / "sr.dcm"))
        with _one_stop(_UNREADABLE, DiffersError.hint):
            compare_seg(seg_file, tissue, segments)
            compare_sr(sr_file, seg, segments, tissue, document)
    return {name: folder / name for name in _NAMES}


def write_summary(
    summary: Summary,
    document: Mapping[str, Any],
    scan: Path | ExportSource,
    folder: Path,
    config: Config,
    options: DicomOptions,
) -> dict[str, Path]:
    """Write the summary page as ``report-pdf.dcm`` and ``report-image.dcm``, as `options` ask.

    Parameters
    ----------
    summary
        From `volumetry.deliver.report.summary.summary_of`.
    document, scan, folder, config
        As for `write_seg_and_sr`.
    options
        Which of the two.

    Returns
    -------
    dict[str, Path]
        Paths by name of the file.

    Raises
    ------
    ScanRefusedError, OutputError
        As `write_seg_and_sr`.
    """
    source = _source(scan, document, config)
    written = {}
    makers = ((options.pdf, _PDF, encapsulated_pdf), (options.secondary_capture, _CAPTURE, secondary_capture))
    for _, name, make in (maker for maker in makers if maker[0]):
        with _one_stop(_INVALID, _MEND):
            dataset = make(source.headers, summary)
            stamp(dataset, document, folder, name)
        with new_result(folder, (name,)) as making, _one_stop(_UNREADABLE, DiffersError.hint):
            compare_summary(_saved(dataset, making / name), summary)
        written[name] = folder / name
    return written


def _source(scan: Path | ExportSource, document: Mapping[str, Any], config: Config) -> ExportSource:
    """The source, if it is what was measured and can be referred to."""
    if isinstance(scan, Path):
        scan = export_source(scan, document["provenance"]["input_sha256"], config)
    if scan.series_uid != document["series"]["series_uid"]:
        raise OutputError(
            "the scan folder holds another series than the one that was measured", hint="Give the folder measured."
        )
    if scan.unusable:
        raise OutputError(
            f"no SEG and SR: they cannot refer to this series ({why(scan.unusable)})",
            "DICOM_NOT_POSSIBLE",
            CATALOGUE["DICOM_NOT_POSSIBLE"].hint,
        )
    return scan


def _require_grid(source: ExportSource, tissue: TissueMap) -> None:
    grid = source.grid
    if grid.shape_kji != tissue.grid.shape_kji or not _same_place(grid, tissue.grid):
        raise OutputError(
            "the scan folder holds another grid than the one that was measured", hint="Give the folder measured."
        )


def _same_place(one: Grid, other: Grid) -> bool:
    return bool(np.allclose(one.affine_ras, other.affine_ras, atol=1e-6))


@contextlib.contextmanager
def _one_stop(message: str, hint: str | None = None) -> Iterator[None]:
    """Whatever odd headers make the libraries raise becomes one stop that names no value."""
    try:
        with quiet_libraries():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise OutputError(f"{message} ({type(wrong).__name__})", hint=hint) from wrong


def _saved(dataset: Dataset, file: Path) -> Path:
    """The object on the disk, still to be compared with what was measured."""
    dataset.preamble = bytes(128)  # never the source's: a preamble can hide another file
    content = BytesIO()
    with quiet_libraries():
        dataset.save_as(content, enforce_file_format=True)
    write_whole(file, content.getvalue())
    return file
