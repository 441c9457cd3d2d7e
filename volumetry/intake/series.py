"""Every series below a folder, in folders of its own, judged as a measurement would judge it."""

import hashlib
import hmac
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from volumetry.batch.find import MEND_KEYS, ScanFolder, find_scans
from volumetry.config import Config
from volumetry.domain import ScanRefusedError, SeriesInfo
from volumetry.errors import OutputError, VolumetryError
from volumetry.scan import FileKind, kind_of_file, read_scan, zip_may_hold_scan
from volumetry.scan.delivery import Delivery, SeriesFiles, delivered
from volumetry.scan.headers.files import FileRef
from volumetry.scan.headers.manifest import NAME as SITE_LIST
from volumetry.scan.patient_words import identities_of
from volumetry.scan.scan_id import digest_of

_DEEPEST = 3
"""Archives inside archives inside an archive; a CD export in a courier's ZIP is two."""
_SHOWN_DIGITS = 10
MEASURABLE = "measurable"


@dataclass(frozen=True, slots=True)
class Series:
    """One series, or an input in which none was found.

    Parameters
    ----------
    place
        Where it was delivered, with its keys.
    path
        What to measure: a folder of this series alone, or the input itself where it has no series.
    patient, study
        Salted digests; empty where the headers say nothing.
    series_uid
        Empty where the images name none.
    images
        Slices or frames.
    info
        The acquisition; None where no volume could be made of it.
    verdict
        ``measurable``, or the code that refuses.
    pixels_sha256
        Of a measurable series.
    others
        Files of the whole delivery that belong to no series.
    """

    place: ScanFolder
    path: Path
    patient: str = ""
    study: str = ""
    series_uid: str = ""
    images: int = 0
    info: SeriesInfo | None = None
    verdict: str = MEASURABLE
    pixels_sha256: str = ""
    others: int = 0

    @property
    def thickness_mm(self) -> float | None:
        """Thickness or spacing, whichever is larger, to 0.01 mm, as the choice of `read_scan` takes it."""
        if self.info is None:
            return None
        return round(max(self.info.spacing_kji_mm[0], self.info.thickness_mm or 0.0), 2)


