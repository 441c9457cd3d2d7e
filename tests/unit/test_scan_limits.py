"""What the fuzz run and a look at the parent's memory have found, each with the file that shows it."""

import struct
from pathlib import Path

import pytest
from mutations import deflate
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless
from scan_series import codes_of, findings_of, series, write

from volumetry.config import Config
from volumetry.domain import ScanRefusedError
from volumetry.errors import ScanFailedError
from volumetry.scan import inspect_folder, read_scan
from volumetry.scan.checks import identity
from volumetry.scan.headers.files import list_files
from volumetry.scan.headers.reader import MAX_HEADER_BYTES, read_header
from volumetry.scan.pixels import decode as room
from volumetry.scan.pixels.decode import DecoderDiedError

_THICKNESS = b"\x18\x00\x50\x00DS"


def _with_element(path: Path, element: bytes) -> bytes:
    """The file's bytes with an element in front of SliceThickness."""
    data = path.read_bytes()
    at = data.find(_THICKNESS)
    return data[:at] + element + data[at:]


def _scan(tmp_path: Path) -> tuple[Path, Path]:
    folder = write(tmp_path / "scan", series())
    return folder, sorted(folder.iterdir())[30]


@pytest.mark.parametrize("ending", [b"", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\x04\0\0\0ab"])
def test_a_sequence_without_an_end_is_malformed_and_not_access_denied(ending, tmp_path, config: Config) -> None:
    """pydicom raises an OSError there, which is no matter of permissions."""
    folder, victim = _scan(tmp_path)
    data = _with_element(victim, b"")
    at = data.find(_THICKNESS)
    victim.write_bytes(data[:at] + b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + ending)
    codes = set(findings_of(folder, config))
    assert codes & {"MALFORMED", "TRUNCATED_FILE"}
    assert "ACCESS_DENIED" not in codes


def test_a_file_that_vanishes_or_is_replaced_has_changed(tmp_path: Path, config: Config) -> None:
    folder, victim = _scan(tmp_path)
    listed = {file.path: file for file in list_files(folder, config.limits).files}
    victim.rename(tmp_path / "elsewhere")
    assert read_header(listed[victim], config.limits).code == "INPUT_CHANGED"
    victim.write_bytes((tmp_path / "elsewhere").read_bytes())
    assert read_header(listed[victim], config.limits).code == "INPUT_CHANGED"


def test_an_element_larger_than_any_header_is_not_read_into_memory(tmp_path: Path, config: Config) -> None:
    """A patient's name of 200 MB, which the file really has."""
    folder, victim = _scan(tmp_path)
    data, size = victim.read_bytes(), 200 * 2**20
    at = data.find(b"\x10\x00\x10\x00PN")
    with victim.open("wb") as stream:
        stream.write(data[:at] + b"\x10\x00\x10\x00UN\0\0" + struct.pack("<L", size))
        stream.seek(size, 1)
        stream.write(data[at:])
    assert size > MAX_HEADER_BYTES
    assert inspect_folder(folder, config).verdict == "MALFORMED"


def test_a_deflated_file_of_gigabytes_is_not_read_into_memory(tmp_path: Path, config: Config) -> None:
    import random

    folder, victim = _scan(tmp_path)
    with victim.open("r+b") as stream:
        packed = deflate(stream.read(), random.Random(1))  # noqa: S311  no secret
        stream.seek(0)
        stream.write(packed[:400])
        stream.truncate(3 * 2**30)  # takes no room on the disk
    assert inspect_folder(folder, config).verdict == "LIMIT_EXCEEDED"


def test_a_huge_file_of_the_same_name_is_no_duplicate_and_is_not_read(tmp_path: Path, config: Config) -> None:
    """A slice a second and a third time, with gigabytes of pixel data that are really there."""
    folder, victim = _scan(tmp_path)
    data = victim.read_bytes()
    at = data.find(b"\xe0\x7f\x10\x00")
    for name in ("twice", "thrice"):
        with (folder / name).open("wb") as stream:
            stream.write(data[:at] + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 2**32 - 2))
            stream.truncate(at + 12 + 2**32 - 2)  # takes no room on the disk
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    assert "UID_CONFLICT" in codes_of(stop.value)


def test_a_second_copy_that_kills_its_decoder_is_a_conflict(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, victim = _scan(tmp_path)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    (folder / "twice").write_bytes(bytes(data))

    def deadly(*_: object) -> None:
        raise DecoderDiedError(11)

    monkeypatch.setattr(identity, "decode", deadly)
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    assert "UID_CONFLICT" in codes_of(stop.value)


def test_a_panic_of_a_decoder_is_the_scans_fault(tmp_path: Path, config: Config) -> None:
    """The RLE decoder is written in Rust; what it panics with is no Exception, and is caught all the same."""

    def edit(ds: Dataset, k: int) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)
        if k == 30:
            segment = b"\x81\x00" * 2000  # runs of 128 zeros, ninety times what the slice holds
            starts = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13)
            ds.PixelData = encapsulate([starts + 2 * segment])
            ds["PixelData"].VR = "OB"
            ds["PixelData"].is_undefined_length = True

    with pytest.raises(ScanRefusedError) as stop:
        read_scan(write(tmp_path / "scan", series(), edit), config)
    assert stop.value.code == "MALFORMED"


def test_memory_that_cannot_be_shared_is_our_failure(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr(room.os, "truncate", full)
    with pytest.raises(ScanFailedError) as stop:
        read_scan(_scan(tmp_path)[0], config)
    assert stop.value.code == "MEMORY_LIMIT"
