"""A folder -> one CT series in Hounsfield units on the scanner's own grid, or every reason why not.

::

    files         regular files, by lstat
    headers       one file -> what its header says, or why it is no slice
    identity      one patient, one study, one file per instance
    composition   scouts dropped; what is not one acquisition split apart, before any test of spacing
    gate          geometry, pixel attributes, numbering, patient: every check on one stack
    choice        the one stack to measure
    decode        stored numbers, from a child process that may die
    hounsfield    HU, padding masked, and the test whether these are HU
    sources       the headers behind a scan, for objects that refer to it
"""

from volumetry.scan.inspection import Inspection, StackReport, inspect_folder
from volumetry.scan.read import read_scan
from volumetry.scan.sources import Source, SourceSlice, source_headers

__all__ = [
    "Inspection",
    "Source",
    "SourceSlice",
    "StackReport",
    "inspect_folder",
    "read_scan",
    "source_headers",
]
