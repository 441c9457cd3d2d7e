"""Who the patient is, in words for a printed page."""

from pathlib import Path

from volumetry.config import Config
from volumetry.deliver.dicom.source import export_source
from volumetry.errors import VolumetryError

_FACTS = (("PatientName", "patient"), ("PatientID", "ID"), ("AccessionNumber", "accession"))


def patient_line(scan: Path, input_sha256: str, config: Config) -> str:
    """Name, ID and accession number of a scan, read from its header again: a result keeps none of them.

    Parameters
    ----------
    scan, config
        What was measured, and with which settings.
    input_sha256
        Digest of the input.

    Returns
    -------
    str
        Empty where there is no DICOM header, or it states none of them.
    """
    try:
        header = export_source(scan, input_sha256, config).headers[0]
    except (VolumetryError, ValueError, AttributeError, IndexError):
        return ""
    said = ((name, " ".join(str(header.get(keyword, "")).replace("^", " ").split())) for keyword, name in _FACTS)
    return ", ".join(f"{name} {text}" for name, text in said if text)
