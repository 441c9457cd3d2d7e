"""Verbs of a trial: from a batch's results to the endpoint tables."""

from pathlib import Path
from typing import Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import TRIAL, ConfigFiles, Quiet, app


@app.command(rich_help_panel=TRIAL)
def trial(
    results: Annotated[
        Path, typer.Argument(help="Folder of a batch, or a table with the columns of results.csv.")
    ],
    visits: Annotated[
        Path, typer.Option(help="CSV or XLSX with subject,visit,day,arm,scan_id and any further outcomes.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for endpoint.csv, changes.csv, events.csv, report and figures.")
    ],
    config: Annotated[Path | None, typer.Option(help="TOML with differences from configs/trial.toml.")] = None,
    quiet: Quiet = False,
) -> None:
    """Compute change from baseline and differences between arms, with tables and figures.

    Example: volumetry trial data-sample/trial --visits data-sample/trial/visits.csv --out trial
    """
    from volumetry.trial import run_trial

    outcome = run_trial(results, visits, out, config)
    for warning in outcome.warnings:
        typer.echo(f"look: {warning}", err=True)
    if not quiet:
        typer.echo(f"wrote {len(outcome.files_sha256)} files; open {outcome.folder / 'report.html'}")


@app.command(rich_help_panel=TRIAL)
def changemap(
    baseline_scan: Annotated[Path, typer.Option(help="Folder of the baseline scan.")],
    baseline: Annotated[Path, typer.Option(help="Folder of its result.")],
    visit_scan: Annotated[Path, typer.Option(help="Folder of the scan of the visit.")],
    visit: Annotated[Path, typer.Option(help="Folder of its result.")],
    out: Annotated[Path, typer.Option(help="Folder for transitions.csv, change_map.nii.gz, .json and .png.")],
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Count, in mL, which tissue became which between two visits. Exploratory; refused if the lungs do not match.

    Example: volumetry changemap --baseline-scan v0 --baseline r0 --visit-scan v1 --visit r1 --out change
    """
    from volumetry.changemap.files import write_change_map

    for folder in (baseline_scan, baseline, visit_scan, visit):
        common.must_be_folder(folder)
    document = write_change_map(baseline_scan, baseline, visit_scan, visit, out, common.settings_of(config))
    if not quiet:
        for name, ml in document["summary_baseline_ml"].items():
            typer.echo(f"{name}: {ml:.1f} mL")


@app.command(rich_help_panel=TRIAL)
def blind(
    scans: Annotated[Path, typer.Argument(help="Tree of scan folders, or a CSV manifest.")],
    out: Annotated[Path, typer.Option(help="Folder of the reading package; it must be new or empty.")],
    visits: Annotated[
        Path | None, typer.Option(help="visits.csv, whose subjects, visits and arms are written to the key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="File for the sealed key; OUT.key/key.csv by default.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the order; drawn at random and kept in the key by default.")
    ] = None,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Make a blinded reading package: scans renamed, de-identified and shuffled; the key is kept outside it.

    Example: volumetry blind scans --out package --visits visits.csv
    """
    from volumetry.batch import list_scans
    from volumetry.blinding.package import make_reading_package

    sources = list_scans(scans)
    package = make_reading_package(sources, out, common.settings_of(config), seed=seed, visits=visits, key=key)
    for refusal in package.refused:
        typer.echo(f"left out: {refusal.scan_id}: {refusal.reason} [{refusal.code}]", err=True)
    if not quiet:
        typer.echo(f"{len(package.readings)} scans in {package.folder}; keep {package.key} away from readers")


@app.command(rich_help_panel=TRIAL)
def adjudicate(
    package: Annotated[Path, typer.Argument(help="The reading package.")],
    reads: Annotated[
        list[Path], typer.Option(help="A completed reads.csv; give one for each reader and the adjudicator.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for accepted.csv, agreement.csv and adjudication.csv.")],
    limit: Annotated[
        float, typer.Option(help="Largest difference that is not a discrepancy, in percentage points of the lung.")
    ],
    adjudicator: Annotated[str, typer.Option(help="Name of the third reader, as in the column reader.")],
) -> None:
    """Compare two readers of a blinded package and accept one value for each reading. The key is not needed.

    Example: volumetry adjudicate package --reads reads.csv --limit 5 --adjudicator R3 --out agreed
    """
    from volumetry.blinding.adjudicate import adjudicate as run
    from volumetry.blinding.adjudicate import write_adjudication

    common.must_be_folder(package)
    found = run(package, reads, limit, adjudicator)
    write_adjudication(found, out, adjudicator)
    waiting = len(found.waiting)
    typer.echo(f"accepted {len(found.accepted) - waiting} of {len(found.accepted)} readings")
    if waiting:
        typer.echo(
            f"{waiting} wait for {adjudicator}: fill in {out / 'adjudication.csv'} and give it by --reads too"
        )


@app.command(rich_help_panel=TRIAL)
def unblind(
    package: Annotated[Path, typer.Argument(help="The reading package.")],
    key: Annotated[Path, typer.Option(help="The sealed key of the package.")],
    reads: Annotated[Path, typer.Option(help="The completed reads.csv, or accepted.csv of adjudicate.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: reads joined with scans, visits and arms.")],
) -> None:
    """Join reads with scans, visits and arms; refused unless the key is the one that was sealed.

    Example: volumetry unblind package --key package.key/key.csv --reads reads.csv --out joined.csv
    """
    from volumetry.blinding.unblind import unblind as run
    from volumetry.blinding.unblind import write_unblinded

    common.must_be_folder(package)
    rows = run(package, key, reads)
    write_unblinded(rows, out)
    typer.echo(f"joined {len(rows)} reads")
