"""A finished correction on the disk, checked and described for the log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from volumetry.batch import records
from volumetry.batch.current import CORRECTIONS
from volumetry.batch.records import TornError
from volumetry.storage.atomic import numbered


def corrections_on_disk(out: Path, scan_id: str) -> Iterator[Path]:
    """Numbered folders of a scan's corrections, the first first."""
    yield from numbered(out / CORRECTIONS / scan_id)


def strays(out: Path) -> Iterator[Path]:
    """Corrections beside a scan's result, as earlier versions wrote them and as the Python function does."""
    for beside in sorted((out / "scans").glob(f"*/{CORRECTIONS}")):
        yield from numbered(beside)


def facts_of(out: Path, scan_id: str, folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The reader's reason, and what else the log says of a correction.

    None if it is not whole, or no automatic result of the scan is its base.
    """
    try:
        run = json.loads((folder / "run.json").read_bytes())
        document = json.loads((folder / "result.json").read_bytes())
        digests = records.digests_of(folder)
        listed = dict(run["files_sha256"])
        whole = all(digests.get(name) == sha256 for name, sha256 in listed.items()) and "result.json" in listed
        base = _record_with_mask(out, scan_id, document["corrected_from"])
        if not whole or base is None or document["scan_id"] != scan_id:
            return None
        return document["reason"], {
            "scan_id": scan_id,
            "correction": int(folder.name),
            "place": str(folder.relative_to(out)),
            "reader": document["corrected_by"],
            "corrected": run["written"],
            "measured_with": run["software_version"],
            "record_sha256": base["sha256"],
            "input_sha256": document["provenance"]["input_sha256"],
            "files_sha256": digests,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record_with_mask(out: Path, scan_id: str, mask_sha256: str) -> records.Record | None:
    """The record of the automatic result that has this mask; the present one before earlier ones."""
    earlier = reversed(numbered(out / "earlier" / scan_id))
    for folder in (out / "scans" / scan_id, *earlier):
        try:
            record = records.read_record(folder)
            document = json.loads((folder / "result.json").read_bytes())
            if document["provenance"]["mask_sha256"] == mask_sha256:
                return record
        except (OSError, ValueError, KeyError, TypeError, TornError):
            continue
    return None
