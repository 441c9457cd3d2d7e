"""What the scans measured: ``results.csv`` of a batch, or any table with its first columns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from volumetry.deliver.people import NAMES, READER, left_out
from volumetry.domain import Status
from volumetry.errors import UsageError
from volumetry.measure import table as measures
from volumetry.measure.components import HuCuts, cuts_named
from volumetry.storage.csv_tables import Problems, Row, Table, number_in, read_table

MEASURES = ("lesion", "solid", "ground_glass")
_SHARES = tuple(f"percent_of_lung.{measure}" for measure in MEASURES)
_VOLUMES = ("volumes_ml.lung", *(f"volumes_ml.{measure}" for measure in MEASURES))
_RULES = tuple(f"components_by_rule.{r}.{c}_ml" for r in ("network", "hu") for c in ("solid", "ground_glass"))
_OF_THE_SCANNER = ("series.thickness_mm", "series.kvp")
_BINS = "hu_bins_ml."
_PARTS, _OF_THE_MODEL = "interval_parts.", "reference"
_TEXTS = ("series.kernel", "series.manufacturer", "series.model_name", "series.patient_position")
OF_WHOM = ("subject", "visit")
PIXELS = "provenance.pixels_sha256"
"""Digest of the images that were measured."""
PROVENANCE = (
    *("provenance.software_version", "provenance.model", "provenance.model_sha256", "provenance.config_sha256"),
    "component_rule",
)


@dataclass(frozen=True, slots=True)
class ScanRow:
    """The result of one scan; what is not known is absent from the mappings.

    Parameters
    ----------
    scan_id, status
        As in results.csv.
    code
        Why there is no number; None for a scan with numbers.
    percent, ml
        By measure; `ml` also holds ``lung``. Empty if the scan was refused or failed.
    interval_percent
        [low, high] of each share, where the results give one.
    interval_level
        Its stated coverage, 0 to 1; None where the row states none.
    model_part
        Of each interval: the standard deviation of the model's own part, common to all its scans, as a fraction of
        the whole, 0 to 1; absent where the results do not state the parts.
    hu_cuts
        Of the HU bins and the HU rule, as the names of the columns state them; None where they state none.
    hu_bins_ml
        Volume of the lung in each bin by its name; empty unless all bins of one set of cuts are there.
    numbers
        Further numbers by the name of their column.
    facts
        What the header said, and which program measured, by the name of the column.
    flags
        Codes of the scan; None where the table does not state them.
    said
        What people decided and corrected, and the values that this concerns, as text by the name of the column.
    """

    scan_id: str
    status: Status
    code: str | None
    percent: Mapping[str, float] = field(default_factory=dict)
    ml: Mapping[str, float] = field(default_factory=dict)
    interval_percent: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    interval_level: float | None = None
    model_part: Mapping[str, float] = field(default_factory=dict)
    hu_cuts: HuCuts | None = None
    hu_bins_ml: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] | None = None
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_of_reader(self) -> bool:
        """Whether the numbers were counted on a reader's mask."""
        return self.said.get("reading") == READER

    @property
    def awaits_a_reader(self) -> bool:
        """Whether it has flags (status review) that nobody has accepted."""
        return self.status == Status.REVIEW and self.said.get("decision") != "accept"

    @property
    def is_evaluable(self) -> bool:
        """Whether the scan has numbers."""
        return self.code is None

    @property
    def aerated_hu(self) -> float | None:
        """Mean HU of the lesion-free lung: (mean lung HU x lung - lesion weight) / (lung - lesion)."""
        mean_hu, weight = self.numbers.get("mean_lung_hu"), self.numbers.get("lesion_weight_hu_ml")
        if mean_hu is None or weight is None or "lung" not in self.ml:
            return None
        aerated_ml = self.ml["lung"] - self.ml["lesion"]
        return (mean_hu * self.ml["lung"] - weight) / aerated_ml if aerated_ml > 0 else None


def results_file(results: Path) -> Path:
    """The table itself, given a batch's folder or the table; raises UsageError if a folder holds none."""
    if not results.is_dir():
        return results
    table = results / "results.csv"
    if not table.is_file():
        raise UsageError(f"the folder {results.name} holds no results.csv: give a batch's folder or a table")
    return table


