"""Flags as the page lists them: those with the same advice together, so that it is printed once."""

from collections.abc import Iterable, Mapping
from typing import Any

Flag = Mapping[str, Any]


def by_advice(flags: Iterable[Flag]) -> list[tuple[str, list[Flag]]]:
    """Flags grouped by what to do about them; none is left out.

    Several findings of one code, and several codes such as those of the imaging charter, share their advice.

    Parameters
    ----------
    flags
        As in result.json.

    Returns
    -------
    list[tuple[str, list]]
        Advice and its flags; both in the order in which they came.

    Examples
    --------
    >>> codes = [("SEAM", "look"), ("METAL", "compare"), ("SEAM", "look")]
    >>> found = by_advice({"code": code, "hint": hint} for code, hint in codes)
    >>> [(hint, [flag["code"] for flag in flags]) for hint, flags in found]
    [('look', ['SEAM', 'SEAM']), ('compare', ['METAL'])]
    """
    groups: dict[str, list[Flag]] = {}
    for flag in flags:
        groups.setdefault(flag["hint"], []).append(flag)
    return list(groups.items())
