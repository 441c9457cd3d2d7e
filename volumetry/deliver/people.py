"""What people said of a scan, as columns behind those of result.json in a batch's results.csv.

A batch fills them, exports and trial tables read them. A decision stands in ``decision`` only while it holds for
the value of the row: what was decided on an earlier value stands in ``outdated_decision``. No reader of the tables
uses a scan with an outdated exclusion.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column, a text in every row.

    Parameters
    ----------
    name
        In results.csv.
    meaning
        What stands in it, for the result dictionary.
    """

    name: str
    meaning: str


COLUMNS = (
    Column("decision", "Decision that applies to this value: accept, exclude or repeat; otherwise empty."),
    Column("decided_by", "Person who decided."),
    Column("decided_at", "Time of the decision, in UTC (ISO 8601)."),
    Column("decision_reason", "Reason for the decision."),
    Column(
        "outdated_decision",
        "The last decision, if it was made on an earlier value and no longer applies. A scan whose exclusion is "
        "outdated is not used until a new decision is recorded.",
    ),
    Column("corrected_by", "Reader whose mask was counted; empty if the value is automatic."),
    Column("corrected_at", "Time when the reader's mask was measured, in UTC (ISO 8601)."),
    Column("correction_reason", "Reason why the reader edited the mask."),
    Column("correction_version", "Version of volumetry that measured the reader's mask."),
    Column("correction", "Folder of the counted correction, relative to the folder of the batch."),
    Column(
        "correction_note",
        "Note that the correction was made on an earlier automatic result, or the reason why it is not counted.",
    ),
)
NAMES = tuple(column.name for column in COLUMNS)
"""Their names, in the order of the table."""
DECISION = ("decision", "decided_by", "decided_at", "decision_reason")
"""Those of a decision that holds."""
READER = "reader"
"""``reading`` of a value that was counted on a reader's mask; otherwise ``automatic``."""
EXCLUDED, EXCLUSION_OUTDATED = "EXCLUDED", "EXCLUSION_OUTDATED"
"""Why the value of a measured scan is not used."""


def left_out(said: Mapping[str, str]) -> str | None:
    """Why a person's decision keeps the value of a scan from being used.

    Parameters
    ----------
    said
        Cells of the scan's row by column; columns may be missing.

    Returns
    -------
    str or None
        ``EXCLUDED``; ``EXCLUSION_OUTDATED`` if it was excluded, has other images or a new mask since, or was to be
        measured again, and nobody has decided on what is there now; None for a scan that is used.

    Examples
    --------
    >>> left_out({"decision": "exclude"}), left_out({"decision": "accept"})
    ('EXCLUDED', None)
    """
    if said.get("decision") == "exclude":
        return EXCLUDED
    return EXCLUSION_OUTDATED if said.get("outdated_decision", "").startswith("exclude ") else None
