"""Verbs for many scans: measure, prove, decide, export."""

from pathlib import Path
from typing import Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import MANY_SCANS, ConfigFiles, Device, Json, Quiet, app

BatchFolder = Annotated[Path, typer.Argument(help="Folder of a batch.")]


@app.command(rich_help_panel=MANY_SCANS)
def batch(
    scans: Annotated[
        Path,
        typer.Argument(help="Tree of scans (folders, zips, volume files), or a CSV manifest (scan_id,path,...)."),
    ],
    out: Annotated[Path, typer.Option(help="Results go to OUT/scans/<scan_id>/ and OUT/results.csv.")],
    workers: Annotated[
        int, typer.Option(help="Worker processes on this machine; 0 measures in this process, one scan at a time.")
    ] = 0,
    threads: Annotated[int, typer.Option(help="Threads of each worker; 0 shares the cores equally.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running dask scheduler, in place of --workers.")
    ] = None,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Run each scan on a worker with the dask resource GPU.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Start dask's dashboard on this machine.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Also repeat scans that failed because of the program or the machine."
        ),
    ] = False,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Measure every scan of a folder tree or a manifest, with one row for each. Run again to resume.

    Example: volumetry batch data-sample --out results
    """
    from volumetry.batch import Cluster, list_scans, run_batch, run_on_cluster
    from volumetry.cli import show
    from volumetry.storage.atomic import prepare_folder

    settings = common.settings_of(config, device)
    found = list_scans(scans)
    prepare_folder(out)
    with show.scans(len(found), quiet) as told:
        if workers or scheduler:
            cluster = Cluster(workers, scheduler, gpu, dashboard, threads)
            rows = run_on_cluster(
                found,
                out,
                cluster,
                settings,
                told,
                retry_failed=retry_failed,
                on_dashboard=show.dashboard,
                **common.named_segmenter(),
            )
        else:
            segmenter = common.segmenter_of(settings)
            rows = run_batch(found, out, segmenter, settings, told, retry_failed=retry_failed)
    if not quiet:
        show.batch(rows)
        show.people(rows)
    if any(document["status"] in ("refused", "failed") for document in rows):
        raise typer.Exit(8)


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
    passed = True
    for line in run(result, list_scans(scans), common.segmenter_of):
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
    """Record a decision on the present value of a scan in the audit log; tables and report show it at once.

    Example: volumetry decide results S01_v1 exclude --name "A. Reader" --reason "motion at the bases"
    """
    from typing import cast

    from volumetry.batch import decide as run
    from volumetry.batch.decide import Decision

    common.must_be_folder(result)
    entry = run(result, scan_id, cast(Decision, decision), name, reason)
    value = "automatic value" if entry["correction"] is None else f"correction {entry['correction']}"
    typer.echo(f"entry {entry['n']}: {scan_id} {decision} ({value})")


@app.command(rich_help_panel=MANY_SCANS)
def explain(
    table: Annotated[Path, typer.Argument(help="CSV file of a batch or of a trial.")],
    row: Annotated[str, typer.Argument(help="Number of the row, where the header is row 1, or a scan_id.")],
    results: Annotated[
        Path | None, typer.Option(help="Folder of the batch, where it does not lie beside the trial.")
    ] = None,
    json: Json = None,
) -> None:
    """Trace a number of a table back to files, settings, model, decisions and corrections.

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
def export(
    what: Annotated[str, typer.Argument(help="cdisc or parquet.")],
    result: BatchFolder,
    out: Annotated[Path, typer.Option(help="Folder of the CDISC files, or the Parquet file.")],
    study: Annotated[str, typer.Option(help="STUDYID of the CDISC files.")] = "STUDY",
) -> None:
    """Export the table of a batch as SDTM-shaped CSV (and XPT), or as Parquet.

    Example: volumetry export cdisc results --out sdtm --study NCT04288102
    """
    from volumetry.errors import UsageError
    from volumetry.export.cdisc import export_cdisc
    from volumetry.export.parquet import export_parquet
    from volumetry.export.source import said_by_people

    common.must_be_folder(result)
    if what == "cdisc":
        typer.echo(f"wrote {', '.join(export_cdisc(result, out, study))}")
    elif what == "parquet":
        typer.echo(f"wrote {export_parquet(result, out)} rows")
    else:
        raise UsageError(f"there is no export {what!r}; choose cdisc or parquet")
    for sentence in said_by_people(result):
        typer.echo(sentence)
