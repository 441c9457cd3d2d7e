"""Lung masks of HU scans without disease, by threshold: a truth for training where nobody drew one.

Right where lung is aerated, which is why only slices that a reader called free of disease use it.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetry.domain import Vector

CHEST_WALL_HU = -300
AERATED_HU = -500
AIRWAY_HU = -930
MIN_LUNG_ML = 300.0
MAX_AIRWAY_ML = 150.0
MIN_AIRWAY_MM = 50.0
MAX_SEEDS = 30
BLANKET_MM = 3.0


def threshold_lungs(
    hu_kji: NDArray[np.float32], spacing_kji_mm: Vector, thin_mm: float = BLANKET_MM
) -> NDArray[np.bool_]:
    """Both lungs of an axial volume (k to the head, j to the back); no airways, no stomach, no outside air.

    Parameters
    ----------
    hu_kji
        An axial volume: axes to the head, the back, the patient's left.
    spacing_kji_mm
        Its voxel size.
    thin_mm
        Half of what is no body, as blankets are, if it is as thin; less for a patient whose chest wall is thin.

    Returns
    -------
    A mask; small vessels are inside it.
    """
    body = _body(hu_kji, spacing_kji_mm, thin_mm)
    air = body & (hu_kji < AERATED_HU)
    voxel_ml = float(np.prod(spacing_kji_mm)) / 1000
    airway = _airway(hu_kji, air, spacing_kji_mm)
    lungs = _opened(air & ~airway)
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(_image(lungs)), int(MIN_LUNG_ML / voxel_ml))
    kept = sitk.GetArrayFromImage(labels)
    result = np.zeros(lungs.shape, bool)
    for label in (1, 2):
        # Stomach and bowel gas lie low and are far smaller than a lung, so the two largest bodies are the lungs.
        result |= kept == label
    return _closed(result, spacing_kji_mm) & body & ~airway


def body_and_airway(
    hu_kji: NDArray[np.float32], spacing_kji_mm: Vector, thin_mm: float = BLANKET_MM
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The patient with what the skin encloses, and the airways with their walls as far as air can be followed.

    The second is empty where no trachea was found. Parameters as for `threshold_lungs`.
    """
    body = _body(hu_kji, spacing_kji_mm, thin_mm)
    return body, _airway(hu_kji, body & (hu_kji < AERATED_HU), spacing_kji_mm)


def _body(hu_kji: NDArray[np.float32], spacing_kji_mm: Vector, thin_mm: float) -> NDArray[np.bool_]:
    """The largest dense body with what it encloses in each slice.

    Opening cuts blankets and the table off; closing first mends a chest wall that is thinner than that opening.
    """
    dense = sitk.BinaryMorphologicalClosing(_image(hu_kji > CHEST_WALL_HU), _disc(6.0, spacing_kji_mm))
    opened = sitk.BinaryMorphologicalOpening(dense, _disc(thin_mm, spacing_kji_mm))
    largest = _mask(sitk.RelabelComponent(sitk.ConnectedComponent(opened)) == 1)
    filled = np.empty(hu_kji.shape, bool)
    for k, plane in enumerate(largest):
        filled[k] = _mask(sitk.BinaryFillhole(_image(plane)))
    return filled


def _airway(hu_kji: NDArray[np.float32], air: NDArray[np.bool_], spacing_kji_mm: Vector) -> NDArray[np.bool_]:
    """Trachea and main bronchi with their walls; grown from round air in the middle of the upper body."""
    smooth = sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(hu_kji), 0.7))
    voxel_ml = float(np.prod(spacing_kji_mm)) / 1000
    for seed in islice(_trachea_seeds(air, spacing_kji_mm), MAX_SEEDS):
        for cut in range(AIRWAY_HU, -1000, -10):
            lumen = sitk.ConnectedThreshold(_image(air & (smooth < cut)), [seed[::-1]], 1, 1)
            grown = _mask(lumen)
            height_mm = spacing_kji_mm[0] * np.count_nonzero(grown.any(axis=(1, 2)))
            if grown.sum() * voxel_ml <= MAX_AIRWAY_ML and height_mm >= MIN_AIRWAY_MM:
                wall = [max(1, round(3.0 / step)) for step in spacing_kji_mm[::-1]]
                return _mask(sitk.BinaryDilate(lumen, wall))
    return np.zeros(air.shape, bool)


def _trachea_seeds(air: NDArray[np.bool_], spacing_kji_mm: Vector) -> Iterator[tuple[int, int, int]]:
    """Voxels that may lie in the trachea, from the head down."""
    pixel_cm2 = spacing_kji_mm[1] * spacing_kji_mm[2] / 100
    middle = air.shape[2] / 2
    for k in range(air.shape[0] - 1, air.shape[0] // 2, -1):
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(sitk.ConnectedComponent(_image(air[k])))
        for label in shapes.GetLabels():
            column, row = shapes.GetCentroid(label)
            seed = (k, round(row), round(column))
            central = abs(column - middle) * spacing_kji_mm[2] < 35
            sized = 0.8 < shapes.GetNumberOfPixels(label) * pixel_cm2 < 6
            if central and sized and shapes.GetRoundness(label) > 0.7 and air[seed]:
                yield seed


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return _mask(sitk.BinaryMorphologicalOpening(_image(mask), (1, 1, 0)))


def _closed(mask: NDArray[np.bool_], spacing_kji_mm: Vector) -> NDArray[np.bool_]:
    """Vessels up to about a centimetre become lung, as the readers who drew the labelled slices had it."""
    return _mask(sitk.BinaryMorphologicalClosing(_image(mask), _disc(5.0, spacing_kji_mm)))


def _disc(radius_mm: float, spacing_kji_mm: Vector) -> list[int]:
    """Radii in SimpleITK's order (i, j, k) of a disc in the slice."""
    return [max(1, round(radius_mm / step)) for step in spacing_kji_mm[:0:-1]] + [0]


def _image(mask: NDArray[np.bool_]) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8))


def _mask(image: sitk.Image) -> NDArray[np.bool_]:
    return np.asarray(sitk.GetArrayFromImage(image) > 0)
