"""Digests of settings, records and files: one way to write a document canonically, and one hash."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def canonical_sha256(document: Mapping[str, Any]) -> str:
    """sha256 of a JSON document whatever the order of its keys: sorted, without white space, ASCII.

    Parameters
    ----------
    document
        What json can write.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    ValueError
        If a number is not finite.

    Examples
    --------
    >>> canonical_sha256({"a": 1, "b": 2}) == canonical_sha256({"b": 2, "a": 1})
    True
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, read in blocks.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
