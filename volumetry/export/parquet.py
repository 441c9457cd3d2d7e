"""results.parquet: results.csv with types. What was not measured is null, never 0 or NaN."""

import importlib.util
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from volumetry.deliver.people import NAMES
from volumetry.deliver.tables import dictionary_bytes
from volumetry.errors import UsageError
from volumetry.export.source import Row, hu_cuts_of, results_of, table_schema
from volumetry.storage.atomic import prepare_folder, whole_file, write_whole

KEYS = ("subject", "visit", "site", "batch_flags", "decision", "decision_reason")
_ROWS_PER_GROUP = 10_000
_PARSE: dict[str, Callable[[str], Any]] = {
    "number": float,
    "integer": int,
    "boolean": lambda text: text == "true",
    "text": str,
}


def export_parquet(batch: Path, path: Path) -> int:
    """Write a batch's rows as one Parquet file, and beside it ``<name>.dictionary.csv`` with its columns.

    Columns are those of result.json in their order, then ``subject``, ``visit``, ``site``, ``batch_flags``,
    ``decision``, ``decision_reason``, and what else people said of the scan (`volumetry.deliver.people`).

    Parameters
    ----------
    batch
        A batch's folder.
    path
        The file to write.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    UsageError
        If pyarrow is not installed, or the folder is no batch's.
    OutputError
        If the file cannot be written.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("Parquet needs pyarrow", hint="Install it with: pip install 'volumetry[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = results_of(batch)
    first = next(rows, {})
    kinds = {**table_schema(hu_cuts_of(first)), **dict.fromkeys((*KEYS, *NAMES), "text")}
    arrow = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in kinds.items()])
    written = 0
    prepare_folder(path.parent)
    with whole_file(path) as stream, pq.ParquetWriter(stream, schema) as writer:
        for group in _groups(chain([first] if first else [], rows)):
            written += len(group)
            writer.write_table(pa.Table.from_pylist([_typed(row, kinds) for row in group], schema))
    content = dictionary_bytes("export", {path.name: tuple(kinds)})
    write_whole(path.with_name(f"{path.stem}.dictionary.csv"), content)
    return written


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while group := list(islice(rows, _ROWS_PER_GROUP)):
        yield group


def _typed(row: Row, kinds: dict[str, str]) -> dict[str, Any]:
    return {name: _PARSE[kind](row[name]) if row.get(name) else None for name, kind in kinds.items()}
