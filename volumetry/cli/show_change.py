"""What the terminal shows of the change since earlier scans of the patient."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def change(document: Mapping[str, Any], console: Console) -> None:
    """The change since each earlier scan, in mL and points of lung, with the grade of each pair."""
    visits = (document.get("prior") or {}).get("visits") or []
    if not visits:
        return
    table = Table("since", "days", "measure", "then %", "points", "mL", "grade", title="change")
    for visit in visits:
        head = (visit["acquisition_date"], str(visit["days_before"])), visit["grade"]
        for measure, points in visit["change_points"].items():
            then, ml = visit["percent_of_lung"][measure], visit["change_ml"][measure]
            numbers = (measure.replace("_", " "), f"{then:.2f}", f"{points:+.2f}", f"{ml:+.1f}")
            table.add_row(*head[0], *numbers, head[1])
            head = ("", ""), ""
    console.print(table)
    for visit in visits:
        if visit["reasons"]:
            why = ", ".join(visit["reasons"])
            console.print(f"  grade {visit['grade']} since {visit['acquisition_date']}: {why}")
