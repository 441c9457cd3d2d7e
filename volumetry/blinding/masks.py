"""Readers' masks of a blinded package, each with the scan that it is of."""

from dataclasses import dataclass
from pathlib import Path

from volumetry.blinding.package import KEY_COLUMNS
from volumetry.blinding.unblind import require_key
from volumetry.errors import UsageError
from volumetry.storage.csv_tables import read_table

_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", ".dcm")


@dataclass(frozen=True, slots=True)
class ReadMask:
    """One mask.

    Parameters
    ----------
    reading_id, scan_id
        Name in the package, and in the results.
    path
        The reader's file.
    """

    reading_id: str
    scan_id: str
    path: Path


def masks_of(package: Path, key: Path, folder: Path) -> list[ReadMask]:
    """The masks of a folder, named after the readings (``R0001.nii.gz``, ``R0002.seg.nrrd``).

    The images of a package have the pixels and the geometry of the scans, so a mask lies on the scan's grid.

    Parameters
    ----------
    package
        Folder that `make_reading_package` made.
    key
        The key file.
    folder
        With one file for each reading that was edited.

    Returns
    -------
    list[ReadMask]
        In the order of the scans' ids.

    Raises
    ------
    InputError
        ``KEY_MISMATCH`` if the key is not the one that was written with this package.
    UsageError
        If a file is of no reading, a reading has two, or there is none: nothing is passed over.
    """
    require_key(package, key)
    scan_of = {row.cells["reading_id"]: row.cells["scan_id"] for row in read_table(key, KEY_COLUMNS).rows}
    scan_of.pop("", None)
    found: dict[str, ReadMask] = {}
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.casefold().endswith(suffix)), "")
        reading = path.name[: len(path.name) - len(suffix)]
        if not suffix or reading not in scan_of:
            raise UsageError(
                f"{path.name} is not named after a reading of this package",
                hint=f"Name each mask after its reading, such as R0001.nii.gz; known are {', '.join(_SUFFIXES)}.",
            )
        if reading in found:
            raise UsageError(f"{reading} has two masks: {found[reading].path.name} and {path.name}")
        found[reading] = ReadMask(reading, scan_of[reading], path)
    if not found:
        raise UsageError(f"{folder.name} contains no mask")
    return sorted(found.values(), key=lambda mask: mask.scan_id)
