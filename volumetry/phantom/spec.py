"""What to draw, and on which grid."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid, Vector
from volumetry.phantom.anatomy import all_inside, lungs_of
from volumetry.phantom.shapes import Ellipsoid, Scaled

Axes = tuple[Vector, Vector, Vector]

AXIAL: Axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Slices from feet to head; rows to the back, columns to the left: the usual chest CT."""
HEAD_TO_FEET: Axes = ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Axial, the first slice at the head."""
CORONAL: Axes = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
SAGITTAL: Axes = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
PRONE: Axes = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
"""As a scanner writes a patient who lies face down."""


def tilted(degrees: float) -> Axes:
    """Axial slices whose stack leans backward by an angle, as a tilted gantry leaves it: sheared, not turned.

    Parameters
    ----------
    degrees
        Gantry tilt.

    Returns
    -------
    Axes
        Unit vectors of k, j and i, LPS.

    Examples
    --------
    >>> [round(v, 3) for v in tilted(30.0)[0]]
    [0.0, 0.5, 0.866]
    """
    angle = math.radians(degrees)
    return (0.0, math.sin(angle), math.cos(angle)), AXIAL[1], AXIAL[2]


def rotated(degrees: float, axes: Axes = AXIAL) -> Axes:
    """Axes turned together about the patient's left-right axis: oblique, not sheared.

    Parameters
    ----------
    degrees
        Angle.
    axes
        Unit vectors of k, j and i, LPS.

    Returns
    -------
    Axes
        Unit vectors of k, j and i, LPS.
    """
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    k, j, i = ((x, c * y - s * z, s * y + c * z) for x, y, z in axes)
    return k, j, i


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion: an ellipsoid wholly inside one lung.

    Parameters
    ----------
    kind
        What it is made of.
    centre_lps_mm, radii_mm
        Where it lies and its half axes along x, y, z; sub-voxel offsets are wanted.

    Raises
    ------
    ValueError
        If the centre is not finite or a radius not positive and finite.
    """

    kind: Literal["ground_glass", "solid"]
    centre_lps_mm: Vector
    radii_mm: Vector

    def __post_init__(self) -> None:
        if not all(0 < r < math.inf for r in self.radii_mm) or not all(map(math.isfinite, self.centre_lps_mm)):
            raise ValueError(f"a lesion needs a finite centre and positive radii, got {self.radii_mm} mm")

    @property
    def shape(self) -> Ellipsoid:
        """The ellipsoid."""
        return Ellipsoid(self.centre_lps_mm, self.radii_mm)


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """What to draw, and on which grid.

    Parameters
    ----------
    shape_kji, spacing_kji_mm
        The grid: slices, rows, columns and the step along each.
    direction_lps
        Unit vectors of k, j, i: `AXIAL`, `CORONAL`, `SAGITTAL`, `PRONE`, or of `tilted` and `rotated`.
    centre_lps_mm
        Where the middle of the grid lies; the chest's middle is at (0, 0, 0).
    lesions
        A solid one may lie inside a ground-glass one; otherwise lesions must not touch.
    scale_lps
        Stretches the whole chest, not the lesions, along x, y, z; small values give a small test object.
    breath
        Lung volume as a share of full inspiration: the diaphragm rises, the apex stays.
    noise_hu
        Standard deviation of the noise, slightly correlated in the plane as in a reconstructed image.
    blur_mm
        Standard deviation of a Gaussian blur in all directions, like a smooth kernel.
    texture_hu
        Standard deviation of a coarse mottle inside aerated lung, so that it looks like lung.
    blood_hu
        Heart and aorta; 250 for a contrast scan.
    vessels, ribs, table
        Draw them or not. Vessels inside a lung belong to its volume.
    allow_cut
        Accept lungs that reach out of the grid; the truth is still that of the whole lung.
    seed
        Of noise, texture and vessel tree.

    Raises
    ------
    ValueError
        If a lesion is not inside one lung, lesions touch, or a lung does not fit into the grid.
    """

    shape_kji: tuple[int, int, int] = (110, 368, 368)
    spacing_kji_mm: Vector = (2.5, 0.9, 0.9)
    lesions: tuple[Lesion, ...] = ()
    direction_lps: Axes = AXIAL
    centre_lps_mm: Vector = (0.0, 0.0, 0.0)
    scale_lps: Vector = (1.0, 1.0, 1.0)
    breath: float = 1.0
    noise_hu: float = 15.0
    blur_mm: float = 0.6
    texture_hu: float = 15.0
    blood_hu: float = 45.0
    vessels: bool = True
    ribs: bool = True
    table: bool = True
    allow_cut: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0.4 <= self.breath <= 1.2 and all(s > 0 for s in self.scale_lps)):
            raise ValueError(f"breath must be 0.4 to 1.2 and scale positive, got {self.breath}, {self.scale_lps}")
        if min(self.noise_hu, self.blur_mm, self.texture_hu) < 0:
            raise ValueError("noise, blur and texture cannot be negative")
        lungs = lungs_of(self.breath, self.scale_lps)
        _require_lesions_apart(self.lesions, lungs)
        if not self.allow_cut:
            _require_lungs_in_grid(self.grid, lungs)

    @property
    def grid(self) -> Grid:
        """The grid that the image lies on."""
        middle = (np.asarray(self.shape_kji) - 1) / 2
        away = Grid(self.shape_kji, self.spacing_kji_mm, (0.0, 0.0, 0.0), self.direction_lps).lps_mm(middle)
        x, y, z = (float(c - a) for c, a in zip(self.centre_lps_mm, away, strict=True))
        return Grid(self.shape_kji, self.spacing_kji_mm, (x, y, z), self.direction_lps)


