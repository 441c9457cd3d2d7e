"""To the network's grid and back to the scanner's, on a GPU."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from volumetry.domain import Tissue
from volumetry.segment.resampling import PlaneBox
from volumetry.segment.thresholds import Cuts

_PLANES_AT_ONCE = 32


def shrunk(volume_kji: NDArray[np.float32], shape_kji: tuple[int, int, int], device: str) -> NDArray[np.float32]:
    """What `shrink` makes of an axial volume, computed on a device of torch.

    HU differ by less than 0.01 from those of the CPU.

    Parameters
    ----------
    volume_kji
        HU on the scanner's grid.
    shape_kji
        Of the network's grid.
    device
        Of torch.

    Returns
    -------
    NDArray[np.float32]
        HU, of `shape_kji`.
    """
    slices, rows, columns = shape_kji
    with torch.inference_mode():
        parts = (volume_kji[k : k + _PLANES_AT_ONCE] for k in range(0, len(volume_kji), _PLANES_AT_ONCE))
        there = (torch.from_numpy(np.ascontiguousarray(part))[:, None].to(device) for part in parts)
        in_plane = torch.cat([_resized(planes, (rows, columns)) for planes in there])
        # Rows become a batch, so that slices and columns are the two axes that are resized.
        found = in_plane if slices == len(volume_kji) else _resized(in_plane.transpose(0, 2), (slices, columns))
        axial = found if slices == len(volume_kji) else found.transpose(0, 2)
        return axial[:, 0].contiguous().cpu().numpy()


def _resized(planes_nji: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Anti-aliased as Pillow does it: linear where a plane grows, weighted by area where it shrinks."""
    return torch.nn.functional.interpolate(
        planes_nji, size=size, mode="bilinear", align_corners=False, antialias=True
    )


def labelled_planes(
    channels_ckji: NDArray[np.float16],
    shape_kji: tuple[int, int, int],
    box: PlaneBox,
    cuts: Cuts,
    device: str,
) -> Iterator[NDArray[np.uint8]]:
    """What `labelled` makes of each of `native_planes`, computed on a device of torch.

    Probabilities differ by less than 1e-5 from those of the CPU, so that single voxels at a threshold may.

    Parameters
    ----------
    channels_ckji
        Probabilities of lung, lesion and solid on the network's grid.
    shape_kji
        Of the scanner's grid.
    box
        Rows and columns of it that are wanted.
    cuts
        From which probability on a voxel is lung, lesion, solid.
    device
        Of torch.

    Yields
    ------
    NDArray[np.uint8]
        Values of `Tissue`, (j, i) of the box, plane after plane.
    """
    coarse = channels_ckji.shape[1]
    there = torch.from_numpy(channels_ckji).to(device)
    with torch.inference_mode():
        for k in range(shape_kji[0]):
            position = min(max((k + 0.5) * coarse / shape_kji[0] - 0.5, 0.0), coarse - 1.0)
            below = min(int(position), max(coarse - 2, 0))
            weight = position - below
            plane = there[:, below].float()
            if weight > 0:
                plane = (1 - weight) * plane + weight * there[:, below + 1].float()
            grown = _resized(plane[None], (shape_kji[1], shape_kji[2]))[0]
            yield _labelled(grown[:, box[0], box[1]], cuts).cpu().numpy()


def _labelled(plane: torch.Tensor, cuts: Cuts) -> torch.Tensor:
    lung, lesion, solid = plane
    labels = torch.where(lung >= cuts.lung, int(Tissue.AERATED), int(Tissue.OUTSIDE)).to(torch.uint8)
    diseased = lesion >= cuts.lesion
    labels[diseased] = int(Tissue.GROUND_GLASS)
    labels[diseased & (solid >= cuts.solid)] = int(Tissue.SOLID)
    return labels
