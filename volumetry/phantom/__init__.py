"""Digital reference objects: chests whose volumes are known from formulas, as arrays and as DICOM series."""

from volumetry.phantom.pixels import LOSSLESS, LOSSY
from volumetry.phantom.sample import write_phantoms
from volumetry.phantom.series import SeriesSpec, write_series
from volumetry.phantom.spec import (
    AXIAL,
    CORONAL,
    HEAD_TO_FEET,
    PRONE,
    SAGITTAL,
    Lesion,
    PhantomSpec,
    rotated,
    tilted,
)
from volumetry.phantom.thorax import Phantom, make_phantom, truth_map, truth_of

__all__ = [
    "AXIAL",
    "CORONAL",
    "HEAD_TO_FEET",
    "LOSSLESS",
    "LOSSY",
    "PRONE",
    "SAGITTAL",
    "Lesion",
    "Phantom",
    "PhantomSpec",
    "SeriesSpec",
    "make_phantom",
    "rotated",
    "tilted",
    "truth_map",
    "truth_of",
    "write_phantoms",
    "write_series",
]
