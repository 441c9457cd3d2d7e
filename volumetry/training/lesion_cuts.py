"""From which probability on a voxel is lesion, and lesion is solid: a model's cuts.

The lesion's are fitted on the small scans that calibrate the model. That of solid, in ready-made slices, is fitted
on the slices that it learned from, too: few others have the two classes apart.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.thresholds import EVEN, SCANS, SLICES
from volumetry.segment.uncertainty import class_counts
from volumetry.training.samples import Sample, Truth
from volumetry.training.small_scans import ENOUGH_BLOCKS, REFERENCE_FROM, cuts_for, looked_at, small_scans

CUT_LIMITS = (0.25, 0.75)
"""A median cut beyond these speaks of lesions that were missed or misread, and not of outlines."""
LEAST_PX, AROUND_PX = 20, 4
"""Of a lesion in a slice whose outline says where lesions begin, and how far around it is looked."""


def unbiased_cuts(segmenter: NetworkSegmenter, samples: Sequence[Sample]) -> dict[str, float]:
    """For scans and for slices the lesion's cut at which as many blocks come out too large as too small.

    Each block has a cut of its own at which its lesions have their true area; the cut is the median of these, so
    that a lesion missed or a case misread does not move the outlines of all others. Of lesions drawn into scans
    only those count that the even cut finds, each with what lies around it: one that is missed says nothing of
    where lesions begin, and would lower the cut for all. Each chest that was drawn into counts the same. With too
    few blocks, or with a median beyond `CUT_LIMITS`, the cut is even: most lesions were then missed or misread.
    """
    own: dict[str, dict[str, list[float]]] = {SCANS: {}, SLICES: {}}
    for run in small_scans(samples):
        kind = looked_at(run[0])
        found = [segmenter.probabilities([sample.pictures])[0] for sample in run]
        lung = sum(int(class_counts(channels, cuts_for(segmenter, run[0]))[0]) for channels in found)
        drawn = [(sample.truth_ji & Truth.LESION) > 0 for sample in run]
        if not lung or 100 * sum(int(lesion.sum()) for lesion in drawn) / lung < REFERENCE_FROM:
            continue
        parts = [(channels[1], lesion) for channels, lesion in zip(found, drawn, strict=True)]
        if kind == SCANS:
            parts = [near for probability, lesion in parts for near in _around_found(probability, lesion)]
        true = sum(int(lesion.sum()) for _, lesion in parts)
        if true:
            lesion = np.concatenate([probability.ravel() for probability, _ in parts])
            chest = run[0].group.split()[0] if kind == SCANS else ""
            own[kind].setdefault(chest, []).append(float(np.partition(lesion, -true)[-true]))
    return {kind: _middle_cut(list(by_chest.values())) for kind, by_chest in own.items()}


def _around_found(
    probability: NDArray[np.float32], lesion: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Of each lesion of a slice that is found, the pixels in and around it, and which of them are lesion."""
    labels, _ = ndimage.label(lesion)
    for label in range(1, int(labels.max()) + 1):
        one = labels == label
        if np.count_nonzero(one) >= LEAST_PX and float(np.median(probability[one])) >= EVEN:
            near = ndimage.binary_dilation(one, iterations=AROUND_PX) & (one | ~lesion)
            yield probability[near], one[near]


def solid_cut(segmenter: NetworkSegmenter, samples: Sequence[Sample]) -> dict[str, float]:
    """For slices the cut at which as much of the readers' lesion is called solid as they called solid.

    Parameters
    ----------
    segmenter
        The model.
    samples
        Labelled slices; those whose lesion nobody divided are left out.

    Returns
    -------
    dict[str, float]
        By `SLICES`; a cut beyond `CUT_LIMITS` is the nearer of these. Empty without such slices.
    """
    found, solid = [np.zeros(0, np.float32)], 0
    for sample in samples:
        if (sample.truth_ji & Truth.SOLID_UNKNOWN).any():
            continue
        lesion = (sample.truth_ji & Truth.LESION) > 0
        found.append(segmenter.probabilities([sample.pictures])[0, 2][lesion])
        solid += int(np.count_nonzero(sample.truth_ji[lesion] & Truth.SOLID))
    probability = np.concatenate(found)
    if not 0 < solid < len(probability):
        return {}
    return {SLICES: round(float(np.clip(np.partition(probability, -solid)[-solid], *CUT_LIMITS)), 3)}


def _middle_cut(cuts: Sequence[Sequence[float]]) -> float:
    medians = [float(np.median(of_one)) for of_one in cuts if len(of_one) >= ENOUGH_BLOCKS]
    middle = float(np.mean(medians)) if medians else EVEN
    low, high = CUT_LIMITS
    return round(middle, 3) if low <= middle <= high else EVEN
