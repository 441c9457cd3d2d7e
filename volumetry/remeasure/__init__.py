"""An edited mask comes back: the same scan measured on it, beside the automatic result.

::

    automatic     the result as it lies on the disk: numbers, mask, grid
    source        what is measured on: the CT if there is one, else the result's own grid
    edited        the mask file, NIfTI or DICOM SEG, onto the scan's own grid, or why not
    correction    measure, judge and write corrections/<n>/; the automatic result stays as it is
"""

from volumetry.remeasure.correction import DrawnOn, remeasure
from volumetry.remeasure.edited import read_edited_mask

__all__ = ["DrawnOn", "read_edited_mask", "remeasure"]
