"""``queries.csv``: what to ask about each refused or flagged scan: what is wrong, which tag, what to resend.

One line per cause, in plain words, and one per question about several scans, at the first of them. Findings of a
scan with one cause (`volumetry.codes.Code.cause`) are one line: the most severe code leads, and the line names the
others. ``ask`` says whom: the ``site`` for what only a new export or an answer from there can mend, the ``reader``
for what a look at the mask settles, the ``core lab`` for what those who run the program must do. Failures of our
own are nobody's query. What a person decided or corrected stands behind each line; what of it a later result has
left open is a line of its own.

A decision that holds closes lines by itself: an exclusion all of the scan's, an acceptance those for the reader.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volumetry.batch.among import SAME_VISIT, Question
from volumetry.batch.audit import Audit, Entry
from volumetry.batch.current import Current, in_words
from volumetry.batch.find import ScanFolder
from volumetry.codes import CATALOGUE

COLUMNS = (
    *("site", "scan_id", "subject", "visit", "status", "ask", "code", "what_is_wrong", "tag", "what_to_do"),
    *("decision", "decided_by", "corrected_by", "other_codes"),
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
        yield (*known, CATALOGUE[code].ask, code, what, "", CATALOGUE[code].hint, *people, "")
    if document["status"] not in ("refused", "review"):
        return
    asked = [flag for flag in document["flags"] if flag["severity"] in ("refuse", "review")]
    for flags in _by_cause(asked or [document]):
        code = flags[0]["code"]
        yield (
            *known,
            _ask(code),
            code,
            " ".join(dict.fromkeys(_sentence(str(flag["message"])) for flag in flags)),
            "; ".join(dict.fromkeys(tag for flag in flags if (tag := _tag(flag["code"])))),
            " ".join(dict.fromkeys(_request(flag) for flag in flags)),
            *people,
            ";".join(dict.fromkeys(flag["code"] for flag in flags if flag["code"] != code)),
        )


def _by_cause(flags: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Findings with one cause and one recipient, in the order of the first of them."""
    by_cause: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for flag in flags:
        row = CATALOGUE.get(flag["code"])
        by_cause.setdefault((_ask(flag["code"]), (row and row.cause) or flag["code"]), []).append(flag)
    yield from by_cause.values()


def _ask(code: str) -> str:
    return CATALOGUE[code].ask if code in CATALOGUE else "site"


def _tag(code: str) -> str:
    return CATALOGUE[code].tag if code in CATALOGUE else ""


def _request(flag: Mapping[str, Any]) -> str:
    row = CATALOGUE.get(flag["code"])
    return str((row and row.request) or flag["hint"])


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


@dataclass(frozen=True, slots=True)
class ClosedBy:
    """A decision that leaves nothing to ask.

    Parameters
    ----------
    word
        Why, as the answer of the query.
    entry
        Of the log.
    """

    word: str
    entry: Entry


def closed_by(cells: Sequence[str], current: Current) -> ClosedBy | None:
    """The decision that closes a line, if there is one that holds.

    Parameters
    ----------
    cells
        In the order of `COLUMNS`.
    current
        What people said of the scan.

    Returns
    -------
    ClosedBy or None
        An exclusion closes every line of its scan, an acceptance those that a reader answers.
    """
    decision = current.decision
    if decision is None:
        return None
    if decision["decision"] == "exclude":
        return ClosedBy("excluded", decision)
    if decision["decision"] == "accept" and cells[COLUMNS.index("ask")] == "reader":
        return ClosedBy("accepted", decision)
    return None


def closed_among(question: Question, current: Sequence[Current]) -> ClosedBy | None:
    """The exclusion that closes a question about several scans, if there is one.

    Parameters
    ----------
    question
        From `volumetry.batch.among.questions_among`.
    current
        What people said of its scans, in their order.

    Returns
    -------
    ClosedBy or None
        Of two scans of one visit one may be left; other questions need all their scans excluded.
    """
    excluded = [of.decision for of in current if of.decision and of.decision["decision"] == "exclude"]
    left = len(current) - len(excluded)
    return ClosedBy("excluded", excluded[-1]) if left <= (question.code == SAME_VISIT) else None


def with_state(
    cells: Sequence[str], number: int, audit: Audit, delivery: str, closed: ClosedBy | None = None
) -> tuple[str, ...]:
    """A line of `COLUMNS` with its name and what became of it.

    It is open without an entry, and again where the entry is of another delivery: what the site sent did not help.
    What a person closed stays as that person said; otherwise a decision that leaves nothing to ask closes it.

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
    closed
        From `closed_by` or `closed_among`.

    Returns
    -------
    tuple[str, ...]
        In the order of `COLUMNS` and `STATE`.
    """
    own = query_id(cells[COLUMNS.index("scan_id")], cells[COLUMNS.index("code")], number)
    entry = audit.queries.get(own)
    stands = entry is not None and entry["delivery"] == delivery
    is_closed = entry is not None and stands and entry["state"] == "closed"
    if closed is not None and not is_closed:
        return (*cells, own, "closed", str(closed.entry["time"]), str(closed.entry["name"]), closed.word)
    if entry is None or not stands:
        return (*cells, own, "open", "", "", "")
    return (*cells, own, entry["state"], entry["time"], entry["name"], entry["reason"])
