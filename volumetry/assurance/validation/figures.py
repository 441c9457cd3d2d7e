"""Figures of the validation report, as pictures that the page carries inside itself."""

import base64
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from volumetry.assurance.validation.agreement import bland_altman
from volumetry.assurance.validation.experiments import Validation

_COLOURS = ("#35618f", "#c0263c", "#2c7a4b", "#8a5a00")
_NAMES = {"lung": "lung", "ground_glass": "ground glass", "solid": "solid", "lesion": "lesion"}


def error_by_size(validation: Validation, quantity: str) -> str:
    """Error in percent against true volume, one colour per thickness, one point per noise."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for colour, thickness in zip(_COLOURS, validation.design.thicknesses_mm, strict=False):
        cases = validation.of(quantity, "linearity", thickness_mm=thickness)
        axes.plot(
            [case.truth_ml for case in cases],
            [case.error_percent for case in cases],
            "o",
            color=colour,
            markersize=4,
            alpha=0.75,
            label=f"{thickness:g} mm",
        )
    axes.axhline(0, color="#777777", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("true volume, mL", fontsize=8)
    axes.set_ylabel("error, %", fontsize=8)
    axes.set_title(f"{_NAMES[quantity]}: error by size and slice step", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    return _as_data_uri(figure)


def found_by_truth(validation: Validation, quantity: str) -> str:
    """Measured against true volume, and the line of identity."""
    figure = Figure(figsize=(3.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    cases = validation.of(quantity, "linearity")
    ends = [0.0, 1.05 * max(max(case.truth_ml, case.found_ml) for case in cases)]
    axes.plot(ends, ends, color="#777777", linewidth=0.8)
    for colour, thickness in zip(_COLOURS, validation.design.thicknesses_mm, strict=False):
        some = [case for case in cases if case.thickness_mm == thickness]
        axes.plot(
            [case.truth_ml for case in some],
            [case.found_ml for case in some],
            "o",
            color=colour,
            markersize=4,
            alpha=0.75,
            label=f"{thickness:g} mm",
        )
    axes.set_xlabel("true volume, mL", fontsize=8)
    axes.set_ylabel("measured volume, mL", fontsize=8)
    axes.set_title(f"{_NAMES[quantity]}: linearity", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    return _as_data_uri(figure)


def bland_altman_picture(a: Sequence[float], b: Sequence[float], title: str) -> str:
    """Difference against mean in mL, with bias, limits of agreement and their intervals."""
    figure = Figure(figsize=(4.0, 3.0), layout="constrained")
    axes = figure.add_subplot()
    means = [(x + y) / 2 for x, y in zip(a, b, strict=True)]
    axes.plot(means, [x - y for x, y in zip(a, b, strict=True)], "o", color=_COLOURS[0], markersize=4)
    found = bland_altman(a, b)
    if found is not None:
        for level, low, high, style in (
            (found.bias, found.bias_low, found.bias_high, "-"),
            (found.lower, found.lower_low, found.lower_high, "--"),
            (found.upper, found.upper_low, found.upper_high, "--"),
        ):
            axes.axhline(level, color=_COLOURS[1], linestyle=style, linewidth=0.9)
            axes.axhspan(low, high, color=_COLOURS[1], alpha=0.10, linewidth=0)
    axes.set_xlabel("mean of the two, mL", fontsize=8)
    axes.set_ylabel("difference, mL", fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return _as_data_uri(figure)


def _as_data_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
