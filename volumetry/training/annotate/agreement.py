"""How well the labels repeat: a second look at some slices, and other lower limits of HU for lesions.

A slice's second decisions lie in the folder ``second-look`` beside the first ones.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Config
from volumetry.training.annotate.paint import painted
from volumetry.training.annotate.plan import NO_LIMIT_HU, SECOND_LOOK, Decision, Label, read_decisions, read_plan
from volumetry.training.annotate.propose import Proposal
from volumetry.training.annotate.slices import proposals, read_axial

SHIFTS_HU = (-50.0, 50.0)
PARTS = {
    "lung": (Label.LUNG, Label.GROUND_GLASS, Label.SOLID),
    "lesion": (Label.GROUND_GLASS, Label.SOLID),
    "ground_glass": (Label.GROUND_GLASS,),
    "solid": (Label.SOLID,),
}
Areas = dict[str, NDArray[np.float64]]
"""By part: what both have, what the first and what the other has, in cm2."""


def agreement(
    root: Path, folder: Path, config: Config, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Compare the labels with those of the second look, and with those at other limits of HU.

    Parameters
    ----------
    root
        The data root that the plan's paths are relative to.
    folder
        The plan and the decisions.
    config
        For reading the scans.
    say
        Called with the name of each scan.

    Returns
    -------
    dict[str, Any]
        ``second_look`` over the slices that were looked at twice, and ``hu_shifted`` by shift over all: Dice and
        areas by part, of the pixels that both judge.

    Raises
    ------
    ConfigError, InputError
        If the plan, the decisions or a scan cannot be read.
    """
    twice: list[Areas] = []
    shifted: dict[float, list[Areas]] = {shift: [] for shift in SHIFTS_HU}
    for spec in read_plan(folder).scan:
        say(spec.name)
        first = read_decisions(folder, spec)
        again = folder / SECOND_LOOK / f"{spec.name}.toml"
        second = read_decisions(again.parent, spec) if again.is_file() else ()
        seen_twice = {stroke.slice for stroke in second}
        for k, proposal in proposals(read_axial(root, spec, config), spec):
            labels = painted(proposal, _on(first, k))
            if k in seen_twice:
                twice.append(areas(labels, painted(proposal, _on(second, k)), _pixel_cm2(proposal)))
            for shift, found in shifted.items():
                moved = painted(proposal, [with_shift(stroke, shift) for stroke in _on(first, k)])
                found.append(areas(labels, moved, _pixel_cm2(proposal)))
    return {
        "second_look": pooled(twice),
        "hu_shifted": {f"{shift:+g}": pooled(found) for shift, found in shifted.items()},
    }


def areas(first: NDArray[np.uint8], other: NDArray[np.uint8], pixel_cm2: float) -> Areas:
    """What two sets of labels of a slice have in common, by part, where both judge.

    Parameters
    ----------
    first, other
        Values of `Label`, of one shape.
    pixel_cm2
        Area of a pixel.

    Returns
    -------
    Areas
        In cm2.
    """
    judged = (first != Label.UNJUDGED) & (other != Label.UNJUDGED)
    found = {}
    for name, labels in PARTS.items():
        one, two = (np.isin(mask, labels) & judged for mask in (first, other))
        found[name] = np.array([(one & two).sum(), one.sum(), two.sum()]) * pixel_cm2
    return found


def pooled(slices: Iterable[Areas]) -> dict[str, dict[str, float]]:
    """Dice and areas by part over slices; parts that neither has are absent.

    Parameters
    ----------
    slices
        Areas of each.

    Returns
    -------
    dict[str, dict[str, float]]
        ``dice``, ``first_cm2`` and ``other_cm2``.
    """
    slices = list(slices)
    found = {}
    for name in PARTS:
        both, one, two = (float(area) for area in sum((row[name] for row in slices), np.zeros(3)))
        if one + two:
            found[name] = {"dice": 2 * both / (one + two), "first_cm2": one, "other_cm2": two}
    return found


def with_shift(stroke: Decision, shift_hu: float) -> Decision:
    """The stroke with its lower limit of HU moved, if it paints a lesion and has one.

    Parameters
    ----------
    stroke
        A decision.
    shift_hu
        By how much.

    Returns
    -------
    Decision
        The same one if it is not limited or paints something else.
    """
    low, high = stroke.hu
    if stroke.label not in ("ground_glass", "solid") or low <= NO_LIMIT_HU[0]:
        return stroke
    return stroke.model_copy(update={"hu": (low + shift_hu, high)})


def _on(strokes: Iterable[Decision], k: int) -> list[Decision]:
    return [stroke for stroke in strokes if stroke.slice == k]


def _pixel_cm2(proposal: Proposal) -> float:
    return proposal.pixel_ji_mm[0] * proposal.pixel_ji_mm[1] / 100
