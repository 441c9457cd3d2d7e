"""A smooth surface through evidence: along rows and columns the height is a random walk that the evidence steers.

Messages are passed forwards and backwards, as in a hidden Markov model: first along rows and columns alone, then
each with half the weight of the others. All sums run in one order, so that threads change nothing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Heights = NDArray[np.float64]
Evidence = NDArray[np.float32]

_ROUNDS = 2
_JUMP = np.float32(1e-4)
"""Share of a message that may be anywhere: a fissure that ends does not hold the rest."""
_OUTLIER_MM = 6.0
_REWEIGHTED = 8
_SMOOTH_MM = 5.0
_HELD = 0.02


def beliefs(log_evidence: Evidence, step_sd: float) -> Evidence:
    """Probability of every height in every column.

    Parameters
    ----------
    log_evidence
        Shape (lateral, along, height), up to a constant for each column.
    step_sd
        Standard deviation of the step from a column to the next, in steps of height.
    """
    likelihood = np.exp(log_evidence - log_evidence.max(axis=-1, keepdims=True))
    rows, columns = np.ones_like(likelihood), np.ones_like(likelihood)
    for _ in range(_ROUNDS):
        rows, columns = (
            _messages(likelihood * np.sqrt(columns), step_sd, 0),
            _messages(likelihood * np.sqrt(rows), step_sd, 1),
        )
    belief = likelihood * rows * columns
    found: Evidence = belief / belief.sum(axis=-1, keepdims=True)
    return found


def moments(belief: Evidence, heights_mm: Heights) -> tuple[Heights, Heights]:
    """Mean and standard deviation of the height of every column."""
    mean = (belief * heights_mm).sum(axis=-1, dtype=np.float64)
    square = (belief * heights_mm**2).sum(axis=-1, dtype=np.float64)
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def low_order(heights_mm: Heights, weights: NDArray[np.float64], held: float) -> Heights:
    """The quadratic through heights that most of them agree on: least squares, reweighted by Cauchy's function.

    Parameters
    ----------
    heights_mm, weights
        Shape (lateral, along).
    held
        Weight, as a share of all weights, of every coefficient but the constant being 0.
    """
    lateral, along = np.meshgrid(*(np.linspace(-1, 1, n) for n in heights_mm.shape), indexing="ij")
    terms = np.stack([np.ones_like(lateral), lateral, along, lateral**2, lateral * along, along**2])
    centre = _weighted_median(heights_mm.ravel(), weights.ravel())
    fitted = np.full_like(heights_mm, centre)
    total = weights.sum()
    ridge = np.diag([1e-9, *([held] * 5)]) * total
    for _ in range(_REWEIGHTED):
        robust = weights / (1 + ((heights_mm - fitted) / _OUTLIER_MM) ** 2)
        normal = np.einsum("aij,bij,ij->ab", terms, terms, robust)
        aim = np.einsum("aij,ij->a", terms, robust * (heights_mm - centre))
        fitted = centre + np.einsum("a,aij->ij", np.linalg.solve(normal + ridge, aim), terms)
    return fitted


def smoothed(heights_mm: Heights, weights: NDArray[np.float64], step_mm: float) -> Heights:
    """Weighted means over a neighbourhood, drawn to 0 where there is no weight near."""
    reach = _SMOOTH_MM / step_mm
    number = ndimage.gaussian_filter(weights, reach, mode="constant")
    found: Heights = ndimage.gaussian_filter(weights * heights_mm, reach, mode="constant") / (number + _HELD)
    return found


def _messages(evidence: Evidence, step_sd: float, axis: int) -> Evidence:
    """What the other columns of its line say of the height of each column."""
    lines = np.moveaxis(evidence, axis, 0)
    reach = int(np.ceil(3 * step_sd))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / step_sd) ** 2)
    kernel /= kernel.sum()
    there, back = np.moveaxis(_passed(np.stack([lines, lines[::-1]], axis=1), kernel), 1, 0)  # in one go
    found = there * back[::-1]
    found /= found.sum(axis=-1, keepdims=True)
    return np.moveaxis(found, 0, axis)


def _passed(lines: Evidence, kernel: NDArray[np.float64]) -> Evidence:
    """Before each column: the message from those before it."""
    found = np.empty_like(lines)
    message = np.full_like(lines[0], 1 / lines.shape[-1])
    for n, column in enumerate(lines):
        found[n] = message
        message = message * column
        walked = ndimage.correlate1d(message, kernel, axis=-1, mode="constant")
        walked += _JUMP * message.sum(axis=-1, keepdims=True) / lines.shape[-1]
        message = walked / walked.sum(axis=-1, keepdims=True)
    return found


def _weighted_median(values: Heights, weights: Heights) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)]) if reached[-1] > 0 else 0.0
