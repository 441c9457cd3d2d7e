"""Counter-examples: soft tissue that lies beside lung or pushes into it, and is no lung.

What tells it from a consolidation: organs are smooth, bulge towards the lung, are of one density, and go on where
the lung ends. The drawn forms are no likeness of any organ; they show that not all is disease that is dense beside
lung.
"""

from dataclasses import replace

import torch
from torch.nn import functional

from volumetry.training.thorax import truth
from volumetry.training.thorax.scene import Chance, Frame, Scene, frame_of

_GAS_HU = -960.0


def with_organ(scene: Scene, chance: Chance) -> Scene:
    """A winding vessel, a dome from below, a pad of fat, a stomach with gas, or a bulge of the chest wall."""
    frame = frame_of(scene)
    if frame is None:
        return scene
    draw = _KINDS[chance.one_of(len(_KINDS))]
    return draw(scene, frame, chance)


def _winding_vessel(scene: Scene, frame: Frame, chance: Chance) -> Scene:
    """Beside the spine, as a tortuous aorta; now and then with contrast, now and then on the right."""
    side = 1 if chance.yes(0.85) else -1
    height = float(frame.size_mm[0])
    z = frame.mm[0]

    def sway(mm: float) -> torch.Tensor:
        return mm * torch.sin(chance.between(0, 6.28) + chance.between(2, 7) * z / height)

    from_middle, sideways, back_and_forth = chance.between(8, 40), chance.between(0, 22), chance.between(0, 18)
    across = float(frame.size_mm[2]) / 2 + side * (from_middle + sway(sideways))
    depth = float(frame.size_mm[1]) * chance.between(0.6, 0.82) + sway(back_and_forth)
    radius = chance.between(9, 22)
    beside = torch.sqrt((frame.mm[2] - across) ** 2 + (frame.mm[1] - depth) ** 2)
    low, high = chance.between(-0.1, 0.3), chance.between(0.6, 0.9)
    inside = torch.minimum(radius - beside, torch.minimum(frame.up - low, high - frame.up) * height)
    level = chance.between(25, 60) if chance.yes(0.6) else chance.between(100, 350)
    drawn = scene.displaced(_soft(inside), _texture(scene, chance, level), truth.MEDIASTINUM)
    # It goes on where the lung ends.
    tissue = (scene.lung < 0.05) & (scene.hu > -150) & (scene.hu < 150)
    through = torch.where(tissue, _soft(inside), torch.zeros_like(inside))
    return replace(drawn, hu=drawn.hu + through * (level - drawn.hu))


def _dome(scene: Scene, frame: Frame, chance: Chance) -> Scene:
    """Liver, spleen, or fat below a diaphragm that stands high."""
    inside = _ellipsoid(frame, _base(frame, chance), chance, (0.12, 0.35))
    level = chance.between(20, 110) if chance.yes(0.75) else chance.between(-110, -60)
    return scene.displaced(_soft(inside), _texture(scene, chance, level), truth.ABDOMEN)


def _stomach(scene: Scene, frame: Frame, chance: Chance) -> Scene:
    """Gas above fluid within a wall, below the left dome or, as a hernia, behind the heart."""
    hernia = chance.yes(0.3)
    share = (0.1, 0.55, 0.78) if not hernia else (chance.between(0.05, 0.25), chance.between(0.6, 0.75), 0.55)
    inside = _ellipsoid(frame, _at(frame, share), chance, (0.08, 0.25))
    wall_mm = chance.between(3, 8)
    surface = float(frame.size_mm[1]) * (share[1] + chance.between(-0.1, 0.1))
    gas = _soft(torch.minimum(inside - wall_mm, surface - frame.mm[1]))
    level = chance.between(0, 60)
    contents = level + gas * (_GAS_HU - level)
    return scene.displaced(_soft(inside), contents + 5 * chance.noise(tuple(scene.hu.shape)), truth.ABDOMEN)


def _fat_pad(scene: Scene, frame: Frame, chance: Chance) -> Scene:
    """In front, beside the heart."""
    left = 0.5 + (1 if chance.yes(0.6) else -1) * chance.between(0.05, 0.25)
    centre = _at(frame, (chance.between(0.0, 0.3), chance.between(0.0, 0.3), left))
    level = chance.between(-120, -60) if chance.yes(0.7) else chance.between(20, 60)
    inside = _ellipsoid(frame, centre, chance, (0.08, 0.25))
    return scene.displaced(_soft(inside), _texture(scene, chance, level), truth.MEDIASTINUM)


def _wall(scene: Scene, frame: Frame, chance: Chance) -> Scene:
    """Muscle, fat or a plate of the chest wall at any side, most often at the apex or behind."""
    rim = (functional.max_pool3d((scene.lung < 0.5).float()[None, None], 3, 1, 1)[0, 0] > 0) & scene.is_lung
    at = (rim & ((frame.up > 0.75) | (torch.abs(frame.left - 0.5) > 0.3))).nonzero()
    if not len(at):
        return scene
    k, j, i = at[chance.one_of(len(at))].tolist()
    inside = _ellipsoid(frame, frame.mm[:, k, j, i], chance, (0.03, 0.12))
    level = chance.between(30, 70) if chance.yes(0.6) else chance.between(-110, -70)
    return scene.displaced(_soft(inside), _texture(scene, chance, level), truth.BODY)


_KINDS = (_winding_vessel, _winding_vessel, _winding_vessel, _dome, _dome, _stomach, _fat_pad, _wall)


def _at(frame: Frame, share: tuple[float, float, float]) -> torch.Tensor:
    return frame.size_mm * torch.tensor(share, device=frame.size_mm.device)


def _base(frame: Frame, chance: Chance) -> torch.Tensor:
    side = 0.25 if chance.yes(0.5) else 0.75
    return _at(frame, (chance.between(-0.1, 0.15), chance.between(0.35, 0.75), side + chance.between(-0.08, 0.08)))


def _ellipsoid(frame: Frame, centre_mm: torch.Tensor, chance: Chance, share: tuple[float, float]) -> torch.Tensor:
    """About how far in mm a voxel lies inside an ellipsoid; half-axes are shares of the lungs' box."""
    radii = frame.size_mm * torch.tensor([chance.between(*share) for _ in range(3)], device=frame.size_mm.device)
    apart = (frame.mm - centre_mm[:, None, None, None]) / radii[:, None, None, None]
    return (1 - (apart**2).sum(0).sqrt()) * radii.min()


def _soft(inside_mm: torch.Tensor, width_mm: float = 1.0) -> torch.Tensor:
    """0 to 1 across a border that a voxel's mean has blurred."""
    return torch.sigmoid(inside_mm / width_mm)


def _texture(scene: Scene, chance: Chance, level: float) -> torch.Tensor:
    """One density with noise, as organs have it."""
    return level + chance.between(2, 15) * chance.noise(tuple(scene.hu.shape))
