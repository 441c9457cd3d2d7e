"""An earlier result as it lies on the disk: its document, and its folder where more than that was given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.codes import CATALOGUE
from volumetry.deliver import settle
from volumetry.deliver.schema import SCHEMA
from volumetry.domain import Status
from volumetry.errors import InputError
from volumetry.prior.current import current_reading

_NUMBERS = ("lung", "lesion", "ground_glass", "solid")


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
        ``PRIOR_NO_RESULT`` if there is no measured result, ``PRIOR_SCHEMA`` if its schema is another than this
        program's, ``PATIENT_UNKNOWN`` if it does not state a patient.
    """
    folder = path if path.is_dir() else None
    try:
        if folder is not None:
            settle(folder)
        document = json.loads((path / "result.json" if folder else path).read_text("utf-8"))
        name, schema = str(document["scan_id"]), document["schema"]
        Status(document["status"])
        volumes, shares = document.get("volumes_ml", {}), document.get("percent_of_lung", {})
        sound = all(float(volumes[name]) >= 0 for name in _NUMBERS) and float(volumes["lung"]) > 0
        sound = sound and all(0 <= float(shares[name]) <= 100 for name in _NUMBERS[1:])
        patient = document["provenance"].get("patient_digest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise InputError("the prior is not the result of a measured scan", "PRIOR_NO_RESULT", _RESULT) from wrong
    if schema != SCHEMA:
        message = (
            f"the prior {name} has schema {schema!r} of result.json; this program reads schema {SCHEMA}, and the "
            "numbers of another schema may be defined differently"
        )
        raise InputError(message, "PRIOR_SCHEMA", CATALOGUE["PRIOR_SCHEMA"].hint)
    if not sound:
        raise InputError("the prior's numbers are not those of a measured scan", "PRIOR_NO_RESULT", _RESULT)
    if not isinstance(patient, str):
        message = f"the prior {name} does not state a digest of its patient"
        raise InputError(message, "PATIENT_UNKNOWN", _AGAIN)
    return Earlier(document, folder) if folder is None else Earlier(*current_reading(folder, document))


_RESULT = "Give the folder, or the result.json, of a measured scan."
_AGAIN = (
    "Measure the earlier scan again with `volumetry check` on this installation; its header must hold a PatientID."
)
