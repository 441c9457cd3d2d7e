"""results.csv: one row per scan, the document's keys flattened with dots; what was not measured is empty."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from volumetry.deliver.schema import result_schema
from volumetry.measure import table
from volumetry.measure.components import REGISTERED_CUTS, HuCuts, cuts_named
from volumetry.storage.csv_tables import csv_line, guarded

_IN_NO_TABLE = "provenance.patient_digest"
"""Tables leave the site, where a pseudonym that all results of a patient share has no use."""


def columns(hu_cuts: HuCuts = REGISTERED_CUTS) -> tuple[str, ...]:
    """The table's columns, in the schema's order; the same for every scan of these HU cuts, measured or not.

    Parameters
    ----------
    hu_cuts
        HU cuts that name the columns of the HU bins.

    Returns
    -------
    tuple[str, ...]
        Keys of result.json, joined with dots.
    """
    return tuple(leaves(hu_cuts))


def leaves(hu_cuts: HuCuts = REGISTERED_CUTS) -> dict[str, tuple[tuple[str, ...], Mapping[str, Any]]]:
    """By column, its path in result.json and its part of the schema."""
    return dict(_leaves(hu_cuts, table.computed()))


@lru_cache(maxsize=8)
def _leaves(
    hu_cuts: HuCuts, _measures: tuple[table.Measure, ...]
) -> dict[str, tuple[tuple[str, ...], Mapping[str, Any]]]:
    # Kept, because every row of a batch asks; the measures of the table are part of the schema.
    return {".".join(path): (path, schema) for path, schema in _walk(result_schema(hu_cuts), ())}


def kind_of(schema: Mapping[str, Any]) -> str:
    """What a column of this schema holds: ``number``, ``integer``, ``boolean`` or ``text``."""
    declared = schema.get("type", "integer" if isinstance(schema.get("const"), int) else "string")
    kinds = {declared} if isinstance(declared, str) else set(declared)
    kinds.discard("null")
    if kinds <= {"number", "integer"} and kinds:
        return "number" if "number" in kinds else "integer"
    return "boolean" if kinds == {"boolean"} else "text"


def row_of(document: Mapping[str, Any], hu_cuts: HuCuts | None = None) -> dict[str, str]:
    """One document as the cells of a table.

    Numbers are written with all their digits. A text that a spreadsheet would take for a formula gets a leading
    apostrophe. Lists are joined with ``;`` (of flags, their codes). The digest of the patient is left out.

    Parameters
    ----------
    document
        Content of result.json.
    hu_cuts
        HU cuts that name the columns of the HU bins; by default those of the document's own bins.

    Returns
    -------
    dict[str, str]
        Text by column.
    """
    hu_cuts = hu_cuts or cuts_named(document.get("hu_bins_ml", ())) or REGISTERED_CUTS
    cells = {name: _cell(_at(document, path)) for name, (path, _) in leaves(hu_cuts).items()}
    return cells | {_IN_NO_TABLE: ""}


def table_bytes(documents: Iterable[Mapping[str, Any]], hu_cuts: HuCuts) -> bytes:
    """The whole table: UTF-8, LF, every text quoted where it must be."""
    lines = (csv_line(row_of(document, hu_cuts).values()) for document in documents)
    return b"".join([csv_line(columns(hu_cuts)), *lines])


def _walk(
    schema: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, below in schema["properties"].items():
        if "properties" in below:
            yield from _walk(below, (*above, key))
        elif below.get("type") != "object":
            yield (*above, key), below


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401  a JSON value
    value: Any = document
    for key in path:
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
