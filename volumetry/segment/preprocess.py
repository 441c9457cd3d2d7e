"""Hounsfield units to the pictures the network was taught on; training and inference share every line of it.

Two pictures of a slice, as far as they can be had. The *enhanced* one: most labelled slices that exist are 8-bit
and contrast-enhanced one by one (min-max, then CLAHE), which cannot be undone, so a slice in HU is taken there
instead. It shows faint disease well, and hides how dense it is. The *window*: grey that is linear in HU, a lung
window, as reports print it.

Of a slice that lies in a scan, the network may also see what lies around it: the windows some millimetres *below*
and *above*, and where the network of the whole chest sees lung (*space*) and the organs beside it (*organs*). A
picture that cannot be had is left out, and training leaves each out now and then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.exposure import equalize_adapthist

GREY_LEVELS = 256
PictureKind = Literal["enhanced", "window", "below", "above", "space", "organs"]
CHEST_KINDS: tuple[PictureKind, ...] = ("space", "organs")
"""Probabilities that the network of the whole chest gives."""
NEIGHBOUR_MM = 4.0
"""How far below and above a slice its neighbours lie."""
BRIGHT_RIM = 0.5
"""Medians of the labelled sets' rims: 0.34 at most in whole enhanced slices, 0.66 at least in crops."""


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """How a scan or a slice becomes the network's input; stands on the model's card.

    Parameters
    ----------
    spacing_mm
        In-plane pixel size of the network's grid.
    slab_mm
        Slices thinner than three quarters of this are averaged to about this thickness.
    hu_low, hu_high
        HU are clipped to this range before the min-max of the slice, so that metal and padding do not set it.
    clahe_tiles, clahe_clip
        Tiles per side, and the clip limit in OpenCV's sense (multiples of a flat histogram).
    slice_side_px
        Ready-made slices whose longer side is larger are shrunk to this; smaller ones stay as they are.
    mean, deviation
        Subtracted from, and divided into, the picture's 0 to 1.
    pad_multiple
        The network halves its input so often that each side must be a multiple of this.
    window_low, window_high
        HU that are black and white in the window.
    inputs
        Which pictures the network takes, one channel each.
    enhance_scans
        Whether the enhanced picture is made of scans in HU too, and not of ready-made slices alone.

    Raises
    ------
    ValueError
        If a size is not positive, a range does not rise, or there is no picture.
    """

    spacing_mm: float = 1.4
    slab_mm: float = 2.0
    hu_low: float = -1024.0
    hu_high: float = 1200.0
    clahe_tiles: int = 8
    clahe_clip: float = 7.0
    slice_side_px: int = 320
    mean: float = 0.35
    deviation: float = 0.25
    pad_multiple: int = 16
    window_low: float = -1050.0
    window_high: float = 200.0
    inputs: tuple[PictureKind, ...] = ("enhanced", "window")
    enhance_scans: bool = True

    def __post_init__(self) -> None:
        if min(self.spacing_mm, self.slab_mm, self.deviation) <= 0 or self.hu_low >= self.hu_high:
            raise ValueError("an input recipe needs positive spacing, slab and deviation, and a rising HU range")
        if min(self.clahe_tiles, self.slice_side_px, self.pad_multiple) < 1 or self.clahe_clip <= 0:
            raise ValueError("an input recipe needs at least one tile, one pixel and a positive clip limit")
        if not self.inputs or self.window_low >= self.window_high:
            raise ValueError("an input recipe needs at least one picture and a rising window")
        if not self.enhance_scans and "window" not in self.inputs:
            raise ValueError("scans that are not enhanced need a window")


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Input channels of one slice; those that cannot be had are not there.

    Parameters
    ----------
    by_kind
        0 to 1, float32 (j, i).

    Raises
    ------
    ValueError
        If there is no picture, or their shapes differ.
    """

    by_kind: Mapping[PictureKind, NDArray[np.float32]]

    def __post_init__(self) -> None:
        if len({picture.shape for picture in self.by_kind.values()}) != 1:
            raise ValueError("a slice needs at least one picture, and one size")

    @property
    def shape_ji(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = next(iter(self.by_kind.values())).shape
        return rows, columns

    def of(self, kind: PictureKind) -> NDArray[np.float32] | None:
        """The picture of one kind.

        Parameters
        ----------
        kind
            One of the network's inputs.

        Returns
        -------
        NDArray[np.float32] or None
            0 to 1, (j, i); None where it cannot be had.
        """
        return self.by_kind.get(kind)

    def part(self, box_ji: tuple[slice, slice]) -> "Pictures":
        """Some rows and columns of all; each was made of the whole slice.

        Parameters
        ----------
        box_ji
            Rows and columns.

        Returns
        -------
        Pictures
            Of views.
        """
        return Pictures({kind: grey[box_ji] for kind, grey in self.by_kind.items()})

    def without(self, *kinds: PictureKind) -> "Pictures":
        """The same without some pictures.

        Parameters
        ----------
        kinds
            Those to leave out.

        Returns
        -------
        Pictures
            Of the others.
        """
        return Pictures({kind: grey for kind, grey in self.by_kind.items() if kind not in kinds})

    def mirrored(self) -> "Pictures":
        """The patient's left and right exchanged."""
        return Pictures({kind: grey[:, ::-1] for kind, grey in self.by_kind.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A slice of HU on the network's grid with what is known of what lies around it.

    Parameters
    ----------
    hu_ji
        HU, float32 (j, i).
    beside
        HU of the neighbours ``below`` and ``above``, as far as the scan reaches.
    chest
        What the network of the chest gives, 0 to 1, in the same pixels; by the kinds of `CHEST_KINDS`.
    """

    hu_ji: NDArray[np.float32]
    beside: Mapping[PictureKind, NDArray[np.float32]] = field(default_factory=dict)
    chest: Mapping[PictureKind, NDArray[np.float32]] = field(default_factory=dict)

    def changed(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> "Plane":
        """The same with other HU, first here, then in the neighbours."""
        here = change(self.hu_ji)
        return replace(self, hu_ji=here, beside={kind: change(hu_ji) for kind, hu_ji in self.beside.items()})

    def part(self, box_ji: tuple[slice, slice]) -> "Plane":
        """Some rows and columns."""
        beside, chest = (
            {kind: grey[box_ji] for kind, grey in layers.items()} for layers in (self.beside, self.chest)
        )
        return Plane(self.hu_ji[box_ji], beside, chest)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A scan on the network's grid; its slices know their neighbours.

    Parameters
    ----------
    hu_kji
        HU, float32, with axes to the head, the back and the patient's left.
    step
        From a slice to the neighbours that the network sees, in slices; 0 if it sees none. See `neighbour_step`.
    chest
        What the network of the chest gives, 0 to 1, on the same grid; by the kinds of `CHEST_KINDS`.
    """

    hu_kji: NDArray[np.float32]
    step: int = 0
    chest: Mapping[PictureKind, NDArray[np.floating]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hu_kji)

    def plane(self, k: int) -> Plane:
        """A slice with what lies around it."""
        places: dict[PictureKind, int] = {"below": k - self.step, "above": k + self.step}
        seen = self.step > 0
        beside = {kind: self.hu_kji[at] for kind, at in places.items() if seen and 0 <= at < len(self.hu_kji)}
        chest = {kind: np.asarray(grey[k], np.float32) for kind, grey in self.chest.items()}
        return Plane(self.hu_kji[k], beside, chest)


def neighbour_step(spacing_k_mm: float, recipe: InputRecipe) -> int:
    """Slices from one to its neighbours: the nearest to `NEIGHBOUR_MM`, not itself; 0 if the network sees none."""
    return max(1, round(NEIGHBOUR_MM / spacing_k_mm)) if "below" in recipe.inputs else 0


def pictures_of(plane: Plane | NDArray[np.float32], recipe: InputRecipe) -> Pictures:
    """All pictures of a slice on the network's grid; only those that the network takes are made.

    Parameters
    ----------
    plane
        On the network's grid; HU alone, (j, i), is a slice of which nothing around is known.
    recipe
        Which pictures, and how they are made.

    Returns
    -------
    Pictures
        Of the same shape.
    """
    if isinstance(plane, np.ndarray):
        plane = Plane(plane)
    linear = {"window": plane.hu_ji, **plane.beside}
    made: dict[PictureKind, NDArray[np.float32]] = {}
    for kind in recipe.inputs:
        if kind == "enhanced":
            if recipe.enhance_scans:
                made[kind] = slice_picture(plane.hu_ji, recipe)
        elif kind in linear:
            made[kind] = windowed(linear[kind], recipe.window_low, recipe.window_high)
        elif kind in plane.chest:
            made[kind] = plane.chest[kind]
    return Pictures(made)


def windowed(hu_ji: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Grey that is linear in HU, 0 to 1, black at `low` and white at `high`."""
    return np.asarray(np.clip((hu_ji - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def ready_made(grey_ji: NDArray[np.float32], recipe: InputRecipe) -> Pictures:
    """The pictures of a ready-made 8-bit slice.

    Whole slices that were contrast-enhanced have air along their rim, which stays dark. A bright rim means that
    the picture was cut inside the body, as prints of lung windows are; it is enhanced here as well.

    Parameters
    ----------
    grey_ji
        Grey 0 to 1, (j, i).
    recipe
        Which pictures, and how they are made.

    Returns
    -------
    Pictures
        Of the same shape.
    """
    rim = np.concatenate([grey_ji[0], grey_ji[-1], grey_ji[:, 0], grey_ji[:, -1]])
    if np.median(rim) >= BRIGHT_RIM and "window" in recipe.inputs:
        return Pictures({"enhanced": enhance(grey_ji, recipe), "window": grey_ji})
    return Pictures({"enhanced": grey_ji})


def slice_picture(hu_ji: NDArray[np.float32], recipe: InputRecipe) -> NDArray[np.float32]:
    """One slice of HU on the network's grid as the picture the network knows.

    Returns
    -------
    float32, the same shape, 0 to 1. A slice of one value is black.
    """
    clipped = np.clip(hu_ji, recipe.hu_low, recipe.hu_high)
    low, high = float(clipped.min()), float(clipped.max())
    if high <= low:
        return np.zeros(hu_ji.shape, np.float32)
    return enhance((clipped - low) / (high - low), recipe)


def enhance(picture_ji: NDArray[np.float32], recipe: InputRecipe) -> NDArray[np.float32]:
    """CLAHE of a picture with values 0 to 1, rounded to 8 bit first as the labelled slices were."""
    eight_bit = np.round(picture_ji * (GREY_LEVELS - 1)) / (GREY_LEVELS - 1)
    tile = tuple(max(1, -(-side // recipe.clahe_tiles)) for side in picture_ji.shape)
    # scikit-image's clip limit is a share of the tile's pixels, OpenCV's a multiple of a flat histogram's bin.
    limit = recipe.clahe_clip / GREY_LEVELS
    enhanced: NDArray[np.float32] = equalize_adapthist(
        eight_bit, kernel_size=tile, clip_limit=limit, nbins=GREY_LEVELS
    ).astype(np.float32)
    return enhanced


def resize(image_ji: NDArray[np.float32], shape_ji: tuple[int, int]) -> NDArray[np.float32]:
    """Linear when growing, area-weighted (triangle) when shrinking; the outer pixel edges stay where they are."""
    if image_ji.shape == shape_ji:
        return image_ji
    picture = Image.fromarray(np.ascontiguousarray(image_ji, np.float32))
    return np.asarray(picture.resize((shape_ji[1], shape_ji[0]), Image.Resampling.BILINEAR))


def fitted_shape(shape_ji: tuple[int, int], recipe: InputRecipe) -> tuple[int, int]:
    """Size at which the network looks at a ready-made slice of unknown spacing."""
    shrink = min(1.0, recipe.slice_side_px / max(shape_ji))
    return max(1, round(shape_ji[0] * shrink)), max(1, round(shape_ji[1] * shrink))


def network_batch(slices: Sequence[Pictures], recipe: InputRecipe) -> NDArray[np.float32]:
    """Slices of one size as a batch.

    Black below and right to the network's multiple; a picture that cannot be had is 0 after scaling: flat grey.

    Parameters
    ----------
    slices
        Of one size.
    recipe
        Which pictures, in which order, and their scaling.

    Returns
    -------
    NDArray[np.float32]
        (n, inputs, j, i).
    """
    step = recipe.pad_multiple
    rows, columns = (-(-side // step) * step for side in slices[0].shape_ji)
    batch = np.zeros((len(slices), len(recipe.inputs), rows, columns), np.float32)
    for n, pictures in enumerate(slices):
        for channel, kind in enumerate(recipe.inputs):
            picture = pictures.of(kind)
            if picture is not None:
                batch[n, channel] = scaled(np.float32(0), recipe)
                batch[n, channel, : picture.shape[0], : picture.shape[1]] = scaled(picture, recipe)
    return batch


def scaled(grey: NDArray[np.float32] | np.float32, recipe: InputRecipe) -> NDArray[np.float32]:
    """Grey 0 to 1 to about zero mean and unit deviation."""
    return np.asarray((grey - np.float32(recipe.mean)) / np.float32(recipe.deviation), np.float32)
