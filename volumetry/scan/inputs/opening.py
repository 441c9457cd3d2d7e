"""What the user gave -> the files to look into: a folder, a ZIP, one file of a series, a volume file.

An archive is unpacked, and every gzipped DICOM file inflated, into a private folder that goes when the reading
ends, however it ends. Nothing in it has a name from outside; what a file is called is kept in memory.
"""

import gzip
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from volumetry.config import Config, Limits
from volumetry.domain import Finding
from volumetry.errors import InputError, OutputError, ScanFailedError
from volumetry.scan.findings import found
from volumetry.scan.headers.file_kinds import FileKind, archive_name, kind_of
from volumetry.scan.headers.files import FileRef, Listing, as_listed, file_ref, list_beside, list_files
from volumetry.scan.headers.reader import unread_archive
from volumetry.scan.headers.slice_header import NotSlice
from volumetry.scan.inputs.inflation import GZIP, InflationError, inflate, inflated_start, start_of
from volumetry.scan.inputs.unpack import NO_SPACE, ZipLimits, unpack_safely
from volumetry.scan.inputs.volume_header import VolumeError
from volumetry.scan.inputs.volume_headers import volume_header
from volumetry.storage.unfinished import sweep_temporary, temporary_folder

_KIND_BYTES = 4096
_DICOM = (FileKind.PART10, FileKind.BARE)
_OF_A_SCAN = (*_DICOM, FileKind.VOLUME, FileKind.ZIP)
_RATIO_FROM_BYTES = 16 * 2**20

_private_folders: set[Path] = set()


class PrivateFolder:
    """A folder for what is unpacked: made when it is first needed, readable by this user alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._until_removed = ExitStack()
        self._path: Path | None = None
        self._count = 0
        self._bytes_left = int(limits.max_unpacked_gb * 2**30)

    @property
    def path(self) -> Path:
        """The folder."""
        if self._path is None:
            self._path = self._until_removed.enter_context(temporary_folder())
            _private_folders.add(self._path)
        return self._path

    def remove(self) -> None:
        """Take it from the disk with all that is in it."""
        if self._path is not None:
            self._until_removed.close()
            _private_folders.discard(self._path)
            self._path = None

    def inflated(self, file: FileRef, at: int = 0, most: int | None = None) -> FileRef:
        """A private copy of what is packed from a byte of a file on, by gzip or zlib.

        Parameters
        ----------
        most
            Bytes that are wanted; the rest is left. Without it everything, up to the limits of one file.

        Raises
        ------
        InflationError
            If it is damaged, ends early, or inflates to more than the limits allow.
        """
        bound = self._bound(file) if most is None else min(most, self._bytes_left)
        path = self.path / f"{self._count:06d}-inflated"
        self._count += 1
        with file.open() as packed, _no_space(), path.open("xb") as copy:
            packed.seek(at)
            size = inflate(packed, copy, bound, whole=most is None)
        self._bytes_left -= size
        return as_listed(path, path.lstat(), file.name)

    def _bound(self, file: FileRef) -> int:
        ratio_bound = max(_RATIO_FROM_BYTES, int(self._limits.max_inflation_ratio * file.size))
        return min(int(self._limits.max_file_mb * 2**20), ratio_bound, self._bytes_left)


@dataclass(frozen=True, slots=True)
class Given:
    """The files of one input.

    Parameters
    ----------
    listing
        What to read; links and the like are counted in it.
    private
        Where more may be unpacked.
    list_again, as_found
        The files as the user has them: how to list them, and what that gave.
    found_before
        What is wrong with the input as a whole.
    unread
        Files that could not be inflated.
    only
        The one file of a series that was given.
    """

    listing: Listing
    private: PrivateFolder
    list_again: Callable[[], Listing]
    as_found: Listing
    found_before: tuple[Finding, ...] = ()
    unread: tuple[NotSlice, ...] = ()
    only: FileRef | None = None

    def changed(self) -> int:
        """How many files appeared, vanished or changed since the input was listed."""
        return len(set(self.as_found.files) ^ set(self.list_again().files))


@contextmanager
def opened(path: Path, config: Config) -> Iterator[Given]:
    """The files of an input for as long as it is read.

    Parameters
    ----------
    path
        A folder, which is searched to any depth the limits allow, a ZIP archive, a volume file, or one DICOM file:
        then the files beside it are listed too, for the rest of its series.
    config
        Limits on files, depth and unpacked bytes.

    Yields
    ------
    Given
        The files, and what was found on listing them; what was unpacked is removed at the end.
    """
    sweep_temporary()
    private = PrivateFolder(config.limits)
    try:
        yield _given(path, private, config)
    finally:
        private.remove()


def remove_private_folders() -> None:
    """Take from the disk what a process that must end at once has unpacked."""
    for folder in list(_private_folders):
        shutil.rmtree(folder, ignore_errors=True)


def files_of_input(path: Path) -> list[Path]:
    """The files of an input that is not a folder: the file itself, and for DICOM those beside it.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    list[Path]
        Sorted, but for a header file with its data file.
    """
    if _is_dicom(path) and _is_directory(path):
        return sorted((p for p in path.parent.rglob("*") if p.is_file() and not p.is_symlink()), key=os.fsencode)
    if _is_dicom(path):
        with suppress(OSError):
            return sorted((p for p in path.parent.iterdir() if p.is_file()), key=os.fsencode)
    data = _detached_data(path)
    return [path] if data is None else [path, data.path]


def kind_of_file(path: Path) -> FileKind | None:
    """What a file is, by its first bytes; for a gzipped file, what is in it.

    Parameters
    ----------
    path
        Of the file; links are followed.

    Returns
    -------
    FileKind or None
        None if it cannot be read.
    """
    file = file_ref(path.resolve())
    try:
        return None if file is None else kind_of(start_of(file, _KIND_BYTES))
    except OSError:
        return None


def zip_may_hold_scan(archive: Path) -> bool:
    """Whether a ZIP has a member that begins like DICOM, a volume or another ZIP.

    Parameters
    ----------
    archive
        Of the file.

    Returns
    -------
    bool
        True also where that cannot be found out: it is damaged, encrypted or cannot be read.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                if not member.is_dir():
                    with zipped.open(member) as packed:
                        if kind_of(inflated_start(packed.read(_KIND_BYTES))) in _OF_A_SCAN:
                            return True
    except Exception:  # noqa: BLE001  zipfile raises anything on an odd archive; whoever reads it says why
        return True
    return False


