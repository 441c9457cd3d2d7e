"""Bring a visit's lungs onto the baseline's: what of the one lies where in the other, and how far to believe it.

Both scans are reduced to what does not change with the disease: the shape of the lungs, and the vessels in them.
Everything outside the lungs becomes one value, and so does every lesion, so that no lesion can pull the
deformation towards itself and hide its own change. Working images lie on a coarse lattice along the body axes,
which is fast and needs no thought about tilted or oblique stacks.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from volumetry.config import ChangeMapSettings
from volumetry.domain import Box, Grid, Tissue, TissueMap
from volumetry.image.morphology import box_within

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_MARGIN_MM = 20.0
"""Room around the lungs: the deformation must be known where the other visit's lungs may lie."""
_DISTANCE_CLIPS_MM = (20.0, 6.0)
"""The distance to a lung's border counts up to here: first far, to find the lungs, then near, to fit them."""
_OUTSIDE_HU, _LESION_HU = 0.0, -850.0
_DETAIL_MM = 12.0
"""Vessels are finer than this, lobes and gradients of density are coarser."""
_RIM_MM = 6.0
"""Depth below the pleura from which structure is compared: the border itself is not structure."""
_WORK_UNITS = 4
"""Fixed, whatever the machine has: sums of the metric are then the same everywhere."""
_MIN_JUDGED_VOXELS = 1000


