"""One dropped scan on its way to the disk: streamed, limited, without a name from outside."""

import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from volumetry.errors import InputError, OutputError
from volumetry.scan.inputs.unpack import NO_SPACE, append_private


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What a dropped scan may be.

    Parameters
    ----------
    max_files, max_file_bytes, max_total_bytes
        Of the request bodies, as they come; what an archive may hold, the settings say.
    """

    max_files: int = 50_000
    max_file_bytes: int = 4 * 2**30
    max_total_bytes: int = 8 * 2**30


class Upload:
    """Files of one scan in a private folder.

    Parameters
    ----------
    folder
        Made here, readable by this user alone.
    limits
        Beyond them the upload is refused.
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        _make(folder)
        self._folder = folder
        self._heard = monotonic()
        self._limits = limits
        self._files = 0
        self._bytes = 0

    async def add_file(self, body: AsyncIterator[bytes]) -> None:
        """Store one file of the scan; raises InputError beyond the limits."""
        await self._receive(self._scan() / secrets.token_hex(12), body)

    async def receive_zip(self, body: AsyncIterator[bytes]) -> None:
        """Store an archive without opening it; raises InputError beyond the limits."""
        await self._receive(self._zip, body)

    def ready(self) -> Path:
        """The scan: its archive, which the reading unpacks, or the folder of its files."""
        return self._zip if self._zip.exists() else self._scan()

    @property
    def silent_s(self) -> float:
        """Seconds since anything of it arrived."""
        return monotonic() - self._heard

    def remove(self) -> None:
        """Take everything from the disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _zip(self) -> Path:
        return self._folder / "archive.zip"

    def _scan(self) -> Path:
        folder = self._folder / "scan"
        _make(folder)
        return folder

    async def _receive(self, path: Path, body: AsyncIterator[bytes]) -> None:
        self._files += 1
        self._heard = monotonic()
        if self._files > self._limits.max_files:
            raise _too_large(f"more than {self._limits.max_files} files")
        size = 0
        append_private(path, b"")
        async for chunk in body:
            self._heard = monotonic()
            size += len(chunk)
            self._bytes += len(chunk)
            if size > self._limits.max_file_bytes:
                raise _too_large(f"a file of more than {self._limits.max_file_bytes >> 20} MB")
            if self._bytes > self._limits.max_total_bytes:
                raise _too_large(f"more than {self._limits.max_total_bytes >> 20} MB")
            append_private(path, chunk)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as wrong:
        raise OutputError(f"cannot store the upload: {wrong.strerror}", hint=NO_SPACE) from wrong


def _too_large(what: str) -> InputError:
    return InputError(f"the upload is refused: {what}", "LIMIT_EXCEEDED", "Drop the folder of one CT series.")
