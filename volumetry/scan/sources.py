"""What lies behind a scan, slice by slice in its own order: what an object made from it refers to."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding, Grid, ScanRefusedError
from volumetry.errors import OutputError
from volumetry.scan.choice import choose
from volumetry.scan.contents import contents_of
from volumetry.scan.headers.files import FileRef
from volumetry.scan.headers.reader import raw_header
from volumetry.scan.headers.slice_header import BadHeaderError, SliceHeader
from volumetry.scan.inputs.opening import opened
from volumetry.scan.inputs.volume_stack import VolumeStack


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlice:
    """One slice of the scan as its file has it.

    Parameters
    ----------
    raw
        The elements asked for of its file, never converted: see `Dataset.get_item`. Frames of one file share it.
    frame_number
        Of a multi-frame file, from 1; None for a file that is one slice.
    position_lps_mm, orientation, pixel_spacing_mm, thickness_mm
        As the gate read them.
    """

    raw: Dataset
    frame_number: int | None
    position_lps_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    thickness_mm: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The stack that `read_scan` measures: slice ``k`` belongs to slice ``k`` of the grid.

    Parameters
    ----------
    slices
        In the order of k.
    grid
        Of the measured scan.
    series_uid
        As in the result; it need not be a valid UID.
    """

    slices: tuple[SourceSlice, ...]
    grid: Grid
    series_uid: str


def source_headers(folder: Path, config: Config, keywords: tuple[str, ...]) -> Source:
    """Raw headers of the stack that `read_scan` measures, without pixels.

    Parameters
    ----------
    folder, config
        Those that were given to `read_scan`.
    keywords
        The elements to read; no other leaves the files.

    Returns
    -------
    Source
        One raw header for every slice of the grid.

    Raises
    ------
    ScanRefusedError
        If the folder no longer holds one measurable stack, or a file can no longer be read.
    OutputError
        If what was measured is a volume file, which has no such headers.
    """
    with opened(folder, config) as given:
        stack, _ = choose(contents_of(given, config), config)
        if stack.geometry is None or stack.series is None:
            raise AssertionError("the gate lets no stack pass without a grid")
        if isinstance(stack, VolumeStack):
            message = "SEG and SR cannot be made from a volume file: it has no DICOM header to refer to"
            raise OutputError(message, "NO_HEADER", "Use mask.nii.gz, or measure the DICOM series it came from.")
        tags = [tag for tag in map(tag_for_keyword, keywords) if tag is not None]
        read: dict[FileRef, Dataset] = {}
        slices = []
        for header in stack.slices:
            try:
                if header.file not in read:
                    read[header.file] = raw_header(header.file, tags, config.limits)
            except (OSError, BadHeaderError, EOFError, ValueError) as wrong:
                message = "a file of the series changed or vanished after it was measured"
                finding = Finding("INPUT_CHANGED", Outcome.REFUSE, message)
                raise ScanRefusedError([finding], stack.series) from wrong
            slices.append(_slice(header, read[header.file]))
        return Source(tuple(slices), stack.geometry.grid, stack.series.series_uid)


def _slice(header: SliceHeader, raw: Dataset) -> SourceSlice:
    if header.position_lps_mm is None or header.orientation is None or header.pixel_spacing_mm is None:
        raise AssertionError("the gate lets no slice pass without a place")
    return SourceSlice(
        raw=raw,
        frame_number=header.frame + 1 if header.frame_count > 1 else None,
        position_lps_mm=header.position_lps_mm,
        orientation=header.orientation,
        pixel_spacing_mm=header.pixel_spacing_mm,
        thickness_mm=header.thickness_mm,
    )
