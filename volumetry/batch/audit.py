"""``audit.jsonl``: what was made, set aside, corrected and decided, in an append-only chain of hashes.

One JSON object per line. ``n`` counts from 1, ``previous`` is the ``sha256`` of the line before, and ``sha256``
is that of the entry itself without this key. The order is that of ``n``; the clock may jump. Whoever can rewrite
the whole file can forge a whole chain, and whoever cuts lines off its end leaves a valid shorter one: write down
the last ``n`` and ``sha256`` that `volumetry verify` shows, or keep the file where only appending is allowed.
"""

import hashlib
import json
import os
import pwd
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volumetry import __version__
from volumetry.batch.expected import ExpectedVisit
from volumetry.errors import OutputError
from volumetry.storage.digests import canonical_sha256

NAME = "audit.jsonl"
REPORT, SITES = "report.html", "sites"
"""The report, and the folder of its pages for each site."""
START = "0" * 64
"""``previous`` of the first entry."""

Entry = Mapping[str, Any]


def digest(entry: Entry) -> str:
    """sha256 of an entry (or record) as canonical JSON, without its own ``sha256``."""
    return canonical_sha256({key: value for key, value in entry.items() if key != "sha256"})


def pages_of(files: Mapping[str, str]) -> dict[str, str]:
    """The report's pages among derived files.

    Parameters
    ----------
    files
        Digest by name.

    Returns
    -------
    dict[str, str]
        Of report.html and of the sites' pages.
    """
    return {name: sha256 for name, sha256 in files.items() if name == REPORT or name.startswith(f"{SITES}/")}


