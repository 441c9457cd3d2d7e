"""Freed memory is used again instead of being fetched from the system page by page."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

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
