"""The decoding child: runs alone, knows no other module of this program, and may die.

Started as ``python -I decode_child.py`` with one JSON request on standard input. Writes the stored numbers of
every slice into the shared memory it inherits, one JSON line per slice to standard output, and one per process on
its memory. What a decoder raises is reported by the name of its class alone, since its text may carry header
values.
"""

import contextlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any


def main() -> int:
    """Decode what the request names; 0 if every slice was tried."""
    request = json.loads(sys.stdin.buffer.read())
    _limit_resources(request["limits"])
    if request["processes"] > 1 and len(request["slices"]) > 1:
        return _in_parallel(request)
    _decode_all(request, request["slices"])
    return 0


def _limit_resources(limits: dict[str, int]) -> None:
    for name, most in limits.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))


def _in_parallel(request: dict[str, Any]) -> int:
    """Split the slices among forks; if one dies of a signal, die of the same one, so that the parent sees it."""
    _import_decoders({slice_["decoder"] for slice_ in request["slices"]})
    count = request["processes"]
    pids = []
    for part in range(count):
        pid = os.fork()
        if pid == 0:
            _decode_all(request, request["slices"][part::count])
            os._exit(0)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    for code in codes:
        if code < 0:
            signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
            os.kill(os.getpid(), -code)
    return max(codes)


def _import_decoders(names: set[str]) -> None:
    """Import before forking, so that it is paid once; pydicom, half a second of it, only where it decodes."""
    if names - {"numpy", "volume", "SimpleITK"}:
        import pydicom.pixels  # noqa: F401
    if "SimpleITK" in names:
        import SimpleITK  # noqa: F401


def _decode_all(request: dict[str, Any], slices: list[dict[str, Any]]) -> None:
    import numpy as np

    count, rows, columns = request["shape"]
    dtype = np.dtype(request["dtype"])
    try:
        shared = mmap.mmap(request["memory"], count * rows * columns * dtype.itemsize)
    except OSError:  # the stack alone is more address space than this process may have
        for slice_ in slices:
            os.write(1, (json.dumps({"index": slice_["index"], "fault": "MEMORY_LIMIT"}) + "\n").encode())
        return
    stack = np.frombuffer(shared, dtype).reshape(count, rows, columns)
    for slice_ in slices:
        answer: dict[str, Any] = {"index": slice_["index"]}
        try:
            with _stderr_judged():
                stored = _stored(slice_, request["max_bytes"])
            if stored.shape != (rows, columns):
                answer["fault"] = "PIXEL_LENGTH"
            elif (
                dtype.kind != "f"
                and not np.iinfo(dtype).min <= stored.min() <= stored.max() <= np.iinfo(dtype).max
            ):
                answer["fault"] = "MALFORMED"
            else:
                stack[slice_["index"]] = stored
        except _ChangedError:
            answer["fault"] = "INPUT_CHANGED"
        except MemoryError:
            answer["fault"] = "MEMORY_LIMIT"
        except ImportError as wrong:
            answer |= {"fault": "UNSUPPORTED_TRANSFER_SYNTAX", "detail": type(wrong).__name__}
        except BaseException as wrong:  # noqa: BLE001  a decoder raises anything; a Rust panic is not an Exception
            answer |= {"fault": "MALFORMED", "detail": type(wrong).__name__}
        os.write(1, (json.dumps(answer) + "\n").encode())
    os.write(1, (json.dumps({"peak_kb": _peak_kb()}) + "\n").encode())


def _peak_kb() -> int | None:
    """The most that this process held; what `getrusage` says would hold that of the parent, too."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), None)
    except OSError:
        return None


class _ChangedError(Exception):
    """The file is not the one that was listed."""


class _CorruptError(Exception):
    """A decoder went on after a fault, and only said so on standard error."""


@contextlib.contextmanager
def _stderr_judged() -> Iterator[None]:
    """Keep what C libraries print off the terminal, and read it: libjpeg reports damage there and goes on."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        printed.seek(0)
        if b"Corrupt JPEG data" in printed.read(2**16):
            raise _CorruptError


def _stored(slice_: dict[str, Any], max_bytes: int) -> Any:  # noqa: ANN401  numpy is imported late
    data = _read(slice_, max_bytes)
    if slice_["decoder"] == "volume":
        return _of_volume(data, slice_)
    if slice_["decoder"] == "numpy":
        return _native(data, slice_)
    if slice_["decoder"] == "SimpleITK":
        return _by_simpleitk(data, slice_)
    return _by_pydicom(data, slice_)


def _read(slice_: dict[str, Any], max_bytes: int) -> bytes:
    """Bytes of the slice's pixel data, from the very file that was listed."""
    path = slice_["path"]
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if [status.st_size, status.st_mtime_ns, status.st_ino] != slice_["as_listed"]:
            raise _ChangedError
        if slice_["deflated_at"] is None:
            parts = []
            for offset, length in slice_["fragments"]:
                stream.seek(offset)
                parts.append(stream.read(length))
            return b"".join(parts)
        ((offset, length),) = slice_["fragments"]
        if path not in _INFLATED:
            stream.seek(slice_["deflated_at"])
            _INFLATED.clear()
            _INFLATED[path] = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), max_bytes)
        return _INFLATED[path][offset : offset + length]


