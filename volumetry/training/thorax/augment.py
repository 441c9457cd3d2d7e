"""One sample: a chest with what is drawn into it, turned, stretched, bent, cut and made noisy as scanners do."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from volumetry.segment.thorax import AIR_HU
from volumetry.training.thorax import truth
from volumetry.training.thorax.config import Augment, ThoraxConfig
from volumetry.training.thorax.disease import with_disease
from volumetry.training.thorax.fluid import with_fluid
from volumetry.training.thorax.organs import with_organ
from volumetry.training.thorax.scene import Chance, Scene

_STREAM = 1
"""Apart from other things that the seed decides."""


def batch_of(scenes: Sequence[Scene], config: ThoraxConfig, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """HU and sets of regions, both (n, k, j, i), of a step; they follow from the seed and the step's number."""
    drawn = [
        sample(scenes, config, Chance((config.schedule.seed, _STREAM, step, n), str(scenes[0].hu.device)))
        for n in range(config.schedule.batch)
    ]
    return torch.stack([hu for hu, _ in drawn]), torch.stack([regions for _, regions in drawn])


def sample(scenes: Sequence[Scene], config: ThoraxConfig, chance: Chance) -> tuple[torch.Tensor, torch.Tensor]:
    """One chest of any of those at hand: HU and sets of regions on the network's grid."""
    scene = scenes[chance.one_of(len(scenes))]
    if chance.yes(config.draw.organs):
        scene = with_organ(scene, chance)
    if chance.yes(config.draw.disease):
        scene = with_disease(scene, chance)
    if chance.yes(config.draw.fluid):
        scene = with_fluid(scene, chance)
    hu, regions = _moved(scene, config, chance)
    hu, regions = _cut(hu, regions, config.augment, chance)
    if chance.yes(config.augment.arms):
        hu = _with_arms(hu, chance)
    return _as_scanned(hu, config.augment, chance), regions


def _moved(scene: Scene, config: ThoraxConfig, chance: Chance) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned, stretched, shifted and bent on its way to the network's grid; beyond the scan nothing is known."""
    plan, shape, device = config.augment, config.data.sample_shape, scene.hu.device
    half_mm = 0.5 * np.asarray(shape) * config.model.coarse_mm
    source_mm = 0.5 * np.asarray(scene.hu.shape) * np.asarray(scene.spacing_kji_mm)
    turn = _rotation(chance.numbers.normal(0, plan.rotate_deg, 3))
    stretch = np.exp(chance.numbers.normal(0, plan.scale_ln, 3) + chance.numbers.normal(0, plan.scale_ln))
    if chance.yes(plan.mirror):
        stretch[2] *= -1
    matrix = (turn * stretch) * half_mm / source_mm[:, None]
    shift = chance.numbers.normal(0, plan.shift, 3) * half_mm / source_mm
    # torch counts axes as i, j, k.
    affine = np.concatenate([matrix[::-1, ::-1], shift[::-1, None]], 1)
    theta = torch.tensor(affine[None].copy(), dtype=torch.float32, device=device)
    grid = functional.affine_grid(theta, [1, 1, *shape], align_corners=False)
    bend = torch.stack([chance.smooth(shape, 24) for _ in range(3)], -1)
    size = torch.tensor(source_mm[::-1].copy(), dtype=torch.float32, device=device)
    grid = grid + bend * chance.between(0, plan.bend_mm) / size

    def sampled(values: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(values[None, None], grid, mode=mode, align_corners=False)[0, 0]

    hu = sampled(scene.hu - AIR_HU, "bilinear") + AIR_HU
    regions = sampled(scene.regions.float(), "nearest").round().to(torch.uint8)
    return hu, torch.where(regions == 0, truth.UNKNOWN, regions).to(torch.uint8)


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """About the axes k, j, i in turn."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (n for n in range(3) if n != axis)
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return turn


def _cut(
    hu: torch.Tensor, regions: torch.Tensor, plan: Augment, chance: Chance
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan that ends early, at the head or at the feet."""
    if not chance.yes(plan.cut):
        return hu, regions
    thick = 1 + chance.one_of(len(hu) // 3)
    inside = torch.ones(len(hu), dtype=torch.bool, device=hu.device)
    inside[slice(0, thick) if chance.yes(0.5) else slice(-thick, None)] = False
    there = inside[:, None, None]
    return torch.where(there, hu, AIR_HU), torch.where(there, regions, truth.UNKNOWN).to(torch.uint8)


def _with_arms(hu: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Arms beside the body, where there is air, and the streaks between them."""
    slices, rows, columns = hu.shape
    axes = [torch.arange(n, device=hu.device, dtype=torch.float32) for n in hu.shape]
    k, j, i = torch.meshgrid(*axes, indexing="ij")
    for side in (0, 1):
        lean = chance.between(-0.15, 0.15)
        i_at = (chance.between(0, 0.1) if side == 0 else chance.between(0.9, 1)) * columns + lean * (
            k - slices / 2
        )
        j_at = chance.between(0.35, 0.7) * rows + chance.between(-0.2, 0.2) * (k - slices / 2)
        apart = ((i - i_at) ** 2 + (j - j_at) ** 2).sqrt()
        arm = torch.where(apart < chance.between(2, 3), chance.between(300, 700), chance.between(0, 60))
        hu = torch.where((apart < chance.between(6, 10)) & (hu < -700), arm, hu)
    return hu + chance.between(0, 20) * chance.smooth((slices, rows, columns), (1.5, 1.5, 20))


def _as_scanned(hu: torch.Tensor, plan: Augment, chance: Chance) -> torch.Tensor:
    """A smoother or sharper kernel, thicker slices, noise, streaks, and HU that are a little off."""
    blurred = functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    hu = hu + chance.between(-0.35, 0.35) * (blurred - hu)
    if chance.yes(0.25):
        part = chance.between(0, 0.3)
        above, below = torch.cat([hu[1:], hu[-1:]]), torch.cat([hu[:1], hu[:-1]])
        hu = (1 - 2 * part) * hu + part * (above + below)
    shape = tuple(hu.shape)
    hu = hu + chance.between(0, plan.noise_hu) * chance.noise(shape)
    if chance.yes(0.2):
        hu = hu + chance.between(0, plan.noise_hu) * chance.smooth(shape, (1.0, 1.0, 8.0))
    return hu + float(chance.numbers.normal(0, plan.offset_hu))
