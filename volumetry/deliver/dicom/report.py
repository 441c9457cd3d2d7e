"""The numbers as TID 1500 SR, one measurement group per segment of the SEG."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from volumetry import __version__
from volumetry.deliver.dicom import concepts
from volumetry.deliver.dicom.concepts import Structure, coded
from volumetry.deliver.dicom.numbers import (
    Number,
    measurement,
    millilitres,
    properties_of,
    reach_of,
    share,
    significant,
)
from volumetry.deliver.dicom.regions import region_groups, sides_hold
from volumetry.deliver.dicom.revision import AUTOMATIC, Revision, reader_of, reason_of
from volumetry.deliver.dicom.segmentation import MANUFACTURER, algorithm_name
from volumetry.deliver.dicom.uids import UNNAMED, series_uid
from volumetry.deliver.report import lobes, text
from volumetry.deliver.report.pattern import pattern

_SHARES = {
    concepts.LESION_PERCENT: "lesion",
    concepts.GROUND_GLASS_PERCENT: "ground_glass",
    concepts.SOLID_PERCENT: "solid",
}
_LESION_VOLUME = {concepts.LESION_ML: "lesion"}
Uncertainty = tuple[float, float, Code]
"""Above, below, and their unit."""
_WRITTEN: Mapping[Code, Callable[[float], float]] = {
    concepts.ML: millilitres,
    concepts.PERCENT: share,
    concepts.NO_UNITS: int,
}
"""Digits of a number of each unit."""
_WITH_INTERVAL = ("ground_glass", "solid")
"""Segments whose volume has an interval."""


def structured_report(
    headers: Sequence[Dataset],
    seg: hd.seg.Segmentation,
    segments: Sequence[Structure],
    tracking_uids: Sequence[str],
    document: Mapping[str, Any],
    revision: Revision = AUTOMATIC,
) -> hd.sr.Comprehensive3DSR:
    """Volumes in mL and shares of the lung, as measured, on the segments of `seg`, with status and flags."""
    reader = reader_of(document)
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MANUFACTURER, __version__]),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MANUFACTURER} {__version__}",
    )
    observer = hd.sr.ObserverContext(coded(concepts.DEVICE), device)
    source = hd.sr.SourceSeriesForSegmentation(headers[0].SeriesInstanceUID)
    groups = [
        _group(number, segment, uid, seg, source, document)
        for number, (segment, uid) in enumerate(zip(segments, tracking_uids, strict=True), 1)
    ]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(_person(reader), observer),
        procedure_reported=coded(concepts.CHEST_CT),
        imaging_measurements=[*groups, *region_groups(headers, document, _algorithm(document))],
        title=coded(concepts.REPORT),
    )
    remarks = [*([reason_of(document)[1]] if reader else []), *remarks_of(document)]
    content[0].ContentSequence.extend(map(_comment, remarks))
    return hd.sr.Comprehensive3DSR(
        evidence=[seg, *headers],
        content=content,
        series_instance_uid=series_uid(headers[0], "SR", revision),
        series_number=revision.series_number(301),
        sop_instance_uid=UNNAMED,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        series_description="Lung lesion volumes, corrected" if reader else "Lung lesion volumes",
        previous_versions=revision.superseded("sr.dcm") or None,
    )


def _person(reader: str | None) -> hd.sr.ObserverContext | None:
    if reader is None:
        return None
    return hd.sr.ObserverContext(coded(concepts.PERSON), hd.sr.PersonObserverIdentifyingAttributes(reader))


def remarks_of(document: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the numbers must know: status, flags, intervals, lobes, model, and that it is research."""
    yield f"Status: {document['status']}"
    if said := pattern(document):
        yield said
    severities = {"review": "requires a reader", "look": "note"}
    for flag in document["flags"]:
        yield f"Flag {flag['code']} ({severities.get(flag['severity'], flag['severity'])}): {flag['message']}"
    yield _intervals(document)
    if sides_hold(document) and (said := lobes.note(document)):
        yield said
    made = document.get("provenance", {})
    version, model = made.get("software_version", __version__), made.get("model", "unknown")
    yield f"Made by: {MANUFACTURER} {version}, model {model}"
    yield "Research use only. Not a medical device."


def _intervals(document: Mapping[str, Any]) -> str:
    """What the uncertainties are, with their coverage, for which DICOM has no code; or why there are none."""
    said = text.interval(document)
    if not document.get("interval_percent"):
        return said
    return f"Uncertainties of volumes and percentages are the limits of an interval. {said}"


