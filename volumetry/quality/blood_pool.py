"""Density of the blood in heart and great vessels: contrast is seen in the image, whatever a tag says.

Between the lungs, at the height of the heart's base and in front of the spine, nothing but heart and great vessels
is soft tissue that is homogeneous over a disc of 16 mm. Blood without contrast lies between 30 and 60 HU.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import CtScan, Finding, SeriesInfo, TissueMap
from volumetry.image.coarse import Mask, block_mean, block_spacing_mm, strides
from volumetry.image.orientation import axial_view
from volumetry.wording import EVERY_SLICE, for_reader

ENHANCED_HU = 80.0
"""Blood at least this dense holds contrast. In sixteen chests it had 25 to 45 HU without, 103 to 386 with."""
PLAIN_HU = 65.0
"""Up to here it holds none: blood of the highest haematocrit."""

_HEIGHTS = (0.40, 0.70)
"""Share of the lungs' height, from below: above the domes, below the arch."""
_DEPTHS = (0.15, 0.58)
"""Share of the lungs' depth, from the front: behind the sternum, in front of the spine."""
_DISC_MM = 8.0
_TISSUE_HU = (0.0, 700.0)
_EVEN_HU, _EVEN_SHARE = 15.0, 0.1
"""Largest deviation in a disc, and the same as a share of its mean: noise, and contrast that mixes."""
_LEAST_ML = 10.0
_NO_LUNG = 0.02


def blood_pool_hu(tissue: TissueMap, scan: CtScan) -> float | None:
    """Median HU of heart and great vessels.

    Parameters
    ----------
    tissue
        Any label above 0 is lung.
    scan
        HU on the same grid.

    Returns
    -------
    float or None
        None where they cannot be separated from what lies around them.
    """
    view = axial_view(scan.grid)
    labels = view.of(tissue.labels_kji)
    heights = np.flatnonzero(labels.any(axis=(1, 2)))
    step = strides(view.spacing_mm(scan.grid))
    if heights.size < step[0]:
        return None
    first, last = (int(heights[0] + share * np.ptp(heights)) for share in _HEIGHTS)
    hu = block_mean(view.of(scan.hu_kji)[first : last + 1], step, whole=True)
    inside = block_mean(labels[first : last + 1] > 0, step, whole=True)
    _, back_mm, left_mm = block_spacing_mm(view.spacing_mm(scan.grid), step)
    found = [_pools(plane, share, (back_mm, left_mm)) for plane, share in zip(hu, inside, strict=True)]
    means = np.concatenate(found) if found else np.zeros(0)
    if means.size * scan.grid.voxel_ml * float(np.prod(step)) < _LEAST_ML:
        return None
    return round(float(np.median(means)), 1)


def _pools(
    hu: NDArray[np.float32], lung_share: NDArray[np.float32], step_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Means of the even discs between the lungs in one section."""
    lung = lung_share > 0.5
    rows = np.flatnonzero(lung.any(axis=1))
    if rows.size == 0 or not np.isfinite(hu).all():
        return np.zeros(0)
    between = np.logical_or.accumulate(lung, axis=1) & np.logical_or.accumulate(lung[:, ::-1], axis=1)[:, ::-1]
    front, behind = (int(rows[0] + share * np.ptp(rows)) for share in _DEPTHS)
    between[:front] = between[behind:] = False
    disc = _disc(step_mm)
    weights = disc / disc.sum()
    mean = ndimage.convolve(hu.astype(np.float64), weights)
    deviation = np.sqrt(np.maximum(ndimage.convolve(hu.astype(np.float64) ** 2, weights) - mean**2, 0))
    even = deviation < np.maximum(_EVEN_HU, _EVEN_SHARE * mean)
    free = ndimage.binary_erosion(lung_share <= _NO_LUNG, disc)
    pools: NDArray[np.float64] = mean[between & free & even & (mean > _TISSUE_HU[0]) & (mean < _TISSUE_HU[1])]
    return pools


def _disc(step_mm: tuple[float, float]) -> Mask:
    reach = [int(_DISC_MM / mm) for mm in step_mm]
    j, i = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc: Mask = (j * step_mm[0]) ** 2 + (i * step_mm[1]) ** 2 <= _DISC_MM**2
    return disc


def contrast_findings(series: SeriesInfo, blood_hu: float | None, config: Config) -> Iterator[Finding]:
    """Contrast that no tag names, and what the charter says of it.

    A charter that wants scans without contrast is met by a header that names none, unless the blood says
    otherwise; one that wants contrast is met by blood that holds some.

    Examples
    --------
    >>> from volumetry.config import load_config
    >>> series = SeriesInfo("1.2.3", 40, (5.0, 5.0, 5.0))
    >>> (finding,) = contrast_findings(series, 200.0, load_config())
    >>> finding.code, finding.value
    ('CONTRAST_NOT_STATED', 200.0)
    >>> list(contrast_findings(series, 45.0, load_config()))
    []
    """
    if series.contrast:
        return
    enhanced = None if blood_hu is None or PLAIN_HU < blood_hu < ENHANCED_HU else blood_hu >= ENHANCED_HU
    blood = f"the blood in the heart and great vessels has {blood_hu:.0f} HU" if blood_hu is not None else ""
    if enhanced:
        text = f"{blood}: contrast was given, although ContrastBolusAgent (0018,0010) is empty"
        text = for_reader(text, "for vessels and enhanced tissue in the lesion mask", EVERY_SLICE, _ENHANCED)
        yield Finding("CONTRAST_NOT_STATED", config.outcome_of("CONTRAST_NOT_STATED"), text, blood_hu)
    wanted = config.charter.contrast
    if wanted == "without" and enhanced:
        text = f"{blood}: contrast; the charter requires scans without contrast"
        yield _charter(for_reader(text, _LOOK, EVERY_SLICE, _ENHANCED), blood_hu, config)
    elif wanted == "with" and not enhanced:
        why = "contrast is unknown" if enhanced is None else f"{blood}: no contrast"
        text = f"{why}; the charter requires scans with contrast"
        yield _charter(for_reader(text, _LOOK, EVERY_SLICE, _ENHANCED), blood_hu, config)


_LOOK = "at the aorta and the heart"
_ENHANCED = "not quantified: contrast in small vessels raises mean density and lesion mass"


def _charter(message: str, blood_hu: float | None, config: Config) -> Finding:
    refuses = "contrast" in config.charter.refuse
    outcome = Outcome.REFUSE if refuses else config.outcome_of("CHARTER_CONTRAST")
    return Finding("CHARTER_CONTRAST", outcome, message, blood_hu)
