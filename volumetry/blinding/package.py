"""Blinded reading: scans under opaque names in shuffled order, the key in a file of its own.

::

    DIR/manifest.json       readings, their digests, and the sha256 of the key: it cannot be changed unseen later
    DIR/reads.csv           one empty row per reading
    DIR/R0001/00001.dcm ... the slices
    DIR.key/key.csv         which reading is which scan, visit and arm; the seed. Not for readers
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from volumetry import __version__
from volumetry.blinding.deidentify import Disguise, OverlayInPixelsError, cleaned, seconds_of, secret_words
from volumetry.codes import CATALOGUE, About, codes_about, severity_rank
from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.scan.checks.identity import identity_findings
from volumetry.scan.findings import CodedError, refuses
from volumetry.scan.headers.files import list_files
from volumetry.scan.headers.reader import read_header
from volumetry.scan.headers.slice_header import NotSlice, SliceHeader
from volumetry.storage.atomic import prepare_folder, write_json, write_whole
from volumetry.storage.csv_tables import Cell, Problems, csv_bytes, read_table
from volumetry.storage.unfinished import unfinished_folder

SCHEMA = 1
KEY_COLUMNS = ("reading_id", "scan_id", "subject", "visit", "day", "arm", "refused", "reason", "seed", "nonce")
READ_COLUMNS = (
    "reading_id",
    "reader",
    "evaluable",
    "lesion_percent",
    "ground_glass_percent",
    "solid_percent",
    "normal_ct",
    "fibrosis",
    "comment",
)
PLAN_COLUMNS = ("subject", "visit", "day", "arm")
_ELSEWHERE = "Give another folder by --out, or another file by --key."
_NO_SLICES = codes_about(About.OTHER_FILE) - {"ENHANCED_MULTIFRAME"}
"""Files that are certainly no slice of a CT: not copied, and nothing is lost by it."""


class Source(Protocol):
    """A scan to blind: `volumetry.batch.find_scans` gives these."""

    @property
    def scan_id(self) -> str:
        """Its name in results and visits, free of identity."""
        ...

    @property
    def path(self) -> Path:
        """Folder of its files."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scan that is not in the package.

    Parameters
    ----------
    scan_id
        Name of the scan in the results.
    code
        Of the catalogue.
    reason
        In words.
    """

    scan_id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Package:
    """What was made.

    Parameters
    ----------
    folder, key
        The package for the readers, and the key file that is not for them.
    readings
        Scan id by reading id.
    refused
        Scans that could not be blinded.
    """

    folder: Path
    key: Path
    readings: Mapping[str, str]
    refused: tuple[Refusal, ...]


class _NotBlindedError(CodedError):
    """Why one scan cannot be in the package."""


def make_reading_package(
    scans: Iterable[Source],
    out: Path,
    config: Config,
    *,
    seed: int | None = None,
    visits: Path | None = None,
    key: Path | None = None,
) -> Package:
    """Copy scans under opaque names in shuffled order, and write which is which into a key file.

    Parameters
    ----------
    scans
        What to blind.
    out
        The package; must not exist, or be empty. It appears whole or not at all.
    config
        Limits, and what follows from codes.
    seed
        Of the order: the same seed and scans give the same names. None draws one; the key states it.
    visits
        ``visits.csv``: its subjects, visits, days and arms go into the key, and into no kept text of a header.
    key
        Default ``<out>.key/key.csv``. Never inside the package, never overwritten.

    Returns
    -------
    Package
        Where it is, and which scans are in it.

    Raises
    ------
    UsageError
        If the key would lie in the package, or the package in a scan.
    TableError
        If `visits` is broken or names a scan twice.
    InputError
        ``NOTHING_TO_READ`` if no scan can be blinded.
    OutputError
        If something is in the way or cannot be written.
    """
    key = key if key is not None else out.with_name(f"{out.name}.key") / "key.csv"
    sources = list(scans)
    _check_places(sources, out, key)
    plan = _plan(visits)
    seed = secrets.randbits(48) if seed is None else seed
    words = secret_words(cells[name] for cells in plan.values() for name in ("subject", "visit", "arm"))
    prepare_folder(out.parent)
    with unfinished_folder(out.parent) as building:
        readings, refused = _copied(_shuffled(sources, seed), building, words, config)
        if not readings:
            raise _nothing_to_read(refused)
        rows = _key_rows({name: source.scan_id for name, (source, _) in readings.items()}, refused, plan, seed)
        sealed = csv_bytes(KEY_COLUMNS, rows)
        _describe(building, {name: digest for name, (_, digest) in readings.items()}, len(refused), sealed)
        _publish(building, out, key, sealed)
    return Package(out, key, {name: source.scan_id for name, (source, _) in readings.items()}, tuple(refused))


def _nothing_to_read(refused: Sequence[Refusal]) -> InputError:
    """Each reason once, with what the catalogue advises against it."""
    codes = sorted({refusal.code for refusal in refused}, key=severity_rank)
    reasons = "; ".join(
        f"{code}: {next(refusal.reason for refusal in refused if refusal.code == code)}" for code in codes
    )
    advice = dict.fromkeys(CATALOGUE[code].hint for code in codes or ["NOTHING_TO_READ"])
    message = f"no scan can be blinded: {reasons or 'no scans were given'}"
    return InputError(message, "NOTHING_TO_READ", " ".join(advice))


def _check_places(sources: Sequence[Source], out: Path, key: Path) -> None:
    if key.resolve().is_relative_to(out.resolve()):
        raise UsageError("the key must lie outside the package: whoever reads must not hold it")
    if any(out.resolve().is_relative_to(source.path.resolve()) for source in sources):
        raise UsageError("the package must not lie inside a scan's folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("the package's folder is not empty, and nothing is overwritten", hint=_ELSEWHERE)
    if key.exists():
        raise OutputError("there is a key of this name already, and nothing is overwritten", hint=_ELSEWHERE)


def _plan(visits: Path | None) -> dict[str, dict[str, str]]:
    """Subject, visit, day and arm by scan id."""
    if visits is None:
        return {}
    table = read_table(visits, ("scan_id",))
    problems = Problems(table.name)
    plan: dict[str, dict[str, str]] = {}
    for row in table.rows:
        scan_id = row.cells["scan_id"]
        if scan_id in plan:
            problems.add(row.number, "scan_id", "this scan is named twice")
        if scan_id:
            plan[scan_id] = {name: row.cells.get(name, "") for name in PLAN_COLUMNS}
    problems.raise_if_any()
    return plan


def _shuffled(sources: Sequence[Source], seed: int) -> list[Source]:
    """Order by the hash of seed and name: as good as drawn at random, and the same with every library version."""
    return sorted(sources, key=lambda source: hashlib.sha256(f"{seed}\0{source.scan_id}".encode()).digest())


def _copied(
    sources: Sequence[Source], building: Path, words: frozenset[str], config: Config
) -> tuple[dict[str, tuple[Source, str]], list[Refusal]]:
    """Scan and digest by reading id, and what was refused."""
    readings: dict[str, tuple[Source, str]] = {}
    refused: list[Refusal] = []
    secret = secrets.token_bytes(32)
    for source in sources:
        reading_id = f"R{len(readings) + 1:04d}"
        folder = building / reading_id
        try:
            headers = _slices(source.path, config)
            disguise = Disguise(reading_id, secret, words | secret_words([source.scan_id]))
            readings[reading_id] = source, _copy(headers, folder, disguise)
        except _NotBlindedError as stop:
            shutil.rmtree(folder, ignore_errors=True)
            refused.append(Refusal(source.scan_id, stop.code, stop.message))
    return readings, refused


def _slices(folder: Path, config: Config) -> list[SliceHeader]:
    """Every CT image of a scan, if nothing stands against giving it to a reader."""
    if folder.is_file():
        raise _NotBlindedError(
            "EMPTY_INPUT", "only folders of DICOM are blinded: unpack the archive, or give the folder"
        )
    listing = list_files(folder, config.limits)
    _stop_at(listing.findings(config))
    read = [read_header(file, config.limits) for file in listing.files]
    for file in read:
        if isinstance(file, NotSlice) and file.code not in _NO_SLICES:
            raise _NotBlindedError(file.code, f"a file that may be a slice cannot be cleaned: {file.message}")
    headers = [header for header in read if isinstance(header, SliceHeader)]
    if not headers:
        raise _NotBlindedError("EMPTY_INPUT", "no CT image was found")
    if any(header.burned_in for header in headers):
        raise _NotBlindedError("BURNED_IN", "BurnedInAnnotation (0028,0301) says that identity is in the pixels")
    _stop_at(tuple(identity_findings(headers, config)))
    faulty = next((header.faults[0] for header in headers if header.faults), None)
    if faulty is not None:
        raise _NotBlindedError(faulty.code, faulty.message)
    return sorted(headers, key=lambda h: (h.instance_number is None, h.instance_number or 0))


def _stop_at(findings: Sequence[Finding]) -> None:
    if refuses(findings):
        worst = next(finding for finding in findings if refuses([finding]))
        raise _NotBlindedError(worst.code, worst.message)


def _copy(headers: Sequence[SliceHeader], folder: Path, disguise: Disguise) -> str:
    """Write the slices; digest of their digests, in the order of their names."""
    times = [seconds for h in headers if (seconds := seconds_of(h.acquisition_time)) is not None]
    disguise = replace(disguise, start_s=min(times, default=0.0))
    prepare_folder(folder)
    whole = hashlib.sha256()
    for number, header in enumerate(headers, start=1):
        try:
            content = cleaned(header, disguise)
        except OverlayInPixelsError as stop:
            raise _NotBlindedError("BURNED_IN", "graphics lie in unused bits of the pixels") from stop
        except Exception as wrong:  # noqa: BLE001  a hostile header raises anything, and the text may carry values
            raise _NotBlindedError("MALFORMED", f"a header cannot be cleaned ({type(wrong).__name__})") from None
        whole.update(bytes.fromhex(write_whole(folder / f"{number:05d}.dcm", content)))
    return whole.hexdigest()


def _key_rows(
    readings: Mapping[str, str], refused: Sequence[Refusal], plan: Mapping[str, Mapping[str, str]], seed: int
) -> list[dict[str, Cell]]:
    # The nonce keeps the key's digest, which readers hold, from being guessed by trying orders.
    sealed: dict[str, Cell] = {"seed": str(seed), "nonce": secrets.token_hex(16)}
    rows: list[dict[str, Cell]] = [
        {"reading_id": reading, "scan_id": scan_id, **plan.get(scan_id, {}), **sealed}
        for reading, scan_id in readings.items()
    ]
    for refusal in refused:
        why: dict[str, Cell] = {"refused": refusal.code, "reason": refusal.reason}
        rows.append({"scan_id": refusal.scan_id, **plan.get(refusal.scan_id, {}), **why, **sealed})
    return rows


def _describe(folder: Path, digests: Mapping[str, str], refused: int, sealed: bytes) -> None:
    manifest = {
        "schema": SCHEMA,
        "readings": {name: {"slices_sha256": digest} for name, digest in digests.items()},
        "scans_left_out": refused,
        "key_sha256": hashlib.sha256(sealed).hexdigest(),
        "software_version": __version__,
    }
    write_json(folder / "manifest.json", manifest)
    write_whole(folder / "reads.csv", csv_bytes(READ_COLUMNS, [{"reading_id": name} for name in digests]))


def _publish(building: Path, out: Path, key: Path, sealed: bytes) -> None:
    """The key first: a package without its key could never be opened again."""
    prepare_folder(key.parent)
    write_whole(key, sealed)
    try:
        os.rename(building, out)
    except OSError as wrong:
        with contextlib.suppress(OSError):
            key.unlink()
        raise OutputError(f"cannot put the package in its place: {wrong.strerror}") from wrong
