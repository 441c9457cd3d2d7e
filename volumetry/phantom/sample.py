"""A small set of phantoms as DICOM, with the truth beside them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom.uid import JPEGLSLossless

from volumetry.domain import Vector
from volumetry.phantom.series import SeriesSpec, write_series
from volumetry.phantom.spec import Lesion, PhantomSpec, tilted
from volumetry.phantom.thorax import make_phantom
from volumetry.storage.atomic import write_json

_GROUND_GLASS = (
    Lesion("ground_glass", (-88.3, 22.2, -8.9), (19.0, 17.0, 21.0)),
    Lesion("ground_glass", (84.7, 20.4, 4.3), (13.0, 15.0, 16.0)),
)
_MIXED = (
    Lesion("ground_glass", (-84.6, 12.8, 3.7), (23.0, 24.0, 26.0)),
    Lesion("solid", (-82.1, 15.3, 6.2), (11.0, 10.0, 12.0)),
    Lesion("solid", (86.9, 28.2, -21.4), (12.5, 11.0, 13.0)),
)


def phantom_set(seed: int, spacing_kji_mm: Vector) -> dict[str, PhantomSpec]:
    """The phantoms of a set by folder name: normal, ground glass, mixed, tilted, thick."""
    shape_kji = _enough(spacing_kji_mm)
    base = PhantomSpec(shape_kji, spacing_kji_mm, seed=seed)
    k, j, i = spacing_kji_mm
    thick = (2 * k, j, i)
    return {
        "normal": base,
        "ground-glass": replace(base, lesions=_GROUND_GLASS, seed=seed + 1),
        "mixed": replace(base, lesions=_MIXED, seed=seed + 2),
        "tilted": replace(
            base,
            shape_kji=(shape_kji[0], shape_kji[1] + round(60 / j), shape_kji[2]),
            direction_lps=tilted(12.0),
            lesions=_MIXED,
            seed=seed + 3,
        ),
        "thick": replace(
            base, shape_kji=_enough(thick), spacing_kji_mm=thick, lesions=_MIXED, noise_hu=8.0, seed=seed + 4
        ),
    }


def write_phantoms(out: Path, seed: int = 1, spacing_kji_mm: Vector = (2.5, 0.9, 0.9)) -> dict[str, Any]:
    """Write a small set of phantoms: one folder of DICOM files each, and ``truth.json``.

    Parameters
    ----------
    out
        Made if it is not there.
    seed
        The same seed gives the same images and UIDs.
    spacing_kji_mm
        Slice step, row step, column step.

    Returns
    -------
    dict[str, Any]
        What ``truth.json`` says: by folder name, the truth of `volumetry.phantom.truth_of` and the grid.
    """
    truth: dict[str, Any] = {}
    for number, (name, spec) in enumerate(phantom_set(seed, spacing_kji_mm).items(), start=1):
        how = SeriesSpec(transfer_syntax=JPEGLSLossless, subject=f"SYN-{number:03d}", names="random", seed=seed)
        truth[name] = write_one(out / name, spec, how)
    write_json(out / "truth.json", truth)
    return truth


def write_one(folder: Path, spec: PhantomSpec, how: SeriesSpec) -> dict[str, Any]:
    """Write one phantom; returns its truth and its grid."""
    write_series(phantom := make_phantom(spec), folder, how)
    voxel = {"spacing_kji_mm": list(spec.spacing_kji_mm), "shape_kji": list(spec.shape_kji)}
    return {**phantom.truth, **voxel, "voxel_ml": phantom.grid.voxel_ml}


def _enough(spacing_kji_mm: Vector) -> tuple[int, int, int]:
    """Voxels along k, j, i that hold the whole chest."""
    k, j, i = (math.ceil(mm / step) + 1 for mm, step in zip((275.0, 290.0, 330.0), spacing_kji_mm, strict=True))
    return k, j, i
