"""The trial's comparisons by both batches, and what one concludes and the other does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from volumetry.trial.compare import Comparison


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One comparison of two arms, by both batches.

    Parameters
    ----------
    flips
        What one says and the other does not: ``significance``, ``direction``, ``estimate`` (only one has any).
    """

    old: Comparison
    new: Comparison
    flips: tuple[str, ...]


def conclusions(old: Sequence[Comparison], new: Sequence[Comparison], alpha: float) -> Iterator[Conclusion]:
    """Comparisons that both trials make, in the order of the older one.

    Significance flips where one p-value is below `alpha` and the other is not. Direction flips where both
    estimates differ from 0 in sign and at least one of them is significant: between two that are not, the sign is
    noise.

    Parameters
    ----------
    old, new
        Of both trials.
    alpha
        Two-sided level.

    Yields
    ------
    Conclusion
        With what flips.
    """
    found = {_key(comparison): comparison for comparison in new}
    for before in old:
        after = found.get(_key(before))
        if after is not None and before.arm_b is not None:
            yield Conclusion(before, after, tuple(_flips(before, after, alpha)))


def _key(comparison: Comparison) -> tuple[str, str, str, str, str | None, str]:
    c = comparison
    return c.measure, c.scale, c.visit, c.arm_a, c.arm_b, c.analysis


def _flips(old: Comparison, new: Comparison, alpha: float) -> Iterator[str]:
    if (old.shift is None) != (new.shift is None):
        yield "estimate"
    significant = [c.test is not None and c.test.p < alpha for c in (old, new)]
    if significant[0] != significant[1]:
        yield "significance"
    if old.shift is not None and new.shift is not None and old.shift * new.shift < 0 and any(significant):
        yield "direction"
