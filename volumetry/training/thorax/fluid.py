"""Pleural fluid drawn into a chest: at the back or in a pocket, with compressed lung in front of it."""

import torch
from torch.nn import functional

from volumetry.training.thorax import truth
from volumetry.training.thorax.scene import Chance, Frame, Scene, frame_of


def with_fluid(scene: Scene, chance: Chance) -> Scene:
    """Fluid on one side, or on both."""
    frame = frame_of(scene)
    if frame is None:
        return scene
    first = chance.one_of(2)
    for side in (first, 1 - first)[: 1 + chance.yes(0.35)]:
        scene = _on_one_side(scene, frame, chance, side)
    return scene


def _on_one_side(scene: Scene, frame: Frame, chance: Chance, side: int) -> Scene:
    half = (frame.left < 0.5) if side == 0 else (frame.left >= 0.5)
    if int((half & scene.is_lung).sum()) < 200:
        return scene
    inside = _pocket(scene, frame, chance) if chance.yes(0.2) else _layer(scene, frame, chance, half, side)
    inside = torch.where(half, inside, torch.full_like(inside, -1e3))
    if chance.yes(0.65):
        thick = chance.between(6, 35) * (1 + 0.3 * chance.smooth(tuple(scene.hu.shape), 8))
        lung = chance.between(30, 110) + chance.between(4, 30) * chance.noise(tuple(scene.hu.shape))
        scene = scene.filled(torch.sigmoid((inside + thick) / 3) * chance.between(0.8, 1), lung)
    level = chance.between(-5, 30) + chance.between(2, 15) * chance.noise(tuple(scene.hu.shape))
    return scene.displaced(torch.sigmoid(inside / 1.5), level, truth.FLUID)


def _layer(scene: Scene, frame: Frame, chance: Chance, half: torch.Tensor, side: int) -> torch.Tensor:
    """How far in mm a voxel lies behind a surface that rises towards the walls and sinks towards the head."""
    share = chance.between(0.02, 0.25) if chance.yes(0.8) else chance.between(0.25, 0.9)
    middle = (0.25 if side == 0 else 0.75) * float(frame.size_mm[2])
    towards_wall = ((frame.mm[2] - middle) / (0.25 * float(frame.size_mm[2]))).clamp(-1.2, 1.2)
    depth = frame.mm[1] + chance.between(5, 40) * towards_wall**2 - chance.between(0.1, 0.6) * frame.mm[0]
    depth = depth + chance.between(0, 4) * chance.smooth(tuple(scene.hu.shape), 8)
    values = chance.some_of(depth[half & scene.is_lung], 4000)
    return depth - torch.quantile(values, 1 - share)


def _pocket(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    """How far in mm a voxel lies inside a lens at the wall or in a fissure."""
    rim = functional.max_pool3d((scene.lung < 0.5).float()[None, None], 3, 1, 1)[0, 0] > 0
    at = (rim & scene.is_lung).nonzero()
    k, j, i = at[chance.one_of(len(at))].tolist()
    radii = torch.tensor([chance.between(12, 60) for _ in range(3)], device=scene.hu.device)
    apart = (frame.mm - frame.mm[:, k, j, i][:, None, None, None]) / radii[:, None, None, None]
    return (1 - (apart**2).sum(0).sqrt()) * radii.min()
