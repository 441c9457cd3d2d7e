"""The mask as DICOM SEG, frame by frame on the source slices, so that a tilted stack stays as it was scanned."""

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from volumetry import __version__
from volumetry.deliver.dicom.concepts import ARTIFICIAL_INTELLIGENCE, LUNG, Structure, coded
from volumetry.deliver.dicom.options import DicomOptions
from volumetry.deliver.dicom.revision import reader_of, reason_of, refer_to_superseded
from volumetry.deliver.dicom.uids import UNNAMED, series_uid
from volumetry.domain import TissueMap

MANUFACTURER = "volumetry"


def segmentation(
    headers: Sequence[Dataset],
    tissue: TissueMap,
    segments: Sequence[Structure],
    tracking_uids: Sequence[str],
    document: Mapping[str, Any],
    options: DicomOptions,
) -> hd.seg.Segmentation:
    """The mask's segments as SEG.

    Parameters
    ----------
    headers
        One per slice of the mask, in its order: frame ``k`` takes its position from header ``k``.
    tissue
        The delivered mask.
    segments, tracking_uids
        What to write, and the UID by which the report will speak of it.
    document
        result.json, for the model's name.
    options
        BINARY (segments may overlap) or LABELMAP (they may not); of a correction, its number and those before it.
    """
    binary = options.segmentation_type != "labelmap"
    kind, revision = "binary" if binary else "labelmap", options.revision
    reader = reader_of(document)
    brief, reason = reason_of(document) if reader else (None, "")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=algorithm_name(document), family=coded(ARTIFICIAL_INTELLIGENCE), version=__version__
    )
    kinds = hd.seg.SegmentAlgorithmTypeValues
    made = kinds.SEMIAUTOMATIC if reader else kinds.AUTOMATIC
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=coded(segment.category),
            segmented_property_type=coded(segment.kind),
            algorithm_type=made,
            algorithm_identification=algorithm,
            tracking_uid=uid,
            tracking_id=segment.label,
            display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
            anatomic_regions=[coded(LUNG)] if segment.in_lung else None,
        )
        for number, (segment, uid) in enumerate(zip(segments, tracking_uids, strict=True), 1)
    ]
    seg = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=_planes(tissue, segments, binary),
        segmentation_type="BINARY" if binary else "LABELMAP",
        segment_descriptions=described,
        series_instance_uid=series_uid(headers[0], f"SEG {kind}", revision),
        series_number=revision.series_number(300),
        sop_instance_uid=UNNAMED,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number="0",
        content_label="LUNG_LESIONS",
        content_creator_name=reader,
        content_description=brief,
        series_description="Lung lesion segmentation, corrected" if reader else "Lung lesion segmentation",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    if reader:
        seg.DerivationDescription = reason
        refer_to_superseded(seg, revision.superseded("seg.dcm"))
    return seg


def algorithm_name(document: Mapping[str, Any]) -> str:
    """Program and model, for algorithm identification."""
    model = document.get("provenance", {}).get("model")
    return f"volumetry {model}" if model else "volumetry"


def _planes(tissue: TissueMap, segments: Sequence[Structure], binary: bool) -> NDArray[np.uint8]:
    """BINARY: slices x rows x columns x segments of 0 and 1; LABELMAP: segment numbers."""
    if binary:
        return np.stack([np.isin(tissue.mask_kji, s.tissues).astype(np.uint8) for s in segments], axis=-1)
    number = np.zeros(256, np.uint8)
    for n, segment in enumerate(segments, 1):
        number[list(segment.tissues)] = n
    return number[tissue.mask_kji]
