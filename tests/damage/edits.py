"""Small edits of a written series, from which damages are made.

Every edit takes what it finds: files that cannot be read, or lack what the edit would change, are left alone. So
damages can be combined, and none repairs what another broke. Nothing that they write tells a reader what was done.
"""

import copy
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from volumetry.phantom.pixels import set_pixels
from volumetry.phantom.series import uid

Rng = np.random.Generator
Apply = Callable[[Path, Rng], None]
Change = Callable[[Dataset, Rng], None]
Slice = tuple[Path, Dataset]

_DEFLATED_BYTES = 256_000
_PIXELS = 512 * 512


def slices(folder: Path) -> list[Slice]:
    """The readable CT images of a folder, by position along their normal, with pixel data."""
    found = [(path, ds) for path in files(folder) if (ds := _read(path)) is not None]
    return sorted(found, key=lambda one: _height(one[1]))


def files(folder: Path) -> list[Path]:
    """Regular files below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))


def save(path: Path, ds: Dataset) -> None:
    """Write a dataset back in the encoding that its file meta names."""
    if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        # elements that were never looked at still hold their old bytes: parse them all
        meta, preamble = ds.file_meta, ds.preamble
        ds = Dataset({element.tag: element for element in ds})
        ds.file_meta, ds.preamble = meta, preamble
    ds.save_as(path, enforce_file_format=True)


def every(change: Change | None = None, **tags: Any) -> Apply:
    """Change all slices; ``Keyword=value`` sets a tag that is there or not, ``Keyword=None`` removes it."""
    return on(everything, change, **tags)


def one(change: Change | None = None, **tags: Any) -> Apply:
    """Change one slice somewhere inside the stack."""
    return on(lambda found, rng: [found[inner(rng, found)]] if len(found) > 4 else found[:1], change, **tags)


def upper_half(change: Change | None = None, **tags: Any) -> Apply:
    """Change the slices of the upper half."""
    return on(lambda found, rng: found[len(found) // 2 :], change, **tags)


def on(
    select: Callable[[list[Slice], Rng], Iterable[Slice]],
    change: Change | None,
    **tags: Any,
) -> Apply:
    """Change the slices that `select` picks."""

    def apply(folder: Path, rng: Rng) -> None:
        for path, ds in select(slices(folder), rng):
            if change is not None:
                change(ds, rng)
            for keyword, value in tags.items():
                set_tag(ds, keyword, value)
            save(path, ds)

    return apply


def set_tag(ds: Dataset, keyword: str, value: Any) -> None:
    """Set a tag, or remove it where the value is None."""
    if value is not None:
        setattr(ds, keyword, value)
    elif keyword in ds:
        delattr(ds, keyword)


def inner(rng: Rng, found: list[Slice]) -> int:
    """Index of a slice that is neither first nor last."""
    return int(rng.integers(2, len(found) - 2))


def everything(found: list[Slice], rng: Rng) -> list[Slice]:
    """Select all slices."""
    return found


def one_file(change: Callable[[bytes, Rng], bytes]) -> Apply:
    """Change the bytes of one slice inside the stack."""

    def apply(folder: Path, rng: Rng) -> None:
        found = slices(folder)
        if len(found) > 4:
            path = found[inner(rng, found)][0]
            path.write_bytes(change(path.read_bytes(), rng))

    return apply


def remove(select: Callable[[list[Slice], Rng], Iterable[Slice]]) -> Apply:
    """Delete the files that `select` picks."""

    def apply(folder: Path, rng: Rng) -> None:
        for path, _ in select(slices(folder), rng):
            path.unlink()

    return apply


def add_copies(
    select: Callable[[list[Slice], Rng], Iterable[Slice]],
    change: Change | None = None,
    new_series: bool = False,
    **tags: Any,
) -> Apply:
    """Add changed copies of slices as instances of their own, in the same series or in a new one."""

    def apply(folder: Path, rng: Rng) -> None:
        series = uid(*rng.integers(1 << 30, size=2))
        for path, old in list(select(slices(folder), rng)):
            ds = copy.deepcopy(old)
            renew(ds, rng)
            if new_series:
                ds.SeriesInstanceUID = series
                ds.SeriesNumber = int(ds.get("SeriesNumber", 0)) + 1
            if change is not None:
                change(ds, rng)
            for keyword, value in tags.items():
                set_tag(ds, keyword, value)
            save(fresh(path.parent, rng), ds)

    return apply


def renew(ds: Dataset, rng: Rng) -> None:
    """Make a dataset another instance."""
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(*rng.integers(1 << 30, size=2))


def fresh(folder: Path, rng: Rng) -> Path:
    """A new file name that looks like the others."""
    like = next((path.name for path in files(folder)), "")
    while True:
        name = f"{rng.integers(1 << 32):08X}"
        if like.endswith(".dcm"):
            name = f"{rng.integers(10_000):04d}.dcm"
        if not (folder / name).exists():
            return folder / name


def move_mm(ds: Dataset, offset_lps_mm: Iterable[float]) -> None:
    """Shift a slice, if it has a position."""
    if ds.get("ImagePositionPatient"):
        moved = np.asarray(ds.ImagePositionPatient, float) + np.fromiter(offset_lps_mm, float)
        ds.ImagePositionPatient = [f"{v:.10g}" for v in moved]


def normal_of(ds: Dataset) -> NDArray[np.float64]:
    """The slice normal, or z where the orientation is missing."""
    cosines = np.asarray(ds.get("ImageOrientationPatient") or (1, 0, 0, 0, 1, 0), float)
    return np.cross(cosines[:3], cosines[3:])


def restore(change: Callable[[NDArray[np.int32], Dataset], NDArray[Any]]) -> Change:
    """Rewrite the stored values of a slice, uncompressed; `change` may also set pixel attributes.

    What `change` returns is written in its own integer type.
    """

    def apply(ds: Dataset, rng: Rng) -> None:
        stored = stored_of(ds)
        if stored is not None:
            set_pixels(ds, change(stored.astype(np.int32), ds), ExplicitVRLittleEndian)

    return apply


sharper: Change = restore(
    lambda stored, ds: np.clip(2 * stored - np.roll(stored, 1, axis=1), 0, 4095).astype(np.uint16)
)
"""As another kernel would make it: the same anatomy, other pixels."""


def stored_of(ds: Dataset) -> NDArray[Any] | None:
    """The decoded stored values of a slice, or None where they cannot be had safely."""
    if int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0) > _PIXELS:
        return None
    try:
        stored: NDArray[Any] = ds.pixel_array
    except Exception:  # noqa: BLE001 - damaged pixels fail in many ways; they are then left alone
        return None
    return stored if stored.ndim == 2 else None


def _read(path: Path) -> Dataset | None:
    try:
        meta = read_file_meta_info(path)
        if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian and path.stat().st_size > _DEFLATED_BYTES:
            return None  # it may be a bomb
        ds = dcmread(path)
        return ds if ds.SOPClassUID == CTImageStorage else None
    except Exception:  # noqa: BLE001 - damaged files fail in many ways; they are then left alone
        return None


def _height(ds: Dataset) -> tuple[float, int]:
    position = ds.get("ImagePositionPatient")
    height = float(normal_of(ds) @ np.asarray(position, float)) if position else 0.0
    return height, int(ds.get("InstanceNumber") or 0)
