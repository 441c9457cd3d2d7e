"""Enhanced and Legacy Converted CT: what each frame says, in the words of a classic image.

The functional groups of a frame win over the shared ones, and both over the top level (DICOM PS3.3 C.7.6.16). The
frames then go through the very checks that the slices of a classic series go through.
"""

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from volumetry.scan.headers.slice_header import BadHeaderError
from volumetry.scan.headers.values import Elements, Values

MAX_FRAMES = 4096
"""Frames of one object; a chest at 0.5 mm has about 800."""

_GROUPS = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "CTImageFrameTypeSequence",
    "FrameContentSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
    "CardiacSynchronizationSequence",
)
"""Functional groups whose attributes a classic image has at its top level (PS3.3 C.7.6.16.2 and C.8.15.3)."""

_SAME_MEANING = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}
"""Attributes of a frame by the classic ones that mean the same."""
_OF_THE_OBJECT = ("InstanceNumber", "AcquisitionNumber", "ImagesInAcquisition")
"""They number the object, not its frames."""


def frames_of(header: Dataset, values: Values, little_endian: bool) -> tuple[Values, ...]:
    """Values of every frame, in the order of the pixel data.

    Raises
    ------
    BadHeaderError
        ``ENHANCED_MULTIFRAME`` without functional groups, ``MALFORMED`` if their number is not that of the
        frames, ``LIMIT_EXCEEDED`` for more frames than any chest has.
    """
    groups = _items(header, "PerFrameFunctionalGroupsSequence")
    count = values.integer("NumberOfFrames")
    if not groups:
        message = (
            "a multi-frame CT object without per-frame functional groups (5200,9230): no frame has a position"
        )
        raise BadHeaderError("ENHANCED_MULTIFRAME", message)
    if count is not None and count > MAX_FRAMES:
        raise BadHeaderError("LIMIT_EXCEEDED", f"{count} frames in one object; allowed are {MAX_FRAMES}")
    if count != len(groups):
        message = f"NumberOfFrames (0028,0008) says {count}, the functional groups describe {len(groups)} frames"
        raise BadHeaderError("MALFORMED", message)
    common = _elements(header)
    of_object = "\\".join(_text(common, "ImageType").split("\\")[2:])
    for keyword in _OF_THE_OBJECT:
        common.pop(_tag(keyword), None)
    for item in _items(header, "SharedFunctionalGroupsSequence"):
        _take(common, item)
    offset = values.count("ConcatenationFrameOffsetNumber") or 0
    frames = []
    for number, item in enumerate(groups):
        merged = dict(common)
        _take(merged, item)
        _add_type(merged, of_object)
        _add_type(merged, _text(merged, "VolumeBasedCalculationTechnique"))
        if _tag("InstanceNumber") not in merged:  # a converted object keeps the numbers of its images
            _set_text(merged, "InstanceNumber", str(offset + number + 1))
        frames.append(Values(merged, little_endian, number, count))
    return tuple(frames)


def _elements(dataset: Dataset) -> Elements:
    return {int(tag): dataset.get_item(tag) for tag in list(dataset.keys())}


def _take(elements: Elements, groups: Dataset) -> None:
    """Lay the attributes of functional groups over what is there, under the names of a classic image."""
    for keyword in _GROUPS:
        for item in _items(groups, keyword)[:1]:  # of several energies none is the image's own: the first stands
            elements.update(_elements(item))
    for ours, classic in _SAME_MEANING.items():
        element = elements.pop(_tag(ours), None)
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            numeric = dictionary_VR(_tag(ours)) != "CS"
            text = str(int.from_bytes(element.value, "little" if element.is_little_endian else "big"))
            _set_text(elements, classic, text if numeric else element.value.decode("ascii", "replace"))


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    tag = _tag(keyword)
    return list(dataset[tag].value or ()) if tag in dataset else []


def _add_type(elements: Elements, words: str) -> None:
    """Add to the frame's ImageType what the object says of itself: the gate looks there for other objects."""
    there = _text(elements, "ImageType").upper().split("\\")
    more = [word for word in words.upper().split("\\") if word not in ("", "NONE", "MIXED", *there)]
    if more:
        _set_text(elements, "ImageType", "\\".join([*there, *more]))


def _text(elements: Elements, keyword: str) -> str:
    element = elements.get(_tag(keyword))
    value = element.value if element is not None else None
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else ""


def _set_text(elements: Elements, keyword: str, text: str) -> None:
    data = text.encode("ascii", "replace")
    elements[_tag(keyword)] = RawDataElement(BaseTag(_tag(keyword)), "LO", len(data), data, 0, False, True)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not a DICOM keyword")
    return tag
