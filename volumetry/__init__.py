"""CT lung-lesion volumetry: a scan folder in, the share of the lungs that is ground glass and solid out.

::

    import volumetry as v

    analysis = v.analyse_scan("scan-folder")
    analysis.result.measurement.volumes_ml.percent_of_lung()
    v.write_result(analysis, "result-folder")

Names are imported when they are first used, so that ``import volumetry`` loads neither torch nor SimpleITK.
"""

import logging
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # whoever uses the package decides what is logged

if TYPE_CHECKING:
    from volumetry.case import write_result
    from volumetry.codes import Outcome
    from volumetry.config import Config, load_config
    from volumetry.domain import (
        CtScan,
        Finding,
        Grid,
        Interval,
        Measurement,
        Provenance,
        ScanFailure,
        ScanRefusedError,
        ScanResult,
        Segmenter,
        SegmenterFacts,
        SeriesInfo,
        Side,
        Status,
        Tissue,
        TissueMap,
        Volumes,
    )
    from volumetry.errors import (
        BusyError,
        ConfigError,
        InputError,
        ModelError,
        OutputError,
        ScanFailedError,
        SegmentationError,
        UsageError,
        VolumetryError,
    )
    from volumetry.pipeline import Analysis, analyse, analyse_scan
    from volumetry.scan import read_scan, scan_from_array
    from volumetry.segment.hu_segmenter import ThresholdSegmenter
    from volumetry.segment.network import load_segmenter

_HOMES = {
    "volumetry.case": ("write_result",),
    "volumetry.codes": ("Outcome",),
    "volumetry.config": ("Config", "load_config"),
    "volumetry.domain": (
        "CtScan", "Finding", "Grid", "Interval", "Measurement", "Provenance", "ScanFailure", "ScanRefusedError",
        "ScanResult", "Segmenter", "SegmenterFacts", "SeriesInfo", "Side", "Status", "Tissue", "TissueMap",
        "Volumes",
    ),
    "volumetry.errors": (
        "BusyError", "ConfigError", "InputError", "ModelError", "OutputError", "ScanFailedError",
        "SegmentationError", "UsageError", "VolumetryError",
    ),
    "volumetry.pipeline": ("Analysis", "analyse", "analyse_scan"),
    "volumetry.scan": ("read_scan", "scan_from_array"),
    "volumetry.segment.hu_segmenter": ("ThresholdSegmenter",),
    "volumetry.segment.network": ("load_segmenter",),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "BusyError",
    "Config",
    "ConfigError",
    "CtScan",
    "Finding",
    "Grid",
    "InputError",
    "Interval",
    "Measurement",
    "ModelError",
    "Outcome",
    "OutputError",
    "Provenance",
    "ScanFailedError",
    "ScanFailure",
    "ScanRefusedError",
    "ScanResult",
    "SegmentationError",
    "Segmenter",
    "SegmenterFacts",
    "SeriesInfo",
    "Side",
    "Status",
    "ThresholdSegmenter",
    "Tissue",
    "TissueMap",
    "UsageError",
    "Volumes",
    "VolumetryError",
    "__version__",
    "analyse",
    "analyse_scan",
    "load_config",
    "load_segmenter",
    "read_scan",
    "scan_from_array",
    "write_result",
]


_DEPRECATED: dict[str, tuple[str, str]] = {}
"""By former public name: the name to use instead, and the version that removes the former one."""


def __getattr__(name: str) -> object:
    if name in _DEPRECATED:
        instead, removed_in = _DEPRECATED[name]
        message = f"volumetry.{name} is deprecated and will be removed in {removed_in}: use volumetry.{instead}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[__name__], instead)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
