"""The batch on dask.distributed: workers that may die, and scans that must not.

``workers=N`` starts N processes on this machine, each under a nanny that replaces it when it dies.
``scheduler=ADDRESS`` uses a cluster that runs already; its workers need this program in the same version and the
same paths to the scans and to the output folder. One scan at a time is in a worker; the model is loaded once in
each and never sent to it.

What a worker's death costs: the scans that were in it are done again, each alone; one that takes its worker along
the second time too gets its row, ``WORKER_DIED``. A scan that exceeds ``[limits] scan_timeout_s`` or the worker's
memory ends its worker itself and gets ``TIMEOUT`` or ``MEMORY_LIMIT`` at once. On a cluster that was started
elsewhere, start the scheduler with ``DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0``, or dask repeats a deadly
scan four times by itself.

**GPU.** ``gpu=True`` asks for the dask resource ``GPU`` with every scan. A local cluster offers one per worker,
all on the same card; for several cards start one worker for each: ``CUDA_VISIBLE_DEVICES=1 dask worker ADDRESS
--nthreads 1 --resources GPU=1``.

**SLURM** and its like, with the ``cluster`` extra::

    from dask_jobqueue import SLURMCluster
    from volumetry.batch.cluster import jobqueue_settings

    cluster = SLURMCluster(queue="gpu", walltime="04:00:00", **jobqueue_settings(cores=8, memory_gb=32, gpu=True))
    cluster.scale(jobs=20)
    print(cluster.scheduler_address)      # volumetry batch SCANS --out DIR --scheduler ADDRESS
"""

import asyncio
import concurrent.futures
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volumetry.batch.engine import OnScan, Run, require_ids
from volumetry.batch.expected import ExpectedVisit
from volumetry.batch.find import ScanFolder
from volumetry.batch.ledger import Ledger, held
from volumetry.batch.leftovers import Leftovers
from volumetry.batch.tables import Rows
from volumetry.batch.work import Brief, Order, give_up
from volumetry.batch.worker import facts_of, measure_in_worker
from volumetry.config import Config
from volumetry.errors import UsageError, VolumetryError
from volumetry.memory import FREED_MEMORY_KEPT
from volumetry.segment.factory import SHIPPED

_LOG = logging.getLogger(__name__)
_NO_SCHEDULER = "Start it with `dask scheduler`, and check the address and that its port can be reached."


