"""What is in a folder: every stack, its geometry, and the verdict that `read_scan` would give."""

from dataclasses import dataclass
from pathlib import Path

from volumetry.config import Config
from volumetry.domain import Finding, Grid, ScanRefusedError, SeriesInfo, most_severe_first
from volumetry.scan.checks.gate import GatedStack
from volumetry.scan.choice import choose
from volumetry.scan.contents import contents_of
from volumetry.scan.findings import refuses
from volumetry.scan.inputs.opening import Given, opened
from volumetry.scan.read import decoded, hu_of

MEASURABLE = "measurable"


@dataclass(frozen=True, slots=True)
class StackReport:
    """One stack of a folder.

    Parameters
    ----------
    series_uid
        Empty if the images name none.
    slice_count
        Images that claim to be this stack.
    grid, series, coverage_mm
        None where no uniform grid describes the stack.
    findings
        The most severe first.
    verdict
        ``measurable``, or the code that refuses.
    chosen
        Whether `read_scan` measures this one.
    """

    series_uid: str
    slice_count: int
    grid: Grid | None
    series: SeriesInfo | None
    coverage_mm: float | None
    findings: tuple[Finding, ...]
    verdict: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything found in a folder.

    Parameters
    ----------
    stacks
        The largest first.
    findings
        Of the folder, and of the choice among its stacks.
    verdict
        ``measurable``, or the code with which `read_scan` refuses the folder.
    """

    stacks: tuple[StackReport, ...]
    findings: tuple[Finding, ...]
    verdict: str


def inspect_folder(folder: Path, config: Config, *, pixels: bool = False) -> Inspection:
    """Look at every stack in an input; needs no model and gives no number.

    Parameters
    ----------
    folder
        As for `volumetry.scan.read_scan`.
    config
        Tolerances, limits, and what follows from each code.
    pixels
        Also decode each measurable stack and test its HU.

    Returns
    -------
    Inspection
        Every stack with what was found in it.

    Raises
    ------
    ScanFailedError
        Only with `pixels`: the decoding ran out of time or memory, or failed by a fault of ours.
    """
    with opened(folder, config) as given:
        return _inspected(given, config, pixels)


def _inspected(given: Given, config: Config, pixels: bool) -> Inspection:
    contents = contents_of(given, config)
    chosen: GatedStack | None = None
    try:
        chosen, findings = choose(contents, config)
        verdict = MEASURABLE
        of_folder = tuple(f for f in findings if f not in chosen.findings)
    except ScanRefusedError as stop:
        verdict = stop.code
        of_stacks = {f for stack in contents.stacks for f in stack.findings}
        of_folder = tuple(f for f in stop.findings if f in contents.findings or f not in of_stacks)
    reports = tuple(
        _report(stack, stack is chosen, given if pixels else None, config) for stack in contents.stacks
    )
    if verdict == MEASURABLE:
        verdict = next(report.verdict for report in reports if report.chosen)
    return Inspection(reports, of_folder, verdict)


def _report(stack: GatedStack, chosen: bool, given: Given | None, config: Config) -> StackReport:
    findings = stack.findings
    if given is not None and stack.measurable:
        findings = most_severe_first([*findings, *_pixel_findings(stack, given, config)])
    return StackReport(
        series_uid=stack.slices[0].series_uid or "",
        slice_count=len(stack.slices),
        grid=stack.geometry.grid if stack.geometry else None,
        series=stack.series,
        coverage_mm=stack.geometry.coverage_mm if stack.geometry else None,
        findings=findings,
        verdict=findings[0].code if refuses(findings) else stack.verdict,
        chosen=chosen,
    )


def _pixel_findings(stack: GatedStack, given: Given, config: Config) -> tuple[Finding, ...]:
    try:
        return hu_of(stack, decoded(stack, (), given, config), config).findings
    except ScanRefusedError as stop:
        return tuple(finding for finding in stop.findings if finding not in stack.findings)
