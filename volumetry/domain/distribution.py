"""Where in the lungs the disease lies."""

from collections.abc import Mapping
from dataclasses import dataclass

PARTS = ("peripheral", "central", "dorsal", "ventral")
"""The first two together are the lungs, and so are the last two."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The disease by part of the lungs.

    Parameters
    ----------
    percent_of_lesion
        By part: how much of all disease lies in it.
    percent_of_part
        By part: how much of its lung is disease.
    """

    percent_of_lesion: Mapping[str, float]
    percent_of_part: Mapping[str, float]
