"""Where the fissures of a lung lie when nothing is known but its shape.

The shape of each fissure is a quadratic in coordinates normalised to the lung's box. It is half-way between a
plane and what was fitted to one chest, LIDC-IDRI-0001 (LIDC-IDRI, CC BY 3.0), whose lobes were labelled by
TotalSegmentator: other chests are less curved. Its level is half-way between that chest's and the one that gives
the lobes their mean share of the lung in 32 healthy people (Yamada et al. 2020, Respiration 99:598, table 3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Side
from volumetry.segment.lobes.frame import LungFrame, Points, Sheet, horizontal_sheet, oblique_sheet


@dataclass(frozen=True, slots=True)
class Prior:
    """The mean fissure.

    Parameters
    ----------
    coefficients
        Of lateral, along, lateral squared, lateral times along, along squared.
    level
        Constant term.
    share_above
        Of the lung that this fissure divides, what lies above it on the average.
    """

    coefficients: tuple[float, float, float, float, float]
    level: float
    share_above: float


LEFT_OBLIQUE = Prior((0.0185, 0.016, -0.0455, -0.380, -0.203), -0.099, 23.1 / 46.3)
RIGHT_OBLIQUE = Prior((-0.066, -0.121, 0.002, -0.1985, -0.032), -0.010, 27.2 / 53.7)
RIGHT_HORIZONTAL = Prior((-0.024, -0.028, -0.002, -0.1425, -0.2375), 0.044, 17.9 / 27.2)

_SETTLE = 12
_STEP = 0.8
_FARTHEST_MM = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class MeanFissure:
    """The prior of one fissure in one lung.

    Parameters
    ----------
    frame
        The lung.
    prior
        Shape and mean share.
    oblique
        Whether it is an oblique fissure.
    level
        Constant term in this lung.
    """

    frame: LungFrame
    prior: Prior
    oblique: bool
    level: float

    @property
    def sheet(self) -> Sheet:
        """The plane over which it is a height field."""
        return oblique_sheet(self.frame) if self.oblique else horizontal_sheet(self.frame)

    def above(self, points_zyx_mm: Points) -> NDArray[np.float64]:
        """Positive above the fissure, negative below, in shares of the lung's box."""
        return _implicit(self.frame, self.prior, self.oblique, points_zyx_mm) - self.level

    def heights_mm(self, lateral_mm: Points, along_mm: Points) -> Points:
        """Height over the sheet at every pair of coordinates: shape (lateral, along)."""
        sheet = self.sheet
        at = np.stack(
            [*np.meshgrid(lateral_mm, along_mm, indexing="ij"), np.zeros((len(lateral_mm), len(along_mm)))]
        )
        up, back, _ = np.abs(sheet.axes_zyx[2]) / self.frame.size_zyx_mm
        for _ in range(_SETTLE):
            at[2] -= _STEP * self.above(sheet.points(np.moveaxis(at, 0, -1))) / (up + back)
            at[2] = np.clip(at[2], -_FARTHEST_MM, _FARTHEST_MM)
        heights: Points = at[2]
        return heights


def mean_fissure(frame: LungFrame, lung_zyx_mm: Points, *, oblique: bool) -> MeanFissure:
    """The prior of a fissure in a lung.

    Parameters
    ----------
    frame
        Of the lung.
    lung_zyx_mm
        A sample of the points that the fissure divides.
    oblique
        The oblique fissure, or the right horizontal one.
    """
    prior = (LEFT_OBLIQUE if frame.side == Side.LEFT else RIGHT_OBLIQUE) if oblique else RIGHT_HORIZONTAL
    implicit = _implicit(frame, prior, oblique, lung_zyx_mm)
    by_share = float(np.quantile(implicit, 1 - prior.share_above)) if len(implicit) else prior.level
    return MeanFissure(frame, prior, oblique, (prior.level + by_share) / 2)


def _implicit(frame: LungFrame, prior: Prior, oblique: bool, points_zyx_mm: Points) -> NDArray[np.float64]:
    lateral, back, up = frame.normalised(points_zyx_mm)
    along, height = (back + up, up - back) if oblique else (back, up)
    a, b, aa, ab, bb = prior.coefficients
    shape = lateral * (a + aa * lateral + ab * along) + along * (b + bb * along)
    found: NDArray[np.float64] = height - shape
    return found
