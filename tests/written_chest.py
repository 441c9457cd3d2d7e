"""A chest that is known, written as training reads chests: image, lungs and the votes for a tumour."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from volumetry.training.config import ChestVolume

SPACING_KJI_MM = (2.0, 1.4, 1.4)
OWN = (20, 26, 40, 60, 30, 45)
"""Box of the patient's own disease, in the right lung."""
LUNG_HU = -850.0


def write_chest(folder: Path, name: str, spacing: tuple[float, float, float] = SPACING_KJI_MM) -> ChestVolume:
    """A body of water with two lungs of air, a mediastinum that the mask leaves open, and a labelled tumour."""
    k, j, i = np.indices((44, 110, 150), np.float32)
    hu = np.where(((j - 55) / 50) ** 2 + ((i - 75) / 70) ** 2 < 1, 30.0, -1000.0)
    inside = (k > 4) & (k < 40)
    lungs = inside & (
        (((j - 55) / 35) ** 2 + ((i - 42) / 24) ** 2 < 1) | (((j - 55) / 35) ** 2 + ((i - 108) / 24) ** 2 < 1)
    )
    hu[lungs] = LUNG_HU
    mask = lungs.astype(np.uint8)
    mask[inside & (np.abs(i - 75) < 4) & (np.abs(j - 55) < 20)] = 255
    votes = np.zeros(mask.shape, np.uint8)
    votes[30:34, 50:60, 100:112], votes[31:33, 52:58, 102:110] = 2, 7
    hu[votes > 0] = 20.0
    rng = np.random.default_rng(1)
    for part, array in (("", hu + 5 * rng.standard_normal(hu.shape)), ("-lungs", mask), ("-votes", votes)):
        image = sitk.GetImageFromArray(array.astype(np.int16 if part == "" else np.uint8))
        image.SetSpacing(spacing[::-1])
        sitk.WriteImage(image, str(folder / f"{name}{part}.nii.gz"))
    return ChestVolume(
        image=f"{name}.nii.gz",
        lungs=f"{name}-lungs.nii.gz",
        tumour=f"{name}-votes.nii.gz",
        tumour_from=5,
        own_disease=(OWN,),
        pattern_volumes=2,
        filled_volumes=1,
        faint_volumes=2,
        source="drawn",
        terms="none",
    )
