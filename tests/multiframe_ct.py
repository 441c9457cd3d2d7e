"""Enhanced and Legacy Converted CT objects made of a classic series, for tests of the reader.

The Legacy Converted object is highdicom's; the Enhanced one is written here attribute by attribute (DICOM PS3.3
A.38 and C.7.6.16), so that every functional group can be bent.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid


def legacy_converted(images: Sequence[Dataset], path: Path) -> None:
    for image in images:
        for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName"):
            if keyword not in image:
                setattr(image, keyword, "")
        image.PatientPosition, image.BurnedInAnnotation = "HFS", "NO"
    converted = hd.legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=list(images),
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    converted.save_as(path)


def enhanced(images: Sequence[Dataset], *, compress: bool = False) -> Dataset:
    """An Enhanced CT object with the given images as its frames, in the given order."""
    first = images[0]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedCTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    for keyword in (
        *("Modality", "Manufacturer", "ManufacturerModelName", "PatientID", "PatientName", "PatientBirthDate"),
        *("PatientSex", "PatientAge", "PatientPosition", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"),
        *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
        *("HighBit", "PixelRepresentation", "AcquisitionDate", "StudyTime"),
    ):
        if keyword in first:
            setattr(ds, keyword, first.get(keyword))
    ds.SeriesInstanceUID = generate_uid()
    ds.InstanceNumber = "1"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.NumberOfFrames = len(images)
    shared = Dataset()
    shared.PixelMeasuresSequence = Items([_with(PixelSpacing=first.PixelSpacing, SliceThickness="2.5")])
    shared.PlaneOrientationSequence = Items([_with(ImageOrientationPatient=first.ImageOrientationPatient)])
    rescale = _with(RescaleSlope=first.RescaleSlope, RescaleIntercept=first.RescaleIntercept, RescaleType="HU")
    shared.PixelValueTransformationSequence = Items([rescale])
    shared.CTImageFrameTypeSequence = Items([_with(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])])
    shared.CTReconstructionSequence = Items([_with(ConvolutionKernel="B50f")])
    shared.CTXRayDetailsSequence = Items([_with(KVP="120")])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items([_frame(image, n) for n, image in enumerate(images, 1)])
    ds.PixelData = b"".join(image.PixelData for image in images)
    ds["PixelData"].VR = "OW"
    if compress:
        frames = [_as_jpeg2000(image) for image in images]
        ds.PixelData = encapsulate(frames, fragments_per_frame=2)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return ds


def save(ds: Dataset, path: Path) -> None:
    ds.save_as(path, enforce_file_format=True)


def each_frame(ds: Dataset, bend: Callable[[Dataset, int], None]) -> None:
    for n, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        bend(groups, n)


def _frame(image: Dataset, number: int) -> Dataset:
    groups = Dataset()
    content = _with(StackID="1", FrameAcquisitionNumber=1)
    content.InStackPositionNumber = number
    content.DimensionIndexValues = [1, number]
    groups.FrameContentSequence = Items([content])
    groups.PlanePositionSequence = Items([_with(ImagePositionPatient=image.ImagePositionPatient)])
    return groups


def _with(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _as_jpeg2000(image: Dataset) -> bytes:
    copy = Dataset(image)
    copy.file_meta = FileMetaDataset(image.file_meta)
    copy.compress(JPEG2000Lossless, generate_instance_uid=False)
    return next(generate_frames(copy.PixelData, number_of_frames=1))
