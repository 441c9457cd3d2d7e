"""The scan list: a folder tree, or a list that names scans, their folders and the study's own keys."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from volumetry.batch.find import ScanFolder, find_scans, is_scan_file
from volumetry.errors import UsageError
from volumetry.scan.scan_id import MOST_BYTES, readable_id, scan_ids
from volumetry.storage.any_table import Line, columns_by_name, read_list, shown

COLUMNS = ("scan_id", "path", "subject", "visit", "site")
ALIASES = {
    "scan_id": ("scan_id", "scan"),
    "path": ("path", "folder"),
    "subject": ("usubjid", "subjid", "subject", "subject_id"),
    "visit": ("visit", "visitnum"),
    "site": ("siteid", "site"),
}
"""Other names of the columns, those of SDTM among them; of the long and the short name the first counts."""
PROPOSED = (
    *("use", "reason", "delivery", "study", "acquisition_date", "series", "images", "spacing_mm", "thickness_mm"),
    *("kernel", "verdict", "same_images_as", "patient_digest", "expected"),
)
"""Columns of `volumetry intake` for the person who confirms the list; ``use`` can leave a line out."""
_YES, _NO = ("", "yes", "y", "true", "1", "tie"), ("no", "n", "false", "0")
"""What stands in ``use``: of a tie that nobody has decided, every series is measured."""


def list_scans(
    source: Path, layout: str | None = None, is_own_code: Callable[[str], bool] = lambda _: False
) -> list[ScanFolder]:
    """Every scan of a folder tree or of a manifest; or the one scan that a file is.

    Parameters
    ----------
    source
        Folder, manifest, or file of one scan.
    layout
        Of a folder tree: pattern of `volumetry.batch.layout.Layout` for site, subject and visit.
    is_own_code
        Of a folder tree: as for `find_scans`.

    Returns
    -------
    list[ScanFolder]
        With ids that differ.

    Raises
    ------
    UsageError
        If it is neither, the manifest is wrong (every wrong line is named), or a layout is given with one.
    """
    if source.is_dir():
        return find_scans(source, layout, is_own_code)
    if source.is_file() and (is_workbook(source) or not is_scan_file(source)):
        if layout is not None:
            raise UsageError(
                "a layout describes a folder tree; a manifest has columns for site, subject and visit"
            )
        return read_manifest(source)
    if source.is_file():
        return find_scans(source, layout, is_own_code)
    raise UsageError(f"{source.name} is neither a folder, nor a scan in one file, nor a CSV manifest")


def read_manifest(path: Path) -> list[ScanFolder]:
    """Scans of a list with the column ``path`` and, if wanted, ``scan_id,subject,visit,site``.

    CSV with commas, semicolons or tabs in UTF-8 or UTF-16, or the first sheet of an XLSX workbook; for other
    names of the columns see `ALIASES`. Paths are relative to the manifest's own folder. The ids are the user's:
    what is in the manifest is taken to be free of identity. Without the column ``scan_id`` they are made from the
    paths, as for a folder tree. A folder that is missing still gets a row. A line of `volumetry intake` with
    ``no`` in the column ``use`` is left out.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    list[ScanFolder]
        In the order of the lines.

    Raises
    ------
    UsageError
        Naming line and column, never a value.
    """
    lines = read_list(path)
    scans = list(_scans(lines, path)) if lines else []
    if not scans:
        raise UsageError(f"{path.name} lists no scan")
    return scans


def is_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook by its name; its first bytes are those of any ZIP.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    bool
        True for ``.xlsx`` and ``.xlsm``.
    """
    return path.suffix.casefold() in (".xlsx", ".xlsm")


