"""Queries on their way: one letter for each site with what it has not been asked yet, and what it answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from volumetry.batch import queries, tables
from volumetry.batch.audit import Entry
from volumetry.batch.derive import derive_again, rows_of
from volumetry.batch.ledger import Ledger, held
from volumetry.errors import UsageError
from volumetry.scan.scan_id import readable_id
from volumetry.storage.atomic import prepare_folder, write_whole

Answer = Literal["answered", "closed"]
_SAID = ("what_is_wrong", "what_to_do", "code", "other_codes", "tag")
"""What a letter says once for all the scans that it concerns."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one site is asked.

    Parameters
    ----------
    site
        As the batch names it; empty where it does not know.
    path
        The HTML file.
    queries
        How many are in it.
    """

    site: str
    path: Path
    queries: int


def write_letters(out: Path, folder: Path, name: str, study: str = "") -> list[Letter]:
    """Write one letter for each site with its open queries, and enter in the log that they were sent.

    What was sent before is in no later letter. A letter is written before the log says so: after a kill between
    the two, the same queries come again.

    Parameters
    ----------
    out
        A batch's folder.
    folder
        For the letters; earlier ones stay.
    name
        Of the person who sends them; not empty.
    study
        Name of the study, for the head of the letter.

    Returns
    -------
    list[Letter]
        One for each site with something new.

    Raises
    ------
    BusyError
        If a run holds the folder.
    UsageError
        If the folder is no batch's, or the name is empty.
    OutputError
        If a letter cannot be written.
    """
    if not name.strip():
        raise UsageError("letters need the name of who sends them")
    with held(_batch(out)) as ledger:
        by_site: dict[str, list[dict[str, str]]] = {}
        for query in _queries(ledger):
            if query["ask"] == "site" and query["state"] == "open":
                by_site.setdefault(query["site"], []).append(query)
        prepare_folder(folder)
        letters = [_letter(folder, site, asked, study) for site, asked in by_site.items()]
        for asked in by_site.values():
            for query in asked:
                _enter(ledger, query, "sent", name, "")
        if letters:
            derive_again(ledger)
    return letters


def answer(out: Path, query_id: str, state: Answer, name: str, text: str) -> Entry:
    """Enter what a site or a reader answered, or that a query is closed.

    Parameters
    ----------
    out
        A batch's folder.
    query_id
        As in queries.csv.
    state
        ``answered`` or ``closed``.
    name
        Of the person who enters it; not empty.
    text
        The answer, or why the query is closed; not empty.

    Returns
    -------
    Entry
        As appended to the audit log.

    Raises
    ------
    BusyError
        If a run holds the folder.
    UsageError
        If there is no such query or state, or name or text is empty.
    """
    if state not in get_args(Answer):
        raise UsageError(f"a query is {' or '.join(get_args(Answer))}")
    if not name.strip() or not text.strip():
        raise UsageError("an answer needs a name and a text")
    with held(_batch(out)) as ledger:
        found = [query for query in _queries(ledger) if query["query_id"] == query_id]
        if not found:
            raise UsageError(f"queries.csv has no query {query_id}")
        entry = _enter(ledger, found[0], state, name, text)
        derive_again(ledger)
    return entry


def _batch(out: Path) -> Path:
    if not (out / "scans").is_dir():
        raise UsageError("this is not the folder of a batch: it has no scans")
    return out


def _queries(ledger: Ledger) -> list[dict[str, str]]:
    rows = rows_of(ledger)
    names = (*queries.COLUMNS, *queries.STATE)
    return [] if rows is None else [dict(zip(names, row, strict=True)) for row in tables.query_rows(rows)]


def _enter(ledger: Ledger, query: dict[str, str], state: str, name: str, text: str) -> Entry:
    named = {key: query[key] for key in ("query_id", "scan_id", "code")}
    named["delivery"] = tables.delivery_of(ledger.out / "scans" / query["scan_id"])
    return ledger.audit.append("query", text.strip(), state=state, name=name.strip(), **named)


def _alike(asked: Sequence[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Queries that ask the same of several scans, together; in the order of the first of each."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for query in asked:
        groups.setdefault(tuple(query[key] for key in _SAID), []).append(query)
    return list(groups.values())


def _letter(folder: Path, site: str, asked: Sequence[dict[str, str]], study: str) -> Letter:
    stem = f"letter-{readable_id(site) or 'unknown-site'}"
    number = next(n for n in range(1, 10**6) if not (folder / f"{stem}-{n}.html").exists())
    path = folder / f"{stem}-{number}.html"
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("letter.html.j2").render(
        site=site,
        study=study,
        number=number,
        total=len(asked),
        groups=_alike(asked),
    )
    write_whole(path, page.encode("utf-8"))
    return Letter(site, path, len(asked))
