"""Scans to outcomes: one row per scan, and a bad scan never stops the rest."""

from volumetry.batch.cluster import Cluster, run_on_cluster
from volumetry.batch.corrections import batch_of, correct, corrections_of
from volumetry.batch.decide import decide
from volumetry.batch.engine import run_batch
from volumetry.batch.find import ScanFolder, find_scans, safe_scan_id
from volumetry.batch.manifest import list_scans, read_manifest
from volumetry.batch.progress import Tally
from volumetry.batch.replay import Replayed, replay
from volumetry.batch.tables import Rows
from volumetry.batch.verify import Fault, Verification, verify

__all__ = [
    "Cluster",
    "Fault",
    "Replayed",
    "Rows",
    "ScanFolder",
    "Tally",
    "Verification",
    "batch_of",
    "correct",
    "corrections_of",
    "decide",
    "find_scans",
    "list_scans",
    "read_manifest",
    "replay",
    "run_batch",
    "run_on_cluster",
    "safe_scan_id",
    "verify",
]
