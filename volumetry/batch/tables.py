"""The tables that are derived from records and log: results, scans, queries, decisions and corrections.csv."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from volumetry.batch import queries, status
from volumetry.batch.among import Question, codes_by_scan, questions_among
from volumetry.batch.audit import Audit
from volumetry.batch.current import Current, Document, current_document, current_of
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger
from volumetry.batch.records import TornError, read_record
from volumetry.deliver import columns, people, row_of
from volumetry.deliver.batch_columns import COLUMNS as OF_THE_BATCH
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes, header_of
from volumetry.errors import OutputError
from volumetry.measure.components import HuCuts
from volumetry.storage.atomic import prepare_folder, whole_file
from volumetry.storage.csv_tables import csv_line, guarded
from volumetry.storage.digests import file_sha256

SCANS = ("scan_id", "subject", "visit", "site", "folder")
"""``folder`` may name the patient, where the id is a digest for that very reason: scans.csv is the key between ids
and folders, stays where the scans are, and goes into no export."""
DECISIONS = ("scan_id", "decision", "name", "time", "reason", "record_sha256", "holds")
CORRECTIONS = (
    *("scan_id", "correction", "counted", "reader", "corrected", "reason", "measured_with", "record_sha256"),
    *("place", "note"),
)
"""``counted`` is ``yes`` for the one whose value stands in results.csv; ``record_sha256`` is that of the automatic
result that was corrected."""
VISITS = ("subject", "visit", "day", "arm", "scan_id", "day_from")
"""Columns of visits.csv as the batch begins it; ``day_from`` only where a day is known."""
Lines = Callable[[], Iterable[bytes]]
"""Makes the lines of a file, each time anew: the file never lies in memory."""


class Rows(Sequence[Document]):
    """The current documents of a batch, in the order of its scans, read from its folder one at a time.

    Parameters
    ----------
    out
        The batch's folder.
    scans
        In the order of the rows.
    hu_cuts
        HU cuts that name the columns of the HU bins.
    audit
        The batch's log: what people decided and corrected.
    """

    def __init__(self, out: Path, scans: Sequence[ScanFolder], hu_cuts: HuCuts, audit: Audit) -> None:
        self.out = out
        self.scans = scans
        self.hu_cuts = hu_cuts
        self.audit = audit
        self.other_images: tuple[str, ...] = ()
        """Scans that this run measured from other images than the result that they replaced."""

    def __len__(self) -> int:
        return len(self.scans)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        if isinstance(index, slice):
            return Rows(self.out, self.scans[index], self.hu_cuts, self.audit)
        scan = self.scans[index]
        return current_document(self.out, scan.scan_id, self.current(scan))

    def current(self, scan: ScanFolder) -> Current:
        """What people said of a scan, as far as it concerns the value that counts.

        Parameters
        ----------
        scan
            One of the batch.

        Returns
        -------
        Current
            A decision and a correction, where there are any.
        """
        return current_of(self.out, scan.scan_id, self.audit)

    def questions(self) -> tuple[Question, ...]:
        """What is odd about the scans among each other.

        Returns
        -------
        tuple[Question, ...]
            Of the results that are there.
        """
        return questions_among(self.scans, self.out)

    def visits(self) -> list[status.VisitState]:
        """What came of each visit.

        Returns
        -------
        list[VisitState]
            Of the scans with subject and visit, and of the visits that are expected.
        """
        return status.visit_states(list(scan_states(self)), self.audit.expected)

    def folder(self, scan: ScanFolder) -> Path:
        """The folder of a scan's files.

        Parameters
        ----------
        scan
            One of the batch.

        Returns
        -------
        Path
            Below ``out/scans``.
        """
        return self.out / "scans" / scan.scan_id


def write_tables(rows: Rows, ledger: Ledger) -> None:
    """Derive every table; a file that would not change is left alone.

    Raises
    ------
    OutputError
        If a scan has no row, or a file cannot be written.
    """
    made: dict[str, Lines] = {
        "results.csv": lambda: _result_lines(rows, whole=True),
        "scans.csv": lambda: _scan_lines(rows.scans),
        "queries.csv": lambda: _query_lines(rows),
    }
    write_derived(_described(made | people_tables(ledger) | visit_tables(rows), rows), ledger)


def write_results(rows: Rows, ledger: Ledger, *, whole: bool) -> None:
    """Derive results.csv alone; unless `whole`, from the scans that are there so far and are not done again."""
    left_out = frozenset() if whole else ledger.owed
    write_derived({"results.csv": lambda: _result_lines(rows, whole=whole, left_out=left_out)}, ledger)


def write_answers(rows: Rows, ledger: Ledger) -> None:
    """Derive what changes with a decision or a correction; scans without files have no row yet."""
    made: dict[str, Lines] = {
        "results.csv": lambda: _result_lines(rows, whole=False),
        "queries.csv": lambda: _query_lines(rows),
    }
    write_derived(_described(made | people_tables(ledger) | visit_tables(rows), rows), ledger)


def _described(made: dict[str, Lines], rows: Rows) -> dict[str, Lines]:
    """Tables with the dictionary of their columns, and of those that a run alone writes or a person completes."""
    headers = {"scans.csv": SCANS} | {name: header_of(lines()) for name, lines in made.items()}
    if any(scan.subject for scan in rows.scans):
        headers["visits.csv"] = VISITS
    content = dictionary_bytes("batch", headers, {"visit_status.csv": status.COLUMNS})
    return made | {DICTIONARY: lambda: [content]}


def visit_tables(rows: Rows) -> dict[str, Lines]:
    """visit_status.csv once a scan has subject and visit, or a list of expected visits is known."""
    visits = rows.visits()
    return {"visit_status.csv": lambda: _visit_lines(visits)} if visits else {}


def people_tables(ledger: Ledger) -> dict[str, Lines]:
    """decisions.csv once there is a decision, corrections.csv once there is a correction."""
    audit = ledger.audit
    made: dict[str, Lines] = {}
    if audit.decisions:
        made["decisions.csv"] = lambda: _decision_lines(ledger.out, audit)
    if audit.corrections:
        made["corrections.csv"] = lambda: _correction_lines(ledger.out, audit)
    return made


def write_derived(made: Mapping[str, Lines], ledger: Ledger, gone: Iterable[str] = ()) -> None:
    """Write files by name from their lines, those that would change, and enter their digests in the log.

    Files of `gone` were derived once, and are removed.
    """
    digests = {name: sha256 for name, sha256 in ledger.audit.tables.items() if name not in set(gone)}
    for name, lines in made.items():
        sha256 = _digest(lines())
        path = ledger.out / name
        if not path.parent.is_dir():
            prepare_folder(path.parent)
        if not path.is_file() or file_sha256(path) != sha256:
            with whole_file(path) as stream:  # it never lies in memory
                stream.writelines(lines())
        digests[name] = sha256
    for name in set(gone):
        (ledger.out / name).unlink(missing_ok=True)
    if digests != ledger.audit.tables:
        ledger.audit.append("tables_written", files=digests)


def _digest(lines: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(line)
    return whole.hexdigest()


def _result_lines(rows: Rows, *, whole: bool, left_out: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """The header, and each scan's own row as written beside its mask; then whose it is, and what people said."""
    own = columns(rows.hu_cuts)
    header = csv_line(own)
    yield csv_line((*own, *OF_THE_BATCH, *people.NAMES))
    codes = codes_by_scan(rows.questions())
    for scan in rows.scans:
        if scan.scan_id in left_out:
            continue
        try:
            current = rows.current(scan)
            first, _, row = (rows.folder(scan) / "results.csv").read_bytes().partition(b"\n")
            if (
                current.correction is not None or first + b"\n" != header
            ):  # or made by a version with other columns
                document = current_document(rows.out, scan.scan_id, current)
                row = csv_line(row_of(document, rows.hu_cuts).values())
        except OSError as wrong:
            if not whole:
                continue
            raise OutputError(
                "a scan lost its files while the batch ran; run again to measure it", hint="Run the batch again."
            ) from wrong
        flags = ";".join(codes.get(scan.scan_id, ()))
        more = (scan.site, scan.subject, scan.visit, flags, *current.cells)
        yield row.removesuffix(b"\n") + b"," + csv_line(map(guarded, more))


