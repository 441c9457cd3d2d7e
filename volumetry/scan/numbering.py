"""Does the numbering say that slices are lost, and did the order have to be put right."""

import os
from collections import Counter
from collections.abc import Iterator

import numpy as np

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.composition import Stack
from volumetry.scan.findings import found, named, plural
from volumetry.scan.geometry import StackGeometry
from volumetry.scan.slice_header import SliceHeader


def numbering_findings(stack: Stack, geometry: StackGeometry | None, config: Config) -> Iterator[Finding]:
    """Codes of InstanceNumber, ImagesInAcquisition and of the order of the files.

    Gaps are judged on the whole series, so that a split or a dropped scout leaves none; repeats on the stack.
    """
    numbers = [h.instance_number for h in stack.slices if h.instance_number is not None]
    if not numbers:
        yield found(config, "NO_INSTANCE_NUMBER", f"{named('InstanceNumber')} is absent")
    else:
        doubts = [*_doubts(stack, numbers), *_announced(stack)]
        if doubts:
            message = f"{'; '.join(doubts)}: slices may be lost, without a trace in the spacing"
            yield found(config, "INCOMPLETE_INSTANCE_NUMBERS", message)
    if geometry is not None:
        yield from _order(geometry, config)


def _doubts(stack: Stack, numbers: list[int]) -> Iterator[str]:
    tag = named("InstanceNumber")
    if len(numbers) < len(stack.slices):
        yield f"{tag} is absent in {len(stack.slices) - len(numbers)} of {len(stack.slices)} slices"
    repeats = sum(count - 1 for count in Counter(numbers).values())
    if repeats:
        yield f"{tag} repeats {plural(repeats, 'time')}"
    known = np.unique([h.instance_number for h in stack.series if h.instance_number is not None])
    steps = np.diff(known)
    if steps.size and steps.min() > 1 and np.all(steps == steps[0]):
        yield f"{tag} goes in steps of {steps[0]}"
    elif np.any(steps > 1):
        absent = int((steps - 1).sum())
        first = int(known[np.flatnonzero(steps > 1)[0]]) + 1
        yield f"{plural(absent, 'number')} absent in {tag}, the first is {first}"
    if known[0] not in (0, 1):
        yield f"{tag} starts at {known[0]}"


def _announced(stack: Stack) -> Iterator[str]:
    """ImagesInAcquisition counts the images of one acquisition; some write the count of the series."""
    of_series = len(stack.series)
    per_acquisition = Counter(h.acquisition_number for h in stack.series)
    for header in stack.slices:
        said = header.images_in_acquisition
        here = per_acquisition[header.acquisition_number]
        if said is not None and said > 0 and said not in (of_series, here, len(stack.slices)):
            yield f"{named('ImagesInAcquisition')} says {said}, {here} are here"
            return


def _order(geometry: StackGeometry, config: Config) -> Iterator[Finding]:
    """Tell if numbering does not grow with the position, or the files' names follow it in neither direction."""
    numbers = [h.instance_number for h in geometry.slices]
    steps = np.diff([n for n in numbers if n is not None])
    ranks = np.diff(_ranks(geometry.slices))
    disagree = []
    if None in numbers or np.any(steps < 0):
        disagree.append("numbering")
    if np.any(ranks > 0) and np.any(ranks < 0):
        disagree.append("file order")
    if disagree:
        message = f"{' and '.join(disagree)} did not follow the positions: sorted by position"
        yield found(config, "REORDERED", message)


def _ranks(slices: tuple[SliceHeader, ...]) -> list[int]:
    names = [os.fsencode(h.file.name or h.file.path) for h in slices]
    rank = {name: n for n, name in enumerate(sorted(names))}
    return [rank[name] for name in names]
