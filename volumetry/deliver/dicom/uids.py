"""UIDs that follow from what is said: series and tracking from the source, instances from their whole content.

A series belongs to its source series, its kind and its revision, so that a later result of the same scan joins the
earlier one.
"""

from pydicom import Dataset
from pydicom.uid import UID, generate_uid

from volumetry.deliver.dicom.revision import Revision

_OF_THE_SOURCE = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
UNNAMED = generate_uid(entropy_srcs=["volumetry instance", "not named yet"])
"""Stands in for an instance's UID until its content is complete."""


def series_uid(header: Dataset, kind: str, revision: Revision) -> UID:
    """Of the series in which objects of a kind stand.

    Parameters
    ----------
    header
        Of a source slice.
    kind
        Of the object, such as ``SEG``.
    revision
        Whose result it is.

    Returns
    -------
    UID
        The same for every result of the source series.
    """
    return generate_uid(entropy_srcs=["volumetry series", *_source(header), kind, str(revision.number)])


def instance_uid(content_sha256: str, day: str, hour: str) -> UID:
    """Of one object.

    Parameters
    ----------
    content_sha256
        Digest of all that it says but the dates of making.
    day, hour
        The date and time of making that it states.

    Returns
    -------
    UID
        Another for every content and every date.
    """
    return generate_uid(entropy_srcs=["volumetry instance", content_sha256, day, hour])


def dimensions_uid(instance: str) -> UID:
    """Of the frame order of an object; the library draws it at random."""
    return generate_uid(entropy_srcs=["volumetry dimensions", instance])


def tracking_uid(header: Dataset, label: str) -> UID:
    """Of what a segment shows, over all results of a scan."""
    return generate_uid(entropy_srcs=["volumetry tracking", *_source(header), label])


def _source(header: Dataset) -> list[str]:
    return [str(header.get(keyword, "")) for keyword in _OF_THE_SOURCE]
