"""Shapes with a volume by formula, and how much of each voxel they cover.

A shape is a field over patient coordinates (LPS, mm): negative inside, positive outside. Nothing else is needed to
paint it with true partial volume: voxels that the border may cross are sampled finely, all others are in or out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Box, Grid, Vector

Floats = NDArray[np.float32]

_SAMPLE_STEP_MM = 0.5
_MAX_POINTS = 2_000_000


class Shape(Protocol):
    """A body in space."""

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """Lowest and highest corner of a box that holds the shape."""
        ...

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Negative inside, zero on the border, positive outside; the arrays broadcast."""
        ...


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Points with ``(x/a)^2 + (y/b)^2 + (z/c)^2 < 1`` around a centre."""

    centre_lps_mm: Vector
    radii_mm: Vector

    @property
    def volume_ml(self) -> float:
        """4/3 pi a b c.

        >>> round(Ellipsoid((0, 0, 0), (10, 10, 10)).volume_ml, 4)
        4.1888
        """
        return 4 / 3 * math.pi * math.prod(self.radii_mm) / 1000

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        return _around(self.centre_lps_mm, self.radii_mm)

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """See `Shape`."""
        (cx, cy, cz), (a, b, c) = self.centre_lps_mm, self.radii_mm
        result: Floats = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 - 1
        return result


@dataclass(frozen=True, slots=True)
class OvalColumn:
    """A column along z with a superelliptic section: ``|x/a|^n + |y/b|^n < 1``."""

    centre_lps_mm: Vector
    radii_mm: tuple[float, float]
    half_height_mm: float
    power: float = 2.0

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        return _around(self.centre_lps_mm, (*self.radii_mm, self.half_height_mm))

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """See `Shape`; about in mm."""
        (cx, cy, cz), (a, b) = self.centre_lps_mm, self.radii_mm
        section = (np.abs((x - cx) / a) ** self.power + np.abs((y - cy) / b) ** self.power) ** (1 / self.power)
        result: Floats = np.maximum((section - 1) * min(a, b), np.abs(z - cz) - self.half_height_mm)
        return result


@dataclass(frozen=True, slots=True)
class Capsule:
    """A tube from `start` to `end` with round ends."""

    start_lps_mm: Vector
    end_lps_mm: Vector
    radius_mm: float

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        ends = np.array([self.start_lps_mm, self.end_lps_mm])
        return _vector(ends.min(0) - self.radius_mm), _vector(ends.max(0) + self.radius_mm)

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Distance from the border in mm, see `Shape`."""
        start = self.start_lps_mm
        axis = [b - a for a, b in zip(start, self.end_lps_mm, strict=True)]
        x, y, z = x - start[0], y - start[1], z - start[2]
        length2 = max(sum(a * a for a in axis), 1e-12)
        along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length2, 0, 1)
        distance = np.sqrt((x - along * axis[0]) ** 2 + (y - along * axis[1]) ** 2 + (z - along * axis[2]) ** 2)
        result: Floats = distance - self.radius_mm
        return result


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung: a superellipsoid of power 3, bent by shears.

    A shear moves points along one axis by an amount that depends on the other two, so its Jacobian is 1 and the
    volume stays that of the straight body: ``8 Gamma(4/3)^3 / Gamma(2) * a b c`` with half widths a, b, c.
    Different radii to both sides of the centre keep the formula: each octant has an eighth of its own body.

    Parameters
    ----------
    side
        +1 for the patient's left (x grows to the left), -1 for the right.
    centre_mm
        Distance of the lung's middle from the midline, its y and its z.
    medial_lateral_mm, front_back_mm, down_up_mm
        Radii on either side of the centre.
    bend_mm
        How far the middle of the lung bulges outward around the heart.
    dome_mm
        How far the diaphragm pushes the middle of the base up.
    lean
        How much the lung leans inward, mm per mm towards the apex.
    """

    side: int
    centre_mm: Vector
    medial_lateral_mm: tuple[float, float]
    front_back_mm: tuple[float, float]
    down_up_mm: tuple[float, float]
    bend_mm: float = 36.0
    dome_mm: float = 80.0
    lean: float = 0.1

    @property
    def volume_ml(self) -> float:
        """The closed formula of the straight body; shears do not change it."""
        widths = (sum(self.medial_lateral_mm), sum(self.front_back_mm), sum(self.down_up_mm))
        return 8 * math.gamma(4 / 3) ** 3 / math.gamma(2) * math.prod(w / 2 for w in widths) / 1000

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`; wider than the lung by what the shears may add."""
        cx, cy, cz = self.centre_mm
        low_z, high_z = cz - self.down_up_mm[0] - 0.7 * self.dome_mm, cz + self.down_up_mm[1] + self.dome_mm
        lean_mm = abs(self.lean) * (high_z - low_z)
        near = cx - self.medial_lateral_mm[0] - self.bend_mm * 0.1 - lean_mm
        far = cx + self.medial_lateral_mm[1] + self.bend_mm + lean_mm
        left_right = (near, far) if self.side > 0 else (-far, -near)
        return (
            (left_right[0], cy - self.front_back_mm[0], low_z),
            (left_right[1], cy + self.front_back_mm[1], high_z),
        )

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """See `Shape`; the cube of the superelliptic norm, less 1."""
        cx, cy, cz = self.centre_mm
        front, back = self.front_back_mm
        half_depth = (front + back) / 2
        half_width = sum(self.medial_lateral_mm) / 2
        y = y - cy
        # the x shear may use y and z, the z shear after it may use y and the x already moved
        bulge: Floats = self.bend_mm * (1 - (y / half_depth) ** 2)
        x = self.side * x - cx - bulge + self.lean * (z - cz)
        dome: Floats = 1 - 0.8 * (x / half_width) ** 2 - 0.8 * ((y + 0.25 * half_depth) / half_depth) ** 2
        z = z - cz - self.dome_mm * dome
        # cubes by hand: np.power with a float exponent is ten times slower
        return (
            _cube(_scaled(x, *self.medial_lateral_mm))
            + _cube(_scaled(y, front, back))
            + _cube(_scaled(z, *self.down_up_mm))
            - 1
        )


