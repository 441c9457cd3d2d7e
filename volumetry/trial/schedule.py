"""Visit and day of each scan, from the trial's table of visits, for files that others read."""

import math
from collections.abc import Collection
from pathlib import Path

from volumetry.deliver.scheduled import Scheduled
from volumetry.storage.csv_tables import read_table
from volumetry.trial.config import TrialConfig
from volumetry.trial.visits import COLUMNS, read_visits

_FROM_TREATMENT = ("days", "cdisc", "first_treatment")
_DAY_FROM = "day_from"
"""Column of a batch's template: whoever counts the days from the first treatment clears it."""


def schedule_of(path: Path, scan_ids: Collection[str], config: TrialConfig) -> dict[str, Scheduled]:
    """Visit, its number, and the day of every scan of the table.

    Parameters
    ----------
    path
        visits.csv.
    scan_ids
        The scans that the results know.
    config
        Names of the baseline, columns and windows.

    Returns
    -------
    dict[str, Scheduled]
        By scan. Days that count from the first scan, or from the baseline visit, are left out.

    Raises
    ------
    UsageError
        If there is no such file.
    TableError
        As `read_visits`.
    """
    visits = read_visits(path, scan_ids, config)
    numbers = {visit: number for number, visit in enumerate(visits.visits, 1)}
    others = {
        row.number for row in read_table(path, COLUMNS, config.input.aliases).rows if row.cells.get(_DAY_FROM)
    }
    treated = visits.day_source in _FROM_TREATMENT
    return {
        row.scan_id: Scheduled(
            row.visit,
            numbers[row.visit],
            math.floor(row.day) if treated and row.day is not None and row.row not in others else None,
        )
        for rows in visits.rows.values()
        for row in rows
        if row.scan_id is not None
    }
