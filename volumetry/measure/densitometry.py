"""Densitometry of lung and lesion: pure functions of what was counted, each the formula of one measure."""

from dataclasses import dataclass

from volumetry.domain import CtScan, TissueMap, Volumes


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What a measure is computed from.

    Parameters
    ----------
    tissue
        The delivered map: tidied, with sides, ground glass and solid by the chosen rule.
    scan
        Its HU on the same grid; not a number where a reader's correction is measured without the CT.
    volumes_ml
        Of both lungs.
    lung_voxels
        Voxels of both lungs, lesions included.
    lung_hu_sum, lesion_hu_sum
        Sums of HU over the voxels of lung and lesion.
    """

    tissue: TissueMap
    scan: CtScan
    volumes_ml: Volumes
    lung_voxels: int
    lung_hu_sum: float
    lesion_hu_sum: float


def mean_lung_hu(counted: Counted) -> float | None:
    """Mean HU of both lungs, lesions included.

    Parameters
    ----------
    counted
        Volumes and HU sums of a scan.

    Returns
    -------
    float or None
        None where there is no lung.
    """
    return counted.lung_hu_sum / counted.lung_voxels if counted.lung_voxels else None


def lesion_mass_g(counted: Counted) -> float:
    """Physical mass of the lesion in g: V + W / 1000, with water at 0 HU weighing 1 g per mL and air nothing.

    Parameters
    ----------
    counted
        Volumes and HU sums of a scan.

    Returns
    -------
    float
        The sum of (HU + 1000) / 1000 times voxel volume in mL over the lesion.

    Examples
    --------
    One mL of lung and one mL of ground glass at -500 HU, half air and half water, which weighs 0.5 g:

    >>> import numpy as np
    >>> from volumetry.domain import Grid, SeriesInfo, Tissue
    >>> grid = Grid((1, 1, 2), (10.0, 10.0, 10.0))
    >>> tissue = TissueMap(np.array([[[Tissue.AERATED, Tissue.GROUND_GLASS]]], np.uint8), grid)
    >>> scan = CtScan(np.array([[[-850, -500]]], np.float32), grid, SeriesInfo("1.2.3", 1, grid.spacing_kji_mm))
    >>> lesion_mass_g(Counted(tissue, scan, Volumes(1.0, 1.0, 0.0), 2, -1350.0, -500.0))
    0.5
    """
    return counted.volumes_ml.lesion + lesion_weight_hu_ml(counted) / 1000


def lesion_weight_hu_ml(counted: Counted) -> float:
    """Registered "voxel weight" of the lesion: the sum of HU times voxel volume.

    Parameters
    ----------
    counted
        Volumes and HU sums of a scan.

    Returns
    -------
    float
        In HU mL; usually negative. It is not a mass, see `lesion_mass_g`.

    References
    ----------
    NCT04288102, secondary outcome: total voxel "weight" in the lesion area, voxel density (HU) times voxel volume.
    """
    return counted.lesion_hu_sum * counted.tissue.grid.voxel_ml
