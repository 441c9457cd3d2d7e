"""Change from baseline, by subject, visit and measure: two scales for the share, and mL and mass beside them.

relative_percent = 100 (P_visit - P_base) / P_base, the trial's reading; undefined at a baseline of 0.
absolute_points  = P_visit - P_base, in percentage points of the lung.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from volumetry.storage.csv_tables import Cell
from volumetry.trial.agreement import same_images
from volumetry.trial.comparability import PairGrade, grade_pair
from volumetry.trial.config import TrialConfig
from volumetry.trial.results import MEASURES, ScanRow
from volumetry.trial.visit_windows import Placement, ct_visits, place
from volumetry.trial.visits import Visits

SCALES = ("relative_percent", "absolute_points")
_LEVELS = ("percent", "ml", "mass_g", "weight_hu_ml")
CHANGES = {
    "relative_percent": "percent",
    "absolute_points": "percent",
    "change_ml": "ml",
    "relative_ml_percent": "ml",
    "change_mass_g": "mass_g",
    "relative_mass_percent": "mass_g",
    "change_weight_hu_ml": "weight_hu_ml",  # can change its sign, so it has no relative change
}
"""Every change and the level it is a change of."""
COLUMNS = (
    *("subject", "arm", "visit", "day", "measure", "baseline_scan_id", "scan_id", "status"),
    *("baseline_percent", "value_percent", *SCALES, "grade", "grade_reasons", "reason"),
    *("baseline_ml", "value_ml", "change_ml", "relative_ml_percent"),
    *("baseline_mass_g", "value_mass_g", "change_mass_g", "relative_mass_percent"),
    *("baseline_weight_hu_ml", "value_weight_hu_ml", "change_weight_hu_ml"),
    *("baseline_lung_ml", "lung_ml", "volume_ratio", "predicted_shift_percent", "grade_unknown", "notes", "empty"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One subject, visit and measure.

    Parameters
    ----------
    subject, arm, visit
        As in visits.csv; the arm is None while arms are absent.
    day
        Study day of the visit's row; None without one.
    measure
        ``lesion``, ``solid`` or ``ground_glass``.
    baseline_scan, scan
        Results of the two scans; None where there is none.
    is_baseline
        Whether the visit is the baseline itself.
    levels
        Values at baseline and at the visit by column name, such as ``baseline_percent``; absent if unknown.
    changes
        By name of `CHANGES`; absent if undefined.
    empty
        Why each level or change is absent, by its name: every absent one is here.
    pair
        Comparability of the two scans; None unless both have numbers.
    notes
        What a reader should know although the number stands.
    """

    subject: str
    arm: str | None
    visit: str
    day: float | None
    measure: str
    baseline_scan: ScanRow | None
    scan: ScanRow | None
    is_baseline: bool
    levels: Mapping[str, float]
    changes: Mapping[str, float]
    empty: Mapping[str, str]
    pair: PairGrade | None
    notes: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """Why the relative change is absent; None if it is there."""
        return self.empty.get("relative_percent")

    @property
    def died(self) -> bool:
        """Whether a death is why the visit has no scan, whatever is known of the baseline."""
        return self.empty.get("value_percent") == "DIED"

    @property
    def is_evaluable(self) -> bool:
        """Whether the relative change is there; of the baseline, whether its share is."""
        return "value_percent" in self.levels if self.is_baseline else self.reason is None

    def row(self) -> dict[str, Cell]:
        """The cells of changes.csv.

        Returns
        -------
        dict[str, Cell]
            By column.
        """
        pair = self.pair
        return {
            "subject": self.subject,
            "arm": self.arm,
            "visit": self.visit,
            "day": self.day,
            "measure": self.measure,
            "baseline_scan_id": self.baseline_scan.scan_id if self.baseline_scan else None,
            "scan_id": self.scan.scan_id if self.scan else None,
            "status": "OK" if self.is_evaluable else "NE",
            **self.levels,
            **self.changes,
            "grade": pair.grade if pair else None,
            "grade_reasons": ";".join(pair.reasons) if pair else None,
            "grade_unknown": ";".join(pair.unknown) if pair else None,
            "volume_ratio": pair.volume_ratio if pair else None,
            "predicted_shift_percent": pair.predicted_shift_percent if pair else None,
            "reason": self.reason,
            "notes": ";".join(self.notes),
            "empty": ";".join(f"{name}={why}" for name, why in self.empty.items()),
        }


def changes_of(visits: Visits, scans: Mapping[str, ScanRow], config: TrialConfig) -> list[Change]:
    """One `Change` per subject, analysis visit and measure, the baseline included.

    Parameters
    ----------
    visits
        From `read_visits`.
    scans
        From `read_results`.
    config
        Windows, and limits of comparability.

    Returns
    -------
    list[Change]
        In the order of the subjects, and of time.

    Raises
    ------
    ValueError
        If a subject's first placement is not the baseline.

    Notes
    -----
    relative_percent = 100 (P_visit - P_base) / P_base and absolute_points = P_visit - P_base, P being a share of
    the lung in percent. NCT04288102 registers the "change in lesion proportion (%) of full lung volume from
    baseline" without saying which; that the published figures are relative changes is inferred from their spread.
    """
    found: list[Change] = []
    shared = {digest for digest, rows in same_images(visits, scans).items() if len(rows) > 1}
    base: Placement | None = None
    placements = place(visits, config)
    scanned = ct_visits(placements, visits.baseline)
    for placement in (p for p in placements if p.visit in scanned):
        if placement.visit == visits.baseline:
            base = placement
        if base is None:
            raise ValueError("a subject's first placement must be the baseline")
        pair = _pair(base, placement, scans, config, shared)
        arm = visits.arms.get(placement.subject)
        found += [_change(measure, (base, placement), arm, pair, scans, config) for measure in MEASURES]
    return found


