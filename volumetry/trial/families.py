"""Multiplicity: families of hypotheses tested one after another, each by a procedure of its own.

A family is entered only if every hypothesis of the families before it was rejected (serial gatekeeping), so that
its adjusted p-values are at least the largest of theirs. Within a family:

* ``holm``: Holm's step-down procedure;
* ``hierarchical``: in the stated order, each only after the one before;
* ``co_primary``: all must be significant at the full level, so that each has the largest p-value of all;
* ``graphical``: weights of the level, and how a rejected hypothesis passes its weight on.

References: Bretz, Maurer, Brannath and Posch, Stat. Med. 28 (2009), 586-604; Westfall and Krishen, J. Stat. Plan.
Inference 99 (2001), 25-40.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from volumetry.errors import ConfigError
from volumetry.storage.csv_tables import Cell
from volumetry.trial.analysis_config import Family, Hypothesis
from volumetry.trial.compare import Comparison, Contrast
from volumetry.trial.config import TrialConfig, plain
from volumetry.trial.models import Model
from volumetry.trial.statistics import holm

COLUMNS = (
    *("family", "procedure", "measure", "scale", "visit", "arm_a", "arm_b", "method", "p", "p_adjusted"),
    *("level", "rejected", "reason"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One hypothesis with its adjusted p-value; without a p-value neither it nor what follows it is rejected."""

    family: str
    procedure: str
    hypothesis: Hypothesis
    arm_a: str
    arm_b: str | None
    p: float | None
    p_adjusted: float
    level: float

    @property
    def rejected(self) -> bool:
        """Whether the hypothesis is rejected under control of the family-wise error."""
        return self.p is not None and self.p_adjusted <= self.level

    def row(self) -> dict[str, Cell]:
        """The cells of decisions.csv."""
        of = self.hypothesis
        known = self.p is not None
        return {
            "family": self.family,
            "procedure": self.procedure,
            "measure": of.measure,
            "scale": of.scale,
            "visit": of.visit,
            "arm_a": self.arm_a,
            "arm_b": self.arm_b,
            "method": of.method,
            "p": self.p,
            "p_adjusted": self.p_adjusted if known else None,
            "level": self.level,
            "rejected": self.rejected,
            "reason": "" if known else "NO_P_VALUE",
        }


Found = tuple[str, str | None, float | None]
"""Arm, reference and p-value of a hypothesis."""


def decided(
    comparisons: Sequence[Comparison], models: Sequence[Model], contrasts: Sequence[Contrast], config: TrialConfig
) -> list[Decision]:
    """Every hypothesis of the settings, with the p-values of the trial's own tables.

    Parameters
    ----------
    comparisons
        Of endpoint.csv, the further numeric outcomes included.
    models
        Of models.csv.
    contrasts
        From `contrasts_of`; a hypothesis without an arm is about the first.
    config
        ``[multiplicity]``.

    Returns
    -------
    list[Decision]
        In the order of the settings.

    Raises
    ------
    ConfigError
        If a hypothesis names an arm, an outcome or an analysis that is not in the tables.
    """
    reference = contrasts[0][1]
    rows = [(c, "wilcoxon", c.test.p if c.test else None) for c in comparisons if c.arm_b == reference]
    p_values = {(c.measure, c.scale, plain(c.visit), c.arm_a, method): p for c, method, p in rows}
    of_models = [(m, m.effect.p if m.effect else None) for m in models if m.arm_b == reference]
    p_values |= {(m.measure, m.scale, plain(m.visit), m.arm_a, m.method): p for m, p in of_models}

    def find(of: Hypothesis) -> Found:
        arm_a = next((a for a, _b in contrasts if not of.arm or plain(a) == plain(of.arm)), of.arm)
        planned = config.windows.named(of.visit)
        names = (of.visit, *(planned.names if planned else ()))
        keys = [(of.measure, of.scale, plain(name), arm_a, of.method) for name in names]
        key = next((key for key in keys if key in p_values), None)
        if key is None:
            raise ConfigError(
                f"multiplicity: no table has {of.method} of {of.measure} {of.scale} at {of.visit} in {arm_a}",
                hint="Compare the hypothesis with endpoint.csv, and name its analysis under [models] analyses.",
            )
        return arm_a, reference, p_values[key]

    return decisions(config.multiplicity.families, find, config.multiplicity.level)


def decisions(families: Sequence[Family], find: Callable[[Hypothesis], Found], level: float) -> list[Decision]:
    """Every hypothesis of every family, in the order of the settings.

    Parameters
    ----------
    families
        ``[multiplicity]`` families.
    find
        The arms and the p-value of a hypothesis.
    level
        Family-wise error.

    Returns
    -------
    list[Decision]
        With adjusted p-values: a hypothesis is rejected where its own is at most the level.
    """
    rows: list[Decision] = []
    gate = 0.0
    for family in families:
        found = [find(hypothesis) for hypothesis in family.hypotheses]
        adjusted = [max(gate, p) for p in adjust(family, [1.0 if f[2] is None else f[2] for f in found])]
        gate = max(adjusted)
        for hypothesis, (arm_a, arm_b, p), p_adjusted in zip(family.hypotheses, found, adjusted, strict=True):
            blank = Decision(family.name, family.procedure, hypothesis, arm_a, arm_b, p, p_adjusted, level)
            rows.append(blank if p is not None else replace(blank, p_adjusted=1.0))
    return rows


def adjust(family: Family, p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of one family by its procedure, in the order of its hypotheses."""
    if family.procedure == "holm":
        return holm(p_values)
    if family.procedure == "hierarchical":
        return list(accumulate(p_values, max))
    if family.procedure == "co_primary":
        return [max(p_values)] * len(p_values)
    return graphical(p_values, family.weights, family.transitions)


def graphical(
    p_values: Sequence[float], weights: Sequence[float], transitions: Sequence[Sequence[float]]
) -> list[float]:
    """Adjusted p-values of the graphical procedure.

    Parameters
    ----------
    p_values
        Of the hypotheses.
    weights
        Share of the level that each hypothesis starts with, together at most 1.
    transitions
        Row by row: what part of its level a rejected hypothesis passes to each other one.

    Returns
    -------
    list[float]
        At most 1.

    References
    ----------
    Bretz, Maurer, Brannath and Posch: A graphical approach to sequentially rejective multiple test procedures.
    Stat. Med. 28 (2009), 586-604, algorithm 2.

    Examples
    --------
    >>> graphical([0.01, 0.02], [0.5, 0.5], [[0, 1], [1, 0]])
    [0.02, 0.02]
    """
    weight, passes = list(weights), [list(row) for row in transitions]
    left = set(range(len(p_values)))
    adjusted, reached = [1.0] * len(p_values), 0.0
    while left:
        ratios = {j: p_values[j] / weight[j] if weight[j] > 0 else float("inf") for j in left}
        best = min(sorted(left), key=ratios.__getitem__)
        reached = max(reached, min(1.0, ratios[best]))
        adjusted[best] = reached
        left.remove(best)
        new = [list(row) for row in passes]
        for j in left:
            weight[j] += weight[best] * passes[best][j]
            for k in left - {j}:
                loop = passes[j][best] * passes[best][j]
                through = passes[j][k] + passes[j][best] * passes[best][k]
                new[j][k] = through / (1 - loop) if loop < 1 else 0.0
        passes = new
    return adjusted
