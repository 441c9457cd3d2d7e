"""The batch: every scan once, whatever happens to the process, and one row each at the end.

By default the scans are measured one after the other in this process: it starts at once, a GPU is held by one
process, a traceback is readable, and a killed batch resumes as well as any other. `cluster.run_on_cluster`
measures them in workers of their own, which costs a few seconds at the start and buys speed, a time and a memory
limit for every scan, and a batch that outlives a worker.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from volumetry.batch import tables, visits_template
from volumetry.batch.audit import digest
from volumetry.batch.derive import derive_report
from volumetry.batch.expected import ExpectedVisit
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger, held
from volumetry.batch.leftovers import Leftovers, with_leftovers
from volumetry.batch.records import stamp_of
from volumetry.batch.work import Brief, Order, carry_out
from volumetry.config import Config
from volumetry.domain import Segmenter, SegmenterFacts
from volumetry.storage.atomic import prepare_folder
from volumetry.storage.salt import patient_salt

OnScan = Callable[[ScanFolder, Mapping[str, Any], bool], None]
"""Called with each scan, its ``status`` and ``code``, and whether it was there already."""
Runner = Callable[[Iterator[Order]], Iterable[tuple[Order, Brief]]]

_LEAST_S, _SHARE = 30.0, 20.0
"""Tables are derived during a run at most every 30 s, and take at most a twentieth of the time."""


def run_batch(  # noqa: PLR0913  the options of a batch are its parameters
    scans: Sequence[ScanFolder],
    out: Path,
    segmenter: Segmenter,
    config: Config,
    on_scan: OnScan = lambda *_: None,
    *,
    retry_failed: bool = False,
    leftovers: Leftovers = "ask",
    expected: Sequence[ExpectedVisit] | None = None,
) -> tables.Rows:
    """Measure every scan in this process, one after the other; N scans in are N rows out.

    What a former run finished under the same version, settings and weights, from the same input, is not done
    again; a run that finds everything done changes no file.

    Parameters
    ----------
    scans
        From `find_scans` or `read_manifest`; their ids differ.
    out
        Results go to ``out/scans/<scan_id>/``; the tables beside them are derived.
    segmenter
        Labels the tissue.
    config
        Every setting that decides a number, and limits.
    on_scan
        Called after each scan.
    retry_failed
        Also do again what failed through no fault of the scan (a dead worker, a time limit).
    leftovers
        What to do with scans of an earlier run that are not in `scans`: see
        `volumetry.batch.leftovers.with_leftovers`.
    expected
        The visits that the trial expects, for visit_status.csv and the report; None keeps the list of an earlier
        run.

    Returns
    -------
    Rows
        The documents of all scans, in the order of `scans` and then of what was appended, read from the folder
        when they are asked for.

    Raises
    ------
    BusyError
        If another run holds the folder.
    UsageError
        If `scans` lacks a scan of an earlier run, and `leftovers` does not say what becomes of it.
    OutputError
        If results cannot be written: no later scan could keep its row either.
    """

    def runner(orders: Iterator[Order]) -> Iterator[tuple[Order, Brief]]:
        for order in orders:
            yield order, carry_out(order, segmenter, config)

    require_ids(scans)
    with held(out) as ledger:
        run = Run(scans, ledger, segmenter.facts, config, on_scan, retry_failed, leftovers, expected)
        return run.through(runner)


def require_ids(scans: Sequence[ScanFolder]) -> None:
    """Two scans of one id would share a folder: raises ValueError."""
    ids = {scan.scan_id.casefold() for scan in scans}
    if len(ids) != len(scans):
        raise ValueError("every scan of a batch needs an id of its own, also where case does not count")


@dataclass(slots=True)
class Run:
    """One run over a folder that it holds: gives scans to a runner, keeps the log, derives the tables."""

    scans: Sequence[ScanFolder]
    ledger: Ledger
    facts: SegmenterFacts
    config: Config
    on_scan: OnScan
    retry_failed: bool = False
    leftovers: Leftovers = "ask"
    expected: Sequence[ExpectedVisit] | None = None
    _begun: bool = field(default=False, init=False)

    def through(self, runner: Runner) -> tables.Rows:
        """Every scan's row, made by the runner or by an earlier run."""
        patient_salt()  # one that is too short stops the run here, and not each of its scans
        scans = with_leftovers(self.scans, self.ledger, self.leftovers)
        rows = tables.Rows(self.ledger.out, scans, self.config.measure.hu_cuts, self.ledger.audit)
        try:
            self._measure(runner, rows)
            rows.other_images = tuple(self.ledger.other_images)
            self.ledger.enter_expected(self.expected)
            tables.write_tables(rows, self.ledger)
            derive_report(rows, self.ledger)
            visits_template.write_template(rows, self.ledger)
            if self._begun:
                self.ledger.audit.append("run_ended", scans=len(self.scans))
        except (KeyboardInterrupt, SystemExit):
            if self._begun:
                self.ledger.audit.append("run_stopped", "interrupted")
            raise
        return rows

    def _measure(self, runner: Runner, rows: tables.Rows) -> None:
        due = monotonic() + _LEAST_S
        for order, brief in runner(self._orders()):
            self.ledger.note(brief)
            self.on_scan(order.scan, brief, False)
            if monotonic() > due:
                started = monotonic()
                tables.write_results(rows, self.ledger, whole=False)
                due = monotonic() + max(_LEAST_S, _SHARE * (monotonic() - started))

    def _orders(self) -> Iterator[Order]:
        """The scans to measure; `on_scan` is called for the others on the way."""
        for scan in self.scans:
            stamp = stamp_of(scan, self.facts, self.config)
            brief, reason = self.ledger.known(scan, stamp, retry_failed=self.retry_failed)
            if brief is not None:
                self.on_scan(scan, brief, True)
                continue
            if not self._begun:
                self._begin()
            yield self.ledger.order(scan, stamp, reason)

    def _begin(self) -> None:
        prepare_folder(self.ledger.out)
        self.ledger.lease.begin()
        self._begun = True
        self.ledger.audit.append(
            "run_began",
            scans=len(self.scans),
            scan_list_sha256=digest({"scans": [scan.scan_id for scan in self.scans]}),
            config_sha256=self.config.sha256,
            model=f"{self.facts.name}-{self.facts.version}",
            model_sha256=self.facts.sha256,
            device=self.facts.device,
            precision=self.facts.precision,
        )
