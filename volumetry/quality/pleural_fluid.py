"""Pleural fluid that the mask has a label of its own for: how much, where, and what it means if it is none."""

from collections.abc import Iterator

import numpy as np

from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Side, TissueMap, Volumes
from volumetry.image.coarse import sampled, strides
from volumetry.image.orientation import axial_view
from volumetry.quality.places import images
from volumetry.quality.weight import points_if_lesion, weighed


def fluid_findings(tissue: TissueMap, scan: CtScan, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """Fluid found, in mL with its place.

    Consolidation and fluid can have the same density, so a reader must look where it weighs.
    """
    if not tissue.fluid_ml or tissue.fluid_kji is None:
        return
    points = points_if_lesion(volumes, tissue.fluid_ml)
    slices = np.flatnonzero(tissue.fluid_kji.any(axis=(1, 2))).tolist()
    text = (
        f"{tissue.fluid_ml:.0f} mL of pleural fluid ({_sides(tissue)}{images(scan, slices)}), counted neither as "
        f"lung nor as lesion: look whether it is consolidated or collapsed lung. If all of it is, the lesion "
        f"percentage is {points:.2f} points higher"
    )
    yield weighed(config, "PLEURAL_FLUID", text, tissue.fluid_ml, points)


def _sides(tissue: TissueMap) -> str:
    """How much lies on which side of the plane between the lungs; empty where only one lung is known."""
    view = axial_view(tissue.grid)
    if tissue.side_kji is None or tissue.fluid_kji is None:
        return ""
    step = strides(view.spacing_mm(tissue.grid))  # where a lung's middle is need not be known to the voxel
    side = sampled(view.of(tissue.side_kji), step)
    middles = []
    for one in (Side.RIGHT, Side.LEFT):
        voxels = np.count_nonzero(side == one, axis=(0, 1))
        if not voxels.any():
            return ""
        middle = float(voxels @ np.arange(len(voxels)) / voxels.sum())
        middles.append(step[2] * middle + (step[2] - 1) / 2)
    fluid_zyx = view.of(tissue.fluid_kji)
    wet = np.flatnonzero(fluid_zyx.any(axis=(1, 2)))
    fluid = np.count_nonzero(fluid_zyx[wet], axis=(0, 1)) * tissue.grid.voxel_ml
    columns = np.arange(len(fluid))
    on_left = columns > sum(middles) / 2
    parts = {"right": float(fluid[~on_left].sum()), "left": float(fluid[on_left].sum())}
    return "".join(f"{name} {ml:.0f} mL, " for name, ml in parts.items() if ml >= 0.5)
