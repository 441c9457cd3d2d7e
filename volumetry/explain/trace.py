"""A row, the rows of changes.csv that an aggregate stands on, and the scans behind them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from volumetry.batch.audit import NAME as AUDIT
from volumetry.errors import UsageError
from volumetry.explain.row import TRIAL, Asked, asked
from volumetry.explain.scan import Batch, Trace
from volumetry.storage.csv_tables import Row, number_in, read_table
from volumetry.storage.digests import file_sha256

_NAMED = ("baseline_scan_id", "scan_id")
_SAME = 1e-9
_CHANGES, _RESULTS = "changes.csv", "results.csv"
_SHARE = "percent_of_lung."


def explain(table: Path, which: str, results: Path | None = None) -> Trace:
    """Trace one row of a batch's or a trial's table back to files and persons. Changes nothing.

    Parameters
    ----------
    table
        A CSV file of a batch's folder or of a trial's, or any with a column ``scan_id``.
    which
        The row's number, as a spreadsheet counts, or a scan_id that one row is of.
    results
        The batch's folder. Without it, that of the table, or, for a trial, a folder beside it whose results.csv
        is the one that the trial was computed from. Of a trial that was computed from a table without a batch,
        such as the sample, the scans are traced to the rows of that table, and the trace says that it ends there.

    Returns
    -------
    Trace
        What json can write.

    Raises
    ------
    UsageError
        If there is no such row, or the batch is not found.
    """
    found = asked(table, which)
    out, has_log = _source_of(found, results)
    trace: Trace = {
        "table": table.name,
        "row": found.row.number,
        "cells": {name: cell for name, cell in found.row.cells.items() if cell},
        "made": {"by": found.kind, **found.made},
        "batch" if has_log else "table_of_results": _of_source(found, out),
    }
    behind = [] if _scans_of(found.row) else list(_behind(found))
    if behind:
        trace["stands_on"] = [_contribution(row, found.row.cells.get("measure")) for row in behind]
    scan_ids = dict.fromkeys(scan_id for row in (found.row, *behind) for scan_id in _scans_of(row))
    if has_log:
        batch = Batch(out)
        trace["scans"] = [batch.scan(scan_id) for scan_id in scan_ids]
    else:
        trace["scans"] = list(_rows_of(out, scan_ids))
    remarks = list(_remarks(found, trace))
    return trace | ({"remarks": remarks} if remarks else {})


def _source_of(found: Asked, results: Path | None) -> tuple[Path, bool]:
    """Folder of the results, and whether it is a batch's, with a log."""
    folder = found.path.resolve().parent
    if results is not None:
        out = results if results.is_dir() else results.parent
        if (out / AUDIT).is_file():
            return out, True
        if found.kind == "trial" and (out / _RESULTS).is_file():
            return out, False
        raise UsageError(f"{results.name} is not a batch's folder: it has no {AUDIT}")
    if found.kind == "batch":
        return folder, True
    if found.kind == "table":
        raise UsageError(
            f"{found.path.name} is a table of neither a batch nor a trial: it has no {AUDIT} or {TRIAL} beside it",
            hint="Tables of `volumetry batch` and `volumetry trial` can be traced; give the batch by --results.",
        )
    beside = [folder.parent, *sorted(folder.parent.iterdir()), Path(), *sorted(Path().iterdir())]
    same = [place for place in beside if _digest_of(place / _RESULTS) == found.made.get("results_sha256")]
    for place in same:
        if (place / AUDIT).is_file():
            return place, True
    if same:
        return same[0], False
    raise UsageError(
        "the batch that this table was made from is not found beside it, or has changed since",
        hint="Give the batch's folder, or that of the table of results, by --results.",
    )


def _digest_of(path: Path) -> str:
    with contextlib.suppress(OSError):  # nothing of ours
        return file_sha256(path)
    return "unreadable"


def _of_source(found: Asked, out: Path) -> Trace:
    own = out / _RESULTS
    trace: Trace = {"folder": out.resolve().name}
    if found.kind == "trial" and own.is_file():
        trace["results_are_those_used"] = file_sha256(own) == found.made["results_sha256"]
    return trace


