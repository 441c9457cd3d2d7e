"""A model without learned weights: any module stands in for the network."""

from pathlib import Path

from torch import nn

from volumetry.segment.card import Architecture, Card, CardInput, StoredFile
from volumetry.segment.preprocess import PictureKind
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
