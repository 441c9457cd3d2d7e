"""Which planes of a scan a reader sees first.

A lesion is judged in the plane that shows most of it, so a plane must not win by what it alone shows: a slab of
one or two slices, as motion or a structure outside the lungs makes it. Its lesion counts as far as the planes
within 5 mm on both sides show as much. Slices of two thirds do not stand closer than 30 mm: at the border of the
thirds, both would show the same.

The slice of the solid component is shown to tell consolidation from what else is dense, so it is chosen among
voxels as dense as soft tissue: fat that was called solid does not choose it. A reader has told them apart: of a
reader's mask it is the slice with most of the label.

Lesion that the check SUSPECT_SOLID takes for an organ, a hilum, fat or bone chooses a plane only where there is no
other. A plane that shows some says so. So does a plane with consolidation where the hila lie, a plane of a scan
that is unlike those of the calibration, and the slice of a solid component so small that the model also finds as
much in chests without consolidation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from volumetry.deliver.people import READER
from volumetry.deliver.report.images import (
    LUNG_WINDOW,
    MEDIASTINAL_WINDOW,
    Chest,
    Picture,
    Window,
    chest_of,
    filled,
    in_window,
    pair,
    picture_size,
    unbroken,
)
from volumetry.domain import CtScan, Side, Tissue, TissueMap
from volumetry.image.coarse import sampled, strides
from volumetry.image.components import Mask, bodies_of, bounding_box
from volumetry.image.pictures import png_bytes
from volumetry.quality.suspect_solid import suspect_mask

_NEIGHBOURS_MM = 5.0
_APART_MM = 30.0
"""Between the slices of two thirds; a third of a third's height where that is less."""
_CONTACT_SHEET_PX = 192
_FAT_BELOW_HU = -30.0
"""Fat has -140 to -30 HU (PMC4043057); consolidation has more, but for its blurred edges."""

_TRACE_ML = 10.0
"""The shipped model calls 1 to 9 mL solid in nearly normal chests (docs/validation.md, Whole chests)."""

_HILUM_UP, _HILUM_BACK, _HILUM_OUT = (0.30, 0.75), (0.35, 0.80), 0.55
"""Where vessels and nodes of the hila lie, of the lungs' height from below, of their depth from the front, of half
their width from the middle. Consolidation there cannot be told from them without a look, whatever its size."""
_LEAST_MM2 = 30.0
"""A vessel that matters in a picture; a round one of 6 mm."""

_DOUBT, _UNCALIBRATED = "SUSPECT_SOLID", "OUT_OF_CALIBRATION"
IN_DOUBT = f"a body flagged as possibly not disease ({_DOUBT})"

Pair = tuple[Picture, Picture]


def key_slices(chest: Chest, solid: str = "consolidation") -> list[Pair]:
    """Planes without and with the mask; none without the scan.

    An axial slice of each third of the lungs' height, from above; a coronal and a sagittal plane through the
    largest lesion; and the axial slice with most of the solid component in the mediastinal window.

    Parameters
    ----------
    solid
        What the solid component is called, from `volumetry.wording.solid_name`.
    """
    if chest.hu_zyx is None:
        return []
    lesion = chest.lesion_zyx
    return [
        *_thirds(chest, lesion),
        *_through_the_largest(chest, lesion),
        *_solid(chest, solid),
    ]


def chest_with_doubt(document: Mapping[str, Any], tissue: TissueMap, scan: CtScan | None) -> Chest | None:
    """The chest of a result, with what its findings and its reader say of the mask.

    Parameters
    ----------
    document
        result.json.
    tissue, scan
        The delivered mask, and its scan where there is one.

    Returns
    -------
    Chest or None
        None without lung.
    """
    suspect, codes = None, {flag["code"] for flag in document["flags"]}
    if scan is not None and _DOUBT in codes:
        suspect = suspect_mask(tissue, scan, document.get("blood_pool_hu"))
    chest = chest_of(scan, tissue, suspect)
    of_reader = document.get("reading") == READER
    return chest and replace(chest, of_reader=of_reader, uncalibrated=_UNCALIBRATED in codes)


def most_supported(areas: NDArray[np.integer], step_mm: float, allowed: NDArray[np.bool_] | None = None) -> int:
    """The plane whose neighbours show most too.

    Parameters
    ----------
    areas
        Lesion of each plane.
    step_mm
        From plane to plane.
    allowed
        Planes that may be taken, at least one; all by default.

    Returns
    -------
    int
        Index of the plane with the largest least area within 5 mm on both sides, at least one plane; of those
        that are equal, the one with the largest area.

    Examples
    --------
    A slab that neither neighbour shows loses against a lesion.

    >>> most_supported(np.array([0, 90, 0, 0, 40, 50, 45, 0]), 5.0)
    5
    """
    reach = max(1, round(_NEIGHBOURS_MM / step_mm))
    supported = ndimage.minimum_filter1d(areas, 2 * reach + 1, mode="nearest")
    taken = np.arange(len(areas)) if allowed is None else np.flatnonzero(allowed)
    return int(taken[np.lexsort((areas[taken], supported[taken]))[-1]])