def read_results(results: Path) -> dict[str, ScanRow]:
    """Every scan by its id.

    A refused or failed scan has its code and no number, whatever stands in its cells.

    Parameters
    ----------
    results
        A batch's folder, or a table with the columns of results.csv.

    Returns
    -------
    dict[str, ScanRow]
        In the order of the table.

    Raises
    ------
    UsageError
        If there is no table.
    TableError
        If a column is missing, a scan is there twice, or a cell is not what it must be.
    """
    table = read_table(results_file(results), ("scan_id", "status", *_VOLUMES, *_SHARES))
    problems = Problems(table.name)
    scans: dict[str, ScanRow] = {}
    first_seen: dict[str, int] = {}
    columns = _Columns.of(table)
    for row in table.rows:
        scan = _scan_of(row, columns, problems)
        if scan.scan_id in first_seen:
            problems.add(row.number, "scan_id", f"the same scan as in row {first_seen[scan.scan_id]}")
        first_seen.setdefault(scan.scan_id, row.number)
        scans.setdefault(scan.scan_id, scan)
    problems.raise_if_any()
    return scans


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns of the table hold what, looked up once.

    Parameters
    ----------
    texts, said
        Facts, and what people said.
    numbers
        Further numbers.
    parts
        Of the intervals, by measure.
    bins
        HU bins.
    """

    texts: tuple[str, ...]
    said: tuple[str, ...]
    numbers: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    bins: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> "_Columns":
        """The columns of a table of results."""
        there = set(table.columns)
        texts = (*_TEXTS, *PROVENANCE, *OF_WHOM, PIXELS, "series.contrast")
        said = (*NAMES, "reading", *_SHARES, *(f"automatic.{name}" for name in _SHARES))
        numbers = (*(measure.key for measure in measures.computed()), *_OF_THE_SCANNER, *_RULES)
        parts = [name for name in table.columns if name.startswith(_PARTS)]
        return cls(
            tuple(name for name in texts if name in there),
            tuple(name for name in said if name in there),
            tuple(name for name in numbers if name in there),
            {measure: tuple(name for name in parts if name.endswith(f".{measure}")) for measure in MEASURES},
            tuple(name for name in table.columns if name.startswith(_BINS)),
        )


def _scan_of(row: Row, columns: _Columns, problems: Problems) -> ScanRow:
    scan_id, status_text = row.cells["scan_id"], row.cells["status"].casefold()
    if not scan_id:
        problems.add(row.number, "scan_id", "is empty")
    if status_text not in set(Status):
        problems.add(row.number, "status", f"must be one of {', '.join(Status)}")
        return ScanRow(scan_id, Status.FAILED, "UNKNOWN_STATUS")
    status = Status(status_text)
    facts = {name: row.cells[name] for name in columns.texts if row.cells[name]}
    said = _said(row, columns, problems)
    if said.get("reading") == READER:  # the model of a correction is the automatic one's, and a reader
        facts.pop("provenance.model", None)
    if status in (Status.REFUSED, Status.FAILED):
        return ScanRow(scan_id, status, row.cells.get("code") or status.upper(), facts=facts, said=said)
    if (excluded := left_out(said)) is not None:  # it has numbers in results.csv, and none here
        return ScanRow(scan_id, status, excluded, facts=facts, said=said)
    shares = {name: _number(row, name, problems, 0, 100) for name in _SHARES}
    volumes = {name: _number(row, name, problems, 0) for name in _VOLUMES}
    others = {name: _number(row, name, problems) for name in columns.numbers}
    if volumes["volumes_ml.lung"] == 0:
        problems.add(row.number, "volumes_ml.lung", "must be above 0 mL in a scan that was measured")
    if None in shares.values() or None in volumes.values():
        return ScanRow(scan_id, status, "NOT_MEASURED", facts=facts, said=said)
    return ScanRow(
        scan_id,
        status,
        None,
        percent=_known(shares),
        ml=_known(volumes),
        interval_percent=_intervals(row, problems),
        interval_level=_level(row, problems),
        model_part=_model_part(row, columns, problems),
        hu_cuts=_hu_cuts(row, columns),
        hu_bins_ml=_hu_bins_ml(row, columns, problems),
        numbers={name: value for name, value in others.items() if value is not None},
        facts=facts,
        flags=tuple(c for c in row.cells["flags"].split(";") if c) if "flags" in row.cells else None,
        said=said,
    )


def _said(row: Row, columns: _Columns, problems: Problems) -> dict[str, str]:
    """Cells of what people said; the shares too, for the listing beside them."""
    if row.cells.get("decision", "") not in ("", "accept", "exclude", "repeat"):
        problems.add(row.number, "decision", "must be empty or one of accept, exclude, repeat")
    return {name: row.cells[name] for name in columns.said if row.cells[name]}


def _number(
    row: Row, column: str, problems: Problems, low: float | None = None, high: float | None = None
) -> float | None:
    text = row.cells[column]
    if not text:
        return None
    value = number_in(text)
    if value is None:
        problems.add(row.number, column, f"{text!r} is not a number")
    elif (low is not None and value < low) or (high is not None and value > high):
        allowed = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
        problems.add(row.number, column, f"{text} is not {allowed}")
        return None
    return value


def _level(row: Row, problems: Problems) -> float | None:
    level = _number(row, "interval_level", problems) if "interval_level" in row.cells else None
    if level is not None and not 0 < level < 1:
        problems.add(row.number, "interval_level", f"{level:g} is not a level between 0 and 1, such as 0.95")
        return None
    return level


def _model_part(row: Row, columns: _Columns, problems: Problems) -> dict[str, float]:
    """The parts were added in quadrature."""
    found: dict[str, float] = {}
    for measure, names in columns.parts.items():
        parts = {name: _number(row, name, problems, 0) for name in names}
        own = parts.get(f"{_PARTS}{_OF_THE_MODEL}.{measure}")
        whole = math.hypot(*(part or 0.0 for part in parts.values()))
        if own is not None and whole > 0:
            found[measure] = own / whole
    return found


def _hu_cuts(row: Row, columns: _Columns) -> HuCuts | None:
    """By the columns that this row fills: a table of two batches has the bins of both."""
    filled = [name for name in columns.bins if row.cells[name]] or columns.bins
    return cuts_named(name.removeprefix(_BINS) for name in filled)


def _hu_bins_ml(row: Row, columns: _Columns, problems: Problems) -> dict[str, float]:
    """None unless all bins of one set of cuts are there."""
    bins = {name.removeprefix(_BINS): _number(row, name, problems, 0) for name in columns.bins}
    known = {name: value for name, value in bins.items() if value is not None}
    return known if known and cuts_named(known) is not None else {}


def _known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {name.partition(".")[2]: value for name, value in numbers.items() if value is not None}


def _intervals(row: Row, problems: Problems) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for measure in MEASURES:
        column = f"interval_percent.{measure}"
        text = row.cells.get(column, "")
        if not text:
            continue
        ends = [number_in(part.strip()) for part in text.split(";")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] > ends[1]:
            problems.add(row.number, column, f"{text!r} is not an interval such as 8.1;9.4")
        else:
            found[measure] = (ends[0], ends[1])
    return found
