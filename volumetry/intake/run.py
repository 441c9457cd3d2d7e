"""The whole intake in one call: a folder of deliveries in, a list to confirm and the series it names out.

::

    OUT/manifest.csv        one line per series; `volumetry batch` takes it as it is, or as a person changed it
    OUT/series/<n>/         the files of one series
    OUT/sources.csv         where each line came from; it can name patients
    OUT/expected.csv        expected visits against what was delivered, with a list of them
    OUT/dictionary.csv      what the columns of these tables hold
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from volumetry.batch.expected import plain_visit, read_expected, subjects_of
from volumetry.batch.manifest import PROPOSED
from volumetry.config import Config
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes
from volumetry.errors import UsageError
from volumetry.intake.expected import COLUMNS as OF_VISITS
from volumetry.intake.expected import Visit, compared
from volumetry.intake.proposal import Line, proposals, with_same_images
from volumetry.intake.series import Splitter
from volumetry.scan.scan_id import MOST_BYTES, readable_id
from volumetry.storage.atomic import write_whole
from volumetry.storage.csv_tables import Cell, csv_bytes
from volumetry.storage.placing import new_result

MANIFEST, SERIES, SOURCES, EXPECTED = "manifest.csv", "series", "sources.csv", "expected.csv"
COLUMNS = ("scan_id", "path", "site", "subject", "visit", *PROPOSED)
OF_SOURCES = ("scan_id", "folder")


@dataclass(frozen=True, slots=True)
class Intake:
    """What was found.

    Parameters
    ----------
    manifest
        The list to confirm.
    lines
        Its lines.
    visits
        Expected visits, and others that were delivered; None without a list of them.
    key_faults
        By scan id, why subject and visit could not be read from the path.
    others
        Files of all deliveries that belong to no series.
    """

    manifest: Path
    lines: tuple[Line, ...]
    visits: tuple[Visit, ...] | None
    key_faults: dict[str, str]
    others: int

    def subjects_of_one_patient(self) -> list[tuple[str, ...]]:
        """Subjects whose scans state the same patient in their headers: mixed up, or de-identified all alike.

        Returns
        -------
        list[tuple[str, ...]]
            One for each such patient.
        """
        subjects: dict[str, dict[str, None]] = defaultdict(dict)
        for line in self.lines:
            if line.series.patient and line.series.place.subject:
                subjects[line.series.patient][line.series.place.subject] = None
        return [tuple(names) for names in subjects.values() if len(names) > 1]


def intake(
    deliveries: Path,
    out: Path,
    config: Config,
    *,
    layout: str | None = None,
    expected: Path | None = None,
    on_place: Callable[[str], None] = lambda _: None,
) -> Intake:
    """Unpack and split deliveries, and propose what to measure.

    Nothing is changed where the deliveries lie. Every series gets a folder of its own, as links to the same
    content where the disk has them (the deliveries then need to stay as they are), and as copies elsewhere.

    Parameters
    ----------
    deliveries
        Folder of what sites sent: folders, ZIPs, media exports, volume files.
    out
        A new folder; or the name of the manifest, ending in ``.csv``, and the folder beside it has its stem.
    config
        The trial's settings: what refuses, limits, and ``[select]``.
    layout
        Pattern of `volumetry.batch.layout.Layout` for site, subject and visit.
    expected
        List of the visits that were expected.
    on_place
        Called with words on the progress.

    Returns
    -------
    Intake
        What was found; the files are written.

    Raises
    ------
    UsageError
        If there is nothing to take in, a list is wrong, or the manifest is there already.
    OutputError
        If something cannot be written.
    """
    if not deliveries.exists():
        raise UsageError(f"{deliveries.name} is neither a folder nor a file")
    in_file = out.suffix.casefold() == ".csv"
    folder, manifest = (out.with_suffix(""), out) if in_file else (out, out / MANIFEST)
    if manifest.exists():
        raise UsageError(f"{manifest.name} exists already and may have been edited: give another place")
    if folder.resolve().is_relative_to(deliveries.resolve()):
        raise UsageError("the deliveries must not contain the output: the next intake would take it in")
    wanted = None if expected is None else read_expected(expected)
    with new_result(folder, (SERIES, SOURCES, EXPECTED, DICTIONARY)) as making:
        (making / SERIES).mkdir(mode=0o700)
        splitter = Splitter(making / SERIES, config, subjects_of(wanted or ()))
        series = list(splitter.series_below(deliveries, layout, on_place))
        if not series:
            raise UsageError(f"{deliveries.name} does not contain a scan")
        lines = with_same_images(_named(proposals(series, config)))
        visits = None if wanted is None else tuple(compared(wanted, lines))
        _sync(making / SERIES)
        write_whole(making / SOURCES, csv_bytes(OF_SOURCES, map(_source, lines)))
        described = {MANIFEST: COLUMNS, SOURCES: OF_SOURCES}
        if visits is not None:
            write_whole(making / EXPECTED, csv_bytes(OF_VISITS, map(_visit, visits)))
            described[EXPECTED] = OF_VISITS
        write_whole(making / DICTIONARY, dictionary_bytes("intake", described))
        states = {plain_visit(visit.subject, visit.visit): visit.state for visit in visits or ()}
        lines = [_final(line, making, folder) for line in lines]
    write_whole(manifest, csv_bytes(COLUMNS, [_row(line, manifest.parent, states) for line in lines]))
    faults = {line.scan_id: line.series.place.key_fault for line in lines if line.series.place.key_fault}
    others = {line.series.place.path: line.series.others for line in lines}
    return Intake(manifest, tuple(lines), visits, faults, sum(others.values()))


def _named(lines: Sequence[Line]) -> list[Line]:
    """With an id each: subject and visit where both are known, otherwise the place's; numbered from the second."""
    used: Counter[str] = Counter()
    named = []
    for line in lines:
        place = line.series.place
        wanted = readable_id(f"{place.subject}_{place.visit}") if place.subject and place.visit else ""
        base = wanted or place.scan_id
        used[base.casefold()] += 1
        scan_id = base if used[base.casefold()] == 1 else _numbered(base, used)
        named.append(replace(line, scan_id=scan_id))
    return named


