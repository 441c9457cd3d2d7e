"""``queries.csv``: what to ask about each refused or flagged scan: what is wrong, which tag, what to resend.

One line per finding, in plain words. ``ask`` says whom: the ``site`` for what only a new export or an answer from
there can mend, the ``reader`` for what a look at the mask settles. Failures of our own are nobody's query.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from volumetry.batch.find import ScanFolder

COLUMNS = ("site", "scan_id", "subject", "visit", "status", "ask", "code", "what_is_wrong", "tag", "what_to_do")

_FOR_THE_READER = {
    "LUNG_VOLUME_IMPLAUSIBLE",
    "ONE_LUNG",
    "SIDE_CONFLICT",
    "LESION_OUTSIDE_LUNG",
    "DENSE_TISSUE_OUTSIDE_LUNG",
    "METAL",
    "SUSPECT_SOLID",
    "POSITION_JITTER",
    "SPACING_TAG_CONFLICT",
    "VARYING_RESCALE",
    "BURNED_IN",
    "NONSTANDARD_PREAMBLE",
}
_POSITION = "ImagePositionPatient (0020,0032)"
_ORIENTATION = "ImageOrientationPatient (0020,0037)"
_PIXEL_SPACING = "PixelSpacing (0028,0030)"
_RESCALE = "RescaleSlope (0028,1053), RescaleIntercept (0028,1052)"
_THICKNESS = "SliceThickness (0018,0050)"
_NUMBER = "InstanceNumber (0020,0013)"
_TAGS = {
    "UID_CONFLICT": "SOPInstanceUID (0008,0018)",
    "MIXED_PATIENTS": "PatientID (0010,0020)",
    "MIXED_STUDIES": "StudyInstanceUID (0020,000D)",
    "AMBIGUOUS_VOLUMES": "SeriesInstanceUID (0020,000E)",
    "MIXED_ORIENTATION": _ORIENTATION,
    "MIXED_FRAME_OF_REFERENCE": "FrameOfReferenceUID (0020,0052)",
    "MIXED_MATRIX": "Rows (0028,0010), Columns (0028,0011)",
    "MIXED_PIXEL_SPACING": _PIXEL_SPACING,
    "BAD_ORIENTATION": _ORIENTATION,
    "BAD_POSITIONS": _POSITION,
    "NO_PIXEL_SPACING": _PIXEL_SPACING,
    "DUPLICATE_POSITION": _POSITION,
    "MISSING_SLICES": _POSITION,
    "NONUNIFORM_SPACING": _POSITION,
    "SAMPLED_HRCT": f"{_POSITION}, {_THICKNESS}",
    "TOO_FEW_SLICES": _POSITION,
    "NO_RESCALE": _RESCALE,
    "NOT_CT_NUMBERS": "RescaleType (0028,1054), ImageType (0008,0008)",
    "LOSSY_8BIT": "LossyImageCompression (0028,2110), BitsStored (0028,0101)",
    "LOSSY": "LossyImageCompression (0028,2110)",
    "UNSUPPORTED_TRANSFER_SYNTAX": "TransferSyntaxUID (0002,0010)",
    "NO_PIXEL_DATA": "PixelData (7FE0,0010)",
    "PIXEL_LENGTH": "PixelData (7FE0,0010)",
    "DECODER_DIED": "PixelData (7FE0,0010)",
    "HU_IMPLAUSIBLE": f"PixelData (7FE0,0010), {_RESCALE}",
    "HU_DRIFT": f"PixelData (7FE0,0010), {_RESCALE}",
    "NOT_CT": "SOPClassUID (0008,0016)",
    "ENHANCED_MULTIFRAME": "SOPClassUID (0008,0016)",
    "OUT_OF_INTENDED_POPULATION": "PatientAge (0010,1010)",
    "GANTRY_TILT": _ORIENTATION,
    "NON_AXIAL": _ORIENTATION,
    "INCOMPLETE_INSTANCE_NUMBERS": _NUMBER,
    "SLICE_GAP": f"{_THICKNESS}, {_POSITION}",
    "SLICE_OVERLAP": f"{_THICKNESS}, {_POSITION}",
    "THICK_SLICES": _THICKNESS,
    "SPACING_TAG_CONFLICT": "SpacingBetweenSlices (0018,0088)",
    "DERIVED_IMAGE": "ImageType (0008,0008)",
    "PRONE": "PatientPosition (0018,5100)",
    "POSITION_CONFLICT": f"PatientPosition (0018,5100), {_ORIENTATION}",
    "PIXEL_SPACING_RANGE": _PIXEL_SPACING,
    "LARGE_FOV": _PIXEL_SPACING,
    "VARYING_RESCALE": _RESCALE,
    "CONTRAST": "ContrastBolusAgent (0018,0010)",
    "CONTRAST_NOT_STATED": "ContrastBolusAgent (0018,0010)",
    "BURNED_IN": "BurnedInAnnotation (0028,0301)",
    "CHARTER_THICKNESS": _THICKNESS,
    "CHARTER_SPACING": _POSITION,
    "CHARTER_KERNEL": "ConvolutionKernel (0018,1210)",
    "CHARTER_KVP": "KVP (0018,0060)",
    "CHARTER_CONTRAST": "ContrastBolusAgent (0018,0010)",
    "CHARTER_SCANNER": "Manufacturer (0008,0070), ManufacturerModelName (0008,1090)",
    "CHARTER_COVERAGE": _POSITION,
    "CHARTER_SLICES": _POSITION,
}

_THIN = "Please send the thin-slice reconstruction of the same acquisition, if it was kept."
_TARGETED = "Please send the reconstruction whose field of view is fitted to the chest, if there is one."
_CONFIRM = "Please confirm that this is how the patient was scanned."
_REQUESTS = {
    "THICK_SLICES": _THIN,
    "SLICE_GAP": "Please send the reconstruction without gaps between the slices.",
    "SLICE_OVERLAP": _CONFIRM,
    "GANTRY_TILT": _CONFIRM,
    "PRONE": _CONFIRM,
    "POSITION_CONFLICT": "Please say in which position the patient lay, and which side is marked as left.",
    "CONTRAST": "Please confirm that contrast was given; send the scan before contrast, if there is one.",
    "CONTRAST_NOT_STATED": "Please say whether contrast was given; send the scan before it, if there is one.",
    "PIXEL_SPACING_RANGE": _TARGETED,
    "LARGE_FOV": _TARGETED,
    "DERIVED_IMAGE": "Please send the original series that this one was made from.",
    "HU_DRIFT": "Please send the scanner's calibration record (air and water) of that week.",
    "OUT_OF_INTENDED_POPULATION": "Please confirm the patient's age.",
}
"""What to ask a site for, where the catalogue's hint speaks to the reader."""


def query_rows(scan: ScanFolder, document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Lines for one scan, in the order of `COLUMNS`; none without a flag, or if the failure is ours.

    Parameters
    ----------
    document
        The scan's result.json.
    """
    if document["status"] not in ("refused", "review"):
        return
    asked = [flag for flag in document["flags"] if flag["severity"] in ("refuse", "review")]
    for flag in asked or [document]:
        code = flag["code"]
        ask = "reader" if code in _FOR_THE_READER else "site"
        message = str(flag["message"])
        sentence = f"{message[:1].upper()}{message[1:]}".rstrip(".") + "."
        known = (scan.site, scan.scan_id, scan.subject, scan.visit)
        yield (
            *known,
            document["status"],
            ask,
            code,
            sentence,
            _TAGS.get(code, ""),
            _REQUESTS.get(code, flag["hint"]),
        )
