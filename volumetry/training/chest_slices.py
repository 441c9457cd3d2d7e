"""Slices of whole chests in HU with a lung mask, as they are and with disease drawn into them.

A patient is learned from or judged by as a whole. The disease that a patient has is either labelled, as a tumour,
or lies in boxes that the configuration states, where nothing is known; elsewhere there is none. Where a mask does
not say whether a voxel is lung, as in a mediastinum, it is known not to be diseased. Of the lungs of a chest that
the configuration calls diseased nothing more is known: it teaches what lies beside them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from volumetry.config import load_config
from volumetry.domain import Vector
from volumetry.errors import InputError
from volumetry.image.orientation import axial_view
from volumetry.segment.preprocess import InputRecipe, Plane, pictures_of
from volumetry.segment.resampling import network_shape
from volumetry.training.config import ChestVolume
from volumetry.training.faint import FAINT, faint_volumes
from volumetry.training.filled import FILLED, filled_volumes
from volumetry.training.patterns import Lungs, with_patterns
from volumetry.training.samples import AERATED, SOLID, SOME_LUNG, Sample, Truth
from volumetry.training.scan_list import read_listed, read_volume_on
from volumetry.training.shown import Looks, dependent_haze, grained, sample_of, varied
from volumetry.training.threshold_lungs import body_and_airway

CHEST, PATTERNS, TUMOUR = "chest", "patterns", "tumour"
"""Piles: chests as they are, with diffuse disease drawn in, and slices through a labelled tumour."""
UNKNOWN_LUNG = 255
NOTHING_KNOWN = Truth.LUNG_UNKNOWN | Truth.LESION_UNKNOWN | Truth.SOLID_UNKNOWN
AROUND_TUMOUR = 3
"""Voxels around a tumour of which nothing is known: strands and haze that its readers left out."""
GRAIN_HU = (5.0, 70.0)


@dataclass(frozen=True, slots=True, eq=False)
class ChestSlices:
    """A chest on the network's grid with what is known of it.

    Parameters
    ----------
    lungs
        Lung that is known to be lung, with the disease in it.
    own
        uint8 bits of `Truth` that hold before anything is drawn.
    tumour
        Labelled disease.
    """

    name: str
    hu_kji: NDArray[np.float32]
    lungs: NDArray[np.bool_]
    own: NDArray[np.uint8]
    tumour: NDArray[np.bool_]
    spacing_kji_mm: Vector

    def known(self, drawn: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
        """Truth of a slice: what was drawn, and where the patient's own disease lies, what is known of that."""
        return np.where(self.own[k] == int(AERATED), drawn, self.own[k]).astype(np.uint8)


def read_chest_slices(spec: ChestVolume, root: Path, recipe: InputRecipe) -> ChestSlices:
    """A chest from its files.

    Raises
    ------
    InputError
        If a file is missing or not on its image's grid, or the image is not on the network's: labels are not
        resampled.
    """
    scan = read_listed(root / spec.image, load_config())
    view = axial_view(scan.grid)
    hu, spacing = view.of(scan.hu_kji), view.spacing_mm(scan.grid)
    if network_shape(hu.shape, spacing, recipe) != hu.shape:
        raise InputError(f"{spec.name}: its voxels are {spacing} mm, not the network's")
    mask = np.asarray(read_volume_on(root / spec.lungs, scan.grid), np.uint8)
    own_disease = np.zeros(mask.shape, bool)
    for k0, k1, j0, j1, i0, i1 in spec.own_disease:
        own_disease[k0:k1, j0:j1, i0:i1] = True
    tumour = np.zeros(mask.shape, bool)
    if spec.tumour:
        votes = np.asarray(read_volume_on(root / spec.tumour, scan.grid), np.uint8)
        own_disease |= binary_dilation(votes > 0, iterations=AROUND_TUMOUR)
        tumour = votes >= spec.tumour_from
    lungs, maybe, nothing_known, tumour = map(view.of, (mask == 1, mask == UNKNOWN_LUNG, own_disease, tumour))
    _, airway = body_and_airway(hu, spacing)
    own = np.where(lungs & ~airway, int(AERATED), 0)
    own = np.where(maybe, int(NOTHING_KNOWN if spec.diseased else Truth.LUNG_UNKNOWN), own)
    own = np.where(lungs & spec.diseased, int(SOME_LUNG), own)
    own = np.where(nothing_known, int(NOTHING_KNOWN), own)
    own = np.where(tumour, int(SOLID), own).astype(np.uint8)
    return ChestSlices(spec.name, hu, own == int(AERATED), own, tumour, spacing)


