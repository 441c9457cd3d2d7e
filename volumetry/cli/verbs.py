"""The verbs and their options."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from volumetry import __version__
from volumetry.config import Config, load_config

app = typer.Typer(
    name="volumetry",
    help="CT lung-lesion volumetry: a scan folder in, the share of the lungs that is ground glass and solid out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
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


def _settings(files: list[Path] | None, device: str | None = None) -> Config:
    return load_config(*(files or []), overrides={"segment": {"device": device}} if device else {})


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


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of DICOM files.")],
    json_file: Json = None,
    pixels: Annotated[
        bool, typer.Option(help="Also decode, and test that the values are Hounsfield units.")
    ] = True,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """What is in here: every series, its geometry, the gate's verdict and code. Needs no model.

    Example: volumetry inspect data-sample/phantom-001
    """
    from volumetry.cli import show
    from volumetry.deliver.files import write_whole
    from volumetry.scan import inspect_folder

    _must_be_folder(path)
    found = show.inspection_document(inspect_folder(path, _settings(config), pixels=pixels))
    if json_file:
        write_whole(json_file, _json_bytes(found))
    if not quiet:
        show.inspection(found)
    if found["verdict"] != "measurable":
        raise typer.Exit(3)


@app.command()
def check(
    scan: Annotated[Path, typer.Argument(help="Folder of one CT scan.")],
    out: Annotated[Path, typer.Option(help="Folder for result.json, mask.nii.gz, results.csv and run.json.")],
    scan_id: Annotated[str | None, typer.Option(help="Name of the result; the folder's name by default.")] = None,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """One scan: numbers and flags on the terminal, result and mask in a folder.

    Example: volumetry check data-sample/phantom-001 --out result
    """
    from volumetry.batch import safe_scan_id
    from volumetry.cli import show
    from volumetry.deliver import deliver, deliver_failure
    from volumetry.deliver.files import prepare_folder
    from volumetry.errors import InputError, SegmentationError
    from volumetry.pipeline import analyse_scan, failure_of

    settings = _settings(config, device)
    _must_be_folder(scan)
    prepare_folder(out)
    name = scan_id or safe_scan_id(scan)
    with show.stages(quiet) as stages:
        stages("load")
        segmenter = _segmenter(settings)
        try:
            analysis = analyse_scan(scan, segmenter, settings, name, stages)
        except (InputError, SegmentationError) as stop:
            deliver_failure(failure_of(stop, name), settings, out)
            raise
        stages("deliver")
        document = deliver(analysis.result, analysis.tissue, settings, out)
    if not quiet:
        show.result(document)


@app.command()
def batch(
    scans: Annotated[Path, typer.Argument(help="Tree of scan folders.")],
    out: Annotated[Path, typer.Option(help="Results go to OUT/scans/<scan_id>/ and OUT/results.csv.")],
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Every scan below a folder: one result and one row each. Run it again to resume.

    Example: volumetry batch data-sample --out results
    """
    from volumetry.batch import find_scans, run_batch
    from volumetry.cli import show
    from volumetry.deliver.files import prepare_folder

    settings = _settings(config, device)
    _must_be_folder(scans)
    prepare_folder(out)
    found = find_scans(scans)
    with show.scans(len(found), quiet) as told:
        documents = run_batch(found, out, _segmenter(settings), settings, told)
    if not quiet:
        show.batch(documents)
    if any(document["status"] in ("refused", "failed") for document in documents):
        raise typer.Exit(8)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make; it must not exist or be empty.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Digital reference objects: DICOM series of a thorax whose mL are known from formulas, with truth.json.

    Example: volumetry phantom phantoms --seed 7
    """
    from volumetry.errors import OutputError
    from volumetry.phantom import write_phantoms

    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out.name} is not empty; phantoms overwrite nothing")
    write_phantoms(out, seed)
    if not quiet:
        typer.echo(f"wrote {sum(1 for p in out.iterdir() if p.is_dir())} series and truth.json to {out}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training recipe, e.g. configs/train-lesion2d.toml.")],
    out: Annotated[Path, typer.Option(help="Where the model folder and, beside it, the run's folder go.")],
    data: Annotated[Path | None, typer.Option(help="Root of the training data; the recipe's by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Make a model. Killed and started again with the same folder, it goes on where it was.

    Example: volumetry train configs/train-lesion2d.toml --data ../shared/data --out runs
    """
    from volumetry.cli import show
    from volumetry.learn.train import train as run

    with show.steps(quiet) as progress:
        folder = run(config, out, data, device, progress=progress)
    if not quiet:
        typer.echo("stopped at the time limit; run again to go on" if folder is None else f"made {folder.name}")


@app.command()
def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with images/, labels/ and dataset.toml.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where the scores are written.")],
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Dice and lesion share of the model on labelled 8-bit slices, pooled, per case and per slice.

    Example: volumetry evaluate ../slices --json scores.json
    """
    from volumetry.cli import show
    from volumetry.deliver.files import write_whole
    from volumetry.learn.evaluate import evaluate as run

    _must_be_folder(dataset)
    scores = run(dataset, _segmenter(_settings(config, device)))
    write_whole(json_file, _json_bytes(scores))
    if not quiet:
        show.scores(scores)


@app.command()
def selftest(
    json_file: Json = None, config: ConfigFiles = None, device: Device = None, quiet: Quiet = False
) -> None:
    """Phantoms through this installation: a bias table, and pass or fail.

    Example: volumetry selftest
    """
    from volumetry.cli import show
    from volumetry.deliver.files import write_whole
    from volumetry.selftest import run_selftest

    with show.stages(quiet) as stages:
        report = run_selftest(_settings(config, device), stages)
    if json_file:
        write_whole(json_file, _json_bytes(report))
    if not quiet:
        show.selftest(report)
    if not report["passed"]:
        raise typer.Exit(1)


def _segmenter(settings: Config) -> Any:  # noqa: ANN401  the Protocol would import numpy for --help
    from volumetry.segment.network import load_segmenter

    return load_segmenter(settings)


def _must_be_folder(path: Path) -> None:
    from volumetry.errors import UsageError

    if not path.is_dir():
        raise UsageError(f"{path.name} is not a folder")


def _json_bytes(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")