_WINDOW = 3
"""Scans handed to the cluster per worker; the rest of a million stay out of everyone's memory."""
_LOOK_AGAIN = 50
"""After so many scans the workers are counted again: a cluster may grow."""
_WORDS = {
    "TIMEOUT": "took longer than {limit_s:g} s in its worker",
    "MEMORY_LIMIT": "needs more memory than its worker has",
    "WORKER_DIED": "its worker died in two tries, the second time with this scan alone",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a batch runs.

    Parameters
    ----------
    workers
        Processes to start on this machine.
    scheduler
        Address of a cluster that runs already, instead.
    gpu
        Every scan needs the dask resource ``GPU``.
    dashboard
        Start dask's dashboard on this machine alone (needs bokeh). Its pages name scans.
    threads
        Threads of each of these workers; 0 shares the machine's cores among them equally.

    Raises
    ------
    UsageError
        Unless it is either workers or a scheduler.
    """

    workers: int = 0
    scheduler: str | None = None
    gpu: bool = False
    dashboard: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        if (self.workers < 1) == (self.scheduler is None):
            raise UsageError("a cluster is either a number of workers or the address of a scheduler")
        if self.threads < 0 or (self.threads and self.scheduler is not None):
            raise UsageError("threads are those of workers on this machine, and more than none")

    @property
    def threads_each(self) -> int:
        """Threads of each worker on this machine."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // max(1, self.workers))


def run_on_cluster(  # noqa: PLR0913  as `run_batch`, and where
    scans: Sequence[ScanFolder],
    out: Path,
    cluster: Cluster,
    config: Config,
    on_scan: OnScan = lambda *_: None,
    *,
    retry_failed: bool = False,
    leftovers: Leftovers = "ask",
    expected: Sequence[ExpectedVisit] | None = None,
    factory: str = SHIPPED,
    on_dashboard: Callable[[str], None] = lambda _: None,
) -> Rows:
    """Measure every scan in the workers of a cluster; otherwise as `volumetry.batch.run_batch`.

    Parameters
    ----------
    scans, out, config, on_scan, retry_failed, leftovers, expected
        As for `volumetry.batch.run_batch`.
    cluster
        Where the workers are.
    factory
        ``module:function``; called with the settings in every worker, it makes the segmenter.
    on_dashboard
        Called with the link of dask's dashboard, if there is one.

    Returns
    -------
    Rows
        As from `volumetry.batch.run_batch`.

    Raises
    ------
    BusyError, OutputError
        As `volumetry.batch.run_batch`.
    ModelError
        If a worker cannot load the model; no row is written then.
    VolumetryError
        CLUSTER_LOST, if the scheduler went away; finished scans are kept.
    """
    require_ids(scans)
    out = out.absolute()
    found = [replace(scan, path=scan.path.absolute()) for scan in scans]
    with held(out) as ledger, _client(cluster, config) as client:
        if client.dashboard_link and (cluster.dashboard or cluster.scheduler):
            on_dashboard(client.dashboard_link)
        desk = _Desk(client, cluster, factory, config, ledger)
        try:
            run = Run(found, ledger, desk.facts(), config, on_scan, retry_failed, leftovers, expected)
            return run.through(desk.run)
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as lost:
            raise VolumetryError(
                "the cluster's scheduler went away",
                code="CLUSTER_LOST",
                hint="Run again: finished scans are kept.",
            ) from lost


def jobqueue_settings(cores: int, memory_gb: float, *, gpu: bool = False) -> dict[str, Any]:
    """Keywords for a dask-jobqueue cluster whose jobs are workers of a batch.

    One process of one thread per job: torch uses the cores, dask must not put two scans into them.

    >>> jobqueue_settings(8, 32)["job_script_prologue"][:2]
    ['export OMP_NUM_THREADS=8', 'export MKL_NUM_THREADS=8']
    """
    prologue = [f"export {name}={value}" for name, value in _thread_environment(cores).items()]
    prologue.append("export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False")  # see `_dask_settings`
    settings: dict[str, Any] = {
        "cores": 1,
        "job_cpu": cores,
        "processes": 1,
        "memory": f"{memory_gb:g}GB",
        "nanny": True,
        "job_script_prologue": prologue,
        "scheduler_options": {"dashboard_address": None},
    }
    if gpu:
        settings["job_extra_directives"] = ["--gres=gpu:1"]
        settings["worker_extra_args"] = ["--resources", "GPU=1"]
    return settings


class _Desk:
    """Hands scans to the workers and takes briefs back."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401  dask is untyped
        cluster: Cluster,
        factory: str,
        config: Config,
        ledger: Ledger,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._resources = {"GPU": 1} if cluster.gpu else None
        self._factory = factory
        self._config = config
        self._settings = config.model_dump_json()

    def facts(self) -> Any:  # noqa: ANN401  SegmenterFacts, through an untyped library
        """Which segmenter the workers have; the first of them loads it now, and a wrong model stops the batch."""
        return self._client.submit(
            facts_of, self._factory, self._settings, pure=False, resources=self._resources
        ).result()

    def run(self, orders: Iterator[Order]) -> Iterator[tuple[Order, Brief]]:
        """Every order with its brief, in the order in which they end."""
        suspects: list[Order] = []
        for order, brief in self._drain(orders, alone=False):
            if brief is not None:
                yield order, brief
                continue
            suspects.append(order)
            _LOG.warning("a worker died; its scan is measured again, alone")
            self._ledger.audit.append("attempt_failed", "its worker died", scan_id=order.scan.scan_id)
        for order, brief in self._drain(iter(suspects), alone=True):
            yield order, brief or self._given_up(order, "WORKER_DIED")

    def _drain(self, orders: Iterator[Order], *, alone: bool) -> Iterator[tuple[Order, Brief | None]]:
        """Every order with its brief; None if its worker died and nobody knows whose fault it was."""
        from distributed import KilledWorker, as_completed

        pending: dict[Any, Order] = {}
        running = as_completed()
        window = self._window(alone=alone)
        for count in itertools.count(1):
            for order in itertools.islice(orders, window - len(pending)):
                running.add(self._submit(order, alone=alone, pending=pending))
            if not pending:
                return
            future = next(running)
            order, error = pending.pop(future.key), future.exception()
            if error is not None and not isinstance(error, KilledWorker):
                raise error
            brief = self._stopped_itself(order) if error is not None else future.result()
            del future  # while it is held, dask would run its scan again if its worker died
            yield order, brief
            if count % _LOOK_AGAIN == 0:
                window = self._window(alone=alone)

    def _submit(self, order: Order, *, alone: bool, pending: dict[Any, Order]) -> Any:  # noqa: ANN401  a future
        # A tuple puts all scans into one group; dask then keeps those that wait out of the workers, so that a
        # dying worker takes no scan along that it had not begun.
        group = f"{'again' if alone else 'scan'}-{order.workshop.name}"
        future = self._client.submit(
            measure_in_worker,
            order,
            self._factory,
            self._settings,
            key=(group, order.scan.scan_id),
            pure=False,
            resources=self._resources,
        )
        pending[future.key] = order
        return future

    def _window(self, *, alone: bool) -> int:
        return 1 if alone else _WINDOW * max(1, len(self._client.nthreads()))

    def _stopped_itself(self, order: Order) -> Brief | None:
        """The row of a scan that exceeded a limit; None if its worker died of something else."""
        try:
            code = order.stop_note.read_text("ascii")
        except OSError:
            return None
        return self._given_up(order, code) if code in _WORDS else None

    def _given_up(self, order: Order, code: str) -> Brief:
        message = _WORDS[code].format(limit_s=self._config.limits.scan_timeout_s)
        return give_up(order, code, message, self._config)


@contextmanager
def _client(cluster: Cluster, config: Config) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        if cluster.scheduler is not None:
            try:
                client = Client(cluster.scheduler, timeout=30)
            except (OSError, ValueError) as wrong:
                raise UsageError("no dask scheduler answers at the address given", hint=_NO_SCHEDULER) from wrong
            yield stack.enter_context(client)
            return
        environment = {**_thread_environment(cluster.threads_each), **FREED_MEMORY_KEPT}
        stack.enter_context(_environment(environment))
        stack.enter_context(dask.config.set(_dask_settings(environment)))
        local = stack.enter_context(
            LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=_memory_bytes(cluster.workers, config),
                resources={"GPU": 1} if cluster.gpu else {},
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": cluster.dashboard},
                silence_logs=logging.CRITICAL,
            )
        )
        yield stack.enter_context(Client(local))


def _dask_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "distributed.scheduler.allowed-failures": 0,
        # By default dask gives up on a worker that needs more than 15 s to come back, and never replaces it.
        "distributed.deploy.lost-worker-timeout": "1 h",
        # The only memory that grows is the scan's own; pausing a worker or spilling to disk would free nothing.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        # Its samples, a hundred a second, stop the measurement each time.
        "distributed.worker.profile.enabled": False,
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()},
    }


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Variables for the workers: a nanny takes those of this process first, and leaves its own behind here."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _thread_environment(cores: int) -> dict[str, str]:
    # Before torch is loaded: threads that spin while they wait more than halve the speed on shared cores. ITK has
    # threads of its own. Dask gives a worker one thread of MKL and OpenBLAS, and torch takes MKL's number.
    return {
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "OPENBLAS_NUM_THREADS": str(cores),
        "OMP_WAIT_POLICY": "PASSIVE",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(cores),
    }


def _memory_bytes(workers: int, config: Config) -> int:
    import psutil

    own = config.limits.worker_memory_gb * 2**30
    return int(own or psutil.virtual_memory().total / workers)
