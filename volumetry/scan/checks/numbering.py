"""Does the numbering say that slices are lost, and did the order have to be put right."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volumetry.codes import Outcome, strictest
from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.composition import Stack
from volumetry.scan.checks.geometry import StackGeometry
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.places import images_at_the_ends
from volumetry.wording import for_reader


@dataclass(frozen=True, slots=True)
class _Doubt:
    """What the numbering says against a complete series, what follows by default or in a trial, and its effect."""

    message: str
    default: Outcome
    trial: Outcome
    effect: str = (
        "none inside the stack, whose positions are even; what is lost at an end is seen at the lung's ends"
    )


def numbering_findings(stack: Stack, geometry: StackGeometry | None, config: Config) -> Iterator[Finding]:
    """Codes of InstanceNumber, ImagesInAcquisition and of the order of the files.

    Gaps are judged on the whole series, so that a split or a dropped scout leaves none; repeats on the stack.

    Parameters
    ----------
    stack
        With the other images of its series.
    geometry
        None where no grid describes the stack; then the order is not checked.
    config
        What follows from each code.

    Yields
    ------
    Finding
        Codes of absent, missing and repeated numbers, and of an order that the positions contradict.
    """
    numbers = [h.instance_number for h in stack.slices if h.instance_number is not None]
    if not numbers:
        yield found(config, "NO_INSTANCE_NUMBER", f"{named('InstanceNumber')} is absent")
    elif len(stack.slices) > 1 and len(numbers) == len(stack.slices) and len(set(numbers)) == 1:
        message = f"{named('InstanceNumber')} is {numbers[0]} in every slice and does not distinguish them"
        yield found(config, "NO_INSTANCE_NUMBER", message)
    else:
        doubts = [*_doubts(stack, numbers), *_announced(stack), *_parts_of_unknown_count(stack)]
        if doubts:
            yield _incomplete(doubts, stack, config)
    if geometry is not None:
        yield from _order(geometry, config)


def _incomplete(doubts: Sequence[_Doubt], stack: Stack, config: Config) -> Finding:
    """Positions are uniform, so what is lost is lost at an end, where the lung is judged, or every other slice."""
    code = "INCOMPLETE_INSTANCE_NUMBERS"
    outcomes = [doubt.trial if config.profile == "trial" else doubt.default for doubt in doubts]
    if code in config.outcomes:
        outcomes.append(config.outcomes[code])
    message = for_reader(
        f"{'; '.join(doubt.message for doubt in doubts)}: compare the number of images with the PACS",
        "whether the lung lies wholly between the first and the last image",
        images_at_the_ends(stack.slices),
        "; ".join(dict.fromkeys(doubt.effect for doubt in doubts)),
    )
    return Finding(code, strictest(outcomes), message)


def _doubts(stack: Stack, numbers: list[int]) -> Iterator[_Doubt]:
    tag = named("InstanceNumber")
    if len(numbers) < len(stack.slices):
        lost = len(stack.slices) - len(numbers)
        message = f"{tag} is absent in {lost} of {len(stack.slices)} slices"
        yield _Doubt(message, Outcome.NOTE, Outcome.REFUSE)
    repeats = sum(count - 1 for count in Counter(numbers).values())
    if repeats and not _restarts(stack):
        yield _Doubt(f"{tag} repeats {plural(repeats, 'time')}", Outcome.NOTE, Outcome.REFUSE)
    known = np.unique([h.instance_number for h in stack.series if h.instance_number is not None])
    steps = np.diff(known)
    if steps.size and steps.min() > 1 and np.all(steps == steps[0]):
        message = f"{tag} increases in steps of {steps[0]}: only one image in {steps[0]} may have arrived"
        share = 100 * (1 - 1 / int(steps[0]))
        effect = (
            f"up to {share:.0f} % of the lung was not imaged and is assumed to be like its neighbours: at most "
            f"{share:.0f} % of the lung volume and of each lesion"
        )
        yield _Doubt(message, Outcome.FLAG, Outcome.REFUSE, effect)
    elif np.any(steps > 1):
        absent = int((steps - 1).sum())
        first = int(known[np.flatnonzero(steps > 1)[0]]) + 1
        message = f"{plural(absent, 'number')} absent in {tag}, the first is {first}"
        yield _Doubt(message, Outcome.NOTE, Outcome.REFUSE)
    if known[0] not in (0, 1):
        yield _Doubt(f"{tag} starts at {known[0]}", Outcome.NOTE, Outcome.REFUSE)


def _restarts(stack: Stack) -> bool:
    """Whether the numbering begins again with every acquisition, and repeats within none."""
    return len({(h.acquisition_number, h.instance_number) for h in stack.slices}) == len(stack.slices)


def _announced(stack: Stack) -> Iterator[_Doubt]:
    """ImagesInAcquisition counts the images of one acquisition; some write the count of the series."""
    of_series = len(stack.series)
    per_acquisition = Counter(h.acquisition_number for h in stack.series)
    for header in stack.slices:
        said = header.images_in_acquisition
        here = per_acquisition[header.acquisition_number]
        if said is not None and said > 0 and said not in (of_series, here, len(stack.slices)):
            message = f"{named('ImagesInAcquisition')} says {said}, but {here} arrived"
            if said > here:
                effect = (
                    f"images lost at an end are at most {100 * (said - here) / said:.0f} % of the stack's height"
                )
                yield _Doubt(message, Outcome.FLAG, Outcome.REFUSE, effect)
            else:
                yield _Doubt(message, Outcome.NOTE, Outcome.REFUSE)
            return


def _parts_of_unknown_count(stack: Stack) -> Iterator[_Doubt]:
    """An object that was split for transfer and does not say into how many parts: the last may be lost."""
    parts: dict[str, set[int]] = defaultdict(set)
    known = set()
    for header in stack.series:
        if header.concatenation is not None:
            whole, part, total = header.concatenation
            parts[whole].add(part)
            known |= {whole} if total else set()
    here = [len(numbers) for whole, numbers in parts.items() if whole not in known]
    if here:
        message = (
            f"{plural(sum(here), 'part')} of a multi-frame object that was split for transfer are here, and "
            f"{named('InConcatenationTotalNumber')} does not say how many there were: further ones may be lost"
        )
        effect = "none if the lung ends within them; what a lost part holds is missing whole"
        yield _Doubt(message, Outcome.NOTE, Outcome.FLAG, effect)


def _order(geometry: StackGeometry, config: Config) -> Iterator[Finding]:
    """A finding if the numbering, or the names of the files, follow the positions in neither direction."""
    numbers = [h.instance_number for h in geometry.slices]
    steps = np.diff([n for n in numbers if n is not None])
    ranks = np.diff(_ranks(geometry.slices))
    disagree = []
    if None in numbers or (np.any(steps < 0) and np.any(steps > 0)):
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
