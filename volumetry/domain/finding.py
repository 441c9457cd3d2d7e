"""A code that a scan carries, with the facts."""

from dataclasses import dataclass

from volumetry.codes import CATALOGUE, Outcome, severity_rank


@dataclass(frozen=True, slots=True)
class Finding:
    """One code that a scan earned, with the facts.

    Parameters
    ----------
    code
        A name of the catalogue.
    outcome
        What follows from it in this run.
    message
        What, where (tag, slice, mm) and why it matters; nothing that identifies a patient.
    value
        The number behind it, if there is one.
    advice
        What to do in this very case, where the catalogue's hint for the code is too general.
    """

    code: str
    outcome: Outcome
    message: str
    value: float | int | str | None = None
    advice: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CATALOGUE:
            raise ValueError(f"{self.code} is not in the catalogue")

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.advice or CATALOGUE[self.code].hint


def most_severe_first(findings: tuple[Finding, ...] | list[Finding]) -> tuple[Finding, ...]:
    """Findings in the fixed order in which a row lists them: refusals, flags, repairs, notes."""
    order = list(Outcome)
    return tuple(sorted(findings, key=lambda f: (order.index(f.outcome), severity_rank(f.code))))
