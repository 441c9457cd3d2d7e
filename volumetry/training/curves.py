"""The figure of a training run."""

import csv
from pathlib import Path


def draw_curves(table: Path, figure: Path, ylabel: str = "pooled Dice, held-out slices") -> None:
    """Loss and held-out shares against the step, from the run's CSV (step, name, value); mL are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series: dict[str, dict[int, float]] = {}
    with table.open(encoding="utf-8", newline="") as stream:
        for step, name, value in csv.reader(stream):
            series.setdefault(name, {})[int(step)] = float(value)
    drawing = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(drawing)
    above, below = drawing.subplots(2, 1, sharex=True)
    loss = series.get("loss", {})
    above.semilogy(list(loss), list(loss.values()), linewidth=0.8)
    above.set_ylabel("training loss")
    for name, points in sorted(series.items()):
        if name not in ("loss", "learning_rate") and max(points.values()) <= 1:
            below.plot(list(points), list(points.values()), marker=".", label=name)
    below.set_xlabel("step")
    below.set_ylabel(ylabel)
    if below.lines:
        below.legend(fontsize="small")
    drawing.savefig(figure, dpi=120, metadata={"Software": None})
