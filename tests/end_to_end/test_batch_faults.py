"""The batch under fire: killed at random, workers killed, memory eaten; every scan keeps its row."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deadly import Deadly
from trees import tree_of

from volumetry.batch import Cluster, ScanFolder, find_scans, run_batch, run_on_cluster, verify
from volumetry.codes import CATALOGUE
from volumetry.config import load_config
from volumetry.errors import ModelError, UsageError
from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_series

SMALL = PhantomSpec((44, 80, 92), (6.0, 4.0, 4.0))
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(SMALL)


def _write(phantom, root, kernels):
    for n, kernel in enumerate(kernels):
        write_series(phantom, root / f"s{n:02d}", SeriesSpec(kernel=kernel, series=str(n)))
    return find_scans(root)


def _rows(out):
    return {row["scan_id"]: row for row in csv.DictReader((out / "results.csv").read_text("utf-8").splitlines())}


RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is born deaf to it
sys.path.insert(0, {tests!r})
from pathlib import Path
from volumetry.batch import Cluster, find_scans, run_batch, run_on_cluster
from volumetry.config import load_config
from deadly import segmenter
if __name__ == "__main__":
    scans, out, config = find_scans(Path({scans!r})), Path({out!r}), load_config()
    if {workers}:
        run_on_cluster(scans, out, Cluster(workers={workers}), config, factory="deadly:segmenter")
    else:
        run_batch(scans, out, segmenter(config), config)
"""


def start(scans: Path, out: Path, workers: int, work: Path) -> "subprocess.Popen[bytes]":
    """A batch in a process group of its own."""
    script = work / "run.py"
    script.write_text(RUN.format(tests=str(TESTS), scans=str(scans), out=str(out), workers=workers), "utf-8")
    return subprocess.Popen([sys.executable, str(script)], start_new_session=True)  # noqa: S603  our own script


def kill_after(process: "subprocess.Popen[bytes]", out: Path, whole_scans: int, delay_s: float) -> bool:
    """SIGKILL a batch's process group a while after so many scans were whole; whether it was still running."""
    while process.poll() is None and len(list(out.glob("scans/*/record.json"))) < whole_scans:
        time.sleep(0.01)
    time.sleep(delay_s)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_killed_at_random_and_started_again_a_batch_is_the_batch_that_was_never_killed(tmp_path, phantom, config):
    scans = _write(phantom, tmp_path / "in", ["B50f"] * 5)
    run_batch(scans, tmp_path / "reference", Deadly(), config)
    out, dice = tmp_path / "out", random.Random(20260101)  # noqa: S311  no secret
    kills = 0
    for whole in (0, 1, 2, 3):
        process = start(tmp_path / "in", out, 0, tmp_path)
        kills += kill_after(process, out, whole, dice.uniform(0, 0.4))
    assert kills >= 2
    last = start(tmp_path / "in", out, 0, tmp_path)
    assert last.wait() == 0
    assert len(_rows(out)) == 5
    assert verify(out).passed
    assert tree_of(out) == tree_of(tmp_path / "reference")


def test_what_kills_its_worker_costs_its_own_row_and_no_other(tmp_path, phantom):
    kernels = ["B50f", "SIGKILL", "B50f", "SIGSEGV", "HOG", "B50f", "BUG", "B50f"]
    scans = _write(phantom, tmp_path / "in", kernels)
    config = load_config(overrides={"limits": {"worker_memory_gb": 0.9}})
    seen = []
    rows = run_on_cluster(
        scans,
        tmp_path / "out",
        Cluster(workers=2),
        config,
        lambda scan, brief, known: seen.append((scan.scan_id, brief["status"], known)),
        factory="deadly:segmenter",
    )
    assert sorted(scan_id for scan_id, _, _ in seen) == [scan.scan_id for scan in scans]
    assert len(rows) == len(kernels)
    found = _rows(tmp_path / "out")
    expected = {"SIGKILL": "WORKER_DIED", "SIGSEGV": "WORKER_DIED", "HOG": "MEMORY_LIMIT", "BUG": "INTERNAL_ERROR"}
    for n, kernel in enumerate(kernels):
        row = found[f"s{n:02d}"]
        if kernel in expected:
            assert (row["status"], row["code"]) == ("failed", expected[kernel]), kernel
            assert row["hint"] == CATALOGUE[expected[kernel]].hint
            assert row["volumes_ml.lung"] == ""
        else:
            assert row["status"] in ("measured", "review")
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"ZZPHIZZ" not in everything
    assert verify(tmp_path / "out").passed
    assert not (tmp_path / "out" / ".work").exists()