def _comment(words: str) -> hd.sr.TextContentItem:
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    return hd.sr.TextContentItem(coded(concepts.COMMENT), words, contains)


def own_ml(segment: Structure, document: Mapping[str, Any]) -> float:
    """The volume of a segment, with all its digits."""
    ml = document["volumes_ml"]
    if segment.key == "unclassed":
        return float(ml["lesion"] - ml["ground_glass"] - ml["solid"])
    return float(ml[segment.key])


def numbers_of(segment: Structure, document: Mapping[str, Any]) -> tuple[Number, ...]:
    """What the report says of one segment: concept, value, unit."""
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    more: tuple[Number, ...] = ()
    if segment.key == "ground_glass":
        more = ((concepts.GROUND_GLASS_PERCENT, percent["ground_glass"], concepts.PERCENT),)
    elif segment.key == "solid":
        more = ((concepts.SOLID_PERCENT, percent["solid"], concepts.PERCENT),)
    elif segment.key in ("lung", "aerated"):
        more = (
            (concepts.LUNG_ML, ml["lung"], concepts.ML),
            (concepts.LESION_ML, ml["lesion"], concepts.ML),
            (concepts.LESION_PERCENT, percent["lesion"], concepts.PERCENT),
            *_severity_score(document),
        )
    every = ((concepts.VOLUME, own_ml(segment, document), concepts.ML), *more)
    return tuple((concept, _WRITTEN[unit](value), unit) for concept, value, unit in every)


def _severity_score(document: Mapping[str, Any]) -> tuple[Number, ...]:
    """Of both lungs, made from the lobes: not stated where the lobes are not."""
    score = document.get("severity_score") if sides_hold(document) else None
    return () if score is None else ((concepts.SEVERITY_SCORE, score, concepts.NO_UNITS),)


def uncertainty_of(number: Number, segment: Structure, document: Mapping[str, Any]) -> Uncertainty | None:
    """How far a number reaches above and below: a share in points of lung, a volume in mL, the score in its own.

    Parameters
    ----------
    number, segment
        What is measured, as written, and of what.
    document
        result.json.

    Returns
    -------
    Uncertainty or None
        None where there is no interval.
    """
    concept, value, _ = number
    if concept == concepts.SEVERITY_SCORE:
        low, high = document["severity_score_range"]
        return high - value, value - low, concepts.NO_UNITS
    own = segment.key if segment.key in _WITH_INTERVAL else None
    name = _SHARES.get(concept) or _LESION_VOLUME.get(concept) or (own if concept == concepts.VOLUME else None)
    reach = None if name is None else reach_of(name, document)
    if reach is None:
        return None
    ml_per_point = document["volumes_ml"]["lung"] / 100
    per_point, unit = (1.0, concepts.POINTS) if concept in _SHARES else (ml_per_point, concepts.ML)
    upper, lower = (significant(points * per_point) for points in reach)
    return upper, min(lower, value), unit  # rounded up, an interval from zero would begin below zero


def _properties(
    number: Number, segment: Structure, document: Mapping[str, Any]
) -> hd.sr.MeasurementProperties | None:
    found = uncertainty_of(number, segment, document)
    return None if found is None else properties_of(*found)


def _algorithm(document: Mapping[str, Any]) -> hd.sr.AlgorithmIdentification:
    return hd.sr.AlgorithmIdentification(name=algorithm_name(document), version=__version__)


def _group(
    number: int,
    segment: Structure,
    tracking_uid: str,
    seg: hd.seg.Segmentation,
    source: hd.sr.SourceSeriesForSegmentation,
    document: Mapping[str, Any],
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    measurements = [
        measurement(
            one, concepts.VOXEL_SUM if one[0] == concepts.VOLUME else None, _properties(one, segment, document)
        )
        for one in numbers_of(segment, document)
    ]
    # By hand: ReferencedSegment.from_segmentation() fails for a segment without frames, as without a lesion.
    referenced = hd.sr.ReferencedSegment(
        seg.SOPClassUID, seg.SOPInstanceUID, segment_number=number, source_series=source
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=tracking_uid, identifier=segment.label),
        referenced_segment=referenced,
        finding_type=coded(segment.kind),
        finding_category=coded(segment.category),
        measurements=measurements,
        finding_sites=[hd.sr.FindingSite(anatomic_location=coded(concepts.LUNG))] if segment.in_lung else None,
        algorithm_id=_algorithm(document),
    )
