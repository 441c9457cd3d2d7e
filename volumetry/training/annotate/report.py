"""A model against the slices that we annotated; never to be mixed with figures from a reader's labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Config
from volumetry.domain import Segmenter, Tissue
from volumetry.image.orientation import axial_view
from volumetry.measure import by_component_rule
from volumetry.segment.postprocess import tidy
from volumetry.training.annotate.plan import AnnotatedScan, Label, chosen, read_labels, read_plan
from volumetry.training.evaluate_scans import learned_from
from volumetry.training.scan_list import read_listed

SCHEMA = 1
NAME = "annotated by us"
TRUE = (Label.OUTSIDE, Label.LUNG, Label.GROUND_GLASS, Label.SOLID, Label.UNJUDGED)
FOUND = tuple(Tissue)
JUDGED = slice(0, 4)
QUANTITIES = {
    "lung": ((Label.LUNG, Label.GROUND_GLASS, Label.SOLID), tuple(Tissue)[1:]),
    "lesion": ((Label.GROUND_GLASS, Label.SOLID), (Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)),
    "ground_glass": ((Label.GROUND_GLASS,), (Tissue.GROUND_GLASS,)),
    "solid": ((Label.SOLID,), (Tissue.SOLID,)),
}
"""What counts as a quantity among the labels, and among the model's tissues."""

Table = NDArray[np.float64]
"""Area in cm2, rows in the order of `TRUE`, columns in the order of `FOUND`."""
Row = dict[str, Any]


def report(
    root: Path, folder: Path, segmenter: Segmenter, config: Config, say: Callable[[str], None] = lambda _: None
) -> Row:
    """Measure a model on the annotated slices; the model sees whole scans.

    Parameters
    ----------
    root
        The data root that the plan's paths are relative to.
    folder
        The plan and the labels.
    segmenter
        What to measure; tidying and the component rule follow `config`.
    config
        Every setting that decides a number.
    say
        Called with the name of each scan before it is measured.

    Returns
    -------
    dict[str, Any]
        ``scans``: a row per scan, with how the model learned from it and a row per slice. ``pooled``: over all
        scans, by area. Shares are in % of the judged lung, errors in points, found minus true. What is not judged
        counts in no Dice and no share.

    Raises
    ------
    ConfigError, InputError
        If the plan, a scan or its labels cannot be read.
    """
    rows, tables = [], []
    for spec in read_plan(folder).scan:
        say(spec.name)
        scan = read_listed(root / spec.path, config)
        true = read_labels(folder, spec, scan)
        tissue = by_component_rule(tidy(segmenter(scan), scan, config.tidy), scan, config.measure)
        found = chosen(tissue.labels_kji, scan.grid, spec)
        spacing = axial_view(scan.grid).spacing_mm(scan.grid)
        by_slice = [table_of(t, f, spacing[1] * spacing[2] / 100) for t, f in zip(true, found, strict=True)]
        rows.append(scan_row(spec, by_slice) | learned_from(segmenter, spec.name))
        tables += by_slice
    facts = segmenter.facts
    return {
        "schema": SCHEMA,
        "truth": NAME,
        "model": f"{facts.name}-{facts.version}",
        "model_sha256": facts.sha256,
        "config_sha256": config.sha256,
        "scans": rows,
        "pooled": figures(tables),
    }


def table_of(true: NDArray[np.uint8], found: NDArray[np.uint8], pixel_cm2: float) -> Table:
    """Area by true label and found tissue.

    Parameters
    ----------
    true, found
        Of one shape, values of `Label` and of `Tissue`.
    pixel_cm2
        Area of a pixel.

    Returns
    -------
    Table
        In cm2.
    """
    return np.array(
        [[np.count_nonzero((true == t) & (found == f)) * pixel_cm2 for f in FOUND] for t in TRUE], np.float64
    )


def scan_row(spec: AnnotatedScan, tables: list[Table]) -> Row:
    """A scan's figures and those of its slices."""
    slices = [{"slice": k} | _shares(table) for k, table in zip(spec.slices, tables, strict=True)]
    return {"name": spec.name, "source": spec.source} | figures(tables) | {"by_slice": slices}