@dataclass(frozen=True, slots=True)
class Ribs:
    """All ribs: a rod along an oval that falls towards the front, repeated along z."""

    centre_lps_mm: Vector
    radii_mm: tuple[float, float]
    half_height_mm: float
    step_mm: float = 25.0
    rod_mm: float = 4.0
    fall: float = 0.45

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        a, b = self.radii_mm
        return _around(self.centre_lps_mm, (a + self.rod_mm, b + self.rod_mm, self.half_height_mm))

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Distance from the border, nearly in mm, see `Shape`."""
        (cx, cy, cz), (a, b) = self.centre_lps_mm, self.radii_mm
        x, y = x - cx, y - cy
        oval = (np.sqrt((x / a) ** 2 + (y / b) ** 2) - 1) * (a + b) / 2
        above = z - cz - self.fall * y
        rung = (above / self.step_mm - np.round(above / self.step_mm)) * self.step_mm
        rod = np.sqrt(oval**2 + (0.6 * rung) ** 2) - self.rod_mm
        result: Floats = np.maximum(rod, np.abs(z - cz) - self.half_height_mm)
        return result


@dataclass(frozen=True, slots=True)
class TableTop:
    """The scanner's table: a thin shell, hollow towards the patient."""

    top_y_mm: float
    half_width_mm: float
    thickness_mm: float
    half_height_mm: float
    sag: float = 0.0006

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        rise = self.sag * self.half_width_mm**2
        w, h = self.half_width_mm, self.half_height_mm
        return (-w, self.top_y_mm - rise, -h), (w, self.top_y_mm + self.thickness_mm, h)

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Distance from the border, nearly in mm, see `Shape`."""
        middle = self.top_y_mm + self.thickness_mm / 2 - self.sag * x**2
        shell = np.abs(y - middle) - self.thickness_mm / 2
        return np.maximum(np.maximum(shell, np.abs(x) - self.half_width_mm), np.abs(z) - self.half_height_mm)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A shape stretched about the origin, axis by axis; its volume grows by the product of the factors."""

    shape: Shape
    scale_lps: Vector

    @property
    def bounds_lps_mm(self) -> tuple[Vector, Vector]:
        """See `Shape`."""
        low, high = self.shape.bounds_lps_mm
        factors = np.asarray(self.scale_lps)
        return _vector(np.asarray(low) * factors), _vector(np.asarray(high) * factors)

    def field(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """See `Shape`."""
        sx, sy, sz = self.scale_lps
        return self.shape.field(x / sx, y / sy, z / sz)


def boxes(shape: Shape, grid: Grid, max_voxels: int = 3_000_000) -> list[Box]:
    """Index boxes (k, j, i) that hold the shape, cut along k so that none has many more than `max_voxels`."""
    corners = np.array(np.meshgrid(*zip(*shape.bounds_lps_mm, strict=True), indexing="ij")).reshape(3, -1).T
    index = (corners - np.asarray(grid.origin_lps_mm)) @ np.linalg.inv(grid.step_lps_mm).T
    low = np.maximum(np.floor(index.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(index.max(0)).astype(int) + 1, grid.shape_kji)
    if (low >= high).any():
        return []
    (k0, j0, i0), (k1, j1, i1) = low.tolist(), high.tolist()
    step = max(1, max_voxels // ((j1 - j0) * (i1 - i0)))
    return [(slice(k, min(k + step, k1)), slice(j0, j1), slice(i0, i1)) for k in range(k0, k1, step)]


def coverage(shape: Shape, grid: Grid, box: Box) -> Floats:
    """Share of each voxel of a box that lies inside the shape.

    Voxels whose field is further from zero than it changes towards any neighbour are wholly in or out; the others
    are the mean of at least 27 samples.

    Parameters
    ----------
    box
        Index box as `boxes` gives it.

    Returns
    -------
    float32 of the box's shape, 0 to 1.
    """
    field = _field_with_rim(shape, grid, box)
    inner = field[1:-1, 1:-1, 1:-1]
    reach = np.zeros_like(inner)
    for axis in range(3):
        only_this = [slice(1, -1)] * 3
        only_this[axis] = slice(None)
        step = np.moveaxis(np.abs(np.diff(field[tuple(only_this)], axis=axis)), axis, 0)
        reach += np.moveaxis(np.maximum(step[:-1], step[1:]), 0, axis)
    reach *= 0.6  # half a step along each axis, and a fifth more for curvature
    cover = (inner < 0).astype(np.float32)
    edge = np.nonzero(np.abs(inner) <= reach)
    index = np.stack(edge, axis=-1) + np.array([part.start for part in box])
    cover[edge] = _sampled(shape, grid, index)
    return cover


def inside(shape: Shape, grid: Grid, box: Box) -> NDArray[np.bool_]:
    """Voxels of a box whose centre lies inside the shape."""
    field = _field_with_rim(shape, grid, box)[1:-1, 1:-1, 1:-1]
    result: NDArray[np.bool_] = field < 0
    return result


def _field_with_rim(shape: Shape, grid: Grid, box: Box) -> Floats:
    """The field at the voxel centres of a box and one voxel around it."""
    axes = [np.arange(part.start - 1, part.stop + 1, dtype=np.float32) for part in box]
    index = np.meshgrid(*axes, indexing="ij", sparse=True)
    full = tuple(len(axis) for axis in axes)
    field: Floats = np.broadcast_to(shape.field(*_positions(grid, index)), full).astype(np.float32)
    return field


def _positions(grid: Grid, index: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """x, y, z of broadcastable indices; axes that do not contribute are left out, so arrays stay small."""
    result: list[Floats] = []
    for origin, row in zip(grid.origin_lps_mm, grid.step_lps_mm, strict=True):
        terms = [np.float32(step) * n for step, n in zip(row, index, strict=True) if step]
        result.append(np.asarray(sum(terms, np.float32(origin)), np.float32))
    return result[0], result[1], result[2]


def _sampled(shape: Shape, grid: Grid, index: NDArray[np.int64]) -> Floats:
    """Share of samples inside the shape, for voxels given as (n, 3) indices."""
    counts = [min(4, max(3, math.ceil(step / _SAMPLE_STEP_MM))) for step in grid.spacing_kji_mm]
    steps = [((np.arange(n) + 0.5) / n - 0.5).astype(np.float32) for n in counts]
    within = [axis.ravel() for axis in np.meshgrid(*steps, indexing="ij")]
    cover = np.empty(len(index), np.float32)
    chunk = max(1, _MAX_POINTS // within[0].size)
    for first in range(0, len(index), chunk):
        part = index[first : first + chunk].astype(np.float32)
        points = [part[:, n, None] + within[n] for n in range(3)]
        cover[first : first + chunk] = (shape.field(*_positions(grid, points)) < 0).mean(-1)
    return cover


def _around(centre: Vector, radii: Vector) -> tuple[Vector, Vector]:
    return _vector(np.subtract(centre, radii)), _vector(np.add(centre, radii))


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _scaled(x: Floats, below: float, above: float) -> Floats:
    """Distance from the centre in units of the radius on that side."""
    result: Floats = np.maximum(-x / np.float32(below), x / np.float32(above))
    return result


def _cube(x: Floats) -> Floats:
    return x * x * x
