"""What is known of a voxel: the set of regions it may lie in, as bits of a byte.

Few chests have all organs labelled, and most have lungs alone. "Not lung" is then the set of all other regions,
and "unknown" is the set of all: one notation, and one loss, for whatever is known.
"""

from functools import reduce
from operator import or_

from volumetry.segment.thorax import Region


def one_of(*regions: Region) -> int:
    """The set of these regions."""
    return reduce(or_, (1 << region for region in regions))


UNKNOWN = one_of(*Region)
BODY = one_of(Region.BODY)
LUNG = one_of(Region.LUNG)
FLUID = one_of(Region.FLUID)
AIRWAY = one_of(Region.AIRWAY)
MEDIASTINUM = one_of(Region.MEDIASTINUM)
ABDOMEN = one_of(Region.ABDOMEN)
NO_LUNG = BODY | AIRWAY | MEDIASTINUM | ABDOMEN
"""In a chest whose pleural fluid, if any, is marked unknown."""

_SOFT = BODY | MEDIASTINUM | ABDOMEN

TOTALSEGMENTATOR = {
    0: _SOFT,  # fat and muscle have no label of their own
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 8, 9, 18, 19, 20, 21, 23, 24, 64), ABDOMEN),
    **dict.fromkeys(range(10, 15), LUNG),
    15: MEDIASTINUM,
    16: AIRWAY,
    17: BODY | MEDIASTINUM,  # the thyroid
    **dict.fromkeys(range(25, 51), BODY),
    **dict.fromkeys((51, 52, 54, 55, 56, 57, 58, 59, 60, 61, 62), MEDIASTINUM),
    53: MEDIASTINUM | LUNG,  # pulmonary veins leave the one for the other
    63: MEDIASTINUM | ABDOMEN,
    **dict.fromkeys(range(65, 118), BODY),
}
"""Numbers of TotalSegmentator 2, task ``total``."""

CLINIC = {2: MEDIASTINUM, 3: ABDOMEN, 4: BODY}
"""Heart, liver, cord of a radiotherapy plan; its other structures are given apart."""

SCHEMES = {"totalsegmentator": TOTALSEGMENTATOR, "clinic": CLINIC}
