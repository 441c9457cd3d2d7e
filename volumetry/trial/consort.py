"""Flow of participants: who was randomised, scanned at each visit, lost, dead and analysed, by arm (CONSORT)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from volumetry.storage.csv_tables import Cell
from volumetry.trial.change import Change
from volumetry.trial.compare import POOLED, follow_ups, primary_visit
from volumetry.trial.config import TrialConfig
from volumetry.trial.estimands import members
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.visits import Visits

COLUMNS = ("stage", "visit", "reason", "arm", "n")
_LOST = {"DIED": "died", "WITHDRAWN": "withdrawn"}
_SAYS = {
    "randomised": "Randomised",
    "not_in_primary_set": "Not in the analysis set {reason}",
    "set": "Analysis set {reason}",
    "scanned": "Scanned",
    "evaluable": "Scan with a number",
    "died": "Died",
    "withdrawn": "Withdrawn",
    "no_number": "Without a number: {reason}",
    "analysed": "Analysed",
    "not_analysed": "Not analysed: {reason}",
}
_NOTES = (
    "Randomised: every subject of the table of visits, by its planned arm. Died, withdrawn: subjects without a "
    "scan at the visit for this reason, those of earlier visits included.",
)


@dataclass(frozen=True, slots=True)
class Count:
    """How many subjects of an arm there are at a stage; `visit` and `reason` are empty where they do not apply."""

    stage: str
    visit: str
    reason: str
    arm: str
    n: int

    def row(self) -> dict[str, Cell]:
        """The cells of consort.csv."""
        return {name: getattr(self, name) for name in COLUMNS}


def flow(everyone: Visits, analysed: Visits, changes: Sequence[Change], config: TrialConfig) -> list[Count]:
    """Every count of the flow of participants.

    Parameters
    ----------
    everyone
        The whole table of visits.
    analysed
        The subjects of the primary analysis set.
    changes
        From `changes_of`, of the primary analysis set.
    config
        ``[sets]`` and ``[endpoint]``.

    Returns
    -------
    list[Count]
        By stage, visit, reason and arm; an arm without subjects has 0.
    """
    arms = arms_of(everyone)
    found: list[Count] = []

    def count(stage: str, visit: str, reason: str, subjects: Iterable[str]) -> None:
        of = Counter(everyone.arms.get(subject, POOLED) for subject in subjects)
        found.extend(Count(stage, visit, reason, arm, of[arm]) for arm in arms)

    count("randomised", "", "", everyone.rows)
    if len(analysed.rows) < len(everyone.rows):
        count("not_in_primary_set", "", config.sets.primary, everyone.rows.keys() - analysed.rows.keys())
    for flag in config.sets.flags:
        count("set", "", flag.name, members(everyone, flag.name, config))
    lesion = [c for c in changes if c.measure == "lesion"]
    for visit in (analysed.baseline, *follow_ups(changes)):
        at = [c for c in lesion if c.visit == visit]
        count("scanned", visit, "", (c.subject for c in at if c.scan is not None))
        count("evaluable", visit, "", (c.subject for c in at if "value_percent" in c.levels))
        why = {c.subject: c.empty["value_percent"] for c in at if "value_percent" in c.empty}
        for reason in sorted(set(why.values()), key=lambda r: (r not in _LOST, r)):
            count(_LOST.get(reason, "no_number"), visit, reason, (s for s, r in why.items() if r == reason))
    measure, scale = config.endpoint.primary_measure, config.endpoint.primary_scale
    visit = primary_visit(changes, config) or ""
    at = [c for c in changes if c.measure == measure and c.visit == visit]
    count("analysed", visit, "", (c.subject for c in at if scale in c.changes))
    absent = {c.subject: c.empty[scale] for c in at if scale in c.empty}
    for reason in sorted(set(absent.values())):
        count("not_analysed", visit, reason, (s for s, r in absent.items() if r == reason))
    return found


def arms_of(visits: Visits) -> tuple[str, ...]:
    """Arms of the table by name; the pooled one while arms are absent."""
    return tuple(sorted(set(visits.arms.values()))) or (POOLED,)


def printed_flow(counts: Sequence[Count]) -> Printed:
    """The flow as a table for print, an arm in each column and all of them in the last."""
    arms = tuple(dict.fromkeys(c.arm for c in counts))
    stages: dict[tuple[str, str, str], dict[str, int]] = {}
    for c in counts:
        stages.setdefault((c.stage, c.visit, c.reason), {})[c.arm] = c.n
    rows: list[PrintedRow] = []
    group = ""
    for (stage, visit, reason), of in stages.items():
        heading = f"Primary endpoint, {visit}" if "analysed" in stage else visit
        if heading != group:
            rows.append(PrintedRow((heading,), is_heading=True))
            group = heading
        cells = [str(of[arm]) for arm in arms]
        total = [str(sum(of.values()))] if len(arms) > 1 else []
        rows.append(PrintedRow((_SAYS[stage].format(reason=reason), *cells, *total), level=1 if group else 0))
    head = ("", *arms, "all") if len(arms) > 1 else ("", *arms)
    return Printed("Flow of participants (subjects)", head, tuple(rows), _NOTES)
