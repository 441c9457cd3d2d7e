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
    config: Annotated[
        Path | None, typer.Option(help="Settings file (TOML) with differences from configs/trial.toml.")
    ] = None,
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
def power(
    difference: Annotated[
        float, typer.Option(help="Difference between the arms to detect, in the unit of the outcome.")
    ],
    sd: Annotated[float, typer.Option(help="Standard deviation between the subjects of an arm.", min=0)],
    arms: Annotated[
        tuple[int, int],
        typer.Option(help="Subjects of the treated and the reference arm; with --wanted, their ratio."),
    ],
    wanted: Annotated[
        float | None,
        typer.Option(
            help="Power that is wanted, such as 0.8: find the smallest trial that has it.", min=0.05, max=0.99
        ),
    ] = None,
    measurement_sd: Annotated[
        float, typer.Option(help="Standard deviation of the measurement error of one change.", min=0)
    ] = 0.0,
    lost: Annotated[float, typer.Option(help="Fraction of subjects without the outcome.", min=0, max=0.95)] = 0.0,
    skewed: Annotated[
        bool, typer.Option("--skewed", help="Draw changes from a skewed distribution instead of a normal one.")
    ] = False,
    alpha: Annotated[float, typer.Option(help="Two-sided significance level.", min=0.0001, max=0.5)] = 0.05,
    trials: Annotated[
        int, typer.Option(help="Number of trials to simulate for each sample size.", min=100)
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    config: Annotated[Path | None, typer.Option(help="Settings of the trial (TOML).")] = None,
) -> None:
    """Simulate the power or the sample size of a planned trial, with the test that `trial` uses.

    Example: volumetry power --difference -13.3 --sd 38 --arms 65 35 --lost 0.1
    """
    from math import hypot

    from volumetry.errors import UsageError
    from volumetry.trial.config import load_trial_config
    from volumetry.trial.power import Design, sample_size
    from volumetry.trial.power import power as simulated

    if min(arms) < 2:
        raise UsageError("an arm needs at least two subjects")
    settings = load_trial_config(*([config] if config else [])).statistics
    design = Design(*arms, difference, hypot(sd, measurement_sd), lost, skewed)
    try:
        found = (
            simulated(design, settings, trials, seed, alpha)
            if wanted is None
            else sample_size(wanted, design, settings, trials, seed, alpha)
        )
    except ValueError as unreached:
        raise UsageError(str(unreached), hint="Ask for less power, or a larger difference.") from unreached
    typer.echo(
        f"{found.design.n_a} and {found.design.n_b} subjects: power {found.power:.3f} "
        f"({found.low:.3f} to {found.high:.3f}, from {found.trials} simulated trials, seed {seed})"
    )


@app.command(rich_help_panel=TRIAL)
def changemap(
    baseline_scan: Annotated[Path, typer.Option(help="Folder of the baseline scan.")],
    baseline: Annotated[Path, typer.Option(help="Folder of the result of the baseline scan.")],
    visit_scan: Annotated[Path, typer.Option(help="Folder of the scan of the visit.")],
    visit: Annotated[Path, typer.Option(help="Folder of the result of the scan of the visit.")],
    out: Annotated[Path, typer.Option(help="Folder for transitions.csv, change_map.nii.gz, .json and .png.")],
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Measure, in mL, the lung that changed class between two visits. Exploratory; refused if lungs do not match.

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
    key: Annotated[Path | None, typer.Option(help="File for the key; OUT.key/key.csv by default.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the random order; by default drawn at random and recorded in the key."),
    ] = None,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Make a blinded reading package: renamed, de-identified scans in random order; the key is kept outside it.

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
        float,
        typer.Option(
            help="Largest accepted difference between the readers, in percentage points of the lung volume."
        ),
    ],
    adjudicator: Annotated[
        str, typer.Option(help="Name of the third reader (adjudicator), as in the column reader.")
    ],
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
            f"{waiting} await {adjudicator}: complete a copy of {out / 'adjudication.csv'} and add it with --reads"
        )


@app.command(rich_help_panel=TRIAL)
def unblind(
    package: Annotated[Path, typer.Argument(help="The reading package.")],
    key: Annotated[Path, typer.Option(help="The key of the package.")],
    reads: Annotated[
        Path | None, typer.Option(help="The completed reads.csv, or accepted.csv of adjudicate.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --reads: CSV file to write, the reads with scans, visits and arms.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder with masks that a reader edited, named after the readings.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="With --masks: the batch that they correct.")] = None,
    scans: Annotated[
        Path | None, typer.Option(help="With --masks: the folder tree or the manifest of the batch.")
    ] = None,
    reader: Annotated[str, typer.Option(help="With --masks: name or code of the reader.")] = "",
    reason: Annotated[str, typer.Option(help="With --masks: reason for the edit.")] = "",
) -> None:
    """Join blinded reads to their scans: values as a table, masks as corrections of a batch.

    Refused unless the key is the one that was written with the package.

    Example: volumetry unblind package --key package.key/key.csv --reads reads.csv --out joined.csv
    """
    from volumetry.errors import UsageError

    common.must_be_folder(package)
    if (reads is None) != (out is None):
        raise UsageError("--reads and --out belong together")
    if reads is None and masks is None:
        raise UsageError("give --reads with --out for values, or --masks for masks")
    if masks is not None:
        _correct_by(package, key, masks, results, scans, reader, reason)
    if reads is None or out is None:
        return
    from volumetry.blinding.unblind import unblind as run
    from volumetry.blinding.unblind import write_unblinded

    rows = run(package, key, reads)
    write_unblinded(rows, out)
    typer.echo(f"joined {len(rows)} reads")


def _correct_by(
    package: Path, key: Path, masks: Path, results: Path | None, scans: Path | None, reader: str, reason: str
) -> None:
    from functools import partial

    from volumetry.batch import batch_of, correct, list_scans
    from volumetry.blinding.masks import masks_of
    from volumetry.errors import UsageError

    if results is None or scans is None or not reader.strip() or not reason.strip():
        raise UsageError("--masks needs --results, --scans, --reader and --reason")
    common.must_be_folder(masks)
    places = {scan.scan_id: scan.path for scan in list_scans(scans)}
    found = masks_of(package, key, masks)
    for mask in found:
        folder = results / "scans" / mask.scan_id
        if mask.scan_id not in places or batch_of(folder) is None:
            raise UsageError(f"{mask.reading_id} is of {mask.scan_id}, which the batch or its list lacks")
    for mask in found:
        folder = results / "scans" / mask.scan_id
        make = partial(_measured, folder, places[mask.scan_id], mask.path, reader, reason)
        _, entry, note = correct(results, mask.scan_id, make)
        typer.echo(f"{mask.reading_id}: {mask.scan_id}, correction {entry['correction']} by {reader}")
        if note:
            typer.echo(f"look: {note}", err=True)


def _measured(result: Path, scan: Path, mask: Path, reader: str, reason: str, parent: Path) -> None:
    from volumetry.remeasure import remeasure

    remeasure(result, scan, mask, reader, reason, corrections=parent)
