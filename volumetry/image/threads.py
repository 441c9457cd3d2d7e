"""Work on slices that do not depend on each other, on two cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_THREADS = 2
"""More would wait for memory: what is done to a slice is little compared with fetching it."""


def each_of(function: Callable[[int], T], count: int) -> list[T]:
    """Call a function with 0 to ``count - 1``, beside each other; numpy leaves the interpreter free meanwhile.

    Parameters
    ----------
    function
        Of one index, independent of the other calls.
    count
        How many calls.

    Returns
    -------
    list
        What it returned, in the order of the indices.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(function, range(count)))
