"""Segments of an edited mask: which tissue a name means, and labels from segments that may overlap."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import FLUID, Tissue
from volumetry.remeasure.lattice import EditedMaskError

_MEANT: tuple[tuple[frozenset[str], int], ...] = (
    (frozenset({"neither", "class"}), Tissue.UNCLASSED),
    (frozenset({"ground", "glass"}), Tissue.GROUND_GLASS),
    (frozenset({"groundglass"}), Tissue.GROUND_GLASS),
    (frozenset({"ggo"}), Tissue.GROUND_GLASS),
    (frozenset({"consolidation"}), Tissue.SOLID),
    (frozenset({"consolidations"}), Tissue.SOLID),
    (frozenset({"lung", "consolidation"}), Tissue.SOLID),
    (frozenset({"solid"}), Tissue.SOLID),
    (frozenset({"pleural", "effusion"}), FLUID),
    (frozenset({"pleural", "fluid"}), FLUID),
    (frozenset({"lung"}), Tissue.AERATED),
    (frozenset({"lungs"}), Tissue.AERATED),
)
_BESIDE = frozenset(
    [
        "left",
        "right",
        "both",
        "and",
        "of",
        "the",
        "upper",
        "middle",
        "lower",
        "lobe",
        "aerated",
        "normal",
        "healthy",
        "parenchyma",
        "opacity",
        "opacities",
        "lesion",
        "edited",
        "corrected",
        "final",
        "new",
        "copy",
        "reader",
        "mask",
        "segment",
        "label",
        "component",
        "l",
        "r",
    ]
)
"""Words that change nothing of what a name means. With any other word, as in "lung tumour", it is not known."""
_GENERIC = re.compile(r"(?:[a-z]+[ _.-]*)?(\d+)")


def tissue_named(name: str) -> int | None:
    """The tissue, or `FLUID`, that a segment's name means.

    Parameters
    ----------
    name
        As a reader wrote it.

    Returns
    -------
    int or None
        None if it is not sure.

    Examples
    --------
    >>> tissue_named("Left and right LUNG").name, tissue_named("ground-glass (edited)").name
    ('AERATED', 'GROUND_GLASS')
    >>> tissue_named("lung tumour"), tissue_named("non-solid")
    (None, None)
    """
    words = set(re.findall(r"[^\W\d_]+", name.casefold()))
    fits = {tissue for core, tissue in _MEANT if core <= words and words <= core | _BESIDE}
    return fits.pop() if len(fits) == 1 else None


def tissue_numbered(name: str, value: int) -> int | None:
    """The tissue, or `FLUID`, of a label value whose name is its number, as in "Segment_2" for the value 2."""
    said = _GENERIC.fullmatch(name.strip().casefold())
    is_ours = said is not None and int(said[1]) == value and value in {*Tissue, FLUID} - {Tissue.OUTSIDE}
    return value if is_ours else None


def labels_of(members: Mapping[int, NDArray[np.bool_]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """One label for each voxel: what is lung and also lesion or fluid is that.

    Raises
    ------
    EditedMaskError
        If voxels belong to two of the lesion classes and fluid.
    """
    lesions = [member for tissue, member in members.items() if tissue != Tissue.AERATED]
    both = int(np.count_nonzero(np.sum(lesions, axis=0) > 1)) if lesions else 0
    if both:
        raise EditedMaskError(f"{both} voxels belong to two of the lesion classes and pleural fluid at once")
    labels = np.zeros(shape, np.uint8)
    for tissue in sorted(members):  # aerated first
        labels[members[tissue]] = tissue
    return labels
