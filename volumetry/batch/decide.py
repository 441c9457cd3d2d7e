"""A person's decision on a scan's value: appended to the log; nothing is overwritten."""

from pathlib import Path
from typing import Literal, get_args

from volumetry.batch import records
from volumetry.batch.audit import Entry
from volumetry.batch.current import current_of
from volumetry.batch.derive import derive_again
from volumetry.batch.ledger import held
from volumetry.batch.records import TornError
from volumetry.errors import UsageError

Decision = Literal["accept", "exclude", "repeat"]


def decide(out: Path, scan_id: str, decision: Decision, name: str, reason: str) -> Entry:
    """Append a decision on one scan's present value, and derive the tables.

    The entry names the record's digest and the correction that is counted, if one is, so a decision holds for the
    value that was seen and no later one. The result itself stays as it is; results.csv, queries.csv and
    report.html show the decision at once, and ``decisions.csv`` the last one of every scan. A scan to ``repeat``
    is done again by the next run.

    Parameters
    ----------
    out
        A batch's folder.
    scan_id
        Of the scan.
    decision
        ``accept``, ``exclude`` or ``repeat``.
    name
        Of the person who decides; not empty.
    reason
        Not empty.

    Returns
    -------
    Entry
        As appended to the audit log.

    Raises
    ------
    BusyError
        If a run holds the folder.
    UsageError
        If there is no such result or decision, or name or reason is empty.
    """
    if decision not in get_args(Decision):
        raise UsageError(f"a decision is one of {', '.join(get_args(Decision))}")
    name, reason = " ".join(name.split()), " ".join(reason.split())
    if not name or not reason:
        raise UsageError("a decision needs a name and a reason")
    if not (out / "scans").is_dir():
        raise UsageError("this is not the folder of a batch: it has no scans")
    with held(out) as ledger:
        try:
            record = records.read_record(out / "scans" / scan_id)
        except (FileNotFoundError, NotADirectoryError, TornError) as wrong:
            raise _without_result(out, scan_id) from wrong
        entry = ledger.audit.append(
            "decision",
            reason,
            decision=decision,
            name=name,
            scan_id=record["scan_id"],
            record_sha256=record["sha256"],
            correction=current_of(out, record["scan_id"], ledger.audit).number,
        )
        derive_again(ledger)
    return entry


def _without_result(out: Path, scan_id: str) -> UsageError:
    """Why there is nothing to decide on, and what to do."""
    if (out / "scans" / scan_id).is_dir():
        return UsageError(
            f"the result of the scan {scan_id} is not whole",
            hint="Run the batch again; `volumetry verify` says what is wrong.",
        )
    if scan_id and (out / "earlier" / scan_id).is_dir():
        return UsageError(
            f"there is nothing to decide: the scan {scan_id} was moved to earlier/ and is not in the tables",
            hint="To have it in the tables again, list it and run the batch.",
        )
    return UsageError(f"the batch has no scan {scan_id}", hint="The identifiers are in results.csv.")
