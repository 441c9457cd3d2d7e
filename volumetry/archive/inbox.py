"""Received instances on the disk, study by study, and when a study has come in whole."""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from volumetry.archive.study_folders import (
    as_answered,
    as_unanswered,
    digest,
    instance_of,
    leave_marks,
    locked,
    mark_missing,
    marked,
    remove_images,
    study_of,
    sweep,
    unmark,
    why,
    write_image,
)
from volumetry.errors import OutputError

FIRST_S, LONGEST_S, ATTEMPTS = 30.0, 1800.0, 12
"""A measurement that can succeed later is repeated so often, over some three hours: the wait doubles."""
REMEMBERED_S = 86400.0
"""For how long an incomplete study is known as one after its images were removed."""
_BEFORE = "removed or refused before a restart"


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
    """Instances, by digest, that came and are not there, with the reason; until they come again. `folder` has a
    mark for each."""
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
        killed processes are removed first: they hold patients. What a process that ended had not completely
        stays known.
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
            self._alive = locked(unlocked)
            unlocked.rename(self._folder)
        except OSError as wrong:
            shutil.rmtree(unlocked, ignore_errors=True)
            raise OutputError(f"no folder for received images can be made: {why(wrong)}") from wrong
        self.adopt(self.left_by_killed.incomplete)

    def adopt(self, folders: Sequence[Path]) -> None:
        """Know the studies that were incomplete when a node ended, or on their way to it.

        Parameters
        ----------
        folders
            From `sweep`: each holds marks alone.
        """
        with self._lock:
            for folder in folders:
                study, missing = study_of(folder), marked(folder)
                if study not in self._incomplete:
                    place = self._folder / folder.name
                    with suppress(OSError):  # then this process alone knows the study
                        shutil.move(folder, place)
                    age_s = time.time() - max(missing.values(), default=0.0)
                    known = Arrival(study, place, last_s=self._clock() - max(0.0, age_s))
                    known.refused = dict.fromkeys(missing, _BEFORE)
                    self._incomplete[study] = known
                for instance in missing.keys() - self._incomplete[study].refused.keys():
                    self._refuse(self._incomplete[study], instance, _BEFORE)
            for ended in {folder.parent for folder in folders}:
                shutil.rmtree(ended, ignore_errors=True)

    def add(self, sender: int, study_uid: str, instance_uid: str, content: bytes) -> bool:
        """Keep one instance; False, and remembered with its study, if it cannot be kept.

        An instance that is sent again unchanged is one instance. One that comes again with other content is kept
        beside the first, so that the gate sees the conflict.
        """
        with self._lock:
            study = self._arrival(sender, study_uid)
            instance = digest(instance_uid.encode())
            path = study.folder / f"{instance}-{digest(content)}.dcm"
            try:
                if not path.exists():
                    if study.instances >= self._max_instances:
                        self._refuse(study, instance, f"more than {self._max_instances} images")
                        return False
                    write_image(path, content)
                    study.instances += 1
            except OSError as wrong:
                self._refuse(study, instance, why(wrong))
                return False
            self._has_come(study, instance)
            return True

    def refuse(self, sender: int, study_uid: str, instance_uid: str, reason: str) -> None:
        """Remember an instance that did not get as far as `add`: its study is incomplete until it comes again."""
        with self._lock:
            self._refuse(self._arrival(sender, study_uid), digest(instance_uid.encode()), reason)

    def _refuse(self, study: Arrival, instance: str, reason: str) -> None:
        # Of one more than a study may have, not all can come again: the study stays incomplete without the others.
        if len(study.refused) <= self._max_instances:
            study.refused[instance] = reason
            mark_missing(study.folder, instance)

    def _has_come(self, study: Arrival, instance: str) -> None:
        if study.refused.pop(instance, None) is not None:
            unmark(study.folder, instance)

    def _arrival(self, sender: int, study_uid: str) -> Arrival:
        """What has come of a study of which more comes; what was taken out a while ago belongs to it."""
        study = digest(study_uid.encode())
        if study not in self._studies:
            arrival = self._kept.pop(study, None)
            if arrival is None:
                # Named once only: what comes while it is measured begins a new arrival and cannot mix with it.
                arrival = Arrival(study, self._folder / f"{study}-{secrets.token_hex(4)}")
                if study in self._incomplete:  # else the refused images, sent alone, would be a study
                    known = self._incomplete.pop(study)
                    arrival.folder, arrival.refused = known.folder, known.refused
            else:
                arrival.again, arrival.answered, arrival.due_s = True, False, None
                arrival.folder = as_unanswered(arrival.folder)
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
                    self._refuse(arrival, instance_of(path), why(wrong))
            shutil.rmtree(earlier.folder, ignore_errors=True)
        stored = list(arrival.folder.glob("*.dcm"))
        arrival.instances = len(stored)
        for path in stored:
            self._has_come(arrival, instance_of(path))
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
                arrival.folder = as_answered(arrival.folder)
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
                if arrival.refused or arrival.broken_off:
                    gone = remove_images(arrival.folder)
                    arrival.refused |= dict.fromkeys(gone, "removed before the rest came")
                    self._incomplete[arrival.study] = arrival
                else:
                    shutil.rmtree(arrival.folder, ignore_errors=True)
            for study, arrival in list(self._incomplete.items()):
                if self._clock() - arrival.last_s >= REMEMBERED_S:
                    shutil.rmtree(arrival.folder, ignore_errors=True)
                    del self._incomplete[study]
            return [arrival for arrival in removed if arrival.instances and not arrival.answered]

    def remove_all(self) -> int:
        """Take every image from the disk; how many there were of studies without an answer.

        Of these studies marks stay, so that the next node does not measure a part of one.
        """
        with self._lock:
            arrivals = (*self._studies.values(), *self._taken, *self._kept.values())
            unanswered = sum(arrival.instances for arrival in arrivals if not arrival.answered)
            self._studies.clear()
            self._taken.clear()
            self._kept.clear()
            leave_marks(self._folder, {arrival.folder for arrival in arrivals if arrival.answered})
            os.close(self._alive)
            return unanswered
