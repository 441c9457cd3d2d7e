"""What a correction is measured on: the CT if there is one, and else the result's own grid.

Volumes, shares and sides need labels and a grid. Hounsfield units need the CT, of which a result keeps neither
voxels nor path: without it, what is made from them is absent.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Grid, Side, TissueMap
from volumetry.errors import InputError, UsageError
from volumetry.image.nifti import CT_BESIDE, read_nifti
from volumetry.image.orientation import axial_view
from volumetry.measure import measure
from volumetry.measure.components import stored_bins
from volumetry.quality import charter_findings
from volumetry.remeasure.automatic import Automatic
from volumetry.scan import read_scan
from volumetry.segment.postprocess import with_sides
from volumetry.wording import HU_RULE_NEEDS_CT

_GIVEN_THEN = "Give the folder that was given to `volumetry check`."
_OFF_MM = 0.01
_SAMPLED = 4
_SLAB_MM = 4.0
"""Half of it is more than the 2.5 mm steps in which the outline of a body is looked at."""
_OF_MASK_AND_CT = frozenset({"DENSE_TISSUE_OUTSIDE_LUNG", "SIDE_CONFLICT", "METAL", "CONTRAST_NOT_STATED"})
"""Codes that mask and CT decide together: with the CT at hand the edited mask is judged anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The ground of a correction.

    Parameters
    ----------
    scan
        Its `hu_kji` is not a number where there is no CT: it can be counted nowhere and no JSON takes it.
    outline
        Where the patient's middle is: the scan itself, or a sheet in the plane between the automatic lungs.
    findings
        What is known of the scan itself.
    has_hu
        Whether there is a CT.
    folder
        Its DICOM files, if that is what was given.
    """

    scan: CtScan
    outline: CtScan
    findings: tuple[Finding, ...]
    has_hu: bool
    folder: Path | None = None

    @property
    def ct(self) -> CtScan | None:
        """The scan with Hounsfield units; None where there are none."""
        return self.scan if self.has_hu else None

    def sided(self, tissue: TissueMap, settings: Config) -> TissueMap:
        """The map with the patient's left and right separated."""
        return with_sides(tissue, self.outline, settings.tidy)


def source_of(automatic: Automatic, given: Path | None, settings: Config) -> Source:
    """The CT that was given, or the one that lies beside the result as ct.nii.gz, or none.

    Parameters
    ----------
    given
        What was measured (folder, ZIP, one file), or its CT as NIfTI on the mask's own grid.

    Raises
    ------
    InputError
        If it is not the scan that the result was measured from.
    UsageError
        If it cannot be done without the CT.
    """
    beside = automatic.folder / CT_BESIDE
    path = given if given is not None else beside if beside.is_file() else None
    if path is None:
        return _without_ct(automatic, settings)
    if path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        return _from_nifti(automatic, path, settings)
    return _from_input(automatic, path, settings)


def _from_input(automatic: Automatic, folder: Path, settings: Config) -> Source:
    scan = read_scan(folder, settings)
    if scan.input_sha256 != automatic.document["provenance"]["input_sha256"]:
        raise InputError(
            "the scan folder does not hold the scan that this result was measured from",
            hint="Give the folder whose input_sha256 is the one in result.json.",
        )
    return Source(scan, scan, (*scan.findings, *charter_findings(scan.series, settings)), True, folder)


def _from_nifti(automatic: Automatic, path: Path, settings: Config) -> Source:
    """A CT without digests is the scan if, on the automatic mask, it gives the automatic result's numbers back."""
    hu_kji, affine_ras = read_nifti(path, hint=_GIVEN_THEN)
    grid = automatic.grid
    if hu_kji.shape != grid.shape_kji or not np.allclose(affine_ras, grid.affine_ras, atol=_OFF_MM):
        raise InputError("the CT lies on another grid than the result's mask", hint=_GIVEN_THEN)
    scan = _scan(automatic, hu_kji.astype(np.float32))
    tissue = with_sides(automatic.tissue, scan, settings.tidy)
    again = measure(tissue, scan, automatic.settings.measure)
    stored = automatic.document
    found = [*again.hu_bins_ml.values(), again.values["mean_lung_hu"] or math.nan]
    wanted = [*stored_bins(stored["hu_bins_ml"], automatic.settings.measure.hu_cuts), stored["mean_lung_hu"]]
    if not np.allclose(found, wanted, rtol=1e-6, atol=1e-6):
        raise InputError(
            "this CT does not give the automatic result's Hounsfield figures on the automatic mask",
            hint=_GIVEN_THEN,
        )
    kept = tuple(found for found in automatic.findings_of_the_scan if found.code not in _OF_MASK_AND_CT)
    return Source(scan, scan, kept, True)


def _without_ct(automatic: Automatic, settings: Config) -> Source:
    if settings.measure.component_rule == "hu":
        raise UsageError(HU_RULE_NEEDS_CT, hint="Give the scan's folder by --scan.")
    note = Finding(
        "HU_NOT_MEASURED",
        Outcome.NOTE,
        "the CT was not given: mean HU, HU bins, lesion mass and weight and the HU cut of the lesion are absent",
    )
    shape = automatic.grid.shape_kji
    blank = _scan(automatic, np.broadcast_to(np.float32(np.nan), shape))
    return Source(blank, _sheet(automatic), (*automatic.findings_of_the_scan, note), False)


def _sheet(automatic: Automatic) -> CtScan:
    """A body of nothing but its middle: the sagittal plane that divides the lungs as the automatic result says."""
    grid = automatic.grid
    axis = axial_view(grid).axes[2]
    at = round(_index_of_middle(automatic, grid, axis))
    reach = max(1, round(_SLAB_MM / grid.spacing_kji_mm[axis]))
    profile = np.full(grid.shape_kji[axis], -1000, np.float32)
    profile[max(0, at - reach) : at + reach + 1] = 0
    sizes = [1, 1, 1]
    sizes[axis] = -1
    return _scan(automatic, np.broadcast_to(profile.reshape(sizes), grid.shape_kji))


def _index_of_middle(automatic: Automatic, grid: Grid, axis: int) -> float:
    sampled = automatic.labels_kji[:, ::_SAMPLED, ::_SAMPLED] > 0
    index = np.argwhere(sampled) * (1, _SAMPLED, _SAMPLED)
    lung_ml = {name: part["lung"] for name, part in automatic.document["sides"].items()}
    # The patient's right comes first along LPS x.
    right = lung_ml[Side.RIGHT.name.lower()] / sum(lung_ml.values())
    towards_left = grid.step_lps_mm[0, axis] > 0
    return float(np.quantile(index[:, axis], right if towards_left else 1 - right))


def _scan(automatic: Automatic, hu_kji: Any) -> CtScan:  # noqa: ANN401  an array or a view of one
    made = automatic.document["provenance"]
    return CtScan(
        hu_kji,
        automatic.grid,
        automatic.series,
        input_sha256=made["input_sha256"],
        pixels_sha256=made["pixels_sha256"],
    )
