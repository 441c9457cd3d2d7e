"""The catalogue: every code a scan can earn, what follows from it, and what to do about it.

All that is said of a code stands in its row of ``catalogue.toml``. A code never changes its meaning. Its outcome
stands there too; the ``trial`` profile and a configuration may make it stricter. The order of the rows is that of
severity in which a result lists several codes.

When does a flag ask for a reader? Flags on every scan are read on none. Under the default profile a code is a flag
only where it can move the share of lesion by more than half a point of lung (``[quality] move_points``), or where
nobody can tell by how much without a look at the images: a lung cut off, sides that may be swapped, metal, lossy
pixels, a patient the model was not made for, our own mask in doubt. What is known to move the number by less is a
note, with its bound in the message. The ``trial`` profile asks further whether scans can be compared, and flags or
refuses what departs from one way of scanning.
Such a row says why.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """What a code does to its scan."""

    REFUSE = "refuse"
    """No number at all."""
    FLAG = "flag"
    """A number, but a reader must look: the status becomes ``review``."""
    REPAIR = "repair"
    """Something was put right without loss, and counted; the status is unchanged."""
    NOTE = "note"
    """Recorded; no effect on the status."""


class About(StrEnum):
    """What a code is said of."""

    SCAN = "scan"
    """The scan as it was given: its files, headers and pixels, and the lungs in it."""
    MASK = "mask"
    """The mask alone decides: a corrected one is judged anew."""
    EXPORT = "export"
    """The DICOM objects written beside a result; neither the scan nor its numbers."""
    OTHER_FILE = "other_file"
    """A file that is not a slice."""
    INPUT = "input"
    """What a command was given beside a scan: an edited mask, an earlier result, a table."""
    BATCH = "batch"
    """Scans of a batch among each other: no scan's result names it, and no outcome follows."""
    OURS = "ours"
    """The failure is this program's, not the scan's (status ``failed`` instead of ``refused``)."""


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the catalogue.

    Parameters
    ----------
    name
        The stable identifier.
    outcome, trial_outcome
        What follows under the default profile and under the stricter ``trial`` profile.
    hint
        What to do, in one sentence.
    judged
        The module that raises it, below ``volumetry/``.
    about
        What it is said of.
    tag
        The DICOM elements to look at, with their numbers; empty if none.
    request
        What to ask the site for; empty where the hint says it.
    ask
        ``site`` for what only a new export or an answer can mend, ``reader`` for what a look at the mask settles,
        ``core lab`` for what the people who run the program must do.
    cause
        Codes of one scan that share this word have one cause, and are one query; empty for a cause of its own.
    why
        Why it is a note under the default profile although it departs from the protocol; empty elsewhere.
    """

    name: str
    outcome: Outcome
    trial_outcome: Outcome
    hint: str
    judged: str
    about: About = About.SCAN
    tag: str = ""
    request: str = ""
    ask: str = "site"
    cause: str = ""
    why: str = ""

    @property
    def ours(self) -> bool:
        """Whether the failure is this program's."""
        return self.about is About.OURS


def _read(path: Path) -> dict[str, Code]:
    catalogue = {}
    for name, row in tomllib.loads(path.read_text("utf-8")).items():
        outcome = Outcome(row.pop("outcome"))
        trial = Outcome(row.pop("trial", outcome))
        about = About(row.pop("about", About.SCAN))
        catalogue[name] = Code(name, outcome, trial, about=about, **row)
    return catalogue


CATALOGUE: dict[str, Code] = _read(Path(__file__).with_name("catalogue.toml"))
"""Every code by name, most severe first."""


def codes_about(*subjects: About) -> frozenset[str]:
    """Names of the codes that are said of these."""
    return frozenset(name for name, code in CATALOGUE.items() if code.about in subjects)


_RANK = {name: rank for rank, name in enumerate(CATALOGUE)}


def strictest(outcomes: Iterable[Outcome]) -> Outcome:
    """The most severe of several outcomes, at least one."""
    return min(outcomes, key=list(Outcome).index)


def severity_rank(name: str) -> int:
    """Place of a code in the fixed order of severity; 0 is the most severe.

    >>> severity_rank("MISSING_SLICES") < severity_rank("THICK_SLICES") < severity_rank("REORDERED")
    True
    """
    return _RANK[name]
