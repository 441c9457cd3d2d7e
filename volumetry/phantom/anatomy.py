"""What a chest is made of: analytic shapes in patient coordinates (LPS, mm), its middle at (0, 0, 0)."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Vector
from volumetry.phantom.shapes import Capsule, Ellipsoid, Lung, OvalColumn, Ribs, Scaled, Shape, TableTop

AIR_HU = -1000.0
LUNG_HU = -850.0
GROUND_GLASS_HU = -600.0
SOLID_HU = 40.0
MUSCLE_HU = 50.0
FAT_HU = -100.0
BONE_HU = 400.0
VESSEL_HU = 40.0

_BASE_RIGHT = Lung(-1, (40.0, 0.0, -52.0), (40.0, 45.0), (74.0, 76.0), (66.0, 106.0), dome_mm=72.0)
_BASE_LEFT = Lung(+1, (44.0, 0.0, -53.0), (34.0, 43.0), (70.0, 76.0), (68.0, 105.0), dome_mm=72.0)
_APEX_MM = 120.0
_TALL_MM = 1000.0
_LUNGS = {"left": _BASE_LEFT, "right": _BASE_RIGHT}


_MAX_BRANCHES = 120
_SMALLEST_PARENT_MM = 0.8


def lungs_of(breath: float, scale_lps: Vector) -> dict[str, Scaled]:
    """The lungs by side."""
    return {side: Scaled(_breathed(lung, breath), scale_lps) for side, lung in _LUNGS.items()}


def lung_ml(side: str, breath: float, scale_lps: Vector) -> float:
    """Volume of one lung by formula."""
    return _breathed(_LUNGS[side], breath).volume_ml * math.prod(scale_lps)


def surroundings(
    breath: float, scale_lps: Vector, blood_hu: float, ribs: bool, table: bool
) -> Iterator[tuple[float, Shape]]:
    """Everything but the lungs, from back to front: HU and shape."""
    base = _base_mm(breath)
    tall = _TALL_MM
    scene: list[tuple[float, Shape]] = []
    if table:
        scene += [(-300.0, TableTop(118.0, 190.0, 9.0, tall)), (-850.0, TableTop(120.5, 190.0, 4.5, tall))]
    scene += [
        (20.0, OvalColumn((0.0, 0.0, 0.0), (156.0, 110.0), tall, 2.4)),  # skin
        (FAT_HU, OvalColumn((0.0, 0.0, 0.0), (154.5, 108.5), tall, 2.4)),
        (MUSCLE_HU, OvalColumn((0.0, 1.0, 0.0), (145.0, 99.0), tall, 2.3)),
        (FAT_HU, OvalColumn((0.0, -18.0, base + 85), (20.0, 55.0), 75.0)),  # fat of the mediastinum
    ]
    if ribs:
        scene.append((BONE_HU, Ribs((0.0, 0.0, 0.0), (133.0, 89.0), 150.0)))
    scene += [
        (BONE_HU - 150, OvalColumn((0.0, 66.0, 0.0), (17.0, 16.0), tall)),  # vertebral bodies
        (30.0, OvalColumn((0.0, 88.0, 0.0), (8.0, 7.0), tall)),  # spinal canal
        (BONE_HU, OvalColumn((0.0, 99.0, 0.0), (4.0, 8.0), tall)),  # spinous processes
        (BONE_HU - 200, OvalColumn((0.0, -89.0, base + 70), (16.0, 5.0), 75.0)),  # sternum
        (60.0, Ellipsoid((-52.0, -8.0, base - 85), (72.0, 76.0, 75.0))),  # liver
        (45.0, Ellipsoid((70.0, 25.0, base - 85), (45.0, 50.0, 60.0))),  # spleen and stomach wall
        (AIR_HU, Ellipsoid((58.0, -22.0, base - 78), (22.0, 18.0, 12.0))),  # gas in the stomach: no lung
        (blood_hu, Ellipsoid((14.0, -24.0, base - 8), (50.0, 42.0, 48.0))),  # heart
        (blood_hu, Capsule((12.0, 38.0, -tall), (12.0, 38.0, base + 72), 12.0)),  # descending aorta
        (blood_hu, Capsule((12.0, 38.0, base + 72), (-10.0, -14.0, base + 78), 13.0)),  # arch
        (blood_hu, Capsule((-10.0, -14.0, base + 78), (-8.0, -18.0, base + 10), 14.0)),  # ascending aorta
        (AIR_HU, Capsule((0.0, 14.0, base + 70), (0.0, 8.0, tall), 8.5)),  # trachea
        (AIR_HU, Capsule((0.0, 14.0, base + 70), (-34.0, 16.0, base + 46), 6.0)),  # right main bronchus
        (AIR_HU, Capsule((0.0, 14.0, base + 70), (38.0, 18.0, base + 42), 5.5)),  # left main bronchus
    ]
    for value, shape in scene:
        yield value, Scaled(shape, scale_lps)


def vessels(breath: float, scale_lps: Vector, seed: int) -> Iterator[Shape]:
    """A branching tree in each lung, from the hilum outward; each branch stays inside."""
    rng = np.random.default_rng([seed, 1])
    base, lungs = _base_mm(breath), lungs_of(breath, scale_lps)
    scale = np.asarray(scale_lps)
    for side, lung in ((1, lungs["left"]), (-1, lungs["right"])):
        hilum = np.array([side * 46.0, 16.0, base + 36])
        roots = [
            (hilum, np.array([side * 0.8, rng.uniform(-1.2, 1.2), up]), 3.8, 34.0)
            for up in (-1.5, -0.9, -0.3, 0.3, 1.0, 2.0, 3.0)
        ]
        grown = 0
        while roots and grown < _MAX_BRANCHES:
            start, towards, radius, length = roots.pop(0)
            branch = _branch(rng, lung, scale, (start, towards, length))
            if branch is None:
                continue
            grown += 1
            end, way = branch
            yield Scaled(Capsule(_triple(start), _triple(end), radius), scale_lps)
            if radius > _SMALLEST_PARENT_MM:
                for _ in range(2):
                    bent = way + rng.normal(0, 0.5, 3)
                    roots.append((end, bent / np.linalg.norm(bent), radius * 0.74, length * 0.84))


def all_inside(shape: Shape, points_lps_mm: NDArray[np.float64]) -> bool:
    """Whether every one of (n, 3) points lies inside."""
    return bool((shape.field(*points_lps_mm.T.astype(np.float32)) < 0).all())


def _branch(
    rng: np.random.Generator,
    lung: Shape,
    scale: NDArray[np.float64],
    wish: tuple[NDArray[np.float64], NDArray[np.float64], float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """End and direction of a branch near the wished one that ends well inside the lung, if there is one."""
    start, towards, length = wish
    for spread in (0.0, 0.4, 0.6, 0.8, 1.0, 1.2):
        way = towards + rng.normal(0, 1, 3) * spread
        way /= np.linalg.norm(way)
        end = start + way * length * rng.uniform(0.8, 1.1)
        if all_inside(lung, ((start + way * (length + 9)) * scale)[None]):
            return end, way
    return None


def _breathed(lung: Lung, breath: float) -> Lung:
    """A lung at another depth of breath: z shrinks towards the apex, so volume is proportional to breath."""
    x, y, z = lung.centre_mm
    down, up = lung.down_up_mm
    return Lung(
        lung.side,
        (x, y, _APEX_MM + (z - _APEX_MM) * breath),
        lung.medial_lateral_mm,
        lung.front_back_mm,
        (down * breath, up * breath),
        lung.bend_mm,
        lung.dome_mm * breath,
        lung.lean,
    )


def _base_mm(breath: float) -> float:
    """Height of the lungs' middle, from which everything that moves with the breath is placed."""
    return _APEX_MM - (_APEX_MM + 42) * breath


def _triple(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z
