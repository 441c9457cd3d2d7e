"""Received instances on the disk, study by study, and when a study has come in whole."""

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_LOCK = ".lock"
_ANSWERED = "-answered"
"""At the end of the name of a study's folder, once its sender has nothing more to do."""


@dataclass(frozen=True, slots=True)
class Left:
    """What killed processes had received, by now removed.

    Parameters
    ----------
    answered, unanswered
        How many studies had been measured, or refused for a reason that was stated, and how many not.
    images
        Of the unanswered ones.
    first, last
        When the first and the last of these came; empty where there are none.
    """

    answered: int = 0
    unanswered: int = 0
    images: int = 0
    first: str = ""
    last: str = ""


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
    answered: bool = False
    """It was measured, or refused for a reason that was stated."""


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
        self._taken: list[Arrival] = []
        self._kept: dict[str, Arrival] = {}
        self._lock = threading.Lock()
        self.left_by_killed = sweep(incoming)
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
            self._taken += taken
            return taken

    def done(self, arrival: Arrival, *, answered: bool) -> None:
        """A study that was taken out has been looked at: more may join it for a while, then it is removed.

        Parameters
        ----------
        arrival
            From `whole`.
        answered
            Whether it was measured, or refused for a reason that was stated: it need not be sent again.
        """
        with self._lock:
            self._taken = [other for other in self._taken if other is not arrival]
            arrival.last_s, arrival.answered = self._clock(), answered
            if answered:
                with suppress(OSError):  # then a restart would ask for it once more, no worse
                    arrival.folder = arrival.folder.rename(f"{arrival.folder}{_ANSWERED}")
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
        """Take everything from the disk; how many instances there were of studies without an answer."""
        with self._lock:
            arrivals = (*self._studies.values(), *self._taken, *self._kept.values())
            unanswered = sum(arrival.instances for arrival in arrivals if not arrival.answered)
            self._studies.clear()
            self._taken.clear()
            self._kept.clear()
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._alive)
            return unanswered


def _locked(folder: Path) -> int:
    """Hold a folder for as long as this process lives: the kernel lets go when it is killed."""
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def sweep(incoming: Path) -> Left:
    """Remove what killed processes left of studies on their way in."""
    answered, images = 0, []
    unanswered = 0
    for folder in incoming.glob("[!.]*"):
        try:
            descriptor = _locked(folder)
        except OSError:  # in use by another node, or no folder
            continue
        for study in (path for path in folder.iterdir() if path.is_dir()):
            if study.name.endswith(_ANSWERED):
                answered += 1
            else:
                unanswered += 1
                images += [image.stat().st_mtime for image in study.glob("*.dcm")]
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
    span = [_local(seconds) for seconds in (min(images), max(images))] if images else ["", ""]
    return Left(answered, unanswered, len(images), *span)


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", timespec="seconds")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
