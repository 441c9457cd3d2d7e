"""A folder -> every stack in it with its verdict, and what the folder itself has earned. Nothing is decoded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.config import Config
from volumetry.domain import Finding, most_severe_first
from volumetry.scan.composition import drop_localizers, drop_pictures, stacks_of
from volumetry.scan.files import Listing, list_files
from volumetry.scan.findings import found, plural
from volumetry.scan.gate import GatedStack, gate
from volumetry.scan.headers import read_headers
from volumetry.scan.identity import identity_findings, without_duplicates
from volumetry.scan.manifest import manifest_findings
from volumetry.scan.slice_header import NotSlice, SliceHeader
from volumetry.scan.syntaxes import uid_name


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds.

    Parameters
    ----------
    listing
        The files as they were found.
    stacks
        The largest first.
    findings
        Of the folder and of files that belong to no stack.
    """

    listing: Listing
    stacks: tuple[GatedStack, ...]
    findings: tuple[Finding, ...]


def contents_of(folder: Path, config: Config) -> Contents:
    """Look into every file under `folder` and judge every stack by its headers."""
    listing = list_files(folder, config.limits)
    findings = list(listing.findings(config))
    if listing.too_many or listing.too_deep:
        return Contents(listing, (), most_severe_first(findings))
    read = [read_headers(file, config.limits) for file in listing.files]
    headers = [header for frames in read if not isinstance(frames, NotSlice) for header in frames]
    findings += _passed_over([file for file in read if isinstance(file, NotSlice)], bool(headers), config)
    findings += manifest_findings(listing, folder, headers, config)
    headers, more = without_duplicates(headers, config)
    findings += more
    kept = headers
    for drop in (drop_pictures, drop_localizers):
        kept, more = drop(kept, config)
        findings += more
    keys = {header.key for header in kept}
    dropped = [header for header in headers if header.key not in keys]
    stacks = tuple(gate(stack, config) for stack in stacks_of(kept, dropped, config))
    findings += identity_findings(_of_volumes(stacks, kept), config)
    if not stacks and not any(f.code in _SAYS_WHY for f in findings):
        findings.append(_nothing(findings, config))
    return Contents(listing, stacks, most_severe_first(findings))


def _of_volumes(stacks: Sequence[GatedStack], headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Images of every series that may hold the volume to measure: whose they are is judged on these."""
    series = {header.series_uid for stack in stacks if stack.may_be_volume for header in stack.slices}
    return [header for header in headers if header.series_uid in series] or list(headers)


_SAYS_WHY = frozenset(
    {"ACCESS_DENIED", "INPUT_CHANGED", "MALFORMED", "TRUNCATED_FILE", "LIMIT_EXCEEDED", "ZIP_REJECTED"}
    | {"ENHANCED_MULTIFRAME", "NOT_PART10"}
)


def _nothing(findings: Sequence[Finding], config: Config) -> Finding:
    """Why there is no stack at all."""
    codes = {finding.code for finding in findings}
    if "LOCALIZER_DROPPED" in codes:
        return found(config, "TOO_FEW_SLICES", "0 slices: the folder holds nothing but scouts", 0)
    if "NON_CT_OBJECT_DROPPED" in codes:
        return found(config, "NOT_CT", "the folder holds DICOM objects, but no CT image among them")
    return found(config, "EMPTY_INPUT", "no CT image was found")


def _passed_over(files: Sequence[NotSlice], any_slice: bool, config: Config) -> Iterator[Finding]:
    """One finding per code for the files that are no slices."""
    by_code: dict[str, list[NotSlice]] = {}
    for file in files:
        by_code.setdefault(_code(file, files, any_slice), []).append(file)
    for code, same in by_code.items():
        count = plural(len(same), "file")
        if code == "NON_CT_OBJECT_DROPPED":
            classes = Counter(uid_name(file.message) for file in same)
            listed = ", ".join(f"{number} x {name}" for name, number in sorted(classes.items()))
            yield found(config, code, f"{count} dropped: {listed}", len(same))
        else:
            yield found(config, code, f"{count}: {same[0].message}", len(same))


def _code(file: NotSlice, files: Sequence[NotSlice], any_slice: bool) -> str:
    """An archive beside a scan is junk, and a multi-frame object without positions beside one is another series.

    Alone in the folder each is what the user wanted to give.
    """
    if file.code == "ENHANCED_MULTIFRAME" and any_slice:
        return "OTHER_SERIES_IGNORED"
    if file.code != "ZIP_REJECTED":
        return file.code
    other_dicom = any(other.code not in ("ZIP_REJECTED", "JUNK_FILES_SKIPPED") for other in files)
    return "JUNK_FILES_SKIPPED" if any_slice or other_dicom else "ZIP_REJECTED"
