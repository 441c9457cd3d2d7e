"""How far a network is from what is known, where what is known of a voxel is a set of regions."""

import torch
from torch.nn import functional

from volumetry.segment.thorax import Region
from volumetry.training.thorax.truth import UNKNOWN


def membership(regions: torch.Tensor) -> torch.Tensor:
    """Sets of regions (n, k, j, i), bits of a byte, as True per region: (n, region, k, j, i)."""
    bits = torch.tensor([1 << region for region in Region], dtype=torch.uint8, device=regions.device)
    return (regions[:, None] & bits[None, :, None, None, None]) > 0


def partial_loss(logits: torch.Tensor, regions: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each voxel's set, plus one minus soft Dice of each region where it is known.

    The probability of a set is the sum of its regions': where only "not lung" is known, a network that finds it is
    not asked which organ it is. A region is known in a voxel if the set holds it alone, or does not hold it.

    Parameters
    ----------
    logits
        (n, region, k, j, i).
    regions
        uint8 (n, k, j, i).
    weight
        Of each region's Dice; of a batch without any voxel of a region it is 0.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    may_be = membership(regions)
    log_p = functional.log_softmax(logits, 1)
    of_set = torch.logsumexp(log_p.masked_fill(~may_be, -torch.inf), 1)
    known = regions != UNKNOWN
    entropy = -(of_set * known).sum() / known.sum().clamp(min=1)

    alone = may_be & (may_be.sum(1, keepdim=True) == 1)
    told = (alone | ~may_be).float()
    where = (0, 2, 3, 4)
    probability, value = log_p.exp() * told, alone.float()
    there = value.sum(where)
    dice = (2 * (probability * value).sum(where) + 1) / (probability.sum(where) + there + 1)
    used = weight * (there > 0)
    total: torch.Tensor = entropy + (used * (1 - dice)).sum()
    return total
