"""What the terminal shows: rich tables and progress for people, JSON lines for logs."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from volumetry.cli.show_change import change
from volumetry.deliver.result import finding_document
from volumetry.measure.table import fluid_shown
from volumetry.measure.table import shown as measures_shown
from volumetry.wording import solid_name

if TYPE_CHECKING:
    from volumetry.batch import Rows, ScanFolder
    from volumetry.intake import Intake
    from volumetry.scan import Inspection

Document = Mapping[str, Any]

_STAGE_NAMES = {
    "read": "reading and checking the series",
    "segment": "finding lungs and lesions",
    "measure": "measuring",
    "deliver": "writing results and report",
    "dicom": "writing SEG and SR, and reading them back",
    "phantoms": "measuring phantoms",
    "syntaxes": "decoding every lossless transfer syntax",
    "model": "reproducing the model's probe",
}
_STATUS_STYLE = {"measured": "bold green", "review": "bold yellow", "refused": "bold red", "failed": "bold red"}


def _out() -> Console:
    return Console(highlight=False)


def _log_line(**facts: object) -> None:
    with suppress(OSError):  # a full disk behind the log costs no result
        sys.stderr.write(json.dumps({"time": round(time.time(), 3), **facts}) + "\n")


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner that names the stage on a terminal, a JSON line per stage elsewhere."""
    if quiet:
        yield lambda _: None
    elif not sys.stderr.isatty():
        yield lambda stage: _log_line(stage=stage)
    else:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda stage: progress.update(task, description=_STAGE_NAMES.get(stage, stage))


