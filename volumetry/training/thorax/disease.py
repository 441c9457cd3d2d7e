"""Disease drawn into lungs, which stay lung: haze and consolidation at any place and of any extent."""

import numpy as np
import torch
from torch.nn import functional

from volumetry.training.thorax.scene import Chance, Frame, Scene, frame_of

_SHARES = (0.03, 0.08, 0.15, 0.3, 0.6, 0.9)
_SHARES_ODDS = (0.2, 0.25, 0.2, 0.2, 0.1, 0.05)


def with_disease(scene: Scene, chance: Chance) -> Scene:
    """One to three lesions or widespread changes."""
    frame = frame_of(scene)
    if frame is None:
        return scene
    for _ in range(1 + chance.one_of(3)):
        place = _PLACES[chance.one_of(len(_PLACES))]
        score = place(scene, frame, chance)
        share = float(chance.numbers.choice(_SHARES, p=_SHARES_ODDS))
        values = chance.some_of(score[scene.is_lung], 4000)
        edge = (score - torch.quantile(values, 1 - share)) / chance.between(0.02, 0.12)
        scene = scene.filled(torch.sigmoid(edge) * chance.between(0.8, 1.0), filling(scene, chance))
    return scene


def filling(scene: Scene, chance: Chance) -> torch.Tensor:
    """HU of what fills air spaces: haze, a mixture, or soft tissue with noise, strands and air bronchograms."""
    kind = chance.numbers.random()
    if kind < 0.25:
        level = chance.between(-650, -250)
    elif kind < 0.45:
        level = chance.between(-250, 10)
    else:
        level = chance.between(10, 60) if chance.yes(0.8) else chance.between(60, 110)
    shape = tuple(scene.hu.shape)
    hu = level + chance.between(3, 35) * chance.noise(shape) + chance.between(0, 55) * chance.smooth(shape, 2.5)
    if chance.yes(0.6):
        airy = torch.clamp(chance.smooth(shape, chance.between(2, 4)) - chance.between(0.6, 1.4), min=0)
        hu = hu - chance.between(80, 350) * airy
    return hu


def _dependent(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    return frame.back - 0.4 * frame.up + 0.08 * chance.smooth(tuple(scene.hu.shape), 6)


def _one_side_of_a_plane(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    """As a lobe or a segment ends at a fissure."""
    k, j, i = (float(x) for x in _direction(chance))
    return k * frame.up + j * frame.back + i * frame.left + 0.04 * chance.smooth(tuple(scene.hu.shape), 6)


def _ball(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    return -frame.distance_mm(_any_lung(scene, frame, chance)) / chance.between(16, 64) + 0.12 * chance.smooth(
        tuple(scene.hu.shape), 5
    )


def _patches(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    return chance.smooth(tuple(scene.hu.shape), chance.between(3, 9))


def _whole_side(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    sign = 1 if chance.yes(0.5) else -1
    side = sign * (frame.left - 0.5) * 3
    return side + 0.6 * frame.back - 0.6 * frame.up + 0.08 * chance.smooth(tuple(scene.hu.shape), 6)


def _along_the_wall(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    """Under the pleura; the mean of the lung around tells the depth."""
    around = functional.avg_pool3d(scene.lung[None, None], 9, 1, 4)[0, 0]
    return -around + 0.15 * chance.smooth(tuple(scene.hu.shape), 6)


def _beside_the_middle(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    """Beside spine, aorta and heart, where organs are drawn too: this one is ragged, and lung."""
    sign = 1 if chance.yes(0.6) else -1
    medial = -torch.abs(frame.left - 0.5 - sign * 0.12) * 2
    return medial + chance.between(0, 0.8) * frame.back + 0.12 * chance.smooth(tuple(scene.hu.shape), 5)


def _above_the_diaphragm(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    """Where the lung's lower surface is, plate-like or thick."""
    below = torch.roll(scene.lung, shifts=1, dims=0)
    near = functional.avg_pool3d((scene.lung - below).clamp(min=0)[None, None], 7, 1, 3)[0, 0]
    return near * 2 - 0.5 * frame.up + 0.08 * chance.smooth(tuple(scene.hu.shape), 5)


_PLACES = (
    _dependent,
    _one_side_of_a_plane,
    _ball,
    _ball,
    _patches,
    _whole_side,
    _along_the_wall,
    _beside_the_middle,
    _above_the_diaphragm,
)


def _direction(chance: Chance) -> np.ndarray:
    vector = chance.numbers.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))


def _any_lung(scene: Scene, frame: Frame, chance: Chance) -> torch.Tensor:
    at = scene.is_lung.nonzero()
    k, j, i = at[chance.one_of(len(at))].tolist()
    return frame.mm[:, k, j, i]