def _pair(
    base: Placement,
    placement: Placement,
    scans: Mapping[str, ScanRow],
    config: TrialConfig,
    shared: Container[str],
) -> PairGrade | None:
    """Comparability of a follow-up with its baseline; None unless both have numbers."""
    base_scan, scan = _scan(base, scans), _scan(placement, scans)
    if (
        placement is base
        or base_scan is None
        or scan is None
        or not (base_scan.is_evaluable and scan.is_evaluable)
    ):
        return None
    return grade_pair(base_scan, scan, config.pair, shared)


def _change(
    measure: str,
    placements: tuple[Placement, Placement],
    arm: str | None,
    pair: PairGrade | None,
    scans: Mapping[str, ScanRow],
    config: TrialConfig,
) -> Change:
    base, placement = placements
    base_scan, scan = _scan(base, scans), _scan(placement, scans)
    at_base, at_visit = _levels(base_scan, measure), _levels(scan, measure)
    base_absent, absent = _absence(base, base_scan), _absence(placement, scan)
    is_baseline = placement is base
    levels, empty = _named("baseline", at_base, base_absent, measure)
    more_levels, more_empty = _named("value", at_visit, absent, measure)
    for name, which in (("baseline_lung_ml", base_scan), ("lung_ml", scan)):
        if which is not None and which.is_evaluable:
            more_levels[name] = which.ml["lung"]
    changes: dict[str, float] = {}
    for name in CHANGES:
        value, forbidden = _one_change(name, at_base, at_visit)
        if is_baseline:
            empty[name] = base_absent or "BASELINE_VISIT"
        elif base_absent or absent:
            empty[name] = f"BASELINE:{base_absent}" if base_absent else str(absent)
        elif value is None:
            empty[name] = forbidden or _not_given(name, measure)
        else:
            changes[name] = value
    return Change(
        subject=placement.subject,
        arm=arm,
        visit=placement.visit,
        day=placement.row.day if placement.row else None,
        measure=measure,
        baseline_scan=base_scan,
        scan=scan,
        is_baseline=is_baseline,
        levels={**levels, **more_levels},
        changes=changes,
        empty={**empty, **more_empty},
        pair=pair,
        notes=_notes(at_base, scan, changes, config),
    )


def _named(
    prefix: str, values: Mapping[str, float], absent: str | None, measure: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Levels under their column's name, and why the others are absent."""
    there = {f"{prefix}_{level}": value for level, value in values.items()}
    why = {f"{prefix}_{level}": absent or _not_given(level, measure) for level in _LEVELS if level not in values}
    return there, why


def _scan(placement: Placement, scans: Mapping[str, ScanRow]) -> ScanRow | None:
    scan_id = placement.row.scan_id if placement.row else None
    return scans[scan_id] if scan_id is not None else None


def _absence(placement: Placement, scan: ScanRow | None) -> str | None:
    return scan.code if scan is not None else placement.reason


def _levels(scan: ScanRow | None, measure: str) -> dict[str, float]:
    if scan is None or not scan.is_evaluable:
        return {}
    levels = {"percent": scan.percent[measure], "ml": scan.ml[measure]}
    for level, column in (("mass_g", "lesion_mass_g"), ("weight_hu_ml", "lesion_weight_hu_ml")):
        if measure == "lesion" and column in scan.numbers:
            levels[level] = scan.numbers[column]
    return levels


def _one_change(
    name: str, base: Mapping[str, float], visit: Mapping[str, float]
) -> tuple[float | None, str | None]:
    """Value of a change, or None with the reason if the numbers themselves forbid it."""
    level = CHANGES[name]
    if level not in base or level not in visit:
        return None, None
    difference = visit[level] - base[level]
    if not name.startswith("relative"):
        return difference, None
    return (100 * difference / base[level], None) if base[level] else (None, "BASELINE_ZERO")


def _not_given(name: str, measure: str) -> str:
    of_mass = "mass" in name or "weight" in name
    return "LESION_ONLY" if of_mass and measure != "lesion" else "NOT_IN_RESULTS"


def _notes(
    base: Mapping[str, float], scan: ScanRow | None, changes: Mapping[str, float], config: TrialConfig
) -> tuple[str, ...]:
    notes = []
    if "relative_percent" in changes and base["percent"] < config.endpoint.small_baseline_percent:
        notes.append("SMALL_BASELINE")
    if scan is not None and scan.is_evaluable and scan.awaits_a_reader:
        notes.append("SCAN_FLAGGED_FOR_REVIEW")
    if scan is not None and scan.is_evaluable and scan.is_of_reader:
        notes.append("VALUE_OF_A_READER")
    return tuple(notes)
