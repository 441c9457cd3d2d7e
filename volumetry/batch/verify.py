"""Every file of a batch against its record, and every record against the log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from volumetry.batch import audit, records
from volumetry.batch.current import CORRECTIONS
from volumetry.batch.ledger import WORK
from volumetry.batch.records import TornError
from volumetry.batch.visits_template import NAME as TEMPLATE
from volumetry.errors import UsageError
from volumetry.storage.digests import file_sha256

_OF_THE_RUN = {audit.NAME, ".lock", "scans", "earlier", CORRECTIONS, TEMPLATE}

Kind = Literal["changed", "missing", "added", "chain"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as recorded.

    Parameters
    ----------
    kind
        ``changed``, ``missing`` or ``added``; ``chain`` for a fault of the log itself.
    path
        Relative to the batch's folder.
    detail
        More, in words, where there is more.
    """

    kind: Kind
    path: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Parameters
    ----------
    faults
        Nothing, if every file is what it was.
    scans
        How many scans were looked at.
    entries, head
        Number and digest of the log's last entry. Write them down: a log cut short is still a valid chain.
    """

    faults: tuple[Fault, ...]
    scans: int
    entries: int
    head: str

    @property
    def passed(self) -> bool:
        """Nothing was changed, is missing or was added."""
        return not self.faults


def verify(out: Path) -> Verification:
    """Compare every file of a batch's folder with its record, and every record with the log. Changes nothing.

    Parameters
    ----------
    out
        A batch's folder.

    Returns
    -------
    Verification
        Every fault found, and the head of the log.

    Raises
    ------
    UsageError
        If there is no such folder.
    OutputError
        If the log cannot be read.
    """
    if not out.is_dir():
        raise UsageError(f"{out.name} is not a folder")
    log = audit.Audit.opened(out)
    faults = [Fault("chain", audit.NAME, words) for words in audit.chain_faults(out / audit.NAME)]
    if not log.count and not faults:
        faults.append(Fault("missing", audit.NAME, "without its log nothing of this folder can be proved"))
    faults += _scan_faults(out, log)
    faults += _earlier_faults(out)
    faults += _correction_faults(out, log)
    faults += _table_faults(out, log)
    return Verification(tuple(faults), len(log.recorded), log.count, log.head)


def _scan_faults(out: Path, log: audit.Audit) -> Iterator[Fault]:
    folder = out / "scans"
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for scan_id in sorted(present - set(log.recorded)):
        yield Fault("added", f"scans/{scan_id}", "the log does not know it")
    for scan_id, sha256 in sorted(log.recorded.items()):
        place = f"scans/{scan_id}"
        if scan_id not in present:
            yield Fault("missing", place)
            continue
        yield from _folder_faults(folder / scan_id, place, sha256)


def _folder_faults(folder: Path, place: str, sha256: str | None) -> Iterator[Fault]:
    """Faults of one scan's folder; `sha256` is what the log says its record is, if the log still says so."""
    try:
        record = records.read_record(folder)
    except FileNotFoundError:
        yield Fault("missing", f"{place}/{records.NAME}")
        return
    except (TornError, NotADirectoryError):
        yield Fault("changed", f"{place}/{records.NAME}")
        return
    if sha256 is not None and record["sha256"] != sha256:
        yield Fault("changed", f"{place}/{records.NAME}", "whole, but not the one in the log")
    for kind, name in records.file_faults(folder, record):
        yield Fault(kind, f"{place}/{name}")


def _earlier_faults(out: Path) -> Iterator[Fault]:
    """What was set aside must lie as the log saw it; a fault that it was set aside for is part of that."""
    log = (entry for _, entry in audit.entries(out / audit.NAME) if entry)
    entered = {entry["to"]: entry["files_sha256"] for entry in log if entry["action"] == "scan_set_aside"}
    return _kept_faults(out, "earlier", entered)


def _correction_faults(out: Path, log: audit.Audit) -> Iterator[Fault]:
    """What readers made must lie as it was entered."""
    entered = {entry["place"]: entry["files_sha256"] for made in log.corrections.values() for entry in made}
    return _kept_faults(out, CORRECTIONS, entered)


def _kept_faults(out: Path, below: str, entered: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """Folders ``below/<scan_id>/<n>`` against the digests that the log has of their files."""
    present = {f"{below}/{path.parent.name}/{path.name}" for path in (out / below).glob("*/*")}
    for place in sorted(present - set(entered)):
        yield Fault("added", place, "the log does not know it")
    for place, then in sorted(entered.items()):
        if place not in present:
            yield Fault("missing", place)
            continue
        now = records.digests_of(out / place)
        for name in sorted(then.keys() | now.keys()):
            if now.get(name) != then.get(name):
                kind: Kind = "added" if name not in then else "missing" if name not in now else "changed"
                yield Fault(kind, f"{place}/{name}")


def _table_faults(out: Path, log: audit.Audit) -> Iterator[Fault]:
    present = {path.name for path in out.iterdir()} - _OF_THE_RUN - {audit.SITES}
    present |= {f"{audit.SITES}/{path.name}" for path in (out / audit.SITES).glob("*")}
    for name in sorted(present - set(log.tables)):
        unfinished = name == WORK or name.endswith((".part", ".probe"))
        yield Fault("added", name, "left by an interrupted run: run the batch again" if unfinished else "")
    for name, sha256 in sorted(log.tables.items()):
        if name not in present:
            yield Fault("missing", name)
        elif file_sha256(out / name) != sha256:
            yield Fault("changed", name)
