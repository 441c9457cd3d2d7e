"""`volumetry evaluate --scans`: a model on whole chest CTs in HU, through the whole line from HU to mL.

There is no voxel truth on such scans. What is known is which slices a reader called infected, that a scan is
normal, a given lung mask, and lesions that we put in ourselves; each row says which of them it rests on, and
whether the model saw the scan in training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import CtScan, Measurement, Segmenter, Tissue, TissueMap
from volumetry.errors import InputError
from volumetry.image.orientation import axial_view
from volumetry.measure import by_component_rule, measure
from volumetry.quality import lung_findings
from volumetry.segment.postprocess import tidy
from volumetry.training.bootstrap import DRAWS, LEVEL, SEED, area_interval
from volumetry.training.dataset import infected_by_slice
from volumetry.training.dice import dice
from volumetry.training.held_out_metrics import area_under_curve
from volumetry.training.inserted_lesions import Plan, with_planted_lesion
from volumetry.training.samples import Truth
from volumetry.training.scan_list import ListedScan, Planted, read_listed, read_lung_mask, read_scan_list
from volumetry.training.synthesis import with_lesions
from volumetry.training.threshold_lungs import threshold_lungs

SCHEMA = 1
LARGE_ML = 20.0
"""The volume error of lesions at least this large gets a figure of its own."""

Row = dict[str, Any]
Say = Callable[[str], None]
LungFinder = Callable[[NDArray[np.float32], tuple[float, float, float]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A scan through the line."""

    tissue: TissueMap
    numbers: Measurement

    @property
    def lesion_kji(self) -> NDArray[np.bool_]:
        return self.tissue.labels_kji > Tissue.AERATED


