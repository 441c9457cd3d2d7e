"""A model without learned weights: any module stands in for the network."""

from pathlib import Path

import torch
from torch import nn

from volumetry.segment.card import Architecture, Card, CardInput, ContextCard, StoredFile
from volumetry.segment.preprocess import PictureKind
from volumetry.segment.thorax import Region
from volumetry.segment.thorax_weights import ContextModel
from volumetry.segment.weights import Model

STORED = StoredFile(file="x", sha256="0" * 64)


def stub(
    network: nn.Module,
    outputs: tuple[str, ...] = ("lung", "lesion", "solid"),
    inputs: tuple[PictureKind, ...] = ("enhanced",),
) -> Model:
    card = Card(
        name="stub",
        version="1",
        architecture=Architecture(name="monai-unet-2d", channels=(4, 8), residual_units=0, outputs=outputs),
        input=CardInput(
            spacing_mm=1.4, slab_mm=2, hu_low=-1024, hu_high=1200, clahe_tiles=8, clahe_clip=7,
            slice_side_px=320, mean=0.35, deviation=0.25, pad_multiple=16, inputs=inputs,
        ),
        weights=STORED,
        probe_input=STORED,
        probe_output=STORED,
    )  # fmt: skip
    return Model(network, card, Path("stub-1"))


class DarkIsLung(nn.Module):
    """Lung where a voxel is darker than so many HU, else body."""

    def __init__(self, below_hu: float) -> None:
        super().__init__()
        self.below_hu = below_hu
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.full((x.shape[0], len(Region), *x.shape[2:]), -20.0)
        denser = 20 * (x[:, 0] - (self.below_hu + 600) / 500)
        logits[:, Region.LUNG], logits[:, Region.BODY] = -denser, denser
        return logits


def dark_is_lung(below_hu: float = -500.0) -> ContextModel:
    card = ContextCard.model_validate(
        {
            "name": "thorax3d",
            "version": "0.1.0",
            "architecture": {
                "name": "monai-unet-3d",
                "channels": [4, 4, 4, 4],
                "outputs": [region.name.lower() for region in Region],
                "coarse_mm": 5.0,
            },
            **{name: {"file": "f", "sha256": "0" * 64} for name in ("weights", "probe_input", "probe_output")},
            "training_cases": [],
            "held_out_cases": [],
        }
    )
    return ContextModel(DarkIsLung(below_hu), card, Path("nowhere"))


class AllDiseased(nn.Module):
    """Calls all it sees ground glass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([9.0, 9.0, -9.0])[None, :, None, None].expand(len(x), 3, *x.shape[2:])
