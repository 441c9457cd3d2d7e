"""Which files there are: regular files only, each remembered as it was, so that a change is noticed."""

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from volumetry.config import Config, Limits
from volumetry.domain import Finding
from volumetry.scan.findings import found, plural


class ReplacedError(OSError):
    """The file is no longer the one that was listed."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A regular file as it was when it was listed.

    `name` is what it is called where it was given, relative to that place; a private copy lies elsewhere.
    """

    path: Path
    size: int
    mtime_ns: int
    inode: int
    name: str = ""

    def open(self) -> BinaryIO:
        """Open for reading; never follows a link and never waits for a FIFO.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ReplacedError
            If it is no longer the regular file that was listed.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags)
        except OSError as wrong:
            if wrong.errno in (
                errno.ENOENT,
                errno.ENOTDIR,
                errno.ELOOP,
                errno.ENXIO,
            ):  # gone, or a link, or a FIFO
                raise ReplacedError from wrong
            raise
        try:
            now = os.fstat(descriptor)
            if not stat.S_ISREG(now.st_mode) or now.st_ino != self.inode:
                raise ReplacedError
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")  # the file object closes it now, once


@dataclass(frozen=True, slots=True)
class Listing:
    """The regular files under a folder, ordered by name, and what was passed over."""

    files: tuple[FileRef, ...]
    links: int = 0
    special: int = 0
    denied: int = 0
    too_many: bool = False
    too_deep: bool = False

    def findings(self, config: Config) -> tuple[Finding, ...]:
        """Codes of the folder itself."""
        limits = config.limits
        facts = (
            ("LINKS_SKIPPED", self.links, f"{plural(self.links, 'symbolic link')} not followed"),
            ("NOT_REGULAR_FILE", self.special, f"{self.special} FIFO, socket or device entries skipped"),
            (
                "ACCESS_DENIED",
                self.denied,
                f"{plural(self.denied, 'folder')} cannot be listed: slices may be inside",
            ),
            ("LIMIT_EXCEEDED", int(self.too_many), f"more than {limits.max_files} files in one input"),
            ("LIMIT_EXCEEDED", int(self.too_deep), f"folders nested deeper than {limits.max_depth}"),
        )
        return tuple(found(config, code, message, count) for code, count, message in facts if count)


def list_files(folder: Path, limits: Limits) -> Listing:
    """Every regular file under `folder`, by `lstat` alone; links, FIFOs, sockets and devices are only counted.

    The folder itself may be reached through a link, since the user named it; it may also be a single file.
    A folder that does not exist has no files.
    """
    try:
        root = folder.resolve()
        status = root.stat()
    except (OSError, RuntimeError):
        return Listing(())
    if stat.S_ISREG(status.st_mode):
        return Listing((as_listed(root, status, root.name),))
    if not stat.S_ISDIR(status.st_mode):
        return Listing((), special=1)
    return _walk(root, limits, limits.max_depth)


def list_beside(file: Path, limits: Limits) -> Listing:
    """Every regular file of the folder that a file lies in, without those below it."""
    return replace(_walk(file.resolve().parent, limits, max_depth=0), too_deep=False)


def file_ref(path: Path) -> FileRef | None:
    """A file as it is now; None if it is a link, no regular file, or not there."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return as_listed(path, status, path.name) if stat.S_ISREG(status.st_mode) else None


def _walk(root: Path, limits: Limits, max_depth: int) -> Listing:
    files: list[FileRef] = []
    links = special = denied = 0
    too_deep = False
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISLNK(status.st_mode):
                        links += 1
                    elif stat.S_ISDIR(status.st_mode):
                        if depth < max_depth:
                            waiting.append((Path(entry.path), depth + 1))
                        else:
                            too_deep = True
                    elif stat.S_ISREG(status.st_mode):
                        files.append(as_listed(Path(entry.path), status, os.path.relpath(entry.path, root)))
                    else:
                        special += 1
                    if len(files) > limits.max_files:
                        return Listing(_ordered(files), links, special, denied, too_many=True, too_deep=too_deep)
        except FileNotFoundError:
            continue  # vanished while we looked: the second listing shows it
        except OSError:
            denied += 1
    return Listing(_ordered(files), links, special, denied, too_deep=too_deep)


def as_listed(path: Path, status: os.stat_result, name: str) -> FileRef:
    """A file with the facts that `lstat` gave of it."""
    return FileRef(path, status.st_size, status.st_mtime_ns, status.st_ino, name)


def _ordered(files: list[FileRef]) -> tuple[FileRef, ...]:
    """Ordered by the bytes of the name, which exist for every name."""
    return tuple(sorted(files, key=lambda file: os.fsencode(file.path)))