def evaluate_scans(
    listed: Path,
    segmenter: Segmenter,
    config: Config,
    say: Say = lambda _: None,
    find_lungs: LungFinder = threshold_lungs,
) -> dict[str, Any]:
    """Measure a model on a list of scans in HU.

    Parameters
    ----------
    listed
        The TOML file; see `volumetry.training.scan_list`.
    segmenter
        What to measure; postprocessing and measuring follow `config`.
    config
        Every setting that decides a number.
    say
        Called with a few words before each pass through the line.
    find_lungs
        Where lesions may be put: the lungs of a normal axial volume (head, back, left) of given spacing in mm.

    Returns
    -------
    dict[str, Any]
        ``scans``: a row per scan. ``planted``: a row per lesion that was put into a normal scan. ``summary``:
        means. Errors are signed, in %, measured minus true; intervals are 95 % bootstrap over the slices of one
        scan.

    Raises
    ------
    ConfigError, InputError
        If the list, a scan or what belongs to it cannot be read.
    """
    scans = read_scan_list(listed)
    rows: list[Row] = []
    planted: list[Row] = []
    for spec in scans.scan:
        say(spec.label)
        scan = read_listed(listed.parent / spec.path, config)
        found = _through_the_line(scan, segmenter, config)
        rows.append(_scan_row(spec, scan, found, listed.parent, config) | learned_from(segmenter, spec.label))
        if spec.normal:
            planted += _planted_rows(spec, scan, found, scans.planted, _Line(segmenter, config, say, find_lungs))
    return {
        "schema": SCHEMA,
        "model": f"{segmenter.facts.name}-{segmenter.facts.version}",
        "model_sha256": segmenter.facts.sha256,
        "config_sha256": config.sha256,
        "scans": rows,
        "planted": planted,
        "summary": summary_of(rows, planted),
        "ci": {"level": LEVEL, "resampled": "slices of one scan", "draws": DRAWS, "seed": SEED},
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    segmenter: Segmenter
    config: Config
    say: Say
    find_lungs: LungFinder

    def of(self, scan: CtScan) -> _Measured:
        return _through_the_line(scan, self.segmenter, self.config)


def _through_the_line(scan: CtScan, segmenter: Segmenter, config: Config) -> _Measured:
    tissue = tidy(segmenter(scan), scan, config.tidy)
    return _Measured(by_component_rule(tissue, scan, config.measure), measure(tissue, scan, config.measure))


def _scan_row(spec: ListedScan, scan: CtScan, found: _Measured, root: Path, config: Config) -> Row:
    volumes = found.numbers.volumes_ml
    view = axial_view(scan.grid)
    labels = view.of(found.tissue.labels_kji)
    row: Row = {
        "name": spec.label,
        "normal": spec.normal,
        "slices": len(labels),
        "flags": [
            finding.code
            for finding in (*scan.findings, *lung_findings(found.tissue, scan, found.numbers, config))
            if finding.outcome in (Outcome.FLAG, Outcome.REFUSE)
        ],
        "lung_ml": volumes.lung,
        "lesion_ml": volumes.lesion,
        **{f"{name}_percent": share for name, share in volumes.percent_of_lung().items()},
    }
    if spec.normal and volumes.lung:
        row["false_positive_percent"] = 100 * volumes.lesion / volumes.lung
    if spec.infected_csv:
        if not (root / spec.infected_csv).is_file():
            raise InputError(f"{Path(spec.infected_csv).name} is not there")
        infected = infected_by_slice(root / spec.infected_csv, len(labels))
        area = np.count_nonzero(labels > Tissue.AERATED, axis=(1, 2)).astype(np.int64)
        row |= {"slices_infected": int(infected.sum()), "slices_not_infected": int((~infected).sum())}
        if infected.any() and not infected.all():
            row["auc_of_lesion_area"] = area_under_curve(area[infected], area[~infected])
            row["auc_of_lesion_area_ci"] = area_interval(area[infected], area[~infected])
    if spec.lung_mask:
        given = read_lung_mask(root / spec.lung_mask, spec.mask_above, scan.grid)
        given_ml = float(np.count_nonzero(given) * scan.grid.voxel_ml)
        row |= {
            "lung_given_ml": given_ml,
            "lung_error_percent": 100 * (volumes.lung - given_ml) / given_ml,
            "lung_dice": dice(found.tissue.labels_kji > Tissue.OUTSIDE, given),
        }
    return row


def learned_from(segmenter: Segmenter, name: str) -> Row:
    """How the model used a scan in training, as its card says.

    Parameters
    ----------
    segmenter
        The model.
    name
        Of the scan; it may go on after the case's: ``id001-128x128x64`` is case ``id001``.

    Returns
    -------
    Row
        ``learned_from_as``, None if the model has no card, and ``split`` where parts of the scan were held out.
    """
    model = getattr(segmenter, "model", None)
    if model is None:
        return {"learned_from_as": None}
    cases: Mapping[str, list[str]] = model.card.training_cases
    row: Row = {
        "learned_from_as": sorted(
            kind
            for kind, names in cases.items()
            if any(name == known or name.startswith(f"{known}-") for known in names)
        )
    }
    if "scan" in row["learned_from_as"]:
        row["split"] = model.card.story.get("split", {}).get("scans", "the card does not say which slices")
    return row


def _planted_rows(spec: ListedScan, scan: CtScan, without: _Measured, wanted: Planted, line: _Line) -> list[Row]:
    """Each lesion alone in the scan: measured with it, minus measured without."""
    view = axial_view(scan.grid)
    k_mm, j_mm, i_mm = (scan.grid.spacing_kji_mm[axis] for axis in view.axes)
    spacing = (k_mm, j_mm, i_mm)
    hu = view.of(scan.hu_kji)
    lung = line.find_lungs(np.ascontiguousarray(hu), spacing)
    rows: list[Row] = []
    # The same places for every density of one volume, so that densities can be compared.
    places = product(enumerate(wanted.volumes_ml), range(wanted.places))
    for ((number, volume_ml), place), level_hu in product(places, wanted.levels_hu):
        plan = Plan(volume_ml, level_hu)
        line.say(f"{spec.label}: {volume_ml:g} mL at {level_hu:g} HU, place {place + 1}")
        rng = np.random.default_rng([wanted.seed, number, place])
        drawn, truth = with_planted_lesion(hu, lung, spacing, rng, plan)
        kind = "solid" if plan.solid else "ground_glass"
        row = {"kind": kind, "volume_ml": volume_ml, "level_hu": level_hu, "place": place + 1}
        rows.append(
            {"name": spec.label} | row | _against(truth, line.of(with_axial_hu(scan, drawn)), without, scan)
        )
    for number in range(wanted.realistic):
        line.say(f"{spec.label}: drawn disease {number + 1}")
        rng = np.random.default_rng([wanted.seed, 1000 + number])
        drawn, truth = with_lesions(hu, lung, spacing, rng)
        rows.append(
            {"name": spec.label, "kind": "disease"}
            | _against(truth, line.of(with_axial_hu(scan, drawn)), without, scan)
        )
    return rows


def with_axial_hu(scan: CtScan, axial_hu: NDArray[np.float32]) -> CtScan:
    """The scan with other HU.

    Parameters
    ----------
    scan
        As it was read.
    axial_hu
        In its axial view: axes to the head, the back and the patient's left.
    """
    hu = np.empty_like(scan.hu_kji)
    axial_view(scan.grid).of(hu)[...] = axial_hu
    return replace(scan, hu_kji=hu)


def _against(truth_axial: NDArray[np.uint8], found: _Measured, without: _Measured, scan: CtScan) -> Row:
    truth = np.empty(scan.grid.shape_kji, np.uint8)
    axial_view(scan.grid).of(truth)[...] = truth_axial
    lesion, solid = (truth & Truth.LESION) > 0, (truth & Truth.SOLID) > 0
    voxel_ml = scan.grid.voxel_ml
    true_ml = float(np.count_nonzero(lesion) * voxel_ml)
    measured_ml = found.numbers.volumes_ml.lesion - without.numbers.volumes_ml.lesion
    labels = found.tissue.labels_kji
    right_class = np.where(solid, labels == Tissue.SOLID, labels == Tissue.GROUND_GLASS)
    row: Row = {
        "true_ml": true_ml,
        "true_solid_ml": float(np.count_nonzero(solid) * voxel_ml),
        "measured_ml": measured_ml,
        "lung_change_ml": found.numbers.volumes_ml.lung - without.numbers.volumes_ml.lung,
    }
    if true_ml:
        row["error_percent"] = 100 * (measured_ml - true_ml) / true_ml
        # What was called lesion before anything was put in is counted under false positives, not here.
        row["dice"] = dice(found.lesion_kji & (lesion | ~without.lesion_kji), lesion)
        row["right_class_percent"] = 100 * float(np.count_nonzero(right_class & lesion) * voxel_ml) / true_ml
    return row


def summary_of(rows: list[Row], planted: list[Row]) -> dict[str, Any]:
    """Means over scans and lesions; a figure that no row has is absent."""
    single = [row for row in planted if "volume_ml" in row]
    summary: dict[str, Any] = {}
    for name, values in (
        ("auc_of_lesion_area", [row["auc_of_lesion_area"] for row in rows if "auc_of_lesion_area" in row]),
        (
            "false_positive_percent",
            [row["false_positive_percent"] for row in rows if "false_positive_percent" in row],
        ),
        ("lung_error_percent", [row["lung_error_percent"] for row in rows if "lung_error_percent" in row]),
        (
            "planted_disease",
            [row["error_percent"] for row in planted if row["kind"] == "disease" and "dice" in row],
        ),
        (
            f"planted_from_{LARGE_ML:g}_ml",
            [row["error_percent"] for row in single if row["volume_ml"] >= LARGE_ML],
        ),
    ):
        if values:
            summary[name] = _means(values)
    cells: dict[tuple[float, float], list[Row]] = {(row["volume_ml"], row["level_hu"]): [] for row in single}
    for row in single:
        cells[row["volume_ml"], row["level_hu"]].append(row)
    summary["planted"] = [
        {"volume_ml": volume_ml, "level_hu": level_hu, "kind": cell[0]["kind"]}
        | {"dice": float(np.mean([row["dice"] for row in cell]))}
        | _means([row["error_percent"] for row in cell])
        for (volume_ml, level_hu), cell in sorted(cells.items())
    ]
    return summary


def _means(values: list[float]) -> dict[str, float]:
    """Signed mean, mean size, worst size and number."""
    size = np.abs(values)
    return {
        "mean": float(np.mean(values)),
        "mean_absolute": float(size.mean()),
        "largest_absolute": float(size.max()),
        "count": len(values),
    }
