"""Two batches' folders compared byte for byte, run times and time stamps aside."""

import csv
import hashlib
import io
import json
from pathlib import Path

_TIMES = {"timing_s", "peak_memory_mb", "created", "written", "sha256", "listing_sha256"}


def tree_of(out: Path) -> dict[str, str]:
    """Every file of a batch with the digest of its content without times; the log, a list of times, is left out.

    Digests of files that hold times (result.json, results.csv, run.json) are left out of the records too.
    """
    tree = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_dir():
            tree[name] = "folder"
        elif name not in ("audit.jsonl",):
            tree[name] = hashlib.sha256(_without_times(path)).hexdigest()
    return tree


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_stripped(json.loads(content)), sort_keys=True).encode()
    if path.name == "results.csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        kept = [{k: v for k, v in row.items() if not any(t in k.split(".") for t in _TIMES)} for row in rows]
        return json.dumps(kept).encode()
    return content


def _stripped(value):
    if not isinstance(value, dict):
        return value
    kept = {k: _stripped(v) for k, v in value.items() if k not in _TIMES}
    if "files_sha256" in kept:
        kept["files_sha256"] = {
            k: v for k, v in kept["files_sha256"].items() if k not in ("result.json", "results.csv", "run.json")
        }
    return kept
