"""Every file of a tree, however deep it is: `os.walk` recurses, and a tree may be deeper than that can go."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is not a folder, in a fixed order; links are not followed.

    Parameters
    ----------
    folder
        Where to begin.

    Yields
    ------
    Path
        Below `folder`, with its path in front.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        parent = waiting.pop()
        try:
            with os.scandir(parent) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        folders = set(below)
        yield from (Path(entry.path) for entry in entries if entry.path not in folders)
        waiting += reversed(below)
