"""Scans that bring down what touches them: each costs its own row, and all others are measured."""

import os
import signal
import struct
import time

import psutil
import pydicom
import pytest
from batch_command import SMALL, BatchCommand
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from volumetry.batch import verify
from volumetry.phantom import SeriesSpec, make_phantom, write_series

BOMB_SIDE = 30_000
NUMBERS = {"measured", "review"}


def _plant(folder, side):
    """A series whose every slice is 2 kB of RLE and claims a matrix of `side` squared (inputs.md 2.5: a bomb)."""
    write_series(make_phantom(SMALL), folder, SeriesSpec(transfer_syntax=RLELossless, series=folder.name))
    segment = b"\x81\x00" * 500  # 128 copies of one byte each: far less than any of these matrices
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = side
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)


@pytest.fixture
def batch(tmp_path):
    return BatchCommand(tmp_path, ["B50f", "B50f", "B50f"])


def _limits(tmp_path, **limits):
    path = tmp_path / "limits.toml"
    path.write_text("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()), "utf-8")
    return "--config", str(path)


def test_a_bomb_with_the_limits_lifted_crashes_the_decoder_and_costs_one_row(batch, tmp_path):
    _plant(batch.scans / "s01-bomb", BOMB_SIDE)
    stack_gb = SMALL.shape_kji[0] * BOMB_SIDE**2 * 2 / 2**30
    lifted = _limits(
        tmp_path,
        max_rows_columns=40_000,
        max_file_mb=4000.0,
        max_inflation_ratio=1e9,
        max_memory_gb=1e4,
        decode_memory_gb=stack_gb + 3.0,  # one slice of 1.7 GB fits; the decoder's own copy of it does not
    )
    code, said = batch.run("--workers", "2", *lifted)
    rows = batch.rows()
    assert code == 8, said
    assert (rows["s01-bomb"]["status"], rows["s01-bomb"]["code"]) == ("refused", "DECODER_DIED")
    assert f"signal {signal.SIGABRT.value}, twice" in rows["s01-bomb"]["message"]
    assert {rows[name]["status"] for name in ("s00", "s01", "s02")} <= NUMBERS
    assert verify(batch.out).passed


def test_a_scan_that_exceeds_memory_costs_one_row_wherever_that_is_found(batch, tmp_path):
    _plant(batch.scans / "s01-bomb", BOMB_SIDE)  # beyond the matrix allowed
    _plant(batch.scans / "s01-huge", 10_000)  # by its headers beyond the memory allowed
    _plant(batch.scans / "s01-large", 4000)  # beyond the address space of the decoding child
    limits = _limits(tmp_path, max_rows_columns=12_000, max_inflation_ratio=1e9, decode_memory_gb=1.0)
    code, said = batch.run(*limits)
    rows = batch.rows()
    assert code == 8, said
    found = {
        name: (rows[f"s01-{name}"]["status"], rows[f"s01-{name}"]["code"]) for name in ("bomb", "huge", "large")
    }
    assert found == {
        "bomb": ("refused", "LIMIT_EXCEEDED"),
        "huge": ("refused", "TOO_LARGE"),
        "large": ("failed", "MEMORY_LIMIT"),
    }
    assert {rows[name]["status"] for name in ("s00", "s01", "s02")} <= NUMBERS


def _workers(process):
    """Processes that measure: children of the batch's nannies, without their decoding children."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_a_worker_that_is_killed_costs_a_retry_and_no_row(tmp_path):
    batch = BatchCommand(tmp_path, ["B50f", "WAIT", "B50f", "WAIT", "B50f"])
    process = batch.start("--workers", "2")
    deadline = time.monotonic() + 120
    while len(_workers(process)) < 2 or not list(batch.out.glob(".work/*/s0[13].*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(_workers(process)[0].pid, signal.SIGKILL)  # it waits in a scan, or is about to
    while "attempt_failed" not in (batch.out / "audit.jsonl").read_text("utf-8"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    batch.go.touch()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert {row["status"] for row in batch.rows().values()} <= NUMBERS
    assert len(batch.rows()) == 5
    assert verify(batch.out).passed


@pytest.mark.parametrize("workers", ["0", "2"])
def test_terminated_a_batch_finishes_cleanly_and_goes_on(tmp_path, workers):
    batch = BatchCommand(tmp_path, ["B50f", "WAIT", "WAIT", "B50f"])
    process = batch.start("--workers", workers)
    deadline = time.monotonic() + 120
    while not batch.whole():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert not (batch.out / ".work").exists()
    assert verify(batch.out).passed
    batch.go.touch()
    done = len(batch.whole())
    code, said = batch.run("--workers", workers)
    assert code == 0, said
    assert said.count('"already_there": true') == done
    assert len(batch.rows()) == 4
    assert verify(batch.out).passed
