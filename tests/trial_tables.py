"""Small trial tables for tests: only what a test cares about is written out."""

import csv
from pathlib import Path

from volumetry.trial.config import TrialConfig
from volumetry.trial.results import read_results
from volumetry.trial.visits import read_visits

RESULTS = (
    *("scan_id", "status", "code", "volumes_ml.lung", "volumes_ml.lesion", "volumes_ml.solid"),
    *(
        "volumes_ml.ground_glass",
        "percent_of_lung.lesion",
        "percent_of_lung.solid",
        "percent_of_lung.ground_glass",
    ),
)
VISITS = ("subject", "visit", "day", "arm", "scan_id", "status")


def write_csv(path: Path, columns, rows) -> Path:
    """Rows are dicts; a key that is no column yet is added as one."""
    more = [key for row in rows for key in row if key not in columns]
    names = list(dict.fromkeys([*columns, *more]))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def scan(scan_id, lesion=10.0, solid=2.0, lung=4000.0, **more):
    """A measured scan from its shares in % and its lung in mL."""
    shares = {"lesion": lesion, "solid": solid, "ground_glass": lesion - solid}
    row = {"scan_id": scan_id, "status": "measured", "volumes_ml.lung": lung}
    row |= {f"percent_of_lung.{name}": value for name, value in shares.items()}
    row |= {f"volumes_ml.{name}": value * lung / 100 for name, value in shares.items()}
    return row | more


def visit(subject, name, day, scan_id="", **more):
    return {"subject": subject, "visit": name, "day": day, "scan_id": scan_id, **more}


def read(folder: Path, scans, visits, config: TrialConfig):
    """Both tables, written and read."""
    known = read_results(write_csv(folder / "results.csv", RESULTS, scans))
    return known, read_visits(write_csv(folder / "visits.csv", VISITS, visits), known, config)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
