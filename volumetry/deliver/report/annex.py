"""What a page holds beyond its result, and the line that stands on every printed page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volumetry.deliver.report.beside import Beside
from volumetry.deliver.report.change import day

_LONGEST = 150


@dataclass(frozen=True, slots=True)
class Annex:
    """What a page holds beyond its result.

    Parameters
    ----------
    pictures
        Slices beside those of an earlier visit.
    patient
        Who the patient is, for the printed pages; empty unless the settings ask for it.
    not_compared
        Why an earlier result that was given is not compared, without anything of it; empty if it is compared, or
        none was given.
    """

    pictures: Sequence[Beside] = ()
    patient: str = ""
    not_compared: str = ""


NOTHING = Annex()


def page_line(document: Mapping[str, Any], patient: str = "") -> str:
    """Scan, date of acquisition and, if given, the patient, so that no printed page is without them.

    Parameters
    ----------
    document
        result.json.
    patient
        As in `Annex`.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> page_line({"scan_id": "S1", "series": {"acquisition_date": "20260131"}})
    'Scan S1, acquired 2026-01-31'
    """
    date = (document.get("series") or {}).get("acquisition_date")
    acquired = f"acquired {day(date)}" if date and len(date) == 8 else "date of acquisition not stated"
    line = ", ".join(filter(None, (f"Scan {document['scan_id']}", acquired, patient)))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}\u2026"


def page_style(line: str) -> str:
    """The style that prints a line at the foot of every page.

    Parameters
    ----------
    line
        Any text: whatever is not a plain letter, digit or space is escaped, so that it can end neither the string
        nor the element.

    Returns
    -------
    str
        CSS.
    """
    text = "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in " .,-_") else _escaped(sign) for sign in line
    )
    font = '7.5pt system-ui, "DejaVu Sans", sans-serif'
    return f'@media print {{ @page {{ @bottom-left {{ content: "{text}"; font: {font}; }} }} }}'


def _escaped(sign: str) -> str:
    return f"\\{ord(sign):x} "
