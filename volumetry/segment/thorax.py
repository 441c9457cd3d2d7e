"""The whole chest in one coarse look: what is lung with whatever fills it, and what lies beside it.

A slice does not tell a consolidated lung from the organ beside it; the chest around it does. A small 3-D
network names the region of every voxel on a grid of some 5 mm: fine enough for that, and cheap.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from volumetry.domain import Vector, VoxelLabel
from volumetry.segment.monai_networks import UNet

Shape = tuple[int, int, int]

AIR_HU = -1000.0
WIDTH = 8
"""Features of a voxel of the full grid, from which its region is told."""


class Region(VoxelLabel):
    """Where in the chest a voxel lies. Regions exclude each other.

    BODY is all that is none of the others: chest wall, bones, muscles of the back, neck, skin and the air outside.
    """

    BODY = 0
    LUNG = 1
    """Aerated or not: haze, consolidation, tumour and collapse are lung. No pleural fluid."""
    FLUID = 2
    """In the pleural space."""
    AIRWAY = 3
    """Trachea and main bronchi."""
    MEDIASTINUM = 4
    """With heart, great vessels and the whole aorta."""
    ABDOMEN = 5
    """Below the diaphragm, with the gas in stomach and bowel."""


class ContextNetwork(nn.Module):
    """Two windows of HU in, a logit per region out.

    The U-Net works on half the grid, which spares most of the cost of a 3-D network. What it finds is interpolated
    to the full grid, where each voxel's own HU say on which side of a border it lies.

    Parameters
    ----------
    channels
        Into the U-Net, out of it, then of each of its levels, every one of which strides.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        into, out_of, *levels = channels
        self.halved = nn.Conv3d(2, into, 2, stride=2)
        self.unet = UNet(
            spatial_dims=3,
            in_channels=into,
            out_channels=out_of,
            channels=levels,
            strides=(2,) * (len(levels) - 1),
            num_res_units=1,
            norm="instance",
        )
        self.around = nn.Conv3d(into + out_of, WIDTH, 1)
        self.here = nn.Conv3d(2, WIDTH, 1)
        self.logits = nn.Conv3d(WIDTH, len(Region), 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 2, k, j, i) to (n, region, k, j, i); sides are multiples of `stride_of`."""
        halved = self.halved(windows)
        around = self.around(torch.cat([halved, self.unet(halved)], 1))
        around = functional.interpolate(around, scale_factor=2, mode="trilinear", align_corners=False)
        logits: torch.Tensor = self.logits(functional.leaky_relu(around + self.here(windows)))
        return logits


def stride_of(channels: tuple[int, ...]) -> int:
    """Voxels of which each side of the network's input must be a multiple."""
    return int(2 ** (len(channels) - 2))


def two_windows(hu: torch.Tensor) -> torch.Tensor:
    """HU (..., k, j, i) as a lung and a soft-tissue window (..., 2, k, j, i), about -1 to 1."""
    lung = torch.clamp((hu + 600) / 500, -1, 1.5)
    soft = torch.clamp((hu - 20) / 180, -1, 1.5)
    return torch.stack([lung, soft], dim=-4)


def coarse_shape(shape_kji: Shape, spacing_kji_mm: Vector, coarse_mm: float) -> Shape:
    """Size of the grid of about `coarse_mm` that covers an axial array from edge to edge."""
    k, j, i = (max(1, round(n * mm / coarse_mm)) for n, mm in zip(shape_kji, spacing_kji_mm, strict=True))
    return k, j, i


def region_probabilities(network: nn.Module, hu_kji: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Probability of each region, (region, k, j, i), for a chest on the coarse grid; air is put around it."""
    padding = [(0, -(-n // stride) * stride - n) for n in hu_kji.shape]
    padded = np.pad(hu_kji.astype(np.float32), padding, constant_values=AIR_HU)
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(two_windows(torch.from_numpy(padded).to(device))[None])[0]
        found: NDArray[np.float32] = torch.softmax(logits.float(), 0).cpu().numpy()
    k, j, i = hu_kji.shape
    return found[:, :k, :j, :i]
