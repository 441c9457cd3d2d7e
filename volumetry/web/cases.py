"""A result and its CT as what the viewer shows.

A result keeps neither the CT nor the path to it, so the scan is given again and proven to be the one that was
measured.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config
from volumetry.deliver import as_document, settle
from volumetry.deliver.report import text
from volumetry.domain import FLUID, Tissue
from volumetry.errors import InputError, UsageError
from volumetry.image.components import bodies_of, bounding_box
from volumetry.image.nifti import Affine, nifti_bytes, read_nifti, thinning_steps
from volumetry.image.pictures import TISSUE_RGB
from volumetry.pipeline import Analysis
from volumetry.scan import read_scan
from volumetry.web.readings import Corrections, Readings

_MOST_LESIONS = 50
_NO_CT_HU = -1024
_AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class ViewCase:
    """One visit in the viewer.

    Parameters
    ----------
    document
        result.json.
    labels_kji
        Values of `Tissue`, and `FLUID`.
    affine_ras
        4 x 4, (i, j, k, 1) to RAS mm.
    hu_kji
        The CT rounded to whole HU; None where none was given.
    report
        The report page, if there is one.
    image_numbers
        As a PACS shows them, of each slice along k; empty where the CT was not given as DICOM.
    corrections
        Where readers' corrections lie; None where there can be none.
    number
        Of the correction that is shown; 0 for the automatic mask.
    """

    document: Mapping[str, Any]
    labels_kji: NDArray[np.uint8]
    affine_ras: Affine
    hu_kji: NDArray[np.int16] | None
    report: bytes | None = None
    image_numbers: tuple[int | None, ...] = ()
    corrections: Corrections | None = None
    number: int = 0

    @property
    def mask_sha256(self) -> str:
        """Digest of the mask that is shown."""
        return str(self.document["provenance"]["mask_sha256"])

    @property
    def mask_name(self) -> str:
        """What the result's own mask is called: a folder that is shown may itself be that of a correction."""
        reader = self.document.get("corrected_by")
        return f"the mask of {reader}" if reader else "the automatic mask"

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Length of one step along each array axis."""
        i, j, k = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def thinning_kji(self) -> tuple[int, int, int]:
        """Steps of the reduced copy."""
        k, j, i = self.labels_kji.shape
        return thinning_steps((k, j, i), self.spacing_kji_mm)

    def ct_nifti(self, reduced: bool) -> bytes:
        """The CT, or an empty image on its grid where none was given.

        Parameters
        ----------
        reduced
            Every n-th voxel along each axis, for software rendering.

        Returns
        -------
        bytes
            NIfTI-1 of HU, int16.
        """
        hu = self.hu_kji if self.hu_kji is not None else np.full(self.labels_kji.shape, _NO_CT_HU, np.int16)
        return nifti_bytes(hu, self.affine_ras, self.thinning_kji if reduced else (1, 1, 1))

    def mask_nifti(self, reduced: bool) -> bytes:
        """The mask, with the same voxels as the CT.

        Parameters
        ----------
        reduced
            As for `ct_nifti`.

        Returns
        -------
        bytes
            NIfTI-1 of labels, uint8.
        """
        return nifti_bytes(self.labels_kji, self.affine_ras, self.thinning_kji if reduced else (1, 1, 1))

    def readings(self) -> Readings:
        """What there is to show now; to be asked of the case with the automatic mask.

        Returns
        -------
        Readings
            The corrections on the disk, and which mask is the current one.
        """
        if self.corrections is None:
            return Readings((), None, self.mask_sha256, 0, ())
        return self.corrections.look(self.document)

    def shown(self, readings: Readings, wanted: str | None) -> "ViewCase":
        """The same scan with another mask and its numbers.

        Parameters
        ----------
        readings
            The masks that there are.
        wanted
            ``automatic``, a correction's number, or None for the current mask.

        Returns
        -------
        ViewCase
            This one for the automatic mask.

        Raises
        ------
        KeyError
            If there is no mask of this name.
        InputError
            If it cannot be read.
        """
        correction = readings.named(wanted)
        if correction is None:
            return self
        labels, _ = _labels(correction.folder)
        if labels.shape != self.labels_kji.shape:
            raise InputError(f"correction {correction.number} lies on another grid than the scan", hint=_SAME_SCAN)
        report = _report(correction.folder)
        return replace(
            self, document=correction.document, labels_kji=labels, report=report, number=correction.number
        )

    def facts(self) -> dict[str, Any]:
        """What the page needs to know; all texts are shown as text.

        Returns
        -------
        dict[str, Any]
            What json can write.
        """
        present = np.unique(self.labels_kji)
        names = {
            Tissue.AERATED: "Aerated lung",
            Tissue.GROUND_GLASS: text.name_of(self.document, "ground_glass"),
            Tissue.SOLID: text.name_of(self.document, "solid"),
            Tissue.UNCLASSED: "Disease of neither class",
            FLUID: "Pleural fluid",
        }
        return {
            "scan_id": self.document["scan_id"],
            "status": self.document["status"],
            "shown": self.number,
            "mask_sha256": self.mask_sha256,
            "temporary": self.corrections is not None and self.corrections.temporary,
            "acquisition_date": (self.document.get("series") or {}).get("acquisition_date"),
            "message": self.document["message"],
            "sentence": text.sentence(self.document),
            "percent_of_lung": self.document["percent_of_lung"],
            "volumes_ml": self.document["volumes_ml"],
            "has_ct": self.hu_kji is not None,
            "has_report": self.report is not None,
            "flags": [
                {key: flag[key] for key in ("code", "severity", "message")} for flag in self.document["flags"]
            ],
            "shape_kji": list(self.labels_kji.shape),
            "affine_ras": self.affine_ras.tolist(),
            "image_numbers": list(self.image_numbers),
            "thinning_kji": list(self.thinning_kji),
            "thinning": max(self.thinning_kji),
            "labels": [
                {"value": int(t), "name": name, "rgb": TISSUE_RGB[t], "present": bool((present == t).any())}
                for t, name in names.items()
            ],
            "lesions": largest_lesions(self.labels_kji, self.affine_ras),
            "lung_box_ras_mm": lung_box_ras_mm(self.labels_kji, self.affine_ras),
        }


def load_case(
    result: Path, config: Config, scan: Path | None = None, corrections: Corrections | None = None
) -> ViewCase:
    """A result folder, and the scan it was measured on, as a case.

    Parameters
    ----------
    result
        Holds result.json and mask.nii.gz.
    config
        For reading the scan's folder.
    scan
        What was measured, or the CT as NIfTI on the mask's grid; without it only the mask is shown.
    corrections
        Where its corrections lie; by default ``RESULT/corrections``.

    Returns
    -------
    ViewCase
        Numbers and mask, and the CT where it was given.

    Raises
    ------
    UsageError
        If there is no result with a mask.
    InputError
        If the scan cannot be read, or is not the one that was measured.
    """
    document = _document(result)
    labels, affine = _labels(result)
    hu: NDArray[np.int16] | None = None
    numbers: tuple[int | None, ...] = ()
    if scan is not None:
        hu, numbers = _ct_of_nifti(scan, affine) if _is_nifti(scan) else _ct_of_input(scan, config, document)
        if hu.shape != labels.shape:
            raise InputError(
                f"the CT has {hu.shape} voxels and the mask {labels.shape}: not the same scan", hint=_SAME_SCAN
            )
    there = corrections or Corrections(result, result / "corrections")
    return ViewCase(document, labels, affine, hu, _report(result), numbers, there)


def case_of(analysis: Analysis, report: bytes | None = None, corrections: Corrections | None = None) -> ViewCase:
    """A case of what has just been measured.

    Parameters
    ----------
    analysis
        Numbers, mask and scan.
    report
        The report page, if there is one.
    corrections
        Where its corrections will lie.

    Returns
    -------
    ViewCase
        With the CT.
    """
    document, tissue = as_document(analysis.result), analysis.tissue
    scan = analysis.scan
    hu = _whole_hu(scan.hu_kji)
    return ViewCase(document, tissue.mask_kji, tissue.grid.affine_ras, hu, report, scan.image_numbers, corrections)


def largest_lesions(labels_kji: NDArray[np.uint8], affine_ras: Affine) -> list[dict[str, Any]]:
    """Connected lesions, the largest first: their mL, and the RAS position of a voxel well inside each."""
    lesion = np.isin(labels_kji, (Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED))
    bodies = bodies_of(lesion)
    voxel_ml = abs(float(np.linalg.det(affine_ras[:3, :3]))) / 1000
    found = []
    count = min(_MOST_LESIONS, len(bodies.sizes))
    boxes = ndimage.find_objects(bodies.labels_kji, count) if count else ()
    for label, box in enumerate(boxes, start=1):
        start = [whole.start + part.start for whole, part in zip(bodies.box, box, strict=True)]
        body = np.argwhere(bodies.labels_kji[box] == label) + start
        # The middle of a crescent lies outside it, so the voxel next to the middle is taken.
        inside = body[np.argmin(((body - body.mean(axis=0)) ** 2).sum(axis=1))]
        position = affine_ras @ [*inside[::-1], 1.0]
        found.append({"ml": len(body) * voxel_ml, "ras_mm": position[:3].tolist()})
    return found


def lung_box_ras_mm(labels_kji: NDArray[np.uint8], affine_ras: Affine) -> list[list[float]] | None:
    """Lowest and highest corner of the lungs' bounding box; None without lungs."""
    box = bounding_box((labels_kji > 0) & (labels_kji != FLUID))
    if box is None:
        return None
    ends = [(along.start, along.stop - 1) for along in box]
    corners = np.stack(np.meshgrid(*ends[::-1], [1.0], indexing="ij"), -1).reshape(-1, 4) @ affine_ras.T
    return [corners[:, :3].min(axis=0).tolist(), corners[:, :3].max(axis=0).tolist()]


