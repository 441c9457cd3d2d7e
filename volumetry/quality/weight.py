"""How far a doubt can move the share of lesion, and whether that is enough to ask for a reader."""

import numpy as np

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding, Tissue, TissueMap, Volumes


def volumes_of(tissue: TissueMap) -> Volumes:
    """Volumes of a whole map."""
    counts = sum(np.bincount(plane.ravel(), minlength=max(Tissue) + 1) for plane in tissue.labels_kji)
    ml = [float(count * tissue.grid.voxel_ml) for count in np.broadcast_to(counts, max(Tissue) + 1)]
    return Volumes(ml[Tissue.AERATED], ml[Tissue.GROUND_GLASS], ml[Tissue.SOLID], ml[Tissue.UNCLASSED])


def weighed(config: Config, code: str, message: str, value: float, points: float) -> Finding:
    """A finding that asks for a reader only if it can move the share of lesion by ``move_points`` or more.

    The trial profile, and a stricter outcome in the settings, are followed whatever it moves.
    """
    outcome = config.outcome_of(code)
    if config.profile == "default" and outcome is Outcome.FLAG and points < config.quality.move_points:
        outcome = config.outcome_of(code, Outcome.NOTE)
    return Finding(code, outcome, message, round(value, 3))


def points_if_lesion(volumes: Volumes, more_ml: float) -> float:
    """Points by which the share of lesion rises if so much more of the chest is lung, all of it lesion.

    >>> round(points_if_lesion(Volumes(aerated=900.0, ground_glass=100.0, solid=0.0), 100.0), 3)
    8.182
    """
    if volumes.lung <= 0:
        return 0.0
    return 100 * ((volumes.lesion + more_ml) / (volumes.lung + more_ml) - volumes.lesion / volumes.lung)


def points_if_no_lesion(volumes: Volumes, less_ml: float) -> float:
    """Points by which the share of lesion falls if so much of the lesion is neither lesion nor lung.

    >>> points_if_no_lesion(Volumes(aerated=900.0, ground_glass=0.0, solid=100.0), 100.0)
    10.0
    """
    rest_ml = volumes.lung - less_ml
    if volumes.lung <= 0 or rest_ml <= 0:
        return 0.0
    return 100 * (volumes.lesion / volumes.lung - (volumes.lesion - less_ml) / rest_ml)
