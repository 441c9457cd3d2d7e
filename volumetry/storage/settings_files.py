"""Settings files: found by path or by the name under which they ship, and laid over one another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volumetry.storage.shipped import shipped
from volumetry.storage.toml_file import read_table


def read_toml(path: Path) -> dict[str, Any]:
    """A settings file, or a shipped one by its bare name.

    Parameters
    ----------
    path
        Of the file, or a bare name such as ``default``.

    Returns
    -------
    dict[str, Any]
        Its tables and values.

    Raises
    ------
    ConfigError
        If it is not there, cannot be read or is not TOML.
    """
    by_name = shipped("configs") / f"{path}.toml"
    is_bare = path.parent == Path() and not path.suffix
    source = by_name if is_bare and by_name.is_file() else path
    hint = None if not is_bare or source.exists() else f"The shipped configurations are {', '.join(_names())}."
    return read_table(source, called=f"the configuration {path.name}", hint=hint)


def _names() -> list[str]:
    """Of the shipped settings for scans: those of a trial or a training have a place of their own."""
    found = sorted(file.stem for file in shipped("configs").glob("*.toml"))
    return [name for name in found if not name.startswith(("train-", "trial"))]


def merged_settings(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """One table of settings laid over another, key by key.

    Parameters
    ----------
    base, more
        The settings below, and those that win.

    Returns
    -------
    dict[str, Any]
        A new table; nested tables are merged, everything else is replaced as a whole.
    """
    result = dict(base)
    for key, value in more.items():
        below = result.get(key)
        result[key] = (
            merged_settings(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
        )
    return result