def _thirds(chest: Chest, lesion: Mask) -> Iterator[Pair]:
    low, high = chest.lung_planes
    z_mm, y_mm, x_mm = chest.spacing_zyx_mm
    areas = np.count_nonzero(lesion, axis=(1, 2))
    for name, (above_low, what) in thirds(_areas(chest, lesion)[low:high], z_mm).items():
        z = low + above_low
        area = f" ({areas[z] * y_mm * x_mm / 100:.1f} cm²)" if areas[z] else ""
        yield _captioned(chest, (0, z), f"{name} third, {what}{area}: {chest.slice_places[z]}")


def _areas(chest: Chest, lesion: Mask) -> NDArray[np.int64]:
    """What chooses an axial plane: its lesion, of which any that no check doubts outweighs all that one does."""
    areas: NDArray[np.int64] = np.count_nonzero(lesion, axis=(1, 2)).astype(np.int64)
    if chest.suspect_zyx is not None:
        areas += (areas.max() + 1) * np.count_nonzero(lesion & ~chest.suspect_zyx, axis=(1, 2))
    return areas


def _captioned(chest: Chest, plane: tuple[int, int], caption: str, window: Window = LUNG_WINDOW) -> Pair:
    """A plane with its caption, which says what of the lesion that it shows is in doubt."""
    if shows_doubt(chest, plane):
        caption = f"{caption}; includes {IN_DOUBT}"
    if _shows_a_hilum(chest, plane):
        caption = f"{caption}; what is dense at a hilum may be vessels"
    axis, at = plane
    if chest.uncalibrated and np.moveaxis(chest.lesion_zyx, axis, 0)[at].any():
        caption = f"{caption}; disease is uncertain here ({_UNCALIBRATED})"
    return pair(chest, plane, caption, window)


def _shows_a_hilum(chest: Chest, plane: tuple[int, int]) -> bool:
    """Whether a plane shows solid lesion of the network where the hila lie, as shares of both lungs' box."""
    box = bounding_box(chest.mask_zyx)
    if chest.of_reader or box is None:
        return False
    up, back, across = (
        (np.arange(size) - along.start) / max(1, along.stop - 1 - along.start)
        for size, along in zip(chest.mask_zyx.shape, box, strict=True)
    )
    at_hilum = (
        ((up >= _HILUM_UP[0]) & (up <= _HILUM_UP[1]))[:, None, None]
        & ((back >= _HILUM_BACK[0]) & (back <= _HILUM_BACK[1]))[:, None]
        & (abs(2 * across - 1) <= _HILUM_OUT)
    )
    axis, at = plane
    shown, within = (np.moveaxis(array, axis, 0)[at] for array in (chest.mask_zyx, at_hilum))
    mm2 = float(np.prod(np.delete(chest.spacing_zyx_mm, axis)))
    return bool(np.count_nonzero((shown == Tissue.SOLID) & within) * mm2 >= _LEAST_MM2)


def shows_doubt(chest: Chest, plane: tuple[int, int]) -> bool:
    """Whether a plane, given as axis and index, shows lesion in doubt."""
    axis, at = plane
    return chest.suspect_zyx is not None and bool(np.moveaxis(chest.suspect_zyx, axis, 0)[at].any())


