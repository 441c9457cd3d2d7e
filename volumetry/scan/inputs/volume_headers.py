"""What the header of a NIfTI, NRRD or MetaImage file says: geometry, numbers, and where they lie.

The text headers are read here and by no library, since a library follows whatever path they name. A header that
leaves the place of a voxel open is refused: volumes need a spacing, and left and right an orientation.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

Affine = NDArray[np.float64]

_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By the lowest three bits of xyzt_units: unknown (mm by custom), metre, millimetre, micrometre."""
_SAME_PLACE_MM, _SAME_SIZE = 0.5, 0.01
_NRRD_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_NRRD_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


class VolumeError(Exception):
    """Why a volume file is not read: a code of the catalogue and a message without values of names."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, eq=False)
class VolumeHeader:
    """What is needed to place and to read the numbers of a volume.

    Parameters
    ----------
    kind
        ``NIfTI``, ``NRRD`` or ``MetaImage``.
    shape_kji
        In the file's own order, the fastest axis last.
    affine_lps
        4 x 4: (i, j, k, 1) to LPS mm.
    dtype
        As numpy writes it, byte order included.
    slope, intercept
        HU = stored x slope + intercept.
    offset
        First byte of the numbers: in the file, or in what is inflated. None: the numbers end the file.
    packed_from
        Where in the file the compressed data begin; None if they are not compressed.
    data_name
        File that holds the numbers, relative to the header's folder; None: they follow the header.
    remarks
        What a reader should know of how the header was understood.
    """

    kind: str
    shape_kji: tuple[int, int, int]
    affine_lps: Affine
    dtype: str
    slope: float = 1.0
    intercept: float = 0.0
    offset: int | None = 0
    packed_from: int | None = None
    data_name: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def slice_bytes(self) -> int:
        """Size of one slice along the file's slowest axis."""
        return self.shape_kji[1] * self.shape_kji[2] * np.dtype(self.dtype).itemsize

    @property
    def data_bytes(self) -> int:
        """Size of all numbers."""
        return self.shape_kji[0] * self.slice_bytes


def volume_header(start: bytes, *, packed: bool = False) -> VolumeHeader:
    """Read the header at the start of a file.

    Parameters
    ----------
    start
        The first 64 kB, inflated if the file is gzipped as a whole.
    packed
        Whether it is.

    Raises
    ------
    VolumeError
        BAD_VOLUME, BAD_VOLUME_GEOMETRY or NOT_CT_NUMBERS.
    """
    try:
        header = _reader_of(start)(start)
    except (
        ValueError,
        OverflowError,
        KeyError,
        IndexError,
    ) as bad:  # the text of these holds values of the header
        raise VolumeError("BAD_VOLUME", f"the volume's header cannot be parsed ({type(bad).__name__})") from None
    if packed and header.packed_from is not None:
        raise VolumeError("BAD_VOLUME", "the volume is compressed twice")
    if packed and header.data_name is not None:
        raise VolumeError("BAD_VOLUME", "a compressed header that names another file for its data")
    _require_place(header)
    return replace(header, packed_from=0) if packed else header


def _reader_of(start: bytes) -> Callable[[bytes], VolumeHeader]:
    if start.startswith(b"NRRD000"):
        return _nrrd
    if re.match(rb"\s*(ObjectType|NDims)\s*=", start[:200]):
        return _meta_image
    return _nifti


def _require_place(header: VolumeHeader) -> None:
    """Every axis has a length, the three span space, and they are not what programs write for want of better."""
    if not all(1 <= n <= 2**15 for n in header.shape_kji):
        raise VolumeError("BAD_VOLUME", f"a volume cannot have {' x '.join(map(str, header.shape_kji))} voxels")
    axes = header.affine_lps[:3, :3]
    if not np.isfinite(header.affine_lps).all() or not (np.abs(axes).max(axis=0) > 0).all():
        raise VolumeError("BAD_VOLUME_GEOMETRY", "the affine is not finite, or an axis has no length")
    if np.array_equal(np.abs(axes), np.eye(3)) and not header.affine_lps[:3, 3].any():
        message = "the affine is the identity, which programs write where they know none"
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"{message}: no spacing and no orientation")
    units = axes / np.linalg.norm(axes, axis=0)
    skew = max(abs(float(units[:, a] @ units[:, b])) for a, b in ((0, 1), (0, 2), (1, 2)))
    if skew > _SKEW:
        degrees = 90 - math.degrees(math.acos(min(1.0, skew)))
        message = f"the axes are sheared by {degrees:.2f} degrees or do not span space"
        raise VolumeError("BAD_VOLUME_GEOMETRY", message)


_SKEW = 2e-3
"""Cosine between two axes: single precision and rounded direction cosines stay far below."""


