"""Headers of NIfTI-1 and NIfTI-2: sform, qform, pixdim and unit must not contradict each other."""

import math

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from volumetry.scan.inputs.volume_header import Affine, VolumeError, VolumeHeader

_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By the lowest three bits of xyzt_units: unknown (mm by custom), metre, millimetre, micrometre."""
_SAME_PLACE_MM, _SAME_SIZE = 0.5, 0.01


def nifti_header(start: bytes) -> VolumeHeader:
    """The header at the start of a NIfTI file; raises VolumeError."""
    order, size = _kind(start)
    header = _NIFTI_SIZES[size](start[:size], endianness=order, check=False)
    magic = bytes(header["magic"].tobytes())
    if magic[:3] not in (b"n+1", b"n+2"):
        said = "a NIfTI header whose data lie in another file" if magic[:2] == b"ni" else "an Analyze header"
        raise VolumeError("BAD_VOLUME", f"{said}: write it as one NIfTI file")
    dims = [int(n) for n in header["dim"]]
    if not 3 <= dims[0] <= 7 or any(n != 1 for n in dims[4 : 1 + dims[0]]):
        raise VolumeError("BAD_VOLUME", f"a volume of {dims[0]} dimensions; a CT volume has 3")
    code = int(header["datatype"])
    if code not in _NIFTI_TYPES:
        raise VolumeError("NOT_CT_NUMBERS", "colours, complex numbers or bits, not one number for each voxel")
    affine, remarks = _affine(header)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not slope or not math.isfinite(slope):  # the standard's way to say: not scaled
        slope, intercept = 1.0, 0.0
    if not math.isfinite(intercept):
        raise VolumeError("BAD_VOLUME", "scl_inter is not a finite number although scl_slope scales the values")
    offset = float(header["vox_offset"])
    if not size <= offset < 2**26:
        raise VolumeError("BAD_VOLUME", "vox_offset lies inside the header, or far beyond it")
    return VolumeHeader(
        "NIfTI", (dims[3], dims[2], dims[1]), affine, order + _NIFTI_TYPES[code], slope, intercept, int(offset),
        remarks=remarks,
    )  # fmt: skip


def _kind(start: bytes) -> tuple[str, int]:
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(start[:4], name)  # type: ignore[arg-type]
        if size in _NIFTI_SIZES and len(start) >= size:
            return order, size
    raise VolumeError("BAD_VOLUME", "the file ends inside its header")


def _affine(header: "nib.Nifti1Header") -> tuple[Affine, tuple[str, ...]]:
    """LPS affine in mm, by the sform where there is one; what qform and pixdim say must not contradict it."""
    units = int(header["xyzt_units"]) & 7
    if units not in _MM_PER_UNIT:
        raise VolumeError("BAD_VOLUME_GEOMETRY", "xyzt_units names no unit of length")
    remarks = ["states no unit, mm were taken"] if units == 0 else []
    sform, qform = _form(header, "sform"), _form(header, "qform")
    affine = sform if sform is not None else qform
    if affine is None:
        message = "qform_code and sform_code are 0: nothing says where the voxels lie, or which side is left"
        raise VolumeError("BAD_VOLUME_GEOMETRY", message)
    said = np.abs(np.asarray(header["pixdim"][1:4], float))
    if not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), said, rtol=_SAME_SIZE):
        raise VolumeError("BAD_VOLUME_GEOMETRY", "pixdim and the affine state different voxel sizes")
    if sform is not None and qform is not None:
        remarks += _two_forms(sform, qform, [int(n) for n in header["dim"][1:4]])
    scale = np.diag([*[_MM_PER_UNIT[units]] * 3, 1.0])
    return _LPS_OF_RAS @ scale @ affine, tuple(remarks)


def _form(header: "nib.Nifti1Header", name: str) -> Affine | None:
    if int(header[f"{name}_code"]) <= 0:
        return None
    try:
        affine: Affine = np.asarray(getattr(header, f"get_{name}")(), float)
    except (HeaderDataError, ValueError):
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"the {name} is not an affine") from None
    if not np.isfinite(affine).all():
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"the {name} is not finite")
    return affine


def _two_forms(sform: Affine, qform: Affine, shape_ijk: list[int]) -> list[str]:
    """Nothing if they agree, a remark if one is a small motion of the other; raises if they contradict."""
    corners = np.array(
        [[i, j, k, 1.0] for i in (0, shape_ijk[0]) for j in (0, shape_ijk[1]) for k in (0, shape_ijk[2])]
    )
    apart_mm = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    if apart_mm <= _SAME_PLACE_MM:
        return []
    same_size = math.isclose(abs(np.linalg.det(sform)), abs(np.linalg.det(qform)), rel_tol=_SAME_SIZE)
    if not same_size or nib.aff2axcodes(sform) != nib.aff2axcodes(qform):
        message = f"sform and qform contradict each other (up to {apart_mm:.0f} mm apart)"
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"{message}: it is not known which is right")
    return [f"sform and qform lie up to {apart_mm:.1f} mm apart, the sform was taken"]
