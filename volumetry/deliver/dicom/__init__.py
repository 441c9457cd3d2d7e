"""A result as DICOM objects that refer to the source series.

::

    concepts      which code stands for what
    segmentation  the mask as SEG
    numbers       digits and uncertainties
    regions       sides and lobes, with codes of site and laterality
    uids          of series and of what is tracked, from the source
    stamp         dates of making, and the UID that follows from the whole content
    report        the numbers as TID 1500 SR on that SEG's segments
    source        what is taken from the source's headers, and the UIDs that are referred to
    legal_values  one value, made legal or emptied
    character_sets  its text, whatever the site calls its character set
    references    to frames of multi-frame sources
    revision      a reader's correction: who, why, and the objects that it takes the place of
    captures      the summary page as encapsulated PDF and secondary capture
    compare       what was written, read back by other means, against the mask and the numbers
    delivery      temporary name, compare, final name
    export        all of it around the delivery of a result
"""

from volumetry.deliver.dicom.delivery import write_seg_and_sr, write_summary
from volumetry.deliver.dicom.export import Export
from volumetry.deliver.dicom.options import DicomOptions
from volumetry.deliver.dicom.revision import Revision
from volumetry.deliver.dicom.stamp import dated_as

__all__ = ["DicomOptions", "Export", "Revision", "dated_as", "write_seg_and_sr", "write_summary"]
