"""An earlier result as it lies on the disk: its document, and its folder where more than that was given."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.codes import CATALOGUE
from volumetry.deliver import settle
from volumetry.deliver.people import READER
from volumetry.deliver.schema import SCHEMA
from volumetry.domain import Status
from volumetry.errors import InputError
from volumetry.prior.compared import MEASURES, scan_row
from volumetry.prior.current import current_reading
from volumetry.storage.digests import file_sha256

_SHARE_TOLERANCE = 0.01
"""Percentage points by which a share may differ from the one that the volumes give."""


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """A measured result.

    Parameters
    ----------
    document
        result.json.
    folder
        With the mask; None where result.json alone was given.
    """

    document: Mapping[str, Any]
    folder: Path | None


def read_earlier(path: Path) -> Earlier:
    """A result that can be compared with: it has numbers and states whose it is.

    Parameters
    ----------
    path
        Folder of a result, of which the reading counts that `current_reading` gives; or a result.json, which
        counts itself.

    Returns
    -------
    Earlier
        With a digest of its patient.

    Raises
    ------
    InputError
        ``PRIOR_NO_RESULT`` if there is no measured result, or its files are not those that run.json lists;
        ``PRIOR_SCHEMA`` if its schema is another than this program's; ``PATIENT_UNKNOWN`` if it does not state a
        patient.
    """
    folder = path if path.is_dir() else None
    try:
        if folder is not None:
            settle(folder)
        document = json.loads((path / "result.json" if folder else path).read_text("utf-8"))
        name, schema = str(document["scan_id"]), document["schema"]
        status, patient = Status(document["status"]), document["provenance"].get("patient_digest")
    except _MALFORMED as wrong:
        raise _no_result("the prior is not the result of a measured scan") from wrong
    if schema != SCHEMA:
        message = (
            f"the prior {name} has schema {schema!r} of result.json; this program reads schema {SCHEMA}, and the "
            "numbers of another schema may be defined differently"
        )
        raise InputError(message, "PRIOR_SCHEMA", CATALOGUE["PRIOR_SCHEMA"].hint)
    _require_unchanged(path, name)
    if status not in (Status.MEASURED, Status.REVIEW):
        raise _no_result(f"the prior {name} was not measured: its status is {status}")
    try:
        sound = _sound(document)
    except _MALFORMED as wrong:
        message = f"result.json of the prior {name} lacks what every result states, or was changed"
        raise _no_result(message) from wrong
    if not sound:
        raise _no_result("the prior's numbers are not those of a measured scan")
    if not isinstance(patient, str):
        message = f"the prior {name} does not state a digest of its patient"
        raise InputError(message, "PATIENT_UNKNOWN", _AGAIN)
    if folder is None:
        return Earlier(document, folder)
    reading, place = current_reading(folder, document)
    # A correction is of the same images, and may be older than the digest or the secret of the automatic result.
    return Earlier({**reading, "provenance": {**reading["provenance"], "patient_digest": patient}}, place)


_MALFORMED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading a file raises that is no result.json."""


def _require_unchanged(path: Path, name: str) -> None:
    """Stop if the run record beside a result has other digests of what is compared."""
    folder = path if path.is_dir() else path.parent
    used = ("result.json", "mask.nii.gz") if path.is_dir() else (path.name,)
    if used[0] != "result.json" or not (folder / "run.json").exists():
        return
    try:
        listed = json.loads((folder / "run.json").read_text("utf-8"))["files_sha256"]
        written = {file: listed.get(file) for file in used}
    except _MALFORMED as wrong:
        raise _no_result(f"run.json of the prior {name} was changed", _RESTORE) from wrong
    for file, sha256 in written.items():
        if not (folder / file).is_file():
            raise _no_result(f"{file} of the prior {name} is missing", _RESTORE)
        if file_sha256(folder / file) != sha256:
            raise _no_result(f"{file} of the prior {name} was changed: run.json has another digest", _RESTORE)


def _sound(document: Mapping[str, Any]) -> bool:
    """Whether the numbers can be those of one scan; raises what `_MALFORMED` lists where there is no number."""
    volumes, shares = document["volumes_ml"], document["percent_of_lung"]
    lung, lesion, *parts = (_number(volumes[name]) for name in ("lung", *MEASURES))
    if lung <= 0 or sum(parts) > lesion + _SHARE_TOLERANCE * lung / 100:
        return False
    if not isinstance(document["scan_id"], str) or document.get("reading", READER) not in ("automatic", READER):
        return False
    for measure in MEASURES:
        ml, share = _number(volumes[measure]), _number(shares[measure])
        if not (0 <= ml <= lung * (1 + 1e-9) and abs(share - 100 * ml / lung) <= _SHARE_TOLERANCE):
            return False
    for low, high in (document.get("interval_percent") or {}).values():
        if not _number(low) <= _number(high):
            return False
    scan_row(document)  # raises if what the pair is graded by is not there
    sorted(document.get("hu_bins_ml") or ())
    return True


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"not a number: {value!r}")
    return float(value)


def _no_result(message: str, hint: str | None = None) -> InputError:
    return InputError(message, "PRIOR_NO_RESULT", hint or _RESULT)


_RESTORE = "Restore the result's files, or measure the earlier scan again with `volumetry check`."
_RESULT = "Give the folder, or the result.json, of a measured scan."
_AGAIN = (
    "Measure the earlier scan again with `volumetry check` on this installation; its header must hold a PatientID."
)
