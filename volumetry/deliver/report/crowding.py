"""How much a page holds beside its pictures and tables, so that it is printed on two sheets all the same."""

import unicodedata
from collections.abc import Mapping
from math import ceil
from typing import Any

from volumetry.deliver.report import change
from volumetry.deliver.report.flags import by_advice

_SIGNS_A_LINE = 125
_LINES_OF_A_HEADING = 10
"""Of the flags for a reader: with it, the pictures below no longer fit on the first sheet at their full size."""
_LINES_OF_A_PRIOR = 18
"""The sentence, the plot beside the table and the pictures."""
_CLASSES = ((12, ""), (30, "crowded"), (78, "full"), (130, "full packed"))
"""Lines that fit on two sheets, and the class with which they do; measured on scans of 148 to 175 slices."""
_LAST = "full packed dense"


def crowding(document: Mapping[str, Any]) -> str:
    """The class of a printed page.

    Parameters
    ----------
    document
        result.json.

    Returns
    -------
    str
        Empty, ``crowded``, ``full``, ``full packed`` or ``full packed dense``: the style sheet prints pictures and
        small text smaller on these; flags stand in two columns from ``full`` on, tables from ``packed`` on.
    """
    lines = _lines(f"{document['corrected_by']}: {document['reason']}") if document.get("corrected_by") else 0.0
    asking = [flag for flag in document["flags"] if flag["severity"] != "look"]
    lines += _LINES_OF_A_HEADING + len(asking) / 4 if asking else 0.0
    for flag in document["flags"]:
        lines += _lines(flag["message"] + flag["code"])
    for advice, _ in by_advice(asking):
        lines += _lines(advice) + 0.5
    if change.visits(document):
        lines += _LINES_OF_A_PRIOR + sum(_lines(line) for line in change.reasons(document))
        lines += len(change.visits(document))
    return next((name for most, name in _CLASSES if lines <= most), _LAST)


def _lines(text: str) -> int:
    """Lines that a text fills; a Chinese, Japanese or Korean sign is as wide as two Latin ones."""
    signs = len(text) + sum(unicodedata.east_asian_width(sign) in ("F", "W") for sign in text)
    return ceil(signs / _SIGNS_A_LINE)
