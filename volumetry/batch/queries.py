"""``queries.csv``: what to ask about each refused or flagged scan: what is wrong, which tag, what to resend.

One line per finding, in plain words, and one per question about several scans, at the first of
them. ``ask`` says whom: the ``site`` for what only a new export or an answer from
there can mend, the ``reader`` for what a look at the mask settles. Failures of our own are nobody's query.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from volumetry.batch.among import Question
from volumetry.batch.find import ScanFolder
from volumetry.codes import CATALOGUE

COLUMNS = ("site", "scan_id", "subject", "visit", "status", "ask", "code", "what_is_wrong", "tag", "what_to_do")


def query_rows(scan: ScanFolder, document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Lines for one scan, in the order of `COLUMNS`; none without a flag, or if the failure is ours.

    Parameters
    ----------
    document
        The scan's result.json.
    """
    if document["status"] not in ("refused", "review"):
        return
    asked = [flag for flag in document["flags"] if flag["severity"] in ("refuse", "review")]
    for flag in asked or [document]:
        code = flag["code"]
        row = CATALOGUE.get(code)
        sentence = _sentence(str(flag["message"]))
        known = (scan.site, scan.scan_id, scan.subject, scan.visit)
        yield (
            *known,
            document["status"],
            row.ask if row else "site",
            code,
            sentence,
            row.tag if row else "",
            (row and row.request) or flag["hint"],
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
    cells = (*known, question.ask, question.code, _sentence(question.message), "", question.what_to_do)
    return (*cells, *[""] * (len(COLUMNS) - len(cells)))


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}".rstrip(".") + "."
