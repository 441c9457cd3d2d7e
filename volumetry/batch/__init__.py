"""Scans to outcomes: one row per scan, and a bad scan never stops the rest."""

from volumetry.batch.find import ScanFolder, find_scans, safe_scan_id
from volumetry.batch.serial import run_batch

__all__ = ["ScanFolder", "find_scans", "run_batch", "safe_scan_id"]