def _numbered(base: str, used: Counter[str]) -> str:
    """The next id after a base that nobody has."""
    start = base.encode()[: MOST_BYTES - 8].decode("utf-8", "ignore")
    while f"{start}_{used[base.casefold()]}".casefold() in used:
        used[base.casefold()] += 1
    scan_id = f"{start}_{used[base.casefold()]}"
    used[scan_id.casefold()] += 1
    return scan_id


def _final(line: Line, making: Path, folder: Path) -> Line:
    """With the path that a series has once its folder has its name."""
    path = line.series.path
    if not path.is_relative_to(making):
        return line
    return replace(line, series=replace(line.series, path=folder / path.relative_to(making)))


def _row(line: Line, beside: Path, states: dict[tuple[str, str], str]) -> dict[str, Cell]:
    series, place = line.series, line.series.place
    info = series.info
    return {
        "scan_id": line.scan_id,
        "path": os.path.relpath(series.path.absolute(), beside.absolute()),
        "site": place.site,
        "subject": place.subject,
        "visit": place.visit,
        "use": line.use,
        "reason": line.reason,
        "delivery": place.scan_id,
        "study": series.study,
        "acquisition_date": None if info is None else info.acquisition_date,
        "series": series.series_uid,
        "images": series.images or None,
        "spacing_mm": None if info is None else info.spacing_kji_mm[0],
        "thickness_mm": None if info is None else info.thickness_mm,
        "kernel": None if info is None else info.kernel,
        "verdict": series.verdict,
        "same_images_as": ";".join(line.same_images),
        "patient_digest": series.patient,
        "expected": states.get(plain_visit(place.subject, place.visit), "") if place.subject else "",
    }


def _source(line: Line) -> dict[str, Cell]:
    return {"scan_id": line.scan_id, "folder": line.series.place.folder}


def _visit(visit: Visit) -> dict[str, Cell]:
    return {
        "subject": visit.subject,
        "visit": visit.visit,
        "state": visit.state,
        "scan_ids": ";".join(visit.scan_ids),
    }


def _sync(folder: Path) -> None:
    """Put what was unpacked on the disk before the list names it."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
