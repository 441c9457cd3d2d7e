"""Everything a model learns from, and the held-out part it is judged by, as pictures in memory."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from volumetry.config import load_config
from volumetry.domain import Grid, Vector
from volumetry.errors import InputError
from volumetry.scan import read_scan
from volumetry.segment.preprocess import InputRecipe, Plane, fitted_shape, pictures_of, ready_made, resize
from volumetry.training.chest_slices import chest_samples, judged_samples, read_chest_slices
from volumetry.training.config import Data, Masked, Scan, Slices, TrainConfig
from volumetry.training.continued import looks_of
from volumetry.training.drawn_thorax import drawn_thorax
from volumetry.training.faint import FAINT, faint_volumes
from volumetry.training.filled import FILLED, Drawn, filled_volumes
from volumetry.training.labelled_slices import case_of, open_slices
from volumetry.training.phantom_volumes import phantom_volumes
from volumetry.training.samples import AERATED, SOME_LUNG, Sample
from volumetry.training.shown import Looks, dependent_haze, on_network_grid, sample_of, varied
from volumetry.training.synthesis import Lesions, with_lesions
from volumetry.training.threshold_lungs import threshold_lungs

SCAN, SYNTHETIC = "scan", "synthetic"
"""Piles of HU scans: as they are, and with lesions drawn in."""
MASK_LEVEL = 127
HU_RANGE = (-1024.0, 3071.0)


@dataclass(frozen=True)
class Bank:
    """Samples to learn from and samples to be judged by.

    Parameters
    ----------
    training, held_out
        No slice is in both.
    shares
        How often each kind is drawn, not necessarily adding up to one.
    """

    training: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    shares: dict[str, float] = field(default_factory=dict)

    @cached_property
    def piles(self) -> dict[str, list[list[Sample]]]:
        """Training samples by kind, then by group."""
        piles: dict[str, dict[str, list[Sample]]] = {}
        for sample in self.training:
            piles.setdefault(sample.kind, {}).setdefault(sample.group, []).append(sample)
        return {kind: list(groups.values()) for kind, groups in piles.items()}

    @property
    def training_cases(self) -> dict[str, list[str]]:
        """Groups learned from, by kind; the card lists them."""
        seen: dict[str, set[str]] = {}
        for sample in self.training:
            seen.setdefault(sample.kind, set()).add(sample.group)
        return {kind: sorted(groups) for kind, groups in sorted(seen.items())}


def build_bank(config: TrainConfig, root: Path, exact_window: bool = False) -> Bank:
    """Read all data that the configuration names; the same configuration gives the same dataset.

    Parameters
    ----------
    config
        Of the training run.
    root
        Data root.
    exact_window
        Whether scans are shown in the window in which they are measured, as some rounds want.

    Returns
    -------
    Bank
        Training and held-out samples, and how often each kind is drawn.

    Raises
    ------
    InputError
        If a dataset is missing or not what the configuration says.
    ModelError
        If the model that the run continues is not there.
    """
    looks = replace(looks_of(config), exact_window=exact_window)
    recipe, data = looks.recipe, config.data
    training: list[Sample] = []
    held_out: list[Sample] = []
    shares: dict[str, float] = {}
    for spec in data.slices:
        for sample, judged in _slices(spec, root, recipe):
            (held_out if judged else training).append(sample)
            shares[sample.kind] = spec.share
    # Filled lungs and faint haze are drawn with generators of their own, so that nothing else changes with them.
    rng, filling, faint = (np.random.default_rng([config.schedule.seed, pile]) for pile in (1, 5, 8))
    for scan in data.scans:
        for sample, judged in _scan(scan, root, looks, data, (rng, filling, faint)):
            (held_out if judged else training).append(sample)
    for masked in data.masked:
        training += _masked(masked, root, looks, data, filling)
    for number, chest in enumerate(data.chests):
        own = np.random.default_rng([config.schedule.seed, 6, number])
        slices = read_chest_slices(chest, root, recipe)
        if chest.held_out:
            held_out += judged_samples(slices, looks, own)
        else:
            training += chest_samples(chest, slices, looks, own)
    training += _phantoms(data.phantom_slices, recipe, rng)
    training += phantom_volumes(data.phantom_volumes, looks, config.schedule.seed)
    shares |= {SCAN: data.scan_share, SYNTHETIC: data.synthetic_share}
    shares |= {"masked": data.masked_share, "phantom": data.phantom_share}
    present = {sample.kind for sample in training} - {FILLED, FAINT}  # their shares belong to rounds
    return Bank(
        tuple(training), tuple(held_out), {kind: share for kind, share in shares.items() if kind in present}
    )


def _slices(spec: Slices, root: Path, recipe: InputRecipe) -> Iterator[tuple[Sample, bool]]:
    folder = open_slices(root / spec.folder)
    seen = set()
    for name, picture, truth in folder:
        case = case_of(name)
        seen.add(case)
        shape = fitted_shape((picture.shape[0], picture.shape[1]), recipe)
        grey = resize(picture.astype(np.float32), shape) / np.float32(255)
        made = ready_made(grey, recipe)
        sample = sample_of(made, nearest(truth, shape), folder.name, case, name)
        yield sample, case in spec.held_out_cases
    missing = set(spec.held_out_cases) - seen
    if missing:
        raise InputError(f"{folder.name}: held-out cases that are not there: {sorted(missing)}")


def nearest(labels_ji: NDArray[np.uint8], shape_ji: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels at another size: the value at each new pixel's centre."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for old, new in zip(labels_ji.shape, shape_ji, strict=True)
    )
    return labels_ji[np.ix_(rows, columns)]


def _scan(
    spec: Scan,
    root: Path,
    looks: Looks,
    data: Data,
    rngs: tuple[np.random.Generator, np.random.Generator, np.random.Generator],
) -> Iterator[tuple[Sample, bool]]:
    """Slices without disease: as they are, and with lesions put into them; every other block is held out."""
    recipe, (rng, filling, faint) = looks.recipe, rngs
    scan = read_scan(root / spec.folder, load_config())
    hu_kji, spacing = on_network_grid(scan.hu_kji, scan.grid, recipe)
    lungs = threshold_lungs(hu_kji, spacing)
    infected = (
        infected_by_slice(root / spec.infected_csv, len(hu_kji))
        if spec.infected_csv
        else np.zeros(len(hu_kji), bool)
    )
    group = Path(spec.folder).name
    clean = [k for k in range(len(hu_kji)) if not infected[k]]
    judged = data.held_out(len(hu_kji))
    seen = looks.volume(hu_kji, spacing)
    for k in clean:
        truth = np.where(lungs[k], int(AERATED), 0).astype(np.uint8)
        if judged[k]:
            yield sample_of(pictures_of(seen.plane(k), recipe), truth, SCAN, group, f"{k:04d}"), True
            continue
        for style in range(3):
            plane = seen.plane(k) if style == 0 else dependent_haze(seen.plane(k), lungs[k], rng)
            yield varied(plane, truth, looks, rng, (SCAN, group, f"{k:04d} {style}")), False
    lungs[infected] = False
    chest = hu_kji, lungs, spacing
    yield from _synthetic(chest, group, judged, looks, data, rng)
    beside = binary_dilation(judged | infected)
    filled = filled_volumes(*chest, data.filled_volumes, filling, True)
    hazy = faint_volumes(*chest, data.faint_volumes, faint)
    for volumes, kind, own in ((filled, FILLED, filling), (hazy, FAINT, faint)):
        for n, k, plane, truth in _numbered(volumes, spacing, looks):
            if not beside[k]:
                yield varied(plane, truth, looks, own, (kind, group, f"{k:04d} {n}")), False


def _synthetic(
    chest: tuple[NDArray[np.float32], NDArray[np.bool_], Vector],
    group: str,
    judged: NDArray[np.bool_],
    looks: Looks,
    data: Data,
    rng: np.random.Generator,
) -> Iterator[tuple[Sample, bool]]:
    """Slices with lesions put into them: the first volume is for judging, the others for learning.

    Their slices never meet. `chest` is HU, lungs without disease, and voxel size.
    """
    hu_kji, lungs, spacing = chest
    for volume in range(data.synthetic_volumes + 1):
        sick_kji, drawn = with_lesions(hu_kji, lungs, spacing, rng, Lesions(count=(4, 16)))
        sick = looks.volume(sick_kji, spacing)
        for k in np.flatnonzero(lungs.any(axis=(1, 2))).tolist():
            name = (SYNTHETIC, group, f"{k:04d} {volume}")
            if judged[k] and volume == 0:
                yield sample_of(pictures_of(sick.plane(k), looks.recipe), drawn[k], *name), True
            elif not judged[k] and volume > 0:
                yield varied(sick.plane(k), drawn[k], looks, rng, name), False


def _numbered(
    volumes: Iterable[Drawn], spacing_kji_mm: Vector, looks: Looks
) -> Iterator[tuple[int, int, Plane, NDArray[np.uint8]]]:
    """Slices to learn from of drawn volumes: a running number, the slice's own, its HU and truth."""
    numbers = count()
    for sick, truth, slices in volumes:
        seen = looks.volume(sick, spacing_kji_mm)
        for k in slices:
            yield next(numbers), k, seen.plane(k), truth[k]


