"""Every file of a tree, however deep it is: `os.walk` recurses, and a tree may be deeper than that can go."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[Path]:
    """Whatever is no folder below one, in a fixed order; links are not followed.

    What cannot be listed, or lies deeper than a path can be long, is left out.
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
