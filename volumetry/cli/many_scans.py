"""Verbs for many scans: take deliveries in, and measure."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetry.cli import common
from volumetry.cli.common import MANY_SCANS, ConfigFiles, Device, Quiet, app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from volumetry.batch import Rows, ScanFolder

Expected = Annotated[
    Path | None,
    typer.Option(help="List of expected visits, CSV or XLSX with the columns subject, visit and optionally site."),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="How the folders of the tree are named, such as '{site}/{subject}/{visit}' or "
        "'Site{site}/{subject}_{visit}'; * stands for any text."
    ),
]


@app.command(rich_help_panel=MANY_SCANS)
def intake(
    deliveries: Annotated[
        Path, typer.Argument(help="Folder of the sites' deliveries: folders, zips, media exports, volume files.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="New folder for manifest.csv and the series; or the manifest's name, ending in .csv."),
    ],
    layout: Layout = None,
    expected: Expected = None,
    config: ConfigFiles = None,
    quiet: Quiet = False,
) -> None:
    """Unpack deliveries and list their series in a manifest, with a proposal which to measure, for you to check.

    Example: volumetry intake deliveries --out taken --layout '{site}/{subject}/{visit}'
    """
    from volumetry.cli import show
    from volumetry.intake import intake as run

    settings = common.settings_of(config)
    with show.stages(quiet) as told:
        taken = run(deliveries, out, settings, layout=layout, expected=expected, on_place=told)
    show.look(f"{scan_id}: {fault}" for scan_id, fault in taken.key_faults.items())
    for subjects in taken.subjects_of_one_patient():
        show.look([f"the headers state the same patient for the subjects {', '.join(subjects)}"])
    odd = [visit for visit in taken.visits or () if visit.state != "delivered"]
    missing = [visit for visit in odd if visit.state == "missing"]
    if len(missing) > _MOST_NAMED:  # a later delivery brings few of them
        show.look([f"{len(missing)} expected visits are not in this delivery: expected.csv names them"])
        odd = [visit for visit in odd if visit not in missing]
    show.look(f"subject {visit.subject}, visit {visit.visit}: {visit.state}" for visit in odd)
    if not quiet:
        show.intake(taken)


_MOST_NAMED = 10
Scans = Annotated[
    Path,
    typer.Argument(
        help="Tree of scans (folders, zips, volume files), or a manifest, CSV or XLSX (scan_id,path,...)."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the results: OUT/scans/<scan_id>/, OUT/results.csv and more.")]


def _workers(given: str) -> str:
    if given != "auto" and not given.isdecimal():
        raise typer.BadParameter(f"{given!r} is neither a number nor auto")
    return given


Workers = Annotated[
    str,
    typer.Option(
        help="Worker processes on this machine: a number, or auto for as many as its cores and free memory "
        "allow. 0 measures in this process, one scan at a time.",
        metavar="N|auto",
        callback=_workers,
    ),
]
Threads = Annotated[int, typer.Option(help="Threads of each worker; 0 shares the cores equally.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a running dask scheduler, in place of --workers.")]
Gpu = Annotated[bool, typer.Option("--gpu", help="Run each scan on a worker with the dask resource GPU.")]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Start dask's dashboard on this machine.")]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Also repeat scans that failed because of the program or the machine."),
]
Append = Annotated[
    bool, typer.Option("--append", help="Keep the scans of an earlier run that are missing from this list.")
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="Move the scans of an earlier run that are missing from this list to OUT/earlier/."
    ),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="With --append: scans of this list replace measured scans with the same scan_id."
    ),
]


@app.command(rich_help_panel=MANY_SCANS)
def batch(
    scans: Scans,
    out: Out,
    layout: Layout = None,
    expected: Expected = None,
    workers: Workers = "0",
    threads: Threads = 0,
    scheduler: Scheduler = None,
    gpu: Gpu = False,
    dashboard: Dashboard = False,
    retry_failed: RetryFailed = False,
    append: Append = False,
    prune: Prune = False,
    replace: Replace = False,
    config: ConfigFiles = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Measure every scan of a folder tree or a manifest, with one row for each. Run again to resume.

    Example: volumetry batch data-sample --out results
    """
    from volumetry.batch import Cluster, list_scans, run_batch, run_on_cluster
    from volumetry.batch.expected import read_expected, subjects_of
    from volumetry.batch.leftovers import leftovers_of
    from volumetry.cli import show
    from volumetry.storage.atomic import prepare_folder

    leftovers = leftovers_of(append=append, prune=prune, replace=replace)
    settings = common.settings_of(config, device)
    visits = None if expected is None else read_expected(expected)
    found = list_scans(scans, layout, subjects_of(visits or ()))
    _look_at_keys(found, out)
    prepare_folder(out)
    processes = _processes(workers, len(found), quiet)
    with show.scans(len(found), quiet) as told:
        if processes or scheduler:
            cluster = Cluster(processes, scheduler, gpu, dashboard, threads)
            run = partial(run_on_cluster, found, out, cluster, settings, told, on_dashboard=show.dashboard)
            run = partial(run, **common.named_segmenter())
        else:
            run = partial(run_batch, found, out, common.segmenter_of(settings), settings, told)
        rows = run(retry_failed=retry_failed, leftovers=leftovers, expected=visits)
    _look_at_rows(rows)
    if not quiet:
        show.batch(rows)
        show.people(rows)
    if any(document["status"] in ("refused", "failed") for document in rows):
        raise typer.Exit(8)


def _processes(workers: str, scans: int, quiet: bool) -> int:
    """The number of worker processes; if it was left to this program, it says which and why."""
    from volumetry.batch.machine import advice_here
    from volumetry.cli import show

    if workers != "auto":
        return int(workers)
    advice = advice_here(scans)
    if not quiet:
        show.workers(advice.workers, advice.reason)
    return advice.workers


def _look_at_keys(found: "Sequence[ScanFolder]", out: Path) -> None:
    """Say which scans have no key, or lose the key that an earlier run knew."""
    from volumetry.batch.leftovers import keys_lost
    from volumetry.cli import show
    from volumetry.scan.findings import plural

    show.look(f"{scan.scan_id}: {scan.key_fault}" for scan in found if scan.key_fault)
    lost = keys_lost(found, out)
    if lost:
        named = ", ".join(lost[:8]) + (", ..." if len(lost) > 8 else "")
        words = (
            f"an earlier run knew subject and visit of {plural(len(lost), 'scan')} that this list gives without"
        )
        show.look([f"{words}: {named}. The tables lose them; run again with the same --layout or manifest"])


def _look_at_rows(rows: "Rows") -> None:
    """Say what a batch asks of whoever runs it."""
    from volumetry.batch.visits_template import NAME as VISITS
    from volumetry.batch.visits_template import not_in_visits
    from volumetry.cli import show

    show.look(f"{question.code}: {question.message}. {question.what_to_do}" for question in rows.questions())
    show.look(
        f"{scan_id}: other images than before under this name; the earlier result is in earlier/{scan_id}/."
        " If they are of another scan, give it another scan_id in a manifest"
        for scan_id in rows.other_images
    )
    absent = not_in_visits(rows)
    if absent:
        show.look([f"{VISITS} was edited and stays as it is; it lacks {', '.join(absent)}"])
