"""A ZIP from a stranger to a folder, or not at all.

Nothing of the archive decides where a byte is written: members go to numbered names in one folder, as a scan is
told by its content. What they were called is handed back in memory and reaches no disk. What is declared is
checked before anything is unpacked, and counted again while it is. An archive inside the archive stays as it is:
nothing here unpacks twice.
"""

import shutil
import stat
import unicodedata
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from volumetry.errors import InputError, OutputError

_CHUNK = 1 << 20
_ENCRYPTED = 0x1 | 0x2000  # the member, or the archive's directory
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_RATIO_FROM_BYTES = 16 * 2**20
_DIRECTORY_BYTES_EACH = 1024
"""A member's entry in the archive's directory, name and all, is no longer than this on average."""


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """What an archive may hold.

    Parameters
    ----------
    max_members
        Entries, folders included.
    max_member_bytes, max_total_bytes
        Unpacked.
    max_ratio
        Unpacked over packed size, of a member above 16 MB and of the whole: a constant slice legally shrinks
        almost a thousandfold, a scan does not.
    max_depth
        Folders inside folders.
    """

    max_members: int = 50_000
    max_member_bytes: int = 512 * 2**20
    max_total_bytes: int = 8 * 2**30
    max_ratio: float = 200.0
    max_depth: int = 32


class _RejectedError(Exception):
    """Why an archive is not unpacked; never holds a name from it."""


def unpack_safely(archive: Path, folder: Path, limits: ZipLimits) -> dict[PurePosixPath, Path]:
    """Unpack a ZIP's files to numbered names in a folder.

    Parameters
    ----------
    archive
        Untrusted.
    folder
        Made for this archive alone; removed again if the archive is refused.
    limits
        What it may hold.

    Returns
    -------
    dict
        Where each file was written, by its path in the archive.

    Raises
    ------
    InputError
        ``ZIP_REJECTED``, with the reason: encrypted, links, paths that lead out, duplicates, names that differ in
        case or Unicode form alone, too many, too large, packed too well, or damaged.
    OutputError
        If the files cannot be written.
    """
    try:
        folder.mkdir(mode=0o700)
    except OSError as wrong:
        raise OutputError(f"cannot make a private folder: {wrong.strerror}", hint=NO_SPACE) from wrong
    try:
        return _unpack(archive, folder, limits)
    except OutputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as wrong:  # noqa: BLE001  zipfile raises anything on a hostile archive
        shutil.rmtree(folder, ignore_errors=True)
        # A foreign exception's text may hold a member's name.
        reason = str(wrong) if isinstance(wrong, _RejectedError) else f"it is damaged ({type(wrong).__name__})"
        raise InputError(f"the ZIP archive is refused: {reason}", "ZIP_REJECTED", _HINT) from None


NO_SPACE = "Free space in the folder for temporary files, or set TMPDIR to a folder that has it; then run again."
_HINT = "Unpack the archive and give the folder, or have it packed again."


def _unpack(archive: Path, folder: Path, limits: ZipLimits) -> dict[PurePosixPath, Path]:
    _require_small_directory(archive, limits)
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        if len(members) > limits.max_members:
            raise _RejectedError(f"it has more than {limits.max_members} entries")
        _check_names(members, limits)
        files = [member for member in members if not member.is_dir()]
        if not files:
            raise _RejectedError("it does not contain a file")
        for member in files:
            _check_member(member, limits)
        _check_whole(files, archive.stat().st_size, limits)
        written, where = 0, {}
        for n, member in enumerate(sorted(files, key=lambda one: one.orig_filename.encode())):
            path = folder / f"{n:06d}"
            written += _write_member(zipped, member, path, limits, written)
            where[PurePosixPath(member.orig_filename)] = path
    return where


def _require_small_directory(archive: Path, limits: ZipLimits) -> None:
    """Stop before millions of entries fill the memory: their declared count may lie, the size does not."""
    with archive.open("rb") as stream:
        # Nothing public tells the directory's size before the whole of it is read.
        record = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # private, so not in the stubs
    if record is None:
        raise _RejectedError("it is not a ZIP archive")
    if record[5] > limits.max_members * _DIRECTORY_BYTES_EACH:
        raise _RejectedError(f"it has more than {limits.max_members} entries")


def _check_names(members: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    seen: set[str] = set()
    parents: set[str] = set()
    for member in members:
        parts = _parts(member, limits)
        # Also what some file systems take for the same name: other case, other Unicode form, a dot at the end.
        plain = [unicodedata.normalize("NFKC", part).casefold().rstrip(". ") for part in parts]
        name = "/".join(plain)
        if name in seen:
            raise _RejectedError("two entries have the same name, or names that differ in case or form alone")
        seen.add(name)
        parents.update("/".join(plain[:n]) for n in range(1, len(plain)))
        if not member.is_dir():
            parents.add(f"file:{name}")
    if any(f"file:{name}" in parents for name in parents):
        raise _RejectedError("an entry is both a file and a folder")


def _parts(member: zipfile.ZipInfo, limits: ZipLimits) -> tuple[str, ...]:
    name = member.orig_filename
    if not name or name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise _RejectedError("an entry's path leads out of the archive")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise _RejectedError("an entry's name holds control characters")
    parts = PurePosixPath(name).parts
    if len(parts) > limits.max_depth:
        raise _RejectedError(f"folders lie more than {limits.max_depth} deep")
    return parts


def _check_member(member: zipfile.ZipInfo, limits: ZipLimits) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise _RejectedError("an entry is a link or a device, not a file")
    if member.flag_bits & _ENCRYPTED:
        raise _RejectedError("it is encrypted")
    if member.compress_type not in _METHODS:
        raise _RejectedError("it is packed by a method other than store and deflate")
    if member.file_size > limits.max_member_bytes:
        raise _RejectedError(f"a file in it is larger than {limits.max_member_bytes >> 20} MB")
    if member.file_size > max(_RATIO_FROM_BYTES, limits.max_ratio * member.compress_size):
        raise _RejectedError(f"a file in it unpacks to more than {limits.max_ratio:g} times its size")


def _check_whole(files: list[zipfile.ZipInfo], archive_bytes: int, limits: ZipLimits) -> None:
    total = sum(member.file_size for member in files)
    if total > limits.max_total_bytes:
        raise _RejectedError(f"it unpacks to more than {limits.max_total_bytes >> 20} MB")
    if total > max(_RATIO_FROM_BYTES, limits.max_ratio * archive_bytes):
        raise _RejectedError(f"it unpacks to more than {limits.max_ratio:g} times its size")
    end = 0
    for member in sorted(files, key=lambda one: one.header_offset):
        if member.header_offset < end:
            raise _RejectedError("entries share the same bytes")
        end = member.header_offset + member.compress_size


def _write_member(
    zipped: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limits: ZipLimits, before: int
) -> int:
    """Bytes written; declared sizes are not believed."""
    size = 0
    with zipped.open(member) as packed:
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            if size > limits.max_member_bytes or before + size > limits.max_total_bytes:
                raise _RejectedError("it unpacks to more than it declares")
            append_private(path, chunk)
        if size == 0:
            append_private(path, b"")
    return size


def append_private(path: Path, chunk: bytes) -> None:
    """Write to a file that only this user can read; raises OutputError."""
    try:
        with path.open("ab") as stream:
            stream.write(chunk)
        path.chmod(0o600)
    except OSError as wrong:
        with suppress(OSError):
            path.unlink()
        raise OutputError(f"cannot write a temporary file: {wrong.strerror}", hint=NO_SPACE) from wrong