def test_a_scan_that_hangs_ends_with_its_time_limit_and_the_batch_on_a_cluster_equals_the_serial_one(
    tmp_path, phantom, config
):
    scans = _write(phantom, tmp_path / "in", ["B50f", "HANG", "B50f"])
    limited = load_config(overrides={"limits": {"scan_timeout_s": 20.0}})
    run_on_cluster(scans, tmp_path / "out", Cluster(workers=2), limited, factory="deadly:segmenter")
    found = _rows(tmp_path / "out")
    assert (found["s01"]["status"], found["s01"]["code"]) == ("failed", "TIMEOUT")
    run_batch([scans[0], scans[2]], tmp_path / "serial", Deadly(), limited)
    serial, parallel = tree_of(tmp_path / "serial"), tree_of(tmp_path / "out")
    for scan_id in ("s00", "s02"):
        ours = {name: digest for name, digest in serial.items() if name.startswith(f"scans/{scan_id}")}
        assert len(ours) > 5
        assert ours == {name: digest for name, digest in parallel.items() if name.startswith(f"scans/{scan_id}")}


def test_terminated_a_batch_with_workers_ends_in_time_and_goes_on(tmp_path, phantom):
    _write(phantom, tmp_path / "in", ["B50f", "B50f", "HANG", "HANG"])
    process = start(tmp_path / "in", tmp_path / "out", 2, tmp_path)
    while process.poll() is None and len(list((tmp_path / "out").glob("scans/*/record.json"))) < 2:
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert not (tmp_path / "out" / ".work").exists()
    assert sorted(p.name for p in (tmp_path / "out" / "scans").iterdir()) == ["s00", "s01"]
    assert verify(tmp_path / "out").passed


def test_a_model_that_cannot_be_loaded_stops_the_batch_before_any_row(tmp_path, phantom, config):
    scans = _write(phantom, tmp_path / "in", ["B50f"])
    with pytest.raises(ModelError):
        run_on_cluster(scans, tmp_path / "out", Cluster(workers=1), config, factory="deadly:no_model")
    assert not (tmp_path / "out" / "scans").exists()


def test_a_cluster_that_runs_already_is_used_and_left_running(tmp_path, phantom, config):
    from distributed import Client, LocalCluster

    scans = _write(phantom, tmp_path / "in", ["B50f", "B50f"])
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        there = Cluster(scheduler=cluster.scheduler_address)
        run_on_cluster(scans, tmp_path / "out", there, config, factory="deadly:segmenter")
        assert set(_rows(tmp_path / "out")) == {"s00", "s01"}
        with Client(cluster) as client:
            assert client.submit(sum, (1, 2)).result() == 3
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        there = Cluster(scheduler=cluster.scheduler_address)
        with pytest.raises(UsageError, match="one thread"):
            run_on_cluster(scans, tmp_path / "out2", there, config, factory="deadly:segmenter")


def test_a_worker_is_born_with_its_share_of_the_cores(tmp_path, config):
    scans = [ScanFolder(name, tmp_path / "nothing") for name in ("a", "b")]
    run_on_cluster(scans, tmp_path / "out", Cluster(workers=1), config, factory="deadly:threads")
    found = _rows(tmp_path / "out")
    assert {row["code"] for row in found.values()} == {"EMPTY_INPUT"}
    began = json.loads((tmp_path / "out" / "audit.jsonl").read_text("utf-8").splitlines()[0])
    assert began["model"].startswith(f"threads-{len(os.sched_getaffinity(0))}-PASSIVE-")
    assert not began["model"].endswith(f"-{os.getpid()}")
