"""From the network's grid back to the scanner's, on a GPU."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from volumetry.domain import Tissue
from volumetry.segment.resampling import PlaneBox
from volumetry.segment.thresholds import Cuts


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
            # Anti-aliased as Pillow does it: linear where the plane grows, weighted by area where it shrinks.
            grown = torch.nn.functional.interpolate(
                plane[None], size=shape_kji[1:], mode="bilinear", align_corners=False, antialias=True
            )[0]
            yield _labelled(grown[:, box[0], box[1]], cuts).cpu().numpy()


def _labelled(plane: torch.Tensor, cuts: Cuts) -> torch.Tensor:
    lung, lesion, solid = plane
    labels = torch.where(lung >= cuts.lung, int(Tissue.AERATED), int(Tissue.OUTSIDE)).to(torch.uint8)
    diseased = lesion >= cuts.lesion
    labels[diseased] = int(Tissue.GROUND_GLASS)
    labels[diseased & (solid >= cuts.solid)] = int(Tissue.SOLID)
    return labels