def _nifti(start: bytes) -> VolumeHeader:
    order, size = _nifti_kind(start)
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
    affine, remarks = _nifti_affine(header)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not slope or not math.isfinite(slope):  # the standard's way to say: not scaled
        slope, intercept = 1.0, 0.0
    if not math.isfinite(intercept):
        raise VolumeError("BAD_VOLUME", "scl_inter is no finite number, and scl_slope scales by it")
    offset = float(header["vox_offset"])
    if not size <= offset < 2**26:
        raise VolumeError("BAD_VOLUME", "vox_offset lies inside the header, or far beyond it")
    return VolumeHeader(
        "NIfTI", (dims[3], dims[2], dims[1]), affine, order + _NIFTI_TYPES[code], slope, intercept, int(offset),
        remarks=remarks,
    )  # fmt: skip


def _nifti_kind(start: bytes) -> tuple[str, int]:
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(start[:4], name)  # type: ignore[arg-type]
        if size in _NIFTI_SIZES and len(start) >= size:
            return order, size
    raise VolumeError("BAD_VOLUME", "the file ends inside its header")


def _nifti_affine(header: "nib.Nifti1Header") -> tuple[Affine, tuple[str, ...]]:
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
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"the {name} is no affine") from None
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
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"{message}: nobody can say which is right")
    return [f"sform and qform lie up to {apart_mm:.1f} mm apart, the sform was taken"]


def _nrrd(start: bytes) -> VolumeHeader:
    fields, end = _nrrd_fields(start)
    if fields["dimension"] != "3":
        raise VolumeError("BAD_VOLUME", "an NRRD that has not 3 dimensions")
    sizes = [int(word) for word in fields["sizes"].split()]
    if len(sizes) != 3:
        raise VolumeError("BAD_VOLUME", "sizes and dimension of the NRRD do not agree")
    dtype = _nrrd_dtype(fields)
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise VolumeError("BAD_VOLUME", "the NRRD's encoding is none of raw and gzip")
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))) or skip < -1 or (skip and encoding != "raw"):
        raise VolumeError("BAD_VOLUME", "an NRRD that skips lines, or bytes of compressed data, is not read")
    name = fields.get("data file", fields.get("datafile"))
    begin = 0 if name else end
    packed = None if encoding == "raw" else begin
    offset = None if skip == -1 else skip if packed is not None else begin + skip
    return VolumeHeader(
        "NRRD", (sizes[2], sizes[1], sizes[0]), _nrrd_affine(fields), dtype, offset=offset, packed_from=packed,
        data_name=None if name is None else _inside(name),
    )  # fmt: skip


def _nrrd_fields(start: bytes) -> tuple[dict[str, str], int]:
    """Fields by name in lower case, and where the data begin."""
    ends = [at for at in (start.find(b"\n\n") + 2, start.find(b"\r\n\r\n") + 4) if at > 4]
    text = start[: min(ends)] if ends else start
    fields: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines()[1:]:
        name, mark, value = line.partition(":")
        if not mark or line.startswith("#") or value.startswith("="):
            continue
        if name.strip().lower() in fields:
            raise VolumeError("BAD_VOLUME", "a field of the NRRD header is there twice")
        fields[name.strip().lower()] = value.strip()
    absent = [name for name in ("dimension", "sizes", "type", "encoding") if name not in fields]
    if absent or (not ends and "data file" not in fields and "datafile" not in fields):
        raise VolumeError("BAD_VOLUME", f"the NRRD header lacks {', '.join(absent) or 'its end'}")
    return fields, len(text)


def _nrrd_dtype(fields: dict[str, str]) -> str:
    said = fields["type"].lower()
    code = next((code for code, names in _NRRD_TYPES.items() if said in names.split(", ")), None)
    if code is None:
        raise VolumeError("NOT_CT_NUMBERS", "the NRRD's type is no number")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None and code[1] != "1":
        raise VolumeError("BAD_VOLUME", "the NRRD does not say its endian")
    return (order or "|") + code


def _nrrd_affine(fields: dict[str, str]) -> Affine:
    turn = _NRRD_SPACES.get(fields.get("space", "").lower())
    vectors = re.findall(r"\(([^)]*)\)|none", fields.get("space directions", ""))
    origin = re.findall(r"\(([^)]*)\)", fields.get("space origin", ""))
    if turn is None or len(vectors) != 3 or len(origin) != 1 or not all(vectors):
        raise VolumeError("BAD_VOLUME_GEOMETRY", "the NRRD lacks a space, space directions or a space origin")
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if any(unit.lower() not in ("mm", "millimeter", "millimeters") for unit in units):
        raise VolumeError("BAD_VOLUME_GEOMETRY", "the NRRD's space units are not mm")
    return _affine([_three(vector.split(",")) for vector in vectors], _three(origin[0].split(",")), turn)


