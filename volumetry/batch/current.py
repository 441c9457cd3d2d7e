"""What counts for a scan now: the automatic value or a reader's, and the decision that was made on that value.

A correction outlives a rerun, because a reader's mask is one of the images and not of the model. It is counted as
long as the scan still has a number, of the same images, under the same [measure] settings; otherwise the automatic
value counts, and a note says why. Only the last correction of a scan can count.

``exclude`` speaks of the images: it outlives another model or setting, and is outdated by other images or by a new
correction. ``accept`` speaks of the value that was seen: it outlives as long as that reader's value counts, and an
accepted automatic value only until the scan is measured again. ``repeat`` speaks of the automatic result, and is
done once; an exclusion before it is then outdated. A scan with an outdated exclusion is used by nobody until a
person decides again: `volumetry.deliver.people.left_out` says so for every reader of the tables.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.batch.audit import Audit, Entry
from volumetry.batch.records import Record, TornError, read_record
from volumetry.deliver.people import READER
from volumetry.domain import Status
from volumetry.storage.digests import file_sha256

CORRECTIONS = "corrections"
"""``OUT/corrections/<scan_id>/<n>/``: a reader's results; no run ever moves them."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Current:
    """What people said of one scan, as far as it concerns the value that counts.

    Parameters
    ----------
    correction
        The correction whose value counts; None where the automatic one does.
    note
        Of a correction: that it was made on an earlier automatic result, or why the last one is not counted.
    decision
        The last decision, if it holds for this value.
    outdated
        The last decision, if it was made on an earlier value.
    """

    correction: Entry | None = None
    note: str = ""
    decision: Entry | None = None
    outdated: Entry | None = None

    @property
    def number(self) -> int | None:
        """Of the correction that counts."""
        return None if self.correction is None else int(self.correction["correction"])

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of `volumetry.deliver.people.COLUMNS`."""
        decision, correction = self.decision or {}, self.correction or {}
        return (
            *(str(decision.get(key, "")) for key in ("decision", "name", "time", "reason")),
            "" if self.outdated is None else in_words(self.outdated),
            *(str(correction.get(key, "")) for key in ("reader", "corrected", "reason", "measured_with", "place")),
            self.note,
        )


def in_words(decision: Entry) -> str:
    """A decision with who, when and why."""
    return f"{decision['decision']} by {decision['name']} on {decision['time'][:10]}: {decision['reason']}"


def current_of(out: Path, scan_id: str, audit: Audit) -> Current:
    """What counts for a scan of a batch; without a whole record nothing that people said can be of it."""
    if scan_id not in audit.decisions and scan_id not in audit.corrections:
        return Current()
    try:
        record = read_record(out / "scans" / scan_id)
    except (FileNotFoundError, NotADirectoryError, TornError):
        return Current(outdated=audit.decisions.get(scan_id))
    made = audit.corrections.get(scan_id, [])
    correction, note = _counting(out, record, made[-1]) if made else (None, "")
    decision = audit.decisions.get(scan_id)
    if decision is None:
        return Current(correction, note)
    number = None if correction is None else correction["correction"]
    of_this_result = decision["record_sha256"] == record["sha256"]
    if decision["decision"] == "repeat":  # of the automatic result; it ends when that is measured again
        if of_this_result:
            return Current(correction, note, decision, audit.excluded.get(scan_id))
        return Current(correction, note, outdated=audit.excluded.get(scan_id))
    stands = of_this_result
    if decision["decision"] == "exclude":
        stands = audit.images.get(decision["record_sha256"]) == record["input_sha256"]
    elif number is not None:
        stands = True
    if stands and decision.get("correction") == number:
        return Current(correction, note, decision)
    return Current(correction, note, outdated=decision)


def current_document(out: Path, scan_id: str, current: Current) -> Document:
    """result.json of the value that counts, with the present automatic numbers beside a reader's."""
    automatic: Document = json.loads((out / "scans" / scan_id / "result.json").read_bytes())
    if current.correction is None:
        return automatic
    corrected: dict[str, Any] = json.loads((out / current.correction["place"] / "result.json").read_bytes())
    beside = {key: automatic[key] for key in ("status", "volumes_ml", "percent_of_lung")}
    return corrected | {"reading": READER, "automatic": beside}


def _counting(out: Path, record: Record, last: Entry) -> tuple[Entry | None, str]:
    """The correction, if its value counts, and what is to be said of it."""
    reason = _why_not(out, record, last)
    if reason:
        return None, f"correction {last['correction']} by {last['reader']} is not counted: {reason}"
    if last["record_sha256"] != record["sha256"]:
        return last, f"made on an earlier automatic result (record {last['record_sha256'][:12]})"
    return last, ""


def _why_not(out: Path, record: Record, last: Entry) -> str:
    if record["status"] not in (Status.MEASURED, Status.REVIEW):
        return f"the present automatic result has no number ({record['code']})"
    if record["input_sha256"] != last["input_sha256"]:
        return "it was drawn on other images"
    try:
        whole = file_sha256(out / last["place"] / "result.json") == last["files_sha256"]["result.json"]
        rules = [
            json.loads((folder / "run.json").read_bytes())["config"]["measure"]
            for folder in (out / "scans" / record["scan_id"], out / last["place"])
        ]
    except (OSError, ValueError, KeyError, TypeError):
        whole, rules = False, []
    if not whole:
        return "its files are missing or were changed"
    return "" if rules[0] == rules[1] else "it was counted under other [measure] settings"