def _scans(lines: Sequence[Line], path: Path) -> Iterator[ScanFolder]:
    places = _places(lines[0].cells, path)
    used: dict[str, int] = {}
    rows = [row for row in _rows(lines, places, path) if row[1].pop("use")]
    if "scan_id" not in places:
        _refuse_same_path(rows, path)
    made = iter(_made_ids([cells for _, cells in rows], path) if "scan_id" not in places else ())
    for number, cells in rows:
        scan_id = unicodedata.normalize("NFC", cells.get("scan_id") or next(made, ""))
        if not _is_safe(scan_id):
            raise UsageError(f"{path.name} line {number}: scan_id must be letters, digits, dot, dash, underline")
        if scan_id.casefold() in used:
            raise UsageError(f"{path.name} line {number}: the scan_id of line {used[scan_id.casefold()]} again")
        used[scan_id.casefold()] = number
        more = {name: unicodedata.normalize("NFC", cells.get(name, "")) for name in ("subject", "visit", "site")}
        yield ScanFolder(scan_id, _there(path.parent, cells["path"]), **more, folder=cells["path"])


def _refuse_same_path(rows: Sequence[tuple[int, Mapping[str, str]]], path: Path) -> None:
    """Without ids of their own, two lines of one path would be one scan."""
    named: dict[Path, int] = {}
    for number, cells in rows:
        place = _there(path.parent, cells["path"])
        if place in named:
            raise UsageError(
                f"{path.name} line {number}: the path of line {named[place]} again",
                hint="List each scan once, or give the lines different identifiers in a column scan_id.",
            )
        named[place] = number


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    """Index of each column; raises UsageError unless the header is one of a manifest."""
    aliases: Mapping[str, Sequence[str]] = {**ALIASES, **dict.fromkeys(PROPOSED, ())}
    wanted = f"needs the columns path and, if wanted, {', '.join(name for name in COLUMNS if name != 'path')}"
    try:
        places, others = columns_by_name(header, aliases)
    except ValueError as twice:
        raise UsageError(f"{path.name} {wanted}, each once: {twice} is there twice") from None
    if "path" not in places:
        raise UsageError(f"{path.name} {wanted}, each once")
    if others:
        named = ", ".join(f"{name or 'one without a name'}" for name in others.values())
        raise UsageError(
            f"{path.name} has columns that are none of {', '.join(COLUMNS)}: {named}",
            hint="Remove these columns or give them one of the names above, so that none is passed over.",
        )
    return places


def _rows(lines: Sequence[Line], places: Mapping[str, int], path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of every line; ``use`` is there where the line is not left out."""
    for line in lines[1:]:
        if len(line.cells) != len(lines[0].cells):
            raise UsageError(f"{path.name} line {line.number}: not as many cells as columns")
        cells = {name: shown(line.cells[at], path) for name, at in places.items() if name in (*COLUMNS, "use")}
        use = cells.get("use", "").casefold()
        if use not in (*_YES, *_NO):
            raise UsageError(f"{path.name} line {line.number}: use must be yes or no")
        if not cells["path"]:
            raise UsageError(f"{path.name} line {line.number}: path is empty")
        yield line.number, {**cells, "use": "" if use in _NO else "yes"}


def _made_ids(rows: Sequence[Mapping[str, str]], path: Path) -> list[str]:
    """Ids of scans that the manifest gives none, from their paths below its folder."""
    pairs = []
    for cells in rows:
        place = _there(path.parent, cells["path"])
        given = PurePath(cells["path"].replace("\\", "/"))
        pairs.append((place, Path(place.name) if given.is_absolute() or ".." in given.parts else Path(given)))
    return scan_ids(pairs)


def _there(folder: Path, text: str) -> Path:
    """The place that a cell names, also where it was written on Windows or in another form of Unicode."""
    forms = [text, text.replace("\\", "/")]
    forms += [unicodedata.normalize(form, other) for other in forms for form in ("NFC", "NFD")]
    return next((folder / other for other in forms if (folder / other).exists()), folder / text)


def _is_safe(scan_id: str) -> bool:
    """Whether an id is a name of a file everywhere; that of a folder would be the same."""
    readable = readable_id(scan_id)
    return bool(readable) and readable == scan_id.rstrip("._-") and len(scan_id.encode()) <= MOST_BYTES
