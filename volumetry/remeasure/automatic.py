"""The automatic result as it lies on the disk: what was said of the scan, its mask and the mask's grid."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.codes import About, Outcome, codes_about
from volumetry.config import Config, stored_config
from volumetry.deliver import settle
from volumetry.domain import Finding, Grid, SeriesInfo, TissueMap, Vector
from volumetry.errors import ConfigError, InputError
from volumetry.image.nifti import read_nifti
from volumetry.storage.digests import file_sha256

_SPACING_TOLERANCE = 1e-4
"""Relative: a NIfTI holds its affine as float32."""
_NEWER = "Run `volumetry check` on the scan again, or give the scan by --scan."


@dataclass(frozen=True, slots=True, eq=False)
class Automatic:
    """What `deliver` wrote of one scan; read, and never written.

    Parameters
    ----------
    folder
        Of the result.
    document, run
        result.json and run.json.
    tissue
        mask.nii.gz, still the one that was written; with fluid where it was looked for.
    """

    folder: Path
    document: Mapping[str, Any]
    run: Mapping[str, Any]
    tissue: TissueMap

    @property
    def labels_kji(self) -> NDArray[np.uint8]:
        """Values of `Tissue`."""
        return self.tissue.labels_kji

    @property
    def grid(self) -> Grid:
        """The scan's own: directions and origin of mask.nii.gz, spacing of result.json."""
        return self.tissue.grid

    @property
    def settings(self) -> Config:
        """Those of the automatic result; raises InputError if this version does not understand them."""
        try:
            return stored_config(self.run["config"])
        except (KeyError, ConfigError) as wrong:
            raise InputError(
                "run.json does not hold settings that this version understands",
                hint="Give the settings by --config.",
            ) from wrong

    @property
    def series(self) -> SeriesInfo:
        """What the header said of the acquisition."""
        known = {field.name for field in fields(SeriesInfo)}
        said = {name: value for name, value in self.document["series"].items() if name in known}
        return SeriesInfo(**(said | {"spacing_kji_mm": _vector(np.asarray(said["spacing_kji_mm"], float))}))

    @property
    def findings_of_the_scan(self) -> tuple[Finding, ...]:
        """The automatic result's codes that no mask can change."""
        try:
            return tuple(
                Finding(flag["code"], Outcome(flag["outcome"]), flag["message"], flag["value"])
                for flag in self.document["flags"]
                if flag["code"] not in codes_about(About.MASK, About.EXPORT)
            )
        except (KeyError, ValueError) as wrong:
            raise InputError("result.json holds codes that this version does not know", hint=_NEWER) from wrong


def read_automatic(folder: Path) -> Automatic:
    """The automatic result in a folder; its mask must still be the one that was written.

    Raises
    ------
    InputError
        If there is no finished result with a number, or its mask was changed.
    """
    try:
        settle(folder)
        document = json.loads((folder / "result.json").read_text("utf-8"))
        run = json.loads((folder / "run.json").read_text("utf-8"))
        mask_sha256 = file_sha256(folder / "mask.nii.gz")
    except (OSError, ValueError) as wrong:
        raise InputError(
            "the result folder does not contain a finished, measured result (result.json, mask.nii.gz, run.json)",
            hint="Run `volumetry check` on the scan first.",
        ) from wrong
    if "volumes_ml" not in document or mask_sha256 != run.get("files_sha256", {}).get("mask.nii.gz"):
        raise InputError(
            "mask.nii.gz in the result folder is no longer the automatic mask, or the scan was not measured",
            hint="Keep the edited mask elsewhere and run `volumetry check` again: it makes the mask anew.",
        )
    labels_kji, affine_ras = read_nifti(folder / "mask.nii.gz", hint=_NEWER)
    grid = _grid(labels_kji.shape, affine_ras, document["series"]["spacing_kji_mm"])
    tissue = TissueMap.of_mask(labels_kji.astype(np.uint8), grid, "fluid" in document["volumes_ml"])
    return Automatic(folder, document, run, tissue)


def _grid(shape_kji: tuple[int, ...], affine_ras: NDArray[np.float64], spacing_kji_mm: Any) -> Grid:  # noqa: ANN401  a JSON value
    """The grid of our own mask: exact spacing from result.json, whose agreement with the affine is checked."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine_ras[:3]
    steps_mm = np.linalg.norm(lps[:, :3], axis=0)[::-1]
    try:
        stated = [float(step) for step in spacing_kji_mm]
        both = zip(sorted(steps_mm), sorted(stated), strict=True)
        if not all(math.isclose(a, b, rel_tol=_SPACING_TOLERANCE) for a, b in both):
            raise ValueError("spacing")
        # Stated as of axial slices; a volume file may hold its axes in another order.
        spacing = [min(stated, key=lambda mm: abs(mm - step)) for step in steps_mm]
        axes = [_vector(lps[:, axis] / np.linalg.norm(lps[:, axis])) for axis in (2, 1, 0)]
        k, j, i = shape_kji
        return Grid((k, j, i), _vector(spacing), _vector(lps[:, 3]), (axes[0], axes[1], axes[2]))
    except (TypeError, ValueError) as wrong:
        raise InputError("mask.nii.gz and result.json do not agree on the grid", hint=_NEWER) from wrong


def _vector(values: Any) -> Vector:  # noqa: ANN401  any three numbers
    x, y, z = (float(value) for value in values)
    return x, y, z
