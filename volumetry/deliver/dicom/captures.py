"""The summary page as encapsulated PDF and as secondary capture, in the study of the source series."""

from collections.abc import Sequence

import highdicom as hd
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from volumetry import __version__
from volumetry.deliver.dicom.references import references
from volumetry.deliver.dicom.revision import AUTOMATIC
from volumetry.deliver.dicom.segmentation import MANUFACTURER
from volumetry.deliver.dicom.uids import UNNAMED, series_uid
from volumetry.deliver.report.summary import Summary

_COPIED = (
    "SpecificCharacterSet",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def encapsulated_pdf(headers: Sequence[Dataset], summary: Summary) -> Dataset:
    """The page as an Encapsulated PDF object that names every source slice."""
    file = Dataset()
    for name in _COPIED:
        if name in headers[0]:
            file[name] = headers[0][name]
    file.SOPClassUID = EncapsulatedPDFStorage
    file.SOPInstanceUID = UNNAMED
    file.SeriesInstanceUID = series_uid(headers[0], "PDF", AUTOMATIC)
    file.SeriesNumber, file.InstanceNumber = 302, 1
    file.Modality, file.ConversionType, file.BodyPartExamined = "DOC", "WSD", "CHEST"
    file.Manufacturer = file.ManufacturerModelName = MANUFACTURER
    file.SoftwareVersions, file.SeriesDescription = __version__, "Lung lesion report"
    file.ContentDate = file.ContentTime = ""  # set with all dates of making
    file.AcquisitionDateTime, file.BurnedInAnnotation = "", _burned_in(summary)
    file.DocumentTitle, file.ConceptNameCodeSequence = "Lung lesion report", []
    file.SourceInstanceSequence = references(headers)
    file.MIMETypeOfEncapsulatedDocument = "application/pdf"
    file.EncapsulatedDocumentLength = len(summary.pdf)
    file.EncapsulatedDocument = summary.pdf + b"\0" * (len(summary.pdf) % 2)
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file


def _burned_in(summary: Summary) -> str:
    """Whether the page itself identifies the patient (PS3.3 C.7.6.1.1); de-identifiers go by it."""
    return "YES" if summary.names_patient else "NO"


def secondary_capture(headers: Sequence[Dataset], summary: Summary) -> hd.sc.SCImage:
    """The page as an RGB image that names every source slice."""
    image = hd.sc.SCImage.from_ref_dataset(
        headers[0],
        pixel_array=summary.rgb,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series_uid(headers[0], "SC", AUTOMATIC),
        series_number=303,
        sop_instance_uid=UNNAMED,
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    image.PatientOrientation = ""  # type: ignore[assignment]  # a page has none; the tag may be empty
    image.SeriesDescription, image.BodyPartExamined = "Lung lesion report", "CHEST"
    image.BurnedInAnnotation = _burned_in(summary)
    image.SourceImageSequence = references(headers)
    return image
