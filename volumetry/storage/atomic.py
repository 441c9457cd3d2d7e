"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from volumetry.errors import OutputError
from volumetry.storage.unfinished import sweep, unfinished_file


def write_whole(path: Path, content: bytes, *, named_later: bool = False) -> str:
    """Write a file under its final name only when all of it is on the disk.

    Readable by this user alone: results may point at a patient.

    Parameters
    ----------
    path
        Final name.
    content
        Everything that will be in it.
    named_later
        The folder has not got its name yet, and another file will be written into it: that one puts the names of
        both on the disk, which costs as much as a small file itself.

    Returns
    -------
    str
        sha256 of the content.

    Raises
    ------
    OutputError
        Naming the file and the system's reason; nothing half-written stays behind.
    """
    with whole_file(path, named_later=named_later) as stream:
        stream.write(content)
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def whole_file(path: Path, *, named_later: bool = False) -> Iterator[BinaryIO]:
    """A stream to a file of any length, which has its final name once the stream is left without an error.

    Parameters
    ----------
    path
        Final name.
    named_later
        As for `write_whole`.

    Yields
    ------
    BinaryIO
        Open for writing.

    Raises
    ------
    OutputError
        As `write_whole`.
    """
    try:
        with unfinished_file(path) as (temporary, descriptor):
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
    except OSError as wrong:
        raise OutputError(f"cannot write {path.name}: {wrong.strerror}") from wrong
    if not named_later:
        sync_folder(path.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> str:
    """Write a document as indented JSON with sorted keys.

    Parameters
    ----------
    path
        Final name.
    document
        What json can write.

    Returns
    -------
    str
        sha256 of the content.

    Raises
    ------
    OutputError
        As `write_whole`.
    ValueError
        If a number is not finite: JSON has none such, and an unknown value is None.
    """
    return write_whole(path, json_bytes(document))


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as indented JSON with sorted keys, ending in a line feed.

    Parameters
    ----------
    document
        What json can write.

    Returns
    -------
    bytes
        UTF-8.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    return f"{json.dumps(document, indent=2, sort_keys=True, allow_nan=False)}\n".encode()


def prepare_folder(folder: Path) -> None:
    """Make the folder, prove before any work that it can be written, and clear up after killed runs.

    Parameters
    ----------
    folder
        Made with its parents if missing, readable by this user alone.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder.name} is a file, and a folder is needed", hint="Give the name of a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with unfinished_file(folder / "probe"):
            pass
    except OSError as wrong:
        raise OutputError(f"cannot write into the output folder: {wrong.strerror}") from wrong
    sweep(folder)


def next_numbered(folder: Path) -> Path:
    """The first free ``<n>`` in a folder that may not be there yet; n counts from 1.

    Parameters
    ----------
    folder
        Where numbered folders or files are made.

    Returns
    -------
    Path
        A path below `folder` that does not exist yet.
    """
    taken = [int(path.name) for path in numbered(folder)]
    return folder / str(max(taken, default=0) + 1)


def numbered(folder: Path) -> list[Path]:
    """What has a number as its name, the lowest first: digits of ASCII alone, as those that are made here.

    Parameters
    ----------
    folder
        May be missing.

    Returns
    -------
    list[Path]
        Other entries are left out, such as ``²``, which is a digit and no number.
    """
    found = (path for path in folder.glob("*") if path.name.isascii() and path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk, as far as its file system can.

    Parameters
    ----------
    folder
        Whose entries are written to the disk.
    """
    # An error here leaves a valid file under its final name, so it is not a failure of the write.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
