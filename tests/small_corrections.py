"""A batch of one drawn scan, and a correction of it, for tests that kill what enters one."""

import hashlib
from pathlib import Path

from scenes import AXIAL, chest, scan_of

from volumetry import pipeline
from volumetry.batch import find_scans, run_batch
from volumetry.config import load_config
from volumetry.remeasure import correction, remeasure
from volumetry.segment.hu_segmenter import ThresholdSegmenter


def batch_of_one(out: Path) -> None:
    """Measure one scan, called ``a``, into a new batch."""
    scan = out.with_name("in") / "a"
    scan.mkdir(parents=True)
    (scan / "1").write_bytes(b"x")

    def read(_folder, _config):
        drawn = scan_of(chest()[0], AXIAL)
        object.__setattr__(drawn, "input_sha256", hashlib.sha256(b"x").hexdigest())
        return drawn

    pipeline.read_scan = read
    run_batch(find_scans(out.with_name("in")), out, ThresholdSegmenter(), load_config())


def write_correction(out: Path, parent: Path) -> None:
    """A reader who agrees with the automatic mask; without the pictures of the page, which take long to draw."""
    correction.report_page = lambda *_: b"<html></html>"
    result = out / "scans" / "a"
    remeasure(result, None, result / "mask.nii.gz", "R1", "agree", corrections=parent)
