"""A TOML file into a validated model, or a stop that names the file, the key and what is wrong with it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from volumetry.errors import ConfigError, VolumetryError

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A table of settings: frozen, its keys all known and its numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load_toml(
    path: Path,
    model: type[Model],
    *,
    called: str | None = None,
    stop: type[VolumetryError] = ConfigError,
    hint: str | None = None,
) -> Model:
    """The model that a file states in full.

    Parameters
    ----------
    path
        The file.
    model
        What its keys and values must be.
    called
        What messages call the file; its name by default, never its path.
    stop, hint
        How to stop, and what to do then where the stop's own hint does not say it.

    Returns
    -------
    Model
        Valid.

    Raises
    ------
    VolumetryError
        `stop`, if the file is missing or not TOML, or a key is unknown, missing or out of range.
    """
    called = called or path.name
    return validated(
        read_table(path, called=called, stop=stop, hint=hint), model, called=called, stop=stop, hint=hint
    )


def read_table(
    path: Path, *, called: str | None = None, stop: type[VolumetryError] = ConfigError, hint: str | None = None
) -> dict[str, Any]:
    """What a file states, not yet validated.

    Parameters
    ----------
    path
        The file.
    called
        What messages call the file; its name by default, never its path.
    stop, hint
        How to stop, and what to do then where the stop's own hint does not say it.

    Returns
    -------
    dict[str, Any]
        Keys and values as TOML has them.

    Raises
    ------
    VolumetryError
        `stop`, if the file is missing or not TOML.
    """
    called = called or path.name
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as wrong:
        raise stop(f"cannot read {called}: {wrong.strerror}", hint=hint) from wrong
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise stop(f"{called} is not valid TOML: {wrong}", hint=hint) from wrong


def validated(
    table: Mapping[str, Any],
    model: type[Model],
    *,
    called: str,
    stop: type[VolumetryError] = ConfigError,
    hint: str | None = None,
) -> Model:
    """A table of settings as its model.

    Parameters
    ----------
    table
        Keys and values.
    model
        What they must be.
    called
        What messages call the file.
    stop, hint
        How to stop, and what to do then where the stop's own hint does not say it.

    Returns
    -------
    Model
        Valid.

    Raises
    ------
    VolumetryError
        `stop`, naming the first key that is wrong.

    Examples
    --------
    >>> class Cut(BaseModel):
    ...     depth_mm: float
    >>> validated({"depth_mm": []}, Cut, called="cut.toml")
    Traceback (most recent call last):
    ...
    volumetry.errors.ConfigError: cut.toml: depth_mm: Input should be a valid number [CONFIG]
    """
    try:
        return model.model_validate(table)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_context=False)[0]
        where = [called, *([".".join(map(str, first["loc"]))] if first["loc"] else [])]
        what = first["msg"].removeprefix("Value error, ")
        raise stop(f"{': '.join(where)}: {what}", hint=hint) from wrong
