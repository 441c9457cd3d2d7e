"""One batch of a training step: drawn, turned, stretched, blurred; all of it from (seed, step) alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import gaussian
from torch.nn import functional

from volumetry.segment.preprocess import CHEST_KINDS, InputRecipe, PictureKind, Pictures, network_batch
from volumetry.training.config import Augment, Round, Schedule
from volumetry.training.dataset import Bank
from volumetry.training.samples import Sample, Truth, targets

Grey = NDArray[np.float32]
BESIDE: tuple[PictureKind, ...] = ("below", "above")
MISREAD_PX, MISREAD_EDGE_PX = (8.0, 45.0), 3.0
"""Half axes of the part that the network of the whole chest misreads, and how blurred its edge is."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Where batches come from.

    A step's batch depends on nothing but the seed and the step, so a resumed run sees what an unbroken one would.
    """

    bank: Bank
    augment: Augment
    recipe: InputRecipe
    schedule: Schedule

    def step(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Input (n, inputs, j, i), targets (n, 3, j, i) and where they are known, of step `number`."""
        rng = np.random.default_rng([self.schedule.seed, 2, number])
        part, crop_px = self.schedule.round_of(number)[0], self.schedule.crop_px
        augment, shares = self.augment.model_copy(update=part.augment), self._shares(part)
        slices, truths = [], np.empty((self.schedule.batch, crop_px, crop_px), np.uint8)
        for n in range(self.schedule.batch):
            pictures, truths[n] = _moved(self._drawn(shares, rng), augment, crop_px, rng)
            slices.append(_shaded(_some(pictures, augment, rng), augment, rng))
        value, known = targets(truths)
        batch = network_batch(slices, replace(self.recipe, pad_multiple=1))
        return torch.from_numpy(batch), torch.from_numpy(value), torch.from_numpy(known)

    def _shares(self, part: Round) -> dict[str, float]:
        """How often each kind is drawn in a round."""
        shares = self.bank.shares | part.shares
        return {kind: share for kind, share in shares.items() if share and kind in self.bank.piles}

    def _drawn(self, shares: Mapping[str, float], rng: np.random.Generator) -> Sample:
        """Kind by its share, a group by the root of its size, then a slice: no long scan outweighs the rest."""
        kinds = sorted(shares)
        share = np.array([shares[kind] for kind in kinds])
        groups = self.bank.piles[kinds[int(rng.choice(len(kinds), p=share / share.sum()))]]
        size = np.sqrt([len(group) for group in groups])
        group = groups[int(rng.choice(len(groups), p=size / size.sum()))]
        return group[int(rng.integers(len(group)))]


def _moved(
    sample: Sample, augment: Augment, crop_px: int, rng: np.random.Generator
) -> tuple[Pictures, NDArray[np.uint8]]:
    """Rotated, scaled, shifted, flipped; what comes from beyond the picture is black and known not to be lung."""
    by_kind = sample.pictures.by_kind
    layers = np.stack(list(by_kind.values()))
    if rng.random() < augment.crop_to_lung and (sample.truth_ji & Truth.LUNG).any():
        layers = layers * _lung_box(sample.truth_ji, rng)
    angle = np.deg2rad(rng.uniform(-augment.rotate_deg, augment.rotate_deg))
    scale = np.exp(rng.uniform(np.log(augment.scale_low), np.log(augment.scale_high)))
    stretch = np.exp(rng.uniform(-0.08, 0.08))
    flips = np.where(rng.random(2) < augment.flip, -1.0, 1.0)
    rows, columns = sample.truth_ji.shape
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    # affine_grid wants (x, y) in units of half a side; `turn` is in pixels.
    side = crop_px / np.array([columns, rows])
    matrix = turn * flips * np.array([stretch, 1 / stretch]) * crop_px / np.array([[columns], [rows]])
    free = np.maximum(1 - side / scale, 0.1)
    shift = rng.uniform(-1, 1, 2) * free * 0.7
    theta = torch.from_numpy(np.column_stack([matrix, shift])[None].astype(np.float32))
    where = functional.affine_grid(theta, [1, 1, crop_px, crop_px], align_corners=False)
    pictures = functional.grid_sample(torch.from_numpy(layers[None]), where, mode="bilinear", align_corners=False)
    labels = torch.from_numpy(sample.truth_ji[None, None].astype(np.float32))
    truth = functional.grid_sample(labels, where, mode="nearest", align_corners=False)
    moved = Pictures(dict(zip(by_kind, pictures[0].numpy(), strict=True)))
    return moved, truth[0, 0].numpy().astype(np.uint8)


