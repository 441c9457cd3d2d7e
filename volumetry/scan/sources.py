"""What lies behind a scan, slice by slice in its own order: what an object made from it refers to."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError

from volumetry.config import Config
from volumetry.domain import Grid, ScanRefusedError
from volumetry.scan.choice import choose
from volumetry.scan.contents import contents_of
from volumetry.scan.files import FileRef
from volumetry.scan.findings import found
from volumetry.scan.slice_header import SliceHeader
from volumetry.scan.values import quiet_pydicom


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
    """The stack that `read_scan` measures: slice ``k`` belongs to slice ``k`` of the grid."""

    slices: tuple[SourceSlice, ...]
    grid: Grid
    series_uid: str
    """As the result has it, which need not be a legal UID."""


def source_headers(folder: Path, config: Config, keywords: tuple[str, ...]) -> Source:
    """Raw headers of the stack that `read_scan` measures, without pixels.

    Parameters
    ----------
    folder, config
        Those that were given to `read_scan`.
    keywords
        The elements to read; no other leaves the files.

    Raises
    ------
    ScanRefusedError
        If the folder no longer holds one measurable stack, or a file can no longer be read.
    """
    stack, _ = choose(contents_of(folder, config), config)
    if stack.geometry is None or stack.series is None:
        raise AssertionError("the gate lets no stack pass without a grid")
    tags = [tag for tag in map(tag_for_keyword, keywords) if tag is not None]
    read: dict[FileRef, Dataset] = {}
    slices = []
    for header in stack.slices:
        try:
            if header.file not in read:
                read[header.file] = _raw(header.file, tags)
        except (OSError, InvalidDicomError, EOFError, ValueError) as wrong:
            message = "a file of the series changed or vanished after it was measured"
            raise ScanRefusedError([found(config, "INPUT_CHANGED", message)], stack.series) from wrong
        slices.append(_slice(header, read[header.file]))
    return Source(tuple(slices), stack.geometry.grid, stack.series.series_uid)


def _raw(file: FileRef, tags: list[int]) -> Dataset:
    # Nothing is converted here, and what pydicom says of odd values must reach no terminal.
    with file.open() as stream, quiet_pydicom():
        return dcmread(stream, stop_before_pixels=True, force=True, specific_tags=[*tags])


def _slice(header: SliceHeader, raw: Dataset) -> SourceSlice:
    if header.position_lps_mm is None or header.orientation is None or header.pixel_spacing_mm is None:
        raise AssertionError("the gate lets no slice pass without a place")
    return SourceSlice(
        raw=raw,
        frame_number=None,
        position_lps_mm=header.position_lps_mm,
        orientation=header.orientation,
        pixel_spacing_mm=header.pixel_spacing_mm,
        thickness_mm=header.thickness_mm,
    )