def _labels(folder: Path) -> tuple[NDArray[np.uint8], Affine]:
    labels_kji, affine = read_nifti(folder / "mask.nii.gz", _RESULT_HINT)
    if not np.isin(labels_kji, [*Tissue, FLUID]).all():
        raise InputError("mask.nii.gz holds labels that are no tissue", hint=_RESULT_HINT)
    return labels_kji.astype(np.uint8), affine


def _report(folder: Path) -> bytes | None:
    page = folder / "report.html"
    return page.read_bytes() if page.is_file() else None


def _document(result: Path) -> dict[str, Any]:
    try:
        settle(result)
        document: dict[str, Any] = json.loads((result / "result.json").read_text("utf-8"))
    except (OSError, ValueError) as wrong:
        raise UsageError("there is no readable result.json in this folder", hint=_RESULT_HINT) from wrong
    if document.get("status") not in ("measured", "review"):
        code = document.get("code")
        raise UsageError(
            f"this scan was not measured ({code}): there is no mask to see", hint=document.get("hint")
        )
    return document


_RESULT_HINT = "Give a folder that `volumetry check` or `volumetry batch` wrote: the one with result.json in it."
_SAME_SCAN = "Give the folder that was given to `volumetry check`."


def _is_nifti(path: Path) -> bool:
    return path.is_file() and path.name.endswith((".nii", ".nii.gz"))


def _ct_of_nifti(path: Path, affine: Affine) -> tuple[NDArray[np.int16], tuple[int | None, ...]]:
    volume, ct_affine = read_nifti(path, _RESULT_HINT)
    if not np.allclose(ct_affine, affine, atol=_AFFINE_TOLERANCE_MM):
        raise InputError("the CT lies on another grid than the mask: not the same scan", hint=_SAME_SCAN)
    return _whole_hu(volume), ()


def _ct_of_input(
    folder: Path, config: Config, document: Mapping[str, Any]
) -> tuple[NDArray[np.int16], tuple[int | None, ...]]:
    scan = read_scan(folder, config)
    if scan.pixels_sha256 != document["provenance"]["pixels_sha256"]:
        raise InputError(
            "this is not the scan that the result was measured on: its pixels or geometry differ",
            hint=_SAME_SCAN,
        )
    return _whole_hu(scan.hu_kji), scan.image_numbers


def _whole_hu(hu_kji: NDArray[Any]) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    whole: NDArray[np.int16] = np.clip(np.rint(hu_kji), limits.min, limits.max).astype(np.int16)
    return whole
