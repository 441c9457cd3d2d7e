"""Where the air of a CT lies on the HU scale.

Measured on block means, which noise moves little: a quantile of noisy voxels would find air that is not there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.image.coarse import block_mean
from volumetry.scan.pixels.padding import Mask

_BLOCK = 4
LARGE_BLOCK = 16
_LIGHT_HU = -600.0
_NEAR_MODE_HU, _SHARE_NEAR_MODE = 25.0, 0.45
"""Apart from noise, air lies close to its mode; of lung, which vessels run through, only about a quarter does."""
_DARKER_HU = 40.0
"""Nothing is darker than air: a rim this much lighter than the darkest places is lung, cut by a tight crop."""
_RIM_BLOCKS = 2
_DARKEST = 0.0005
_AIR_AT_MOST_HU, _MUCH_AIR, _EVEN_RIM = -940.0, 0.2, 0.7


@dataclass(frozen=True, slots=True)
class AirEvidence:
    """Two measures of air in HU.

    Parameters
    ----------
    outside_hu
        Mode of the air at the rim of the field of view; None if there is too little, as in a tight crop.
    darkest_hu
        The darkest places anywhere: in a crop the trachea, the bronchi, emphysema.
    """

    outside_hu: float | None
    darkest_hu: float
    inverted: bool
    """The rim is one dense, even thing, and much of what it surrounds is as light as air: a negative."""


def block_size(shape_kji: tuple[int, ...], most: int = _BLOCK) -> int:
    """Side of a block in pixels: smaller in small images, so that the rim still has many."""
    return max(1, min(most, min(shape_kji[1:]) // 16))


def block_medians(hu_kji: NDArray[np.float32]) -> NDArray[np.float32]:
    """Medians of larger blocks: what noise cut off at the lowest value leaves where it is, unlike a mean."""
    block = block_size(hu_kji.shape, LARGE_BLOCK)
    rows, columns = (n // block for n in hu_kji.shape[1:])
    medians = np.empty((len(hu_kji), rows, columns), np.float32)
    for k, plane in enumerate(hu_kji):
        blocks = plane[: rows * block, : columns * block].reshape(rows, block, columns, block)
        medians[k] = np.median(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=-1)
    return medians


def block_means(hu_kji: NDArray[np.float32] | Mask, block: int = 0) -> NDArray[np.float32]:
    """Means of small in-plane blocks; rows and columns that fill no block are left out."""
    block = block or block_size(hu_kji.shape)
    return block_mean(hu_kji, (1, block, block), whole=True)


def air_evidence(means: NDArray[np.float32], no_data_kji: Mask | None, block: int = 0) -> AirEvidence:
    """Look for air at the rim of the field of view, and for the darkest places in it.

    Parameters
    ----------
    means
        From `block_means`, or `block_medians` where the noise of air is cut off.
    block
        Side of the blocks in pixels, where it is not that of `block_means`.
    """
    valid = np.ones(means.shape, bool) if no_data_kji is None else block_means(no_data_kji, block) == 0
    rim = valid & ~_shrunk(valid)
    darkest_hu = _darkest(means, valid)
    outside_hu, noise_hu = _mode(means, rim)
    if outside_hu is not None and outside_hu - darkest_hu > _DARKER_HU + 0.4 * noise_hu:
        outside_hu = None
    return AirEvidence(outside_hu, darkest_hu, _is_negative(means, valid, rim))


def _is_negative(means: NDArray[np.float32], valid: NDArray[np.bool_], rim: NDArray[np.bool_]) -> bool:
    """Neither alone proves it: a tight crop may have an even rim of fat, and bullous lungs hold much air."""
    values = means[rim]
    if not values.size or np.count_nonzero(means[valid] < _AIR_AT_MOST_HU) < _MUCH_AIR * np.count_nonzero(valid):
        return False
    middle = float(np.median(values))
    return middle > _LIGHT_HU and float(np.mean(np.abs(values - middle) <= _NEAR_MODE_HU)) > _EVEN_RIM


def _darkest(means: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """A low quantile over blocks of blocks, of which the trachea still holds several."""
    rows, columns = (n // 2 * 2 for n in means.shape[1:])
    four = [(slice(None), slice(j, rows, 2), slice(i, columns, 2)) for j in (0, 1) for i in (0, 1)]
    pooled = sum((means[part] for part in four[1:]), means[four[0]]) / 4
    whole = np.logical_and.reduce([valid[part] for part in four])
    return float(np.quantile(pooled[whole] if whole.any() else pooled, _DARKEST))


def _shrunk(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without a rim of `_RIM_BLOCKS` in the plane; the image border counts as an edge."""
    beside = ndimage.generate_binary_structure(2, 1)[None]
    inside: NDArray[np.bool_] = ndimage.binary_erosion(valid, beside, iterations=_RIM_BLOCKS)
    return inside


def _mode(means: NDArray[np.float32], rim: NDArray[np.bool_]) -> tuple[float | None, float]:
    """Mode of the light blocks of the rim if they are much alike, and many; and how neighbours of them differ."""
    light = rim & (means < _LIGHT_HU)
    values = means[light]
    if values.size < max(20, 0.05 * np.count_nonzero(rim)):
        return None, 0.0
    neighbours = light[..., 1:] & light[..., :-1]
    steps = np.abs(np.diff(means, axis=2))[neighbours]
    noise_hu = float(np.median(steps)) if steps.size else 0.0
    lowest = float(values.min())
    counts = np.bincount((values - lowest).astype(np.int64))
    mode_hu = lowest + float(np.convolve(counts, np.ones(9), mode="same").argmax()) + 0.5
    near = np.count_nonzero(np.abs(values - mode_hu) <= _NEAR_MODE_HU + noise_hu)
    return (mode_hu if near >= _SHARE_NEAR_MODE * values.size else None), noise_hu
