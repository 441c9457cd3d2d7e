"""How much a page holds beside its pictures and tables, so that it is printed on two sheets all the same."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from volumetry.deliver.report import change

_SIGNS_A_LINE = 125
_LINES_OF_A_PRIOR = 18
"""The sentence, the plot beside the table and the pictures."""
_ROOMY, _CROWDED = 12, 30
"""Lines that fit with the pictures at their full size, and at the next smaller one."""


def crowding(document: Mapping[str, Any]) -> str:
    """The class of a printed page.

    Parameters
    ----------
    document
        result.json.

    Returns
    -------
    str
        Empty, ``crowded`` or ``full``: the style sheet prints pictures and small text smaller on these.
    """
    lines = 0.0
    for flag in document["flags"]:
        loud = flag["severity"] != "look"
        lines += ceil((len(flag["message"]) + len(flag["code"])) / _SIGNS_A_LINE)
        lines += ceil(len(flag["hint"]) / _SIGNS_A_LINE) + 0.5 if loud else 0
    if change.visits(document):
        lines += _LINES_OF_A_PRIOR + sum(ceil(len(line) / _SIGNS_A_LINE) for line in change.reasons(document))
        lines += len(change.visits(document))
    if lines <= _ROOMY:
        return ""
    return "crowded" if lines <= _CROWDED else "full"