@dataclass(slots=True)
class Splitter:
    """Puts series into folders of their own.

    Parameters
    ----------
    making
        Folder for them.
    config
        Limits, and what a measurement would refuse.
    is_own_code
        As for `find_scans`.
    salt
        Of the digests of patients and studies.
    """

    making: Path
    config: Config
    is_own_code: Callable[[str], bool] = lambda _: False
    salt: bytes = field(default_factory=lambda: os.urandom(32))
    _count: int = field(default=0, init=False)
    _bytes_left: int = field(default=0, init=False)
    _places: frozenset[Path] = field(default=frozenset(), init=False)

    def series_below(
        self, root: Path, layout: str | None, on_place: Callable[[str], None] = lambda _: None
    ) -> Iterator[Series]:
        """Every series of every delivery, in the order of their paths.

        Parameters
        ----------
        root
            Folder, or one archive.
        layout
            Pattern of `volumetry.batch.layout.Layout`, if site, subject and visit are to be read from the paths.
        on_place
            Called with words on the progress; they name nobody.

        Yields
        ------
        Series
            At least one for each place that `find_scans` finds, so that none is lost.
        """
        places = find_scans(root, layout, self.is_own_code)
        self._places = frozenset(place.path.resolve() for place in places)
        for number, place in enumerate(places, 1):
            on_place(f"delivery {number} of {len(places)}")
            self._bytes_left = int(self.config.limits.max_unpacked_gb * 2**30)
            yield from self._of_place(place, place.path, 0)

    def _of_place(self, place: ScanFolder, path: Path, depth: int) -> Iterator[Series]:
        packed = depth > 0 or kind_of_file(path) is FileKind.ZIP
        with delivered(path, self.config) as delivery:
            for one in delivery.series:
                self._bytes_left -= sum(file.size for file in one.files) if packed else 0
                if self._bytes_left < 0:
                    yield self._whole(place, "LIMIT_EXCEEDED", delivery.others)
                    return
                lists = delivery.lists if len(delivery.series) == 1 else ()
                yield self._judged(place, self._folder_with(one, lists), one, delivery.others)
            archives = [archive for archive in delivery.archives if self._is_new(archive.path, packed)]
            for archive in archives:
                if depth < _DEEPEST:
                    yield from self._of_place(place, archive.path, depth + 1)
                else:
                    yield self._whole(place, "ZIP_REJECTED")
            if not delivery.series and not archives:
                yield self._empty(place, delivery)

    def _is_new(self, archive: Path, packed: bool) -> bool:
        """Whether a ZIP in a delivery has no line of its own: in a folder it mostly is a place itself."""
        return packed or (archive not in self._places and zip_may_hold_scan(archive))

    def _empty(self, place: ScanFolder, delivery: Delivery) -> Series:
        """A delivery without an image keeps a line: the batch will say why it gives no number."""
        code = "EMPTY_INPUT"
        try:
            read_scan(place.path, self.config)
        except VolumetryError as stop:
            code = stop.code
        return self._whole(place, code, delivery.others)

    def _whole(self, place: ScanFolder, verdict: str, others: int = 0) -> Series:
        """A place without a series of its own, as a link that names nobody: its headers may not be readable."""
        path = place.path
        if path.is_dir() or kind_of_file(path) in (FileKind.ZIP, FileKind.ARCHIVE):
            link = self._next_folder()
            with suppress(OSError):  # a file system without links
                link.symlink_to(path.resolve(), target_is_directory=path.is_dir())
                path = link
        return Series(self._without_identity(place, place.path), path, verdict=verdict, others=others)

    def _judged(self, place: ScanFolder, path: Path, one: SeriesFiles, others: int) -> Series:
        place = self._without_identity(place, path)
        patient = self._digest("p", one.patient)
        study = self._digest("s", (one.patient, one.study_uid)) if one.study_uid else ""
        known = Series(place, path, patient, study, one.series_uid, one.images, others=others)
        try:
            scan = read_scan(path, self.config)
        except ScanRefusedError as stop:
            return replace(known, info=stop.series, verdict=stop.code)
        except VolumetryError as stop:
            return replace(known, verdict=stop.code)
        return replace(known, info=scan.series, pixels_sha256=scan.pixels_sha256)

    def _next_folder(self) -> Path:
        self._count += 1
        return self.making / f"{self._count:04d}"

    def _folder_with(self, one: SeriesFiles, lists: Sequence[FileRef]) -> Path:
        """A new folder with the files of a series, as links to the same content where the disk can.

        No name of a file goes with it: names of deliveries can be those of patients.
        """
        folder = self._next_folder()
        try:
            folder.mkdir(mode=0o700, parents=True)
            for number, file in enumerate(one.files, 1):
                name = f"{number:06d}.dcm"
                if not one.images:  # the header of a volume may name the file of its data
                    name = "volume" if number == 1 else PurePosixPath(file.name).name
                _link_or_copy(file.path, folder / name)
            for file in lists[:1]:
                _link_or_copy(file.path, folder / SITE_LIST)
        except OSError as wrong:
            raise OutputError(f"cannot write a series: {wrong.strerror}") from wrong
        return folder

    def _digest(self, letter: str, fact: object) -> str:
        """A digest that no spreadsheet takes for a number; empty where there is nothing to digest."""
        if not fact or (isinstance(fact, tuple) and not any(fact)):
            return ""
        return f"{letter}-{hmac.new(self.salt, repr(fact).encode(), hashlib.sha256).hexdigest()[:_SHOWN_DIGITS]}"

    def _without_identity(self, place: ScanFolder, series: Path) -> ScanFolder:
        """A place whose id and keys are none of the patient's names and ids in the headers."""
        words = identities_of(series)
        if words.stand_in(place.scan_id):  # the headers were packed too deep to be seen when the id was made
            place = replace(place, scan_id=f"scan-{digest_of(place.folder)}")
        is_own = self.is_own_code(place.subject)
        keys = (place.site, place.visit) if is_own else (place.site, place.subject, place.visit)
        if not any(words.stand_in(key) for key in keys):
            return place
        fault = f"a folder is named as the header names the patient: {MEND_KEYS}"
        return replace(place, site="", subject="", visit="", key_fault=fault)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target, follow_symlinks=False)
        target.chmod(0o600)
