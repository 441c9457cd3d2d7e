"""Does the numbering say that slices are lost, and did the order have to be put right."""

import os
from collections import Counter
from collections.abc import Iterator

import numpy as np

from volumetry.codes import Outcome
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
            yield _incomplete("; ".join(doubts), _every_nth(stack), config)
    if geometry is not None:
        yield from _order(geometry, config)


def _incomplete(doubts: str, every: int | None, config: Config) -> Finding:
    """In a stack of even spacing slices are lost at an end, where the lung is judged, or every other one."""
    if every is None:
        message = f"{doubts}: slices may be lost at an end of the stack, where the lung tells whether it was cut"
        return found(config, "INCOMPLETE_INSTANCE_NUMBERS", message)
    message = f"{doubts}: only every {every}. image may be here, and the lung between them is not measured"
    outcome = min(Outcome.FLAG, config.outcome_of("INCOMPLETE_INSTANCE_NUMBERS"), key=list(Outcome).index)
    return Finding("INCOMPLETE_INSTANCE_NUMBERS", outcome, message, every)


def _every_nth(stack: Stack) -> int | None:
    """Step of the numbering of the whole series, if it is one step throughout and larger than 1."""
    known = np.unique([h.instance_number for h in stack.series if h.instance_number is not None])
    steps = np.diff(known)
    return int(steps[0]) if steps.size and steps[0] > 1 and np.all(steps == steps[0]) else None


def _doubts(stack: Stack, numbers: list[int]) -> Iterator[str]:
    tag = named("InstanceNumber")
    if len(numbers) < len(stack.slices):
        yield f"{tag} is absent in {len(stack.slices) - len(numbers)} of {len(stack.slices)} slices"
    repeats = sum(count - 1 for count in Counter(numbers).values())
    if repeats:
        yield f"{tag} repeats {plural(repeats, 'time')}"
    known = np.unique([h.instance_number for h in stack.series if h.instance_number is not None])
    steps = np.diff(known)
    every = _every_nth(stack)
    if every is not None:
        yield f"{tag} goes in steps of {every}"
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
    names = sorted(os.fsencode(h.file.path) for h in slices)
    rank = {name: n for n, name in enumerate(names)}
    return [rank[os.fsencode(h.file.path)] for h in slices]
