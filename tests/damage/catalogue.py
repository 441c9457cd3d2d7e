"""The catalogue of damages: what can be wrong with a series, and what must follow.

`DAMAGES` must refuse or flag; `LEGAL` must give the number of the untouched series.
"""

from damage import (
    composition,
    files,
    geometry,
    hostile,
    hounsfield,
    pixels,
    valid_identity,
    valid_pixels,
    valid_variants,
)
from damage.kinds import Damage

__all__ = ["DAMAGES", "LEGAL", "Damage"]


def _by_name(rows: list[Damage]) -> dict[str, Damage]:
    named = {row.name: row for row in rows}
    if len(named) != len(rows):
        raise ValueError("two entries have one name")
    return named


DAMAGES: dict[str, Damage] = _by_name(
    [
        *composition.rows(),
        *geometry.rows(),
        *hounsfield.rows(),
        *pixels.rows(),
        *files.rows(),
        *hostile.rows(),
    ]
)
"""By name."""

LEGAL: dict[str, Damage] = _by_name([*valid_variants.rows(), *valid_identity.rows(), *valid_pixels.rows()])
"""By name."""
