"""The masks that a result can be shown with: the automatic one, and readers' corrections as they lie on the disk.

A correction never changes once it is written, so that its number names its mask for good. Which mask is the
current one is looked up each time: another page, another command or another reader may have written one since.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.deliver.corrections import Correction, images_of, read_correction
from volumetry.storage.atomic import next_numbered

CORRECTED_MEANWHILE = "CORRECTED_MEANWHILE"

Counted = Callable[[], tuple[int | None, str]]
"""Number of the correction whose value counts, if one does, and what is to be said of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What there is of a result at one moment.

    Parameters
    ----------
    corrections
        Those that can be shown, the first one first.
    current
        The one that is shown unless another is asked for; None for the automatic mask.
    mask_sha256
        Digest of the current mask.
    last
        Highest number in use, also by a correction that cannot be shown.
    notes
        What else must be said.
    """

    corrections: tuple[Correction, ...]
    current: Correction | None
    mask_sha256: str
    last: int
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What a page needs to offer them."""
        return {
            "corrections": [one.facts() for one in self.corrections],
            "current": 0 if self.current is None else self.current.number,
            "reading_notes": list(self.notes),
        }

    def named(self, wanted: str | None) -> Correction | None:
        """A correction by its name; None for the automatic mask.

        Parameters
        ----------
        wanted
            ``automatic``, a number, or None for the current one.

        Raises
        ------
        KeyError
            If there is none of this name.
        """
        if wanted is None:
            return self.current
        return None if wanted == "automatic" else {str(one.number): one for one in self.corrections}[wanted]


@dataclass(frozen=True, slots=True, eq=False)
class Corrections:
    """Where the corrections of a result lie.

    Parameters
    ----------
    result
        Folder of the automatic result.
    folder
        Holds a numbered folder for each correction; may be missing.
    counted
        Which one counts, where that is not simply the last: in a batch.
    temporary
        Whether they are removed when the server ends.
    """

    result: Path
    folder: Path
    counted: Counted | None = None
    temporary: bool = False

    def look(self, automatic: Mapping[str, Any]) -> Readings:
        """What there is now.

        Parameters
        ----------
        automatic
            result.json of the mask that is shown as the automatic one.
        """
        last = int(next_numbered(self.folder).name) - 1
        shown, notes = [], []
        for number in range(1, last + 1):
            correction = read_correction(self.folder / str(number))
            if correction is None:
                notes.append(f"Correction {number} cannot be shown: its files are missing or were changed.")
            elif images_of(correction.document) != images_of(automatic):
                notes.append(f"Correction {number} cannot be shown: it was drawn on other images.")
            else:
                shown.append(correction)
        current = shown[-1] if shown else None
        if self.counted is not None:
            counting, note = self.counted()
            current = next((one for one in shown if one.number == counting), None)
            notes += [f"Batch: {note}."] if note else []
        digest = self._automatic_sha256(automatic) if current is None else current.mask_sha256
        return Readings(tuple(shown), current, digest, last, tuple(notes))

    def _automatic_sha256(self, shown: Mapping[str, Any]) -> str:
        """Of the automatic mask as it is now: the scan may have been measured again since it was loaded."""
        try:
            document = json.loads((self.result / "result.json").read_text("utf-8"))
            return str(document["provenance"]["mask_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return str(shown["provenance"]["mask_sha256"])
