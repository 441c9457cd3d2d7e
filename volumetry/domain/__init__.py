"""The nouns. Each is frozen and valid from birth: no later stage asks again whether it makes sense.

Coordinates are DICOM's patient system, LPS (x grows to the patient's left, y to the back, z to the head), in mm.
Arrays are indexed ``kji``: k across slices, j down the rows, i along a row.
"""

from volumetry.domain.distribution import PARTS, Distribution
from volumetry.domain.finding import Finding, most_severe_first
from volumetry.domain.grid import Box, Grid, Vector
from volumetry.domain.lobes import CODES, FISSURES, LOBES, Lobe, LobeMap, NoLobes, lobe_table, place_code
from volumetry.domain.prior import PriorVisit
from volumetry.domain.result import (
    ComponentSplit,
    LobeMeasurement,
    Measurement,
    Outcomes,
    Provenance,
    ScanFailure,
    ScanRefusedError,
    ScanResult,
    Status,
    Volumes,
)
from volumetry.domain.scan import BODY_HU, CtScan, SeriesInfo
from volumetry.domain.tissue import (
    CAUSES,
    FLUID,
    SHARES,
    VOLUMES,
    ChestContext,
    Doubt,
    Interval,
    Segmenter,
    SegmenterFacts,
    Side,
    Tissue,
    TissueMap,
)
from volumetry.domain.voxel_label import VoxelLabel

__all__ = [
    "BODY_HU",
    "CAUSES",
    "CODES",
    "FISSURES",
    "FLUID",
    "LOBES",
    "PARTS",
    "SHARES",
    "VOLUMES",
    "Box",
    "ChestContext",
    "ComponentSplit",
    "CtScan",
    "Distribution",
    "Doubt",
    "Finding",
    "Grid",
    "Interval",
    "Lobe",
    "LobeMap",
    "LobeMeasurement",
    "Measurement",
    "NoLobes",
    "Outcomes",
    "PriorVisit",
    "Provenance",
    "ScanFailure",
    "ScanRefusedError",
    "ScanResult",
    "Segmenter",
    "SegmenterFacts",
    "SeriesInfo",
    "Side",
    "Status",
    "Tissue",
    "TissueMap",
    "Vector",
    "Volumes",
    "VoxelLabel",
    "lobe_table",
    "most_severe_first",
    "place_code",
]
