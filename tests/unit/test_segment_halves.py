"""Halves are converted and compared as numpy does, to the bit."""

import numpy as np
import pytest

from volumetry.segment.halves import reaching, to_half, to_single

EVERY = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(np.float16)
"""Every number of 16 bits."""
PROBABILITIES = EVERY[: int(np.float16(1).view(np.uint16)) + 1]
"""From 0 to 1."""


def test_singles_become_the_halves_that_numpy_makes_of_them():
    ties = (PROBABILITIES[:-1].astype(np.float32) + PROBABILITIES[1:].astype(np.float32)) / 2
    random = np.exp(np.random.default_rng(1).uniform(-25, 0, 100_000))
    singles = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1)), random])
    singles = singles.astype(np.float32).reshape(4, -1)
    with np.errstate(under="ignore"):
        assert to_half(singles).tobytes() == singles.astype(np.float16).tobytes()
    assert to_half(singles[:, ::-3]).tobytes() == singles.astype(np.float16)[:, ::-3].tobytes()


def test_halves_become_the_singles_that_they_are():
    finite = EVERY[np.isfinite(EVERY)]
    assert to_single(finite).tobytes() == finite.astype(np.float32).tobytes()
    assert to_single(finite[::-2]).tolist() == finite[::-2].astype(np.float32).tolist()


@pytest.mark.parametrize("level", [1.0, 0.5, 0.3, 0.0301, 1e-5, 1e-9, 0.0, -0.2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_probability_reaches_a_level_as_numpy_says(level, dtype):
    given = np.append(PROBABILITIES, np.float16(np.nan)).astype(dtype)
    assert np.array_equal(reaching(given, level), given >= level)
