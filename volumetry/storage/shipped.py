"""Where the files that ship with the program are: configs/ and models/.

An installed wheel carries them inside the package; in a checkout they lie beside it.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Folder of what ships with this installation.

    Parameters
    ----------
    name
        ``"configs"`` or ``"models"``.

    Returns
    -------
    Path
        In an installed package, or in the repository.

    Examples
    --------
    >>> (shipped("configs") / "default.toml").is_file()
    True
    """
    inside = _PACKAGE / "_shipped" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
