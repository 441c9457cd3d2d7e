"""A small synthetic trial as tables, made so that its answer is known by formula.

Twelve subjects per arm, four visits. The relative change of the lesion of subject i at a visit is

    trend + effect (in the UC-MSC arm) + spread * z_i

with the same twelve normal quantiles z_i in both arms. The pairwise differences then lie symmetrically about the
effect, so at a visit where nobody is missing the Hodges-Lehmann shift is the effect exactly. Solid disease follows
the same formula with its own figures, ground glass is the rest, and the 6-minute walk likewise.

    python tests/tools/trial_sample.py data-sample/trial
"""

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

from volumetry.deliver.row import columns as results_columns
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.csv_tables import Cell, csv_bytes

SEED = 20200305
ARMS = ("UC-MSC", "placebo")
PER_ARM = 12
DAYS = {"baseline": 0, "d10": 10, "d28": 28, "d90": 90}
TREND = {"lesion": {"d10": -8.0, "d28": -25.0, "d90": -45.0}, "solid": {"d10": -12.0, "d28": -35.0, "d90": -60.0}}
EFFECT = {"lesion": {"d10": -6.0, "d28": -13.0, "d90": -9.0}, "solid": {"d10": -5.0, "d28": -15.0, "d90": -10.0}}
SPREAD = {"lesion": {"d10": 10.0, "d28": 12.0, "d90": 14.0}, "solid": {"d10": 8.0, "d28": 10.0, "d90": 12.0}}
WALK_TREND_M = {"d10": 20.0, "d28": 60.0, "d90": 110.0}
WALK_EFFECT_M = {"d10": 5.0, "d28": 27.0, "d90": 15.0}
HU = {"aerated": -830.0, "ground_glass": -550.0, "solid": -80.0}
REFUSED = {(0, 5, "d90"): "MISSING_SLICES", (1, 8, "d90"): "LUNG_TRUNCATED_BASE"}
ABSENT = {(0, 11, "d90"): "withdrawn", (1, 3, "d90"): "died", (1, 10, "d90"): "missing"}
DEEPER = {(0, 2, "d28"): 1.12, (1, 6, "d28"): 1.22, (0, 9, "d90"): 0.84, (1, 1, "d10"): 1.0}
SHARP = {(1, 1, "d10")}
NO_SOLID = 7
"""The subject of each arm without solid disease at baseline, whose relative change is undefined."""
_VISIT_COLUMNS = ("subject", "visit", "day", "arm", "scan_id", "status", "walk_m", "honeycomb")
_TRUTH_COLUMNS = ("measure", "scale", "visit", "arm_a", "arm_b", "shift", "exact")


def write_sample(folder: Path, seed: int = SEED) -> None:
    """Write results.csv, visits.csv and truth.csv; the same seed gives the same bytes. Raises OutputError."""
    rng = np.random.default_rng(seed)
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / PER_ARM) for i in range(PER_ARM)])
    results: list[dict[str, Cell]] = []
    visits: list[dict[str, Cell]] = []
    for arm in range(len(ARMS)):
        z = rng.permutation(quantiles)
        z[[NO_SOLID, int(np.argmax(z))]] = z[[int(np.argmax(z)), NO_SOLID]]  # the same quantile lacks in both arms
        for place in range(PER_ARM):
            made = _subject(arm, place, float(z[place]), rng)
            results += made[0]
            visits += made[1]
    prepare_folder(folder)
    write_whole(folder / "results.csv", csv_bytes(results_columns(), results))
    write_whole(folder / "visits.csv", csv_bytes(_VISIT_COLUMNS, visits))
    write_whole(folder / "truth.csv", csv_bytes(_TRUTH_COLUMNS, _truth()))