def _affine(axes_ijk: list[list[float]], origin: list[float], turn: tuple[float, float, float]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes_ijk, float).T
    affine[:3, 3] = origin
    return np.asarray(np.diag([*turn, 1.0]) @ affine)


def _three(words: list[str]) -> list[float]:
    numbers = [float(word) for word in words]
    if len(numbers) != 3:
        raise VolumeError("BAD_VOLUME_GEOMETRY", "a vector of the header has not 3 numbers")
    return numbers


def _inside(name: str) -> str:
    """The name of a data file, if it can only lie in the header's folder; never part of a message."""
    path = PurePosixPath(name)
    if name.upper().startswith("LIST") or "%" in name:
        raise VolumeError("BAD_VOLUME", "a volume whose data are spread over several files is not read")
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise VolumeError("BAD_VOLUME", "the header names a data file outside its own folder")
    return str(path)


def _meta_image(start: bytes) -> VolumeHeader:
    fields, end = _meta_fields(start)
    _require_plain(fields)
    sizes = [int(word) for word in fields["DimSize"].split()]
    if fields["NDims"] != "3" or len(sizes) != 3:
        raise VolumeError("BAD_VOLUME", "a MetaImage that has not 3 dimensions")
    code = _META_TYPES.get(fields["ElementType"])
    if code is None:
        raise VolumeError("NOT_CT_NUMBERS", "the MetaImage's ElementType is no number")
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    name = None if fields["ElementDataFile"] == "LOCAL" else _inside(fields["ElementDataFile"])
    begin, skip = (0 if name else end), int(fields.get("HeaderSize", "0"))
    packed = _true(fields.get("CompressedData", "False"))
    if skip < -1 or (skip and (packed or name is None)):
        raise VolumeError("BAD_VOLUME", "a MetaImage whose HeaderSize cannot be followed")
    return VolumeHeader(
        "MetaImage", (sizes[2], sizes[1], sizes[0]), _meta_affine(fields),
        (">" if _true(msb) else "<") + code,
        offset=None if skip == -1 else 0 if packed else begin + skip,
        packed_from=begin if packed else None, data_name=name,
    )  # fmt: skip


def _meta_fields(start: bytes) -> tuple[dict[str, str], int]:
    """Fields by name, and where the data begin: behind ElementDataFile, which ends the header."""
    fields: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", at)
        line = start[at : end if end >= 0 else len(start)].decode("utf-8", "replace")
        name, mark, value = (part.strip() for part in line.partition("="))
        if mark and name in fields:
            raise VolumeError("BAD_VOLUME", "a field of the MetaImage header is there twice")
        fields[name] = value
        if end < 0:
            break
        at = end + 1
    absent = [n for n in ("NDims", "DimSize", "ElementType", "ElementDataFile") if n not in fields]
    if absent:
        raise VolumeError("BAD_VOLUME", f"the MetaImage header lacks {', '.join(absent)}")
    return fields, at


def _require_plain(fields: dict[str, str]) -> None:
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise VolumeError(
            "NOT_CT_NUMBERS", "the MetaImage has more than one channel, not one number for each voxel"
        )
    if not _true(fields.get("BinaryData", "True")):
        raise VolumeError("BAD_VOLUME", "a MetaImage written as text is not read")
    scaled = (
        float(fields.get("ElementToIntensityFunctionSlope", "1")),
        float(fields.get("ElementToIntensityFunctionOffset", "0")),
    )
    if scaled != (1.0, 0.0):
        raise VolumeError("BAD_VOLUME", "a MetaImage with an intensity function is not read")
    if fields.get("DistanceUnits", "mm").lower() not in ("mm", "?"):
        raise VolumeError("BAD_VOLUME_GEOMETRY", "the MetaImage's DistanceUnits are not mm")


def _true(word: str) -> bool:
    return word[:1].upper() in ("T", "Y", "1")


def _meta_affine(fields: dict[str, str]) -> Affine:
    def first(*names: str) -> list[float]:
        text = next((fields[name] for name in names if name in fields), None)
        if text is None:
            raise VolumeError("BAD_VOLUME_GEOMETRY", f"the MetaImage header lacks {names[0]}")
        return [float(word) for word in text.split()]

    turn = first("TransformMatrix", "Rotation", "Orientation")
    spacing, origin = first("ElementSpacing"), first("Offset", "Position", "Origin")
    if (len(turn), len(spacing), len(origin)) != (9, 3, 3):
        raise VolumeError("BAD_VOLUME_GEOMETRY", "a vector of the MetaImage header has not 3 numbers")
    axes = [[spacing[n] * x for x in turn[3 * n : 3 * n + 3]] for n in range(3)]
    return _affine(axes, origin, (1.0, 1.0, 1.0))
