"""Under which terms everything is shipped or installed, and whether any of them is copyleft."""

import csv
import io
import re
from collections.abc import Iterable

from volumetry.assurance.bill_of_materials.parts import Part

_COPYLEFT = re.compile(r"\b(A?L?GPL|GNU (LESSER |AFFERO )?GENERAL PUBLIC)", re.IGNORECASE)


def copyleft(part: Part) -> bool:
    """Whether a part can be had under terms of the GPL family alone.

    An alternative (``MIT OR GPL-3.0``) leaves the choice; an exception that lifts the terms is not recognised, so
    such a part counts as copyleft until a person has looked at it.

    Parameters
    ----------
    part
        With its licence.

    Returns
    -------
    bool
        False where the licence is not stated.

    Examples
    --------
    >>> [copyleft(Part("a", "1", "package", terms)) for terms in ("LGPL-2.1-or-later", "MIT OR GPLv2")]
    [True, False]
    """
    return all(_COPYLEFT.search(choice) for choice in re.split(r"\bOR\b", part.licence))


def licence_table(parts: Iterable[Part]) -> str:
    """Every part with its terms as CSV: name, version, kind, licence, copyleft.

    Parameters
    ----------
    parts
        In the order of the table.

    Returns
    -------
    str
        CSV with LF.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["name", "version", "kind", "licence", "copyleft"])
    for part in parts:
        licence = part.licence or "not stated"
        writer.writerow([part.name, part.version, part.kind, licence, "yes" if copyleft(part) else "no"])
    return text.getvalue()
