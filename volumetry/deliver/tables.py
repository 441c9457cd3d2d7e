"""``dictionary.csv``: what each column of each table of a folder holds, with its unit.

It is made from the tables' own headers, so that it has every column that they have. Keys of result.json are
described by its schema, what people said by `volumetry.deliver.people`, and other columns by ``columns.toml``.
"""

import csv
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from volumetry.deliver import batch_columns, people
from volumetry.deliver.dictionary import result_dictionary
from volumetry.measure.components import REGISTERED_CUTS, HuCuts, cuts_named
from volumetry.storage.csv_tables import csv_line

NAME = "dictionary.csv"
COLUMNS = ("table", "column", "unit", "meaning")
Kind = Literal["batch", "intake", "trial", "bridge", "adjudication", "export"]
_LIKE = {
    "secondary": "endpoint",
    "sensitivity": "endpoint",
    "adjudication": "reads",
}
"""Tables with the columns of another."""
_BINS = "hu_bins_ml."
_NOTHING: Mapping[str, str] = {}


def dictionary_bytes(
    kind: Kind, headers: Mapping[str, Sequence[str]], own: Mapping[str, Mapping[str, str]] | None = None
) -> bytes:
    """The dictionary of a folder's tables.

    Parameters
    ----------
    kind
        Of the folder.
    headers
        Columns by name of the file, in their order.
    own
        Meanings that only the writer of a table knows, by file and column.

    Returns
    -------
    bytes
        CSV; a column that nobody describes, such as one of a user's, has an empty meaning.
    """
    lines = [csv_line(COLUMNS)]
    for table, columns in headers.items():
        known = _known(kind, Path(table).stem, columns) | dict((own or {}).get(table, _NOTHING))
        for column in columns:
            unit, bar, meaning = known.get(column, "").rpartition(" | ")
            lines.append(csv_line((table, column, unit if bar else "", meaning)))
    return b"".join(lines)


def header_of(content: bytes | Iterable[bytes]) -> tuple[str, ...]:
    """Columns of a table that is about to be written.

    Parameters
    ----------
    content
        The whole file, or its lines, of which only the first is taken.

    Returns
    -------
    tuple[str, ...]
        In their order.
    """
    first = content.partition(b"\n")[0] if isinstance(content, bytes) else next(iter(content))
    return tuple(next(csv.reader([first.decode("utf-8-sig")])))


def headers_of(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """Columns of every CSV file among some files.

    Parameters
    ----------
    files
        Content by name.

    Returns
    -------
    dict[str, tuple[str, ...]]
        By name of the file.
    """
    return {name: header_of(content) for name, content in files.items() if name.endswith(".csv")}


def _known(kind: Kind, table: str, columns: Sequence[str]) -> dict[str, str]:
    written = _written()
    names = (_LIKE.get(table, table), table)
    of_table = {column: text for name in names for column, text in written.get(kind, {}).get(name, {}).items()}
    cuts = cuts_named(name.removeprefix(_BINS) for name in columns if name.startswith(_BINS))
    found = dict(_of_results(cuts or REGISTERED_CUTS))
    shared: dict[str, str] = written["shared"]
    return shared | found | of_table if "volumes_ml.lung" in columns else found | shared | of_table


@cache
def _written() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("columns.toml").read_text("utf-8"))


@cache
def _of_results(hu_cuts: HuCuts) -> dict[str, str]:
    keys = {e.key: f"{e.unit} | {e.meaning}" if e.unit else e.meaning for e in result_dictionary(hu_cuts)}
    return keys | batch_columns.COLUMNS | {column.name: column.meaning for column in people.COLUMNS}
