"""Which scans and slices are annotated, decisions about them, and the grid that the labels lie on."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from volumetry.domain import CtScan, Grid, Tissue, Vector, VoxelLabel
from volumetry.errors import InputError
from volumetry.image.nifti import read_nifti
from volumetry.image.orientation import AxialView, axial_view
from volumetry.storage.toml_file import Section, load_toml

PLAN = "annotated.toml"
SECOND_LOOK = "second-look"
"""Folder with the decisions of a second look, beside the first ones."""
NO_LIMIT_HU = (-1100.0, 3100.0)


class Label(VoxelLabel):
    """What a pixel of an annotated slice is; the first four are those of `Tissue`."""

    OUTSIDE = int(Tissue.OUTSIDE)
    LUNG = int(Tissue.AERATED)
    GROUND_GLASS = int(Tissue.GROUND_GLASS)
    SOLID = int(Tissue.SOLID)
    UNJUDGED = 255


LabelName = Literal["outside", "lung", "ground_glass", "solid", "unjudged"]
Point = tuple[float, float]


class AnnotatedScan(Section):
    """One scan and its slices: `first`, `first + step`, ... counted from the feet."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    path: str
    source: str
    terms: str
    first: int = Field(ge=0)
    step: int = Field(gt=0)
    count: int = Field(gt=0)
    thin_mm: float = Field(default=3.0, gt=0)
    """As `threshold_lungs` has it; less for a patient whose chest wall is thin."""

    @property
    def slices(self) -> tuple[int, ...]:
        """Indices in the axial view, from the feet."""
        return tuple(range(self.first, self.first + self.step * self.count, self.step))


class Plan(Section):
    """The scans of a folder of annotations."""

    scan: tuple[AnnotatedScan, ...] = Field(min_length=1)


class Decision(Section):
    """One stroke: a label for what lies in a polygon, or in proposed regions, and within limits of HU.

    Points are (x, y) in mm from the centre of the slice's first pixel, to the patient's left and to the back. The
    limits apply to the smoothed HU. Strokes are painted in the order of the file.
    """

    slice: int = Field(ge=0)
    label: LabelName
    polygon_mm: tuple[Point, ...] = ()
    regions: tuple[int, ...] = ()
    hu: Annotated[tuple[float, float], Field(description="Lowest and highest smoothed HU.")] = NO_LIMIT_HU
    anywhere: bool = False
    """Whether the stroke also paints what the proposed lung leaves out."""
    why: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> "Decision":
        if bool(self.polygon_mm) == bool(self.regions):
            raise ValueError("a stroke has either a polygon or regions")
        if self.polygon_mm and len(self.polygon_mm) < 3:
            raise ValueError("a polygon has at least three points")
        if self.hu[0] >= self.hu[1]:
            raise ValueError("hu is lowest, highest")
        return self


class Decisions(Section):
    """All strokes on one scan."""

    paint: tuple[Decision, ...] = ()


def read_plan(folder: Path) -> Plan:
    """The scans and slices of a folder of annotations; raises ConfigError if they cannot be read."""
    return load_toml(folder / PLAN, Plan)


def read_decisions(folder: Path, spec: AnnotatedScan) -> tuple[Decision, ...]:
    """The strokes on a scan; raises ConfigError if the file is wrong, or paints a slice that was not chosen."""
    strokes = load_toml(folder / f"{spec.name}.toml", Decisions).paint
    for stroke in strokes:
        if stroke.slice not in spec.slices:
            raise InputError(f"{spec.name}: slice {stroke.slice} was not chosen, {PLAN} has {spec.slices}")
    return strokes


def evenly_spaced(lung_kji: NDArray[np.bool_], count: int) -> tuple[int, int]:
    """The rule by which slices are chosen, before anything is known of them: even steps through the lungs.

    Parameters
    ----------
    lung_kji
        Lungs, (k, j, i).
    count
        How many slices.

    Returns
    -------
    first, step
        The middle ones of `count` steps from the lowest to the highest slice with lung.

    Raises
    ------
    InputError
        If fewer slices than `count` have lung.

    Examples
    --------
    >>> evenly_spaced(np.ones((30, 1, 1), bool), 3)
    (4, 10)
    """
    (present,) = np.nonzero(lung_kji.any(axis=(1, 2)))
    extent = int(present[-1] - present[0]) + 1
    step = extent // count
    if step == 0:
        raise InputError(f"{extent} slices with lung are fewer than {count}")
    return int(present[0]) + (extent - (count - 1) * step - 1) // 2, step


def label_grid(grid: Grid, spec: AnnotatedScan) -> Grid:
    """Where the labels of a scan's chosen slices lie: evenly spaced slices of the scan's axial view.

    Raises
    ------
    InputError
        If the scan does not have the slices.
    """
    view = axial_view(grid)
    if spec.slices[-1] >= grid.shape_kji[view.axes[0]]:
        raise InputError(
            f"{spec.name} has {grid.shape_kji[view.axes[0]]} slices; slice {spec.slices[-1]} is asked for"
        )
    spacing = view.spacing_mm(grid)
    directions = [
        _turned(grid.direction_lps[axis], flip) for axis, flip in zip(view.axes, view.flipped, strict=True)
    ]
    x, y, z = (float(at) for at in grid.lps_mm(_first_voxel(grid, view, spec.first)))
    return Grid(
        (spec.count, grid.shape_kji[view.axes[1]], grid.shape_kji[view.axes[2]]),
        (spacing[0] * spec.step, spacing[1], spacing[2]),
        (x, y, z),
        (directions[0], directions[1], directions[2]),
    )


def chosen(array_kji: NDArray[np.uint8], grid: Grid, spec: AnnotatedScan) -> NDArray[np.uint8]:
    """The chosen slices of an array on the scan's grid, in the axial view."""
    return axial_view(grid).of(array_kji)[list(spec.slices)]


def read_labels(folder: Path, spec: AnnotatedScan, scan: CtScan) -> NDArray[np.uint8]:
    """The labels of a scan's chosen slices, (slice, to the back, to the left), values of `Label`.

    Raises
    ------
    InputError
        If they cannot be read, do not lie on the scan's slices, or hold another value.
    """
    voxels, affine = read_nifti(folder / f"{spec.name}.nii.gz")
    grid = label_grid(scan.grid, spec)
    if voxels.shape != grid.shape_kji or not np.allclose(affine, grid.affine_ras, atol=1e-2):
        raise InputError(f"the labels of {spec.name} do not lie on the chosen slices of its scan")
    if not np.isin(voxels, list(Label)).all():
        raise InputError(f"the labels of {spec.name} hold other values than {[int(label) for label in Label]}")
    return voxels.astype(np.uint8)


def _first_voxel(grid: Grid, view: AxialView, first: int) -> NDArray[np.float64]:
    index = np.zeros(3)
    for axis, flip, start in zip(view.axes, view.flipped, (first, 0, 0), strict=True):
        index[axis] = grid.shape_kji[axis] - 1 - start if flip else start
    return index


def _turned(direction: Vector, flip: bool) -> Vector:
    x, y, z = direction
    return (-x, -y, -z) if flip else direction
