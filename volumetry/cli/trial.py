"""Verbs of a trial: from a batch's results to the endpoint tables."""

from pathlib import Path
from typing import Annotated

import typer

from volumetry.cli.common import TRIAL, Quiet, app


@app.command(rich_help_panel=TRIAL)
def trial(
    results: Annotated[Path, typer.Argument(help="A batch's folder, or a table with the columns of results.csv.")],
    visits: Annotated[
        Path, typer.Option(help="CSV: subject,visit,day,arm,scan_id and whatever else was measured.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for endpoint.csv, changes.csv, events.csv, report and figures.")
    ],
    config: Annotated[Path | None, typer.Option(help="TOML with differences from configs/trial.toml.")] = None,
    quiet: Quiet = False,
) -> None:
    """Change from baseline per subject and visit, differences between arms, tables and figures.

    Example: volumetry trial data-sample/trial --visits data-sample/trial/visits.csv --out trial
    """
    from volumetry.trial import run_trial

    outcome = run_trial(results, visits, out, config)
    for warning in outcome.warnings:
        typer.echo(f"look: {warning}", err=True)
    if not quiet:
        typer.echo(f"wrote {len(outcome.files_sha256)} files; open {outcome.folder / 'report.html'}")