@contextmanager
def scans(total: int, quiet: bool) -> Iterator[Callable[["ScanFolder", Document, bool], None]]:
    """A bar over the scans of a batch with counts by status; JSON lines when not on a terminal."""
    from volumetry.batch.progress import Tally

    tally = Tally(total)
    if quiet:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():

        def logged(scan: "ScanFolder", document: Document, known: bool) -> None:
            tally.add(document, known=known)
            said = {"scan_id": scan.scan_id, "status": document["status"], "code": document["code"]}
            _log_line(**said, already_there=known, **tally.as_document())

        yield logged
        return
    columns = (
        TextColumn("scans"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, counts="")

        def told(_scan: "ScanFolder", document: Document, known: bool) -> None:
            tally.add(document, known=known)
            counts = " ".join(f"{n} {name}" for name, n in tally.counts.items() if n)
            rate = "" if tally.per_minute is None else f" {tally.per_minute:.1f}/min"
            left = "" if tally.left_s is None else f", {tally.left_s / 60:.0f} min left"
            progress.update(task, advance=1, counts=f"{counts}{rate}{left}")

        yield told


@contextmanager
def steps(quiet: bool) -> Iterator[Callable[[int, int, Mapping[str, float]], None] | None]:
    """A bar over a training's steps with its latest figures; every hundredth step as a JSON line elsewhere."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():

        def logged(step: int, total: int, figures: Mapping[str, float]) -> None:
            if step % 100 == 0 or step == total:
                _log_line(step=step, steps=total, **{name: round(value, 5) for name, value in figures.items()})

        yield logged
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, figures="")

        def told(step: int, total: int, figures: Mapping[str, float]) -> None:
            text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            progress.update(task, completed=step, total=total, figures=text)

        yield told


def inspection_document(found: "Inspection") -> dict[str, Any]:
    """What `inspect` found, for a file: the verdict, every series, and the folder's own findings."""
    return {
        "verdict": found.verdict,
        "flags": [finding_document(finding) for finding in found.findings],
        "series": [
            {
                "series_uid": stack.series_uid,
                "slice_count": stack.slice_count,
                "measurable": stack.verdict == "measurable",
                "verdict": stack.verdict,
                "chosen": stack.chosen,
                "shape_kji": stack.grid and list(stack.grid.shape_kji),
                "spacing_kji_mm": stack.grid and list(stack.grid.spacing_kji_mm),
                "coverage_mm": stack.coverage_mm,
                "thickness_mm": stack.series and stack.series.thickness_mm,
                "kernel": stack.series and stack.series.kernel,
                "kvp": stack.series and stack.series.kvp,
                "flags": [finding_document(finding) for finding in stack.findings],
            }
            for stack in found.stacks
        ],
    }


def inspection(document: Document) -> None:
    """A table of the series, then what was found."""
    console = _out()
    table = Table("", "slices", "matrix", "spacing k j i mm", "coverage mm", "thickness mm", "kernel", "verdict")
    for n, stack in enumerate(document["series"], start=1):
        spacing, coverage = stack["spacing_kji_mm"], stack["coverage_mm"]
        table.add_row(
            f"{n}{' *' if stack['chosen'] else ''}",
            str(stack["slice_count"]),
            "" if stack["shape_kji"] is None else " x ".join(map(str, stack["shape_kji"][1:])),
            "" if spacing is None else " ".join(f"{mm:.3f}" for mm in spacing),
            "" if coverage is None else f"{coverage:.1f}",
            "" if stack["thickness_mm"] is None else f"{stack['thickness_mm']:g}",
            stack["kernel"] or "",
            Text(stack["verdict"], style="green" if stack["measurable"] else "red"),
        )
    console.print(table)
    for n, stack in enumerate(document["series"], start=1):
        if stack["flags"]:
            console.print(f"series {n}:")
            flags(stack["flags"])
    flags(document["flags"])
    measurable = document["verdict"] == "measurable"
    said = (
        "measurable; * is the series that would be measured" if measurable else f"refused: {document['verdict']}"
    )
    console.print(Text(said, style="bold green" if measurable else "bold red"))


def result(document: Document) -> None:
    """One measured scan: verdict, numbers, flags."""
    console = _out()
    console.print(Text(f"{document['scan_id']}: {document['status']}", style=_STATUS_STYLE[document["status"]]))
    spans = document.get("interval_percent") or {}
    table = Table("", "both mL", "% of lung", *(["interval"] if spans else []), "right mL", "left mL")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for key, name in _names(document).items():
        low, high = spans.get(key, (None, None))
        span = "" if low is None else f"{low:.2f} to {high:.2f}"
        table.add_row(
            name,
            f"{document['volumes_ml'][key]:.1f}",
            _share(document, key),
            *([span] if spans else []),
            f"{document['sides']['right'][key]:.1f}",
            f"{document['sides']['left'][key]:.1f}",
        )
    console.print(table)
    change(document, console)
    flags(document["flags"])
    measures = (f"{name}: {text}" for name, text in measures_shown(document))
    line = "; ".join(filter(None, (fluid_shown(document), *measures)))
    console.print(
        line.replace("\u00d7", "x"), style="dim"
    )  # a terminal in the C locale has no multiplication sign
    level = document.get("interval_level")
    stated = "" if level is None else f"intervals: {100 * level:.0f} %; "
    console.print(
        f"{stated}component rule: {document['component_rule']}; {document['timing_s']['total']:.1f} s; "
        f"{solid_name(document)} and all disease are solid and lesion in the files",
        style="dim",
    )


def correction(document: Document) -> None:
    """A corrected result, and the automatic one beside it."""
    result(document)
    table = Table("", "corrected mL", "%", "automatic mL", "%", title="corrected and automatic, of the same lungs")
    for column in table.columns[1:]:
        column.justify = "right"
    for key, name in _names(document).items():
        if key == "aerated":
            continue
        table.add_row(
            name,
            *(
                text
                for found in (document, document["automatic"])
                for text in (f"{found['volumes_ml'][key]:.1f}", _share(found, key))
            ),
        )
    _out().print(table)


def _names(document: Document) -> dict[str, str]:
    """What the rows are called: as on the report."""
    return {
        "lung": "lung",
        "aerated": "aerated",
        "ground_glass": "ground glass",
        "solid": solid_name(document),
        "lesion": "all disease",
    }


def _share(document: Document, key: str) -> str:
    percent = document["percent_of_lung"].get(key)
    return "" if percent is None else f"{percent:.2f}"


def flags(found: list[Document]) -> None:
    """What a reader must look at, with what to do; repairs and notes below it, dimmed."""
    console = _out()
    for flag in found:
        look = flag["severity"] == "look"
        console.print(Text(f"  {flag['code']}: {flag['message']}", style="dim" if look else "yellow"))
        if not look:
            console.print(Text(f"    {flag['hint']}", style="dim"))


def dashboard(link: str) -> None:
    """Where dask shows its workers."""
    if sys.stderr.isatty():
        sys.stderr.write(f"dask dashboard: {link}\n")
    else:
        _log_line(dashboard=link)


def workers(count: int, reason: str) -> None:
    """How many workers a batch has that may choose, and why."""
    if sys.stderr.isatty():
        sys.stderr.write(
            f"{count} workers: {reason}\n" if count else f"no workers, one scan at a time: {reason}\n"
        )
    else:
        _log_line(workers=count, because=reason)


def look(lines: Iterable[str]) -> None:
    """What a person must look at, a line each on standard error; shown also where only errors are."""
    for line in lines:
        with suppress(OSError):
            sys.stderr.write(f"look: {line}\n")


def intake(taken: "Intake") -> None:
    """One line per series with what is proposed, and where the list is."""
    table = Table()
    table.add_column("scan", overflow="fold", ratio=3)
    table.add_column("use", no_wrap=True)
    table.add_column("reason", overflow="fold", ratio=5)
    styles = {"yes": "bold green", "tie": "bold yellow"}
    for line in taken.lines:
        same = f"; same images as {', '.join(line.same_images)}" if line.same_images else ""
        table.add_row(line.scan_id, Text(line.use, style=styles.get(line.use, "")), Text(f"{line.reason}{same}"))
    console = _out()
    console.print(table)
    if taken.others:
        console.print(f"{taken.others} files do not belong to a series and were left where they are", style="dim")
    console.print(f"check {taken.manifest}, then: volumetry batch {taken.manifest} --out results", soft_wrap=True)


_NUMBERS = ("lung\nmL", "lesion\n%", "ground\nglass %", "solid\n%")
_OF_NUMBERS = 8 + 5 + 6 + 7 + 5 + 8
"""Characters of the status and the four numbers, and of the lines between seven columns."""
_LEAST_CODES, _LEAST_ID = 12, 12


def batch(documents: Iterable[Document]) -> None:
    """One line per scan, in the width of the terminal: ids and codes are folded where they must, never cut."""
    console, rows = _out(), list(documents)
    free = console.width - _OF_NUMBERS
    if free < _LEAST_CODES + _LEAST_ID:
        for document in rows:
            named = zip(_NUMBERS, _numbers(document), strict=True)
            numbers = [f"{' '.join(name.split())} {text}" for name, text in named if text]
            said = ", ".join(text for text in (document["status"], *numbers, _codes(document)) if text)
            console.print(Text(f"{document['scan_id']}: {said}", overflow="fold"))
        return
    longest = max((len(document["scan_id"]) for document in rows), default=0)
    ids = max(_LEAST_ID, min(longest, free - _LEAST_CODES))
    table = Table(padding=0)
    table.add_column("scan", overflow="fold", width=ids)
    table.add_column("status", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("codes", overflow="fold", max_width=free - ids)
    for document in rows:
        status = Text(document["status"], style=_STATUS_STYLE[document["status"]])
        table.add_row(document["scan_id"], status, *_numbers(document), _codes(document))
    console.print(table)


def _numbers(document: Document) -> list[str]:
    share = document.get("percent_of_lung", {})
    lung = document.get("volumes_ml", {}).get("lung")
    percent = [f"{share[key]:.2f}" if key in share else "" for key in ("lesion", "ground_glass", "solid")]
    return ["" if lung is None else f"{lung:.0f}", *percent]


def _codes(document: Document) -> str:
    codes = " ".join(flag["code"] for flag in document["flags"] if flag["severity"] != "look")
    return codes or document["code"] or ""


def people(rows: "Rows") -> None:
    """What people said that a later result has left open."""
    open_ones = [(scan.scan_id, rows.current(scan)) for scan in rows.scans]
    for scan_id, current in open_ones:
        if current.outdated is not None:
            said = f"{current.outdated['decision']} by {current.outdated['name']}"
            _out().print(Text(f"look: {scan_id}: decided on an earlier value ({said})", style="yellow"))
        if current.note:
            kept = "the reader's value is kept; it was " if current.correction is not None else ""
            _out().print(Text(f"look: {scan_id}: {kept}{current.note}", style="yellow"))