def _scan_lines(scans: Sequence[ScanFolder]) -> Iterator[bytes]:
    yield csv_line(SCANS)
    for scan in scans:
        yield csv_line((scan.scan_id, *map(guarded, (scan.subject, scan.visit, scan.site, scan.folder))))


def query_rows(rows: Rows) -> Iterator[tuple[str, ...]]:
    """Every query of a batch with its state, by site, then in the order of the scans.

    Parameters
    ----------
    rows
        Of the batch.

    Yields
    ------
    tuple[str, ...]
        In the order of `queries.COLUMNS` and `queries.STATE`.
    """
    yield from (cells for cells, _ in _queries(rows))


def _queries(rows: Rows) -> Iterator[tuple[tuple[str, ...], Sequence[ScanFolder]]]:
    """Every query, and the scans that it concerns."""
    by_site = sorted(range(len(rows)), key=lambda index: rows.scans[index].site)
    asked = rows.questions()
    for index in by_site:
        scan = rows.scans[index]
        if not (rows.folder(scan) / "result.json").is_file():
            continue
        current = rows.current(scan)
        lines: list[tuple[tuple[str, ...], Sequence[ScanFolder], queries.ClosedBy | None]] = [
            (cells, (scan,), queries.closed_by(cells, current))
            for cells in queries.query_rows(scan, rows[index], current)
        ]
        for question in (q for q in asked if q.scans[0] is scan):
            closed = queries.closed_among(question, [rows.current(one) for one in question.scans])
            lines.append((queries.question_row(question, rows[index]), question.scans, closed))
        delivery = delivery_of(rows.folder(scan))
        counted: Counter[str] = Counter()
        for cells, concerned, closed in lines:
            code = cells[queries.COLUMNS.index("code")]
            yield queries.with_state(cells, counted[code], rows.audit, delivery, closed), concerned
            counted[code] += 1


