"""results.csv: one row per scan, the document's keys flattened with dots; what was not measured is empty."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from volumetry.deliver.result import result_schema
from volumetry.storage.atomic import write_whole
from volumetry.storage.csv_tables import csv_line, guarded


def columns() -> tuple[str, ...]:
    """The table's columns, in the schema's order; the same for every scan, measured or not."""
    return tuple(_leaves(result_schema(), ""))


def row_of(document: Mapping[str, Any]) -> dict[str, str]:
    """One document as cells.

    Numbers are written with all their digits. A text that a spreadsheet would take for a formula gets a leading
    apostrophe. Lists are joined with ``;`` (of flags, their codes).
    """
    return {name: _cell(_at(document, name)) for name in columns()}


def table_bytes(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """The whole table: UTF-8, LF, every text quoted where it must be."""
    lines = (csv_line(row_of(document).values()) for document in documents)
    return b"".join([csv_line(columns()), *lines])


def write_table(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write results.csv whole; raises OutputError."""
    write_whole(path, table_bytes(documents))


def _leaves(schema: Mapping[str, Any], prefix: str) -> Iterable[str]:
    for key, below in schema["properties"].items():
        if "properties" in below:
            yield from _leaves(below, f"{prefix}{key}.")
        elif below.get("type") != "object":
            yield prefix + key


def _at(document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  a JSON value
    value: Any = document
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _cell(value: Any) -> str:  # noqa: ANN401  a JSON value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return ";".join(str(item["code"]) if isinstance(item, Mapping) else repr(item) for item in value)
    return guarded(str(value))
