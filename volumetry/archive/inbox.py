"""Received instances on the disk, study by study, and when a study has come in whole."""

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_LOCK = ".lock"


@dataclass(slots=True)
class Arrival:
    """What has come of one study so far."""

    study: str
    """Digest of its UID."""
    folder: Path
    instances: int = 0
    last_s: float = 0.0
    senders: set[int] = field(default_factory=set)
    """Associations that brought something and are still open."""
    broken_off: bool = False
    """The last sender did not end its association as one does after the last image."""
    again: bool = False
    """Some of it was measured before the rest came."""


class Inbox:
    """Studies on their way in.

    DICOM has no word for "that was all". A study counts as whole when every sender that brought a part of it has
    said goodbye properly and nothing more has come for `quiet_s`. If more comes, it joins what came before.

    Parameters
    ----------
    incoming
        Each process has a folder in it, and there one for each study, named by a digest of its UID. Those of
        killed processes are removed first: they hold patients.
    quiet_s
        How long nothing must have come.
    max_instances
        Of one study; more are refused.
    late_s
        For how long a study that was taken out is kept, so that what comes late joins it.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        incoming: Path,
        quiet_s: float,
        max_instances: int,
        late_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = incoming / secrets.token_hex(6)
        self._quiet_s = quiet_s
        self._max_instances = max_instances
        self._late_s = late_s
        self._clock = clock
        self._studies: dict[str, Arrival] = {}
        self._kept: dict[str, Arrival] = {}
        self._lock = threading.Lock()
        self.swept = sweep(incoming)
        """Folders of processes that were killed, removed now."""
        unlocked = self._folder.with_name(f".{self._folder.name}")  # not yet to be swept by another node
        unlocked.mkdir(parents=True, mode=0o700)
        self._alive = _locked(unlocked)
        unlocked.rename(self._folder)

    def add(self, sender: int, study_uid: str, instance_uid: str, content: bytes) -> bool:
        """Keep one instance; False if its study is full.

        An instance that is sent again unchanged is one instance. One that comes again with other content is kept
        beside the first, so that the gate sees the conflict.
        """
        with self._lock:
            study = self._arrival(_digest(study_uid.encode()))
            if study.instances >= self._max_instances:
                return False
            study.folder.mkdir(exist_ok=True, mode=0o700)
            path = study.folder / f"{_digest(instance_uid.encode())}-{_digest(content)}.dcm"
            if not path.exists():
                partial = path.with_suffix(".part")
                try:
                    partial.write_bytes(content)
                    partial.chmod(0o600)
                    partial.rename(path)
                except OSError:  # a full disk, or full memory: no torn file stays among those to be measured
                    partial.unlink(missing_ok=True)
                    raise
                study.instances += 1
            study.senders.add(sender)
            study.broken_off = False
            study.last_s = self._clock()
            return True

    def _arrival(self, study: str) -> Arrival:
        """What has come of a study; what was taken out a while ago belongs to it."""
        if study not in self._studies:
            self._studies[study] = Arrival(study, self._folder / study)
            earlier = self._kept.pop(study, None)
            if earlier is not None:
                self._join(self._studies[study], earlier)
        return self._studies[study]

    def _join(self, arrival: Arrival, earlier: Arrival) -> None:
        arrival.folder.mkdir(exist_ok=True, mode=0o700)
        for path in earlier.folder.iterdir():
            path.replace(arrival.folder / path.name)
        earlier.folder.rmdir()
        arrival.instances = len(list(arrival.folder.glob("*.dcm")))
        arrival.again = True

    def left(self, sender: int, *, properly: bool) -> None:
        """A sender's association has ended."""
        with self._lock:
            for study in self._studies.values():
                if sender in study.senders:
                    study.senders.discard(sender)
                    study.broken_off = study.broken_off or not properly
                    study.last_s = self._clock()

    def whole(self) -> list[Arrival]:
        """Take out the studies that have come in whole, and those that were broken off and not taken up again."""
        with self._lock:
            quiet = [
                study
                for study, arrival in self._studies.items()
                if not arrival.senders and self._clock() - arrival.last_s >= self._quiet_s
            ]
            taken = []
            for study in quiet:
                arrival = self._studies.pop(study)
                # Moved aside at once: what comes while it is measured begins a new arrival and cannot mix with it.
                aside = arrival.folder.with_name(f"{study}-{time.monotonic_ns()}")
                arrival.folder.rename(aside)
                arrival.folder = aside
                taken.append(arrival)
            return taken

    def done(self, arrival: Arrival) -> None:
        """A study that was taken out has been looked at: more may join it for a while, then it is removed."""
        with self._lock:
            arrival.last_s = self._clock()
            came_meanwhile = self._studies.get(arrival.study)
            if came_meanwhile is not None:
                self._join(came_meanwhile, arrival)
            elif self._late_s > 0:
                self._kept[arrival.study] = arrival
            else:
                shutil.rmtree(arrival.folder, ignore_errors=True)

    def expire(self) -> None:
        """Remove the studies that nothing has joined in time."""
        with self._lock:
            for study, arrival in list(self._kept.items()):
                if self._clock() - arrival.last_s >= self._late_s:
                    shutil.rmtree(self._kept.pop(study).folder, ignore_errors=True)

    def remove_all(self) -> int:
        """Take everything from the disk; how many instances of them were never measured."""
        with self._lock:
            unmeasured = sum(arrival.instances for arrival in self._studies.values())
            self._studies.clear()
            self._kept.clear()
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._alive)
            return unmeasured


def _locked(folder: Path) -> int:
    """Hold a folder for as long as this process lives: the kernel lets go when it is killed."""
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def sweep(incoming: Path) -> int:
    """Remove what killed processes left of studies on their way in; how many folders."""
    swept = 0
    for folder in incoming.glob("[!.]*"):
        try:
            descriptor = _locked(folder)
        except OSError:  # in use by another node, or no folder
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
        swept += 1
    return swept


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
