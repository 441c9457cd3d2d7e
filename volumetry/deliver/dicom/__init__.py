"""A result as DICOM objects that refer to the source series.

::

    concepts      which code stands for what
    segmentation  the mask as SEG
    report        the numbers as TID 1500 SR on that SEG's segments
    source        what is taken from the source's headers, and the UIDs that are referred to
    legal_values  one value, made legal or emptied
    character_sets  its text, whatever the site calls its character set
    references    to frames of multi-frame sources
    captures      the summary page as encapsulated PDF and secondary capture
    compare       what was written, read back by other means, against the mask and the numbers
    delivery      temporary name, compare, final name
    export        all of it around the delivery of a result
"""

from volumetry.deliver.dicom.delivery import DicomOptions, write_seg_and_sr, write_summary
from volumetry.deliver.dicom.export import Export

__all__ = ["DicomOptions", "Export", "write_seg_and_sr", "write_summary"]
