"""One scan of a batch: its record, its automatic result, its corrections and decisions, and what was set aside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volumetry.batch import audit, records
from volumetry.batch.audit import Audit, Entry
from volumetry.batch.current import Current, current_document, current_of
from volumetry.batch.records import TornError

_PROVENANCE = (
    *(
        "software_version",
        "model",
        "model_sha256",
        "config_sha256",
        "input_sha256",
        "pixels_sha256",
        "mask_sha256",
    ),
    *("device", "precision", "created"),
)
_SETTLED = ("scan_recorded", "scan_set_aside", "decision", "correction_recorded")

Trace = dict[str, Any]


class Batch:
    """A batch's folder, read once.

    Parameters
    ----------
    out
        The folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.audit = Audit.opened(out)
        self.by_scan: dict[str, list[Entry]] = {}
        for _, entry in audit.entries(out / audit.NAME):
            if entry is not None and entry["action"] in _SETTLED:
                self.by_scan.setdefault(entry["scan_id"], []).append(entry)

    def scan(self, scan_id: str) -> Trace:
        """Everything that is on record of one scan; what cannot be read is said, not raised.

        Parameters
        ----------
        scan_id
            Of the scan.

        Returns
        -------
        Trace
            What json can write.
        """
        folder = self.out / "scans" / scan_id
        trace: Trace = {"scan_id": scan_id, "folder": f"scans/{scan_id}"}
        try:
            record = records.read_record(folder)
            automatic = json.loads((folder / "result.json").read_bytes())
            current = current_of(self.out, scan_id, self.audit)
            document = current_document(self.out, scan_id, current)
        except (FileNotFoundError, NotADirectoryError, TornError, OSError, ValueError, KeyError):
            return trace | {
                "remark": "the batch does not contain a complete result of this scan; `volumetry verify` says more"
            }
        log = self.by_scan.get(scan_id, [])
        trace["record_sha256"] = record["sha256"]
        trace["recorded"] = [_entered(e) for e in log if e["action"] == "scan_recorded"][-1:]
        trace["as_recorded"] = self._is_as_recorded(folder, record)
        trace["value"] = {"reading": document.get("reading", "automatic"), **_numbers(document)}
        trace["automatic"] = _automatic(automatic)
        trace["corrections"] = [self._correction(e, current) for e in log if e["action"] == "correction_recorded"]
        trace["decisions"] = [_decision(e, current) for e in log if e["action"] == "decision"]
        trace["set_aside"] = [_aside(e) for e in log if e["action"] == "scan_set_aside"]
        if current.note:
            trace["note"] = current.note
        return trace

    def _is_as_recorded(self, folder: Path, record: records.Record) -> bool:
        known = self.audit.recorded.get(record["scan_id"]) == record["sha256"]
        return known and not records.file_faults(folder, record)

    def _correction(self, entry: Entry, current: Current) -> Trace:
        own = current.correction is not None and current.correction["n"] == entry["n"]
        try:
            numbers = _numbers(json.loads((self.out / entry["place"] / "result.json").read_bytes()))
            whole = records.digests_of(self.out / entry["place"]) == entry["files_sha256"]
        except (OSError, ValueError):
            numbers, whole = {}, False
        return {
            "correction": entry["correction"],
            "counted": own,
            "reader": entry["reader"],
            "reason": entry["reason"],
            "measured": entry["corrected"],
            "measured_with": entry["measured_with"],
            "folder": entry["place"],
            "of_record_sha256": entry["record_sha256"],
            "as_recorded": whole,
            **numbers,
            **_entered(entry),
        }


def _automatic(document: Mapping[str, Any]) -> Trace:
    made = document.get("provenance", {})
    trace: Trace = {"status": document["status"]}
    if document.get("code"):
        trace["code"] = document["code"]
    trace["flags"] = [flag["code"] for flag in document["flags"] if flag["severity"] != "look"]
    return {
        **trace,
        **_numbers(document),
        **{name: made[name] for name in _PROVENANCE if made.get(name) is not None},
    }


def _numbers(document: Mapping[str, Any]) -> Trace:
    if "volumes_ml" not in document:
        return {}
    own = {key: document[key] for key in ("volumes_ml", "percent_of_lung")}
    return own | {"component_rule": document["component_rule"]}


def _decision(entry: Entry, current: Current) -> Trace:
    holds = current.decision is not None and current.decision["n"] == entry["n"]
    return {
        "decision": entry["decision"],
        "holds": holds,
        "by": entry["name"],
        "reason": entry["reason"],
        "of_record_sha256": entry["record_sha256"],
        "of_correction": entry.get("correction"),
        **_entered(entry),
    }


def _aside(entry: Entry) -> Trace:
    return {"folder": entry["to"], "reason": entry["reason"], **_entered(entry)}


def _entered(entry: Entry) -> Trace:
    return {"log_entry": entry["n"], "time": entry["time"], "user": entry["user"]}
