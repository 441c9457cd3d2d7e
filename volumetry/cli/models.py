"""Verbs that make and measure models and phantoms, and test this installation or say what it is made of."""

from pathlib import Path
from typing import Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import MODELS, ConfigFiles, Device, Json, Quiet, app


@app.command(rich_help_panel=MODELS)
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for the phantoms; it must be new or empty.")],
    seed: Annotated[int, typer.Option(help="Seed; the same seed makes the same files.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Write digital reference objects: DICOM series of a thorax whose volumes are known from formulas.

    Example: volumetry phantom phantoms --seed 7
    """
    from volumetry.errors import OutputError
    from volumetry.phantom import write_phantoms
    from volumetry.storage.atomic import prepare_folder

    prepare_folder(out)
    if any(out.iterdir()):
        raise OutputError(f"{out.name} is not empty; phantoms overwrite nothing", hint="Give a new folder.")
    write_phantoms(out, seed)
    if not quiet:
        typer.echo(f"wrote {sum(1 for p in out.iterdir() if p.is_dir())} series and truth.json to {out}")


@app.command(rich_help_panel=MODELS)
def train(
    config: Annotated[Path, typer.Argument(help="Training configuration, e.g. configs/train-lesion25d.toml.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and for the state of the run.")],
    data: Annotated[
        Path | None, typer.Option(help="Root folder of the training data; by default that in the configuration.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a model. Run again with the same folder to continue after an interruption.

    Example: volumetry train configs/train-lesion25d.toml --data DATA --out runs
    """
    from volumetry.cli import show
    from volumetry.training.by_architecture import train_model

    with show.steps(quiet) as progress:
        folder = train_model(config, out, data, device, progress)
    if not quiet:
        typer.echo("stopped at the time limit; run again to go on" if folder is None else f"made {folder.name}")


@app.command(rich_help_panel=MODELS)
def evaluate(
    json_file: Annotated[Path, typer.Option("--json", help="File for the scores.")],
    dataset: Annotated[Path | None, typer.Argument(help="Folder with images/, labels/ and dataset.toml.")] = None,
    scans: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a dataset: TOML file that lists chest CTs in HU and what is known about them."
        ),
    ] = None,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Measure a model: Dice on labelled 8-bit slices, or errors on chest CTs in HU.

    A list of scans has a table "scan" for each: path, and infected_csv (a reader's flag per slice), normal = true
    (lesions of known volume are inserted) or lung_mask; and one table "planted": volumes_ml, levels_hu, places,
    realistic, seed. docs/training.md has an example.

    Example: volumetry evaluate ../slices --json scores.json

    Example: volumetry evaluate --scans scans.toml --json scores.json
    """
    from volumetry.cli import show, show_scores
    from volumetry.errors import UsageError
    from volumetry.storage.atomic import write_json

    if (dataset is None) == (scans is None):
        raise UsageError("give either a folder of labelled slices or --scans")
    settings = common.settings_of(config, device)
    if dataset is not None:
        from volumetry.segment.network import load_segmenter
        from volumetry.training.evaluate import evaluate as run

        common.must_be_folder(dataset)
        scores = run(dataset, load_segmenter(settings))
    elif scans is not None:
        from volumetry.training.evaluate_scans import evaluate_scans

        with show.stages(quiet) as say:
            scores = evaluate_scans(scans, common.segmenter_of(settings), settings, say)
    write_json(json_file, scores)
    if not quiet:
        (show_scores.scores if dataset is not None else show_scores.scan_scores)(scores)


@app.command(rich_help_panel=MODELS)
def selftest(
    json_file: Json = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report on bias, linearity and repeatability; takes minutes.")
    ] = None,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Measure phantoms with this installation: a table of bias, and pass or fail.

    Example: volumetry selftest --report validation
    """
    from volumetry.assurance.selftest import run_selftest
    from volumetry.cli import show, show_scores
    from volumetry.storage.atomic import prepare_folder, write_json

    settings = common.settings_of(config, device)
    if report:
        prepare_folder(report)
    with show.stages(quiet) as stages:
        found = run_selftest(settings, stages)
        if report:
            from volumetry.assurance.validation import validate, write_validation

            write_validation(validate(settings, stages), found, settings, report)
    if json_file:
        write_json(json_file, found)
    if not quiet:
        show_scores.selftest(found)
    if not found["passed"]:
        raise typer.Exit(1)


@app.command(rich_help_panel=MODELS)
def evidence(
    out: Annotated[Path, typer.Argument(help="Folder for sbom.cdx.json and licences.csv.")],
    quiet: Quiet = False,
) -> None:
    """Write a CycloneDX bill of materials and a table of licences of this installation, without network access.

    Both list every package of the environment, the weights of the models, and the viewer's script.

    Example: volumetry evidence evidence
    """
    from volumetry.assurance.bill_of_materials import (
        bill_of_materials,
        copyleft,
        installed_parts,
        licence_table,
        shipped_parts,
    )
    from volumetry.storage.atomic import prepare_folder, write_whole

    parts = (*installed_parts(), *shipped_parts())
    prepare_folder(out)
    write_whole(out / "sbom.cdx.json", bill_of_materials(parts))
    write_whole(out / "licences.csv", licence_table(parts).encode("utf-8"))
    if not quiet:
        typer.echo(f"{len(parts)} parts, {sum(map(copyleft, parts))} of them under copyleft terms")
