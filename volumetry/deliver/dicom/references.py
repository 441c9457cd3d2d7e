"""References to single frames: highdicom knows one multi-frame source at most, and refers to whole files."""

from collections.abc import Iterable, Iterator, Sequence

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from volumetry.deliver.dicom.source import ExportSource, made_uid


def as_single_slices(source: ExportSource) -> tuple[Dataset, ...]:
    """Headers of which each is an image of its own; those of frames stand in for them until `refer_to_frames`."""
    return tuple(
        header if number is None else _stand_in(header, k)
        for k, (header, number) in enumerate(zip(source.headers, source.frame_numbers, strict=True))
    )


def refer_to_frames(made: Dataset, source: ExportSource) -> None:
    """Put the source's files, and which of their frames, where an object refers to stand-ins."""
    if not any(source.frame_numbers):
        return
    frames = {_stand_in_uid(k): k for k, number in enumerate(source.frame_numbers) if number is not None}
    for item in _items(made):
        k = frames.get(str(item.ReferencedSOPInstanceUID))
        if k is not None:
            item.ReferencedSOPClassUID = source.headers[k].SOPClassUID
            item.ReferencedSOPInstanceUID = source.headers[k].SOPInstanceUID
            item.ReferencedFrameNumber = source.frame_numbers[k]
    if "SourceImageSequence" in made:
        made.SourceImageSequence = references(source.headers)
    for series in made.get("ReferencedSeriesSequence", []):
        series.ReferencedInstanceSequence = references(source.headers)


def files_of(headers: Sequence[Dataset]) -> list[Dataset]:
    """One header of each file, in order."""
    return list({str(header.SOPInstanceUID): header for header in headers}.values())


def references(headers: Sequence[Dataset]) -> list[Dataset]:
    """An item for each source file."""
    items = []
    for header in files_of(headers):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        items.append(item)
    return items


def _items(made: Dataset) -> Iterator[Dataset]:
    """Where frames of an object say of which source frame they are made."""
    groups: Iterable[Dataset] = made.get("PerFrameFunctionalGroupsSequence", [])
    for group in groups:
        for derivation in group.get("DerivationImageSequence", []):
            yield from derivation.get("SourceImageSequence", [])


def _stand_in(header: Dataset, k: int) -> Dataset:
    image = Dataset()
    image.update(header)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        delattr(image, keyword)  # set in place, the value would change in the header too: they share the element
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, _stand_in_uid(k)
    return image


def _stand_in_uid(k: int) -> str:
    return made_uid("", f"stand-in {k}")
