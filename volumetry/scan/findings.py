"""How the scan room states what it found."""

from collections.abc import Sequence

from pydicom.datadict import tag_for_keyword

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding


class CodedError(Exception):
    """Why one file, or part of it, is not read: a code of the catalogue, and a message without values of headers.

    Caught where the file is read, and becomes a finding or the reason why the file is left out.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def found(
    config: Config, code: str, message: str, value: float | int | str | None = None, advice: str | None = None
) -> Finding:
    """State a code with the outcome that these settings give it; `advice` replaces the catalogue's hint."""
    return Finding(code, config.outcome_of(code), message, value, advice)


def found_mildly(config: Config, code: str, mild: Outcome, message: str, value: float | None = None) -> Finding:
    """State a code in the range where the catalogue is milder than its outcome; an explicit setting still wins."""
    return Finding(code, config.outcome_of(code, mild), message, value)


def refuses(findings: Sequence[Finding]) -> bool:
    """Whether any of them forbids a number."""
    return any(finding.outcome is Outcome.REFUSE for finding in findings)


def named(keyword: str) -> str:
    """Keyword with its tag, as messages print it.

    >>> named("PixelSpacing")
    'PixelSpacing (0028,0030)'
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not a DICOM keyword")
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def plural(count: int, noun: str) -> str:
    """Count and noun.

    >>> plural(1, "file"), plural(3, "file")
    ('1 file', '3 files')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
