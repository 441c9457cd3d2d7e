"""What waits to be sent back: kept over restarts, tried again until the archive has taken it."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from volumetry.errors import OutputError
from volumetry.storage.atomic import prepare_folder, write_json

FIRST_S, LONGEST_S = 30.0, 1800.0
"""Between two attempts: doubled from the first to the longest."""


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
        files = [Path(name) for name in json.loads(path.read_bytes())["files"]]
        there = [file for file in files if file.is_file()]
        try:
            if there:
                self._send(there)
        except OutputError as refused:
            wait_s = self._wait_s[path] = min(LONGEST_S, 2 * self._wait_s.get(path, FIRST_S / 2))
            self._due_s[path] = self._clock() + wait_s
            return f"not sent: {refused.message} [{refused.code}]; tried again in {wait_s:.0f} s"
        path.unlink()
        del self._due_s[path]
        gone = len(files) - len(there)
        return f"{len(there)} files sent back" + (f"; {gone} were removed before they could be" if gone else "")
