"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from volumetry.errors import OutputError


def write_whole(path: Path, content: bytes) -> str:
    """Write a file under its final name only when all of it is on the disk.

    Readable by this user alone: results may point at a patient.

    Returns
    -------
    str
        sha256 of the content.

    Raises
    ------
    OutputError
        Naming the file and the system's reason; nothing half-written stays behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as wrong:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(f"cannot write {path.name}: {wrong.strerror}") from wrong
    _sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def prepare_folder(folder: Path) -> None:
    """Make the folder and prove that it can be written, before any work is done for it.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".{secrets.token_hex(4)}.probe"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as wrong:
        raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from wrong


def set_aside(folder: Path, names: tuple[str, ...]) -> None:
    """Move what an earlier run left under these names to ``earlier/<n>/``: a result is never overwritten."""
    present = [name for name in names if (folder / name).exists()]
    if not present:
        return
    taken = [int(p.name) for p in (folder / "earlier").glob("*") if p.name.isdigit()]
    aside = folder / "earlier" / str(max(taken, default=0) + 1)
    try:
        aside.mkdir(parents=True, mode=0o700)
        for name in present:
            os.replace(folder / name, aside / name)
    except OSError as wrong:
        raise OutputError(f"cannot move the earlier result aside: {wrong.strerror}") from wrong
    _sync_folder(aside)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    # An error here leaves a valid file under its final name, so it is no failure of the write.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
