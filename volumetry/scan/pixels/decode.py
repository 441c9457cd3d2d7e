"""Stored numbers of a stack of slices, decoded in a child process that may hang, grow or die without harm.

The child inherits one block of anonymous memory of fixed size and answers with JSON lines; nothing is unpickled.
"""

import contextlib
import fcntl
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import CATALOGUE
from volumetry.config import Limits
from volumetry.errors import ScanFailedError
from volumetry.memory import note_child
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.headers.syntaxes import BIG_ENDIAN, DECODERS
from volumetry.storage.unfinished import temporary_folder

Stored = NDArray[np.int16] | NDArray[np.uint16] | NDArray[np.int32] | NDArray[np.float32]

_CHILD = Path(__file__).with_name("decode_child.py")
_TRIES = 2
_LEAST_MEMORY_GB = 0.5
"""Address space that an interpreter with a decoder takes."""
_MAX_PROCESSES = 2
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class SliceFault:
    """Why one slice could not be decoded.

    Parameters
    ----------
    index
        Of the slice in the order given.
    code
        Of the catalogue.
    detail
        Class of the exception; empty if there was none.
    """

    index: int
    code: str
    detail: str = ""


class DecoderDiedError(Exception):
    """The child was killed by a signal, twice: its number is in `signal_number`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def stored_dtype(slices: Sequence[SliceHeader]) -> np.dtype[Any]:
    """Smallest of uint16, int16 and int32 that holds the stored numbers of every slice."""
    if all(h.bits_stored <= 16 and not h.signed for h in slices):
        return np.dtype(np.uint16)
    if all(h.bits_stored <= (16 if h.signed else 15) for h in slices):
        return np.dtype(np.int16)
    return np.dtype(np.int32)


def decode(slices: Sequence[SliceHeader], limits: Limits) -> tuple[Stored, tuple[SliceFault, ...]]:
    """Decode slices of one matrix, in the given order.

    Parameters
    ----------
    slices
        Without faults of their own.
    limits
        Seconds and bytes of the decoding process.

    Returns
    -------
    stored_kji, faults
        Stored numbers, and the slices that could not be decoded (their numbers are 0).

    Raises
    ------
    DecoderDiedError
        If the child died of a signal in two tries.
    ScanFailedError
        TIMEOUT, MEMORY_LIMIT or INTERNAL_ERROR: failures of ours.
    """
    requests = [_slice_request(index, header) for index, header in enumerate(slices)]
    shape = (len(slices), slices[0].rows, slices[0].columns)
    compressed = any(h.pixels.encapsulated for h in slices)
    return decode_requests(requests, shape, stored_dtype(slices), limits, compressed=compressed)


def decode_requests(
    requests: Sequence[dict[str, Any]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    limits: Limits,
    *,
    compressed: bool,
) -> tuple[Stored, tuple[SliceFault, ...]]:
    """Decode what the requests to the child name, one for each slice; see `decode`."""
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        memory = _shared_memory(size)
    except OSError as wrong:
        raise _failed("MEMORY_LIMIT", f"{size // 2**20 + 1} MB of shared memory cannot be had") from wrong
    try:
        request = _request(requests, dtype, shape, memory, limits, compressed)
        faults = _answers(_run(request, memory, limits), len(requests))
        block = mmap.mmap(memory, size)
    finally:
        os.close(memory)
    return np.frombuffer(block, dtype).reshape(shape), faults


def _shared_memory(size: int) -> int:
    """Descriptor of anonymous memory; where the system can, the child is unable to change its size."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as unlinked:
            os.truncate(unlinked.fileno(), size)
            return os.dup(unlinked.fileno())
    memory = os.memfd_create("slices", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(memory, size)
    except OSError:
        os.close(memory)
        raise
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory


def _request(
    requests: Sequence[dict[str, Any]],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    memory: int,
    limits: Limits,
    compressed: bool,
) -> bytes:
    file_bytes = int(limits.max_file_mb * 2**20)
    cpu_s = int(limits.decode_timeout_s) + 1
    request = {
        "limits": {
            "RLIMIT_CORE": 0,
            "RLIMIT_AS": int(limits.decode_memory_gb * 2**30),
            "RLIMIT_CPU": cpu_s,
            "RLIMIT_FSIZE": file_bytes,
            "RLIMIT_NOFILE": _OPEN_FILES,
        },
        "processes": min(_MAX_PROCESSES, os.cpu_count() or 1) if compressed else 1,
        "memory": memory,
        "dtype": dtype.str,
        "shape": shape,
        "max_bytes": file_bytes,
        "slices": list(requests),
    }
    return json.dumps(request).encode("ascii")


def _slice_request(index: int, header: SliceHeader) -> dict[str, Any]:
    pixels, file = header.pixels, header.file
    return {
        "index": index,
        "path": str(file.path),
        "as_listed": (file.size, file.mtime_ns, file.inode),
        "decoder": DECODERS[pixels.syntax],
        "syntax": pixels.syntax,
        "big_endian": pixels.syntax == BIG_ENDIAN,
        "rows": pixels.rows,
        "columns": pixels.columns,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "high_bit": pixels.high_bit,
        "signed": pixels.signed,
        "fragments": pixels.fragments,
        "deflated_at": pixels.deflated_at,
    }


def _run(request: bytes, memory: int, limits: Limits) -> bytes:
    """Answers of a child that ended by itself."""
    for attempt in range(1, _TRIES + 1):
        code, answers = _one_child(request, memory, limits.decode_timeout_s)
        if code == 0:
            return answers
        if -code == signal.SIGXCPU:
            raise _failed("TIMEOUT", f"decoding used more than {limits.decode_timeout_s:g} s")
        if code < 0 and attempt == _TRIES:
            raise DecoderDiedError(-code)
        if code > 0 and limits.decode_memory_gb < _LEAST_MEMORY_GB:
            raise _failed("MEMORY_LIMIT", f"no decoding can begin in {limits.decode_memory_gb:g} GB of memory")
        if code > 0:
            raise _failed("INTERNAL_ERROR", f"the decoding process ended with {code} before it began")
    raise AssertionError("the last try returns or raises")


def _one_child(request: bytes, memory: int, timeout_s: float) -> tuple[int, bytes]:
    with temporary_folder() as private:
        child = subprocess.Popen(  # noqa: S603  our own interpreter and our own file, no shell
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=private,
            env={},
            umask=0o077,
            pass_fds=(memory,),
            start_new_session=True,
        )
        try:
            answers, _ = child.communicate(request, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise _failed("TIMEOUT", f"decoding took longer than {timeout_s:g} s") from None
        finally:
            _end_group(child)
    return child.returncode, answers


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Nothing of the child's process group outlives the call, whether it hung, died or was interrupted."""
    if child.returncode == 0:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _failed(code: str, message: str) -> ScanFailedError:
    """A failure of ours, with the catalogue's words on what to do."""
    return ScanFailedError(message, code, CATALOGUE[code].hint)


def _answers(answers: bytes, count: int) -> tuple[SliceFault, ...]:
    """Faults among the child's answers; every slice must have been answered exactly once."""
    try:
        lines = [json.loads(line) for line in answers.splitlines()]
        rows = [line for line in lines if "peak_kb" not in line]
        peaks = [None if line["peak_kb"] is None else int(line["peak_kb"]) for line in lines if "peak_kb" in line]
        answered = sorted(int(row["index"]) for row in rows)
        faults = [SliceFault(row["index"], row["fault"], row.get("detail", "")) for row in rows if "fault" in row]
    except (ValueError, KeyError, TypeError):
        raise _failed("INTERNAL_ERROR", "the decoding process gave no readable answer") from None
    if answered != list(range(count)):
        raise _failed("INTERNAL_ERROR", "the decoding process did not answer for every slice")
    if any(fault.code == "MEMORY_LIMIT" for fault in faults):
        raise _failed("MEMORY_LIMIT", "decoding needs more memory than it is allowed")
    for peak in peaks or [None]:
        note_child(peak)
    return tuple(sorted(faults, key=lambda fault: fault.index))
