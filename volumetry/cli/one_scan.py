"""Verbs for one scan: look into a folder, measure it, look at the result, correct it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volumetry.cli import common
from volumetry.cli.common import ONE_SCAN, ConfigFiles, Device, Json, PriorResults, PriorScan, Quiet, app

if TYPE_CHECKING:
    from volumetry.config import Config
    from volumetry.deliver.report import Annex
    from volumetry.pipeline import Analysis
    from volumetry.prior import Priors

Labelmap = Annotated[
    bool, typer.Option("--labelmap", help="Write the SEG as LABELMAP, disjoint segments; few viewers can read it.")
]

Pdf = Annotated[
    bool,
    typer.Option("--pdf", help="Also write the summary page as PDF; with --dicom also encapsulated in DICOM."),
]
Capture = Annotated[
    bool, typer.Option("--capture", help="With --dicom: also write the page as a secondary capture.")
]


@app.command(rich_help_panel=ONE_SCAN)
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder of DICOM files, a zip, one file of a series, or a NIfTI, NRRD or MetaImage volume."
        ),
    ],
    json_file: Json = None,
    pixels: Annotated[
        bool, typer.Option(help="Also decode the pixels and test that they are Hounsfield units.")
    ] = True,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """List every series of an input with its geometry, and whether it can be measured. Does not run the model.

    Example: volumetry inspect data-sample/phantom-001
    """
    from volumetry.cli import show
    from volumetry.scan import inspect_folder
    from volumetry.storage.atomic import write_json

    common.must_be_there(path)
    found = show.inspection_document(inspect_folder(path, common.settings_of(config), pixels=pixels))
    if json_file:
        write_json(json_file, found)
    if not quiet:
        show.inspection(found)
    if found["verdict"] != "measurable":
        raise typer.Exit(3)


@app.command(rich_help_panel=ONE_SCAN)
def check(
    scan: Annotated[
        Path,
        typer.Argument(
            help="One CT scan: folder, zip, one file of a series, or a NIfTI, NRRD or MetaImage volume."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for result.json, mask.nii.gz, report.html and the run record.")
    ],
    scan_id: Annotated[
        str | None, typer.Option(help="Identifier of the result; the name of the folder by default.")
    ] = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Also write the result as DICOM SEG and SR.")] = False,
    labelmap: Labelmap = False,
    pdf: Pdf = False,
    capture: Capture = False,
    prior: PriorResults = None,
    prior_scan: PriorScan = None,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Measure one scan: print volumes and flags, write result, mask and report to a folder.

    With --prior, the result also states the change since earlier scans of the same patient. If a prior is of
    another patient, or is not older, the scan is measured without the comparison, and the command ends with exit
    code 3.

    Example: volumetry check data-sample/phantom-001 --out result
    """
    from volumetry import case
    from volumetry.cli import show
    from volumetry.cli.loading import Loading
    from volumetry.errors import VolumetryError
    from volumetry.scan.scan_id import safe_scan_id
    from volumetry.storage.atomic import prepare_folder
    from volumetry.storage.salt import patient_salt

    settings = common.settings_of(config, device)
    common.must_be_there(scan)
    priors = _priors(prior, prior_scan, settings, out)
    prepare_folder(out)
    stop: VolumetryError | None = None
    export = None
    if dicom:
        from volumetry.deliver.dicom import DicomOptions, Export

        export = Export(scan, settings, DicomOptions("labelmap" if labelmap else None, pdf, capture))
    with show.stages(quiet) as stages:
        segmenter = Loading(lambda: common.segmenter_of(settings))
        scan_id = scan_id or safe_scan_id(scan)
        analysis, document = case.measured_folder(
            scan,
            out,
            scan_id,
            segmenter,
            settings,
            stages,
            export,
            patient_salt(),
            priors,
            say=lambda sentence: show.look([sentence]),
        )
        if pdf or export is not None:
            annex = case.annex_of(scan, document, analysis, priors)
        if pdf:
            _write_pdf(out, analysis, document, annex)
        if export is not None:
            stages("dicom")
            try:
                case.dicom_objects(export, analysis, document, out, annex)
            except VolumetryError as known:  # the result is delivered, and shown, all the same
                stop = known
    stop = priors.stop if priors is not None and priors.stop is not None else stop
    if not quiet:
        show.result(document)
    if stop is not None:
        raise stop


def _write_pdf(out: Path, analysis: "Analysis", document: dict[str, Any], annex: "Annex") -> None:
    from volumetry.deliver.report.summary import summary_of
    from volumetry.storage.atomic import write_whole

    write_whole(out / "report.pdf", summary_of(document, analysis.tissue, analysis.scan, annex).pdf)


def _priors(paths: list[Path] | None, scan: Path | None, settings: "Config", out: Path) -> "Priors | None":
    """Earlier results to compare with, read before the scan is measured."""
    from volumetry.errors import UsageError

    if not paths:
        if scan is not None:
            raise UsageError("a prior scan was given without its result", hint="Give the result with --prior.")
        return None
    from volumetry.prior import Priors

    for path in (*paths, *([scan] if scan is not None else [])):
        common.must_be_there(path)
    if out.resolve() in [(path if path.is_dir() else path.parent).resolve() for path in paths]:
        raise UsageError("the prior lies in the folder of --out and would be replaced", hint="Give another --out.")
    return Priors(paths, scan, settings)
