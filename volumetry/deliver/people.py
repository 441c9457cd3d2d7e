"""What people said of a scan, as columns behind those of result.json in a batch's results.csv.

A batch fills them, exports and trial tables read them. A decision stands in ``decision`` only while it holds for
the value of the row: what was decided on an earlier value stands in ``outdated_decision``.
"""

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
    Column("decision", "accept, exclude or repeat, decided on the value of this row; empty without a decision."),
    Column("decided_by", "Who decided."),
    Column("decided_at", "When, in UTC (ISO 8601)."),
    Column("decision_reason", "Why."),
    Column("outdated_decision", "The last decision, if it was made on an earlier value and does not hold."),
    Column("corrected_by", "Reader whose mask was counted; empty where the value is automatic."),
    Column("corrected_at", "When the mask was measured, in UTC (ISO 8601)."),
    Column("correction_reason", "Why the reader edited the mask."),
    Column("correction_version", "Version of volumetry that measured the reader's mask."),
    Column("correction", "Folder of the correction that is counted, below the batch's folder."),
    Column(
        "correction_note",
        "Whether the correction was made on an earlier automatic result, or why the last one is not counted.",
    ),
)
NAMES = tuple(column.name for column in COLUMNS)
"""Their names, in the order of the table."""
DECISION = ("decision", "decided_by", "decided_at", "decision_reason")
"""Those of a decision that holds."""
READER = "reader"
"""``reading`` of a value that was counted on a reader's mask; otherwise ``automatic``."""
