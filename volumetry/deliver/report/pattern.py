"""The distribution of the disease in one sentence. Takes the result document and nothing else.

A part of the lungs predominates if its lung is diseased at least one and a half times as much as the lung of its
counterpart, and it holds more than half of all disease (of the thirds: more than half of all disease). Of little
disease nothing is said: a few specks have no pattern.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]

_LEAST_PERCENT, _LEAST_ML = 1.0, 10.0
_MORE = 1.5
_OTHER_SIDE_PERCENT = 10.0
_PAIRS = (("peripheral", "central"), ("dorsal", "ventral"))


def pattern(document: Document) -> str:
    """Side, depth, back or front, and height of the disease; empty where there is too little of it.

    Parameters
    ----------
    document
        result.json.

    Returns
    -------
    str
        One sentence, or nothing.
    """
    if not is_enough(document):
        return ""
    codes = {flag["code"] for flag in document["flags"]}
    sides = "" if "SIDE_CONFLICT" in codes else _sides(document)
    words = list(_predominant(document, codes))
    where = f"predominantly {_joined(words)}" if words else "without predominance of a part of the lungs"
    return f"Distribution: {', '.join(filter(None, (sides, where)))}."


def is_enough(document: Document) -> bool:
    """Whether there is enough disease to say where it lies; of a trace, no place is named."""
    ml = document.get("volumes_ml") or {}
    return bool(ml) and ml["lesion"] >= _LEAST_ML and document["percent_of_lung"]["lesion"] >= _LEAST_PERCENT


def _sides(document: Document) -> str:
    """Bilateral, or the side that holds all but a tenth."""
    whole = document["volumes_ml"]["lesion"]
    right, left = (100 * document["sides"][side]["lesion"] / whole for side in ("right", "left"))
    if min(right, left) >= _OTHER_SIDE_PERCENT:
        return "bilateral"
    return "right-sided" if right > left else "left-sided"


def _predominant(document: Document, codes: set[str]) -> Iterator[str]:
    found = document.get("distribution") or {}
    for one, other in _PAIRS if found else ():
        if one == "dorsal" and "POSITION_CONFLICT" in codes:
            continue
        share, part = found["percent_of_lesion"], found["percent_of_part"]
        for name, counterpart in ((one, other), (other, one)):
            if share[name] > 50 and part[name] >= _MORE * part[counterpart]:
                yield name
    whole = document["volumes_ml"]["lesion"]
    for name, zone in document["zones"].items():
        if zone["lesion"] > whole / 2:
            yield f"in the {name} third"


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
