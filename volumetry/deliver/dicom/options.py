"""What is written of a result as DICOM."""

from dataclasses import dataclass
from typing import Literal

from volumetry.deliver.dicom.revision import AUTOMATIC, Revision


@dataclass(frozen=True, slots=True)
class DicomOptions:
    """What is written.

    Parameters
    ----------
    segmentation_type
        ``binary`` opens in most viewers, and its lung holds the lesions; ``binary_deflated`` is the same instance
        in the syntax Deflated Explicit VR; ``labelmap`` is disjoint, and in that syntax too. None takes that of
        the settings.
    pdf, secondary_capture
        Which forms of the summary page `write_summary` makes.
    revision
        Of a reader's correction: its number, and the results that it takes the place of.
    """

    segmentation_type: Literal["binary", "binary_deflated", "labelmap"] | None = None
    pdf: bool = False
    secondary_capture: bool = False
    revision: Revision = AUTOMATIC
