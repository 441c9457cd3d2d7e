"""A NIfTI, NRRD or MetaImage volume in HU: judged by the checks of a DICOM stack, read by the same child.

The file's axes may run any way. It is judged as a stack along the axis nearest to the body's, and handed on in the
file's own order, so that a mask lies on the file's own grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import Finding, Grid, ScanRefusedError, most_severe_first
from volumetry.errors import ScanFailedError
from volumetry.image.orientation import axial_view
from volumetry.scan.checks.composition import Stack
from volumetry.scan.checks.gate import gate
from volumetry.scan.findings import found, found_mildly, plural
from volumetry.scan.headers.file_kinds import FileKind, kind_of
from volumetry.scan.headers.files import FileRef, ReplacedError
from volumetry.scan.headers.pixel_source import PixelSource
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.headers.syntaxes import EXPLICIT
from volumetry.scan.inputs.inflation import GZIP, InflationError, start_of
from volumetry.scan.inputs.opening import Given
from volumetry.scan.inputs.volume_header import VolumeError, VolumeHeader
from volumetry.scan.inputs.volume_headers import volume_header
from volumetry.scan.inputs.volume_stack import VolumeStack
from volumetry.scan.pixels.decode import DecoderDiedError, SliceFault, Stored, decode_requests

_OF_ABSENT_TAGS = frozenset({"AGE_UNKNOWN", "NO_INSTANCE_NUMBER", "REORDERED"})
"""What the gate says of tags that a volume cannot have: NO_HEADER says it for all of them."""
_MASK_VALUES = 64
"""A volume of so few different values is a mask, or was cut down to a few grey levels."""
_NO_AIR_HU = -300.0
"""Where nothing is darker, there is neither air nor lung."""
_SHARED = {"i1": "i2", "u1": "i2", "i2": "i2", "u2": "u2", "f4": "f4", "f8": "f4"}
"""By the file's type, the type in which the child hands numbers over; all others as 32-bit integers."""


def volume_files(files: Sequence[FileRef]) -> list[FileRef]:
    """The NIfTI, NRRD and MetaImage files among these, gzipped ones included."""
    return [file for file in files if _is_volume(file)]


def volume_stacks(
    files: Sequence[FileRef], given: Given, config: Config
) -> tuple[list[VolumeStack], list[Finding]]:
    """Judge volume files by their headers.

    Returns
    -------
    stacks, findings
        Stacks of those whose header can be read, and why others cannot. Masks beside a CT are left out.
    """
    stacks: list[VolumeStack] = []
    findings: list[Finding] = []
    for file in files:
        try:
            stacks.append(_stack(file, given, config))
        except VolumeError as bad:
            findings.append(found(config, bad.code, bad.message))
        except ReplacedError:
            findings.append(found(config, "INPUT_CHANGED", "a file vanished or was replaced while it was read"))
        except OSError:
            findings.append(found(config, "ACCESS_DENIED", "a volume file cannot be read"))
    wide = [stack for stack in stacks if not _of_one_byte(stack.header)]
    if wide and len(wide) < len(stacks):
        message = f"{plural(len(stacks) - len(wide), 'volume')} of 8-bit numbers beside it: masks or pictures"
        findings.append(found(config, "JUNK_FILES_SKIPPED", message, len(stacks) - len(wide)))
        stacks = wide
    labels = _labels_among(stacks, given, config)
    if labels:
        message = f"{plural(len(labels), 'volume')} on the CT's own grid with the values of a mask: set aside"
        findings.append(found(config, "JUNK_FILES_SKIPPED", message, len(labels)))
        stacks = [stack for stack in stacks if stack not in labels]
    return stacks, findings


def _labels_among(stacks: Sequence[VolumeStack], given: Given, config: Config) -> list[VolumeStack]:
    """Masks in numbers wider than a byte, each on the grid of a volume that is none; recognised by their values.

    Only looked for where there is more than one volume, as their numbers must be read.
    """
    if not 1 < len(stacks) <= _MOST_TO_COMPARE:
        return []
    labels = [stack for stack in stacks if _has_label_values(stack, given, config)]
    others = [stack for stack in stacks if stack not in labels]
    return [stack for stack in labels if any(_same_grid(stack.grid, other.grid) for other in others)]


