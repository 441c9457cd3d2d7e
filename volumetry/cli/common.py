"""What every verb shares: the application, common options, settings and the one scan that is measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volumetry import __version__
from volumetry.config import Config, load_config

if TYPE_CHECKING:
    from volumetry.deliver.dicom import Export
    from volumetry.domain import ScanFailure, Segmenter
    from volumetry.errors import ScanFailedError
    from volumetry.pipeline import Analysis
    from volumetry.segment.network import NetworkSegmenter

app = typer.Typer(
    name="volumetry",
    help="CT lung-lesion volumetry: a scan folder in, the share of the lungs that is ground glass and solid out.",
    epilog=(
        "Exit codes: 0 done, 1 unexpected, 2 usage, 3 input refused, 4 configuration, 5 model, 6 segmentation, "
        "7 output, 8 batch finished with scans not measured, 9 our own failure (time or memory limit, decoder), "
        "75 another run holds the folder, 130 and 143 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config", help="TOML with differences from the defaults, or a shipped name such as nct04288102."
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write what was found as JSON.")]

ONE_SCAN, MANY_SCANS, TRIAL, MODELS = "One scan", "Many scans", "The trial", "Models and phantoms"
"""Panels of ``volumetry --help``, by who uses the verbs."""


def settings_of(files: list[Path] | None, device: str | None = None) -> Config:
    """Settings from the files given and the device option."""
    return load_config(*(files or []), overrides={"segment": {"device": device}} if device else {})


def segmenter_of(settings: Config) -> "NetworkSegmenter":
    """The model that the settings name, verified."""
    from volumetry.segment.network import load_segmenter

    return load_segmenter(settings)


def must_be_folder(path: Path) -> None:
    """Stop with words unless the path is a folder."""
    from volumetry.errors import UsageError

    if not path.is_dir():
        raise UsageError(f"{path.name} is not a folder")


def must_be_there(path: Path) -> None:
    """Stop with words unless the path is a folder or a file: a scan may be either."""
    from volumetry.errors import UsageError

    if not path.is_dir() and not path.is_file():
        raise UsageError(f"{path.name} is neither a folder nor a file")


def json_bytes(document: dict[str, Any]) -> bytes:
    """A document for a file: sorted, no NaN."""
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")


def measured_folder(
    scan: Path,
    out: Path,
    scan_id: str,
    segmenter: "Segmenter",
    settings: Config,
    on_stage: Callable[[str], None] = lambda _: None,
    export: "Export | None" = None,
) -> "tuple[Analysis, dict[str, Any]]":
    """Measure one scan into a folder: result, row, mask, record, report.

    With `export` the result says what its DICOM objects will say otherwise than the source.
    A scan that gives no number, be it refused or failed by a fault of ours, leaves the same but for the mask.
    What is wrong with the installation (model, settings, output folder) is no result of a scan and leaves none.

    Raises
    ------
    VolumetryError
        As `analyse_scan`; ScanFailedError for whatever nobody foresaw.
    """
    from volumetry.deliver import NAMES, fill, new_result
    from volumetry.deliver.report import write_report
    from volumetry.errors import ConfigError, ModelError, OutputError, ScanFailedError, VolumetryError
    from volumetry.pipeline import analyse_scan, failure_of, failure_of_bug

    try:
        analysis = analyse_scan(scan, segmenter, settings, scan_id, on_stage)
        if export is not None:
            analysis = replace(analysis, result=export.noted(analysis.result))
        on_stage("deliver")
        with new_result(out, NAMES) as making:
            document = fill(analysis.result, analysis.tissue, settings, making)
            write_report(document, making, settings, analysis.tissue, analysis.scan)
        return analysis, document
    except (ConfigError, ModelError, OutputError):
        raise
    except ScanFailedError as stop:
        raise _left(failure_of(stop, scan_id), out, settings) from stop
    except VolumetryError as stop:
        _leave(failure_of(stop, scan_id), out, settings)
        raise
    except Exception as bug:
        raise _left(failure_of_bug(bug, scan_id), out, settings) from bug


def _left(failure: "ScanFailure", out: Path, settings: Config) -> "ScanFailedError":
    """Leave the result of our own failure; what led to it is said even where nothing can be written either."""
    from volumetry.errors import OutputError, ScanFailedError

    message = failure.message
    try:
        _leave(failure, out, settings)
    except OutputError as unwritten:
        message = f"{message}; and no result could be left: {unwritten.message}"
    return ScanFailedError(message, failure.code, failure.hint)


def _leave(failure: "ScanFailure", out: Path, settings: Config) -> None:
    """Write the result of a scan that gives no number."""
    from volumetry.deliver import NAMES, fill_failure, new_result
    from volumetry.deliver.report import write_report

    with new_result(out, NAMES) as making:
        write_report(fill_failure(failure, settings, making), making, settings)


def dicom_objects(export: "Export", analysis: "Analysis", document: dict[str, Any], out: Path) -> list[Path]:
    """Write SEG and SR, and the summary objects that the options ask for, beside a result."""
    from volumetry.deliver.report.summary import summary_of

    written = export.write(document, analysis.tissue, out)
    if export.options.pdf or export.options.secondary_capture:
        summary = summary_of(document, analysis.tissue, analysis.scan)
        written |= export.write_summary(summary, document, out)
    return list(written.values())


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure CT lung lesions."""
