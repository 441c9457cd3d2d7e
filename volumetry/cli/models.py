"""Verbs that make and measure models and phantoms, and test this installation."""

from pathlib import Path
from typing import Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import MODELS, ConfigFiles, Device, Json, Quiet, app


@app.command(rich_help_panel=MODELS)
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


@app.command(rich_help_panel=MODELS)
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


@app.command(rich_help_panel=MODELS)
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

    common.must_be_folder(dataset)
    scores = run(dataset, common.segmenter_of(common.settings_of(config, device)))
    write_whole(json_file, common.json_bytes(scores))
    if not quiet:
        show.scores(scores)


@app.command(rich_help_panel=MODELS)
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
        report = run_selftest(common.settings_of(config, device), stages)
    if json_file:
        write_whole(json_file, common.json_bytes(report))
    if not quiet:
        show.selftest(report)
    if not report["passed"]:
        raise typer.Exit(1)
