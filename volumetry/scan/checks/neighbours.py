"""Whether neighbouring slices belong together: damaged slices, half-empty ends, a second scan behind the first."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.uids import uid_findings
from volumetry.scan.findings import found, plural
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.places import images_from_to
from volumetry.wording import for_reader

_COMPARED_HU = (-1100.0, 400.0)
_UNLIKE = 0.05
"""Added to three times 1 - correlation of the neighbours. In three chest CT at spacings of 2 to 10 mm no slice
came nearer than 0.02 below that multiple alone."""
_JUMP_HU = 150.0
"""Median change of a place from one slice to the next. Air stays air and tissue tissue over most of the image."""


def odd_slice_findings(means: NDArray[np.float32], config: Config) -> Iterator[Finding]:
    """A slice that resembles its neighbours far less than they resemble each other: damaged, or not of here.

    Compressed data may be damaged in a way that decodes without an error.
    """
    odd = _unlike_slices(means)
    if odd.size:
        message = f"{plural(odd.size, 'slice')} unlike their neighbours, which are alike (first: slice {odd[0]})"
        yield found(config, "HU_IMPLAUSIBLE", f"{message}: damaged pixel data", int(odd.size))
    jumps = np.array([np.median(np.abs(b - a)) for a, b in itertools.pairwise(means)])
    far = np.flatnonzero(jumps > _JUMP_HU)
    if far.size:
        message = f"values jump by {jumps[far[0]]:.0f} HU between slices {far[0]} and {far[0] + 1}"
        yield found(config, "HU_IMPLAUSIBLE", f"{message}: not all slices are in HU", float(jumps[far[0]]))


def _unlike_slices(means: NDArray[np.float32]) -> NDArray[np.intp]:
    """Slices that resemble their neighbours far less than those resemble each other."""
    unlike_next, unlike_after_next = _unlike(means, 1), _unlike(means, 2)
    unlike = np.minimum(unlike_next, np.roll(unlike_next, 1))[1:]
    unlike = np.concatenate([unlike_next[:1], unlike, unlike_next[-1:]])  # an end slice has one neighbour
    beyond = np.pad(unlike_after_next, 1)  # how alike the slices around each one are; at the ends the next three
    beyond[0], beyond[-1] = beyond[2], beyond[-3]
    return np.flatnonzero(unlike > _UNLIKE + 3 * beyond)


def without_half_empty_ends(means: NDArray[np.float32], slices: Sequence[SliceHeader]) -> slice:
    """All slices but an end slice of a volume file that is unlike its neighbour: resampling leaves it half empty.

    In a series a slice is whole or damaged, and damage refuses. Where other slices are odd too, all are kept.
    """
    count = len(means)
    odd = set(_unlike_slices(means).tolist())
    if slices[0].has_header or not odd or odd - {0, count - 1}:
        return slice(0, count)
    return slice(int(0 in odd), count - int(count - 1 in odd))


def half_empty_finding(inner: slice, slices: Sequence[SliceHeader], config: Config) -> Finding:
    """Which end slices are not counted, and what that can cost."""
    odd = [*range(inner.start), *range(inner.stop, len(slices))]
    message = for_reader(
        f"{plural(len(odd), 'end slice')} unlike the neighbour: resampling left the volume half empty there, and "
        "nothing of that slice is counted",
        "whether lung lies in it",
        "; ".join(images_from_to(slices, k, k) for k in odd),
        "none if no lung lies there; else the lung is cut off at the next slice, which LUNG_TRUNCATED_APEX or "
        f"_BASE states, and {100 * len(odd) / len(slices):.1f} % of the volume's height at most is left out here",
    )
    advice = "Give the DICOM series, or the volume before it was resampled, if lung lies in that slice."
    return found(config, "SEAM", message, len(odd), advice)


def seam_findings(
    means: NDArray[np.float32], slices: Sequence[SliceHeader], start: int, config: Config
) -> Iterator[Finding]:
    """One pair of neighbours unlike each other between slices that are alike: two scans may be joined there.

    Parameters
    ----------
    start
        The slice that the first of `means` belongs to.
    """
    unlike = _unlike(means, 1)
    if len(unlike) < 5:
        return
    around = np.maximum(unlike[:-2], unlike[2:])
    seams = np.flatnonzero(unlike[1:-1] > _UNLIKE + 3 * around) + 1
    if not seams.size:
        return
    first = start + int(seams[0])
    what = "the image changes abruptly between two slices, not before or after: two scans may be joined there"
    share = min(first + 1, len(slices) - first - 1) / len(slices)
    known = next(uid_findings(slices, config), None)
    if known is None:
        message = for_reader(
            what,
            "whether vessels, ribs and the body outline continue from one image to the other",
            images_from_to(slices, first, first + 1),
            f"none if they do; else the shorter part, {100 * share:.0f} % of the stack's height, is from another "
            "scan or breath-hold",
        )
        yield found(config, "SEAM", message, int(seams.size))
    else:
        where = images_from_to(slices, first, first + 1)
        message = f"{what} ({where}), and their slices cannot be separated by UID"
        yield Finding("SEAM", Outcome.REFUSE, message, int(seams.size))


def _unlike(means: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """1 - correlation of each slice with the one `step` slices further."""
    flat = np.clip(means, *_COMPARED_HU).reshape(len(means), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.sqrt((flat**2).sum(axis=1)) + 1e-6
    together = (flat[:-step] * flat[step:]).sum(axis=1)
    unlike: NDArray[np.float32] = 1 - together / (length[:-step] * length[step:])
    return unlike