@dataclass(frozen=True, slots=True)
class Quality:
    """How well two scans were brought together; no landmark is needed for any of it.

    Parameters
    ----------
    lung_dice_before, lung_dice
        Dice of the lungs after the affine step, and at the end; 1 is perfect.
    surface_mm
        Mean distance between the lung surfaces, both ways.
    implausible_share
        Of the baseline's lung: where the Jacobian determinant leaves the plausible range (folded or torn).
    jacobian_p1, jacobian_median, jacobian_p99
        Visit volume per baseline volume inside the baseline's lung.
    structure_correlation
        Between the vessels of both scans inside the lungs, lesions left out; None where the lungs show too little
        structure to judge by.
    """

    lung_dice_before: float
    lung_dice: float
    surface_mm: float
    implausible_share: float
    jacobian_p1: float
    jacobian_median: float
    jacobian_p99: float
    structure_correlation: float | None

    def shortcomings(self, settings: ChangeMapSettings) -> tuple[str, ...]:
        """Every limit that is missed, in words.

        Parameters
        ----------
        settings
            ``[change_map]`` of the configuration.

        Returns
        -------
        tuple[str, ...]
            Empty if the registration may be used.
        """
        s = settings
        facts = (
            (
                self.lung_dice < s.min_lung_dice,
                f"lungs overlap with Dice {self.lung_dice:.3f}, below {s.min_lung_dice}",
            ),
            (
                self.lung_dice_before < s.min_affine_dice,
                f"lungs of unlike shape: Dice {self.lung_dice_before:.3f} after the affine step, "
                f"below {s.min_affine_dice}",
            ),
            (
                self.surface_mm > s.max_surface_mm,
                f"lung surfaces {self.surface_mm:.1f} mm apart, above {s.max_surface_mm} mm",
            ),
            (
                self.implausible_share > s.max_implausible_share,
                f"{100 * self.implausible_share:.2f} % of the lung folded or torn, "
                f"above {100 * s.max_implausible_share:g} %",
            ),
            (
                self.structure_correlation is not None
                and self.structure_correlation < s.min_structure_correlation,
                f"vessels do not match: correlation {self.structure_correlation or 0:.2f}, "
                f"below {s.min_structure_correlation}",
            ),
        )
        return tuple(text for missed, text in facts if missed)


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Where every point of the baseline lies in the visit.

    Parameters
    ----------
    displacement
        SimpleITK vector image on the working lattice: mm to add to a baseline position (LPS) to find it in the
        visit.
    jacobian
        Determinant of the derivative of that mapping: visit volume per baseline volume.
    quality
        How far to believe it.
    """

    displacement: sitk.Image
    jacobian: sitk.Image
    quality: Quality

    @property
    def transform(self) -> sitk.Transform:
        """Baseline point to visit point."""
        return sitk.DisplacementFieldTransform(sitk.Image(self.displacement))  # the transform empties its argument


@dataclass(frozen=True, slots=True, eq=False)
class _Working:
    """One scan on its working lattice: share of lung, steady lung, and the tempered image."""

    lung: sitk.Image
    steady: sitk.Image
    tempered: sitk.Image


def register(
    baseline: tuple[Floats, TissueMap], visit: tuple[Floats, TissueMap], settings: ChangeMapSettings
) -> Registration:
    """Find the deformation of the lungs from baseline to visit.

    An affine fit of the lungs' shapes, then demons on the tempered images. The one random draw is
    seeded, so the same input gives the same answer.

    Parameters
    ----------
    baseline, visit
        HU (k, j, i) and the tissue map on the same grid.
    settings
        Lattice, iterations and limits.

    Returns
    -------
    Registration
        Whatever its quality: the caller decides with `Quality.shortcomings`.

    Raises
    ------
    ValueError
        If a map holds no lung.
    """
    fixed, moving = (_working(hu, tissue, settings.working_mm) for hu, tissue in (baseline, visit))
    affine = _affine(fixed, moving)
    whole = sitk.CompositeTransform([affine, _deformable(fixed, moving, affine, settings)])
    field = sitk.TransformToDisplacementField(whole, sitk.sitkVectorFloat64, *_place_of(fixed.lung))
    jacobian = sitk.DisplacementFieldJacobianDeterminant(field)
    quality = _quality(
        fixed, moving, (affine, sitk.DisplacementFieldTransform(sitk.Image(field))), jacobian, settings
    )
    return Registration(field, jacobian, quality)


def as_image(array_kji: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """An array on a grid as a SimpleITK image in the same place; tilted stacks keep their shear."""
    image = sitk.GetImageFromArray(array_kji)
    image.SetSpacing(grid.spacing_kji_mm[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(np.asarray(grid.direction_lps, float)[::-1].T.ravel().tolist())
    return image


def lung_box(tissue: TissueMap, margin_mm: float = 0.0) -> Box:
    """Smallest box of voxels that holds the lungs and a margin, as far as the grid reaches."""
    box = box_within(tissue.labels_kji != Tissue.OUTSIDE, margin_mm, tissue.grid.spacing_kji_mm)
    if box is None:
        raise ValueError("a map without lung cannot be registered")
    return box


def _working(hu_kji: Floats, tissue: TissueMap, step_mm: float) -> _Working:
    box = lung_box(tissue, step_mm)
    labels, grid = tissue.labels_kji[box], tissue.grid.part(box)
    lung, aerated = labels != Tissue.OUTSIDE, labels == Tissue.AERATED
    normal_hu = float(np.median(hu_kji[box][aerated])) if aerated.any() else _LESION_HU
    tempered = np.full(labels.shape, _OUTSIDE_HU, np.float32)
    tempered[lung] = _LESION_HU
    tempered[aerated] = np.clip(hu_kji[box][aerated] - normal_hu + _LESION_HU, -1000.0, _OUTSIDE_HU)
    origin, size = _lattice(grid, step_mm)

    def coarse(array: NDArray[np.generic], outside: float) -> sitk.Image:
        shrink = [max(1, round(step_mm / step)) for step in grid.spacing_kji_mm[::-1]]
        small = sitk.BinShrink(as_image(array.astype(np.float32), grid), shrink)  # means, so nothing is aliased
        identity = sitk.Transform(3, sitk.sitkIdentity)
        axes = np.eye(3).ravel().tolist()
        return sitk.Resample(small, size, identity, sitk.sitkLinear, origin, [step_mm] * 3, axes, outside)

    return _Working(coarse(lung, 0.0), coarse(aerated, 0.0), coarse(tempered, _OUTSIDE_HU))


def _without_noise(tempered: sitk.Image, noise_hu: float) -> sitk.Image:
    """Only what stands out of normal lung, as a share of the step at the pleura: demons would follow noise too."""
    least = _LESION_HU + noise_hu
    return sitk.Clamp((tempered - least) / (_OUTSIDE_HU - least), sitk.sitkFloat32, 0.0, 1.0)


def _lattice(grid: Grid, step_mm: float) -> tuple[list[float], list[int]]:
    """Origin and size (x, y, z) of a lattice along the body axes that holds a grid and a margin."""
    ends = np.asarray(grid.shape_kji) - 1.0
    corners = grid.lps_mm(np.array(np.meshgrid(*([0.0, n] for n in ends), indexing="ij")).reshape(3, -1).T)
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    return low.tolist(), (np.ceil((high - low) / step_mm) + 1).astype(int).tolist()


def _place_of(image: sitk.Image) -> tuple[object, ...]:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()


def _affine(fixed: _Working, moving: _Working) -> sitk.Transform:
    """Fit of the lungs' shapes by the distance to their borders, starting from their middles."""
    by_middle = sitk.CenteredTransformInitializerFilter.MOMENTS
    affine = sitk.AffineTransform(
        sitk.CenteredTransformInitializer(fixed.lung, moving.lung, sitk.AffineTransform(3), by_middle)
    )
    for clip_mm in _DISTANCE_CLIPS_MM:
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(_WORK_UNITS)
        method.SetMetricAsMeanSquares()
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(
            0.2, seed=1
        )  # even regular samples are shaken, by the clock if not seeded
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 150, 0.5)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(affine, inPlace=True)
        method.Execute(_distance(fixed.lung, clip_mm), _distance(moving.lung, clip_mm))
    return affine


