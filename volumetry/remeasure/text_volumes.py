"""Masks in NRRD (also Slicer's .seg.nrrd) and MetaImage: their headers are read here and by no library.

No more is unpacked than the header announces, and the header may announce no more than the scan's grid holds.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import FLUID, Grid, Tissue
from volumetry.remeasure.lattice import EditedMaskError, placement
from volumetry.remeasure.segments import labels_of, tissue_named, tissue_numbered
from volumetry.scan.headers.files import FileRef, ReplacedError, file_ref
from volumetry.scan.inputs.inflation import GZIP, InflationError, inflate, start_of
from volumetry.scan.inputs.volume_header import VolumeError, VolumeHeader
from volumetry.scan.inputs.volume_headers import layered_header

_MOST_LAYERS = 16
_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HOLDS = (
    "labels are 0 outside, 1 aerated, 2 ground glass, 3 consolidation, 4 lesion of neither class, 5 pleural fluid"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """What a .seg.nrrd says of one segment.

    Parameters
    ----------
    number
        As Slicer counts them, from 0.
    name
        As the reader wrote it.
    value, layer
        The voxels of this value in this layer are its own.
    """

    number: int
    name: str
    value: int
    layer: int

    @property
    def tissue(self) -> int | None:
        """By its name, or by its label value where the name is but a number; None if neither says it."""
        return tissue_named(self.name) or tissue_numbered(self.name, self.value)


def read_text_volume(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Labels of an NRRD or MetaImage mask on the scan's grid.

    Parameters
    ----------
    path
        ``.nrrd``, ``.seg.nrrd``, ``.mha``, or a header with its data file beside it.
    grid
        The scan's own.

    Returns
    -------
    NDArray[np.uint8]
        Shape `grid.shape_kji`.

    Raises
    ------
    EditedMaskError
        If it cannot be read, lies on another grid, or does not say which tissue a voxel is.
    """
    try:
        file = _file(path)
        start = start_of(file)
        with file.open() as stream:
            packed = stream.read(len(GZIP)) == GZIP
        header, layers, keys = layered_header(start, packed=packed)
        if layers > _MOST_LAYERS:
            raise EditedMaskError(f"the mask has {layers} layers; at most {_MOST_LAYERS} are read")
        affine = _LPS_OF_RAS @ header.affine_lps
        place = placement(affine, header.shape_kji[::-1], grid)
        values = _values(path, file, header, layers)
    except (VolumeError, InflationError) as bad:
        raise EditedMaskError(f"the mask is not a readable {_kind(path)}: {bad.message}") from bad
    except (OSError, ReplacedError) as wrong:
        raise EditedMaskError(f"cannot read the mask ({type(wrong).__name__})") from wrong
    segments = list(_segments(keys, layers))
    if not segments and layers > 1:
        raise EditedMaskError(f"the mask has {layers} layers and no segment that says what they are")
    labels = _by_segments(values, segments) if segments else checked(values[..., 0])
    return place.onto(labels.T, grid)


def checked(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The values as labels; raises EditedMaskError if some are none."""
    allowed = [*(int(tissue) for tissue in Tissue), FLUID]
    other = int(np.count_nonzero(~np.isin(values, allowed)))
    if other:
        raise EditedMaskError(f"the mask holds {other} values that are not labels; {_HOLDS}")
    return values.astype(np.uint8)


def _by_segments(values: NDArray[np.generic], segments: list[Segment]) -> NDArray[np.uint8]:
    members: dict[int, NDArray[np.bool_]] = {}
    for layer in range(values.shape[-1]):
        own = [segment for segment in segments if segment.layer == layer]
        described = {0, *(segment.value for segment in own)}
        found = set(np.unique(values[..., layer]).tolist())
        if not found <= described:
            raise EditedMaskError("the mask holds values that none of its segments describes")
        for segment in own:
            if segment.value not in found:  # an empty segment means nothing
                continue
            if segment.tissue is None:
                raise EditedMaskError(
                    f"segment {segment.number} (label value {segment.value}) is none of lung, ground glass, "
                    "consolidation, lesion of neither class and pleural fluid, by its name",
                    hint="Name the segments in the editor: lung, ground glass, consolidation. Remove others.",
                )
            inside = values[..., layer] == segment.value
            members[segment.tissue] = members[segment.tissue] | inside if segment.tissue in members else inside
    return labels_of(members, values.shape[:-1])


def _segments(keys: Mapping[str, str], layers: int) -> Iterator[Segment]:
    """As 3D Slicer numbers them; older files have one layer for each, without saying so."""
    numbers = sorted(int(said[1]) for key in keys if (said := re.fullmatch(r"Segment(\d{1,4})_(?:ID|Name)", key)))
    for n in dict.fromkeys(numbers):
        try:
            value = int(keys.get(f"Segment{n}_LabelValue", "1"))
            layer = int(keys.get(f"Segment{n}_Layer", str(n) if layers > 1 else "0"))
        except ValueError:
            raise EditedMaskError(f"segment {n} has a label value or a layer that is not a number") from None
        if not 0 <= layer < layers or (
            len(set(numbers)) > 1 and layers == 1 and f"Segment{n}_LabelValue" not in keys
        ):
            raise EditedMaskError(f"segment {n} does not say which voxels are its own")
        yield Segment(n, keys.get(f"Segment{n}_Name", ""), value, layer)


def _values(path: Path, file: FileRef, header: VolumeHeader, layers: int) -> NDArray[np.generic]:
    """Numbers, shape (k, j, i, layer); as many bytes as the header announces, and not one more, are unpacked."""
    data = file if header.data_name is None else _beside(path, header.data_name)
    wanted = header.data_bytes * layers
    if header.packed_from is None:
        offset = data.size - wanted if header.offset is None else header.offset
        with data.open() as stream:
            stream.seek(max(0, offset))
            content = stream.read(wanted) if offset >= 0 else b""
    else:
        offset, unpacked = header.offset or 0, io.BytesIO()
        with data.open() as stream:
            stream.seek(header.packed_from)
            inflate(stream, unpacked, offset + wanted, whole=False)
        content = unpacked.getvalue()[offset:]
    if len(content) != wanted:
        raise VolumeError("BAD_VOLUME", "the file holds less than its header announces")
    return np.frombuffer(content, header.dtype).reshape(*header.shape_kji, layers)


def _file(path: Path) -> FileRef:
    found = file_ref(path.resolve())
    if found is None:
        raise EditedMaskError("cannot read the mask: the file does not exist")
    return found


def _beside(path: Path, name: str) -> FileRef:
    """The data file that a header names: no link, and in the header's own folder."""
    found = None if "/" in name else file_ref(path.resolve().parent / name)
    if found is None:
        raise VolumeError("BAD_VOLUME", "the file with the volume's data is not beside its header")
    return found


def _kind(path: Path) -> str:
    return "MetaImage" if path.name.casefold().endswith((".mha", ".mhd", ".mha.gz")) else "NRRD"
