"""The histogram of lung density that NCT04288102 registers: share of the lungs in each HU bin, by arm and visit.

The bins are of the whole lung, vessels included, and lie between the cuts that the columns ``hu_bins_ml.*`` of the
results name. Scans with other cuts than most are left out: their bins are other quantities.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from volumetry.measure.components import HuCuts, bin_names
from volumetry.storage.csv_tables import Cell
from volumetry.trial.change import Change
from volumetry.trial.compare import arm_of
from volumetry.trial.figures import WIDTH_IN, Picture, picture_of
from volumetry.trial.layout import quartiles
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.statistics import Summary, summarise

COLUMNS = ("hu_bin", "visit", "arm", "n", "median", "q1", "q3", "mean", "sd")
_SHADES = ("0.15", "0.45", "0.70", "0.92")  # dark is air, as a CT shows it


@dataclass(frozen=True, slots=True)
class BinShare:
    """One HU bin at a visit in an arm, in % of the lungs."""

    hu_bin: str
    visit: str
    arm: str
    summary: Summary

    def row(self) -> dict[str, Cell]:
        """The cells of hu_bins.csv."""
        s, name = self.summary, f"hu_{self.hu_bin}"  # a name that starts with a minus would be guarded
        return dict(
            zip(COLUMNS, (name, self.visit, self.arm, s.n, s.median, s.q1, s.q3, s.mean, s.sd), strict=True)
        )


def bin_shares(changes: Sequence[Change], method: str) -> list[BinShare]:
    """Shares by bin, visit and arm.

    Parameters
    ----------
    changes
        From `changes_of`.
    method
        Of the quartiles.

    Returns
    -------
    list[BinShare]
        Empty if the results hold no bins.
    """
    scans = [c for c in changes if c.measure == "lesion" and c.scan is not None and c.scan.hu_bins_ml]
    used = Counter(c.scan.hu_cuts for c in scans if c.scan is not None and c.scan.hu_cuts is not None)
    if not used:
        return []
    cuts: HuCuts = used.most_common(1)[0][0]
    found: dict[tuple[str, str, str], list[float]] = {}
    for c in scans:
        if c.scan is not None and c.scan.hu_cuts == cuts:
            for name in bin_names(cuts):
                share = 100 * c.scan.hu_bins_ml[name] / c.scan.ml["lung"]
                found.setdefault((name, c.visit, arm_of(c)), []).append(share)
    visits, arms = (list(dict.fromkeys(of)) for of in ((c.visit for c in changes), sorted(map(arm_of, changes))))
    return [
        BinShare(name, visit, arm, summarise(np.array(found.get((name, visit, arm), [])), method))
        for name in bin_names(cuts)
        for visit in visits
        for arm in arms
    ]


def printed_bins(shares: Sequence[BinShare]) -> list[Printed]:
    """The table for print; none without bins."""
    if not shares:
        return []
    arms = list(dict.fromkeys(s.arm for s in shares))
    of = {(s.hu_bin, s.visit, s.arm): s.summary for s in shares}
    rows: list[PrintedRow] = []
    for name in dict.fromkeys(s.hu_bin for s in shares):
        rows.append(PrintedRow((_words(name),), is_heading=True))
        for visit in dict.fromkeys(s.visit for s in shares):
            cells = [(str(of[name, visit, arm].n), quartiles(of[name, visit, arm])) for arm in arms]
            rows.append(PrintedRow((visit, *(cell for pair in cells for cell in pair)), level=1))
    head = ("", *(text for arm in arms for text in (f"{arm}: n", "median (Q1, Q3)")))
    note = "Bins are of the whole lung, vessels and airway walls included. They are described and not tested."
    return [Printed("Density of the lungs: share of each HU bin, % of lung", head, tuple(rows), (note,))]


def picture_of_bins(shares: Sequence[BinShare]) -> list[Picture]:
    """Mean shares as stacked bars, which add up to the lung, each above its number of scans; none without bins."""
    if not shares:
        return []
    names, visits, arms = (
        list(dict.fromkeys(of)) for of in zip(*((s.hu_bin, s.visit, s.arm) for s in shares), strict=True)
    )
    of: Mapping[tuple[str, str, str], Summary] = {(s.hu_bin, s.visit, s.arm): s.summary for s in shares}

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for axis, arm in zip(axes, arms, strict=True):
            scanned = [n for n, visit in enumerate(visits) if of[names[0], visit, arm].n]  # no bar of no scans
            below = np.zeros(len(scanned))
            for name, shade in zip(names, _SHADES, strict=True):
                heights = np.array([of[name, visits[n], arm].mean for n in scanned], float)
                axis.bar(
                    scanned,
                    heights,
                    0.7,
                    below,
                    color=shade,
                    edgecolor="black",
                    linewidth=0.4,
                    label=_words(name),
                )
                below += heights
            axis.set_title(arm)
            numbers = [of[names[0], visit, arm].n for visit in visits]
            ticks = [f"{visit}\nn = {n}" for visit, n in zip(visits, numbers, strict=True)]
            axis.set_xticks(range(len(visits)), ticks, rotation=60 if len(visits) > 5 else 0)
        axes[0].set_ylabel("mean share of lung, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(names))

    text = "Mean share of the lungs in each HU bin, by visit and arm; hu_bins.csv has medians and quartiles."
    alt = "Stacked bars of four HU bins at each visit, a panel per arm; see hu_bins.csv."
    return [picture_of("hu-bins", (WIDTH_IN, 3.0), draw, text, alt)]


def _words(name: str) -> str:
    """``-750_to_-300`` as it is printed."""
    return name.replace("_", " ").replace("-", "\N{MINUS SIGN}") + " HU"
