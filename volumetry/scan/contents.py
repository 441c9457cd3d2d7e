"""An input -> every stack in it with its verdict, and the findings of the input itself. Nothing is decoded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from volumetry.codes import About, codes_about
from volumetry.config import Config
from volumetry.domain import Finding, most_severe_first
from volumetry.scan.checks.composition import drop_localizers, drop_pictures, stacks_of, with_pooled_series
from volumetry.scan.checks.gate import GatedStack, gate
from volumetry.scan.checks.identity import identity_findings, without_duplicates
from volumetry.scan.findings import found, plural
from volumetry.scan.headers.files import FileRef, Listing
from volumetry.scan.headers.manifest import manifest_findings
from volumetry.scan.headers.reader import read_headers
from volumetry.scan.headers.slice_header import NotSlice, SliceHeader
from volumetry.scan.headers.syntaxes import uid_name
from volumetry.scan.inputs.opening import Given
from volumetry.scan.inputs.volumes import volume_files, volume_stacks
from volumetry.scan.places import images_at_the_ends
from volumetry.wording import for_reader


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


def contents_of(given: Given, config: Config) -> Contents:
    """Read the header of every file of an input and check every stack.

    Parameters
    ----------
    given
        The files.
    config
        Tolerances, limits, and what follows from each code.

    Returns
    -------
    Contents
        Stacks, the largest first, and the findings of the folder as a whole.
    """
    listing = given.listing
    findings = [*given.found_before, *listing.findings(config)]
    if listing.too_many or listing.too_deep:
        return Contents(listing, (), most_severe_first(findings))
    frames = (read_headers(file, config.limits) for file in listing.files)
    read = [*given.unread, *(item for of_file in frames for item in _items(of_file))]
    read = _pooled(read)
    if given.only is not None:
        read, more = _series_of(given.only, read, config)
        findings += more
    headers = [header for header in read if isinstance(header, SliceHeader)]
    others = [file for file in read if isinstance(file, NotSlice)]
    if not headers and (volumes := _volumes_alone(others)):
        return _volumes_of(volumes, others, findings, given, config)
    findings += _passed_over(others, headers, config)
    findings += manifest_findings(listing, headers, config)
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


def _pooled(read: Sequence[SliceHeader | NotSlice]) -> list[SliceHeader | NotSlice]:
    slices = with_pooled_series([item for item in read if isinstance(item, SliceHeader)])
    return [*slices, *(item for item in read if isinstance(item, NotSlice))]


def _items(of_file: tuple[SliceHeader, ...] | NotSlice) -> tuple[SliceHeader | NotSlice, ...]:
    return (of_file,) if isinstance(of_file, NotSlice) else of_file


def _of_volumes(stacks: Sequence[GatedStack], headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Images of every series that may hold the volume to measure: whose they are is judged on these."""
    series = {header.series_key for stack in stacks if stack.may_be_volume for header in stack.slices}
    return [header for header in headers if header.series_key in series] or list(headers)


def _series_of(
    only: FileRef, read: Sequence[SliceHeader | NotSlice], config: Config
) -> tuple[list[SliceHeader | NotSlice], list[Finding]]:
    """The series of the one file that was given, among the files beside it; and what may be a part of it."""
    series = {item.series_key for item in read if isinstance(item, SliceHeader) and item.file == only}
    if not series:
        return [item for item in read if item.file == only], []
    images = [item for item in read if isinstance(item, SliceHeader)]
    mine: list[SliceHeader | NotSlice] = [image for image in images if image.series_key in series]
    left = len(images) - len(mine)
    message = f"one file was given: its series was taken from the same folder, {plural(len(mine), 'image')}"
    message += f"; {plural(left, 'image')} of other series there left aside"
    mine += [item for item in read if isinstance(item, NotSlice) and _may_belong(item, only)]
    return mine, [found(config, "SERIES_OF_ONE_FILE", message, len(mine))]


def _may_belong(file: NotSlice, only: FileRef) -> bool:
    """Whether an unread file beside the one that was given may be a slice of its series."""
    if file.code == "UNREADABLE_FILES":
        return _ending(file.file) == _ending(only)
    return file.code not in _NO_SLICE


_NO_SLICE = codes_about(About.OTHER_FILE)


def _volumes_alone(others: Sequence[NotSlice]) -> list[FileRef]:
    """Volume files of an input in which no DICOM image is, and nothing that may be one."""
    harmless = (_NO_SLICE | {"UNREADABLE_FILES"}) - {"ENHANCED_MULTIFRAME"}
    if any(file.code not in harmless for file in others):
        return []
    return volume_files([file.file for file in others if file.code == "JUNK_FILES_SKIPPED"])


