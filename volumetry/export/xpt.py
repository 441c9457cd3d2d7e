"""SAS transport files, version 5: ASCII, at most 200 characters a text."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from volumetry.errors import OutputError
from volumetry.storage.atomic import write_whole
from volumetry.storage.unfinished import unfinished_file

_LONGEST = 200


def write_xpt(
    path: Path,
    table: str,
    title: str,
    labels: Mapping[str, str],
    numbers: Collection[str],
    records: Sequence[Mapping[str, Any]],
) -> None:
    """Write one data set.

    Parameters
    ----------
    path
        Of the file.
    table, title
        Name and label of the data set.
    labels
        Of its columns, in their order.
    numbers
        Which of them are numbers; the others are texts.
    records
        Its rows; every column is in each of them, a missing number as None.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import pandas as pd
    import pyreadstat

    frame = pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype="float64")
            if name in numbers
            else [_ascii(record[name]) for record in records]
            for name in labels
        }
    )
    try:
        with unfinished_file(path) as (draft, _):
            pyreadstat.write_xport(
                frame,
                str(draft),
                file_label=title,
                column_labels=list(labels.values()),
                table_name=table,
                file_format_version=5,
            )
            content = draft.read_bytes()
    except OSError as wrong:
        raise OutputError(f"cannot write {path.name}: {wrong.strerror}") from wrong
    write_whole(path, content)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:_LONGEST]
