"""Measured phantoms, small enough for every test: the true tissues stand where the network would answer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volumetry.config import Config
from volumetry.deliver import as_document
from volumetry.domain import CtScan, SegmenterFacts, TissueMap
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, truth_map, write_series
from volumetry.pipeline import Analysis, analyse_scan

LESIONS = (
    Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),
    Lesion("solid", (88.3, 12.2, 8.7), (15.0, 16.0, 14.0)),
)


@dataclass(frozen=True)
class TruthSegmenter:
    """Answers with the phantom's own tissues."""

    spec: PhantomSpec
    facts: SegmenterFacts = field(default_factory=lambda: SegmenterFacts(name="truth", version="1"))

    def __call__(self, scan: CtScan, /) -> TissueMap:
        truth = truth_map(self.spec)
        return TissueMap(truth.labels_kji, scan.grid)


@dataclass(frozen=True)
class Measured:
    """A phantom, its series on disk and its result."""

    folder: Path
    spec: PhantomSpec
    analysis: Analysis
    document: dict[str, Any]


def measured_phantom(folder: Path, config: Config, lesions=LESIONS, series=None, **spec) -> Measured:
    """Write a phantom of 60 slices into `folder` and measure it."""
    drawn = PhantomSpec((60, 80, 80), (5.0, 4.2, 4.2), lesions, vessels=False, seed=3, **spec)
    write_series(make_phantom(drawn), folder, series or SeriesSpec(names="random"))
    analysis = analyse_scan(folder, TruthSegmenter(drawn), config, "S1")
    return Measured(folder, drawn, analysis, as_document(analysis.result))
