"""Verbs for the record of a batch: prove, decide, explain, ask, compare, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import MANY_SCANS, Json, Quiet, app

if TYPE_CHECKING:
    from volumetry.deliver.scheduled import Scheduled

BatchFolder = Annotated[Path, typer.Argument(help="Folder of a batch.")]


@app.command(rich_help_panel=MANY_SCANS)
def verify(result: BatchFolder, quiet: Quiet = False) -> None:
    """Check file hashes against the records and the audit log. Changes nothing.

    Example: volumetry verify results
    """
    from volumetry.batch import verify as run

    common.must_be_folder(result)
    found = run(result)
    for fault in found.faults:
        typer.echo(f"{fault.kind}: {fault.path} {fault.detail}".rstrip(), err=True)
    if not quiet:
        verdict = "everything is as recorded" if found.passed else f"{len(found.faults)} faults"
        typer.echo(f"{found.scans} scans, {found.entries} log entries, head {found.head}: {verdict}")
    if not found.passed:
        raise typer.Exit(1)


@app.command(rich_help_panel=MANY_SCANS)
def replay(
    result: BatchFolder,
    scans: Annotated[
        Path, typer.Option(help="Where the scans are now: the folder tree or the manifest of the batch.")
    ],
    quiet: Quiet = False,
) -> None:
    """Measure the scans again under their recorded settings and compare.

    Example: volumetry replay results --scans data-sample
    """
    from volumetry.batch import list_scans
    from volumetry.batch import replay as run

    common.must_be_folder(result)
    passed, listed = True, list_scans(scans)
    absent = sorted(path.parent.name for path in result.glob("scans/*/record.json"))
    absent = [scan_id for scan_id in absent if scan_id not in {scan.scan_id for scan in listed}]
    if absent:
        typer.echo(f"look: not measured again, because the list lacks them: {', '.join(absent)}", err=True)
    for line in run(result, listed, common.segmenter_of):
        passed = passed and line.verdict == "identical"
        if not quiet:
            changes = ", ".join(f"{name} {ml:+.3f} mL" for name, ml in line.difference_ml.items() if ml)
            typer.echo(f"{line.scan_id}: {line.verdict} {line.detail} {changes}".rstrip())
    if not passed:
        raise typer.Exit(1)


@app.command(rich_help_panel=MANY_SCANS)
def decide(
    result: BatchFolder,
    scan_id: Annotated[str, typer.Argument(help="Identifier of the scan in results.csv.")],
    decision: Annotated[str, typer.Argument(help="accept, exclude or repeat.")],
    name: Annotated[str, typer.Option(help="Name of the person who decides.")],
    reason: Annotated[str, typer.Option(help="Reason for the decision.")],
) -> None:
    """Record a decision on the current value of a scan in the audit log; tables and report show it at once.

    Example: volumetry decide results S01_v1 exclude --name "A. Reader" --reason "motion at the bases"
    """
    from typing import cast

    from volumetry.batch import decide as run
    from volumetry.batch.decide import Decision

    common.must_be_folder(result)
    entry = run(result, scan_id, cast(Decision, decision), name, reason)
    _look_at_waiting(result)
    value = "automatic value" if entry["correction"] is None else f"correction {entry['correction']}"
    typer.echo(f"entry {entry['n']}: {scan_id} {decision} ({value})")


@app.command(rich_help_panel=MANY_SCANS)
def explain(
    table: Annotated[Path, typer.Argument(help="CSV file of a batch or of a trial.")],
    row: Annotated[str, typer.Argument(help="Number of the row (the header is row 1), or a scan_id.")],
    results: Annotated[
        Path | None, typer.Option(help="Folder of the batch, if it is not beside the trial's folder.")
    ] = None,
    json: Json = None,
) -> None:
    """Trace a number in a table back to files, settings, model, decisions and corrections.

    Example: volumetry explain results/results.csv phantom-001
    """
    from volumetry.explain import as_text
    from volumetry.explain import explain as run
    from volumetry.storage.atomic import write_json

    found = run(table, row, results)
    if json is not None:
        write_json(json, found)
    typer.echo(as_text(found))


@app.command(rich_help_panel=MANY_SCANS)
def letters(
    result: BatchFolder,
    out: Annotated[Path, typer.Option(help="Folder for the letters, one HTML page for each site.")],
    name: Annotated[str, typer.Option(help="Name of the person who sends the letters.")],
    study: Annotated[str, typer.Option(help="Name of the study, for the heading of the letters.")] = "",
) -> None:
    """Write one letter for each site with the queries that it has not been sent yet.

    Example: volumetry letters results --out letters --name "A. Manager" --study NCT04288102
    """
    from volumetry.batch.letters import write_letters

    common.must_be_folder(result)
    written = write_letters(result, out, name, study)
    for letter in written:
        typer.echo(f"{letter.path}: {letter.queries} queries to {letter.site or 'a site that is not known'}")
    if not written:
        typer.echo("no query is open that a site can answer")


@app.command(rich_help_panel=MANY_SCANS)
def answer(
    result: BatchFolder,
    query_id: Annotated[str, typer.Argument(help="Identifier of the query (query_id) in queries.csv.")],
    text: Annotated[str, typer.Option(help="The answer, or the reason why the query is closed.")],
    name: Annotated[str, typer.Option(help="Name of the person who enters the answer.")],
    close: Annotated[bool, typer.Option("--close", help="Close the query.")] = False,
) -> None:
    """Enter the answer to a query in the audit log, and close the query if requested; queries.csv shows it.

    Example: volumetry answer results 3f9a1c20de --text "resent on 3 March" --name "A. Manager" --close
    """
    from volumetry.batch.letters import answer as run

    common.must_be_folder(result)
    entry = run(result, query_id, "closed" if close else "answered", name, text)
    _look_at_waiting(result)
    typer.echo(f"entry {entry['n']}: query {query_id} {entry['state']}")


@app.command(rich_help_panel=MANY_SCANS)
def compare(
    old: Annotated[Path, typer.Argument(help="Folder of the earlier batch, or a table like results.csv.")],
    new: Annotated[
        Path,
        typer.Argument(help="Folder of the later batch: the same scans with another model, version or settings."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for bridge.html, agreement.csv, shifts.csv and more.")],
    limit_points: Annotated[
        float,
        typer.Option(help="A scan is listed if a percentage changes by more than this, in points of lung.", min=0),
    ] = 1.0,
    limit_lung_percent: Annotated[
        float,
        typer.Option(help="A scan is listed if its lung volume changes by more than this, in percent.", min=0),
    ] = 2.0,
    visits: Annotated[
        Path | None, typer.Option(help="visits.csv of a trial: also compare its conclusions from both batches.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the trial (TOML).")] = None,
    quiet: Quiet = False,
) -> None:
    """Compare two batches of the same scans, for example before and after a change of model. Neither is changed.

    Example: volumetry compare results-2025 results-2026 --out bridge --visits visits.csv
    """
    from volumetry.assurance.bridge import Limits, compare_batches

    outcome = compare_batches(old, new, out, Limits(limit_points, limit_lung_percent), visits, config)
    if quiet:
        return
    beyond = len({shift.scan_id for shift in outcome.beyond})
    typer.echo(
        f"{outcome.compared} scans compared, {beyond} beyond the limits, {len(outcome.changed)} other changes"
    )
    if outcome.flipped is not None:
        typer.echo(f"{len(outcome.flipped)} conclusions of the trial differ")
    typer.echo(f"open {outcome.folder / 'bridge.html'}")


@app.command(rich_help_panel=MANY_SCANS)
def export(
    what: Annotated[str, typer.Argument(help="cdisc or parquet.")],
    result: BatchFolder,
    out: Annotated[Path, typer.Option(help="Folder of the CDISC files, or the Parquet file.")],
    study: Annotated[str, typer.Option(help="STUDYID of the CDISC files.")] = "STUDY",
    visits: Annotated[
        Path | None,
        typer.Option(help="visits.csv of the trial, for VISITNUM, study days and the baseline flag of CDISC."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="With --visits: settings of the trial (TOML).")] = None,
) -> None:
    """Export the table of a batch as CSV (and XPT) in SDTM layout, or as Parquet.

    Example: volumetry export cdisc results --out sdtm --study NCT04288102 --visits visits.csv
    """
    from volumetry.cli import show
    from volumetry.errors import UsageError
    from volumetry.export.cdisc import export_cdisc
    from volumetry.export.parquet import export_parquet
    from volumetry.export.source import said_by_people

    common.must_be_folder(result)
    if what == "cdisc":
        schedule = {} if visits is None else _schedule(result, visits, config)
        if not any(planned.day is not None for planned in schedule.values()):
            words = (
                "the days of visits.csv do not count from the first treatment" if visits else "without --visits"
            )
            show.look([f"{words}: {'' if visits else 'VISITNUM, '}study days and RELOBXFL are empty"])
        typer.echo(f"wrote {', '.join(export_cdisc(result, out, study, schedule=schedule))}")
    elif what == "parquet":
        typer.echo(f"wrote {export_parquet(result, out)} rows")
    else:
        raise UsageError(f"{what!r} is not an export; choose cdisc or parquet")
    for sentence in said_by_people(result):
        typer.echo(sentence)


def _schedule(result: Path, visits: Path, config: Path | None) -> "dict[str, Scheduled]":
    from volumetry.export.source import results_of
    from volumetry.trial.config import load_trial_config
    from volumetry.trial.schedule import schedule_of

    scan_ids = [row["scan_id"] for row in results_of(result)]
    return schedule_of(visits, scan_ids, load_trial_config(*([config] if config else [])))


def _look_at_waiting(result: Path) -> None:
    """Say that the tables do not show what was entered, where a scan lost its files."""
    from volumetry.batch.derive import scans_without_files
    from volumetry.cli import show

    lost = scans_without_files(result)
    if lost:
        named = ", ".join(lost[:8]) + (", ..." if len(lost) > 8 else "")
        words = f"{named} lost its files, so tables and report wait for the next run"
        show.look([f"entered in the log only: {words}. Run the batch again"])
