"""UIDs without information: no number needs them, SEG and SR do."""

import re
from collections.abc import Iterator, Sequence

from pydicom.uid import RE_VALID_UID

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.needed import one_per_slice, tells_nothing
from volumetry.scan.findings import found, named
from volumetry.scan.headers.slice_header import SliceHeader


def uid_findings(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Note which UIDs of a stack are empty, no legal UIDs, shared by several slices, or new with every slice."""
    if not any(h.has_header for h in slices):
        return
    by_keyword: dict[str, list[str | None]] = {
        "SOPInstanceUID": [h.sop_uid or None for h in slices],
        "SeriesInstanceUID": [h.series_uid for h in slices],
        "StudyInstanceUID": [h.study_uid for h in slices],
        "FrameOfReferenceUID": [h.frame_of_reference for h in slices if h.frame_of_reference is not None],
    }
    faults = [f"{named(keyword)} {fault}" for keyword, uids in by_keyword.items() if (fault := _fault(uids))]
    if len({h.instance for h in slices}) < len(slices) and all(h.sop_uid for h in slices):
        faults.append(f"{named('SOPInstanceUID')} is shared by slices at different places")
    faults += [
        f"{named(keyword)} is new with every slice"
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
        if one_per_slice(by_keyword[keyword])
    ]
    faults += [
        f"{named(keyword)} is new with every few slices"
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID")
        if not one_per_slice(by_keyword[keyword])
        and tells_nothing(by_keyword[keyword], config.geometry.min_slices)
    ]
    if faults:
        message = f"{'; '.join(faults)}: the slices were distinguished by their position and pixels"
        yield found(config, "IDENTIFIED_BY_CONTENT", message)


def _fault(uids: Sequence[str | None]) -> str | None:
    if any(uid is None for uid in uids):
        return "is empty"
    return "is not a legal UID" if any(not is_legal_uid(uid) for uid in uids if uid) else None


def is_legal_uid(uid: str) -> bool:
    """Whether a text is a UID by DICOM PS3.5 section 9.1; pydicom's own class would warn and print the value.

    >>> is_legal_uid("1.2.840.10008.1.2"), is_legal_uid("896911bf-1143"), is_legal_uid("1.02")
    (True, False, False)
    """
    return len(uid) <= 64 and re.match(RE_VALID_UID, uid) is not None