def chest_samples(
    spec: ChestVolume, chest: ChestSlices, looks: Looks, rng: np.random.Generator
) -> Iterator[Sample]:
    """Every slice of a chest as it is, a labelled tumour in three styles, and slices with disease drawn in."""
    hu_kji, name = chest.hu_kji, chest.name
    seen = looks.volume(hu_kji, chest.spacing_kji_mm)
    for k in range(len(hu_kji)):
        plane = seen.plane(k)
        plane = dependent_haze(plane, chest.lungs[k], rng) if rng.random() < 0.6 else plane
        yield varied(plane, chest.own[k], looks, rng, (CHEST, name, f"{k:04d}"))
    for k in np.flatnonzero(chest.tumour.any(axis=(1, 2))).tolist():
        for style in range(3):
            yield varied(
                _grained(seen.plane(k), rng), chest.own[k], looks, rng, (TUMOUR, name, f"{k:04d} {style}")
            )
    if not chest.lungs.any():
        return  # nothing is drawn where disease may hide
    yield from _drawn_samples(spec, chest, looks, rng)


def _drawn_samples(
    spec: ChestVolume, chest: ChestSlices, looks: Looks, rng: np.random.Generator
) -> Iterator[Sample]:
    """Half of the slices with lung of each volume with disease drawn in."""
    hu_kji, name = chest.hu_kji, chest.name
    with_lung = np.flatnonzero(chest.lungs.any(axis=(1, 2)))
    lungs = Lungs.of(chest.lungs, chest.spacing_kji_mm)
    for volume in range(spec.pattern_volumes):
        sick_kji, drawn = with_patterns(hu_kji, chest.lungs, lungs, rng)
        sick = looks.volume(sick_kji, chest.spacing_kji_mm)
        for k in with_lung[volume % 2 :: 2]:
            truth = chest.known(drawn[k], k)
            yield varied(_grained(sick.plane(k), rng), truth, looks, rng, (PATTERNS, name, f"{k:04d} {volume}"))
    drawn_into = hu_kji, chest.lungs, chest.spacing_kji_mm
    volumes = filled_volumes(*drawn_into, spec.filled_volumes, rng, True)
    n = 0
    for sick_kji, drawn, slices in volumes:
        sick = looks.volume(sick_kji, chest.spacing_kji_mm)
        for k in slices:
            if n % 2 == 0:
                truth = chest.known(drawn[k], k)
                yield varied(sick.plane(k), truth, looks, rng, (FILLED, name, f"{k:04d} {n}"))
            n += 1
    for volume, (sick_kji, drawn, slices) in enumerate(faint_volumes(*drawn_into, spec.faint_volumes, rng)):
        sick = looks.volume(sick_kji, chest.spacing_kji_mm)
        for k in slices[volume % 2 :: 2]:
            truth = chest.known(drawn[k], k)
            yield varied(_grained(sick.plane(k), rng), truth, looks, rng, (FAINT, name, f"{k:04d} {volume}"))


def judged_samples(chest: ChestSlices, looks: Looks, rng: np.random.Generator) -> Iterator[Sample]:
    """Every third slice with lung of a chest that is kept for judging, as it is, and with disease drawn in."""
    with_lung = np.flatnonzero(chest.lungs.any(axis=(1, 2)))[::3].tolist()
    sick_kji, drawn = with_patterns(chest.hu_kji, chest.lungs, Lungs.of(chest.lungs, chest.spacing_kji_mm), rng)
    seen, sick = (looks.volume(hu, chest.spacing_kji_mm) for hu in (chest.hu_kji, sick_kji))
    for k in with_lung:
        pictures = pictures_of(seen.plane(k), looks.recipe)
        yield sample_of(pictures, chest.own[k], CHEST, chest.name, f"{k:04d}")
        pictures = pictures_of(sick.plane(k), looks.recipe)
        yield sample_of(pictures, chest.known(drawn[k], k), PATTERNS, chest.name, f"{k:04d}")


def _grained(plane: Plane, rng: np.random.Generator) -> Plane:
    """Half of the slices in a noisier scan."""
    return plane if rng.random() < 0.5 else grained(plane, (0.4, 1.0), GRAIN_HU, rng)
