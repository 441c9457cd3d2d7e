"""Accounting: what must add up, checked on every run and not only in tests."""

import math
from collections.abc import Iterator

import numpy as np

from volumetry.domain import FLUID, LobeMeasurement, Measurement, Side, Tissue, TissueMap
from volumetry.errors import SegmentationError

_TISSUES = {t.name.lower(): t for t in (Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)}


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
    counted = _ml_by_label(delivered)
    for name, label in _TISSUES.items():
        yield f"{name} of the mask", counted[label], getattr(m.volumes_ml, name)
    yield "fluid of the mask", counted[FLUID], m.fluid_ml or 0.0
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
        unsided = sum(
            np.count_nonzero((sides == Side.NONE) & (labels > 0))
            for sides, labels in zip(delivered.side_kji, delivered.labels_kji, strict=True)
        )
        yield "lung without a side", unsided * delivered.grid.voxel_ml, 0.0


def _lobe_identities(lobes: LobeMeasurement, delivered: TissueMap) -> Iterator[tuple[str, float, float]]:
    counted = _ml_by_label(delivered)
    for name, label in _TISSUES.items():
        in_lobes = sum(getattr(volumes, name) for volumes in lobes.volumes_ml.values())
        yield f"{name} of the lobes", in_lobes, counted[label]


def _ml_by_label(delivered: TissueMap) -> dict[int, float]:
    """Volume of each label of the delivered mask, counted section by section: a scan can have 1000 of them."""
    voxels = dict.fromkeys((*_TISSUES.values(), FLUID), 0)
    for k, labels in enumerate(delivered.labels_kji):
        for label in _TISSUES.values():
            voxels[label] += int(np.count_nonzero(labels == label))
        if delivered.fluid_kji is not None:
            voxels[FLUID] += int(np.count_nonzero(delivered.fluid_kji[k]))
    return {label: count * delivered.grid.voxel_ml for label, count in voxels.items()}
