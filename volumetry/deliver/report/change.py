"""What the page says of the change since earlier visits. Takes the result document and nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

from volumetry.deliver.people import READER
from volumetry.deliver.report.text import NONE, capital, millilitres, share
from volumetry.wording import MINUS

Document = Mapping[str, Any]

_GRADES = {
    "A": "comparable",
    "B": "a reader should check whether they are comparable",
    "C": "not comparable: the difference is not a change of the disease",
}
_REASONS = {
    "SAME_IMAGES": "both results were measured on the same images",
    "LUNG_VOLUME": "the lung volumes differ, because of inspiration or of the disease",
    "THICKNESS_CHANGED": "the slice thickness differs",
    "KERNEL_CHANGED": "the reconstruction kernel differs",
    "KVP_CHANGED": "the tube voltage differs",
    "CONTRAST_CHANGED": "only one of the scans was made with contrast medium",
    "CONTRAST_IN_BOTH": "both scans were made with contrast medium",
    "SCANNER_CHANGED": "the scanner differs",
    "POSITION_CHANGED": "the patient's position differs",
    "LUNG_CUT": "a lung is truncated in one of the scans",
    "LUNG_DENSITY_CHANGED": "the density of the aerated lung differs",
    "READER_IN_ONE": "a reader corrected the mask of only one of the scans",
    "MODEL_CHANGED": "another model measured the earlier scan: measure it again",
    "SETTINGS_CHANGED": "the earlier scan was measured with other settings",
    "RULE_CHANGED": "ground glass and consolidation were divided by another rule, so only all disease is compared",
    "PRIOR_FLAGGED": "the earlier result has flags that require a reader",
}
_UNKNOWN = {
    "THICKNESS": "slice thickness",
    "KERNEL": "kernel",
    "KVP": "tube voltage",
    "CONTRAST": "contrast medium",
    "SCANNER": "scanner",
    "POSITION": "position",
    "COVERAGE": "coverage",
    "LUNG_DENSITY": "density of the aerated lung",
}
_MEASURES = ("lesion", "ground_glass", "solid")


def visits(document: Document) -> list[Document]:
    """Earlier visits, the oldest first; empty without a prior."""
    return list((document.get("prior") or {}).get("visits") or [])


def sentence(document: Document) -> str:
    """The change since the latest prior in one sentence; empty without one."""
    earlier = visits(document)
    if not earlier:
        return ""
    last = earlier[-1]
    points, ml = last["change_points"]["lesion"], last["change_ml"]["lesion"]
    before, now = last["percent_of_lung"]["lesion"], document["percent_of_lung"]["lesion"]
    days = f"{last['days_before']} day{'' if last['days_before'] == 1 else 's'}"
    return (
        f"Since {day(last['acquisition_date'])} ({days}) all disease went from {share(before)} % "
        f"to {share(now)} % of the lung: {signed(points, 1)} percentage points, {signed(ml, 0)} mL. "
        f"Grade {last['grade']}: {_GRADES[last['grade']]}."
    )


def rows(document: Document) -> Iterator[tuple[str, list[str]]]:
    """Rows of the table: a visit, its shares and lung volume, the change since then, and the grade."""
    for visit in visits(document):
        cells = [f"{visit['days_before']}", millilitres(visit["volumes_ml"]["lung"])]
        for key in _MEASURES:
            cells.append(share(visit["percent_of_lung"][key]))
            cells.append(_or_none(visit["change_points"].get(key), 1))
            cells.append(_or_none(visit["change_ml"].get(key), 0))
        corrected = ", corrected" if visit["reading"] == READER else ""
        yield day(visit["acquisition_date"]) + corrected, [*cells, visit["grade"]]


def reasons(document: Document) -> list[str]:
    """Of each visit that is not of grade A, or of which something is not known: why, in a sentence."""
    found = []
    for visit in visits(document):
        why = [_REASONS.get(code, code) for code in (reason.partition(":")[0] for reason in visit["reasons"])]
        unknown = [_UNKNOWN.get(code, code.lower()) for code in visit["unknown"]]
        said = [f"grade {visit['grade']}: {'; '.join(why)}"] if why else []
        said += [f"not known for both scans: {', '.join(unknown)}"] if unknown else []
        said.append(
            f"the lung volume is {100 * visit['lung_volume_ratio']:.0f} % of the earlier one; inspiration alone "
            f"would change every percentage by {signed(visit['predicted_shift_percent'], 0)} % of its value"
        )
        found.append(f"{day(visit['acquisition_date'])}, {visit['scan_id']}: {'. '.join(map(capital, said))}.")
    return found


def signed(value: float, decimals: int) -> str:
    """A change for people: with its sign, and no sign where it rounds to nothing.

    >>> signed(-0.04, 1), signed(3.25, 0)
    ('0.0', '+3')
    """
    text = f"{value:+,.{decimals}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def day(text: str) -> str:
    """DICOM's YYYYMMDD with dashes."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _or_none(value: float | None, decimals: int) -> str:
    return NONE if value is None else signed(value, decimals)