def entries(path: Path) -> Iterator[tuple[int, Entry | None]]:
    """Every line's number and its entry; None where the line is not an entry with its own right digest.

    A file that is not there has no lines. Raises OutputError if it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, _entry(line)
    except FileNotFoundError:
        return
    except OSError as wrong:
        raise OutputError(f"cannot read {path.name}: {wrong.strerror}") from wrong


def chain_faults(path: Path) -> list[str]:
    """What is wrong with the chain, in words; nothing if every line follows from the one before."""
    faults: list[str] = []
    previous, count = START, 0
    for number, entry in entries(path):
        if entry is None:
            faults.append(f"line {number} was changed or is torn")
            continue
        if entry["previous"] != previous or entry["n"] != count + 1:
            faults.append(f"line {number} does not follow from the line before it")
        previous, count = str(entry["sha256"]), int(entry["n"])
    return faults


@dataclass(slots=True)
class Audit:
    """The log of one output folder, open for appending; only the holder of the folder's lock may have one.

    Parameters
    ----------
    path
        The file; made with the first entry.
    recorded
        By scan, the digest of the record that the log says is there.
    images
        By digest of every record that there was, the digest of the images that it was measured from.
    aside
        Folders of results that were set aside.
    decisions
        By scan, the last human decision.
    corrections
        By scan, every reader's correction, the last one last.
    tables
        By file name, the digest of the tables as last written.
    report_shows
        What the tables were when the report was made from them.
    templates
        Digests of every file that was begun for a person to fill in.
    excluded
        By scan, the exclusion that a later decision to repeat took the place of.
    queries
        By query, what last became of it: sent, answered or closed.
    expected
        The list of expected visits that was given last.
    """

    path: Path
    recorded: dict[str, str] = field(default_factory=dict)
    images: dict[str, str | None] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)
    decisions: dict[str, Entry] = field(default_factory=dict)
    corrections: dict[str, list[Entry]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    report_shows: dict[str, str] = field(default_factory=dict)
    templates: set[str] = field(default_factory=set)
    excluded: dict[str, Entry] = field(default_factory=dict)
    queries: dict[str, Entry] = field(default_factory=dict)
    expected: tuple[ExpectedVisit, ...] = ()
    count: int = 0
    head: str = START
    _torn: tuple[int, bytes] | None = None

    @classmethod
    def opened(cls, folder: Path) -> "Audit":
        """The log of an output folder; a torn last line is left for `repair`."""
        audit = cls(folder / NAME)
        whole, line = 0, b""
        try:
            with audit.path.open("rb") as stream:
                for line in stream:
                    entry = _entry(line)
                    if entry is not None:
                        audit._take(entry)
                    if line.endswith(b"\n"):
                        whole += len(line)
        except FileNotFoundError:
            return audit
        except OSError as wrong:
            raise OutputError(f"cannot read {NAME}: {wrong.strerror}") from wrong
        if line and not line.endswith(b"\n"):
            audit._torn = (whole, line)
        return audit

    def append(self, action: str, reason: str = "", **facts: Any) -> Entry:  # noqa: ANN401  JSON values
        """Add an entry and wait until it is on the disk; raises OutputError if it cannot be written.

        A signal that would end the run waits until then: half-way, the next entry would not follow from this one.
        """
        try:
            with _signals_held():
                return self._write(action, reason, facts)
        except OSError as wrong:
            raise OutputError(f"cannot write {NAME}: {wrong.strerror}") from wrong

    def repair(self) -> None:
        """Cut off a last line that a killed run left half written, and say so in the log."""
        if self._torn is None:
            return
        whole, torn = self._torn
        try:
            os.truncate(self.path, whole)
        except OSError as wrong:
            raise OutputError(f"cannot write {NAME}: {wrong.strerror}") from wrong
        self._torn = None
        self.append(
            "log_repaired",
            "the last line was half written: an earlier run was killed",
            torn_bytes=len(torn),
            torn_sha256=hashlib.sha256(torn).hexdigest(),
        )

    def _write(self, action: str, reason: str, facts: Mapping[str, Any]) -> Entry:
        entry: dict[str, Any] = {
            "n": self.count + 1,
            "previous": self.head,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": _user(),
            "version": __version__,
            "action": action,
            "reason": reason,
            **facts,
        }
        entry["sha256"] = digest(entry)
        line = json.dumps(entry, sort_keys=True, allow_nan=False).encode() + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, before)
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._take(entry)
        return entry

    def _take(self, entry: Entry) -> None:
        """Follow what an entry says."""
        self.count, self.head = int(entry["n"]), str(entry["sha256"])
        match entry["action"]:
            case "scan_recorded":
                self.recorded[entry["scan_id"]] = entry["record_sha256"]
                self.images[entry["record_sha256"]] = entry.get("input_sha256")
            case "scan_set_aside":
                self.recorded.pop(entry["scan_id"], None)
                self.aside.add(entry["to"])
            case "decision":
                self._decided(entry)
            case "query":
                self.queries[entry["query_id"]] = entry
            case "visits_expected":
                self.expected = tuple(ExpectedVisit(*visit) for visit in entry["visits"])
            case "template_written":
                self.templates.add(entry["file_sha256"])
            case "correction_recorded":
                self.corrections.setdefault(entry["scan_id"], []).append(entry)
            case "tables_written":
                files = dict(entry["files"])
                if pages_of(files) != pages_of(self.tables):
                    self.report_shows = {name: files[name] for name in files.keys() - pages_of(files)}
                self.tables = files

    def _decided(self, entry: Entry) -> None:
        """Keep the last decision, and behind a repeat the exclusion that it followed."""
        scan_id = entry["scan_id"]
        before = self.decisions.get(scan_id)
        if entry["decision"] != "repeat":
            self.excluded.pop(scan_id, None)
        elif before is not None and before["decision"] == "exclude":
            self.excluded[scan_id] = before
        self.decisions[scan_id] = entry


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait for the end of the block; they only ever reach the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    ends = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, lambda got, _: held.append(got)) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _entry(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
        whole = line.endswith(b"\n") and entry["sha256"] == digest(entry)
        return entry if whole and isinstance(entry["n"], int) and isinstance(entry["previous"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _user() -> str:
    """The operating system's name of this user; an environment variable could claim another."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