def _volumes_of(
    volumes: Sequence[FileRef], others: Sequence[NotSlice], findings: list[Finding], given: Given, config: Config
) -> Contents:
    """What an input holds whose images are volume files; files beside them are not their slices."""
    stacks, more = volume_stacks(volumes, given, config)
    data = {stack.data for stack in stacks}
    rest = [file for file in others if file.file not in volumes and file.file not in data]
    if rest:
        message = f"{plural(len(rest), 'file')} beside the volume"
        findings.append(found(config, "JUNK_FILES_SKIPPED", message, len(rest)))
    return Contents(given.listing, tuple(stacks), most_severe_first([*findings, *more]))


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


def _passed_over(files: Sequence[NotSlice], slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """One finding per code for the files that are not slices."""
    dicom = [item.file for item in slices] + [item.file for item in files if item.code not in _NO_DICOM]
    by_code: dict[str, list[NotSlice]] = {}
    for file in files:
        by_code.setdefault(_code(file, files, dicom, bool(slices)), []).append(file)
    for code, same in by_code.items():
        count = plural(len(same), "file")
        if code == "NON_CT_OBJECT_DROPPED":
            classes = Counter(uid_name(file.message) for file in same)
            listed = ", ".join(f"{number} x {name}" for name, number in sorted(classes.items()))
            yield found(config, code, f"{count} dropped: {listed}", len(same))
        else:
            kinds = Counter(file.message for file in same).most_common(4)
            listed = kinds[0][0] if len(kinds) == 1 else ", ".join(f"{number} x {what}" for what, number in kinds)
            message = f"{count}: {listed}"
            if code == "UNREADABLE_FILES" and slices:
                message = _one_may_be_a_slice(message, len(same), slices)
            advice = _UNPACK if code == "ZIP_REJECTED" and any("not read" in f.message for f in same) else None
            yield found(config, code, message, len(same), advice)


_UNPACK = "Unpack it and give the folder, or pack that as ZIP: of archives only ZIP is read."


def _one_may_be_a_slice(what: str, count: int, slices: Sequence[SliceHeader]) -> str:
    """A slice lost inside a stack leaves a hole, which refuses; so these can only be lost at its ends."""
    largest = Counter(header.series_key for header in slices).most_common(1)[0][0]
    mine = [header for header in slices if header.series_key == largest]
    share = 100 * count / (count + len(mine))
    effect = f"none if no file is a slice; else at most {share:.1f} % of the stack's height is missing at its ends"
    return for_reader(
        what, "whether the lung lies wholly between the first and the last image", images_at_the_ends(mine), effect
    )


_NO_DICOM = frozenset({"JUNK_FILES_SKIPPED", "ZIP_REJECTED", "UNREADABLE_FILES", "DICOMDIR_IGNORED"})


def _code(file: NotSlice, files: Sequence[NotSlice], dicom: Sequence[FileRef], any_slice: bool) -> str:
    """An archive beside a scan is junk, and so is what cannot be a slice by its place and name.

    A multi-frame object without positions is another series where images are. Alone in the folder each is what the
    user wanted to give.
    """
    if file.code == "ENHANCED_MULTIFRAME" and any_slice:
        return "OTHER_SERIES_IGNORED"
    if file.code == "UNREADABLE_FILES" and _no_slice_by_place(file.file, dicom):
        return "JUNK_FILES_SKIPPED"
    if file.code != "ZIP_REJECTED":
        return file.code
    other_dicom = any(other.code not in ("ZIP_REJECTED", "JUNK_FILES_SKIPPED") for other in files)
    return "JUNK_FILES_SKIPPED" if dicom or other_dicom else "ZIP_REJECTED"


def _no_slice_by_place(file: FileRef, dicom: Sequence[FileRef]) -> bool:
    """Whether a file without a meaning lies in a folder without any DICOM, and is named like none.

    A lost slice lies among its like: emptied or overwritten it keeps its folder, or at least the way in which its
    name ends. A viewer's data on a CD has neither.
    """
    folders = {PurePosixPath(other.name).parent for other in dicom}
    endings = {_ending(other) for other in dicom}
    return bool(dicom) and PurePosixPath(file.name).parent not in folders and _ending(file) not in endings


def _ending(file: FileRef) -> str:
    """The name's suffix in lower case; a number behind the last dot belongs to a UID or a count."""
    suffix = PurePosixPath(file.name).suffix.casefold()
    return "" if suffix[1:].isdecimal() else suffix
