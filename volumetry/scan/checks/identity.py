"""One patient, one study, one file per instance."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.needed import one_per_slice, tells_nothing
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.slice_header import IDENTITY, SliceHeader, by_series
from volumetry.scan.pixels.decode import DecoderDiedError, decode


def identity_findings(headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Codes of mixed patients and studies among the images that are, or may be, measured.

    Compares hashes and never prints a value. An issuer that only some images name is not another patient.

    Parameters
    ----------
    headers
        Of the stacks that may be measured.
    config
        What follows from each code.

    Yields
    ------
    Finding
        MIXED_PATIENTS, MIXED_STUDIES.
    """
    for number, keyword in enumerate(IDENTITY):
        groups = Counter(header.identity[number] for header in headers)
        if keyword == "IssuerOfPatientID":
            groups.pop(None, None)
        if len(groups) > 1:
            odd = len(headers) - max(groups.values())
            message = f"{named(keyword)} differs, or is absent, in {odd} of {len(headers)} images"
            message = f"{message}: slices of two patients must not form one volume"
            own = one_per_slice([header.identity[number] for header in headers])
            yield found(config, "MIXED_PATIENTS", message, odd, _ONE_ID_PER_SLICE if own else None)
    studies = {header.study_uid for header in headers}
    one_series = len({header.series_key for header in headers}) == 1
    if one_series and tells_nothing([header.study_uid for header in headers], config.geometry.min_slices):
        studies = set()
    dates = {header.study_date for header in headers} - {None}
    if one_per_slice([header.study_date for header in headers]):
        dates = set()  # an anonymiser that shifts each image's date by itself
    for keyword, count in (("StudyInstanceUID", len(studies)), ("StudyDate", len(dates))):
        if count > 1:
            message = f"{named(keyword)} has {count} values, but one scan is one time point"
            yield found(config, "MIXED_STUDIES", message, count)


_ONE_ID_PER_SLICE = "De-identify again with one identity for the whole scan: every image has its own."


def without_duplicates(headers: Sequence[SliceHeader], config: Config) -> tuple[list[SliceHeader], list[Finding]]:
    """Keep one of the files that hold the same instance; two that differ are a conflict.

    An instance is identified by its SOPInstanceUID and frame. Where a series has none, or an anonymiser gave the
    same one to many slices, it is identified by its content: its position, and then its pixels.

    Parameters
    ----------
    headers
        Of an input.
    config
        Limits, and what follows from each code.

    Returns
    -------
    kept, findings
        The first file of every instance, in the given order.
    """
    by_content = _told_by_content(headers)
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[_place(header) if header.series_key in by_content else header.instance].append(header)
    kept: list[SliceHeader] = []
    conflicts: list[list[SliceHeader]] = []
    again: set[Hashable] = set()
    for same in groups.values():
        if len(same) > 1 and _all_equal(same, config):
            again |= {header.file.path for header in same[1:]}
            kept.append(same[0])
        elif len(same) > 1 and same[0].series_key not in by_content:
            conflicts.append(same)
            kept.append(same[0])
        else:
            kept += same
    findings = [*_missing_uids(headers, config)]
    if conflicts:
        findings.append(_conflict(conflicts, headers, config))
    elif again:
        message = f"{plural(len(again), 'file')} held an instance a second time; one copy was kept"
        findings.append(found(config, "DUPLICATE_FILE", message, len(again)))
    return kept, findings


def _told_by_content(headers: Sequence[SliceHeader]) -> set[Hashable]:
    """Series whose SOPInstanceUIDs distinguish no slices: all empty, or shared by slices at other places.

    A single UID that two different files claim is a conflict, and one UID for all images says that they are one
    image; neither is put right here.
    """
    return {series for series, mine in by_series(headers).items() if _uids_are_worthless(mine)}


def _uids_are_worthless(mine: Sequence[SliceHeader]) -> bool:
    if not any(h.sop_uid for h in mine):
        return True
    places: dict[tuple[str, int], set[Hashable]] = defaultdict(set)
    for header in mine:
        places[header.instance].add(_place(header))
    shared = sum(1 for at in places.values() if len(at) > 1)
    return len(places) > 1 and 2 * shared >= len(places) and shared > 1


def _place(header: SliceHeader) -> Hashable:
    """Where a slice lies, to distinguish slices that no UID distinguishes."""
    where = (header.position_lps_mm, header.orientation, header.temporal_position, header.acquisition_number)
    return header.series_key, where, header.kernel, header.image_type, header.frame


def _missing_uids(headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """An element that some slices of a series have and others lost: such a header cannot be trusted."""
    for mine in by_series(headers).values():
        for keyword, there in (
            ("SOPInstanceUID", [bool(h.sop_uid) for h in mine]),
            ("SOPClassUID", [h.class_in_dataset for h in mine]),
        ):
            if any(there) and not all(there):
                lost = there.count(False)
                message = f"{named(keyword)} is missing in {lost} of {len(mine)} images of a series that has it"
                yield found(config, "MALFORMED", f"{message}: their headers are damaged", lost)


def _conflict(
    conflicts: Sequence[Sequence[SliceHeader]], headers: Sequence[SliceHeader], config: Config
) -> Finding:
    tag = named("SOPInstanceUID")
    if len(conflicts) == 1 and len(conflicts[0]) == len(headers):
        message = f"one {tag} stands in all {len(headers)} images: it says that they are one image"
        advice = "Map UIDs one to one when anonymising: each image needs its own SOPInstanceUID, or an empty one."
        return found(config, "UID_CONFLICT", message, len(headers), advice)
    count = len(conflicts)
    message = f"{plural(count, 'instance')} with one {tag} and different content: it is not known which is right"
    return found(config, "UID_CONFLICT", message, count)


def _all_equal(same: Sequence[SliceHeader], config: Config) -> bool:
    first = same[0]
    if any(_facts(other) != _facts(first) for other in same[1:]):
        return False
    try:
        if len({_raw_digest(header, config) for header in same}) == 1:
            return True
        if len({header.pixels.syntax for header in same}) == 1 and not first.pixels.encapsulated:
            return False  # other bytes of uncompressed data are other pixels
        if any(header.faults for header in same):
            return False
        stored, faults = decode(same, config.limits)  # the same image may be compressed in one of its files
    except (OSError, DecoderDiedError):  # gone meanwhile, or deadly: nobody can say that they are equal
        return False
    return not faults and all(np.array_equal(stored[0], other) for other in stored[1:])


def _facts(header: SliceHeader) -> tuple[object, ...]:
    """Whose, where and how: what must agree beside the pixels."""
    return (
        header.identity,
        header.study_uid,
        header.series_uid,
        header.position_lps_mm,
        header.orientation,
        header.pixel_spacing_mm,
        (header.rows, header.columns),
        (header.slope, header.intercept),
        header.faults,
    )


def _raw_digest(header: SliceHeader, config: Config) -> str:
    """Digest of the encoded pixels, or of the whole file where they have no place of their own in it."""
    if header.file.size > config.limits.max_file_mb * 2**20:
        raise OSError("too large to be compared")
    digest = hashlib.sha256(header.pixels.syntax.encode())
    if header.pixels.deflated_at is not None or not header.pixels.fragments:
        with header.file.open() as stream:
            digest.update(stream.read())
        return digest.hexdigest()
    with header.file.open() as stream:
        for offset, length in header.pixels.fragments:
            stream.seek(offset)
            digest.update(stream.read(length))
    return digest.hexdigest()
