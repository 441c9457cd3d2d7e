"""What the header of a volume file must say, whatever its format, and how reading one stops."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from volumetry.scan.findings import CodedError

Affine = NDArray[np.float64]


class VolumeError(CodedError):
    """Why a volume file is not read: a code of the catalogue and a message without values of names."""


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


def affine_lps(axes_ijk: list[list[float]], origin: list[float], turn: tuple[float, float, float]) -> Affine:
    """4 x 4 from the steps along i, j and k and the origin; `turn` are the signs that make LPS of their space."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes_ijk, float).T
    affine[:3, 3] = origin
    return np.asarray(np.diag([*turn, 1.0]) @ affine)


def data_file_name(name: str) -> str:
    """The name of a data file, if it can only lie in the header's folder; never part of a message."""
    path = PurePosixPath(name)
    if name.upper().startswith("LIST") or "%" in name:
        raise VolumeError("BAD_VOLUME", "a volume whose data are spread over several files is not read")
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise VolumeError("BAD_VOLUME", "the header names a data file outside its own folder")
    return str(path)