_INFLATED: dict[str, bytes] = {}
"""The last deflated file, by its path: the frames of one object follow each other."""


def _native(data: bytes, slice_: dict[str, Any]) -> Any:  # noqa: ANN401  numpy is imported late
    """Uncompressed words: keep the stored bits alone (junk may sit above them), then give them their sign."""
    import numpy as np

    order = ">" if slice_["big_endian"] else "<"
    width = slice_["bits_allocated"]
    words = np.frombuffer(data, f"{order}u{width // 8}").reshape(slice_["rows"], slice_["columns"])
    words = words.astype(f"u{width // 8}") << (width - 1 - slice_["high_bit"])
    kind = "i" if slice_["signed"] else "u"
    return words.view(f"{kind}{width // 8}") >> (width - slice_["bits_stored"])


def _of_volume(data: bytes, slice_: dict[str, Any]) -> Any:  # noqa: ANN401  numpy is imported late
    """Numbers of a volume file as they are."""
    import numpy as np

    return np.frombuffer(data, slice_["dtype"]).reshape(slice_["rows"], slice_["columns"])


def _by_pydicom(data: bytes, slice_: dict[str, Any]) -> Any:  # noqa: ANN401  numpy is imported late
    from pydicom.pixels.decoders.base import get_decoder

    if slice_["decoder"] == "pylibjpeg-openjpeg":
        data = _bare_codestream(data)
    decoder = get_decoder(slice_["syntax"])
    array, _facts = decoder.as_array(_minimal(data, slice_), raw=True, index=0)
    return array


def _bare_codestream(data: bytes) -> bytes:
    """JPEG 2000 without the JP2 boxes around it: OpenJPEG's reader of boxes (CVE-2025-54874) never runs."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        raise ValueError("no JPEG 2000 codestream")
    return data[at:]


def _minimal(data: bytes, slice_: dict[str, Any]) -> Any:  # noqa: ANN401  pydicom is imported late
    """A dataset of our own with nothing in it but the codestream and its shape."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = slice_["syntax"]
    dataset.Rows, dataset.Columns = slice_["rows"], slice_["columns"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = slice_["bits_allocated"], slice_["bits_stored"]
    dataset.HighBit = slice_["bits_stored"] - 1
    dataset.PixelRepresentation = int(slice_["signed"])
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _by_simpleitk(data: bytes, slice_: dict[str, Any]) -> Any:  # noqa: ANN401  SimpleITK is imported late
    """JPEG Lossless and 12-bit JPEG through GDCM, which sees a minimal file of ours and never the original."""
    import secrets

    import SimpleITK as sitk

    name = secrets.token_hex(8)
    with open(name, "xb") as file:
        file.write(_minimal_file(data, slice_))
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(name)
    try:
        image = reader.Execute()
    finally:
        os.unlink(name)
    array = sitk.GetArrayFromImage(image)
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _minimal_file(data: bytes, slice_: dict[str, Any]) -> bytes:
    """A DICOM file with nothing in it but the codestream and its shape (PS3.5 section 7.1 and annex A.4)."""
    secondary_capture, name = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    meta = b"".join(
        (
            _element(0x00020002, "UI", secondary_capture),
            _element(0x00020003, "UI", name),
            _element(0x00020010, "UI", slice_["syntax"]),
        )
    )
    image = b"".join(
        (
            _element(0x00080016, "UI", secondary_capture),
            _element(0x00080018, "UI", name),
            _element(0x00080060, "CS", "OT"),
            _element(0x00280002, "US", 1),
            _element(0x00280004, "CS", "MONOCHROME2"),
            _element(0x00280010, "US", slice_["rows"]),
            _element(0x00280011, "US", slice_["columns"]),
            _element(0x00280100, "US", slice_["bits_allocated"]),
            _element(0x00280101, "US", slice_["bits_stored"]),
            _element(0x00280102, "US", slice_["bits_stored"] - 1),
            _element(0x00280103, "US", int(slice_["signed"])),
            _element(0x00281052, "DS", "0"),
            _element(0x00281053, "DS", "1"),
        )
    )
    length_of_meta = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta))
    of_undefined_length = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    fragments = _item(0xE000, bytes(4)) + _item(0xE000, data) + _item(0xE0DD, b"")
    return bytes(128) + b"DICM" + length_of_meta + meta + image + of_undefined_length + fragments


def _element(tag: int, kind: str, value: str | int) -> bytes:
    content = struct.pack("<H", value) if isinstance(value, int) else value.encode("ascii")
    content += (b"\0" if kind == "UI" else b" ") * (len(content) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind.encode("ascii"), len(content)) + content


def _item(number: int, content: bytes) -> bytes:
    content += bytes(len(content) % 2)
    return struct.pack("<HHI", 0xFFFE, number, len(content)) + content


if __name__ == "__main__":
    sys.exit(main())