_MOST_TO_COMPARE = 8
_SAMPLED_SLICES = 24


def _has_label_values(stack: VolumeStack, given: Given, config: Config) -> bool:
    """Whether slices from all over a volume hold a few different whole numbers, none of them negative."""
    if not stack.measurable:
        return False
    count = stack.header.shape_kji[0]
    few = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_SLICES)).astype(int)).tolist()
    try:
        stored, faults = _decoded(stack, given, config, few)
    except (
        VolumeError,
        InflationError,
        OSError,
        DecoderDiedError,
        ScanFailedError,
    ):  # judged where it is measured
        return False
    values = np.unique(stored).astype(np.float64) * stack.header.slope + stack.header.intercept
    if faults or len(values) > _MASK_VALUES or not np.isfinite(values).all():
        return False
    return bool(values.min() >= 0 and np.allclose(values, np.rint(values), atol=1e-6))


def _same_grid(one: Grid, other: Grid) -> bool:
    """Whether two volumes have their voxels at the same places, to a hundredth of a millimetre."""
    if one.shape_kji != other.shape_kji:
        return False
    corners = np.array([[0, 0, 0], [n - 1 for n in one.shape_kji]], float)
    return bool(np.allclose(one.lps_mm(corners), other.lps_mm(corners), atol=0.01))


def decode_volume(stack: VolumeStack, given: Given, config: Config) -> tuple[Stored, tuple[SliceFault, ...]]:
    """Stored numbers of a volume file, turned as it was checked.

    Parameters
    ----------
    stack
        From `judged_stack`.
    given
        The input that holds the file.
    config
        Limits.

    Returns
    -------
    stored_kji, faults
        As from `volumetry.scan.pixels.decode.decode`.

    Raises
    ------
    ScanRefusedError
        If the file holds less or more than its header says, or no numbers of a CT.
    """
    try:
        stored, faults = _decoded(stack, given, config, range(stack.header.shape_kji[0]))
    except (VolumeError, InflationError) as bad:
        raise _refusal(stack, bad.code, bad.message, config) from None
    except OSError:
        raise _refusal(stack, "INPUT_CHANGED", "the volume changed while it was read", config) from None
    if not faults:
        require_ct_numbers(stored, stack, config)
    return stack.judged(stored), faults


def _decoded(
    stack: VolumeStack, given: Given, config: Config, wanted: Sequence[int]
) -> tuple[Stored, tuple[SliceFault, ...]]:
    """Stored numbers of some slices, in the file's own order."""
    header = stack.header
    data = _unpacked(stack, given)
    offset = _offset(header, data)
    requests = [_request(n, header, data, offset + k * header.slice_bytes) for n, k in enumerate(wanted)]
    dtype = np.dtype(_SHARED.get(header.dtype[1:], "i4"))
    shape = (len(requests), *header.shape_kji[1:])
    return decode_requests(requests, shape, dtype, config.limits, compressed=False)


def _is_volume(file: FileRef) -> bool:
    try:
        return kind_of(start_of(file)) is FileKind.VOLUME
    except OSError:
        return False


def _stack(file: FileRef, given: Given, config: Config) -> VolumeStack:
    with file.open() as stream:
        packed = stream.read(2) == GZIP
    header = volume_header(start_of(file), packed=packed)
    data = file if header.data_name is None else _beside(file, header.data_name, given)
    return judged_stack(header, file, data, config)