def _surface(lesion: Lesion) -> NDArray[np.float64]:
    """Points spread evenly over a lesion's border; shape (n, 3)."""
    n = np.arange(400) + 0.5
    turn, height = np.pi * (1 + 5**0.5) * n, 1 - n / 200
    flat = np.sqrt(1 - height**2)
    unit = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], -1)
    points: NDArray[np.float64] = np.asarray(lesion.centre_lps_mm) + unit * np.asarray(lesion.radii_mm)
    return points


def side_of(lesion: Lesion, lungs: Mapping[str, Scaled]) -> str | None:
    """The lung that holds a whole lesion."""
    return next((name for name, lung in lungs.items() if all_inside(lung, _surface(lesion))), None)


def within(inner: Lesion, outer: Lesion) -> bool:
    """Whether a solid lesion is the core of a ground-glass one."""
    return inner.kind == "solid" and outer.kind == "ground_glass" and all_inside(outer.shape, _surface(inner))


def _require_lesions_apart(lesions: tuple[Lesion, ...], lungs: Mapping[str, Scaled]) -> None:
    for n, lesion in enumerate(lesions):
        if side_of(lesion, lungs) is None:
            raise ValueError(f"lesion {n} is not inside one lung")
        for m, other in enumerate(lesions[:n]):
            if within(lesion, other) or within(other, lesion):
                continue
            mutual = ((lesion, other), (other, lesion))
            if any((a.shape.field(*_surface(b).T.astype(np.float32)) < 0).any() for a, b in mutual):
                raise ValueError(f"lesions {m} and {n} touch, so their volumes do not add up")


def _require_lungs_in_grid(grid: Grid, lungs: Mapping[str, Scaled]) -> None:
    inverse = np.linalg.inv(grid.step_lps_mm)
    for name, lung in lungs.items():
        points = _border_points(lung)
        index = (points - np.asarray(grid.origin_lps_mm)) @ inverse.T
        if (index < 0.5).any() or (index > np.asarray(grid.shape_kji) - 1.5).any():
            low, high = points.min(0).round(), points.max(0).round()
            raise ValueError(f"the {name} lung, {low} to {high} mm, does not fit into the grid")


@lru_cache(maxsize=16)
def _border_points(lung: Scaled) -> NDArray[np.float64]:
    """Points of a lung on a lattice of its bounding box: they show how far it reaches, to 1 % of the box."""
    axes = [np.linspace(low, high, 81) for low, high in zip(*lung.bounds_lps_mm, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    points: NDArray[np.float64] = lattice[lung.field(*lattice.T.astype(np.float32)) < 0]
    return points
