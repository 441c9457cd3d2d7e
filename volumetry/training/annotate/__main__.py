"""``python -m volumetry.training.annotate``: choose, propose, paint, report and agreement.

::

    python -m volumetry.training.annotate choose SHARED_DATA FOLDER
    python -m volumetry.training.annotate propose SHARED_DATA FOLDER PICTURES
    python -m volumetry.training.annotate paint SHARED_DATA FOLDER PICTURES
    python -m volumetry.training.annotate report SHARED_DATA --json figures.json
    python -m volumetry.training.annotate agreement SHARED_DATA

FOLDER holds ``annotated.toml`` and, for each scan, the decisions ``NAME.toml`` and the labels ``NAME.nii.gz``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from volumetry.config import load_config
from volumetry.errors import VolumetryError
from volumetry.image.nifti import labels_bytes
from volumetry.image.pictures import png_bytes
from volumetry.segment.factory import SHIPPED, segmenter_from
from volumetry.storage.atomic import prepare_folder, write_json, write_whole
from volumetry.training.annotate.agreement import agreement as repeated
from volumetry.training.annotate.draw import LUNG_WINDOW, MEDIASTINAL_WINDOW, box_around, slice_picture
from volumetry.training.annotate.paint import painted
from volumetry.training.annotate.plan import Label, evenly_spaced, label_grid, read_decisions, read_plan
from volumetry.training.annotate.propose import hulls
from volumetry.training.annotate.report import report as measured
from volumetry.training.annotate.slices import proposals, read_axial

ANNOTATED = Path(__file__).resolve().parents[3] / "tests" / "reference" / "annotated"
"""Our annotations, in a copy of the repository."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
Root = Annotated[Path, typer.Argument(help="Root of the data that the plan's paths are relative to.")]
Folder = Annotated[Path, typer.Argument(help="Folder with annotated.toml.")]
Pictures = Annotated[Path, typer.Argument(help="Folder for the pictures; they show the patient.")]
Only = Annotated[str | None, typer.Option("--scan", help="One scan of the plan.")]


@app.command()
def choose(root: Root, folder: Folder) -> None:
    """Print the slices that the rule chooses: even steps through the lungs."""
    for spec in read_plan(folder).scan:
        first, step = evenly_spaced(read_axial(root, spec, load_config()).lung_kji, spec.count)
        typer.echo(f"{spec.name}: first = {first}, step = {step}")


@app.command()
def propose(root: Root, folder: Folder, pictures: Pictures, scan: Only = None) -> None:
    """Draw each chosen slice with the proposed lung and the numbered regions, in two windows."""
    _draw(root, folder, pictures, scan, paint_too=False)


@app.command()
def paint(root: Root, folder: Folder, pictures: Pictures, scan: Only = None) -> None:
    """Turn the decisions into labels, and draw them over each slice, in two windows."""
    _draw(root, folder, pictures, scan, paint_too=True)


@app.command()
def report(
    root: Root,
    folder: Folder = ANNOTATED,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    segmenter: Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help="Another segmenter.")] = SHIPPED,
) -> None:
    """Measure a model, the shipped one by default, against the labels; default settings."""
    config = load_config()
    found = measured(root, folder, segmenter_from(segmenter, config), config, typer.echo)
    if json_file:
        write_json(json_file, found)
    for row in [*found["scans"], {"name": "pooled"} | found["pooled"]]:
        dice = ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
        share = (
            f"lesion {row['lesion_true_percent']:.2f} % by us, {row['lesion_found_percent']:.2f} % by the model"
        )
        typer.echo(f"{row['name']}: Dice {dice}; {share}")


@app.command()
def agreement(
    root: Root,
    folder: Folder = ANNOTATED,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Compare the labels with those of the second look, and with those at other limits of HU."""
    found = repeated(root, folder, load_config(), typer.echo)
    if json_file:
        write_json(json_file, found)
    for name, row in {"second look": found["second_look"], **found["hu_shifted"]}.items():
        parts = (f"{part} {part_row['dice']:.3f}" for part, part_row in row.items())
        typer.echo(f"{name}: Dice {', '.join(parts)}")


def _draw(root: Path, folder: Path, pictures: Path, only: str | None, *, paint_too: bool) -> None:
    prepare_folder(pictures)
    for spec in read_plan(folder).scan:
        if only not in (None, spec.name):
            continue
        axial = read_axial(root, spec, load_config())
        strokes = read_decisions(folder, spec) if paint_too else ()
        slices = []
        for k, proposal in proposals(axial, spec):
            labels = painted(proposal, [stroke for stroke in strokes if stroke.slice == k])
            slices.append(labels)
            shown = ((labels != Label.OUTSIDE) & (labels != Label.UNJUDGED)) | hulls(
                proposal.lung_ji, proposal.pixel_ji_mm
            )
            box = box_around(shown, proposal.pixel_ji_mm)
            for name, window in (("lung", LUNG_WINDOW), ("mediastinum", MEDIASTINAL_WINDOW)):
                regions = proposal.regions_ji if not paint_too and window == LUNG_WINDOW else None
                picture = slice_picture(proposal.hu_ji, proposal.pixel_ji_mm, box, window, labels, regions)
                write_whole(pictures / f"{spec.name}-{k:03d}-{name}.png", png_bytes(picture))
        if paint_too:
            content = labels_bytes(np.stack(slices), label_grid(axial.scan.grid, spec))
            write_whole(folder / f"{spec.name}.nii.gz", content)
        typer.echo(spec.name)


def main(run: Callable[[], None] = app) -> None:
    """Run a command; a known stop ends in words and its exit code."""
    try:
        run()
    except VolumetryError as stop:
        typer.echo(f"{stop.message} [{stop.code}]", err=True)
        raise SystemExit(stop.exit_code) from stop


if __name__ == "__main__":
    main()
