"""A result as DICOM objects that refer to the source series.

::

    concepts      which code stands for what
    segmentation  the mask as SEG
    report        the numbers as TID 1500 SR on that SEG's segments
    captures      the summary page as encapsulated PDF and secondary capture
    compare       what was written, read back by other means, against the mask and the numbers
    delivery      temporary name, compare, final name
"""

from volumetry.deliver.dicom.delivery import DicomOptions, write_seg_and_sr, write_summary

__all__ = ["DicomOptions", "write_seg_and_sr", "write_summary"]
