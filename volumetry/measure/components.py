"""How the learned lesion is divided into ground glass and solid: by the network's classes, or by HU.

The HU rule is NCT04288102's registered histogram (< -750, -750 to -300, -300 to 50, > 50 HU) applied inside the
learned lesion. The registry's strict signs fix the outer edges; that -300 belongs to solid is our choice.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Measure
from volumetry.domain import ComponentSplit, CtScan, Tissue, TissueMap

HuCuts = tuple[float, float, float]
REGISTERED_CUTS: HuCuts = (-750.0, -300.0, 50.0)


def bin_names(cuts: HuCuts) -> tuple[str, str, str, str]:
    """Names of the four HU bins in results.

    >>> bin_names((-750.0, -300.0, 50.0))
    ('below_-750', '-750_to_-300', '-300_to_50', 'above_50')
    """
    low, middle, high = (repr(float(cut) + 0.0).removesuffix(".0") for cut in cuts)
    return f"below_{low}", f"{low}_to_{middle}", f"{middle}_to_{high}", f"above_{high}"


def cuts_named(names: Iterable[str]) -> HuCuts | None:
    """The cuts that the names of bins state; None unless they are the four names of one set of cuts.

    >>> cuts_named(["below_-700", "-700_to_-200.5", "-200.5_to_50", "above_50"])
    (-700.0, -200.5, 50.0)
    """
    given = set(names)
    cuts = sorted({float(text) for name in given for text in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", name)})
    if len(cuts) != 3 or given != set(bin_names((cuts[0], cuts[1], cuts[2]))):
        return None
    return cuts[0], cuts[1], cuts[2]


def stored_bins(bins_ml: Mapping[str, float], cuts: HuCuts) -> list[float]:
    """Bins of a stored result, low to high; up to version 0.1 they had the registered names whatever the cuts."""
    names = bin_names(cuts)
    return [bins_ml[name] for name in (names if set(names) == set(bins_ml) else bin_names(REGISTERED_CUTS))]


def hu_bin(hu: NDArray[np.float32], cuts: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Bin of each HU: ``x < a``, ``a <= x < b``, ``b <= x <= c``, ``c < x``.

    >>> hu_bin(np.array([-751, -750, -301, -300, 50, 51], np.float32), (-750, -300, 50)).tolist()
    [0, 1, 1, 2, 2, 3]
    """
    low, middle, high = (np.float32(cut) for cut in cuts)
    return (hu >= low).astype(np.uint8) + (hu >= middle).astype(np.uint8) + (hu > high).astype(np.uint8)


def by_component_rule(tissue: TissueMap, scan: CtScan, settings: Measure) -> TissueMap:
    """The map whose ground glass and solid follow the configured rule: the map that is delivered and counted.

    Under ``"network"`` this is the map as it is. Under ``"hu"`` every lesion voxel is classed again by its HU; a
    voxel outside the two middle bins stays lesion but is in neither class (`Tissue.UNCLASSED`).

    Parameters
    ----------
    tissue
        The segmenter's classes, postprocessed.
    scan
        HU on the same grid.
    settings
        Rule and HU cuts.

    Returns
    -------
    TissueMap
        On the same grid; side and removed volumes as in `tissue`.

    Notes
    -----
    The registry of NCT04288102 states HU bins of the lung and does not say that they cut the lesion into classes;
    that use of -750, -300 and 50 HU is this project's.
    """
    if settings.component_rule == "network":
        return tissue
    classes = np.array([Tissue.UNCLASSED, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED], np.uint8)
    labels = tissue.labels_kji.copy()
    for plane, hu in zip(labels, scan.hu_kji, strict=True):
        lesion = plane > Tissue.AERATED
        plane[lesion] = classes[hu_bin(hu[lesion], settings.hu_cuts)]
    return replace(tissue, labels_kji=labels)


def component_splits(tissue: TissueMap, scan: CtScan, settings: Measure) -> Mapping[str, ComponentSplit]:
    """Both divisions of the lesion, so that a sponsor can choose.

    Parameters
    ----------
    tissue
        The network's own classes.
    scan
        HU on the same grid.
    settings
        The HU cuts.

    Returns
    -------
    Mapping[str, ComponentSplit]
        By ``network`` and ``hu``, in mL.
    """
    counts = np.zeros((len(Tissue), 4), np.int64)
    for plane, hu in zip(tissue.labels_kji, scan.hu_kji, strict=True):
        lesion = plane > Tissue.AERATED
        key = plane[lesion] * np.uint8(4) + hu_bin(hu[lesion], settings.hu_cuts)
        counts += np.bincount(key, minlength=counts.size).reshape(counts.shape)
    ml = counts * tissue.grid.voxel_ml
    below, ground_glass, solid, above = ml.sum(axis=0).tolist()
    return {
        "network": ComponentSplit(float(ml[Tissue.GROUND_GLASS].sum()), float(ml[Tissue.SOLID].sum())),
        "hu": ComponentSplit(ground_glass, solid, below, above),
    }
