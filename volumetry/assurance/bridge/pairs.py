"""The scans of two batches, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from volumetry.storage.csv_tables import number_in, read_table
from volumetry.trial.results import ScanRow, read_results, results_file

PIXELS = "provenance.pixels_sha256"
_DIGITS = 9
"""Of a difference; what floating point adds beyond is no shift."""
QUANTITIES = (("lesion", "points"), ("ground_glass", "points"), ("solid", "points"), ("lung", "%"))
"""What is compared, and in what its difference is stated: points of lung, or per cent of the older volume."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One scan in both batches; a side is None where the scan is not in that batch.

    Parameters
    ----------
    same_pixels
        Whether both measured the same images; None where a table does not say.
    """

    scan_id: str
    old: ScanRow | None
    new: ScanRow | None
    same_pixels: bool | None = None

    @property
    def is_compared(self) -> bool:
        """Whether both have numbers of the same images."""
        both = self.old is not None and self.new is not None and self.old.is_evaluable and self.new.is_evaluable
        return both and self.same_pixels is not False


@dataclass(frozen=True, slots=True)
class Shift:
    """How one number of one scan moved, new minus old.

    Parameters
    ----------
    old, new
        Percent of lung, or mL.
    difference
        In `unit`.
    """

    scan_id: str
    quantity: str
    unit: str
    old: float
    new: float
    difference: float


def pairs_of(old: Path, new: Path) -> list[Pair]:
    """Every scan of both batches, in the order of the older one.

    Parameters
    ----------
    old, new
        Folders of batches, or tables with the columns of results.csv.

    Returns
    -------
    list[Pair]
        Joined by scan_id.

    Raises
    ------
    UsageError
        If there is no table.
    TableError
        If a table is wrong.
    """
    rows = read_results(old), read_results(new)
    pixels = _pixels_of(old), _pixels_of(new)
    ids = [*rows[0], *(scan_id for scan_id in rows[1] if scan_id not in rows[0])]
    rows = _automatic(rows[0], old), _automatic(rows[1], new)
    return [
        Pair(scan_id, rows[0].get(scan_id), rows[1].get(scan_id), _same(scan_id, pixels[0], pixels[1]))
        for scan_id in ids
    ]


def shifts_of(pairs: Sequence[Pair]) -> Iterator[Shift]:
    """How every number moved, of the scans that can be compared."""
    for pair in pairs:
        if not pair.is_compared or pair.old is None or pair.new is None:
            continue
        for quantity, unit in QUANTITIES:
            if unit == "points":
                old, new = pair.old.percent[quantity], pair.new.percent[quantity]
                difference = new - old
            else:
                old, new = pair.old.ml[quantity], pair.new.ml[quantity]
                if old <= 0:
                    continue
                difference = 100 * (new - old) / old
            yield Shift(pair.scan_id, quantity, unit, old, new, round(difference, _DIGITS) + 0.0)  # no -0.0


def changes_of(pairs: Sequence[Pair]) -> Iterator[tuple[str, str, str, str]]:
    """What else changed: scan_id, what, old, new."""
    for pair in pairs:
        if pair.old is None or pair.new is None:
            side = "only in the new batch" if pair.old is None else "only in the old batch"
            yield pair.scan_id, side, _status(pair.old), _status(pair.new)
            continue
        if pair.same_pixels is False:
            yield pair.scan_id, "other images under this id: not compared", "", ""
        if pair.old.is_of_reader or pair.new.is_of_reader:
            was, now = ("of a reader" if row.is_of_reader else "automatic" for row in (pair.old, pair.new))
            yield pair.scan_id, "value that counts; the automatic ones are compared", was, now
        if (pair.old.status, pair.old.code) != (pair.new.status, pair.new.code):
            yield pair.scan_id, "status", _status(pair.old), _status(pair.new)
        if pair.old.flags is not None and pair.new.flags is not None:
            gone = sorted(set(pair.old.flags) - set(pair.new.flags))
            come = sorted(set(pair.new.flags) - set(pair.old.flags))
            if gone or come:
                yield pair.scan_id, "flags", " ".join(gone), " ".join(come)


def _automatic(rows: Mapping[str, ScanRow], results: Path) -> dict[str, ScanRow]:
    """The rows with their automatic numbers: a reader's correction of one batch is no shift of the model."""
    automatic = dict(rows)
    if not any(row.is_of_reader for row in rows.values()):
        return automatic
    for row in read_table(results_file(results), ("scan_id",)).rows:
        scan = rows[row.cells["scan_id"]]
        if scan.is_of_reader and scan.is_evaluable:
            percent, ml = (_numbers(row.cells, f"automatic.{of}.") for of in ("percent_of_lung", "volumes_ml"))
            known = {"lesion", "ground_glass", "solid"} <= percent.keys() and "lung" in ml
            code = None if known else "AUTOMATIC_VALUE_UNKNOWN"
            automatic[scan.scan_id] = replace(scan, code=code, percent=percent, ml=ml, flags=None)
    return automatic


def _numbers(cells: Mapping[str, str], prefix: str) -> dict[str, float]:
    found = {name.removeprefix(prefix): number_in(text) for name, text in cells.items() if name.startswith(prefix)}
    return {name: value for name, value in found.items() if value is not None}


def _status(row: ScanRow | None) -> str:
    return "" if row is None else f"{row.status.value}{f' {row.code}' if row.code else ''}"


def _pixels_of(results: Path) -> Mapping[str, str]:
    table = read_table(results_file(results), ("scan_id",))
    return {row.cells["scan_id"]: row.cells.get(PIXELS, "") for row in table.rows}


def _same(scan_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool | None:
    a, b = old.get(scan_id), new.get(scan_id)
    return a == b if a and b else None