def _distance(lung: sitk.Image, clip_mm: float) -> sitk.Image:
    inside = sitk.Cast(lung > 0.5, sitk.sitkUInt8)
    distance = sitk.SignedMaurerDistanceMap(inside, squaredDistance=False, useImageSpacing=True)
    return sitk.Clamp(distance, sitk.sitkFloat32, -clip_mm, clip_mm)


def _deformable(
    fixed: _Working, moving: _Working, affine: sitk.Transform, settings: ChangeMapSettings
) -> sitk.Transform:
    """Smooth deformation on top of the affine one, driven by pleura and vessels: demons, coarse to fine."""
    target, other = (_without_noise(working.tempered, settings.noise_hu) for working in (fixed, moving))
    source = sitk.Resample(other, target, affine, sitk.sitkLinear, 1.0)
    field: sitk.Image | None = None
    finest = len(settings.iterations) - 1
    for level, iterations in enumerate(settings.iterations):
        small = [sitk.BinShrink(image, [2 ** (finest - level)] * 3) for image in (target, source)]
        start = () if field is None else (sitk.Resample(field, small[0]),)
        method = sitk.DiffeomorphicDemonsRegistrationFilter()
        method.SetNumberOfThreads(_WORK_UNITS)
        method.SetNumberOfIterations(iterations)
        method.SetStandardDeviations(settings.smoothing_steps)
        field = method.Execute(*small, *start)
    return sitk.DisplacementFieldTransform(sitk.Cast(sitk.Resample(field, target), sitk.sitkVectorFloat64))


def _quality(
    fixed: _Working,
    moving: _Working,
    steps: tuple[sitk.Transform, sitk.Transform],
    jacobian: sitk.Image,
    settings: ChangeMapSettings,
) -> Quality:
    affine, whole = steps
    lung = sitk.GetArrayFromImage(fixed.lung) > 0.5
    moved = _moved(moving.lung, fixed.lung, whole, 0.0) > 0.5
    inside = sitk.GetArrayFromImage(jacobian)[lung]
    p1, median, p99 = (float(v) for v in np.percentile(inside, [1, 50, 99]))
    low, high = settings.jacobian_range
    return Quality(
        lung_dice_before=_dice(lung, _moved(moving.lung, fixed.lung, affine, 0.0) > 0.5),
        lung_dice=_dice(lung, moved),
        surface_mm=_surface_mm(lung, moved, settings.working_mm),
        implausible_share=float(np.mean((inside <= low) | (inside > high))),
        jacobian_p1=p1,
        jacobian_median=median,
        jacobian_p99=p99,
        structure_correlation=_structure(fixed, moving, whole, settings),
    )


def _moved(image: sitk.Image, onto: sitk.Image, transform: sitk.Transform, outside: float) -> Floats:
    moved: Floats = sitk.GetArrayFromImage(sitk.Resample(image, onto, transform, sitk.sitkLinear, outside))
    return moved


def _dice(a: Mask, b: Mask) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def _surface_mm(a: Mask, b: Mask, step_mm: float) -> float:
    """Mean distance of each surface voxel to the other surface; infinite if one mask is empty."""
    rim_a, rim_b = (mask & ~binary_erosion(mask) for mask in (a, b))
    if not (rim_a.any() and rim_b.any()):
        return float("inf")
    there = distance_transform_edt(~rim_b)[rim_a]
    back = distance_transform_edt(~rim_a)[rim_b]
    return float(np.concatenate([there, back]).mean() * step_mm)


def _structure(
    fixed: _Working, moving: _Working, whole: sitk.Transform, settings: ChangeMapSettings
) -> float | None:
    """Correlation of what is finer than a lobe, where both scans show steady lung away from the pleura."""
    step_mm = settings.working_mm
    steady = (sitk.GetArrayFromImage(fixed.steady) > 0.99) & (_moved(moving.steady, fixed.lung, whole, 0.0) > 0.99)
    deep = sitk.GetArrayFromImage(fixed.lung) > 0.5
    deep &= _moved(moving.lung, fixed.lung, whole, 0.0) > 0.5
    judged = steady & (distance_transform_edt(deep, sampling=step_mm) > _RIM_MM)
    if np.count_nonzero(judged) < _MIN_JUDGED_VOXELS:
        return None
    images = (sitk.GetArrayFromImage(fixed.tempered), _moved(moving.tempered, fixed.lung, whole, _OUTSIDE_HU))
    a, b = (_detail(image, steady, _DETAIL_MM / step_mm)[judged] for image in images)
    if min(a.std(), b.std()) < settings.min_structure_hu:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _detail(image: Floats, where: Mask, sigma: float) -> Floats:
    """Image less its local mean, the mean taken over `where` alone."""
    weight = gaussian_filter(where.astype(np.float32), sigma)
    mean = gaussian_filter(np.where(where, image, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)
    detail: Floats = image - mean
    return detail
