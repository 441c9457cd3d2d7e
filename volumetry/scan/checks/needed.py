"""What the number needs of a header, and what is said where it is not there or cannot be read.

A volume in HU needs the pixels; where each lies (ImagePositionPatient, ImageOrientationPatient, PixelSpacing,
Rows, Columns); the linear rescale (RescaleSlope, RescaleIntercept); and that this is CT (SOPClassUID, in the
dataset or in the file meta group, and Modality where it is filled). Only these refuse by their absence.

UIDs, dates, names, kernel, voltage, thickness and all else may be absent, empty or odd: slices are then told apart
by their content.
"""

from collections import Counter
from collections.abc import Sequence

from volumetry.scan.findings import named
from volumetry.scan.headers.slice_header import SliceHeader

_COMMA = "Export again with the decimal points that DICOM asks for: a converter or a locale wrote commas."
_SPELLING = (
    "Export again with values as DICOM writes them: the element is there, and a converter wrote it wrongly."
)


def wanting(slices: Sequence[SliceHeader], keyword: str, count: int, otherwise: str) -> str:
    """Say what is wrong with an element in `count` slices: unreadable, and why, or else what `otherwise` says."""
    reasons = [reason for h in slices for key, reason in h.unreadable if key == keyword]
    what = reasons[0] if len(reasons) == count else f"is {otherwise}"
    return f"{named(keyword)} {what} in {count} of {len(slices)} slices"


def advice_on(slices: Sequence[SliceHeader]) -> str | None:
    """What to do where an element is there and cannot be read; None where it is absent."""
    reasons = [reason for h in slices for _, reason in h.unreadable]
    if not reasons:
        return None
    return _COMMA if any("comma" in reason for reason in reasons) else _SPELLING


def one_per_slice(values: Sequence[str | None]) -> bool:
    """Whether every slice has a value of its own: an anonymiser's or a converter's habit that tells nothing.

    >>> one_per_slice(["1.2", "1.3", "1.4"]), one_per_slice(["1.2", "1.2", "1.4"])
    (True, False)
    """
    known = [value for value in values if value is not None]
    return len(known) > max(2, 0.9 * len(values)) and len(set(known)) == len(known)


def tells_nothing(values: Sequence[str | None], volume_slices: int) -> bool:
    """Whether a UID changes so often within a stack that none of its values can be a volume's own.

    Each value then stands in fewer slices than any volume has, and none in more than a tenth: an anonymiser or a
    converter made a new one for every slice, pair or batch of slices. Two volumes put together, or a few slices of
    another one among the rest, have a value that most slices share.

    >>> tells_nothing(["1.2", "1.2", "1.3", "1.3"] * 10, 20)
    False
    >>> tells_nothing([f"1.{k // 2}" for k in range(60)], 20)
    True
    """
    known = Counter(value for value in values if value is not None)
    most = max(known.values(), default=0)
    return one_per_slice(values) or (0 < most < volume_slices and most <= 0.1 * len(values))
