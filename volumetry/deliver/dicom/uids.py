"""UIDs that follow from what an object says: a repeated run gives the same objects, and an archive no second copy.

A series belongs to its source series, its kind and its revision, so that a later result of the same scan joins the
earlier one. An instance belongs to everything that it says; what differs from run to run without being said of the
scan (times, memory, device) is left out.
"""

from collections.abc import Mapping
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, generate_uid

from volumetry.deliver.dicom.revision import Revision
from volumetry.storage.digests import canonical_sha256

_OF_THE_RUN = ("timing_s", "peak_memory_mb")
_NOT_STATED = {"SEG": ("scan_id",), "SR": ("scan_id",)}
"""By the first word of the kind. `receive` gives a study another name each time, which only the page states."""
_OF_THE_RUN_BELOW = ("created", "device", "packages")
_OF_THE_SOURCE = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


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


def instance_uid(header: Dataset, kind: str, revision: Revision, document: Mapping[str, Any]) -> UID:
    """Of one object.

    Parameters
    ----------
    header, kind, revision
        As for `series_uid`.
    document
        Content of result.json.

    Returns
    -------
    UID
        The same for the same result, whenever it was made.
    """
    left_out = (*_OF_THE_RUN, *_NOT_STATED.get(kind.split()[0], ()))
    said = {key: value for key, value in document.items() if key not in left_out}
    made = document.get("provenance") or {}
    said["provenance"] = {key: value for key, value in made.items() if key not in _OF_THE_RUN_BELOW}
    sources = [*_source(header), kind, str(revision.number), canonical_sha256(said)]
    return generate_uid(entropy_srcs=["volumetry instance", *sources])


def tracking_uid(header: Dataset, label: str) -> UID:
    """Of what a segment shows, over all results of a scan."""
    return generate_uid(entropy_srcs=["volumetry tracking", *_source(header), label])


def _source(header: Dataset) -> list[str]:
    return [str(header.get(keyword, "")) for keyword in _OF_THE_SOURCE]
