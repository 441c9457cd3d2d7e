"""Sentences made from settings and records: methods paragraph, footnotes, what a reader must know."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from volumetry import __version__
from volumetry.measure.components import HuCuts
from volumetry.trial.change import Change
from volumetry.trial.compare import arm_of, contrasts_of, primary_visit
from volumetry.trial.config import TrialConfig
from volumetry.trial.layout import SCALE_TITLES, TITLES
from volumetry.trial.pages import page
from volumetry.trial.people import notes_on_people, warnings_of_people
from volumetry.trial.results import PROVENANCE, ScanRow
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

_QUARTILES = {
    "linear": "linear interpolation (type 7 of Hyndman and Fan)",
    "median_unbiased": "type 8 of Hyndman and Fan",
    "normal_unbiased": "type 9 of Hyndman and Fan",
    "weibull": "type 6 of Hyndman and Fan",
    "hazen": "type 5 of Hyndman and Fan",
    "averaged_inverted_cdf": "type 2 of Hyndman and Fan",
    "inverted_cdf": "type 1 of Hyndman and Fan",
}
_DAYS = {
    "days": "",
    "cdisc": "Days were taken from the study days of CDISC, whose day 1 is day 0 here.",
    "first_treatment": "Days were counted from the date of each subject's first treatment.",
    "baseline": "Days were counted from the date of each subject's baseline visit.",
}
_NETWORK = "the lesion was divided by the network's own classes"


def methods(visits: Visits, changes: Sequence[Change], scans: Iterable[ScanRow], config: TrialConfig) -> list[str]:
    """The methods section, one paragraph per entry; every number in it comes from a record or a setting."""
    scans = list(scans)
    known = _provenance(scans)
    endpoint = config.endpoint
    text = page("methods.txt.j2").render(
        version=__version__,
        config=config,
        known={name.rpartition(".")[2]: values for name, values in known.items()},
        rules=_rules(scans),
        levels=sorted(levels_of(scans, config)) or [config.statistics.interval_level],
        baseline=visits.baseline,
        days=_DAYS[visits.day_source],
        primary=f"{TITLES[endpoint.primary_measure].lower()}, {SCALE_TITLES[endpoint.primary_scale]}",
        primary_visit=primary_visit(changes, config),
        quartiles=_QUARTILES[config.statistics.quartiles],
        multiplicity=_multiplicity(config),
        analyses=_analyses(config),
        families=_families(config),
    )
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]


def _analyses(config: TrialConfig) -> list[str]:
    """A sentence for each analysis beside the table."""
    of = config.models
    more = ", ".join((*of.covariates, *of.factors))
    more = f" and {more}" if more else ""
    ranks = f" and {', '.join(of.covariates)}" if of.covariates else ""
    sentences = {
        "ancova": f"ANCOVA: least squares with arm, the baseline value{more}.",
        "rank_ancova": f"Rank ANCOVA (Quade): ranks of the change less what ranks of the baseline value{ranks} "
        "explain.",
        "van_elteren": f"Van Elteren: rank-sum test stratified by {', '.join(of.strata) or 'nothing'}, weights "
        "1 / (n + 1), normal approximation with tie correction.",
        "median_difference": f"Difference of medians, BCa bootstrap interval of {of.bootstrap_draws} draws "
        f"(seed {config.statistics.seed}).",
        "mmrm": f"MMRM: visit, visit by arm, baseline value by visit{more}; unstructured covariance, "
        "restricted maximum likelihood, "
        + (
            "standard errors of Kenward and Roger"
            if of.degrees_of_freedom == "kenward_roger"
            else "degrees of freedom of Satterthwaite"
        )
        + "; values missing at random.",
        "kruskal_wallis": "Kruskal-Wallis test of all arms.",
    }
    found = [sentences[name] for name in of.analyses]
    found += _estimands(config)
    found += _tables(config)
    missing = config.responders.missing.replace("_", "-")
    limits = [f"{t.measure} {t.scale} at most {t.at_most:g}" for t in config.responders.thresholds]
    if limits:
        found.append(f"Responders: {', '.join(limits)}; without the change a subject is {missing}.")
    return found


def _tables(config: TrialConfig) -> list[str]:
    """A sentence for the tables of participants and baseline, and for subgroups and events where they are."""
    found = ["Baseline characteristics are described by arm and not tested."]
    cuts = [f"{s.column}" + (f" (cut at {', '.join(f'{c:g}' for c in s.cuts)})" if s.cuts else "")
            for s in config.subgroups.columns]  # fmt: skip
    if cuts:
        found.append(
            f"Subgroups by {', '.join(cuts)}: the primary comparison within each level, and the interaction of "
            "arm and subgroup by an F test in a linear model of the primary change with the baseline value; the "
            "results are not adjusted for multiplicity."
        )
    events = config.adverse_events
    if events.tables:
        titles = ", ".join(table.title.lower() for table in events.tables)
        of = (
            f"the analysis set {events.analysis_set!r}"
            if events.analysis_set
            else "all subjects of the visits table"
        )
        found.append(
            f"Counts of {titles} are of {of}: subjects once for each term and by grade at their worst, and all "
            "events; they are not tested."
        )
    return found


def _estimands(config: TrialConfig) -> list[str]:
    """A sentence for every analysis set, intercurrent event and imputation."""
    of = config.estimands
    found = []
    if config.sets.primary:
        found.append(f"The tables are about the analysis set {config.sets.primary!r}.")
    more = [flag.name for flag in config.sets.flags if flag.name != config.sets.primary]
    if more:
        found.append(f"Sensitivity analyses are about the sets {', '.join(more)}.")
    if of.events:
        listed = "; ".join(
            f"{e.column}: {', '.join(s.replace('_', ' ') for s in e.strategies)}" for e in of.events
        )
        found.append(f"Intercurrent events: treatment policy, and in sensitivity analyses {listed}.")
    if of.imputation:
        found.append(
            f"Multiple imputation ({', '.join(of.imputation)}): baseline and changes jointly normal with a mean "
            f"per arm and one unstructured covariance, {of.imputations} imputations (seed "
            f"{config.statistics.seed}), ANCOVA on the baseline, Rubin's rules with the degrees of freedom of "
            "Barnard and Rubin; subjects with at least one change; nothing is imputed for the dead."
        )
    if of.imputation and of.deltas:
        found.append(
            f"Tipping point: {', '.join(f'{d:g}' for d in of.deltas)} added to imputed values of the arm."
        )
    return found


def _families(config: TrialConfig) -> list[str]:
    """How the confirmatory hypotheses were tested."""
    families = config.multiplicity.families
    if not families:
        return []
    order = "; ".join(
        f"{f.name}: {f.procedure.replace('_', '-')}, {len(f.hypotheses)} hypotheses" for f in families
    )
    level = config.multiplicity.level
    return [
        f"Confirmatory families at the two-sided level {level:g}, each tested only if every hypothesis of the one "
        f"before was rejected: {order}."
    ]


def footnotes(
    visits: Visits, changes: Sequence[Change], scans: Iterable[ScanRow], config: TrialConfig
) -> list[str]:
    """What stands below the table."""
    scans = list(scans)
    known = _provenance(scans)
    arms = contrasts_of(visits.arms.values(), config)
    notes = [
        "Denominator of every share: the full volume of both lungs. Lesion is ground glass and solid together"
        + (" and what the HU cut leaves to neither." if "hu" in known["component_rule"] else "."),
        *(f"Component rule: {rule}." for rule in _rules(scans)),
        "Relative change = 100 (visit - baseline) / baseline; absolute change in percentage points; negative is "
        "improvement.",
    ]
    if arms[0][1] is None:
        notes.append("Arms are not known, or only one is there: values are pooled and nothing is compared.")
    else:
        notes += [f"Difference: {a} minus {b}, Hodges-Lehmann; p: Wilcoxon rank-sum." for a, b in arms]
    notes.append(_multiplicity(config))
    grade_c = {(c.subject, c.visit): c.pair.reasons for c in changes if c.pair and c.pair.grade == "C"}
    reasons = Counter(reason for found in grade_c.values() for reason in found)
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    notes.append(
        f"Pairs of grade C, kept here and left out in a sensitivity analysis: {len(grade_c)}"
        + (f" ({listed})." if listed else ".")
    )
    notes += missing_by_arm(changes)
    notes += notes_on_people(scans)
    made_by = "; ".join(
        f"{title} {', '.join(known[name])}"
        for title, name in (
            ("software", "provenance.software_version"),
            ("model", "provenance.model"),
            ("model sha256", "provenance.model_sha256"),
            ("settings sha256", "provenance.config_sha256"),
        )
        if known[name]
    )
    notes.append(
        f"Measured with: {made_by}." if made_by else "The results do not say which software measured them."
    )
    return notes


def missing_by_arm(changes: Sequence[Change]) -> list[str]:
    """Absent follow-up values of the lesion per arm, with the reasons counted."""
    lines = []
    of = [c for c in changes if c.measure == "lesion" and not c.is_baseline]
    for arm in sorted({arm_of(c) for c in of}):
        reasons = Counter(c.reason for c in of if arm_of(c) == arm and c.reason)
        total = sum(arm_of(c) == arm for c in of)
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        lines.append(
            f"Not evaluable in {arm}: {reasons.total()} of {total} follow-up values"
            + (f" ({listed})." if listed else ".")
        )
    return lines


def warnings_of(
    placements: Sequence[Placement],
    visits: Visits,
    scans: Mapping[str, ScanRow],
    changes: Sequence[Change],
    config: TrialConfig,
) -> list[str]:
    """What a reader must know before believing the table."""
    told = []
    for name, values in _provenance(_used(placements, scans)).items():
        if len(values) > 1:
            told.append(f"The scans were not all measured alike: {name} has {len(values)} values.")
    told += _on_levels(_used(placements, scans), config)
    wanted = config.endpoint.primary_visit
    visit = primary_visit(changes, config)
    planned = config.windows.named(wanted)
    if visit is not None and config.windows.named(visit) != planned:
        told.append(
            f"The primary visit {wanted!r} is not in the table; {visit!r}, its last visit, is used instead."
        )
    served = {number for p in placements for number in p.rows}
    ends = ("died", "withdrawn")  # such a row serves every later visit
    every_row = [row for rows in visits.rows.values() for row in rows]
    unused = [row.row for row in every_row if row.row not in served and row.status not in ends]
    if unused:
        listed = ", ".join(str(number) for number in sorted(unused))
        told.append(
            f"Rows of the visits table that were not used (out of window, or another row was nearer): {listed}."
        )
    told += _on_sheets(visits, config)
    if visits.replaced:
        columns = ", ".join(sorted({str(row["column"]) for row in visits.replaced}))
        told.append(
            f"{len(visits.replaced)} words were read as numbers by the settings, in {columns}: see replaced.csv."
        )
    texts = [extra.column for extra in visits.extras if extra.kind == "text"]
    if texts:
        told.append(f"Columns of text, not summarised: {', '.join(texts)}.")
    unknown = Counter(check for c in changes if c.pair and c.measure == "lesion" for check in c.pair.unknown)
    if unknown:
        pairs = sum(1 for c in changes if c.pair and c.measure == "lesion")
        listed = ", ".join(f"{check} {count}" for check, count in sorted(unknown.items()))
        told.append(f"Comparability could not be fully judged; unknown, of {pairs} pairs: {listed}.")
    told += warnings_of_people(visits, scans)
    flagged = sum(1 for scan in _used(placements, scans) if scan.is_evaluable and scan.awaits_a_reader)
    if flagged:
        told.append(
            f"{flagged} scans have flags that a reader should look at (status review); their numbers are used."
        )
    small = sum("SMALL_BASELINE" in c.notes for c in changes if c.measure == "lesion")
    if small:
        least = config.endpoint.small_baseline_percent
        told.append(f"{small} relative changes have a lesion baseline below {least:g} % of lung and are unstable.")
    return told


def _on_sheets(visits: Visits, config: TrialConfig) -> Iterator[str]:
    """Which sheet of a workbook was read, where it has several."""
    if len(visits.sheets) > 1:
        read = config.input.sheet or visits.sheets[0]
        yield (
            f"The table of visits is a workbook with {len(visits.sheets)} sheets ({', '.join(visits.sheets)}); "
            f"{read!r} was read ([input] sheet)."
        )


def levels_of(scans: Iterable[ScanRow], config: TrialConfig) -> Counter[float]:
    """How many scans have an interval of each level: that which the scan states, else that of the settings."""
    with_interval = [scan for scan in scans if scan.interval_percent]
    return Counter(scan.interval_level or config.statistics.interval_level for scan in with_interval)


def _on_levels(scans: Sequence[ScanRow], config: TrialConfig) -> Iterator[str]:
    levels = levels_of(scans, config)
    if len(levels) > 1:
        listed = ", ".join(f"{100 * level:g} % in {count}" for level, count in sorted(levels.items()))
        yield f"The intervals are not all of one level ({listed} scans); each was used at its own."
    unstated = sum(1 for scan in scans if scan.interval_percent and scan.interval_level is None)
    if unstated:
        assumed = 100 * config.statistics.interval_level
        yield f"{unstated} scans state an interval without its level; {assumed:g} % (interval_level) was assumed."


def _rules(scans: Iterable[ScanRow]) -> list[str]:
    """How the lesion was divided, a sentence for each way, with the cuts that the results state."""
    ways = {(s.facts.get("component_rule"), s.hu_cuts) for s in scans if s.is_evaluable}
    sentences = {_rule(rule, cuts) for rule, cuts in ways if rule}
    return sorted(sentences)


def _rule(rule: str, cuts: HuCuts | None) -> str:
    if rule != "hu":
        return _NETWORK if rule == "network" else rule
    if cuts is None:
        return "the lesion was divided by HU, at cuts that the results do not state"
    low, middle, high = (f"{cut:g}" for cut in cuts)
    return (
        f"the lesion was divided by HU ({low} to below {middle} ground glass, {middle} to {high} solid; "
        f"lesion outside {low} to {high} HU belongs to neither)"
    )


def _used(placements: Sequence[Placement], scans: Mapping[str, ScanRow]) -> list[ScanRow]:
    return [scans[p.row.scan_id] for p in placements if p.row and p.row.scan_id]


def _provenance(scans: Iterable[ScanRow]) -> dict[str, list[str]]:
    evaluable = [scan for scan in scans if scan.is_evaluable]
    return {name: sorted({s.facts[name] for s in evaluable if name in s.facts}) for name in PROVENANCE}


def _multiplicity(config: TrialConfig) -> str:
    if config.statistics.multiplicity == "holm":
        return "Holm-adjusted p-values are given; the family is every measure and visit within one scale."
    if config.multiplicity.families:
        return "The p-values of the tables are not adjusted for multiplicity; those of the confirmatory tests are."
    return "No p-value is adjusted for multiplicity."
