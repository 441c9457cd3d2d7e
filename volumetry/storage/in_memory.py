"""Whether a folder lies in the machine's memory, so that nothing in it outlives the power."""

import os
from pathlib import Path

from volumetry.errors import ConfigError

IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS, _SWAPS = Path("/proc/self/mountinfo"), Path("/proc/swaps")
_HINT = "Name a folder on tmpfs or ramfs, such as /dev/shm/volumetry, or leave the setting empty."


def require_in_memory(folder: Path) -> None:
    """Stop unless a folder, or the place where it would be made, lies on a filesystem in memory.

    Whether a disk is encrypted cannot be found out reliably from here, so a disk is always refused.

    Parameters
    ----------
    folder
        It need not be there yet.

    Raises
    ------
    ConfigError
        If it does not, or that cannot be found out.
    """
    if not folder.is_absolute():
        raise ConfigError("the folder for images in transit must be stated with its whole path", hint=_HINT)
    place = folder
    while not place.exists():
        place = place.parent
    try:
        kind = filesystem_of(place)
    except OSError as wrong:
        raise ConfigError(f"the filesystem of the folder is not known: {wrong.strerror}", hint=_HINT) from wrong
    if kind not in IN_MEMORY:
        named = kind or "an unknown filesystem"
        raise ConfigError(f"the folder for images in transit lies on {named}, not in memory", hint=_HINT)


def filesystem_of(place: Path) -> str:
    """The kind of filesystem that holds a file or folder.

    Parameters
    ----------
    place
        It must be there.

    Returns
    -------
    str
        Such as ``ext4``; empty where the kernel names none.
    """
    device = place.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text("utf-8", "replace").splitlines():
        mount, _, filesystem = line.partition(" - ")
        if mount.split()[2] == wanted:
            return filesystem.split()[0]
    return ""


def can_be_swapped(folder: Path) -> bool:
    """Whether the kernel may write this folder's memory to a swap device.

    Parameters
    ----------
    folder
        On a filesystem in memory.

    Returns
    -------
    bool
        True where there is swap: tmpfs uses it, ramfs does not.
    """
    try:
        swaps = _SWAPS.read_text("utf-8", "replace").splitlines()[1:]
    except OSError:
        return False
    return bool(swaps) and filesystem_of(folder) != "ramfs"
