"""Settings of what is analysed beside the endpoint table: models, sets, estimands, subgroups, events, families."""

from typing import Literal

from pydantic import Field, model_validator

from volumetry.storage.toml_file import Section

Analysis = Literal["ancova", "rank_ancova", "van_elteren", "median_difference", "mmrm", "kruskal_wallis"]
Share = Field(gt=0, lt=1)


class Threshold(Section):
    """A responder's change is at most this."""

    measure: str = Field(min_length=1)
    scale: str = Field(min_length=1)
    at_most: float


class Hypothesis(Section):
    """No difference of an arm from the reference in one outcome at one visit."""

    measure: str = Field(min_length=1)
    scale: str = Field(min_length=1)
    visit: str = Field(min_length=1)
    arm: str = ""
    method: Literal["wilcoxon", "ancova", "rank_ancova", "van_elteren", "mmrm"] = "wilcoxon"


class Family(Section):
    """Hypotheses that are tested together."""

    name: str = Field(min_length=1)
    procedure: Literal["holm", "hierarchical", "co_primary", "graphical"]
    hypotheses: tuple[Hypothesis, ...] = Field(min_length=1)
    weights: tuple[float, ...] = ()
    transitions: tuple[tuple[float, ...], ...] = ()

    @model_validator(mode="after")
    def _graph_is_one(self) -> "Family":
        n = len(self.hypotheses)
        if self.procedure != "graphical":
            if self.weights or self.transitions:
                raise ValueError(f"{self.name}: weights and transitions belong to the graphical procedure")
            return self
        if len(self.weights) != n or [len(row) for row in self.transitions] != [n] * n:
            raise ValueError(f"{self.name}: {n} weights and {n} transitions of {n} each are needed")
        shares = (self.weights, *self.transitions)
        if any(min(row) < 0 or sum(row) > 1 + 1e-9 for row in shares):
            raise ValueError(
                f"{self.name}: weights, and the transitions of each row, are at least 0 and together 1"
            )
        if any(self.transitions[k][k] for k in range(n)):
            raise ValueError(f"{self.name}: a hypothesis passes nothing to itself")
        return self


class Models(Section):
    """Analyses beside the table, for every measure, scale and visit."""

    analyses: tuple[Analysis, ...]
    covariates: tuple[str, ...]
    factors: tuple[str, ...]
    strata: tuple[str, ...]
    bootstrap_draws: int = Field(ge=200)
    degrees_of_freedom: Literal["satterthwaite", "kenward_roger"]


class Responders(Section):
    """Who counts as a responder."""

    thresholds: tuple[Threshold, ...]
    missing: Literal["excluded", "non_responder"]


class Flag(Section):
    """An analysis set and the column whose yes makes a member."""

    name: str = Field(min_length=1)
    column: str = Field(min_length=1)


class Sets(Section):
    """Analysis sets."""

    flags: tuple[Flag, ...]
    primary: str

    @model_validator(mode="after")
    def _primary_is_one(self) -> "Sets":
        if self.primary and self.primary not in {flag.name for flag in self.flags}:
            raise ValueError(f"primary: {self.primary!r} is not the name of a set")
        return self


class Event(Section):
    """An intercurrent event and how it is dealt with."""

    column: str = Field(min_length=1)
    strategies: tuple[Literal["hypothetical", "while_on_treatment", "composite"], ...] = Field(min_length=1)


class Estimands(Section):
    """Intercurrent events and imputation."""

    events: tuple[Event, ...]
    imputation: tuple[Literal["mar", "j2r", "cir"], ...]
    imputations: int = Field(ge=5)
    deltas: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of event days."""
        return tuple(event.column for event in self.events)


class EventFile(Section):
    """A table of adverse events or symptoms."""

    title: str = Field(min_length=1)
    file: str = Field(min_length=1)
    sheet: str = ""


class AdverseEvents(Section):
    """Tables of adverse events and symptoms, and how their columns are called."""

    tables: tuple[EventFile, ...]
    analysis_set: str
    term: tuple[str, ...]
    system: tuple[str, ...]
    grade: tuple[str, ...]
    serious: tuple[str, ...]

    @model_validator(mode="after")
    def _titles_differ(self) -> "AdverseEvents":
        titles = [table.title for table in self.tables]
        if len(set(titles)) < len(titles):
            raise ValueError("two tables have the same title")
        return self


class Subgroup(Section):
    """A covariate whose levels are subgroups; a number is cut."""

    column: str = Field(min_length=1)
    cuts: tuple[float, ...] = ()


class Subgroups(Section):
    """In which subgroups the primary endpoint is compared."""

    columns: tuple[Subgroup, ...]


class Output(Section):
    """What is written beside the tables."""

    adam_study: str


class Multiplicity(Section):
    """Families of hypotheses, tested one after another."""

    families: tuple[Family, ...]
    level: float = Share

    @model_validator(mode="after")
    def _names_differ(self) -> "Multiplicity":
        names = [family.name for family in self.families]
        if len(set(names)) < len(names):
            raise ValueError("two families have the same name")
        return self
