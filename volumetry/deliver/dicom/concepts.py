"""Which code stands for what. Codes of the private scheme ``99VOLUMETRY`` exist because no standard one does."""

from dataclasses import dataclass, replace

from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from volumetry.domain import FLUID as FLUID_LABEL
from volumetry.domain import Tissue
from volumetry.image.pictures import TISSUE_RGB

SCHEME = "99VOLUMETRY"
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Code("39607008", "SCT", "Lung")
GROUND_GLASS = Code("112120", "DCM", "Ground glass opacity")
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")  # SNOMED CT's own term; in no DICOM context group
SOLID_COMPONENT = Code("SOLID", SCHEME, "Solid component, by HU")  # whatever fills the lung there
LESION = Code("52988006", "SCT", "Lesion")
FLUID = Code("60046008", "SCT", "Pleural effusion")
VOLUME = Code("118565006", "SCT", "Volume")
VOXEL_SUM = Code("YEKZ", "IBSI", "Volume from Voxel Summation")
ML = Code("ml", "UCUM", "ml")
PERCENT = Code("%", "UCUM", "Percent")
POINTS = Code("%{lung}", "UCUM", "Percent of lung volume")
"""Of an uncertainty: points of the lung, not a part of the value."""
NO_UNITS = Code("1", "UCUM", "no units")
CHEST_CT = Code("24627-2", "LN", "CT Chest")
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
PERSON = Code("121006", "DCM", "Person")
DEVICE = Code("121007", "DCM", "Device")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
UPPER = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
LUNG_ML = Code("LUNG_VOL", SCHEME, "Volume of both lungs, lesions included")
LESION_ML = Code("LESION_VOL", SCHEME, "Volume of all lesions")
LESION_PERCENT = Code("LESION_PCT", SCHEME, "All lesions as percentage of lung volume")
GROUND_GLASS_PERCENT = Code("GGO_PCT", SCHEME, "Ground glass as percentage of lung volume")
REGION_PERCENT = Code("LESION_REGION_PCT", SCHEME, "All lesions as percentage of the lung volume of the site")
SEVERITY_SCORE = Code("CT_SEVERITY", SCHEME, "CT severity score, sum over five lobes, 0 to 25")
COMMENT = Code("121106", "DCM", "Comment")
SUPERSEDED = Code("SUPERSEDED", SCHEME, "Segmentation that this one takes the place of")
SOLID_PERCENT = Code("SOLID_PCT", SCHEME, "Consolidation (solid component) as percentage of lung volume")


@dataclass(frozen=True, slots=True)
class Structure:
    """One segment.

    Parameters
    ----------
    key
        Of its volume in result.json; ``unclassed`` has none there.
    label
        For people and as tracking identifier.
    category, kind
        Segmented property category and type.
    rgb
        Display colour.
    tissues
        Labels of the mask that belong to it.
    in_lung
        Whether its anatomic region is stated as lung.
    """

    key: str
    label: str
    category: Code
    kind: Code
    rgb: tuple[int, int, int]
    tissues: tuple[int, ...]
    in_lung: bool = True

    @property
    def tracked_as(self) -> str:
        """What its tracking UID is made of: the solid component is followed by whatever rule it was found."""
        return "Solid" if self.key == "solid" else self.label


_GROUND_GLASS = Structure(
    "ground_glass", "Ground glass", MORPHOLOGY, GROUND_GLASS, TISSUE_RGB[Tissue.GROUND_GLASS], (2,)
)
_SOLID = Structure("solid", "Consolidation", MORPHOLOGY, CONSOLIDATION, TISSUE_RGB[Tissue.SOLID], (3,))
_SOLID_BY_HU = replace(_SOLID, label="Solid component", kind=SOLID_COMPONENT)
_UNCLASSED = Structure(
    "unclassed", "Lesion of neither class", MORPHOLOGY, LESION, TISSUE_RGB[Tissue.UNCLASSED], (4,)
)
_FLUID = Structure(
    "fluid", "Pleural effusion", MORPHOLOGY, FLUID, TISSUE_RGB[FLUID_LABEL], (FLUID_LABEL,), in_lung=False
)


def structures(
    overlapping: bool, unclassed: bool, fluid: bool = False, by_hu: bool = False
) -> tuple[Structure, ...]:
    """The segments, numbered from 1.

    Parameters
    ----------
    overlapping
        True where segments may overlap (BINARY): Lung then holds its lesions. A label map needs disjoint ones:
        Aerated lung.
    unclassed
        Whether the mask holds lesion of neither class (the HU rule).
    fluid
        Whether it holds pleural fluid.
    by_hu
        Whether solid is a range of HU, and not the network's consolidation.
    """
    if overlapping:
        lung = Structure("lung", "Lung", ANATOMY, LUNG, TISSUE_RGB[Tissue.AERATED], (1, 2, 3, 4), in_lung=False)
    else:
        lung = Structure("aerated", "Aerated lung", ANATOMY, LUNG, TISSUE_RGB[Tissue.AERATED], (1,), in_lung=False)
    more = (*((_UNCLASSED,) if unclassed else ()), *((_FLUID,) if fluid else ()))
    return (lung, _GROUND_GLASS, _SOLID_BY_HU if by_hu else _SOLID, *more)


def coded(code: Code) -> CodedConcept:
    """The code as the data set that DICOM wants."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme_designator, meaning=code.meaning)
