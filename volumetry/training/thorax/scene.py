"""A chest while things are drawn into it, and the chance that decides which."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from volumetry.domain import Vector
from volumetry.training.thorax import truth
from volumetry.training.thorax.chests import Chest

NEARLY_ALL = 0.9
"""Share of lung from which on a voxel's HU is the lung's own."""
AERATED_BELOW_HU = -500.0
USUAL_HU = -850.0
"""Of a lung, where a chest holds no aerated one."""


class Chance:
    """Numbers and fields that follow from a seed alone, so that a sample can be drawn again."""

    def __init__(self, seed: tuple[int, ...], device: str = "cpu") -> None:
        self.numbers = np.random.default_rng(seed)
        self.device = device
        self._fields = torch.Generator(device).manual_seed(int(self.numbers.integers(2**62)))

    def yes(self, share: float) -> bool:
        """True in this share of draws."""
        return bool(self.numbers.random() < share)

    def between(self, low: float, high: float) -> float:
        """Any value of a range."""
        return float(self.numbers.uniform(low, high))

    def one_of(self, count: int) -> int:
        """A number from 0, below `count`."""
        return int(self.numbers.integers(count))

    def noise(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A normal deviate per voxel."""
        return torch.randn(shape, generator=self._fields, device=self.device)

    def smooth(self, shape: tuple[int, ...], cell: float | tuple[float, float, float]) -> torch.Tensor:
        """Normal deviates `cell` voxels apart, linear between."""
        cells = (cell,) * 3 if isinstance(cell, int | float) else cell
        size = [max(2, int(np.ceil(n / step))) for n, step in zip(shape, cells, strict=True)]
        coarse = self.noise((1, 1, *size))
        return functional.interpolate(coarse, tuple(shape), mode="trilinear", align_corners=True)[0, 0]

    def some_of(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """Up to `count` values, each any of them."""
        at = torch.randint(len(values), (min(count, len(values)),), generator=self._fields, device=self.device)
        return values[at]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A chest on one device, on one grid (k, j, i).

    Parameters
    ----------
    hu
        Mean of each voxel.
    regions
        uint8, the set of regions that it may lie in.
    lung
        Which share of it is lung, 0 to 1.
    lung_hu
        HU of that share alone: at the rim of a lung a voxel's mean is not the lung's.
    """

    hu: torch.Tensor
    regions: torch.Tensor
    lung: torch.Tensor
    lung_hu: torch.Tensor
    spacing_kji_mm: Vector

    @classmethod
    def of(cls, chest: Chest, device: str) -> "Scene":
        """A chest before anything is drawn."""
        arrays = (chest.hu_kji, chest.regions_kji, chest.lung_kji)
        hu, regions, lung = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
        aerated = (lung > NEARLY_ALL) & (hu < AERATED_BELOW_HU)
        usual = hu[aerated].median() if bool(aerated.any()) else torch.full_like(hu[0, 0, 0], USUAL_HU)
        return cls(hu, regions, lung, torch.where(lung > NEARLY_ALL, hu, usual), chest.spacing_kji_mm)

    @property
    def is_lung(self) -> torch.Tensor:
        """Voxels that are known to be lung."""
        return self.regions == truth.LUNG

    def filled(self, weight: torch.Tensor, level: torch.Tensor) -> "Scene":
        """The lung's part of each voxel becomes denser by `weight`; it stays lung, and none gets lighter."""
        lung_hu = torch.maximum(self.lung_hu, self.lung_hu + weight * (level - self.lung_hu))
        return replace(self, hu=self.hu + self.lung * (lung_hu - self.lung_hu), lung_hu=lung_hu)

    def displaced(self, weight: torch.Tensor, level: torch.Tensor, regions: int) -> "Scene":
        """Something that is no lung takes the lung's place: its HU, and the regions it may lie in."""
        hu = self.hu + self.lung * weight * (level - self.lung_hu)
        lung = self.lung * (1 - weight)
        taken = self.is_lung & (lung < 0.5) & (weight > 0.25)
        return replace(self, hu=hu, lung=lung, regions=torch.where(taken, regions, self.regions).to(torch.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where voxels lie in the box of the lungs.

    Parameters
    ----------
    up, back, left
        0 to 1 within the box, and on beyond it.
    mm
        (3, k, j, i), from the box's corner at the feet, the front and the right.
    size_mm
        (3,), the box.
    """

    up: torch.Tensor
    back: torch.Tensor
    left: torch.Tensor
    mm: torch.Tensor
    size_mm: torch.Tensor

    def distance_mm(self, at_mm: torch.Tensor) -> torch.Tensor:
        """From a point."""
        return ((self.mm - at_mm[:, None, None, None]) ** 2).sum(0).sqrt()


MIN_LUNG_VOXELS = 500


def frame_of(scene: Scene) -> Frame | None:
    """The frame of a scene's lungs; None where there is next to no lung."""
    at = scene.is_lung.nonzero()
    if len(at) < MIN_LUNG_VOXELS:
        return None
    step = torch.tensor(scene.spacing_kji_mm, dtype=torch.float32, device=scene.hu.device)
    low, high = at.amin(0), at.amax(0) + 1
    axes = [torch.arange(n, device=scene.hu.device, dtype=torch.float32) for n in scene.hu.shape]
    mm = (torch.stack(torch.meshgrid(*axes, indexing="ij")) - low[:, None, None, None]) * step[:, None, None, None]
    size = (high - low) * step
    up, back, left = mm / size[:, None, None, None]
    return Frame(up, back, left, mm, size)
