"""Decoding: every lossless encoding gives the stored numbers; a child that dies, hangs or lies harms nobody."""

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from scan_series import chest_hu, codes_of, series, write

from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.errors import ScanFailedError
from volumetry.scan import read_scan
from volumetry.scan.contents import contents_of
from volumetry.scan.inputs.opening import opened
from volumetry.scan.pixels import decode as room
from volumetry.scan.pixels.decode import decode

HU = chest_hu()
CODECS = ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def _signed(ds: Dataset, k: int, bits: int = 16) -> None:
    ds.PixelRepresentation, ds.RescaleIntercept, ds.BitsStored, ds.HighBit = 1, 0, bits, bits - 1
    ds.PixelData = HU[k].astype("<i2").tobytes()


def _as(ds: Dataset, syntax: str) -> None:
    if syntax in CODECS:
        ds.compress(syntax, generate_instance_uid=False)
        return
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
        ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "syntax", [*CODECS, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_lossless_encodings_give_the_same_numbers_and_digests(
    syntax: str, signed: bool, tmp_path: Path, config: Config
) -> None:
    def plain(ds: Dataset, k: int) -> None:
        if signed:
            _signed(ds, k)

    def encoded(ds: Dataset, k: int) -> None:
        plain(ds, k)
        _as(ds, syntax)

    wanted = read_scan(write(tmp_path / "plain", series(), plain), config)
    got = read_scan(write(tmp_path / "encoded", series(), encoded), config)
    assert np.array_equal(got.hu_kji, HU)
    assert (got.input_sha256, got.pixels_sha256) == (wanted.input_sha256, wanted.pixels_sha256)
    assert got.series.transfer_syntax == syntax


@pytest.mark.parametrize("junk", [0x1000, 0xF000])
def test_junk_above_the_stored_bits_is_ignored(junk: int, tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        words = np.frombuffer(ds.PixelData, "<u2") | np.uint16(junk)
        ds.PixelData = words.tobytes()

    assert np.array_equal(read_scan(write(tmp_path / "s", series(), edit), config).hu_kji, HU)


def test_signed_twelve_bits_without_sign_extension(tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        _signed(ds, k, bits=12)
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") & 0x0FFF).tobytes()

    assert np.array_equal(read_scan(write(tmp_path / "s", series(), edit), config).hu_kji, HU)


@pytest.mark.parametrize("syntax", CODECS)
def test_codestream_that_lost_its_middle_is_refused(syntax: str, tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.compress(syntax, generate_instance_uid=False)
        if k == 20:
            frame = ds.PixelData[16:]
            ds.PixelData = encapsulate([frame[: len(frame) // 3] + frame[-200:]])

    with pytest.raises(ScanRefusedError) as stop:
        read_scan(write(tmp_path / "s", series(), edit), config)
    assert codes_of(stop.value)[0] in {"MALFORMED", "PIXEL_LENGTH"}


def _child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    path = tmp_path / "child.py"
    path.write_text(f"import os, signal, subprocess, sys, time\nsys.stdin.buffer.read()\n{code}\n")
    monkeypatch.setattr(room, "_CHILD", path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "s", series())


def test_child_that_dies_twice_refuses_this_scan(
    folder: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = tmp_path / "deaths"
    _child(tmp_path, monkeypatch, f"open({str(deaths)!r}, 'a').write('x'); os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ScanRefusedError, match="signal 11") as stop:
        read_scan(folder, config)
    assert codes_of(stop.value)[0] == "DECODER_DIED"
    assert deaths.read_text() == "xx"


def test_child_that_dies_once_is_tried_again(
    folder: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, died = room._CHILD, tmp_path / "died"
    code = (
        f"if not os.path.exists({str(died)!r}):\n"
        f"    open({str(died)!r}, 'w'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "child.py"
    path.write_text(f"import os, runpy, signal\n{code}\nrunpy.run_path({str(real)!r}, run_name='__main__')\n")
    monkeypatch.setattr(room, "_CHILD", path)
    assert np.array_equal(read_scan(folder, config).hu_kji, HU)


def test_child_that_hangs_is_ended_with_all_it_started(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    code = (
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid)!r}, 'w').write(str(other.pid)); time.sleep(600)"
    )
    _child(tmp_path, monkeypatch, code)
    with pytest.raises(ScanFailedError) as stop:
        read_scan(folder, load_config(overrides={"limits": {"decode_timeout_s": 3.0}}))
    assert stop.value.code == "TIMEOUT"
    assert _gone(int(pid.read_text()))


def _gone(pid: int) -> bool:
    """Ended; it may stay listed as a zombie until whoever adopted it looks."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("answer", ["print('{')", "print('{}')", "pass", "sys.exit(3)", "print('[1]')"])
def test_child_that_lies_is_our_failure(
    answer: str, folder: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(tmp_path, monkeypatch, answer)
    with pytest.raises(ScanFailedError) as stop:
        read_scan(folder, config)
    assert stop.value.code == "INTERNAL_ERROR"


def test_memory_limit_is_our_failure(
    folder: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import json\nfor k in range(62): print(json.dumps({'index': k, 'fault': 'MEMORY_LIMIT'}))"
    _child(tmp_path, monkeypatch, code)
    with pytest.raises(ScanFailedError) as stop:
        read_scan(folder, config)
    assert stop.value.code == "MEMORY_LIMIT"


def test_child_runs_alone(folder: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolated interpreter, no environment, an empty current folder, no core dumps, nothing of ours imported."""
    told = tmp_path / "told"
    code = (
        f"open({str(told)!r}, 'w').write(repr((sys.flags.isolated, dict(os.environ).keys() - {{'LC_CTYPE'}},"
        " os.listdir('.'), os.umask(0), os.getpgrp() == os.getpid()))); sys.exit(3)"
    )
    _child(tmp_path, monkeypatch, code)
    monkeypatch.setenv("SECRET", "ZZPHIZZ")
    with pytest.raises(ScanFailedError):
        read_scan(folder, config)
    assert told.read_text() == repr((1, set(), [], 0o077, True))


def test_child_file_imports_nothing_of_this_program() -> None:
    text = room._CHILD.read_text()
    assert "volumetry" not in text
    assert "pickle" not in text


def test_file_swapped_after_the_headers_is_noticed(folder: Path, config: Config) -> None:
    with opened(folder, config) as given:
        stack = contents_of(given, config).stacks[0]
    path = stack.slices[5].file.path
    os.utime(path, ns=(1, 1))
    _stored, faults = decode(stack.slices, config.limits)
    assert [(fault.index, fault.code) for fault in faults] == [(5, "INPUT_CHANGED")]


def test_shared_memory_keeps_its_size() -> None:
    """The child cannot shrink what the parent has mapped."""
    memory = room._shared_memory(4096)
    try:
        with pytest.raises(PermissionError):
            os.truncate(memory, 0)
    finally:
        os.close(memory)
