"""Accounting: what must add up, checked on every run and not only in tests."""

import math
from collections.abc import Iterator

import numpy as np

from volumetry.domain import FLUID, LobeMeasurement, Measurement, Side, Tissue, TissueMap
from volumetry.errors import SegmentationError


def check_identities(measurement: Measurement, delivered: TissueMap) -> None:
    """Stop unless every sum agrees with the delivered mask, counted here a second way.

    Parameters
    ----------
    measurement
        The numbers.
    delivered
        The map they were counted on.

    Raises
    ------
    SegmentationError
        Naming the first identity that is broken, with both numbers.
    """
    _check(_identities(measurement, delivered), delivered)


def check_lobes(lobes: LobeMeasurement, delivered: TissueMap) -> None:
    """Stop unless the lobes of a divided scan hold all of the delivered mask.

    Parameters
    ----------
    lobes
        Their numbers.
    delivered
        The map they were counted on.

    Raises
    ------
    SegmentationError
        If lung, lesion or one of its classes does not add up.
    """
    if lobes.volumes_ml:
        _check(_lobe_identities(lobes, delivered), delivered)


def _check(identities: Iterator[tuple[str, float, float]], delivered: TissueMap) -> None:
    tolerance_ml = delivered.grid.voxel_ml / 2
    for name, left, right in identities:
        if not math.isclose(left, right, rel_tol=1e-9, abs_tol=tolerance_ml):
            raise SegmentationError(f"{name}: {left:.6g} mL is not {right:.6g} mL", code="IDENTITY")


def _identities(m: Measurement, delivered: TissueMap) -> Iterator[tuple[str, float, float]]:
    for tissue in (Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED):
        counted = np.count_nonzero(delivered.labels_kji == tissue) * delivered.grid.voxel_ml
        yield f"{tissue.name.lower()} of the mask", counted, getattr(m.volumes_ml, tissue.name.lower())
    fluid_ml = np.count_nonzero(delivered.mask_kji == FLUID) * delivered.grid.voxel_ml
    yield "fluid of the mask", fluid_ml, m.fluid_ml or 0.0
    volumes = m.volumes_ml
    yield "aerated + ground glass + solid = lung", volumes.aerated + volumes.lesion, volumes.lung
    for what, parts in (("left + right", m.sides), ("upper + middle + lower", m.zones)):
        yield f"{what} = lung", sum(part.lung for part in parts.values()), volumes.lung
        yield f"{what} = lesion", sum(part.lesion for part in parts.values()), volumes.lesion
        yield f"{what} = solid", sum(part.solid for part in parts.values()), volumes.solid
    yield "HU bins = lung", sum(m.hu_bins_ml.values()), volumes.lung
    for rule, split in m.components_by_rule.items():
        parts_ml = split.ground_glass_ml + split.solid_ml + split.lesion_below_ml + split.lesion_above_ml
        yield f"components by {rule} = lesion", parts_ml, volumes.lesion
    chosen = m.components_by_rule[m.component_rule]
    yield "solid by the chosen rule", chosen.solid_ml, volumes.solid
    yield "ground glass by the chosen rule", chosen.ground_glass_ml, volumes.ground_glass
    if delivered.side_kji is not None:
        unsided = (delivered.side_kji == Side.NONE) & (delivered.labels_kji > 0)
        yield "lung without a side", np.count_nonzero(unsided) * delivered.grid.voxel_ml, 0.0


def _lobe_identities(lobes: LobeMeasurement, delivered: TissueMap) -> Iterator[tuple[str, float, float]]:
    for tissue in (Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED):
        name = tissue.name.lower()
        counted = np.count_nonzero(delivered.labels_kji == tissue) * delivered.grid.voxel_ml
        yield f"{name} of the lobes", sum(getattr(v, name) for v in lobes.volumes_ml.values()), counted
