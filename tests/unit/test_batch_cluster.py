"""Where a batch runs: what is asked of dask, of a job scheduler, of a worker."""

import json
import os
import subprocess
import sys

import pytest
from scenes import chest, scan_of
from typer.testing import CliRunner

from volumetry.batch import Cluster, find_scans, replay, run_batch
from volumetry.batch.cluster import _dask_settings, _thread_environment, jobqueue_settings
from volumetry.batch.machine import Advice, workers_advised
from volumetry.batch.worker import facts_of
from volumetry.cli import app
from volumetry.domain import SegmenterFacts, Tissue, TissueMap
from volumetry.errors import UsageError
from volumetry.memory import FREED_MEMORY_KEPT
from volumetry.segment.hu_segmenter import ThresholdSegmenter


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"workers": 2, "scheduler": "tcp://x:1"},
        {"workers": -1},
        {"workers": 1, "threads": -1},
        {"scheduler": "tcp://x:1", "threads": 2},
    ],
)
def test_a_cluster_is_workers_or_a_scheduler(wrong):
    with pytest.raises(UsageError):
        Cluster(**wrong)


def test_workers_share_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(8)))
    each = [Cluster(workers).threads_each for workers in (1, 2, 3, 8, 20)]
    assert each == [8, 4, 2, 1, 1]
    assert Cluster(2, threads=3).threads_each == 3


def test_the_job_script_gives_one_scan_all_the_cores_and_the_card(monkeypatch):
    jobqueue = pytest.importorskip("dask_jobqueue")
    settings = jobqueue_settings(cores=8, memory_gb=32, gpu=True)
    with jobqueue.SLURMCluster(queue="gpu", walltime="04:00:00", **settings) as cluster:
        script = cluster.job_script()
    lines = script.splitlines()
    for wanted in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=8", "#SBATCH --gres=gpu:1", "#SBATCH -t 04:00:00"):
        assert wanted in lines
    assert lines.index("export OMP_NUM_THREADS=8") < next(
        n for n, x in enumerate(lines) if "dask" in x and "-m" in x
    )
    assert "export OMP_WAIT_POLICY=PASSIVE" in lines
    command = next(x for x in lines if "-m" in x and "dask" in x)
    assert "--nthreads 1 " in command
    assert "--resources GPU=1" in command
    assert "--nanny" in command
    assert "--no-nanny" not in command


def test_a_worker_makes_its_segmenter_by_name_and_once(config):
    settings = config.model_dump_json()
    assert facts_of("deadly:segmenter", settings) == SegmenterFacts("deadly", "1")
    from volumetry.batch import worker

    assert worker._bench("deadly:segmenter", settings)[0] is worker._bench("deadly:segmenter", settings)[0]
    assert worker._bench("deadly:segmenter", settings)[1].sha256 == config.sha256


@pytest.fixture
def batch(tmp_path, monkeypatch, config):
    hu = chest()[0]
    monkeypatch.setattr("volumetry.pipeline.read_scan", lambda _folder, _config: scan_of(hu))
    (tmp_path / "in" / "a").mkdir(parents=True)
    scans = find_scans(tmp_path / "in")
    run_batch(scans, tmp_path / "out", ThresholdSegmenter(), config)
    return tmp_path / "out", scans


class _OneVoxelLess:
    facts = ThresholdSegmenter().facts

    def __call__(self, scan, /):
        labels = ThresholdSegmenter()(scan).labels_kji.copy()
        k, j, i = 20, 32, int(labels[20, 32].argmax()) + 8
        assert labels[k, j, i] == Tissue.AERATED
        labels[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = Tissue.SOLID
        return TissueMap(labels, scan.grid)


def test_a_replay_is_identical_or_says_by_how_much_it_is_not(batch):
    out, scans = batch
    (same,) = replay(out, scans, lambda _config: ThresholdSegmenter())
    assert (same.verdict, same.differing_voxels, same.difference_ml) == ("identical", 0, {})
    (other,) = replay(out, scans, lambda _config: _OneVoxelLess())
    assert (other.verdict, other.differing_voxels) == ("differs", 27)
    voxel_ml = 0.125  # 5 mm cubed
    assert other.difference_ml["solid"] == pytest.approx(27 * voxel_ml)
    assert other.difference_ml["aerated"] == pytest.approx(-27 * voxel_ml)
    assert "lung" not in other.difference_ml


def test_a_replay_uses_the_settings_of_the_record(batch):
    out, scans = batch
    run = json.loads((out / "scans" / "a" / "run.json").read_text("utf-8"))
    seen = []
    list(replay(out, scans, lambda config: seen.append(config) or ThresholdSegmenter()))
    assert [config.sha256 for config in seen] == [run["config_sha256"]]


def test_a_replay_without_input_or_result_says_so(batch, tmp_path):
    from dataclasses import replace

    out, scans = batch
    found = replay(
        out,
        [replace(scans[0], scan_id="b"), replace(scans[0], path=tmp_path / "gone")],
        lambda _config: ThresholdSegmenter(),
    )
    assert [one.verdict for one in found] == ["no result", "no input"]


@pytest.mark.parametrize(
    ("scans", "cores", "free_gb", "workers", "because"),
    [
        (30, 4, 64.0, 4, "4 cores"),
        (3, 16, 64.0, 3, "3 scans"),
        (30, 16, 9.9, 4, "9.9 GB"),
        (30, 16, 3.0, 0, "3.0 GB"),
        (30, 1, 64.0, 0, "1 core"),
        (1, 8, 64.0, 0, "1 scan"),
    ],
)
def test_workers_are_as_many_as_cores_memory_and_scans_allow(scans, cores, free_gb, workers, because):
    advice = workers_advised(scans, cores, free_gb)
    assert advice.workers == workers
    assert because in advice.reason


def test_a_batch_that_chooses_its_workers_says_how_many_and_why(tmp_path, monkeypatch):
    monkeypatch.setattr("volumetry.batch.machine.advice_here", lambda scans: Advice(0, f"{scans} scans of none"))
    (tmp_path / "in" / "empty").mkdir(parents=True)
    words = ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers"]
    assert "1 scans of none" in CliRunner().invoke(app, [*words, "auto"]).stderr
    assert CliRunner().invoke(app, [*words, "many"]).exit_code == 2


def test_a_worker_may_use_its_cores_in_every_library_and_keeps_freed_memory_from_its_start():
    """Dask's own defaults are one thread and memory that is given back at once; torch takes MKL's number."""
    cores = len(os.sched_getaffinity(0))
    environment = {**_thread_environment(cores), **FREED_MEMORY_KEPT}
    one_each = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    said = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        env={**os.environ, **one_each, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(said.stdout) == cores
    settings = _dask_settings(environment)
    for name in ("MKL_NUM_THREADS", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"):
        assert settings[f"distributed.nanny.pre-spawn-environ.{name}"] == environment[name]