def _some(pictures: Pictures, augment: Augment, rng: np.random.Generator) -> Pictures:
    """Now and then only one of the slice's two pictures, and without what lies around it."""
    chance, there = rng.random(), pictures.by_kind
    if {"enhanced", "window"} <= set(there) and chance < augment.only_enhanced + augment.only_window:
        pictures = pictures.without("window" if chance < augment.only_enhanced else "enhanced")
    for kinds, left_out in ((BESIDE, augment.no_neighbours), (CHEST_KINDS, augment.no_chest)):
        if any(kind in there for kind in kinds) and rng.random() < left_out:
            pictures = pictures.without(*kinds)
    if augment.wrong_chest and "space" in pictures.by_kind and rng.random() < augment.wrong_chest:
        pictures = _misread(pictures, rng)
    return pictures


def _misread(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """In a part of the slice the network of the whole chest is wrong: it takes all of it for lung, or for none.

    It is right where it was trained. On chests unlike those, what a slice shows must count for more.
    """
    rows, columns = pictures.shape_ji
    centre = rng.uniform(0, (rows, columns))
    radius = rng.uniform(*MISREAD_PX, 2)
    j, i = np.ogrid[:rows, :columns]
    inside = ((j - centre[0]) / radius[0]) ** 2 + ((i - centre[1]) / radius[1]) ** 2 < 1
    part = gaussian(inside.astype(np.float32), MISREAD_EDGE_PX)
    changed = dict(pictures.by_kind)
    lung, organs = (1.0, 0.0) if rng.random() < 0.5 else (0.0, float(rng.integers(2)))
    answer: dict[PictureKind, float] = {"space": lung, "organs": organs}
    for kind, value in answer.items():
        if (there := pictures.of(kind)) is not None:
            changed[kind] = np.asarray(there + part * (value - there), np.float32)
    return Pictures(changed)


def _lung_box(truth: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """1 in a box around the lungs, 0 outside: pictures cut from reports are black there."""
    rows, columns = np.nonzero(truth & Truth.LUNG)
    margin = rng.integers(2, 20, 4)
    box = np.zeros(truth.shape, np.float32)
    top, left = max(rows.min() - margin[0], 0), max(columns.min() - margin[1], 0)
    box[top : rows.max() + margin[2], left : columns.max() + margin[3]] = 1
    return box


def _shaded(original: Pictures, augment: Augment, rng: np.random.Generator) -> Pictures:
    """Another scanner's noise and sharpness, another window; the neighbours' window is the slice's."""
    sigma = rng.uniform(0.4, 1.2) if rng.random() < augment.blur else 0.0
    noise = rng.uniform(0, augment.noise) if rng.random() < 0.5 else 0.0
    grain = rng.standard_normal(original.shape_ji)

    def shade(spread: float, lift: float) -> tuple[float, float]:
        return float(np.exp(rng.uniform(-spread, spread))), float(rng.uniform(-lift, lift))

    def shaded(picture: NDArray[np.float32], shade: tuple[float, float], grain: NDArray[np.float64]) -> Grey:
        contrast, lift = shade
        grey = gaussian(picture.astype(np.float64), sigma) if sigma else picture.astype(np.float64)
        return np.asarray(np.clip((grey - 0.35) * contrast + 0.35 + lift + noise * grain, 0, 1), np.float32)

    changed = dict(original.by_kind)
    if (enhanced := original.of("enhanced")) is not None:
        gamma = np.float32(np.exp(rng.uniform(-augment.gamma, augment.gamma)))
        of_enhanced = shade(augment.contrast, augment.brightness)
        changed["enhanced"] = shaded(np.clip(enhanced, 0, 1) ** gamma, of_enhanced, grain)
    if linear := [kind for kind in ("window", *BESIDE) if kind in changed]:
        of_window = shade(augment.window_contrast, augment.window_brightness)
        for kind in linear:
            own = grain if kind == "window" else rng.standard_normal(grain.shape)
            changed[kind] = shaded(changed[kind], of_window, own)
    return Pictures(changed)