def _subject(
    arm: int, place: int, z: float, rng: np.random.Generator
) -> tuple[list[dict[str, Cell]], list[dict[str, Cell]]]:
    subject = f"{1 + place + PER_ARM * arm:03d}"
    lesion_0 = float(rng.uniform(8, 40))
    solid_0 = 0.0 if place == NO_SOLID else lesion_0 * float(rng.uniform(0.15, 0.35))
    lung_0, walk_0 = float(rng.uniform(3000, 5000)), float(rng.uniform(280, 460))
    results: list[dict[str, Cell]] = []
    visits: list[dict[str, Cell]] = []
    for visit, day in DAYS.items():
        key = (arm, place, visit)
        scan_id = f"S{subject}-{visit}"
        breath = DEEPER.get(key, float(rng.uniform(0.94, 1.08))) if visit != "baseline" else 1.0
        late = 0 if visit == "baseline" else int(rng.integers(-2, 3))
        walk = walk_0
        if visit != "baseline":
            walk += WALK_TREND_M[visit] + (WALK_EFFECT_M[visit] if arm == 0 else 0.0) + 20 * z
        visits.append(
            {
                "subject": subject,
                "visit": visit,
                "day": day + late,
                "arm": ARMS[arm],
                "scan_id": None if key in ABSENT else scan_id,
                "status": ABSENT.get(key),
                "walk_m": None if key in ABSENT else walk,
                "honeycomb": (place + arm) % 4 == 0 if visit == "d90" and key not in ABSENT else None,
            }
        )
        if key in ABSENT:
            continue
        if key in REFUSED:
            message = "made for the sample"
            results.append(
                {"schema": 1, "scan_id": scan_id, "status": "refused", "code": REFUSED[key], "message": message}
            )
            continue
        lesion = lesion_0 * (1 + _change("lesion", visit, arm, z) / 100)
        solid = solid_0 * (1 + _change("solid", visit, arm, z) / 100)
        results.append(_scan(scan_id, lung_0 * breath, lesion, solid, key in SHARP))
    return results, visits


def _change(measure: str, visit: str, arm: int, z: float) -> float:
    """Relative change in % by the formula at the top of this file; 0 at baseline."""
    if visit == "baseline":
        return 0.0
    effect = EFFECT[measure][visit] if arm == 0 else 0.0
    return TREND[measure][visit] + effect + SPREAD[measure][visit] * z


def _scan(scan_id: str, lung_ml: float, lesion: float, solid: float, sharp: bool) -> dict[str, Cell]:
    """A row of results.csv from lung volume and shares in %."""
    share = {"lesion": lesion, "solid": solid, "ground_glass": lesion - solid}
    ml = {name: value * lung_ml / 100 for name, value in share.items()}
    ml |= {"lung": lung_ml, "aerated": lung_ml - ml["lesion"]}
    weight = ml["ground_glass"] * HU["ground_glass"] + ml["solid"] * HU["solid"]
    row: dict[str, Cell] = {"schema": 1, "scan_id": scan_id, "status": "measured", "component_rule": "hu"}
    row |= {f"percent_of_lung.{name}": value for name, value in share.items()}
    row |= {f"volumes_ml.{name}": value for name, value in ml.items()}
    row |= {f"interval_percent.{name}": f"{value * 0.95!r};{value * 1.06!r}" for name, value in share.items()}
    row["interval_level"] = 0.95
    for rule, factor in (("hu", 1.0), ("network", 0.9 + 0.002 * lesion)):
        row[f"components_by_rule.{rule}.solid_ml"] = ml["solid"] * factor
        row[f"components_by_rule.{rule}.ground_glass_ml"] = ml["lesion"] - ml["solid"] * factor
    return row | {
        "lesion_weight_hu_ml": weight,
        "lesion_mass_g": ml["lesion"] + weight / 1000,
        "mean_lung_hu": (ml["aerated"] * HU["aerated"] + weight) / lung_ml,
        "series.thickness_mm": 1.0,
        "series.kernel": "B70f" if sharp else "B40f",
        "series.kvp": 120.0,
        "series.manufacturer": "SYNTHETIC",
        "series.model_name": "Formula",
        "series.contrast": "false",
        "series.patient_position": "HFS",
        "provenance.software_version": "synthetic",
        "provenance.model": "formula",
    }


def _truth() -> list[dict[str, Cell]]:
    """The planted shifts; `exact` where nobody is missing, so that the estimate must equal them."""
    planted = [("lesion", "relative_percent", EFFECT["lesion"]), ("solid", "relative_percent", EFFECT["solid"])]
    planted += [("walk_m", "change", WALK_EFFECT_M)]
    complete = set(DAYS) - {visit for _arm, _place, visit in (*REFUSED, *ABSENT)}
    return [
        dict(zip(_TRUTH_COLUMNS, (measure, scale, visit, *ARMS, shift, visit in complete), strict=True))
        for measure, scale, shifts in planted
        for visit, shift in shifts.items()
    ]


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