def thirds(areas: NDArray[np.integer], step_mm: float) -> dict[str, tuple[int, str]]:
    """A plane of each third of the height, from above, and what it shows; the most diseased third chooses first.

    Parameters
    ----------
    areas
        Lesion of each plane, from the feet to the head.
    step_mm
        From plane to plane.

    Returns
    -------
    dict[str, tuple[int, str]]
        Plane and words, by the third's name.

    Examples
    --------
    The disease at the border of two thirds is shown once; the upper one shows what it has elsewhere.

    >>> areas = np.array([0] * 28 + [95] * 2 + [90] * 2 + [0] * 8 + [20] * 4 + [0])
    >>> [(z, what) for z, what in thirds(areas, 5.0).values()]  # doctest: +NORMALIZE_WHITESPACE
    [(42, 'most continuous disease at least 25 mm from the other slices shown'),
     (29, 'most continuous disease'), (7, 'no disease segmented')]
    """
    edges = np.linspace(0, len(areas), 4).round().astype(int)
    parts = zip(("Upper", "Middle", "Lower"), edges[-2::-1], edges[:0:-1], strict=True)
    bounds = {name: (low, high) for name, low, high in parts if high > low}
    most = {name: low + most_supported(areas[low:high], step_mm) for name, (low, high) in bounds.items()}
    apart_mm = min(_APART_MM, len(areas) * step_mm / 9)
    planes = np.arange(len(areas))
    found: dict[str, tuple[int, str]] = {}
    for name in sorted(bounds, key=lambda name: -areas[most[name]]):
        low, high = bounds[name]
        far = np.ones(len(areas), bool)
        for z, _ in found.values():
            far &= abs(planes - z) * step_mm >= apart_mm
        diseased = far[low:high] & (areas[low:high] > 0)
        z = int(low + most_supported(areas[low:high], step_mm, diseased)) if diseased.any() else -1
        if z == most[name]:
            found[name] = (z, "most continuous disease")
        elif z >= 0:
            found[name] = (z, f"most continuous disease at least {apart_mm:.0f} mm from the other slices shown")
        else:
            left = low + np.flatnonzero(far[low:high])
            beyond = f" at least {apart_mm:.0f} mm from the other slices shown" if areas[low:high].any() else ""
            found[name] = (int(left[len(left) // 2]), f"no disease segmented{beyond}")
    return {name: found[name] for name in bounds}


def _through_the_largest(chest: Chest, lesion: Mask) -> Iterator[Pair]:
    lesion, which = _undoubted(chest, lesion)
    step = strides(chest.spacing_zyx_mm)
    found = bodies_of(sampled(lesion, step))
    if not len(found.sizes):
        return
    at = _middle(found.labels_kji == 1, [along.start for along in found.box], step)
    where_mm = chest.affine_lps @ [*at, 1.0]
    for axis, name in ((1, "Coronal"), (2, "Sagittal")):
        lung = _lung_at(chest, at[axis]) if name == "Sagittal" else ""
        # The position is that of the lesion: in a tilted or turned stack the rest of the plane lies elsewhere.
        place = unbroken(f"{'xyz'[2 - axis]} {where_mm[2 - axis]:.1f} mm")
        yield _captioned(chest, (axis, at[axis]), f"{name}{lung}, through the largest lesion{which}: {place}")


def _middle(body: Mask, first_zyx: Sequence[int], step_zyx: Sequence[int]) -> list[int]:
    """The planes along each axis that show most of a body of a thinned part of the chest."""
    at = []
    for axis in range(3):
        shown = np.count_nonzero(body, axis=tuple(n for n in range(3) if n != axis))
        at.append((int(shown.argmax()) + first_zyx[axis]) * step_zyx[axis])
    return at


def _lung_at(chest: Chest, x: int) -> str:
    """Which lung a sagittal plane runs through, for its caption: its borders do not show the side."""
    if chest.side_zyx is None:
        return ""
    right, left = (np.count_nonzero(chest.side_zyx[..., x] == side) for side in (Side.RIGHT, Side.LEFT))
    return "" if right == left else ", right lung" if right > left else ", left lung"


def _solid(chest: Chest, name: str) -> Iterator[Pair]:
    every: Mask = chest.mask_zyx == Tissue.SOLID
    solid, which = _undoubted(chest, every)
    if chest.hu_zyx is None or not solid.any():
        return
    trace = ""
    if chest.of_reader:
        z = int(np.count_nonzero(solid, axis=(1, 2)).argmax())
    else:
        dense = solid & (chest.hu_zyx >= _FAT_BELOW_HU)
        areas = np.count_nonzero(dense if dense.any() else solid, axis=(1, 2))
        z = most_supported(areas, chest.spacing_zyx_mm[0])
        if np.count_nonzero(every) * float(np.prod(chest.spacing_zyx_mm)) / 1000 < _TRACE_ML:
            trace = f"; less than {_TRACE_ML:g} mL in all, which may be a nodule, a vessel or the rim of an organ"
    window = f"{MEDIASTINAL_WINDOW.name} window, {MEDIASTINAL_WINDOW.text}"
    caption = f"Most {name}{which}, {window}: {chest.slice_places[z]}{trace}"
    yield _captioned(chest, (0, z), caption, MEDIASTINAL_WINDOW)


def _undoubted(chest: Chest, lesion: Mask) -> tuple[Mask, str]:
    """The lesion that no check doubts, and words for it; else all of it, without words."""
    if chest.suspect_zyx is None or not (lesion & chest.suspect_zyx).any():
        return lesion, ""
    sure: Mask = lesion & ~chest.suspect_zyx
    return (sure, " not in doubt") if sure.any() else (lesion, "")


def key_slice_png(scan: CtScan, tissue: TissueMap) -> bytes:
    """The axial slice with the most lesion (without lesion: the most lung), mask over it, for a contact sheet.

    Raises
    ------
    ValueError
        If there is no lung: what lies outside the lungs is not shown.
    """
    chest = chest_of(scan, tissue)
    if chest is None or chest.hu_zyx is None:
        raise ValueError("a map without lung has no key slice")
    lesion = np.count_nonzero(chest.lesion_zyx, axis=(1, 2))
    shown = lesion if lesion.any() else np.count_nonzero(chest.mask_zyx, axis=(1, 2))
    z = most_supported(shown, chest.spacing_zyx_mm[0])
    rgb = filled(in_window(chest.hu_zyx[z], LUNG_WINDOW), chest.mask_zyx[z]).round().astype(np.uint8)
    _, y_mm, x_mm = chest.spacing_zyx_mm
    longest_mm = max(rgb.shape[0] * y_mm, rgb.shape[1] * x_mm)
    size = picture_size(rgb.shape, y_mm, x_mm, longest_mm / _CONTACT_SHEET_PX)
    return png_bytes(np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)))
