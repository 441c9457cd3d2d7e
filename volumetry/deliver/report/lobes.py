"""What the page says of the lobes. Takes the result document and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from volumetry.deliver.report.text import cells, millilitres, share
from volumetry.measure.lobes import LEAST_LESION_ML, NEAR_CUT_POINTS, lobe_score

Document = Mapping[str, Any]

_SCORES = (
    f"Score of a lobe: 0 less than {LEAST_LESION_ML:g} mL of disease, 1 below 5 %, 2 to 25 %, 3 below 50 %, "
    "4 to 75 %, 5 above (Pan et al., Radiology 2020;295:715), here from the mask."
)
_LOBES = (
    ("right_upper", "Right upper"),
    ("right_middle", "Right middle"),
    ("right_lower", "Right lower"),
    ("left_upper", "Left upper"),
    ("left_lower", "Left lower"),
)


@dataclass(frozen=True, slots=True)
class Lobe:
    """One row of the table of lobes, and the share of lesion as a shade from 0 to 1."""

    name: str
    cells: list[str]
    shade: float


def volumes(document: Document) -> Iterator[tuple[str, list[str]]]:
    """Rows of the lobes with the columns of `volumetry.deliver.report.text.regions`."""
    found = document.get("lobes") or {}
    for key, name in _LOBES:
        if key in found:
            yield f"{name} lobe", cells(found[key])


def rows(document: Document) -> list[Lobe]:
    """Rows of the table of lobes; empty where the lungs were not divided."""
    found = document.get("lobes") or {}
    return [_row(name, found[key]) for key, name in _LOBES if key in found]


def _row(name: str, lobe: Mapping[str, Any]) -> Lobe:
    percent = lobe["percent_of_lobe"]
    low, high = lobe["lesion_percent_span"]
    shown = [
        millilitres(lobe["lung"]),
        share(percent["ground_glass"]),
        share(percent["solid"]),
        millilitres(lobe["lesion"]),
        share(percent["lesion"]),
        f"{share(low)} to {share(high)}",
        f"{lobe_score(percent['lesion'], lobe['lesion'])}",
    ]
    return Lobe(name, shown, round(min(percent["lesion"], 100) / 100, 3))


def note(document: Document) -> str:
    """The severity score with what its range is, and how the lungs were divided; empty without lobes."""
    found = document.get("lobes")
    if not found:
        return ""
    if found["method"] == "none":
        return f"The lungs were not divided into lobes: {found['reason']}."
    low, high = document["severity_score_range"]
    moved = "fissures and disease" if document.get("interval_percent") else "the fissures"
    score = (
        f"CT severity score {document['severity_score']} of 25; {low} to {high} with {moved} moved by their "
        f"uncertainty and the percentage of each lobe by {NEAR_CUT_POINTS:g} point."
    )
    if found["method"] == "fissures":
        return f"{score} The lobes follow the fissures that the CT shows. {_SCORES}"
    return f"{score} The lobes are approximate: {found['reason']}. {_SCORES}"