def scan_states(rows: Rows) -> Iterator[status.ScanState]:
    """What became of each scan, with the number of queries on it that are not closed.

    Parameters
    ----------
    rows
        Of the batch.

    Yields
    ------
    ScanState
        In the order of the batch.
    """
    at = len(queries.COLUMNS) + queries.STATE.index("state")
    still_open: Counter[str] = Counter()
    for cells, concerned in _queries(rows):
        if cells[at] != "closed":
            still_open.update(scan.scan_id for scan in concerned)
    for index, scan in enumerate(rows.scans):
        there = (rows.folder(scan) / "result.json").is_file()
        document: Document = rows[index] if there else {"status": ""}
        day = status.day_of(document)
        yield status.ScanState(scan, document["status"], rows.current(scan), still_open[scan.scan_id], day)


def delivery_of(folder: Path) -> str:
    """Digest of the files that a scan's result was made from; empty where its record is damaged."""
    try:
        return str(read_record(folder)["stamp"]["listing_sha256"])
    except (FileNotFoundError, KeyError, TornError):
        return ""


def _query_lines(rows: Rows) -> Iterator[bytes]:
    yield csv_line((*queries.COLUMNS, *queries.STATE))
    for cells in query_rows(rows):
        yield csv_line(map(guarded, cells))


def _visit_lines(visits: Sequence[status.VisitState]) -> Iterator[bytes]:
    yield csv_line(status.COLUMNS)
    for visit in visits:
        yield csv_line(map(guarded, visit.cells))


def _decision_lines(out: Path, audit: Audit) -> Iterator[bytes]:
    yield csv_line(DECISIONS)
    for scan_id, entry in sorted(audit.decisions.items()):
        holds = current_of(out, scan_id, audit).decision is not None
        cells = {**entry, "holds": "yes" if holds else "no"}
        yield csv_line(guarded(str(cells[key])) for key in DECISIONS)


def _correction_lines(out: Path, audit: Audit) -> Iterator[bytes]:
    yield csv_line(CORRECTIONS)
    for scan_id, made in sorted(audit.corrections.items()):
        current = current_of(out, scan_id, audit)
        for entry in made:
            counted = "yes" if entry is current.correction else "no"
            cells = {**entry, "counted": counted, "note": current.note if entry is made[-1] else ""}
            yield csv_line(guarded(str(cells[key])) for key in CORRECTIONS)
