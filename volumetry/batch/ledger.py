"""A batch's folder while one run holds it: which scans are done, which are not, and what happened to each.

::

    OUT/scans/<scan_id>/         one finished scan: result, mask, row, run record, key slice, record.json
    OUT/earlier/<scan_id>/<n>/   what a later run set aside, whole
    OUT/corrections/<scan_id>/<n>/   a reader's corrections; no run moves them
    OUT/audit.jsonl              what was made, set aside, corrected and decided
    OUT/visits.csv               begun for the trial; a person's, once one has edited it
    OUT/results.csv, sites/, ... tables and the report, derived from the records; never the truth
    OUT/.lock, OUT/.work/        of the run that holds the folder

The kernel lets go of the lock however a run ends, so a killed run blocks nobody. On network file systems without
locks the `lease` in the lock's file takes its place.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from volumetry.batch import entering, records, succession
from volumetry.batch.audit import Audit
from volumetry.batch.current import CORRECTIONS
from volumetry.batch.expected import ExpectedVisit
from volumetry.batch.find import ScanFolder
from volumetry.batch.lease import Lease, holder, named, require_dead
from volumetry.batch.records import Record, Stamp, TornError
from volumetry.batch.work import Brief, Order, brief_of
from volumetry.domain import Status
from volumetry.errors import BusyError, OutputError
from volumetry.storage.atomic import next_numbered, prepare_folder, sync_folder
from volumetry.storage.unfinished import sweep

LOCK, WORK = ".lock", ".work"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_ACCEPTED_AGAIN = "found whole after an interruption"


class Ledger:
    """The folder of one batch, held by this run; made by `held`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.audit = Audit.opened(out)
        self.lease = Lease(out / LOCK)
        self._workshop: Path | None = None
        self._reasons: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self.other_images: list[str] = []
        """Scans that this run measured from other images than the result that they replaced."""

    @property
    def owed(self) -> frozenset[str]:
        """Scans that are being done again: what lies under their names is still the older result."""
        return frozenset(self._reasons)

    @property
    def workshop(self) -> Path:
        """Folder for unfinished work, made at the first need: a run that finds nothing to do writes nothing."""
        if self._workshop is None:
            prepare_folder(self.out)
            folder = self.out / WORK / secrets.token_hex(4)
            try:
                folder.mkdir(parents=True, mode=0o700)
                (self.out / "scans").mkdir(exist_ok=True, mode=0o700)
            except OSError as wrong:
                raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from wrong
            self._workshop = folder
        return self._workshop

    def known(self, scan: ScanFolder, stamp: Stamp, *, retry_failed: bool = False) -> tuple[Brief | None, str]:
        """What a former run made of a scan, if it still holds; else None and why it does not.

        A scan that failed through our fault is done again only if `retry_failed`; one that a human wants repeated
        is done again once.
        """
        folder = self.out / "scans" / scan.scan_id
        try:
            record = records.read_record(folder)
        except FileNotFoundError:
            reason = f"{records.NAME} is missing" if folder.is_dir() else ""
            return None, reason
        except TornError as torn:
            return None, str(torn)
        reason = self._why_again(scan, record, stamp, retry_failed=retry_failed)
        if reason:
            return None, reason
        brief = brief_of(record)
        if scan.scan_id not in self.audit.recorded:
            self.note(brief, _ACCEPTED_AGAIN)
        return brief, ""

    def _why_again(self, scan: ScanFolder, record: Record, stamp: Stamp, *, retry_failed: bool) -> str:
        folder = self.out / "scans" / scan.scan_id
        has_number = record["status"] in (Status.MEASURED, Status.REVIEW)
        matters = [key for key in stamp if not (has_number and key == records.LIMITS)]
        changed = [key for key in matters if record["stamp"].get(key) != stamp[key]]
        if changed and not (changed == ["listing_sha256"] and _same_content(scan, record)):
            return f"made with another {', '.join(changed)}"
        faults = [f"{name} is {fault}" for fault, name in records.file_faults(folder, record) if fault != "added"]
        if faults:
            return "; ".join(faults)
        if self.audit.recorded.get(record["scan_id"], record["sha256"]) != record["sha256"]:
            return "the record is not the one in the audit log"
        decision = self.audit.decisions.get(record["scan_id"])
        if decision and decision["decision"] == "repeat" and decision["record_sha256"] == record["sha256"]:
            return f"a human decided so (entry {decision['n']})"
        return f"it had failed: {record['code']}" if retry_failed and record["status"] == Status.FAILED else ""

    def order(self, scan: ScanFolder, stamp: Stamp, reason: str) -> Order:
        """The work of one scan; what is there under its name stays until the new result takes its place."""
        self.lease.require()
        final = self.out / "scans" / scan.scan_id
        workshop = self.workshop
        if not final.exists():
            return Order(scan, stamp, workshop, final)
        self._reasons[scan.scan_id] = reason
        older = None
        with contextlib.suppress(FileNotFoundError, TornError):
            record = records.read_record(final)
            older, self._images[scan.scan_id] = record["sha256"], record["input_sha256"] or ""
        return Order(scan, stamp, workshop, final, again=True, older_sha256=older)

    def _set_aside(self, earlier: Path, reason: str) -> None:
        """Give what was replaced its number, and enter what the log does not have."""
        final = self.out / "scans" / earlier.name
        try:
            if any(earlier.glob(".*")):
                succession.settle(earlier, final, self.workshop)
                sync_folder(earlier)
                sync_folder(final.parent)
        except OSError as wrong:
            raise OutputError(f"cannot move the earlier result aside: {wrong.strerror}") from wrong
        for place in sorted(earlier.iterdir()):
            if str(place.relative_to(self.out)) not in self.audit.aside:
                self._enter_aside(place, reason)

    def _enter_aside(self, place: Path, reason: str) -> None:
        scan_id, to = place.parent.name, str(place.relative_to(self.out))
        files = records.digests_of(place) if place.is_dir() else {}
        self.audit.append("scan_set_aside", reason, scan_id=scan_id, to=to, files_sha256=files)

    def note(self, brief: Brief, reason: str = "") -> None:
        """Enter a finished scan in the log, and before it what it has replaced."""
        self.lease.require()
        if brief["scan_id"] in self._reasons:
            self._set_aside(self.out / "earlier" / brief["scan_id"], self._reasons.pop(brief["scan_id"]))
            then, now = self._images.get(brief["scan_id"]), brief["input_sha256"]
            if then and now and then != now:  # sent again, or another scan that was given the same name
                self.other_images.append(brief["scan_id"])
        self.audit.append("scan_recorded", reason, **brief)

    def with_other_images(self, scans: Sequence[ScanFolder]) -> list[str]:
        """Scans whose result has a number and was made from other files than those that are listed now."""
        found = []
        for scan in scans:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, TornError):
                record = records.read_record(self.out / "scans" / scan.scan_id)
                same = record["stamp"].get("listing_sha256") == records.listing_of(scan)
                if record.get("content_sha256") and not same and not _same_content(scan, record):
                    found.append(scan.scan_id)
        return found

    def prune(self, scan_id: str) -> None:
        """Move a scan that the list no longer names to ``earlier/``; what a kill leaves, `_recover` enters."""
        self.lease.require()
        final, earlier = self.out / "scans" / scan_id, self.out / "earlier" / scan_id
        try:
            earlier.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.rename(final, next_numbered(earlier))
        except OSError as wrong:
            raise OutputError(f"cannot move an earlier result aside: {wrong.strerror}") from wrong
        sync_folder(earlier)
        sync_folder(final.parent)
        self._set_aside(earlier, "not in the list of scans any more (--prune)")

    def enter_expected(self, visits: Sequence[ExpectedVisit] | None) -> None:
        """Enter the list of expected visits if one is given and is not the one that the log has."""
        if visits is not None and tuple(visits) != self.audit.expected:
            self.audit.append("visits_expected", visits=[list(visit) for visit in visits])

    def enter_template(self, name: str, content: bytes) -> bool:
        """Enter a file that is begun for a person, before it is written; False if the log knows it already."""
        digest = hashlib.sha256(content).hexdigest()
        if digest in self.audit.templates:
            return False
        self.audit.append("template_written", file=name, file_sha256=digest)
        return True

    def enter_corrections(self, scan_id: str) -> int:
        """Enter the corrections of a scan that the log does not have yet; how many there were."""
        known = {entry["place"] for entry in self.audit.corrections.get(scan_id, ())}
        entered = 0
        for folder in entering.corrections_on_disk(self.out, scan_id):
            found = None
            if str(folder.relative_to(self.out)) not in known:
                found = entering.facts_of(self.out, scan_id, folder)
            if found is not None:
                reason, facts = found
                self.audit.append("correction_recorded", reason, **facts)
                entered += 1
        return entered

    def _recover(self) -> None:
        """Mend what a killed run left: a torn line, what was replaced or corrected and not yet entered."""
        self.audit.repair()
        for earlier in sorted((self.out / "earlier").glob("*")):
            if earlier.is_dir():
                self._set_aside(earlier, "found set aside after an interruption")
        self._take_strays()
        for corrected in sorted((self.out / CORRECTIONS).glob("*")):
            sweep(corrected)
            self.enter_corrections(corrected.name)

    def _take_strays(self) -> None:
        """Move corrections that lie beside a scan's result to where no run moves them."""
        for stray in list(entering.strays(self.out)):
            scan_id = stray.parent.parent.name
            if scan_id not in self.audit.recorded or entering.facts_of(self.out, scan_id, stray) is None:
                continue
            parent = self.out / CORRECTIONS / scan_id
            try:
                parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.rename(stray, next_numbered(parent))
                sync_folder(parent)
                with contextlib.suppress(OSError):  # more of them, or something else, is in it
                    stray.parent.rmdir()
            except OSError as wrong:
                raise OutputError(f"cannot keep a correction: {wrong.strerror}") from wrong

    def _catch_up(self) -> None:
        """Enter what workers still finished while an interrupted run was ending."""
        if self._workshop is None:
            return
        with contextlib.suppress(OSError, OutputError):
            for scan_id, reason in list(self._reasons.items()):
                earlier = self.out / "earlier" / scan_id
                if earlier.is_dir():
                    self._set_aside(earlier, reason)
                    del self._reasons[scan_id]
            for folder in sorted((self.out / "scans").iterdir()):
                if folder.name not in self.audit.recorded:
                    with contextlib.suppress(TornError):
                        self.note(brief_of(records.read_record(folder)), _ACCEPTED_AGAIN)

    def _sweep(self) -> None:
        """Away with what killed runs left unfinished; none of it was ever a result."""
        shutil.rmtree(self.out / WORK, ignore_errors=True)
        for left in [*self.out.glob(".*.part"), *self.out.glob(".*.probe")]:
            with contextlib.suppress(OSError):
                left.unlink()


@contextmanager
def held(out: Path) -> Iterator[Ledger]:
    """Hold an output folder for one run.

    Raises
    ------
    BusyError
        If another run holds it; the message names its process and host where they are known.
    OutputError
        If the folder cannot be made or read.
    """
    descriptor = _locked(out)
    try:
        ledger = Ledger(out)
        ledger._sweep()
        try:
            ledger._recover()
            yield ledger
        finally:
            ledger._catch_up()
            ledger._sweep()
            ledger.lease.end()
    finally:
        os.close(descriptor)


def _same_content(scan: ScanFolder, record: Record) -> bool:
    """Files that were copied or touched are still the same input; only a measured scan knows its content."""
    known = record.get("content_sha256")
    return known is not None and known == records.content_of(scan)


def _locked(out: Path) -> int:
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as wrong:
        raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from wrong
    try:
        _take(descriptor, out)
        require_dead(out / LOCK)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as busy:
        raise BusyError(f"another run holds this output folder{named(holder(out / LOCK))}") from busy
    except OSError as wrong:  # a file system without locks: the lease decides
        if wrong.errno not in _NO_LOCKS:
            raise OutputError(f"cannot lock the output folder: {wrong.strerror}") from wrong
