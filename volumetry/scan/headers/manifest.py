"""A manifest that was delivered with the images: are these the images it lists.

``manifest.csv`` at the top of the folder, with DICOM's own names as columns: ``SOPInstanceUID``, one row per
instance; or ``SeriesInstanceUID`` and ``NumberOfSeriesRelatedInstances``, one row per series. Any other file of
that name says nothing about instances and is passed over.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.findings import found, plural
from volumetry.scan.headers.files import FileRef, Listing
from volumetry.scan.headers.slice_header import SliceHeader

NAME = "manifest.csv"
_INSTANCE, _SERIES, _COUNT = "SOPInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"
_LARGEST_BYTES = 16_000_000


def manifest_findings(listing: Listing, headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Refuse what a delivered manifest knows to be incomplete, or not of this delivery.

    Parameters
    ----------
    headers
        Every CT image of the folder, duplicates and scouts included.
    """
    for file in listing.files:
        if file.name.casefold() == NAME:  # at the top: below it, the name holds a folder
            rows = _rows(file)
            if rows and _INSTANCE in rows[0]:
                yield from _by_instance(rows, headers, config)
            elif rows and {_SERIES, _COUNT} <= set(rows[0]):
                yield from _by_series(rows, headers, config)


def _rows(file: FileRef) -> list[dict[str, str]]:
    try:
        with file.open() as stream:
            text = stream.read(_LARGEST_BYTES).decode("utf-8-sig")
        return [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(text))]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError):
        return []


def _by_instance(rows: list[dict[str, str]], headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    listed = {row[_INSTANCE] for row in rows if row[_INSTANCE]}
    here = {header.sop_uid for header in headers}
    absent, extra = len(listed - here), len(here - listed)
    if absent or extra:
        message = f"the delivered manifest lists {plural(len(listed), 'instance')}: {absent} of them are not among"
        message += f" the CT images here, and {extra} images here are not in it"
        yield found(config, "MANIFEST_MISMATCH", message, absent + extra)


def _by_series(rows: list[dict[str, str]], headers: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    here = Counter(header.series_uid for header in {h.sop_uid or h.key: h for h in headers}.values())
    wrong = [row for row in rows if row[_SERIES] in here and row[_COUNT] != str(here[row[_SERIES]])]
    if wrong:
        said, count = wrong[0][_COUNT], here[wrong[0][_SERIES]]
        said = said if said.isdecimal() and len(said) < 8 else "another number"
        message = f"the delivered manifest counts {said} instances in a series of which {count} are here"
        yield found(config, "MANIFEST_MISMATCH", message, len(wrong))
