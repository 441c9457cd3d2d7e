"""Phantoms through this installation: whether it decodes, measures and counts as it must.

Truth comes from the phantoms' formulas. The threshold segmenter stands in for the network, so this proves
geometry, decoding, tidying and counting; it says nothing about the network's accuracy on patients. The network
itself is only asked to reproduce the probe that ships with it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, HTJ2KLossless

from volumetry import __version__
from volumetry.config import Config
from volumetry.domain import Vector
from volumetry.errors import VolumetryError
from volumetry.phantom import LOSSLESS, Lesion, PhantomSpec, SeriesSpec, make_phantom, tilted, write_series
from volumetry.phantom.htj2k import htj2k_values, put_htj2k
from volumetry.pipeline import analyse_scan
from volumetry.scan import read_scan
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.storage.unfinished import temporary_folder

_TEN_ML_RADIUS_MM = (10_000 * 3 / 4 / np.pi) ** (1 / 3)
_TEN_ML: Vector = (_TEN_ML_RADIUS_MM,) * 3
_LESIONS = (
    Lesion("ground_glass", (-85.3, 10.2, 10.1), _TEN_ML),
    Lesion("solid", (88.3, 12.2, 8.7), _TEN_ML),
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A phantom and how far its numbers may be off, fixed before the first run from spacing and lesion size."""

    name: str
    spec: PhantomSpec
    lung_limit_percent: float
    lesion_limit_percent: float


def _cases() -> Iterator[_Case]:
    yield _Case("1 mm slices", PhantomSpec((275, 368, 368), (1.0, 0.9, 0.9), _LESIONS), 0.5, 2.0)
    yield _Case("2.5 mm slices", PhantomSpec((110, 368, 368), (2.5, 0.9, 0.9), _LESIONS), 0.5, 3.0)
    yield _Case(
        "2.5 mm, tilted 12 degrees",
        PhantomSpec((130, 300, 368), (2.5, 1.2, 0.9), _LESIONS, direction_lps=tilted(12.0)),
        0.5,
        3.0,
    )
    yield _Case(
        "2.5 mm, noise 40 HU", PhantomSpec((110, 368, 368), (2.5, 0.9, 0.9), _LESIONS, noise_hu=40.0), 1.0, 5.0
    )


def run_selftest(config: Config, on_stage: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure phantoms, compare every lossless transfer syntax, reproduce the model's probe.

    Returns
    -------
    dict
        ``checks`` (phantom, quantity, truth and found in mL, error and limit in percent, passed), ``facts``
        (check, detail, passed), ``passed``, ``software_version``.
    """
    with temporary_folder() as folder:
        on_stage("phantoms")
        checks = [line for case in _cases() for line in _measured(case, folder, config)]
        on_stage("syntaxes")
        facts = [*_syntaxes(folder, config)]
    on_stage("model")
    facts.append(_model(config))
    return {
        "software_version": __version__,
        "checks": checks,
        "facts": facts,
        "passed": all(line["passed"] for line in [*checks, *facts]),
    }


def _measured(case: _Case, work: Path, config: Config) -> Iterator[dict[str, Any]]:
    phantom = make_phantom(case.spec)
    folder = work / case.name.replace(" ", "-")
    write_series(phantom, folder)
    found = analyse_scan(folder, ThresholdSegmenter(), config).result.measurement
    for quantity, found_ml, limit in (
        ("lung", found.volumes_ml.lung, case.lung_limit_percent),
        ("left", found.sides["left"].lung, case.lung_limit_percent),
        ("right", found.sides["right"].lung, case.lung_limit_percent),
        ("ground_glass", found.volumes_ml.ground_glass, case.lesion_limit_percent),
        ("solid", found.volumes_ml.solid, case.lesion_limit_percent),
    ):
        truth_ml = phantom.truth[f"{quantity}_ml"]
        error_percent = 100 * (found_ml / truth_ml - 1)
        yield {
            "phantom": case.name,
            "quantity": quantity,
            "truth": truth_ml,
            "found": found_ml,
            "error_percent": error_percent,
            "limit_percent": limit,
            "passed": abs(error_percent) <= limit,
        }


def _syntaxes(work: Path, config: Config) -> Iterator[dict[str, Any]]:
    """The same small series in every lossless syntax must give the same HU, bit for bit."""
    phantom = make_phantom(PhantomSpec((62, 96, 96), (2.5, 1.1, 1.1), allow_cut=True))
    reference = None
    for syntax in LOSSLESS:
        folder = work / syntax
        write_series(phantom, folder, SeriesSpec(transfer_syntax=syntax))
        try:
            hu_kji = read_scan(folder, config).hu_kji
            reference = hu_kji if reference is None else reference
            same = bool(np.array_equal(hu_kji, reference))
            detail = f"{UID(syntax).name}: {'identical HU' if same else 'other HU'}"
        except VolumetryError as stop:
            same, detail = False, f"{UID(syntax).name}: {stop.code}"
        yield {"check": "lossless", "detail": detail, "passed": same}
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    put_htj2k(header)
    same = bool(np.array_equal(header.pixel_array, htj2k_values()))
    yield {"check": "lossless", "detail": f"{HTJ2KLossless.name}: one slice against its formula", "passed": same}


def _model(config: Config) -> dict[str, Any]:
    from volumetry.segment.network import load_segmenter

    try:
        facts = load_segmenter(config).facts
    except VolumetryError as stop:
        return {"check": "model", "detail": stop.message, "passed": False}
    detail = f"{facts.name}-{facts.version} on {facts.device} reproduces its probe"
    return {"check": "model", "detail": detail, "passed": True}
