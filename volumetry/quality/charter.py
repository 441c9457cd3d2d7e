"""The imaging charter: what a trial's protocol allows, checked against each scan's header.

A changed kernel alone moved the volume of well-aerated lung by up to 14 % in the literature; so what the charter
says is checked scan by scan, and a tag that is missing is unknown, which is not a pass. Contrast is different:
scans without it have no tag that says so, and the image shows it (`contrast_findings`).
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from volumetry.codes import Outcome
from volumetry.config import Charter, Config
from volumetry.domain import Finding, SeriesInfo
from volumetry.wording import EVERY_SLICE, for_reader


def charter_findings(series: SeriesInfo, config: Config) -> list[Finding]:
    """Every deviation from the charter; nothing where the charter has no rule.

    Parameters
    ----------
    series
        What the header says. Spacing and slice count come from the slice positions.
    config
        ``[charter]`` holds the rules and names those whose deviation refuses; others flag.

    Returns
    -------
    list[Finding]
        Empty where the charter has no rule, or every rule is met.
    """
    charter = config.charter
    found = [
        *_range("THICKNESS", "SliceThickness (0018,0050)", series.thickness_mm, charter.thickness_mm, "mm"),
        *_range("SPACING", "spacing of the slices", series.spacing_kji_mm[0], charter.spacing_mm, "mm"),
        *_range("KVP", "KVP (0018,0060)", series.kvp, charter.kvp, "kV"),
        *_patterns("KERNEL", "ConvolutionKernel (0018,1210)", series.kernel_names, charter.kernels),
        *_patterns("SCANNER", "Manufacturer (0008,0070)", _scanner(series), charter.scanners),
        *_contrast(series, charter),
        *_coverage(series, charter),
    ]
    return [
        Finding(code, _outcome(code, config), _for_reader(code, message), value) for code, message, value in found
    ]


def _for_reader(code: str, message: str) -> str:
    effect = _EFFECTS.get(code.removeprefix("CHARTER_"), _COMPARED)
    return for_reader(message, "at the acquisition parameters of this scan", EVERY_SLICE, effect)


_COMPARED = "none on this scan by itself; the difference from scans that conform to the charter is not quantified"
_EFFECTS = {
    "KERNEL": "not quantified here; in the literature another kernel changed well-aerated lung by up to 14 %",
    "COVERAGE": "none if the lung is complete; see LUNG_TRUNCATED_APEX and LUNG_TRUNCATED_BASE for missing lung",
    "SLICES": "none if the lung is complete; see LUNG_TRUNCATED_APEX and LUNG_TRUNCATED_BASE for missing lung",
}


_Found = tuple[str, str, float | str | None]


def _outcome(code: str, config: Config) -> Outcome:
    rule = code.removeprefix("CHARTER_").lower()
    return Outcome.REFUSE if rule in config.charter.refuse else config.outcome_of(code)


def _range(rule: str, what: str, value: float | None, allowed: tuple[float, ...], unit: str) -> Iterator[_Found]:
    if not allowed:
        return
    low, high = allowed
    if value is None:
        yield f"CHARTER_{rule}", f"{what} is missing; the charter allows {low:g} to {high:g} {unit}", None
    elif not low <= round(value, 3) <= high:
        message = f"{what} is {value:g} {unit}; the charter allows {low:g} to {high:g}"
        yield f"CHARTER_{rule}", message, value


def _patterns(rule: str, what: str, names: tuple[str, ...], patterns: tuple[str, ...]) -> Iterator[_Found]:
    """A deviation unless one pattern fits the whole of one name, case aside."""
    if not patterns:
        return
    allowed = ", ".join(patterns)
    if not names:
        yield f"CHARTER_{rule}", f"{what} is missing; the charter allows {allowed}", None
    elif not any(fnmatchcase(name.casefold(), pattern.casefold()) for name in names for pattern in patterns):
        yield f"CHARTER_{rule}", f"{what} is not allowed by the charter, which allows {allowed}", None


def _scanner(series: SeriesInfo) -> tuple[str, ...]:
    if series.manufacturer is None:
        return ()
    return (f"{series.manufacturer} {series.model_name or ''}".strip(),)


def _contrast(series: SeriesInfo, charter: Charter) -> Iterator[_Found]:
    """What the header alone decides: contrast that it names. What it does not name, the blood may (blood_pool)."""
    if charter.contrast == "without" and series.contrast:
        yield "CHARTER_CONTRAST", f"{_AGENT} names contrast; the charter requires scans without contrast", None


_AGENT = "ContrastBolusAgent (0018,0010)"


def _coverage(series: SeriesInfo, charter: Charter) -> Iterator[_Found]:
    covered_mm = series.slice_count * series.spacing_kji_mm[0]
    if covered_mm < charter.min_coverage_mm:
        message = f"the slices cover {covered_mm:.0f} mm; the charter requires {charter.min_coverage_mm:g} mm"
        yield "CHARTER_COVERAGE", message, covered_mm
    if series.slice_count < charter.min_slices:
        message = f"{series.slice_count} slices; the charter requires at least {charter.min_slices}"
        yield "CHARTER_SLICES", message, series.slice_count
