"""Whole phantoms with lesions, in which slices have neighbours and the network of the whole chest has its say.

They are no chests that it learned from: it takes parts of their chest wall and mediastinum for lung. So they also
teach the network of the slices that it is sometimes wrong.
"""

import math
from collections.abc import Iterator

import numpy as np

from volumetry.phantom import PhantomSpec, make_phantom, truth_map
from volumetry.segment.preprocess import pictures_of
from volumetry.training.samples import AERATED, Sample
from volumetry.training.shown import Looks, sample_of
from volumetry.training.synthesis import Lesions, with_lesions

KIND = "phantom"
HEIGHT_MM, SLICE_MM, SIDE_PX, PIXEL_MM = 300.0, (2.0, 4.0), 256, 1.4
NOISE_HU = (5.0, 40.0)


def phantom_volumes(count: int, looks: Looks, seed: int) -> Iterator[Sample]:
    """Every other slice of phantoms, one in four of them without a lesion.

    Parameters
    ----------
    count
        Of phantoms; each differs from the others and from those of the accuracy test.
    looks
        How a scan is seen.
    seed
        Of the training run.

    Yields
    ------
    Sample
        With exact truth.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, 8, number])
        slice_mm = float(rng.uniform(*SLICE_MM))
        spacing_kji_mm = (slice_mm, PIXEL_MM, PIXEL_MM)
        shape = (math.ceil(HEIGHT_MM / slice_mm), SIDE_PX, SIDE_PX)
        spec = PhantomSpec(shape, spacing_kji_mm, seed=int(rng.integers(1000, 2**31)))
        hu_kji = make_phantom(spec).hu_kji
        lung = truth_map(spec).labels_kji > 0
        truth = np.where(lung, int(AERATED), 0).astype(np.uint8)
        if number % 4:
            plan = Lesions(count=(2, 10), solid=float(rng.uniform(0.1, 0.5)))
            hu_kji, drawn = with_lesions(hu_kji, lung, spacing_kji_mm, rng, plan)
            truth = drawn.astype(np.uint8)
        noise = rng.uniform(*NOISE_HU) * rng.standard_normal(hu_kji.shape)
        seen = looks.volume((hu_kji + noise).astype(np.float32), spacing_kji_mm)
        for k in range(number % 2, len(hu_kji), 2):
            yield sample_of(
                pictures_of(seen.plane(k), looks.recipe), truth[k], KIND, f"volume {number:03d}", f"{k:04d}"
            )
