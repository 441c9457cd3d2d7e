"""The list of HU scans that ``volumetry evaluate --scans`` judges a model on: TOML in, checked rows out.

::

    [[scan]]
    path = "hrct/covid-p001"                # DICOM folder, or a NIfTI volume in HU; relative to this file
    infected_csv = "hrct/covid-p001.csv"    # columns slice_from_top, infected (0 or 1), one row per slice

    [[scan]]
    path = "hrct/normal-001"
    normal = true                           # no disease: what is called lesion is false; lesions are put in

    [[scan]]
    path = "lungs/id001.nii.gz"
    lung_mask = "lungs/id001-mask.nii.gz"   # on the same grid
    mask_above = 127                        # what is higher is lung; 0 by default

    [planted]                               # optional: what is put into each normal scan
    volumes_ml = [5, 20, 50, 100]
    levels_hu = [-600, -450, 20]
    places = 3                              # how often each, at random places of the lungs
    realistic = 1                           # whole scans of drawn disease
    seed = 1
"""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import Field, model_validator

from volumetry.config import Config
from volumetry.domain import CtScan, Grid, SeriesInfo
from volumetry.errors import InputError
from volumetry.scan import read_scan
from volumetry.storage.toml_file import Section, load_toml

HU_RANGE = (-1024.0, 3071.0)
"""What 12 bits hold; resampling rings beyond it."""


class ListedScan(Section):
    """One scan and what is known of it."""

    path: str = Field(min_length=1)
    name: str = ""
    infected_csv: str = ""
    normal: bool = False
    lung_mask: str = ""
    mask_above: float = 0.0

    @property
    def label(self) -> str:
        """Its name in the result: as given, else the file's or folder's up to the first dot."""
        return self.name or Path(self.path).name.split(".")[0]


class Planted(Section):
    """Which lesions are put into each normal scan: every volume at every density and place, one at a time."""

    volumes_ml: tuple[float, ...] = (5.0, 20.0, 50.0, 100.0)
    levels_hu: tuple[float, ...] = (-600.0, -450.0, 20.0)
    places: int = Field(default=3, gt=0)
    realistic: int = Field(default=1, ge=0)
    seed: int = Field(default=1, ge=0)


class ScanList(Section):
    """The file as a whole."""

    scan: tuple[ListedScan, ...] = Field(min_length=1)
    planted: Planted = Planted()

    @model_validator(mode="after")
    def _names_differ(self) -> "ScanList":
        names = [scan.label for scan in self.scan]
        if len(set(names)) < len(names):
            raise ValueError("two scans have the same name; tell them apart by `name`")
        return self


def read_scan_list(path: Path) -> ScanList:
    """The list in a file.

    Raises
    ------
    ConfigError
        If it is missing or not TOML, or a key is unknown or out of range.
    """
    return load_toml(path, ScanList, hint="docs/training.md shows what a list states about each scan.")


def read_listed(path: Path, config: Config) -> CtScan:
    """A DICOM folder through the whole gate, or a NIfTI volume in HU as it is.

    Raises
    ------
    InputError
        If it cannot be read; `ScanRefusedError` if the gate refuses it.
    """
    if path.is_dir():
        return read_scan(path, config)
    image = _volume(path)
    hu = np.clip(sitk.GetArrayFromImage(image).astype(np.float32), *HU_RANGE)
    grid = _grid(image)
    return CtScan(hu, grid, SeriesInfo("1.0", grid.shape_kji[0], grid.spacing_kji_mm))


def read_volume_on(path: Path, grid: Grid) -> NDArray[np.generic]:
    """A volume's stored values on a scan's own grid; raises InputError if it lies on another."""
    image = _volume(path)
    lies_on = _grid(image)
    if lies_on.shape_kji != grid.shape_kji or not np.allclose(lies_on.affine_ras, grid.affine_ras, atol=1e-2):
        raise InputError(f"{path.name} lies on another grid than its scan")
    return np.asarray(sitk.GetArrayFromImage(image))


def read_lung_mask(path: Path, above: float, grid: Grid) -> NDArray[np.bool_]:
    """A given lung mask on the scan's own grid; raises InputError if it lies on another."""
    image = _volume(path)
    if not np.allclose(_grid(image).affine_ras, grid.affine_ras, atol=1e-2):
        raise InputError(f"{path.name} lies on another grid than its scan")
    mask: NDArray[np.bool_] = sitk.GetArrayFromImage(image) > above
    if mask.shape != grid.shape_kji:
        raise InputError(f"{path.name} lies on another grid than its scan")
    if not mask.any():
        raise InputError(f"{path.name} holds nothing above {above:g}", hint="Set mask_above to its lung's value.")
    return mask


def _volume(path: Path) -> sitk.Image:
    if not path.is_file():
        raise InputError(f"{path.name} is not there")
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as wrong:
        raise InputError(f"{path.name}: not a readable volume") from wrong


def _grid(image: sitk.Image) -> Grid:
    if image.GetDimension() != 3:
        raise InputError("a volume has three axes")
    columns, rows, slices = image.GetSize()
    i_mm, j_mm, k_mm = image.GetSpacing()
    i, j, k = (tuple(float(x) for x in axis) for axis in np.array(image.GetDirection()).reshape(3, 3).T)
    x, y, z = image.GetOrigin()
    direction = tuple((axis[0], axis[1], axis[2]) for axis in (k, j, i))
    return Grid((slices, rows, columns), (k_mm, j_mm, i_mm), (x, y, z), (direction[0], direction[1], direction[2]))
