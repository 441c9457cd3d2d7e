"""How many workers of a batch this machine takes."""

import os
from dataclasses import dataclass

WORKER_GB = 2.0
"""What a worker holds at most with a chest of 300 slices of 512 x 512, and some to spare."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A number of workers, and why.

    Parameters
    ----------
    workers
        Processes; 0 for one scan after the other in the process that asks.
    reason
        What limits it, for the terminal.
    """

    workers: int
    reason: str


def workers_advised(scans: int, cores: int, free_gb: float) -> Advice:
    """One worker for each core, as far as there is memory and work for it.

    Most of a scan's work runs on one core at a time, so that a second scan uses a second core better than the
    first one could.

    Parameters
    ----------
    scans
        Scans to measure.
    cores
        Cores that this process may use.
    free_gb
        Memory that is not in use, in GB (2**30 bytes).

    Returns
    -------
    Advice
        At least one scan at a time.

    Examples
    --------
    >>> workers_advised(scans=100, cores=8, free_gb=10.0)
    Advice(workers=5, reason='10.0 GB of free memory hold 5 workers of 2 GB')
    >>> workers_advised(scans=100, cores=1, free_gb=10.0)
    Advice(workers=0, reason='1 core')
    """
    of_memory = int(free_gb / WORKER_GB)
    fewest = min(scans, cores, of_memory)
    if fewest == cores:
        reason = f"{cores} core{'s' * (cores != 1)}"
    elif fewest == scans:
        reason = f"{scans} scan{'s' * (scans != 1)}"
    else:
        reason = f"{free_gb:.1f} GB of free memory hold {of_memory} workers of {WORKER_GB:g} GB"
    return Advice(fewest if fewest > 1 else 0, reason)


def advice_here(scans: int) -> Advice:
    """What is advised on this machine, as it is now."""
    import psutil

    return workers_advised(scans, len(os.sched_getaffinity(0)), psutil.virtual_memory().available / 2**30)
