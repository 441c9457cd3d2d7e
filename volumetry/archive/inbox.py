"""Received instances on the disk, study by study, and when a study has come in whole."""

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Arrival:
    """What has come of one study so far."""

    folder: Path
    instances: int = 0
    last_s: float = 0.0
    senders: set[int] = field(default_factory=set)
    """Associations that brought something and are still open."""
    broken_off: bool = False
    """The last sender did not end its association as one does after the last image."""


class Inbox:
    """Studies on their way in.

    DICOM has no word for "that was all". A study counts as whole when every sender that brought a part of it has
    said goodbye properly and nothing more has come for `quiet_s`.

    Parameters
    ----------
    folder
        Each study gets a folder in it, named by a digest of its UID.
    quiet_s
        How long nothing must have come.
    max_instances
        Of one study; more are refused.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, folder: Path, quiet_s: float, max_instances: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._quiet_s = quiet_s
        self._max_instances = max_instances
        self._clock = clock
        self._studies: dict[str, Arrival] = {}
        self._lock = threading.Lock()

    def add(self, sender: int, study_uid: str, instance_uid: str, content: bytes) -> bool:
        """Keep one instance; False if its study is full.

        An instance that is sent again unchanged is one instance. One that comes again with other content is kept
        beside the first, so that the gate sees the conflict.
        """
        with self._lock:
            study = self._studies.setdefault(study_uid, Arrival(self._folder / _digest(study_uid.encode())))
            if study.instances >= self._max_instances:
                return False
            study.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = study.folder / f"{_digest(instance_uid.encode())}-{_digest(content)}.dcm"
            if not path.exists():
                partial = path.with_suffix(".part")
                partial.write_bytes(content)
                partial.chmod(0o600)
                partial.rename(path)
                study.instances += 1
            study.senders.add(sender)
            study.broken_off = False
            study.last_s = self._clock()
            return True

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
                uid
                for uid, study in self._studies.items()
                if not study.senders and self._clock() - study.last_s >= self._quiet_s
            ]
            taken = []
            for uid in quiet:
                study = self._studies.pop(uid)
                # Moved aside at once: what comes later begins a new arrival and cannot mix with this one.
                aside = study.folder.with_name(f"{study.folder.name}-{time.monotonic_ns()}")
                study.folder.rename(aside)
                study.folder = aside
                taken.append(study)
            return taken

    def remove_all(self) -> None:
        """Take everything from the disk."""
        with self._lock:
            self._studies.clear()
            shutil.rmtree(self._folder, ignore_errors=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
