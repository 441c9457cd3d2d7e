"""The new batch as it will count once it is adopted, with what people said of the same images in the old one.

Arms that are compared by a new batch without the old one's exclusions and corrections would be other scans, and
models in place of readers. The acceptance of an automatic value is not carried over: it speaks of the value that
was seen.
"""

from pathlib import Path

from volumetry.deliver.people import DECISION, NAMES, READER, left_out
from volumetry.storage.csv_tables import csv_line, guarded, number_in, read_table
from volumetry.trial.results import PIXELS, results_file

NAME = "results-adopted.csv"
_WHOSE = ("scan_id", "site", "subject", "visit", "batch_flags")
_DECIDED = (*DECISION, "outdated_decision")


def adopted_bytes(old: Path, new: Path) -> bytes | None:
    """results.csv of the new batch with the old one's exclusions and corrections, where both have the same images.

    A correction is carried over if both tables have the same component rule and the same HU bins.

    Parameters
    ----------
    old, new
        Folders of batches, or tables with the columns of results.csv.

    Returns
    -------
    bytes or None
        CSV with every column of the new table, and those of decisions and corrections; None if there is nothing to
        carry over.
    """
    before, after = (read_table(results_file(batch), ("scan_id",)) for batch in (old, new))
    known = {row.cells["scan_id"]: row.cells for row in before.rows}
    automatic = [name for name in after.columns if f"automatic.{name}" in before.columns]
    more = [*(f"automatic.{name}" for name in automatic), "reading", *NAMES]
    columns = tuple(dict.fromkeys([*after.columns, *(name for name in more if name in before.columns)]))
    bins = [{name for name in table.columns if name.startswith("hu_bins_ml.")} for table in (before, after)]
    rows, carried = [], False
    for row in after.rows:
        was, now = known.get(row.cells["scan_id"], {}), dict(row.cells)
        same_images = bool(was.get(PIXELS)) and was[PIXELS] == now.get(PIXELS)
        same_rule = bins[0] == bins[1] and was.get("component_rule") == now.get("component_rule")
        corrected = same_images and same_rule and was.get("reading") == READER and now.get("reading") != READER
        if corrected:
            beside = {f"automatic.{name}": now[name] for name in automatic}
            now |= {name: cell for name, cell in was.items() if name not in (*_WHOSE, *_DECIDED)} | beside
        decided = same_images and was.get("decision") != "repeat" and (corrected or left_out(was) is not None)
        if decided and not any(now.get(name) for name in _DECIDED):
            now |= {name: was.get(name, "") for name in _DECIDED}
        carried = carried or now != row.cells
        rows.append(csv_line(_cell(now.get(name, "")) for name in columns))
    return b"".join([csv_line(columns), *rows]) if carried else None


def _cell(text: str) -> str:
    return text if number_in(text) is not None else guarded(text)
