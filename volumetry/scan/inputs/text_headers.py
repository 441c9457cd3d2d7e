"""Headers of NRRD and MetaImage, which are text.

They are read here and by no library, since a library follows whatever path they name.
"""

import re

from volumetry.scan.inputs.volume_header import Affine, VolumeError, VolumeHeader, affine_lps, data_file_name

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


def nrrd_header(start: bytes) -> VolumeHeader:
    """The header at the start of an NRRD file; raises VolumeError."""
    return _nrrd_header(*_nrrd_fields(start))


def layered_nrrd_header(start: bytes) -> tuple[VolumeHeader, int, dict[str, str]]:
    """The header of an NRRD whose voxels may hold a list of numbers: how many, and its key/value pairs.

    3D Slicer writes segments that overlap into layers: then the first axis is a list, and its place is ``none``.
    """
    fields, end = _nrrd_fields(start)
    keys = _nrrd_keys(start[:end])
    if fields["dimension"] != "4":
        return _nrrd_header(fields, end), 1, keys
    first, *sizes = fields["sizes"].split()
    kind = fields.get("kinds", "").split()[:1]
    place, _, directions = fields.get("space directions", "").partition(" ")
    if kind not in (["list"], ["vector"]) or place != "none" or not int(first) >= 1:
        raise VolumeError("BAD_VOLUME", "an NRRD of 4 dimensions whose first axis is not a list of layers")
    own = {"dimension": "3", "sizes": " ".join(sizes), "space directions": directions}
    return _nrrd_header(fields | own, end), int(first), keys


def _nrrd_header(fields: dict[str, str], end: int) -> VolumeHeader:
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
        data_name=None if name is None else data_file_name(name),
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


def _nrrd_keys(header: bytes) -> dict[str, str]:
    """Key/value pairs, which a program writes for itself (``key:=value``)."""
    pairs = (line.partition(":=") for line in header.decode("utf-8", "replace").splitlines()[1:])
    return {key.strip(): value.strip() for key, mark, value in pairs if mark and not key.startswith("#")}


def _nrrd_dtype(fields: dict[str, str]) -> str:
    said = fields["type"].lower()
    code = next((code for code, names in _NRRD_TYPES.items() if said in names.split(", ")), None)
    if code is None:
        raise VolumeError("NOT_CT_NUMBERS", "the NRRD's type is not a number")
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
    return affine_lps([_three(vector.split(",")) for vector in vectors], _three(origin[0].split(",")), turn)


def _three(words: list[str]) -> list[float]:
    numbers = [float(word) for word in words]
    if len(numbers) != 3:
        raise VolumeError("BAD_VOLUME_GEOMETRY", "a vector of the header has not 3 numbers")
    return numbers


def metaimage_header(start: bytes) -> VolumeHeader:
    """The header at the start of a MetaImage file; raises VolumeError."""
    fields, end = _meta_fields(start)
    _require_plain(fields)
    sizes = [int(word) for word in fields["DimSize"].split()]
    if fields["NDims"] != "3" or len(sizes) != 3:
        raise VolumeError("BAD_VOLUME", "a MetaImage that has not 3 dimensions")
    code = _META_TYPES.get(fields["ElementType"])
    if code is None:
        raise VolumeError("NOT_CT_NUMBERS", "the MetaImage's ElementType is not a number")
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    name = None if fields["ElementDataFile"] == "LOCAL" else data_file_name(fields["ElementDataFile"])
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
    return affine_lps(axes, origin, (1.0, 1.0, 1.0))
