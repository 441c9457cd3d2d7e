"""Readers' corrections of a batch's scans: entered in the log, and kept where no run moves them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from volumetry.batch import audit, records
from volumetry.batch.audit import Entry
from volumetry.batch.current import CORRECTIONS, current_of
from volumetry.batch.derive import derive_again
from volumetry.batch.ledger import Ledger, held
from volumetry.batch.records import TornError
from volumetry.errors import UsageError

Made = TypeVar("Made")


def batch_of(result: Path) -> Path | None:
    """The batch's folder, if a result's folder is that of one of its scans.

    Parameters
    ----------
    result
        Folder of a result.

    Returns
    -------
    Path or None
        None for a result of its own.

    Raises
    ------
    UsageError
        If the folder belongs to a batch, but is not the present result of a scan: a correction written there would
        not be counted, and would change what the log has sealed.
    """
    whole = result.resolve()
    out = whole.parent.parent
    in_batch = whole.parent.name == "scans" and (out / audit.NAME).is_file() and (whole / records.NAME).is_file()
    if in_batch:
        return out
    kept, scan_id = whole.parent.parent.name, whole.parent.name
    if kept in ("earlier", CORRECTIONS) and (whole.parent.parent.parent / audit.NAME).is_file():
        raise UsageError(
            f"{kept}/{scan_id}/{whole.name} of this batch is kept as it is, and a correction there is not counted",
            hint=f"Give scans/{scan_id} of the batch as the result; the mask may be an edit of any result of it.",
        )
    return None


def correct(out: Path, scan_id: str, make: Callable[[Path], Made]) -> tuple[Made, Entry, str]:
    """Let a correction of one scan be made, enter it in the log, and derive the tables.

    Parameters
    ----------
    out
        A batch's folder.
    scan_id
        Of the scan.
    make
        Writes one correction as a numbered folder into the folder that it is given, whole or not at all, such as
        `volumetry.remeasure.remeasure`.

    Returns
    -------
    made, entry, note
        What `make` returned, the log's last entry on a correction of this scan, and why it is not counted, if so.

    Raises
    ------
    BusyError
        If a run holds the folder.
    UsageError
        If the log does not know the scan's present result.
    """
    with held(out) as ledger:
        _require_recorded(ledger, scan_id)
        try:
            made = make(out / CORRECTIONS / scan_id)
        finally:  # what was written is entered also where a later step, such as DICOM, failed
            if ledger.enter_corrections(scan_id):
                derive_again(ledger)
        note = current_of(out, scan_id, ledger.audit).note
        return made, ledger.audit.corrections[scan_id][-1], note


def corrections_of(out: Path, scan_id: str) -> tuple[Path, int | None, str]:
    """Where the corrections of a scan lie, and which one counts now.

    Parameters
    ----------
    out
        A batch's folder.
    scan_id
        Of the scan.

    Returns
    -------
    folder, number, note
        Of the numbered folders; of the correction whose value counts, None if the automatic value does; and what
        is to be said of it.

    Raises
    ------
    OutputError
        If the log cannot be read.
    """
    current = current_of(out, scan_id, audit.Audit.opened(out))
    return out / CORRECTIONS / scan_id, current.number, current.note


def _require_recorded(ledger: Ledger, scan_id: str) -> None:
    try:
        known = records.read_record(ledger.out / "scans" / scan_id)["sha256"]
    except (FileNotFoundError, NotADirectoryError, TornError):
        known = ""
    if known != ledger.audit.recorded.get(scan_id):
        raise UsageError(
            f"the batch's log does not hold the present result of {scan_id}",
            hint="Run the batch again; `volumetry verify` says what is wrong.",
        )
