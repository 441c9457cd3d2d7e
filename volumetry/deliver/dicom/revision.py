"""Which of a scan's results an object is of: the automatic one, or a reader's in the place of those before.

DICOM has two ways to say so. A structured report lists the reports whose content it takes over
(PredecessorDocumentsSequence, PS3.3 C.17.2); a segmentation, which is an image, refers to the segmentations before
it (ReferencedImageSequence, PS3.3 C.12.4). Each has a series of its own, with a number of its own, so that the
earlier object stays as it was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmread

from volumetry.deliver.dicom.concepts import SUPERSEDED, coded

_SERIES_STEP = 10
_LONG_STRING, _SHORT_TEXT, _NAME = 64, 1024, 64
"""What the value representations LO and ST, and one part of a PN, may hold."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A result's place among those of its scan.

    Parameters
    ----------
    number
        0 of the automatic result, and the number of a correction.
    earlier
        Folders of the results before it; their seg.dcm and sr.dcm, where there are any, are named as superseded.
    """

    number: int = 0
    earlier: tuple[Path, ...] = ()

    def series_number(self, automatic: int) -> int:
        """Number of a series.

        Parameters
        ----------
        automatic
            That of the automatic result's series.

        Returns
        -------
        int
            Another for every correction.
        """
        return automatic + _SERIES_STEP * self.number

    def superseded(self, name: str) -> list[Dataset]:
        """Headers of the objects that this result takes the place of.

        Parameters
        ----------
        name
            Of the file, in each result's folder.

        Returns
        -------
        list of Dataset
            The first one first; those of results that have no such object are not there.
        """
        return [dcmread(f / name, stop_before_pixels=True) for f in self.earlier if (f / name).is_file()]


AUTOMATIC = Revision()
"""Of the result that no reader has corrected."""


def refer_to_superseded(seg: Dataset, earlier: list[Dataset]) -> None:
    """Let a segmentation name those that it takes the place of."""
    if not earlier:
        return
    seg.ReferencedImageSequence = [_reference(other, coded(SUPERSEDED)) for other in earlier]
    series = list(seg.get("ReferencedSeriesSequence", []))
    for other in earlier:
        item = Dataset()
        item.SeriesInstanceUID = other.SeriesInstanceUID
        item.ReferencedInstanceSequence = [_reference(other)]
        series.append(item)
    seg.ReferencedSeriesSequence = series


def _reference(other: Dataset, purpose: CodedConcept | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = other.SOPClassUID, other.SOPInstanceUID
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def reader_of(document: Mapping[str, Any]) -> str | None:
    """The reader as a person's name; None of an automatic result."""
    reader = document.get("corrected_by")
    return None if not reader else _cut(_plain(str(reader), "\\^="), _NAME - 1) + "^"


def reason_of(document: Mapping[str, Any]) -> tuple[str, str]:
    """Who corrected the mask and why, as a long string (cut at 64 bytes) and as a short text."""
    words = _plain(f"Corrected by {document['corrected_by']}: {document.get('reason', '')}", "\\")
    return _cut(words, _LONG_STRING), _cut(words, _SHORT_TEXT)


def _cut(text: str, most: int) -> str:
    """As much as fits; counted in bytes of UTF-8, as some readers do."""
    return text.encode("utf-8")[:most].decode("utf-8", "ignore").strip()


def _plain(text: str, taken_out: str) -> str:
    """Without the signs that separate values and name parts."""
    return " ".join("".join(" " if sign in taken_out else sign for sign in text).split())
