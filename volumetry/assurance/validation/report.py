"""The validation report: a page that needs nothing but itself, the numbers as JSON, every case as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from volumetry import __version__
from volumetry.assurance.validation.agreement import bland_altman, repeatability, straight_line
from volumetry.assurance.validation.experiments import QUANTITIES, Validation, mean
from volumetry.assurance.validation.figures import bland_altman_picture, error_by_size, found_by_truth
from volumetry.config import Config
from volumetry.storage.atomic import prepare_folder, write_json, write_whole

_SHOWN = ("ground_glass", "solid")
_CONDITIONS = {"noise": "new noise, the same grid", "resampled": "another grid and new noise"}
_PACKAGES = ("SimpleITK", "numpy", "pydicom", "scikit-image", "scipy", "torch")


def write_validation(
    validation: Validation, selftest: Mapping[str, Any], config: Config, folder: Path
) -> Mapping[str, Any]:
    """Write ``validation.html``, ``validation.json`` and ``cases.csv``.

    Parameters
    ----------
    validation
        From `validate`.
    selftest
        From `volumetry.assurance.selftest.run_selftest`: its checks and its verdict are part of the report.
    config
        The settings that were validated with.
    folder
        Made if missing; files of these names are replaced.

    Returns
    -------
    Mapping
        What ``validation.json`` holds.
    """
    prepare_folder(folder)
    document = as_document(validation, selftest, config)
    write_whole(folder / "cases.csv", cases_csv(validation))
    write_json(folder / "validation.json", document)
    write_whole(folder / "validation.html", page(validation, document).encode("utf-8"))
    return document


def as_document(validation: Validation, selftest: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Every table of the report; the same measurements give the same document, whatever the clock says."""
    return {
        "schema": 1,
        "software_version": __version__,
        "config_sha256": config.sha256,
        "packages": {name: version(name) for name in _PACKAGES},
        "design": asdict(validation.design),
        "bias": list(_bias(validation)),
        "linearity": list(_linearity(validation)),
        "thickness_agreement": list(_between_thicknesses(validation)),
        "repeatability": list(_repeatability(validation)),
        "selftest": dict(selftest),
    }


def cases_csv(validation: Validation) -> bytes:
    """One row per quantity and phantom."""
    text = io.StringIO()
    names = ["experiment", "subject", "condition", "thickness_mm", "noise_hu", "quantity", "truth_ml", "found_ml"]
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*names, "error_percent"])
    for case in validation.cases:
        writer.writerow([*(getattr(case, name) for name in names), case.error_percent])
    return text.getvalue().encode("utf-8")


def page(validation: Validation, document: Mapping[str, Any]) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("validation.html.j2").render(
        document=document,
        by_size=[error_by_size(validation, quantity) for quantity in _SHOWN],
        linear=[found_by_truth(validation, quantity) for quantity in _SHOWN],
        agreement=list(_pictures(validation)),
        conditions=_CONDITIONS,
        name=lambda quantity: quantity.replace("_", " "),
    )


def _bias(validation: Validation) -> Iterator[dict[str, Any]]:
    """Mean and largest error by quantity, thickness and noise, over all sizes."""
    for quantity in QUANTITIES:
        for thickness in validation.design.thicknesses_mm:
            for noise in validation.design.noises_hu:
                cases = validation.of(quantity, "linearity", thickness_mm=thickness, noise_hu=noise)
                errors = [case.error_percent for case in cases]
                yield {
                    "quantity": quantity,
                    "thickness_mm": thickness,
                    "noise_hu": noise,
                    "n": len(cases),
                    "mean_error_percent": mean(errors),
                    "furthest_error_percent": max(errors, key=abs),
                    "mean_error_ml": mean([case.found_ml - case.truth_ml for case in cases]),
                }


def _linearity(validation: Validation) -> Iterator[dict[str, Any]]:
    for quantity in (*_SHOWN, "lesion"):
        for thickness in validation.design.thicknesses_mm:
            cases = validation.of(quantity, "linearity", thickness_mm=thickness)
            line = straight_line([case.truth_ml for case in cases], [case.found_ml for case in cases])
            if line is not None:
                yield {"quantity": quantity, "thickness_mm": thickness, **asdict(line)}


def _between_thicknesses(validation: Validation) -> Iterator[dict[str, Any]]:
    """The same phantom in thin and in thicker slices: what pairing them would cost."""
    thinnest, *others = sorted(validation.design.thicknesses_mm)
    for quantity in QUANTITIES:
        thin = [case.found_ml for case in validation.of(quantity, "linearity", thickness_mm=thinnest)]
        for other in others:
            thick = [case.found_ml for case in validation.of(quantity, "linearity", thickness_mm=other)]
            found = bland_altman(thick, thin)
            if found is not None:
                yield {"quantity": quantity, "thick_mm": other, "thin_mm": thinnest, **asdict(found)}


def _repeatability(validation: Validation) -> Iterator[dict[str, Any]]:
    for quantity in QUANTITIES:
        for condition in _CONDITIONS:
            first, again = validation.pairs(quantity, condition)
            within, found = repeatability(first, again), bland_altman(again, first)
            if within is not None and found is not None:
                yield {"quantity": quantity, "condition": condition, **asdict(found), **asdict(within)}


def _pictures(validation: Validation) -> Iterator[str]:
    for quantity in _SHOWN:
        for condition, words in _CONDITIONS.items():
            first, again = validation.pairs(quantity, condition)
            yield bland_altman_picture(again, first, f"{quantity.replace('_', ' ')}: {words}")
