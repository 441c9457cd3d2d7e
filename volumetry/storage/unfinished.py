"""Hidden names for what is being written, and the clearing away of what killed runs left under them.

Whoever writes holds the kernel's lock on the hidden file or folder from its making until it has its final name.
The kernel lets go of the lock when the process ends, however it ends: what can be locked has no writer any more.
That holds on one machine, so the name carries the machine's mark. What another machine left, or what lies there
without a lock for a while (an object being compared), is cleared away when nothing touched it for a day: who keeps
a folder longer touches it. What belongs to another user stays.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HERE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_OURS = re.compile(r"\.(?:.+\.)?(?P<mark>[0-9a-f]{8})[0-9a-f]{8}\.part|\..+\.dcm\.[0-9a-f]{8}\.unchecked")
"""Marked by a writer here, or a DICOM object that was still to be compared with what was measured."""
_ABANDONED_S = 86_400.0


@contextlib.contextmanager
def unfinished_file(final: Path) -> Iterator[tuple[Path, int]]:
    """A new hidden file beside `final`, to be written and renamed; removed at the end unless it was renamed.

    Parameters
    ----------
    final
        The name it will get.

    Yields
    ------
    path, descriptor
        The descriptor is open for writing until the end, and with it the lock; readable by this user alone.
    """
    while True:
        path = final.with_name(f".{final.name}.{_HERE}{secrets.token_hex(4)}.part")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with _closing(descriptor):
            if not _keeps(path, descriptor):
                continue
            try:
                yield path, descriptor
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return


@contextlib.contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder in `parent`, to be filled and renamed; removed at the end unless it was renamed.

    Parameters
    ----------
    parent
        On the file system of the final folder.

    Yields
    ------
    Path
        Locked by this process, readable by this user alone.
    """
    while True:
        path = parent / f".{_HERE}{secrets.token_hex(4)}.part"
        path.mkdir(mode=0o700)
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(_closing(os.open(path, os.O_RDONLY | os.O_DIRECTORY)))
            except FileNotFoundError:  # swept between its making and its locking
                continue
            except OSError:
                with contextlib.suppress(OSError):
                    path.rmdir()
                raise
            if not _keeps(path, descriptor):
                continue
            try:
                yield path
            finally:
                for _ in range(2):  # what failed once, for want of a descriptor, may go the second time
                    shutil.rmtree(path, ignore_errors=True)
            return


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new hidden folder in the system's folder for temporary files; what killed runs left there goes first.

    Yields
    ------
    Path
        As for `unfinished_folder`; removed at the end.
    """
    sweep_temporary()
    with unfinished_folder(Path(tempfile.gettempdir())) as folder:
        yield folder


def is_unfinished(name: str) -> bool:
    """Whether a name is that of something still being written.

    Parameters
    ----------
    name
        Without folder.

    Returns
    -------
    bool
        True also where the writer was killed.
    """
    return _OURS.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove what killed writers left unfinished in a folder; nothing else in it is touched.

    Parameters
    ----------
    folder
        May be missing.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            said = _OURS.fullmatch(path.name)
            if said:
                with contextlib.suppress(OSError):
                    _remove_if_stale(path, folder, here=said["mark"] == _HERE)


def sweep_temporary() -> None:
    """Remove what killed runs left in the system's folder for temporary files: it may name patients."""
    with contextlib.suppress(OSError):  # there may be no such folder; who needs one will say so
        sweep(Path(tempfile.gettempdir()))


def _remove_if_stale(path: Path, folder: Path, *, here: bool) -> None:
    """Remove under the lock that its writer would hold."""
    found = path.lstat()
    is_folder = stat.S_ISDIR(found.st_mode)
    if found.st_uid != os.geteuid() or not (is_folder or stat.S_ISREG(found.st_mode)):
        return
    # The folder's own time is of the same clock as the file's: the probe for writing has just set it.
    if not here and folder.stat().st_mtime - found.st_mtime < _ABANDONED_S:
        return
    kind = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR
    with _closing(os.open(path, kind | os.O_NOFOLLOW)) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error proves nothing, and it stays
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()


def _keeps(path: Path, descriptor: int) -> bool:
    """Take the lock of what was just made; False if a sweep was faster."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: a sweep gets none there either, and removes nothing
        return True
    return path.exists()


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
