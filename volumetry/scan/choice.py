"""Which stack is measured: the only one there is, or the one that the configuration's rule picks."""

import re
from collections.abc import Sequence

from volumetry.config import Config
from volumetry.domain import Finding, ScanRefusedError
from volumetry.scan.checks.gate import GatedStack
from volumetry.scan.contents import Contents
from volumetry.scan.findings import found, plural, refuses


def choose(contents: Contents, config: Config) -> tuple[GatedStack, tuple[Finding, ...]]:
    """Take the one stack to measure.

    Parameters
    ----------
    contents
        From `contents_of`.
    config
        ``[select]`` holds the rule by which one of several volumes is chosen, if any.

    Returns
    -------
    stack, findings
        The findings of the folder, of the choice and of the stack.

    Raises
    ------
    ScanRefusedError
        With every reason: of the folder, of the stack, or of the choice between several.
    """
    folder = list(contents.findings)
    if not contents.stacks:
        raise ScanRefusedError(folder)
    measurable = [stack for stack in contents.stacks if stack.measurable]
    volumes = [stack for stack in contents.stacks if _may_be_volume(stack, contents.stacks)]
    if len(volumes) > 1:
        chosen = _by_rule(measurable, config)
        if chosen is None:
            findings = [_ambiguous(contents.stacks, config), *folder]
            if not measurable:
                findings += volumes[0].findings
            raise ScanRefusedError(findings)
        reason = f"rule {config.select.rule} chose one of {plural(len(volumes), 'volume')}: {_words(chosen)}"
        folder.append(found(config, "SERIES_SELECTED", reason))
    else:
        chosen = volumes[0] if volumes else contents.stacks[0]
    folder += _ignored(
        [stack for stack in contents.stacks if stack is not chosen and stack not in volumes], config
    )
    findings = [*folder, *chosen.findings]
    if refuses(findings):
        raise ScanRefusedError(findings, chosen.series)
    return chosen, tuple(findings)


def _may_be_volume(stack: GatedStack, stacks: Sequence[GatedStack]) -> bool:
    """Whether leaving it out needs a rule; what was split off a series may be the missing part of it."""
    series = [other.slices[0].series_key for other in stacks]
    split_off = series.count(stack.slices[0].series_key) > 1
    return split_off or stack.may_be_volume


def _by_rule(measurable: Sequence[GatedStack], config: Config) -> GatedStack | None:
    """The one stack that the rule picks; None if it picks none or cannot decide between two."""
    left = list(measurable)
    rule, wanted = config.select.rule, config.select.kernel_preference
    if rule == "none":
        return None
    if rule.startswith("kernel"):
        best = next((kernel for kernel in wanted if any(kernel in _kernels(stack) for stack in left)), None)
        left = [stack for stack in left if best in _kernels(stack)]
    if rule.endswith("thinnest") and left:
        thinnest = min(map(_thickness_mm, left))
        left = [stack for stack in left if _thickness_mm(stack) == thinnest]
    return left[0] if len(left) == 1 else None


def _kernels(stack: GatedStack) -> tuple[str, ...]:
    return stack.series.kernel_names if stack.series else ()


def _thickness_mm(stack: GatedStack) -> float:
    """Thickness or spacing, whichever is larger, to 0.01 mm."""
    if stack.geometry is None or stack.series is None:
        raise ValueError("a measurable stack has a geometry")
    return round(max(stack.geometry.spacing_mm, stack.series.thickness_mm or 0.0), 2)


def _words(stack: GatedStack) -> str:
    if stack.geometry is None:
        return f"{plural(len(stack.slices), 'slice')}, no volume"
    kernel = _readable_kernel(stack)
    of_kernel = f", kernel {kernel}" if kernel else ""
    return f"{plural(len(stack.slices), 'slice')} every {stack.geometry.spacing_mm:.2f} mm{of_kernel}"


def _readable_kernel(stack: GatedStack) -> str | None:
    """The kernel where it looks like one: a message carries no free text of a header."""
    names = [name for name in _kernels(stack) if _KERNEL.fullmatch(name)]
    return names[-1] if names else None


_KERNEL = re.compile(
    r"[A-Za-z]{1,2}\d{2}[a-z]{0,2}|FC\d{2}|[A-Z]{1,2}|STANDARD|STND|SOFT|LUNG|BONE|BONEPLUS|CHEST|DETAIL|EDGE|ULTRA",
    re.IGNORECASE,
)
"""Names that scanners give: ``B50f``, ``Br59d``, ``FC08``, ``YA``, ``LUNG``."""


def _ambiguous(stacks: Sequence[GatedStack], config: Config) -> Finding:
    listed = "; ".join(f"{n}: {_words(stack)} ({stack.verdict})" for n, stack in enumerate(stacks[:8], 1))
    rule = config.select.rule
    why = "no rule that picks one" if rule == "none" else f"rule {rule} picks none alone"
    kernels = sorted({kernel for stack in stacks if (kernel := _readable_kernel(stack))})
    advice = None
    if len(kernels) > 1:
        advice = f'Name the kernel to measure: [select] rule = "kernel", kernel_preference = {kernels}.'
    return found(config, "AMBIGUOUS_VOLUMES", f"{len(stacks)} stacks and {why}: {listed}", len(stacks), advice)


def _ignored(stacks: Sequence[GatedStack], config: Config) -> list[Finding]:
    if not stacks:
        return []
    listed = "; ".join(f"{_words(stack)} ({stack.verdict})" for stack in stacks[:8])
    return [found(config, "OTHER_SERIES_IGNORED", f"{plural(len(stacks), 'other stack')}: {listed}", len(stacks))]
