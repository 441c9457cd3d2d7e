"""Which reading of a result counts: the automatic one, or a reader's correction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volumetry.batch import batch_of, corrections_of
from volumetry.errors import InputError, UsageError
from volumetry.web.readings import Corrections


def corrections_place(result: Path) -> Corrections:
    """Where the corrections of a result lie: in its own folder, or beside the scans of its batch.

    Parameters
    ----------
    result
        Folder of a result.

    Returns
    -------
    Corrections
        Not looked at yet.
    """
    try:
        out = batch_of(result)
    except UsageError:  # an earlier result or a correction of a batch: it can be looked at, and not be corrected
        out = None
    if out is None:
        return Corrections(result, result / "corrections")
    name = result.resolve().name
    folder, _, _ = corrections_of(out, name)
    return Corrections(result, folder, lambda: corrections_of(out, name)[1:])


def current_reading(result: Path, automatic: Mapping[str, Any]) -> tuple[Mapping[str, Any], Path]:
    """The reading that counts: of a batch, the one that its log counts; of any other result, the last correction.

    Parameters
    ----------
    result
        Folder of a result.
    automatic
        Its result.json.

    Returns
    -------
    document, folder
        result.json of that reading, and where it lies.

    Raises
    ------
    InputError
        ``PRIOR_NO_RESULT`` if the correction that counts is damaged or was drawn on other images: the automatic
        value in its place would look like the reader's.
    """
    place = corrections_place(result)
    readings = place.look(automatic)
    counting = place.counted()[0] if place.counted else readings.last
    if not counting:
        return automatic, result
    if readings.current is None or readings.current.number != counting:
        raise InputError(
            f"correction {counting} of the prior {automatic['scan_id']} counts, and it cannot be used: its files "
            "are missing or were changed, or it was drawn on other images",
            "PRIOR_NO_RESULT",
            "Restore the correction, or name the reading to compare with: result.json of the automatic one, or "
            "the folder of another correction.",
        )
    return readings.current.document, readings.current.folder
