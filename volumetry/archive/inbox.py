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
from math import inf
from pathlib import Path

from volumetry.errors import OutputError

_LOCK = ".lock"
_ANSWERED = "-answered"
"""At the end of the name of a study's folder, once its sender has nothing more to do."""

FIRST_S, LONGEST_S, ATTEMPTS = 30.0, 1800.0, 12
"""A measurement that can succeed later is repeated so often, over some three hours: the wait doubles."""
REMEMBERED_S = 86400.0
"""For how long an incomplete study is known as one after its images were removed."""


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
    """Made with the first instance that is stored; its name begins with the digest."""
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
    refused: dict[str, str] = field(default_factory=dict)
    """Instances, by digest, that came and are not there, with the reason; until they come again."""
    repeats: int = 0
    """How often measuring it was put off."""
    due_s: float | None = None
    """When it is to be measured once more."""


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

    Raises
    ------
    OutputError
        If no folder can be made in `incoming`.
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
        self._incomplete: dict[str, Arrival] = {}
        self._lock = threading.Lock()
        self.left_by_killed = sweep(incoming)
        unlocked = self._folder.with_name(f".{self._folder.name}")  # not yet to be swept by another node
        try:
            unlocked.mkdir(parents=True, mode=0o700)
            self._alive = _locked(unlocked)
            unlocked.rename(self._folder)
        except OSError as wrong:
            shutil.rmtree(unlocked, ignore_errors=True)
            raise OutputError(f"no folder for received images can be made: {_why(wrong)}") from wrong

    def add(self, sender: int, study_uid: str, instance_uid: str, content: bytes) -> bool:
        """Keep one instance; False, and remembered with its study, if it cannot be kept.

        An instance that is sent again unchanged is one instance. One that comes again with other content is kept
        beside the first, so that the gate sees the conflict.
        """
        with self._lock:
            study = self._arrival(sender, study_uid)
            instance = _digest(instance_uid.encode())
            path = study.folder / f"{instance}-{_digest(content)}.dcm"
            try:
                if not path.exists():
                    if study.instances >= self._max_instances:
                        self._refuse(study, instance, f"more than {self._max_instances} images")
                        return False
                    _write(path, content)
                    study.instances += 1
            except OSError as wrong:
                self._refuse(study, instance, _why(wrong))
                return False
            study.refused.pop(instance, None)
            return True

    def refuse(self, sender: int, study_uid: str, instance_uid: str, reason: str) -> None:
        """Remember an instance that did not get as far as `add`: its study is incomplete until it comes again."""
        with self._lock:
            self._refuse(self._arrival(sender, study_uid), _digest(instance_uid.encode()), reason)

    def _refuse(self, study: Arrival, instance: str, reason: str) -> None:
        # Of one more than a study may have, not all can come again: the study stays incomplete without the others.
        if len(study.refused) <= self._max_instances:
            study.refused[instance] = reason

    def _arrival(self, sender: int, study_uid: str) -> Arrival:
        """What has come of a study of which more comes; what was taken out a while ago belongs to it."""
        study = _digest(study_uid.encode())
        if study not in self._studies:
            arrival = self._kept.pop(study, None)
            if arrival is None:
                # Named once only: what comes while it is measured begins a new arrival and cannot mix with it.
                arrival = Arrival(study, self._folder / f"{study}-{secrets.token_hex(4)}")
                if study in self._incomplete:  # else the refused images, sent alone, would be a study
                    arrival.refused = self._incomplete.pop(study).refused
            else:
                arrival.again, arrival.answered, arrival.due_s = True, False, None
                arrival.folder = _renamed(arrival.folder, arrival.folder.name.removesuffix(_ANSWERED))
                arrival.instances = len(list(arrival.folder.glob("*.dcm")))  # others may have removed some
            self._studies[study] = arrival
        arrival = self._studies[study]
        arrival.senders.add(sender)
        arrival.broken_off = False
        arrival.last_s = self._clock()
        return arrival

    def _join(self, arrival: Arrival, earlier: Arrival) -> None:
        """Put what was taken out together with what came meanwhile."""
        arrival.refused = earlier.refused | arrival.refused
        if not arrival.folder.exists():
            arrival.folder = earlier.folder
        elif earlier.folder.exists():
            for path in list(earlier.folder.iterdir()):
                try:
                    path.replace(arrival.folder / path.name)
                except OSError as wrong:
                    self._refuse(arrival, _instance_of(path), _why(wrong))
            shutil.rmtree(earlier.folder, ignore_errors=True)
        stored = list(arrival.folder.glob("*.dcm"))
        arrival.instances = len(stored)
        for path in stored:
            arrival.refused.pop(_instance_of(path), None)
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
        """Take out the studies of which no more comes for now, then those to be measured once more.

        A study is not whole if it was broken off, or if instances of it were refused.
        """
        with self._lock:
            now = self._clock()
            quiet = [
                study
                for study, arrival in self._studies.items()
                if not arrival.senders and now - arrival.last_s >= self._quiet_s
            ]
            due = [study for study, arrival in self._kept.items() if (arrival.due_s or inf) <= now]
            taken = [self._studies.pop(study) for study in quiet] + [self._kept.pop(study) for study in due]
            self._taken += taken
            return taken

    def done(self, arrival: Arrival, *, answered: bool, repeat: bool = False) -> float | None:
        """A study that was taken out has been looked at: more may join it for a while, then it is removed.

        Parameters
        ----------
        arrival
            From `whole`.
        answered
            Whether it was measured, or refused for a reason that was stated: it need not be sent again.
        repeat
            Whether measuring it may succeed later: `whole` then gives it again.

        Returns
        -------
        float or None
            In how many seconds; None if it is not given again.
        """
        with self._lock:
            self._taken = [other for other in self._taken if other is not arrival]
            arrival.last_s, arrival.answered, arrival.due_s = self._clock(), answered, None
            came_meanwhile = self._studies.get(arrival.study)
            if came_meanwhile is not None:
                self._join(came_meanwhile, arrival)
                return None
            self._kept[arrival.study] = arrival
            if answered:
                arrival.folder = _renamed(arrival.folder, arrival.folder.name + _ANSWERED)
            if not repeat or arrival.repeats >= ATTEMPTS:
                return None
            wait_s = min(LONGEST_S, FIRST_S * 2.0**arrival.repeats)
            arrival.repeats += 1
            arrival.due_s = arrival.last_s + wait_s
            return wait_s

    def expire(self) -> list[Arrival]:
        """Remove the studies that nothing has joined in time; those that had no answer."""
        with self._lock:
            late = [
                study
                for study, arrival in self._kept.items()
                if arrival.due_s is None and self._clock() - arrival.last_s >= self._late_s
            ]
            removed = [self._kept.pop(study) for study in late]
            for arrival in removed:
                if arrival.refused:
                    for path in arrival.folder.glob("*.dcm"):
                        self._refuse(arrival, _instance_of(path), "removed before the rest came")
                    self._incomplete[arrival.study] = arrival
                shutil.rmtree(arrival.folder, ignore_errors=True)
            for study, arrival in list(self._incomplete.items()):
                if self._clock() - arrival.last_s >= REMEMBERED_S:
                    del self._incomplete[study]
            return [arrival for arrival in removed if arrival.instances and not arrival.answered]

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


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        partial.write_bytes(content)
        partial.chmod(0o600)
        partial.rename(path)
    except OSError:  # a full disk, or full memory: no torn file stays among those to be measured
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _renamed(folder: Path, name: str) -> Path:
    """The folder under its new name; where that fails, only what a killed node's successor says is less exact."""
    with suppress(OSError):
        return folder.rename(folder.with_name(name))
    return folder


def _why(wrong: OSError) -> str:
    return wrong.strerror or type(wrong).__name__


def _instance_of(path: Path) -> str:
    return path.name.partition("-")[0]


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
