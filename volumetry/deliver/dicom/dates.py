"""When an object was made: as its result says, so that one UID never means two contents.

The libraries write the time of writing into every object. A result that is sent again would then be another object
under the same UID.
"""

import contextlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from volumetry.storage.placing import EARLIER

_DATES_AND_TIMES = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("ContentDate", "ContentTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
_LIBRARY = "highdicom"


def set_dates(made: Dataset, document: Mapping[str, Any], folder: Path, name: str) -> None:
    """Set each date and time of making that an object holds.

    Parameters
    ----------
    made
        The object, with its UID.
    document
        result.json; its ``provenance.created`` is what the object states, in local time, as DICOM has it.
    folder, name
        Where the object will lie. If an earlier run delivered the same object there, its dates are kept: a
        repeated run has another time and the same UID.
    """
    before = _same_object(folder, name, str(made.SOPInstanceUID))
    when = datetime.fromisoformat(document["provenance"]["created"]).astimezone()
    day = before.get("ContentDate") or when.strftime("%Y%m%d")
    hour = before.get("ContentTime") or when.strftime("%H%M%S")
    for date, time in _DATES_AND_TIMES:
        if date in made:
            setattr(made, date, day)
            setattr(made, time, hour)
    for item in made.get("ContributingEquipmentSequence", []):
        # The library states its own time beside the scanner's, which is the source's and stays.
        if item.get("ManufacturerModelName") == _LIBRARY:
            item.ContributionDateTime = day + hour


def _same_object(folder: Path, name: str, uid: str) -> Dataset:
    """The header of the object with this UID, in the folder or among its earlier results; else an empty one."""
    wanted = ["SOPInstanceUID", "ContentDate", "ContentTime"]
    for path in (folder / name, *sorted(folder.glob(f"{EARLIER}/*/{name}"))):
        with contextlib.suppress(OSError, InvalidDicomError):
            found = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            if found.get("SOPInstanceUID") == uid:
                return found
    return Dataset()
