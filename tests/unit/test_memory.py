"""Freed memory is used again instead of being fetched from the system page by page."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from scan_series import series, write

from volumetry import memory
from volumetry.config import load_config
from volumetry.scan import read_scan

CHILD = """
import ctypes, resource, sys
from volumetry.memory import keep_freed_memory
told = keep_freed_memory() if sys.argv[1] == "kept" else True
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(12):
    block = ctypes.c_void_p(libc.malloc(60_000_000))
    libc.memset(block, 1, 60_000_000)
    libc.free(block)
print(int(told), resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_what_is_asked_for_is_put_where_the_last_lay():
    if HUGE.is_file() and "[always]" in HUGE.read_text():
        pytest.skip("huge pages for everything hide what is fetched")
    told, faults = {}, {}
    for way in ("kept", "as it is"):
        done = subprocess.run([sys.executable, "-c", CHILD, way], capture_output=True, text=True, check=True)  # noqa: S603  our own
        told[way], faults[way] = map(int, done.stdout.split())
    if not told["kept"]:
        pytest.skip("this C library cannot be told")
    block = 60_000_000 // resource.getpagesize()
    assert faults["as it is"] - faults["kept"] > 8 * block


PEAKS = """
import sys
from volumetry.memory import peak_memory, note_child
def held(mb):
    with peak_memory() as peak:
        block = bytearray(mb << 20)
        return peak.mb
small, large, again = held(8), held(400), held(8)
with peak_memory() as peak:
    note_child(900 << 10)
    child = peak.mb
with peak_memory() as peak:
    note_child(None)
    unknown = peak.mb
print(small, large, again, child, unknown)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
def test_the_peak_of_one_piece_of_work_is_not_that_of_the_one_before():
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)  # noqa: S603  our own
    small, large, again, child, unknown = done.stdout.split()
    assert float(large) - float(small) == pytest.approx(392, abs=16)
    assert float(again) == pytest.approx(float(small), abs=16)
    assert float(child) == 900
    assert unknown == "None"  # a child that cannot tell leaves the whole unknown


def test_where_the_system_tells_nothing_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no-such" / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "no-such" / "status")
    with memory.peak_memory() as peak:
        assert peak.mb is None


def test_a_peak_that_may_be_that_of_earlier_work_is_not_told(monkeypatch, tmp_path):
    """The kernel cannot be told to forget: only a peak above all before it is known to be this work's."""
    status = tmp_path / "status"
    status.write_text("VmHWM:\t   2048 kB\n", "ascii")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no-such" / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", status)
    with memory.peak_memory() as peak:
        assert peak.mb is None
        status.write_text("VmHWM:\t   3072 kB\n", "ascii")
        assert peak.mb == 3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
def test_a_scans_peak_knows_the_decoding_child_and_not_the_process_that_started_it(tmp_path):
    """The kernel counts what the parent held into `ru_maxrss` of its child."""
    folder = write(tmp_path / "scan", series())
    ballast = bytearray(b"x") * (600 << 20)
    told: list[int | None] = []
    with memory.peak_memory() as peak:
        told = peak._children_kb
        read_scan(folder, load_config())
    assert len(ballast) == 600 << 20
    assert told
    assert all(kb is not None and 0 < kb < 500 << 10 for kb in told)


GIVEN_BACK = """
import ctypes, re
from pathlib import Path
from volumetry.memory import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def held_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before = held_mb()
blocks = [ctypes.c_void_p(libc.malloc(15_000_000)) for _ in range(3)]
for block in blocks:
    libc.memset(block, 1, 15_000_000)
    libc.free(block)
for scan_bytes in (250, 800):
    give_back_freed_memory(scan_bytes * 2**20)
    print(held_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_freed_memory_is_given_back_before_a_stage_of_a_long_scan_alone():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)  # noqa: S603  our own
    short_mb, long_mb = map(float, done.stdout.split())
    if short_mb < 30:
        pytest.skip("this C library keeps nothing")
    assert long_mb < 15