def _masked(
    spec: Masked,
    root: Path,
    looks: Looks,
    data: Data,
    filling: np.random.Generator,
) -> Iterator[Sample]:
    """A volume with a given lung mask: its disease is not known, inside the lung or out of it the truth is."""
    try:
        image, mask = (sitk.ReadImage(str(root / path)) for path in (spec.image, spec.mask))
    except RuntimeError as wrong:
        raise InputError(f"{Path(spec.image).name}: not a readable volume") from wrong
    grid = Grid(
        image.GetSize()[::-1],
        image.GetSpacing()[::-1],
        image.GetOrigin(),
        tuple(np.array(image.GetDirection()).reshape(3, 3).T[::-1]),
    )
    recipe = looks.recipe
    hu = np.clip(sitk.GetArrayFromImage(image).astype(np.float32), *HU_RANGE)
    hu_kji, spacing = on_network_grid(hu, grid, recipe)
    given, _ = on_network_grid((sitk.GetArrayFromImage(mask) > MASK_LEVEL).astype(np.float32), grid, recipe)
    lungs = given >= 0.5
    group = Path(spec.image).name.split("-")[0]
    seen = looks.volume(hu_kji, spacing)
    for k in range(len(hu_kji)):
        truth = np.where(lungs[k], int(SOME_LUNG), 0).astype(np.uint8)
        yield sample_of(pictures_of(seen.plane(k), recipe), truth, "masked", group, f"{k:04d}")
    volumes = filled_volumes(hu_kji, lungs, spacing, data.filled_volumes, filling, False)
    for n, k, plane, truth in _numbered(volumes, spacing, looks):
        yield varied(plane, truth, looks, filling, (FILLED, group, f"{k:04d} {n}"))


def _phantoms(slices: int, recipe: InputRecipe, rng: np.random.Generator) -> Iterator[Sample]:
    for n in range(slices):
        hu, truth = drawn_thorax(rng)
        yield sample_of(pictures_of(hu, recipe), truth, "phantom", f"{n:04d}", "0")


def infected_by_slice(table: Path, slices: int) -> NDArray[np.bool_]:
    """A reader's yes or no per axial slice, feet first; the table counts from the head.

    Raises
    ------
    InputError
        If the table does not have one row per slice.
    """
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {int(row["slice_from_top"]): row["infected"] == "1" for row in csv.DictReader(stream)}
    if sorted(rows) != list(range(slices)):
        raise InputError(f"{table.name}: {len(rows)} rows for {slices} slices on the network's grid")
    return np.array([rows[slices - 1 - k] for k in range(slices)])
