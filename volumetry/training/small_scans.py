"""Samples as small scans, slices from all over one case: units that a model is calibrated by.

Drawn ones set temperature and threshold, and the interval only where there is no chest for whole ones.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.thresholds import SCANS, SLICES, Cuts
from volumetry.training.calibration_scans import KIND as DRAWN
from volumetry.training.samples import Sample

BLOCK = 6
"""Slices of one case that are taken together as a small scan."""
LONE = "single slices"
REFERENCE_FROM = 2.0
"""Percent of lung below which a relative error says little."""
ENOUGH_BLOCKS = 8
"""Of fewer blocks the middle one says too little of the next."""


def small_scans(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Up to `BLOCK` slices of a case at a time, from all over it; cases of a single slice are taken together."""
    slices = Counter((sample.kind, sample.group) for sample in samples)
    by_case: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        alone = slices[sample.kind, sample.group] == 1
        by_case.setdefault((sample.kind, LONE if alone else sample.group), []).append(sample)
    for case in by_case.values():
        ordered = sorted(case, key=lambda sample: sample.name)
        count = math.ceil(len(ordered) / BLOCK)
        yield from (ordered[start::count] for start in range(count))


def cuts_for(segmenter: NetworkSegmenter, sample: Sample) -> Cuts:
    """The cuts that are in force for what a sample shows."""
    return segmenter.cuts[looked_at(sample)]


def looked_at(sample: Sample) -> str:
    """`SCANS` or `SLICES`, by where it comes from: some ready-made slices are prints of a lung window.

    These give both pictures, too.
    """
    return SCANS if sample.kind == DRAWN else SLICES
