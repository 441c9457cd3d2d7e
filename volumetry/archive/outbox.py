"""What waits to be sent back: kept over restarts, tried again until the archive has taken it."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from volumetry.errors import VolumetryError
from volumetry.storage.atomic import prepare_folder, write_json

FIRST_S, LONGEST_S = 30.0, 1800.0
"""Between two attempts: doubled from the first to the longest."""
_BROKEN = ".broken"


class Outbox:
    """Lists of files that the archive has not taken yet, one small file each.

    The files themselves stay where they were written. A list is removed when all of it was taken.

    Parameters
    ----------
    folder
        Where the lists lie.
    send
        Sends the files of one list; `OutputError` if the archive does not take them.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        folder: Path,
        send: Callable[[Sequence[Path]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        prepare_folder(folder)
        self._folder = folder
        self._send = send
        self._clock = clock
        self._due_s = {path: clock() for path in sorted(folder.glob("*.json"))}
        self._wait_s: dict[Path, float] = {}

    def __len__(self) -> int:
        return len(self._due_s)

    def add(self, files: Sequence[Path]) -> None:
        """Files of one study, to be sent together as soon as can be."""
        path = self._folder / f"{secrets.token_hex(6)}.json"
        write_json(path, {"files": [str(file.resolve()) for file in files]})
        self._due_s[path] = self._clock()

    def deliver(self) -> list[str]:
        """Try what is due; what happened, a line for each list, without identity."""
        return [self._attempt(path) for path, due_s in list(self._due_s.items()) if due_s <= self._clock()]

    def _attempt(self, path: Path) -> str:
        try:
            files = _listed(path)
            there = [file for file in files if file.is_file()]
            if there:
                self._send(there)
            path.unlink()
        except _BrokenListError:
            return self._set_aside(path)
        except VolumetryError as refused:
            return f"not sent: {refused.message} [{refused.code}]; tried again in {self._later(path):.0f} s"
        except Exception as wrong:  # noqa: BLE001  an unreadable disk or file costs its list alone; texts hold paths
            return f"not sent ({type(wrong).__name__}); tried again in {self._later(path):.0f} s"
        del self._due_s[path]
        gone = len(files) - len(there)
        return f"{len(there)} files sent back" + (f"; {gone} were removed before they could be" if gone else "")

    def _later(self, path: Path) -> float:
        wait_s = self._wait_s[path] = min(LONGEST_S, 2 * self._wait_s.get(path, FIRST_S / 2))
        self._due_s[path] = self._clock() + wait_s
        return wait_s

    def _set_aside(self, path: Path) -> str:
        del self._due_s[path]
        try:
            path.rename(path.with_suffix(_BROKEN))
        except OSError:
            return f"{path.name} in the outbox is damaged, and is left alone until the next start"
        return (
            f"{path.name} in the outbox is damaged and set aside as {path.stem}{_BROKEN}: "
            "results that it named are kept, but were not sent"
        )


class _BrokenListError(Exception):
    """Not a list that `Outbox.add` wrote."""


def _listed(path: Path) -> list[Path]:
    content = path.read_bytes()
    try:
        return [Path(name) for name in json.loads(content)["files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise _BrokenListError from wrong
