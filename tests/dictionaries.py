"""Columns that the dictionary beside some tables does not describe."""

import csv
from pathlib import Path


def not_described(folder: Path) -> list[str]:
    """Columns of the CSV files of a folder without a meaning in its dictionary.csv, as ``table: column``."""
    tables = {path.name: _rows(path)[0] for path in folder.glob("*.csv") if path.name != "dictionary.csv"}
    head, *lines = _rows(folder / "dictionary.csv")
    assert head == ["table", "column", "unit", "meaning"]
    said = {(table, column): meaning for table, column, _, meaning in lines}
    assert tables, "no table was written"
    return [
        f"{table}: {column}"
        for table, columns in tables.items()
        for column in columns
        if not said.get((table, column))
    ]


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))
