"""One batch of a training step: drawn, turned, stretched, blurred; all of it from (seed, step) alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import gaussian
from torch.nn import functional

from volumetry.learn.bank import Bank
from volumetry.learn.recipe import Augment
from volumetry.learn.samples import Sample, Truth, targets
from volumetry.segment.preprocess import InputRecipe


@dataclass(frozen=True, slots=True)
class Drawing:
    """Where batches come from.

    A step's batch depends on nothing but the seed and the step, so a resumed run sees what an unbroken one would.
    """

    bank: Bank
    augment: Augment
    recipe: InputRecipe
    crop_px: int
    batch: int
    seed: int

    def step(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Input (n, 1, j, i), targets (n, 3, j, i) and where they are known, of step `number`."""
        rng = np.random.default_rng([self.seed, 2, number])
        pictures = np.empty((self.batch, self.crop_px, self.crop_px), np.float32)
        truths = np.empty((self.batch, self.crop_px, self.crop_px), np.uint8)
        for n in range(self.batch):
            picture, truth = _moved(self._drawn(rng), self.augment, self.crop_px, rng)
            pictures[n], truths[n] = _shaded(picture, self.augment, rng), truth
        value, known = targets(truths)
        scaled = (pictures[:, None] - self.recipe.mean) / self.recipe.deviation
        return torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(value), torch.from_numpy(known)

    def _drawn(self, rng: np.random.Generator) -> Sample:
        """Kind by its share, a group by the root of its size, then a slice: no long scan outweighs the rest."""
        kinds = sorted(self.bank.shares)
        share = np.array([self.bank.shares[kind] for kind in kinds])
        groups = self.bank.piles[kinds[int(rng.choice(len(kinds), p=share / share.sum()))]]
        size = np.sqrt([len(group) for group in groups])
        group = groups[int(rng.choice(len(groups), p=size / size.sum()))]
        return group[int(rng.integers(len(group)))]


def _moved(
    sample: Sample, augment: Augment, crop_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Rotated, scaled, shifted, flipped; what comes from beyond the picture is black and known to be no lung."""
    picture: NDArray[np.float32] = sample.picture_ji.astype(np.float32) / np.float32(255)
    if rng.random() < augment.crop_to_lung and (sample.truth_ji & Truth.LUNG).any():
        picture = _cropped(picture, sample.truth_ji, rng)
    angle = np.deg2rad(rng.uniform(-augment.rotate_deg, augment.rotate_deg))
    scale = np.exp(rng.uniform(np.log(augment.scale_low), np.log(augment.scale_high)))
    stretch = np.exp(rng.uniform(-0.08, 0.08))
    flips = np.where(rng.random(2) < augment.flip, -1.0, 1.0)
    rows, columns = picture.shape
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    # affine_grid wants (x, y) in units of half a side; `turn` is in pixels.
    side = crop_px / np.array([columns, rows])
    matrix = turn * flips * np.array([stretch, 1 / stretch]) * crop_px / np.array([[columns], [rows]])
    free = np.maximum(1 - side / scale, 0.1)
    shift = rng.uniform(-1, 1, 2) * free * 0.7
    theta = torch.from_numpy(np.column_stack([matrix, shift])[None].astype(np.float32))
    where = functional.affine_grid(theta, [1, 1, crop_px, crop_px], align_corners=False)
    layers = torch.from_numpy(np.stack([picture, sample.truth_ji.astype(np.float32)])[None])
    moved = functional.grid_sample(layers[:, :1], where, mode="bilinear", align_corners=False)
    truth = functional.grid_sample(layers[:, 1:], where, mode="nearest", align_corners=False)
    return moved[0, 0].numpy(), truth[0, 0].numpy().astype(np.uint8)


def _cropped(
    picture: NDArray[np.float32], truth: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Black outside a box around the lungs, as pictures cut from reports are."""
    rows, columns = np.nonzero(truth & Truth.LUNG)
    margin = rng.integers(2, 20, 4)
    box = np.zeros(picture.shape, bool)
    top, left = max(rows.min() - margin[0], 0), max(columns.min() - margin[1], 0)
    box[top : rows.max() + margin[2], left : columns.max() + margin[3]] = True
    return np.where(box, picture, np.float32(0))


def _shaded(original: NDArray[np.float32], augment: Augment, rng: np.random.Generator) -> NDArray[np.float32]:
    """Another scanner's noise, sharpness and window."""
    picture = original.astype(np.float64)
    if rng.random() < augment.blur:
        picture = gaussian(picture, rng.uniform(0.4, 1.2))
    picture = np.clip(picture, 0, 1) ** np.exp(rng.uniform(-augment.gamma, augment.gamma))
    contrast = np.exp(rng.uniform(-augment.contrast, augment.contrast))
    picture = (picture - 0.35) * contrast + 0.35 + rng.uniform(-augment.brightness, augment.brightness)
    if rng.random() < 0.5:
        picture = picture + rng.uniform(0, augment.noise) * rng.standard_normal(picture.shape)
    shaded: NDArray[np.float32] = np.clip(picture, 0, 1).astype(np.float32)
    return shaded
