"""The headers behind a scan, in its own order: what an object made from it refers to."""

import warnings
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding, Grid, ScanRefusedError
from volumetry.errors import OutputError
from volumetry.scan.choice import choose
from volumetry.scan.contents import contents_of
from volumetry.scan.gate import GatedStack
from volumetry.scan.inputs import opened
from volumetry.scan.slice_header import SliceHeader
from volumetry.scan.volumes import VolumeStack

_LEFT_BEHIND = (
    "PatientComments",
    "AdditionalPatientHistory",
    "Occupation",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "PositionReferenceIndicator",
)
"""Words about the patient, and facts of the site's scanner: libraries copy them into objects that we make."""


def source_headers(folder: Path, config: Config) -> tuple[tuple[Dataset, ...], Grid]:
    """Headers of the stack that `read_scan` measures, one per slice, without pixels.

    Parameters
    ----------
    folder, config
        Those that were given to `read_scan`.

    Returns
    -------
    headers, grid
        Header ``k`` belongs to slice ``k`` of the grid; free words about patient and site are left out of it.

    Raises
    ------
    ScanRefusedError
        If the folder no longer holds one measurable stack, or a file can no longer be read.
    OutputError
        If what was measured is a volume file, which has no such headers.
    """
    with opened(folder, config) as given:
        stack, _ = choose(contents_of(given, config), config)
        if stack.geometry is None:
            raise AssertionError("the gate lets no stack pass without a grid")
        if isinstance(stack, VolumeStack):
            message = "no SEG or SR can be made of a volume file: there is no DICOM header to refer to"
            raise OutputError(message, "NO_HEADER", "Use mask.nii.gz, or measure the DICOM series it came from.")
        return tuple(_header_of(header, stack) for header in stack.slices), stack.geometry.grid


def _header_of(header: SliceHeader, stack: GatedStack) -> Dataset:
    try:
        # Odd values in tags that nobody here reads are no news: the gate has judged this file already.
        with header.file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _without_words(dcmread(stream, stop_before_pixels=True, force=True))
    except (OSError, InvalidDicomError, EOFError, ValueError) as wrong:
        message = "a file of the series changed or vanished after it was measured"
        finding = Finding("INPUT_CHANGED", Outcome.REFUSE, message)
        raise ScanRefusedError([finding], stack.series) from wrong


def _without_words(header: Dataset) -> Dataset:
    for name in _LEFT_BEHIND:
        if name in header:
            del header[name]
    return header
