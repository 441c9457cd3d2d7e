"""What somebody sent -> its series: the files of each, and what else lies there. Nothing is decoded.

A file that cannot be read goes with every series of its own folder: it may be a slice of any, and a stack without
it could look whole.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from volumetry.codes import About, codes_about
from volumetry.config import Config
from volumetry.scan.checks.composition import with_pooled_series
from volumetry.scan.headers.file_kinds import FileKind
from volumetry.scan.headers.files import FileRef
from volumetry.scan.headers.manifest import NAME as SITE_LIST
from volumetry.scan.headers.reader import read_headers
from volumetry.scan.headers.slice_header import NotSlice, SliceHeader
from volumetry.scan.inputs.inflation import start_of
from volumetry.scan.inputs.opening import Given, kind_of_file, opened
from volumetry.scan.inputs.volume_header import VolumeError
from volumetry.scan.inputs.volume_headers import volume_header
from volumetry.scan.inputs.volumes import volume_files

_NO_SLICE = codes_about(About.OTHER_FILE)


@dataclass(frozen=True, slots=True)
class SeriesFiles:
    """The files of one series.

    Parameters
    ----------
    patient
        Of digests of what the headers say of the patient; never to be written anywhere as it is. None without.
    study_uid, series_uid
        Empty where the images name none.
    files
        Of its images, and those that may be.
    images
        Slices or frames; 0 of a volume file.
    """

    patient: Hashable
    study_uid: str
    series_uid: str
    files: tuple[FileRef, ...]
    images: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is in one folder, archive or file.

    Parameters
    ----------
    series
        In the order of their first files.
    archives
        ZIPs inside, still packed.
    lists
        What a site says that it sent, as `read_scan` compares it.
    others
        How many files belong to no series.
    """

    series: tuple[SeriesFiles, ...]
    archives: tuple[FileRef, ...]
    lists: tuple[FileRef, ...]
    others: int


@contextmanager
def delivered(path: Path, config: Config) -> Iterator[Delivery]:
    """The series of a folder, an archive or a volume file, for as long as they are looked at.

    Parameters
    ----------
    path
        As for `volumetry.scan.read_scan`.
    config
        Limits.

    Yields
    ------
    Delivery
        Its files; what was unpacked is removed at the end.
    """
    with opened(path, config) as given:
        yield _delivery(given, config)


def _delivery(given: Given, config: Config) -> Delivery:
    slices: list[SliceHeader] = []
    others: list[NotSlice] = list(given.unread)
    for file in given.listing.files:
        read = read_headers(file, config.limits)
        if isinstance(read, NotSlice):
            others.append(read)
        else:
            slices += read
    archives = tuple(other.file for other in others if kind_of_file(other.file.path) is FileKind.ZIP)
    series = tuple(_of_slices(with_pooled_series(slices), others))
    if not slices:
        series = tuple(_of_volumes(others, given))
    taken = {file for one in series for file in one.files}
    rest = [other for other in others if other.file not in taken and other.file not in archives]
    lists = tuple(file for file in given.listing.files if file.name.casefold() == SITE_LIST)
    return Delivery(series, archives, lists, len(rest))


def _of_slices(slices: Sequence[SliceHeader], others: Sequence[NotSlice]) -> Iterator[SeriesFiles]:
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in slices:
        groups[header.identity, header.study_uid, header.series_key].append(header)
    doubtful = [other.file for other in others if other.code not in _NO_SLICE or other.code == "UNREADABLE_FILES"]
    for headers in groups.values():
        own = tuple(dict.fromkeys(header.file for header in headers))
        folders = {PurePosixPath(file.name).parent for file in own}
        beside = tuple(file for file in doubtful if PurePosixPath(file.name).parent in folders)
        first = headers[0]
        yield SeriesFiles(
            first.identity, first.study_uid or "", first.series_uid or "", (*own, *beside), len(headers)
        )


def _of_volumes(others: Sequence[NotSlice], given: Given) -> Iterator[SeriesFiles]:
    """Each volume file with the file of its data, if that lies beside it."""
    by_name = {file.name: file for file in given.listing.files}
    for file in volume_files([other.file for other in others]):
        data = None
        with suppress(OSError, VolumeError):
            name = volume_header(start_of(file)).data_name
            data = by_name.get(str(PurePosixPath(file.name).parent / name)) if name else None
        yield SeriesFiles(None, "", "", (file, *([data] if data else [])), 0)
