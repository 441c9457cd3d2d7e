"""Figures of the validation report, as pictures that the page carries inside itself."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from volumetry.assurance.validation.agreement import bland_altman
from volumetry.assurance.validation.experiments import Case, Validation
from volumetry.image.pictures import data_uri, figure_png

_COLOURS = ("#35618f", "#c0263c", "#2c7a4b", "#8a5a00")
_NAMES = {"lung": "lung", "ground_glass": "ground glass", "solid": "solid", "lesion": "lesion"}


def error_by_size(validation: Validation, quantity: str) -> str:
    """Error in percent against true volume, one colour per thickness, one point per noise."""
    figure, axes = drawing(4.6)
    _by_thickness(axes, validation, quantity, lambda case: case.error_percent)
    axes.axhline(0, color="#777777", linewidth=0.8)
    axes.set_xscale("log")
    title = f"{_NAMES[quantity]}: error by size and slice step"
    return finished(figure, axes, ("true volume, mL", "error, %", title))


def found_by_truth(validation: Validation, quantity: str) -> str:
    """Measured against true volume, and the line of identity."""
    figure, axes = drawing(3.4)
    cases = validation.of(quantity, "linearity")
    ends = [0.0, 1.05 * max(max(case.truth_ml, case.found_ml) for case in cases)]
    axes.plot(ends, ends, color="#777777", linewidth=0.8)
    _by_thickness(axes, validation, quantity, lambda case: case.found_ml)
    return finished(figure, axes, ("true volume, mL", "measured volume, mL", f"{_NAMES[quantity]}: linearity"))


def bland_altman_picture(a: Sequence[float], b: Sequence[float], title: str) -> str:
    """Difference against mean in mL, with bias, limits of agreement and their intervals."""
    figure, axes = drawing(4.0)
    means = [(x + y) / 2 for x, y in zip(a, b, strict=True)]
    draw_agreement(axes, means, [x - y for x, y in zip(a, b, strict=True)])
    return finished(figure, axes, ("mean of the two, mL", "difference, mL", title))


def draw_agreement(axes: Axes, means: Sequence[float], differences: Sequence[float]) -> None:
    """Difference against mean; from three pairs on, bias and limits of agreement with their intervals."""
    axes.plot(means, differences, "o", color=_COLOURS[0], markersize=4)
    found = bland_altman(differences, [0.0] * len(differences))
    if found is not None:
        for level, low, high, style in (
            (found.bias, found.bias_low, found.bias_high, "-"),
            (found.lower, found.lower_low, found.lower_high, "--"),
            (found.upper, found.upper_low, found.upper_high, "--"),
        ):
            axes.axhline(level, color=_COLOURS[1], linestyle=style, linewidth=0.9)
            axes.axhspan(low, high, color=_COLOURS[1], alpha=0.10, linewidth=0)


def drawing(width: float) -> tuple[Figure, Axes]:
    """A figure of this width in inches, and the only axes in it."""
    figure = Figure(figsize=(width, 3.0), layout="constrained")
    return figure, figure.add_subplot()


def _by_thickness(axes: Axes, validation: Validation, quantity: str, height: Callable[[Case], float]) -> None:
    """Points over true volume, one colour per thickness."""
    for colour, thickness in zip(_COLOURS, validation.design.thicknesses_mm, strict=False):
        cases = validation.of(quantity, "linearity", thickness_mm=thickness)
        truth, heights = [case.truth_ml for case in cases], [height(case) for case in cases]
        axes.plot(truth, heights, "o", color=colour, markersize=4, alpha=0.75, label=f"{thickness:g} mm")
    axes.legend(fontsize=7, frameon=False)


def finished(figure: Figure, axes: Axes, names: tuple[str, str, str]) -> str:
    """The figure as a data URI, with its x, y and title named."""
    across, up, title = names
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return data_uri(figure_png(figure, dpi=130))