def judged_stack(header: VolumeHeader, file: FileRef, data: FileRef, config: Config) -> VolumeStack:
    """A volume through the gate: turned along the body's axis, with a finding for what its header does not say.

    Parameters
    ----------
    header
        Geometry and type of the numbers.
    file, data
        Where the header and the numbers were found; the same file for most kinds.
    config
        Tolerances, limits, and what follows from each code.

    Returns
    -------
    VolumeStack
        With the findings of the gate and of the header.
    """
    grid = _grid(header)
    steps = grid.step_lps_mm.T
    body = axial_view(grid).axes[0]
    rows, columns = (axis for axis in range(3) if axis != body)
    flip = bool(np.cross(steps[columns], steps[rows]) @ steps[body] < 0)
    slices = tuple(_slices(file, header, grid, (body, rows, columns), flip))
    gated = gate(Stack(slices, slices), config)
    findings = [finding for finding in gated.findings if finding.code not in _OF_ABSENT_TAGS]
    findings += _own_findings(header, config)
    series = gated.series and replace(gated.series, transfer_syntax=None, decoder=f"{header.kind} volume")
    judged = gated.slices, most_severe_first(findings), gated.geometry, series
    return VolumeStack(*judged, header, data, (body, rows, columns), flip, grid)


def _beside(file: FileRef, name: str, given: Given) -> FileRef:
    """The data file that a header names, among the files that were listed: no link, and inside what was given."""
    wanted = str(PurePosixPath(file.name).parent / name)
    data = next((other for other in given.listing.files if other.name == wanted), None)
    if data is None:
        raise VolumeError("BAD_VOLUME", "the file with the volume's data is not beside its header")
    return data


def _grid(header: VolumeHeader) -> Grid:
    axes = header.affine_lps[:3, :3].T[::-1]  # one row for each of k, j, i
    lengths = np.linalg.norm(axes, axis=1)
    spacing = [round(float(mm), 9) for mm in lengths]
    k, j, i = (tuple(float(x) + 0.0 for x in axis) for axis in axes / lengths[:, None])
    x, y, z = (float(mm) + 0.0 for mm in header.affine_lps[:3, 3])
    return Grid(header.shape_kji, (spacing[0], spacing[1], spacing[2]), (x, y, z), (k, j, i))  # type: ignore[arg-type]


def _own_findings(header: VolumeHeader, config: Config) -> Iterator[Finding]:
    absent = "patient, kernel, slice thickness, contrast and dose are unknown, and no SEG or SR can be made"
    message = f"a {header.kind} volume without DICOM header: {absent}"
    message = "; ".join([message, *header.remarks])
    if config.charter.volumes:
        yield found_mildly(config, "NO_HEADER", Outcome.NOTE, message)
    else:
        yield found(config, "NO_HEADER", message)
    if _of_one_byte(header):
        message = "the volume holds 8-bit numbers: a mask or a picture, not a CT in Hounsfield units"
        yield found(config, "HU_IMPLAUSIBLE", f"{message}; give the CT that it belongs to", 8)
    most = config.limits.max_rows_columns
    if max(header.shape_kji) > most:
        yield found(config, "LIMIT_EXCEEDED", f"an axis of {max(header.shape_kji)} voxels; allowed are {most}")


def _of_one_byte(header: VolumeHeader) -> bool:
    return np.dtype(header.dtype).itemsize == 1


def _slices(
    file: FileRef, header: VolumeHeader, grid: Grid, axes: tuple[int, int, int], flip: bool
) -> Iterator[SliceHeader]:
    """The volume as slices along the body, as a DICOM series would state them."""
    body, row, column = axes
    count, rows, columns = (grid.shape_kji[axis] for axis in axes)
    signed = header.dtype[1] in "if"
    stated = _UNSTATED | {
        "file": file,
        "rows": rows,
        "columns": columns,
        "pixels": PixelSource(EXPLICIT, rows, columns, 32, 32, 31, signed),
        "orientation": (*grid.direction_lps[column], *grid.direction_lps[row]),
        "pixel_spacing_mm": (grid.spacing_kji_mm[row], grid.spacing_kji_mm[column]),
        "bits_stored": _bits(header),
        "signed": signed,
        "slope": header.slope,
        "intercept": header.intercept,
        "frame_count": count,
    }
    for n in range(count):
        at = np.zeros(3)
        at[body] = count - 1 - n if flip else n
        position_lps_mm = tuple(float(mm) for mm in grid.lps_mm(at))
        own = {"sop_uid": f"{n:06d}", "position_lps_mm": position_lps_mm, "frame": n}
        yield SliceHeader(**(stated | own))


