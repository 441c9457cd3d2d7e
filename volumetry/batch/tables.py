"""The tables that are derived from the records: results.csv, scans.csv, decisions.csv, queries.csv."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from volumetry.batch import queries
from volumetry.batch.among import Question, codes_by_scan, questions_among
from volumetry.batch.audit import Entry
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger
from volumetry.deliver import columns, row_of
from volumetry.deliver.batch_columns import COLUMNS as OF_THE_BATCH
from volumetry.errors import OutputError
from volumetry.measure.components import HuCuts
from volumetry.storage.atomic import whole_file
from volumetry.storage.csv_tables import csv_line, guarded
from volumetry.storage.digests import file_sha256

Document = Mapping[str, Any]

SCANS = ("scan_id", "subject", "visit", "site", "folder")
"""``folder`` may name the patient, where the id is a digest for that very reason: scans.csv is the key between ids
and folders, stays where the scans are, and goes into no export."""
DECISIONS = ("scan_id", "decision", "name", "time", "reason", "record_sha256")


class Rows(Sequence[Document]):
    """The documents of a batch, in the order of its scans, read from its folder one at a time.

    Parameters
    ----------
    out
        The batch's folder.
    scans
        In the order of the rows.
    hu_cuts
        HU cuts that name the columns of the HU bins.
    """

    def __init__(self, out: Path, scans: Sequence[ScanFolder], hu_cuts: HuCuts) -> None:
        self.out = out
        self.scans = scans
        self.hu_cuts = hu_cuts

    def __len__(self) -> int:
        return len(self.scans)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        if isinstance(index, slice):
            return Rows(self.out, self.scans[index], self.hu_cuts)
        document: Document = json.loads((self.folder(self.scans[index]) / "result.json").read_bytes())
        return document

    def questions(self) -> tuple[Question, ...]:
        """What is odd about the scans among each other.

        Returns
        -------
        tuple[Question, ...]
            Of the results that are there.
        """
        return questions_among(self.scans, self.out)

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
    made: dict[str, Callable[[], Iterable[bytes]]] = {
        "results.csv": lambda: _result_lines(rows, whole=True),
        "scans.csv": lambda: _scan_lines(rows.scans),
        "queries.csv": lambda: _query_lines(rows),
    }
    if ledger.audit.decisions:
        made["decisions.csv"] = lambda: _decision_lines(ledger.audit.decisions)
    write_derived(made, ledger)


def write_results(rows: Rows, ledger: Ledger, *, whole: bool) -> None:
    """Derive results.csv alone; unless `whole`, from the scans that are there so far and are not done again."""
    left_out = frozenset() if whole else ledger.owed
    write_derived({"results.csv": lambda: _result_lines(rows, whole=whole, left_out=left_out)}, ledger)


def write_decisions(ledger: Ledger) -> None:
    """Derive decisions.csv, once there is a decision."""
    if ledger.audit.decisions:
        write_derived({"decisions.csv": lambda: _decision_lines(ledger.audit.decisions)}, ledger)


def write_derived(made: Mapping[str, Callable[[], Iterable[bytes]]], ledger: Ledger) -> None:
    """Write files by name from their lines, those that would change, and enter their digests in the log."""
    digests = dict(ledger.audit.tables)
    for name, lines in made.items():
        sha256 = _digest(lines())
        path = ledger.out / name
        if not path.is_file() or file_sha256(path) != sha256:
            with whole_file(path) as stream:  # it never lies in memory
                stream.writelines(lines())
        digests[name] = sha256
    if digests != ledger.audit.tables:
        ledger.audit.append("tables_written", files=digests)


def _digest(lines: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(line)
    return whole.hexdigest()


def _result_lines(rows: Rows, *, whole: bool, left_out: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """The header, and each scan's own row as it was written beside its mask; then whose it is."""
    header = csv_line(columns(rows.hu_cuts))
    yield _joined(header, OF_THE_BATCH)
    codes = codes_by_scan(rows.questions())
    for scan in rows.scans:
        if scan.scan_id in left_out:
            continue
        try:
            first, _, row = (rows.folder(scan) / "results.csv").read_bytes().partition(b"\n")
            if first + b"\n" != header:  # written by a version with other columns
                document = json.loads((rows.folder(scan) / "result.json").read_bytes())
                row = csv_line(row_of(document, rows.hu_cuts).values())
        except OSError as wrong:
            if not whole:
                continue
            raise OutputError(
                "a scan lost its files while the batch ran; run again to measure it", hint="Run the batch again."
            ) from wrong
        flags = ";".join(codes.get(scan.scan_id, ()))
        yield _joined(row, (scan.site, scan.subject, scan.visit, flags))


def _joined(line: bytes, cells: Iterable[str]) -> bytes:
    """A line with more cells at its end."""
    return line.removesuffix(b"\n") + b"," + csv_line(map(guarded, cells))


def _scan_lines(scans: Sequence[ScanFolder]) -> Iterator[bytes]:
    yield csv_line(SCANS)
    for scan in scans:
        yield csv_line((scan.scan_id, *map(guarded, (scan.subject, scan.visit, scan.site, scan.folder))))


def _query_lines(rows: Rows) -> Iterator[bytes]:
    """By site, then in the order of the scans."""
    yield csv_line(queries.COLUMNS)
    by_site = sorted(range(len(rows)), key=lambda index: rows.scans[index].site)
    asked = rows.questions()
    for index in by_site:
        for cells in queries.query_rows(rows.scans[index], rows[index]):
            yield csv_line(map(guarded, cells))
        for question in asked:
            if question.scans[0] is rows.scans[index]:
                yield csv_line(map(guarded, queries.question_row(question, rows[index])))


def _decision_lines(decisions: Mapping[str, Entry]) -> Iterator[bytes]:
    yield csv_line(DECISIONS)
    for _, entry in sorted(decisions.items()):
        yield csv_line(guarded(str(entry[key])) for key in DECISIONS)
