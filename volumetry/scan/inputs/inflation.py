"""Gzip and zlib data, read piece by piece and never beyond a bound."""

import gzip
import zlib
from contextlib import suppress
from typing import BinaryIO

from volumetry.scan.findings import CodedError
from volumetry.scan.headers.files import FileRef

GZIP = b"\x1f\x8b"
HEAD_BYTES = 2**16
"""Enough of a file to recognise it; the header of a NIfTI, NRRD or MetaImage volume ends within it."""
_LEAST_HEAD_BYTES = 1024
_CHUNK = 2**20


class InflationError(CodedError):
    """Why packed data are not inflated: a code and its message."""


def start_of(file: FileRef, most: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file, inflated if it is gzipped; of damaged gzip data what can be had.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with file.open() as stream:
        return inflated_start(stream.read(most))


def inflated_start(start: bytes) -> bytes:
    """The first bytes of a file, inflated if they are gzipped, as far as they can be."""
    if not start.startswith(GZIP):
        return start
    for most in (
        HEAD_BYTES,
        _LEAST_HEAD_BYTES,
    ):  # what is damaged further on, or in its checksum, has a head still
        with suppress(zlib.error):
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, most)
    return start


def inflate(packed: BinaryIO, copy: BinaryIO, bound: int, *, whole: bool) -> int:
    """Write what is packed, by gzip or zlib, and return how many bytes; raises InflationError.

    Without `whole` no more than the bound is read; with it, more than the bound is a stop.
    """
    stream = gzip.GzipFile(fileobj=packed) if packed.peek(2)[:2] == GZIP else _Zlib(packed)  # type: ignore[attr-defined]
    size = 0
    try:
        while chunk := stream.read(min(_CHUNK, bound + int(whole) - size)):
            size += len(chunk)
            if size > bound:
                raise InflationError("LIMIT_EXCEEDED", f"a compressed file inflates to more than {bound >> 20} MB")
            copy.write(chunk)
    except EOFError:
        raise InflationError("TRUNCATED_FILE", "compressed data end early: part of the file is missing") from None
    except (gzip.BadGzipFile, zlib.error):
        raise InflationError("MALFORMED", "compressed data are damaged") from None
    return size


class _Zlib:
    """Reads zlib data piece by piece."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed, self._inflate = packed, zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while size and not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._packed.read(_CHUNK)
            if not data:
                raise EOFError
            if chunk := self._inflate.decompress(data, size):
                return chunk
        return b""
