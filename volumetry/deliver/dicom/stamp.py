"""When an object was made, and its UID, which follows from all that it says: one UID never means two contents.

The libraries write the time of writing and random UIDs into an object. Here its dates are those of its result, and
its UID is a digest of everything that is written, dates included. A result that is sent again is then the same
object to the last byte. A repeated run is the same object too, if it finds the earlier one: it keeps the dates of
the first. The summary page, which prints its date, takes that of the report (`dated_as`), so that it is repeated
where the report is.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from volumetry.deliver.dicom.uids import UNNAMED, dimensions_uid, instance_uid
from volumetry.storage.placing import EARLIER

_DATES_AND_TIMES = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("ContentDate", "ContentTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
_LIBRARY = "highdicom"
_DAY, _HOUR = "%Y%m%d", "%H%M%S"


def stamp(made: Dataset, document: Mapping[str, Any], folder: Path, name: str) -> None:
    """Set the UID of an object, and each date and time of making that it holds.

    Parameters
    ----------
    made
        The object, otherwise complete.
    document
        result.json; its ``provenance.created`` is what the object states, in local time, as DICOM has it.
    folder, name
        Where the object will lie. If an earlier run delivered the same object there, its dates are kept, and with
        them its UID.
    """
    _set(made, UNNAMED, "", "")
    content = _content_sha256(made)
    when = datetime.fromisoformat(document["provenance"]["created"]).astimezone()
    day, hour = when.strftime(_DAY), when.strftime(_HOUR)
    for uid, earlier_day, earlier_hour in _earlier(folder, name):
        if uid == instance_uid(content, earlier_day, earlier_hour):
            day, hour = earlier_day, earlier_hour
            break
    _set(made, instance_uid(content, day, hour), day, hour)


def dated_as(report: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """result.json with the date that its report states.

    Parameters
    ----------
    report
        The structured report as written: if it says what that of an earlier run said, it has kept its date.
    document
        result.json.

    Returns
    -------
    dict[str, Any]
        With that date as ``provenance.created``, from which summary page and objects take theirs.
    """
    said = dcmread(report, specific_tags=["ContentDate", "ContentTime"])
    local = datetime.strptime(f"{said.ContentDate}{said.ContentTime}", _DAY + _HOUR).astimezone()
    created = local.astimezone(UTC).isoformat(timespec="seconds")
    return {**document, "provenance": {**document["provenance"], "created": created}}


def _set(made: Dataset, uid: UID, day: str, hour: str) -> None:
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    for item in (*made.get("DimensionOrganizationSequence", []), *made.get("DimensionIndexSequence", [])):
        item.DimensionOrganizationUID = dimensions_uid(uid)
    for date, time in _DATES_AND_TIMES:
        if date in made:
            setattr(made, date, day)
            setattr(made, time, hour)
    for item in made.get("ContributingEquipmentSequence", []):
        # The library states its own time beside the scanner's, which is the source's and stays.
        if item.get("ManufacturerModelName") == _LIBRARY:
            item.ContributionDateTime = day + hour


def _content_sha256(made: Dataset) -> str:
    content = BytesIO()
    written = DicomIO(content)
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, made)
    return hashlib.sha256(content.getbuffer()).hexdigest()


def _earlier(folder: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """UID, day and hour of what lies under this name in the folder and among its earlier results."""
    wanted = ["SOPInstanceUID", "ContentDate", "ContentTime"]
    for path in (folder / name, *sorted(folder.glob(f"{EARLIER}/*/{name}"))):
        with contextlib.suppress(OSError, InvalidDicomError):
            found = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            uid, day, hour = (str(found.get(keyword, "")) for keyword in wanted)
            yield uid, day, hour
