"""Folders of received studies: their images, a mark for each image that is missing, and what killed nodes left.

A mark is an empty file. It needs no room on a full disk, and it stays when the node ends: the next one still knows
that the study is incomplete. Folders, images and marks are named by digests of UIDs.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_LOCK = ".lock"
_ANSWERED = "-answered"
"""At the end of the name of a study's folder, once its sender has nothing more to do."""
_MARK = ".missing"


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
    incomplete
        Folders of the unanswered ones, and of those that were incomplete before: marks alone.
    """

    answered: int = 0
    unanswered: int = 0
    images: int = 0
    first: str = ""
    last: str = ""
    incomplete: tuple[Path, ...] = ()


def write_image(path: Path, content: bytes) -> None:
    """Write an image into a study's folder, which is made if missing; an OSError leaves nothing of it."""
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


def mark_missing(folder: Path, instance: str) -> None:
    """Remember on the disk that an image came and is not there; where that fails, this process alone knows it."""
    with suppress(OSError):
        folder.mkdir(exist_ok=True, mode=0o700)
        (folder / f"{instance}{_MARK}").touch(mode=0o600)


def unmark(folder: Path, instance: str) -> None:
    """The image has come."""
    with suppress(OSError):
        (folder / f"{instance}{_MARK}").unlink()


def marked(folder: Path) -> dict[str, float]:
    """Which images of a study are missing, and since when (seconds since 1970)."""
    return {path.name.removesuffix(_MARK): path.stat().st_mtime for path in folder.glob(f"*{_MARK}")}


def remove_images(folder: Path) -> list[str]:
    """Remove a study's images and leave marks in their place; which they were."""
    removed = []
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix == _MARK:
            continue
        with suppress(OSError):
            if path.suffix == ".dcm":
                removed.append(instance_of(path))
                os.truncate(path, 0)  # what was an image becomes its mark: that needs no room
                path.replace(folder / f"{instance_of(path)}{_MARK}")
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return removed


def as_answered(folder: Path) -> Path:
    """The folder under the name that it has once its study was measured, or refused for a stated reason."""
    return _renamed(folder, folder.name.removesuffix(_ANSWERED) + _ANSWERED)


def as_unanswered(folder: Path) -> Path:
    """The folder under the name that it has before."""
    return _renamed(folder, folder.name.removesuffix(_ANSWERED))


def _renamed(folder: Path, name: str) -> Path:
    """The folder under its new name; where that fails, only what a killed node's successor says is less exact."""
    with suppress(OSError):
        return folder.rename(folder.with_name(name))
    return folder


def why(wrong: OSError) -> str:
    """The system's reason, without a path."""
    return wrong.strerror or type(wrong).__name__


def instance_of(path: Path) -> str:
    """Digest of the UID of an image in a study's folder."""
    return path.stem.partition("-")[0]


def study_of(folder: Path) -> str:
    """Digest of the UID of the study in a folder."""
    return folder.name.partition("-")[0]


def digest(content: bytes) -> str:
    """What stands for a UID, or for an image, in a name."""
    return hashlib.sha256(content).hexdigest()[:24]


def locked(folder: Path) -> int:
    """Hold a folder for as long as this process lives: the kernel lets go when it is killed."""
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def sweep(incoming: Path) -> Left:
    """Remove the images that ended processes left of studies on their way in; marks stay, for `Inbox.adopt`."""
    answered = unanswered = 0
    images: list[float] = []
    incomplete: list[Path] = []
    for folder in incoming.glob("[!.]*"):
        try:
            descriptor = locked(folder)
        except OSError:  # in use by another node, or no folder
            continue
        done = {study for study in _studies(folder) if study.name.endswith(_ANSWERED)}
        for study in _studies(folder) - done:
            times = [image.stat().st_mtime for image in study.glob("*.dcm")]
            unanswered += bool(times) or not marked(study)  # of a node that stopped, marks alone were left
            images += times
        answered += len(done)
        incomplete += leave_marks(folder, done)
        os.close(descriptor)
    first, last = (_local(min(images)), _local(max(images))) if images else ("", "")
    return Left(answered, unanswered, len(images), first, last, tuple(incomplete))


def leave_marks(folder: Path, answered: Collection[Path]) -> list[Path]:
    """Remove a process's folder, except for marks of the studies that have no answer; the folders of these."""
    for study in _studies(folder) - set(answered):
        remove_images(study)
    left = [study for study in _studies(folder) - set(answered) if marked(study)]
    for study in (_studies(folder) - set(left)) if left else (folder,):
        shutil.rmtree(study, ignore_errors=True)
    return left


def _studies(folder: Path) -> set[Path]:
    return {path for path in folder.glob("*") if path.is_dir()}


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", timespec="seconds")