_UNSTATED: dict[str, Any] = {
    **{field.name: None for field in fields(SliceHeader) if field.default is MISSING},
    **dict.fromkeys(("faults", "identity", "image_type", "padding"), ()),
    **dict.fromkeys(("contrast", "contrast_known", "lossy_tag", "burned_in", "odd_preamble", "repaired"), False),
    "samples": 1,
    "photometric": "MONOCHROME2",
}
"""What a volume file says nothing of."""


def _bits(header: VolumeHeader) -> int:
    """Bits of a number; of 8-bit numbers as if they had more, since `_own_findings` says it better."""
    return max(16, 8 * np.dtype(header.dtype).itemsize)


def _unpacked(stack: VolumeStack, given: Given) -> FileRef:
    """The file with the numbers, or a private copy with as much of them as the header wants, and a slice more."""
    header = stack.header
    if header.packed_from is None:
        return stack.data
    wanted = (header.offset or 0) + header.data_bytes
    return given.private.inflated(stack.data, header.packed_from, wanted + header.slice_bytes)


def _offset(header: VolumeHeader, data: FileRef) -> int:
    """First byte of the numbers; raises VolumeError if there are less than the header says, or a slice more."""
    offset = data.size - header.data_bytes if header.offset is None else header.offset
    there = data.size - offset
    if offset < 0 or there < header.data_bytes:
        share = 100 * max(0, there) / header.data_bytes
        raise VolumeError("BAD_VOLUME", f"the file holds {share:.0f} % of the numbers that its header announces")
    if there >= header.data_bytes + header.slice_bytes:
        raise VolumeError("BAD_VOLUME", "the file holds more slices than its header announces")
    return offset


def _request(index: int, header: VolumeHeader, data: FileRef, at: int) -> dict[str, Any]:
    return {
        "index": index,
        "path": str(data.path),
        "as_listed": (data.size, data.mtime_ns, data.inode),
        "decoder": "volume",
        "dtype": header.dtype,
        "rows": header.shape_kji[1],
        "columns": header.shape_kji[2],
        "fragments": [(at, header.slice_bytes)],
        "deflated_at": None,
    }


def require_ct_numbers(stored: Stored, stack: VolumeStack, config: Config) -> None:
    """Refuse what is not a CT before its histogram is checked: values that are not numbers, or a mask's few.

    Parameters
    ----------
    stored
        Stored numbers (k, j, i), any real type.
    stack
        Their volume.
    config
        What follows from each code.

    Raises
    ------
    ScanRefusedError
        If a value is not finite, the lowest lies far above air, or only a few values occur.
    """
    if stored.dtype.kind == "f":
        odd = sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in stored)
        if odd:
            message = f"{odd} voxels are not a number, infinite, or beyond single precision"
            raise _refusal(stack, "NOT_CT_NUMBERS", f"{message}: set them to the HU of air or of padding", config)
    lowest_hu = float(stored.min()) * stack.header.slope + stack.header.intercept
    if lowest_hu > _NO_AIR_HU:
        message = (
            f"the lowest value is {lowest_hu:g}, and air lies at -1000 HU: a mask, a picture, or a lost offset"
        )
        raise _refusal(stack, "HU_IMPLAUSIBLE", f"{message}; give the CT in Hounsfield units", config)
    sampled = np.unique(stored[::3, ::3, ::3])
    if len(sampled) <= _MASK_VALUES:
        count = len(np.unique(stored))
        if count <= _MASK_VALUES:
            message = f"the volume holds {plural(count, 'different value')}: a mask, not a CT in Hounsfield units"
            raise _refusal(stack, "HU_IMPLAUSIBLE", f"{message}; give the CT that it was drawn on", config)


def _refusal(stack: VolumeStack, code: str, message: str, config: Config) -> ScanRefusedError:
    advice = "Give the CT volume itself in Hounsfield units, or the DICOM series it came from."
    return ScanRefusedError([found(config, code, message, advice=advice), *stack.findings], stack.series)
