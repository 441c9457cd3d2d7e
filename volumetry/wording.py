"""The wording of a flag: what to look at, where, and how far the measurement may be off. What solid is called.

Every flag that can ask for a reader says these three. A place is given as a PACS shows it, by InstanceNumber
(0020,0013) and by the coordinate of ImagePositionPatient (0020,0032); what concerns the whole series is said of
every slice. A bound is computed where a formula gives one; else the text says that the effect is not quantified.
"""

from collections.abc import Mapping, Sequence
from typing import Any

MINUS = "\u2212"
EVERY_SLICE = "every slice"
EFFECT = "Effect on the measurement"
HU_RULE_NEEDS_CT = "ground glass and the solid component are ranges of HU here, which need the CT"


def solid_name(document: Mapping[str, Any]) -> str:
    """What a page calls the solid component: by the HU rule it is a range of HU, whatever fills the lung there.

    >>> solid_name({"component_rule": "network"}), solid_name({"component_rule": "hu"})
    ('consolidation', 'solid component')
    """
    return "consolidation" if document["component_rule"] == "network" else "solid component"


def for_reader(what: str, look: str, where: str, effect: str) -> str:
    """The text of a flag in its one order.

    >>> for_reader("a lens is dirty", "for stains", EVERY_SLICE, "not quantified")
    'a lens is dirty. Look for stains (every slice). Effect on the measurement: not quantified'
    """
    return f"{what}. Look {look} ({where}). {EFFECT}: {effect}"


def images_text(
    numbers: Sequence[int | None], at_mm: Sequence[float], axis: int, slices: tuple[int, int, int]
) -> str:
    """The images from the first to the last of some slices, with their positions along the patient.

    Parameters
    ----------
    numbers
        InstanceNumber of the first and of the last, None where there is none; or nothing at all.
    at_mm
        Coordinates of both along `axis` (0, 1, 2 for x, y, z in LPS).
    slices
        Index of the first, of the last, and how many slices there are: shown where images have no number.

    Examples
    --------
    >>> images_text((12, 14), (-180.0, -175.0), 2, (11, 13, 80))
    'images 12 to 14, z -180.0 to -175.0 mm'
    """
    low, high = (f"{mm:.1f}" for mm in sorted(at_mm))
    where = f"{'xyz'[axis]} {low if low == high else f'{low} to {high}'} mm"
    known = sorted(number for number in numbers if number is not None)
    if len(known) == 2:
        return f"{_named('image', *known)}, {where}"
    first, last, count = slices
    return f"{_named('slice', first, last)} of {count} counted from 0, {where}"


def _named(noun: str, first: int, last: int) -> str:
    return f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"
