"""The catalogue of damages: what can be wrong with a series, and what must follow.

`DAMAGES` must refuse or flag; `LEGAL` must give the number of the untouched series.
"""

from volumetry.phantom import (
    damages_composition,
    damages_files,
    damages_geometry,
    damages_hostile,
    damages_hounsfield,
    damages_pixels,
    legal,
    legal_identity,
    legal_pixels,
)
from volumetry.phantom.kinds import Damage

__all__ = ["DAMAGES", "LEGAL", "Damage"]


def _by_name(rows: list[Damage]) -> dict[str, Damage]:
    named = {row.name: row for row in rows}
    if len(named) != len(rows):
        raise ValueError("two entries have one name")
    return named


DAMAGES: dict[str, Damage] = _by_name(
    [
        *damages_composition.rows(),
        *damages_geometry.rows(),
        *damages_hounsfield.rows(),
        *damages_pixels.rows(),
        *damages_files.rows(),
        *damages_hostile.rows(),
    ]
)
"""By name."""

LEGAL: dict[str, Damage] = _by_name([*legal.rows(), *legal_identity.rows(), *legal_pixels.rows()])
"""By name."""
