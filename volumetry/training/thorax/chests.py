"""Chests to learn from, on a coarse grid: HU, which regions each voxel may lie in, and how much of it is lung."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from volumetry.domain import Vector
from volumetry.errors import InputError
from volumetry.training.thorax.config import ThoraxConfig

SUFFIX = ".safetensors"
_PACK = "Pack the chests with this configuration."
"""Of a chest within a file of packed ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """One chest on a coarse grid with axes to the head, the back and the patient's left.

    Parameters
    ----------
    hu_kji
        float32, means over what a voxel covers.
    regions_kji
        uint8, the set of regions that a voxel may lie in (`truth`); what most of the voxel is.
    lung_kji
        float32, which share of a voxel is lung.
    """

    name: str
    hu_kji: NDArray[np.float32]
    regions_kji: NDArray[np.uint8]
    lung_kji: NDArray[np.float32]
    spacing_kji_mm: Vector

    def __post_init__(self) -> None:
        if not self.hu_kji.shape == self.regions_kji.shape == self.lung_kji.shape:
            raise ValueError(f"{self.name}: HU, regions and lung are not on one grid")
        if self.regions_kji.size and self.regions_kji.min() < 1:
            raise ValueError(f"{self.name}: a voxel that may lie nowhere")


def load_chests(config: ThoraxConfig, source: Path, held_out: bool) -> Iterator[Chest]:
    """The chests that are learned from, or those that are kept to be judged by.

    Parameters
    ----------
    source
        The data root, or a file that `pack` made.
    """
    wanted = [spec for spec in config.data.chests if spec.held_out == held_out]
    if source.is_file():
        yield from (_unpacked(source, spec.name) for spec in wanted)
        return
    # A machine that has packed chests alone need not have what reads scans.
    from volumetry.training.thorax.chest_files import read_chest

    yield from (read_chest(spec, source, config) for spec in wanted)


def packed(chest: Chest) -> bytes:
    """A chest in few bytes: HU to 1, shares of lung to 1 in 255."""
    return save_arrays(
        {
            "hu": np.rint(chest.hu_kji).astype(np.int16),
            "regions": np.ascontiguousarray(chest.regions_kji),
            "lung": np.rint(chest.lung_kji * 255).astype(np.uint8),
            "spacing_mm": np.asarray(chest.spacing_kji_mm, np.float64),
        }
    )


def _unpacked(file: Path, name: str) -> Chest:
    try:
        with zipfile.ZipFile(file) as archive:
            stored = load_arrays(archive.read(f"{name}{SUFFIX}"))
    except KeyError as wrong:
        raise InputError(f"{file.name} does not hold {name}", hint=_PACK) from wrong
    except (zipfile.BadZipFile, SafetensorError) as wrong:
        raise InputError(f"{file.name} is no file of packed chests", hint=_PACK) from wrong
    k, j, i = (float(step) for step in stored["spacing_mm"])
    lung = stored["lung"].astype(np.float32) / np.float32(255)
    return Chest(name, stored["hu"].astype(np.float32), stored["regions"], lung, (k, j, i))
