"""Where a number of a table comes from: files, settings, model, and the persons who decided and corrected.

::

    row       the row that is asked for, what made its table, and whether the table is still as it was made
    scan      one scan of a batch: record, automatic result, corrections, decisions, what was set aside
    trace     the row, the rows of changes.csv that an aggregate stands on, and the scans behind them
    text      the same for people
"""

from volumetry.explain.text import as_text
from volumetry.explain.trace import explain

__all__ = ["as_text", "explain"]
