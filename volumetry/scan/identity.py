"""One patient, one study, one file per instance."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.decode import DecoderDiedError, decode
from volumetry.scan.findings import found, named, plural
from volumetry.scan.slice_header import IDENTITY, SliceHeader


def identity_findings(headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Codes of mixed patients and studies; compares hashes and never prints a value."""
    for number, keyword in enumerate(IDENTITY):
        groups: dict[str | None, int] = defaultdict(int)
        for header in headers:
            groups[header.identity[number]] += 1
        if len(groups) > 1:
            odd = len(headers) - max(groups.values())
            message = f"{named(keyword)} differs, or is absent, in {odd} of {len(headers)} images"
            yield found(
                config, "MIXED_PATIENTS", f"{message}: slices of two people must not become one volume", odd
            )
    studies = {header.study_uid for header in headers}
    dates = {header.study_date for header in headers} - {None}
    for keyword, count in (("StudyInstanceUID", len(studies)), ("StudyDate", len(dates))):
        if count > 1:
            message = f"{named(keyword)} takes {count} values: one scan is one time point"
            yield found(config, "MIXED_STUDIES", message, count)


def without_duplicates(headers: Sequence[SliceHeader], config: Config) -> tuple[list[SliceHeader], list[Finding]]:
    """Keep one of the files that hold the same instance; two that differ are a conflict.

    Returns
    -------
    kept, findings
        The first file of every instance, in the given order.
    """
    by_uid: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        by_uid[header.sop_uid].append(header)
    twice = [same for same in by_uid.values() if len(same) > 1]
    conflicts = sum(1 for same in twice if not _all_equal(same, config))
    dropped = sum(len(same) - 1 for same in twice)
    findings = []
    if conflicts:
        message = f"{plural(conflicts, 'instance')} with one SOPInstanceUID (0008,0018) and different content"
        findings.append(found(config, "UID_CONFLICT", f"{message}: nobody can say which is right", conflicts))
    if dropped and not conflicts:
        message = f"{plural(dropped, 'file')} held an instance a second time; one copy was kept"
        findings.append(found(config, "DUPLICATE_FILE", message, dropped))
    return [same[0] for same in by_uid.values()], findings


def _all_equal(same: Sequence[SliceHeader], config: Config) -> bool:
    first = same[0]
    if any(_facts(other) != _facts(first) for other in same[1:]):
        return False
    try:
        if len({_raw_digest(header, config) for header in same}) == 1:
            return True
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
