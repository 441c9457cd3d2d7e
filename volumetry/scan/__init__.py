"""An input -> one CT volume in Hounsfield units on the scanner's own grid, or every reason why not.

::

    inputs        what was given: a folder, an archive, one file, a volume -> the files to look into
    files         regular files, by lstat
    headers       one file -> what its header says, or why it is not a slice
    identity      one patient, one study, one file per instance
    composition   scouts dropped; what is not one acquisition is split, before any test of spacing
    gate          geometry, pixel attributes, numbering, patient: every check on one stack
    choice        the one stack to measure
    decode        stored numbers, from a child process that may die
    hounsfield    HU, padding masked, and the test whether these are HU
    volumes       NIfTI, NRRD and MetaImage in HU, through the same gate and the same child
    sources       the headers behind a scan, for objects that refer to it
"""

from volumetry.scan.headers.file_kinds import FileKind
from volumetry.scan.inputs.opening import files_of_input, kind_of_file, remove_private_folders, zip_may_hold_scan
from volumetry.scan.inspection import Inspection, StackReport, inspect_folder
from volumetry.scan.read import read_scan, scan_from_array
from volumetry.scan.sources import Source, SourceSlice, source_headers

__all__ = [
    "FileKind",
    "Inspection",
    "Source",
    "SourceSlice",
    "StackReport",
    "files_of_input",
    "inspect_folder",
    "kind_of_file",
    "read_scan",
    "remove_private_folders",
    "scan_from_array",
    "source_headers",
    "zip_may_hold_scan",
]
