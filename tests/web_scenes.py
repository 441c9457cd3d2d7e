"""A phantom small enough for a browser that draws in software, measured and delivered."""

from pathlib import Path

from delivered import deliver

from volumetry.config import Config
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.pipeline import Analysis, analyse_scan
from volumetry.remeasure import DrawnOn, remeasure
from volumetry.segment.hu_segmenter import ThresholdSegmenter

GROUND_GLASS = Lesion("ground_glass", (-56.3, 8.2, 3.1), (13.0, 13.0, 16.0))
SOLID = Lesion("solid", (58.3, 12.2, -6.7), (11.0, 11.0, 12.0))
SPEC = PhantomSpec(
    (40, 104, 118), (5.0, 2.0, 2.0), (GROUND_GLASS, SOLID), scale_lps=(0.68, 0.68, 0.68), vessels=False, seed=5
)
LATER = PhantomSpec(
    (38, 104, 118),
    (5.0, 2.0, 2.0),
    (Lesion("ground_glass", (-56.3, 8.2, 3.1), (11.0, 11.0, 12.0)),),
    centre_lps_mm=(6.0, -4.0, 2.0),
    scale_lps=(0.66, 0.66, 0.66),
    vessels=False,
    seed=6,
)


def write_scan(folder: Path, spec: PhantomSpec = SPEC) -> Path:
    """The phantom as a folder of DICOM files."""
    write_series(make_phantom(spec), folder, SeriesSpec(names="random", seed=spec.seed))
    return folder


def measured(scan: Path, result: Path, config: Config) -> Analysis:
    """Measure a phantom by threshold and write its result folder."""
    analysis = analyse_scan(scan, ThresholdSegmenter(), config, "S1")
    deliver(analysis.result, analysis.tissue, config, result)
    return analysis


def corrected(result, scan, edit):
    """Measure an edit as the commands `view` and `serve` have it measured."""
    drawn_on = DrawnOn(edit.drawn_on, edit.last)
    document, folder = remeasure(result, scan, edit.mask, edit.reader, edit.reason, drawn_on=drawn_on)
    return document, folder.name