def _rows_of(out: Path, scan_ids: Iterable[str]) -> Iterator[Trace]:
    """Scans of a table of results, as far as its rows say anything of them."""
    rows = {row.cells["scan_id"]: row for row in read_table(out / _RESULTS, ("scan_id",)).rows}
    for scan_id in scan_ids:
        if scan_id not in rows:
            yield {"scan_id": scan_id, "remark": f"{_RESULTS} has no such scan"}
            continue
        cells = rows[scan_id].cells
        percent = {
            name.removeprefix(_SHARE): value
            for name, text in cells.items()
            if name.startswith(_SHARE) and (value := number_in(text)) is not None
        }
        stated = {name: cells[name] for name in ("status", "code") if cells.get(name)}
        made = {name: text for name, text in cells.items() if name.startswith("provenance.") and text}
        counted = {"value": {"percent_of_lung": percent}} if percent else {}
        yield {"scan_id": scan_id, "row_of_results": rows[scan_id].number, **stated, **counted, **made}


def _scans_of(row: Row) -> list[str]:
    return [row.cells[name] for name in _NAMED if row.cells.get(name)]


def _behind(found: Asked) -> Iterator[Row]:
    """Rows of changes.csv that went into an aggregate of the trial: of its visit, measure and arms."""
    changes = found.path.resolve().parent / _CHANGES
    cells = found.row.cells
    if found.kind != "trial" or not changes.is_file() or not cells.get("visit"):
        return
    arms = {cells[name] for name in ("arm", "arm_a", "arm_b") if cells.get(name)}
    measure = {"lung": "lesion"}.get(cells.get("measure", ""), cells.get("measure"))  # one scan has both
    for row in read_table(changes, ("visit", "measure", "arm")).rows:
        of_measure = measure in (None, row.cells["measure"])
        of_arm = not arms or row.cells["arm"] in ("", *arms)  # while blinded, no row of changes.csv has one
        if row.cells["visit"] == cells["visit"] and of_measure and of_arm:
            yield row


def _contribution(row: Row, measure: str | None) -> Trace:
    """What a row of changes.csv adds to an aggregate; of another measure, only the scans are named."""
    if measure not in (None, row.cells["measure"]):
        wanted: tuple[str, ...] = ("subject", "arm", *_NAMED, "status", "reason")
        return {"row_of_changes": row.number} | {name: row.cells[name] for name in wanted if row.cells.get(name)}
    wanted = (
        *("subject", "arm", "measure", *_NAMED, "status", "reason", "baseline_percent", "value_percent"),
        *("relative_percent", "absolute_points", "grade", "notes"),
    )
    return {"row_of_changes": row.number} | {name: row.cells[name] for name in wanted if row.cells.get(name)}


def _remarks(found: Asked, trace: Mapping[str, Any]) -> Iterator[str]:
    if found.made.get("as_it_was_made") is False:
        yield "the table is not as it was made: it was edited since, or belongs to another run"
    source = trace.get("batch") or trace["table_of_results"]
    if source.get("results_are_those_used") is False:
        yield "results.csv is another now than the one that the trial was computed from"
    if "batch" not in trace:
        yield (
            "the trial was computed from a table of results and not from a batch: the trace ends at the rows of "
            "that table, without records, log, masks, corrections or decisions"
        )
    if not trace["scans"]:
        yield "no scan stands behind this row; in changes.csv each row names its scans"
    yield from _differences(found, {scan["scan_id"]: scan for scan in trace["scans"]})


def _differences(found: Asked, scans: Mapping[str, Trace]) -> Iterator[str]:
    """Values of the row that are not those that count in the batch now."""
    cells = found.row.cells
    pairs = [
        (cells.get(scan), cells.get(value), cells.get("measure", ""))
        for scan, value in (("baseline_scan_id", "baseline_percent"), ("scan_id", "value_percent"))
    ]
    pairs += [
        (cells.get("scan_id"), cells.get(f"percent_of_lung.{measure}"), measure)
        for measure in ("lesion", "solid", "ground_glass")
        if found.kind != "trial"
    ]
    for scan_id, text, measure in pairs:
        value = number_in(text or "")
        now = scans.get(scan_id or "", {}).get("value", {}).get("percent_of_lung", {}).get(measure)
        if value is not None and now is not None and abs(value - now) > _SAME * max(1.0, abs(now)):
            yield f"{scan_id}: the row has {measure} {value:g} %, and the value that counts now is {now:g} %"
