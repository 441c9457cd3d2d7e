"""Where to look, from headers alone."""

from collections.abc import Callable, Sequence

import numpy as np

from volumetry.scan.checks.positions import along_normal_mm, orientation_of_most, orthonormal
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.wording import EVERY_SLICE, images_text


def images_with(slices: Sequence[SliceHeader], wanted: Callable[[SliceHeader], bool]) -> str:
    """The images for which something holds, from the first to the last; "every slice" where it holds for all.

    Parameters
    ----------
    slices
        In any order; they are placed along their normal.
    """
    if all(wanted(header) for header in slices):
        return EVERY_SLICE
    ordered, axis = _ordered(slices)
    found = [k for k, header in enumerate(ordered) if wanted(header)]
    return images_from_to(ordered, found[0], found[-1], axis) if found else EVERY_SLICE


def images_at_the_ends(slices: Sequence[SliceHeader]) -> str:
    """The first and the last image of a stack."""
    ordered, axis = _ordered(slices)
    ends = (images_from_to(ordered, k, k, axis) for k in (0, len(ordered) - 1))
    return "; ".join(ends) if ordered else EVERY_SLICE


def images_from_to(ordered: Sequence[SliceHeader], first: int, last: int, axis: int | None = None) -> str:
    """The images from one slice to another of an ordered stack; "every slice" where they have no position."""
    ends = [ordered[k] for k in (first, last)]
    positions = [header.position_lps_mm for header in ends]
    if any(position is None for position in positions):
        return EVERY_SLICE
    axis = _ordered(ordered)[1] if axis is None else axis
    at_mm = [position[axis] for position in positions if position is not None]
    return images_text([header.instance_number for header in ends], at_mm, axis, (first, last, len(ordered)))


def _ordered(slices: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Slices along their normal where all have a place, and the axis of the body nearest to it."""
    most = orientation_of_most(slices)
    if most is None or any(header.position_lps_mm is None for header in slices):
        return list(slices), 2
    places = along_normal_mm(slices, most)
    axis = int(np.argmax(np.abs(orthonormal(tuple(most))[2])))
    return [slices[k] for k in np.argsort(places, kind="stable")], axis
