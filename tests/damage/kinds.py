"""What a damage is."""

from dataclasses import dataclass

from damage.edits import Apply
from volumetry.codes import CATALOGUE, Outcome


@dataclass(frozen=True, slots=True)
class Damage:
    """One way in which a series can arrive that is not the way it was made.

    Parameters
    ----------
    name
        Of this entry.
    expect
        The code a reader must give; None where nothing needs to be said.
    outcome
        What must follow; ``note`` also where `expect` is None.
    what
        In words.
    apply
        Rewrites a good series in place: ``apply(folder, rng)``.
    same_hu, same_grid
        What stays as it was, if a number is given at all.
    """

    name: str
    expect: str | None
    outcome: Outcome
    what: str
    apply: Apply
    same_hu: bool = True
    same_grid: bool = True

    def __post_init__(self) -> None:
        if self.expect is not None and self.expect not in CATALOGUE:
            raise ValueError(f"{self.name}: {self.expect} is not in the catalogue")


def refuses(name: str, code: str, what: str, apply: Apply) -> Damage:
    """A damage after which there must be no number."""
    return Damage(name, code, Outcome.REFUSE, what, apply, same_hu=False, same_grid=False)


def flags(
    name: str, code: str, what: str, apply: Apply, *, same_hu: bool = True, same_grid: bool = True
) -> Damage:
    """A damage after which a number must carry a flag."""
    return Damage(name, code, Outcome.FLAG, what, apply, same_hu, same_grid)


def legal(
    name: str, code: str | None, what: str, apply: Apply, *, same_hu: bool = True, same_grid: bool = True
) -> Damage:
    """A quirk that is legal or can be repaired without loss."""
    outcome = Outcome.NOTE if code is None else CATALOGUE[code].outcome
    return Damage(name, code, outcome, what, apply, same_hu, same_grid)