def figures(tables: list[Table]) -> Row:
    """Dice, share errors and kinds of error over slices.

    Parameters
    ----------
    tables
        One per slice.

    Returns
    -------
    dict[str, Any]
        ``dice`` by quantity, pooled by area, without those of which there is nothing; true and found shares
        and the errors of the slices' shares; ``errors_cm2`` by kind.
    """
    total = np.sum(tables, axis=0)
    judged = total[JUDGED]
    dice = {}
    for name in QUANTITIES:
        both, true, found = _overlap(judged, name)
        if true + found:
            dice[name] = 2 * both / (true + found)
    of_slices = [row for row in map(_shares, tables) if "lesion_error_points" in row]
    errors = {
        name: [row[f"{name}_error_points"] for row in of_slices] for name in ("lesion", "ground_glass", "solid")
    }
    return {
        "slices": len(tables),
        "dice": dice,
        **_shares(total),
        "slice_error_points": {
            name: {"mean": float(np.mean(values)), "mean_absolute": float(np.mean(np.abs(values)))}
            for name, values in errors.items()
            if values
        },
        "errors_cm2": kinds_of_error(total),
    }


def kinds_of_error(table: Table) -> dict[str, float]:
    """Areas that the model labels otherwise than we do, by what was taken for what.

    Parameters
    ----------
    table
        Area in cm2.

    Returns
    -------
    dict[str, float]
        In cm2.
    """

    def area(true: tuple[Label, ...], found: tuple[Tissue, ...]) -> float:
        return float(sum(table[TRUE.index(t), FOUND.index(f)] for t in true for f in found))

    no_lesion = (Tissue.OUTSIDE, Tissue.AERATED)
    lesion = (Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)
    return {
        "ground_glass_missed": area((Label.GROUND_GLASS,), no_lesion),
        "solid_missed": area((Label.SOLID,), no_lesion),
        "ground_glass_called_solid": area((Label.GROUND_GLASS,), (Tissue.SOLID,)),
        "solid_called_ground_glass": area((Label.SOLID,), (Tissue.GROUND_GLASS,)),
        "lung_called_ground_glass": area((Label.LUNG,), (Tissue.GROUND_GLASS,)),
        "lung_called_solid": area((Label.LUNG,), (Tissue.SOLID,)),
        "outside_called_ground_glass": area((Label.OUTSIDE,), (Tissue.GROUND_GLASS,)),
        "outside_called_solid": area((Label.OUTSIDE,), (Tissue.SOLID,)),
        "outside_called_lung": area((Label.OUTSIDE,), (Tissue.AERATED,)),
        "lung_called_outside": area((Label.LUNG, Label.GROUND_GLASS, Label.SOLID), (Tissue.OUTSIDE,)),
        "lesion_where_not_judged": area((Label.UNJUDGED,), lesion),
        "not_judged": area((Label.UNJUDGED,), FOUND),
    }


def _overlap(judged: Table, name: str) -> tuple[float, float, float]:
    labels, tissues = QUANTITIES[name]
    rows, columns = [TRUE.index(label) for label in labels], [FOUND.index(tissue) for tissue in tissues]
    return float(judged[np.ix_(rows, columns)].sum()), float(judged[rows].sum()), float(judged[:, columns].sum())


def _shares(table: Table) -> Row:
    """Areas, shares and their errors; a share of no lung is absent."""
    judged = table[JUDGED]
    areas = {name: _overlap(judged, name)[1:] for name in QUANTITIES}
    row: Row = {}
    for name, (true, found) in areas.items():
        row |= {f"{name}_true_cm2": true, f"{name}_found_cm2": found}
    true_lung, found_lung = areas["lung"]
    if not (true_lung and found_lung):
        return row
    for name in ("lesion", "ground_glass", "solid"):
        true, found = (100 * area / lung for area, lung in zip(areas[name], areas["lung"], strict=True))
        row |= {
            f"{name}_true_percent": true,
            f"{name}_found_percent": found,
            f"{name}_error_points": found - true,
        }
    return row
