"""``queries.csv``: what to ask about each refused or flagged scan: what is wrong, which tag, what to resend.

One line per finding, in plain words, and one per question about several scans, at the first of them. ``ask`` says
whom: the ``site`` for what only a new export or an answer from there can mend, the ``reader`` for what a look at
the mask settles. Failures of our own are nobody's query. What a person decided or corrected stands behind each
line; what of it a later result has left open is a line of its own.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from volumetry.batch.among import Question
from volumetry.batch.audit import Audit
from volumetry.batch.current import Current, in_words
from volumetry.batch.find import ScanFolder
from volumetry.codes import CATALOGUE

COLUMNS = (
    *("site", "scan_id", "subject", "visit", "status", "ask", "code", "what_is_wrong", "tag", "what_to_do"),
    *("decision", "decided_by", "corrected_by"),
)
STATE = ("query_id", "state", "state_at", "state_by", "answer")
"""Columns behind them: what became of the query, from the audit log."""
_NOTHING = Current()


def query_rows(
    scan: ScanFolder, document: Mapping[str, Any], current: Current = _NOTHING
) -> Iterator[tuple[str, ...]]:
    """Lines for one scan, in the order of `COLUMNS`; none without a flag, or if the failure is ours.

    Parameters
    ----------
    document
        result.json of the value that counts.
    current
        What people said of it.
    """
    known = (scan.site, scan.scan_id, scan.subject, scan.visit, document["status"])
    people = (
        str((current.decision or {}).get("decision", "")),
        str((current.decision or {}).get("name", "")),
        str((current.correction or {}).get("reader", "")),
    )
    for code, what in (*_decided(current), *_left_open(current)):
        yield (*known, CATALOGUE[code].ask, code, what, "", CATALOGUE[code].hint, *people)
    if document["status"] not in ("refused", "review"):
        return
    asked = [flag for flag in document["flags"] if flag["severity"] in ("refuse", "review")]
    for flag in asked or [document]:
        code = flag["code"]
        row = CATALOGUE.get(code)
        sentence = _sentence(str(flag["message"]))
        yield (
            *known,
            row.ask if row else "site",
            code,
            sentence,
            row.tag if row else "",
            (row and row.request) or flag["hint"],
            *people,
        )


def question_row(question: Question, document: Mapping[str, Any]) -> tuple[str, ...]:
    """The line of a question about several scans, at the first of them.

    Parameters
    ----------
    question
        From `volumetry.batch.among.questions_among`.
    document
        result.json of the first scan.

    Returns
    -------
    tuple[str, ...]
        In the order of `COLUMNS`.
    """
    scan = question.scans[0]
    known = (scan.site, scan.scan_id, scan.subject, scan.visit, document["status"])
    cells = (*known, question.ask, question.code, _sentence(question.message), "", _asked(question))
    return (*cells, *[""] * (len(COLUMNS) - len(cells)))


def _asked(question: Question) -> str:
    """What to do, in words for its recipient: the site reads a query that is for it."""
    return CATALOGUE[question.code].request or question.what_to_do


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}".rstrip(".") + "."


def _decided(current: Current) -> Iterator[tuple[str, str]]:
    """Code and words of a decision that changes what becomes of the scan."""
    codes = {"exclude": "SCAN_EXCLUDED", "repeat": "SCAN_TO_REPEAT"}
    if current.decision is not None and current.decision["decision"] in codes:
        yield codes[current.decision["decision"]], f"Decided: {in_words(current.decision)}."


def _left_open(current: Current) -> Iterator[tuple[str, str]]:
    """Code and words of what people said that does not hold, or not fully, for the present value."""
    if current.outdated is not None:
        yield "DECISION_OUTDATED", f"Decided on an earlier value: {in_words(current.outdated)}."
    if current.note:
        code = "CORRECTION_NOT_COUNTED" if current.correction is None else "CORRECTION_OF_EARLIER"
        said = current.note if current.correction is None else f"correction {current.number} was {current.note}"
        yield code, f"{said[:1].upper()}{said[1:]}."


def query_id(scan_id: str, code: str, number: int) -> str:
    """The same name for the same finding of a scan, whatever run lists it.

    Parameters
    ----------
    scan_id
        Of the scan.
    code
        Of the finding.
    number
        Counted from 0 where a scan has several findings with one code.

    Returns
    -------
    str
        Ten letters and digits.
    """
    return hashlib.sha256(f"{scan_id}\0{code}\0{number}".encode()).hexdigest()[:10]


def with_state(cells: Sequence[str], number: int, audit: Audit, delivery: str) -> tuple[str, ...]:
    """A line of `COLUMNS` with its name and what became of it.

    It is open without an entry, and again where the entry is of another delivery: what the site sent did not help.

    Parameters
    ----------
    cells
        In the order of `COLUMNS`.
    number
        As for `query_id`.
    audit
        The log.
    delivery
        Digest of the files that the present result was made from, of the scan's record.

    Returns
    -------
    tuple[str, ...]
        In the order of `COLUMNS` and `STATE`.
    """
    own = query_id(cells[COLUMNS.index("scan_id")], cells[COLUMNS.index("code")], number)
    entry = audit.queries.get(own)
    if entry is None or entry["delivery"] != delivery:
        return (*cells, own, "open", "", "", "")
    return (*cells, own, entry["state"], entry["time"], entry["name"], entry["reason"])
