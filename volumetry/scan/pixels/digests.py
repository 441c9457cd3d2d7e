"""Digests of the canonical input: what was measured, independent of files, encoding, numbering and order."""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np

from volumetry.domain import Grid
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.pixels.decode import Stored


def input_digests(stored_kji: Stored, slices: Sequence[SliceHeader], grid: Grid) -> tuple[str, str]:
    """sha256 of the input, and of its pixels and geometry alone.

    Parameters
    ----------
    stored_kji
        Stored numbers, in the order of `slices`.
    slices
        Their headers.
    grid
        Of the stack.

    Returns
    -------
    input_sha256
        Instances sorted by SOPInstanceUID and frame, by position where there is none: UID, stored numbers, rescale
        pair, position, orientation, pixel size.
    pixels_sha256
        Slices in order of position: stored numbers and rescale pair; and the grid. The same scan under a new
        identity has the same one.
    """
    little = stored_kji.dtype.newbyteorder("<")
    of_pixels = [hashlib.sha256(np.ascontiguousarray(plane, little).data).digest() for plane in stored_kji]
    rescale = [_packed(h.slope or 0.0, h.intercept or 0.0) for h in slices]
    by_uid = hashlib.sha256(stored_kji.dtype.name.encode())
    for k in sorted(range(len(slices)), key=lambda k: (*slices[k].instance, k)):
        header = slices[k]
        place = (*(header.position_lps_mm or ()), *(header.orientation or ()), *(header.pixel_spacing_mm or ()))
        name = header.sop_uid if header.frame_count == 1 else f"{header.sop_uid}#{header.frame}"
        by_uid.update(name.encode() + b"\n" + of_pixels[k] + rescale[k] + _packed(*place))
    by_place = hashlib.sha256(stored_kji.dtype.name.encode())
    for digest, pair in zip(of_pixels, rescale, strict=True):
        by_place.update(digest + pair)
    by_place.update(_packed(*grid.shape_kji, *grid.step_lps_mm.ravel(), *grid.origin_lps_mm))
    return by_uid.hexdigest(), by_place.hexdigest()


def _packed(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *(number + 0.0 for number in numbers))