def _is_dicom(path: Path) -> bool:
    return kind_of_file(path) in _DICOM


def _detached_data(path: Path) -> FileRef | None:
    """The file beside a volume's header that holds its data, if they are not in it."""
    file = file_ref(path.resolve())
    try:
        name = None if file is None else volume_header(start_of(file)).data_name
    except (OSError, VolumeError):
        return None
    return file_ref(path.resolve().parent / name) if name and "/" not in name else None


def _given(path: Path, private: PrivateFolder, config: Config) -> Given:
    def again() -> Listing:
        return list_files(path, config.limits)

    listing = again()
    if len(listing.files) != 1 or path.is_dir():
        return _inflated(Given(listing, private, again, listing))
    kind = kind_of_file(path)
    if kind is FileKind.ZIP or path.suffix.casefold() == ".zip":  # a damaged one is named as what it was
        return _unpacked(path, Given(listing, private, again, listing), config)
    if kind in _DICOM and _is_directory(path):
        return _given(path.resolve().parent, private, config)
    if kind in _DICOM:
        return _series_around(path, listing.files[0], private, config)

    def with_data() -> Listing:
        data = _detached_data(path)
        return Listing(again().files + (() if data is None else (data,)))

    listing = with_data()
    return _inflated(Given(listing, private, with_data, listing))


def _is_directory(path: Path) -> bool:
    """Whether a DICOM file is the directory of a medium: the standard gives it its name, and it means them all."""
    return path.name.casefold() == "dicomdir"


def _series_around(path: Path, only: FileRef, private: PrivateFolder, config: Config) -> Given:
    def beside() -> Listing:
        return list_beside(path, config.limits)

    around = beside()
    return _inflated(Given(around, private, beside, around, only=only))


def _unpacked(path: Path, given: Given, config: Config) -> Given:
    try:
        names = unpack_safely(path, given.private.path / "archive", zip_limits(config.limits))
    except InputError as refused:
        finding = found(config, refused.code, refused.message, advice=refused.hint)
        return replace(given, listing=Listing(()), found_before=(finding,))
    except OutputError as wrong:
        raise ScanFailedError(f"the archive cannot be unpacked: {wrong.message}", hint=NO_SPACE) from wrong
    files = (as_listed(where, where.lstat(), str(name)) for name, where in _plain(names).items())
    inside = Listing(tuple(sorted(files, key=lambda file: file.name.encode())))
    return _inflated(replace(given, listing=inside))


def zip_limits(limits: Limits) -> ZipLimits:
    """What an archive may hold under the limits of one input."""
    total = int(limits.max_unpacked_gb * 2**30)
    return ZipLimits(limits.max_files, total, total, limits.max_inflation_ratio, limits.max_depth)


def _plain(names: dict[PurePosixPath, Path]) -> dict[PurePosixPath, Path]:
    """The paths without the folders that all of them begin with, and without what macOS adds to every archive."""
    names = {name: where for name, where in names.items() if name.parts[0] != "__MACOSX"}
    while names and len({name.parts[0] for name in names}) == 1 and all(len(name.parts) > 1 for name in names):
        names = {PurePosixPath(*name.parts[1:]): where for name, where in names.items()}
    return names


def _inflated(given: Given) -> Given:
    """With a private, inflated copy in the place of every gzipped DICOM file."""
    files, unread, only = [], [], given.only
    for file in given.listing.files:
        try:
            name = _gzipped_archive(file)
            if name is not None:
                unread.append(unread_archive(file, f"{name}.gz"))
                continue
            copy = _without_gzip(file, given.private)
        except InflationError as bad:
            unread.append(NotSlice(file, bad.code, bad.message))
            continue
        except OSError:  # the reader of headers will find it out, and say so
            copy = file
        only = copy if file == given.only else only
        files.append(copy)
    listing = replace(given.listing, files=tuple(files))
    return replace(given, listing=listing, unread=tuple(unread), only=only)


def _gzipped_archive(file: FileRef) -> str | None:
    with file.open() as stream:
        if stream.read(2) != GZIP:
            return None
    return archive_name(start_of(file))


def _without_gzip(file: FileRef, private: PrivateFolder) -> FileRef:
    with file.open() as stream:
        if stream.read(2) != GZIP:
            return file
    start = start_of(file)
    if not start or start.startswith(GZIP):
        raise InflationError("UNREADABLE_FILES", "a gzip file that cannot be inflated, or is packed twice")
    return private.inflated(file) if kind_of(start) in _DICOM else file


@contextmanager
def _no_space() -> Iterator[None]:
    """A full disk is not a fault of the scan."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno is None or isinstance(wrong, gzip.BadGzipFile):
            raise
        raise ScanFailedError(f"nothing can be unpacked: {os.strerror(wrong.errno)}", hint=NO_SPACE) from None
