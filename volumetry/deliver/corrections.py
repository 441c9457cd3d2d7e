"""Readers' corrections beside a result: read as they were written, and kept when the images are measured again.

A correction is a reader's mask on certain images. It goes on counting as long as the result beside it is of those
images, whichever automatic mask it was drawn on; with the result of other images it goes to ``earlier/``.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetry.deliver.delivery import NAMES
from volumetry.storage.atomic import numbered
from volumetry.storage.digests import file_sha256
from volumetry.storage.placing import EARLIER, new_result

CORRECTIONS = "corrections"

Say = Callable[[str], object]
"""Called with a sentence for the person who runs the program."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A reader's mask, whole on the disk.

    Parameters
    ----------
    number
        Counts from 1; 0 is the automatic mask.
    folder
        Holds the files.
    document
        result.json.
    written
        When, in UTC (ISO 8601).
    """

    number: int
    folder: Path
    document: Mapping[str, Any]
    written: str

    @property
    def mask_sha256(self) -> str:
        """Digest of the mask."""
        return str(self.document["provenance"]["mask_sha256"])

    def facts(self) -> dict[str, Any]:
        """What a page says of it."""
        reader, reason = self.document["corrected_by"], self.document["reason"]
        return {"number": self.number, "reader": reader, "reason": reason, "written": self.written}


def read_correction(folder: Path) -> Correction | None:
    """A correction whose numbers and mask are those that were written; None of anything else.

    Parameters
    ----------
    folder
        Its numbered folder.
    """
    try:
        run = json.loads((folder / "run.json").read_text("utf-8"))
        document = json.loads((folder / "result.json").read_text("utf-8"))
        listed = run["files_sha256"]
        if any(file_sha256(folder / name) != listed[name] for name in ("result.json", "mask.nii.gz")):
            return None
        correction = Correction(int(folder.name), folder, document, str(run["written"]))
        # What is said of it must be there: a result that is no correction may lie here, too.
        return correction if correction.facts() and correction.mask_sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def images_of(document: Mapping[str, Any]) -> object:
    """Digest of the images that were measured: pixels and geometry; None where none were.

    Parameters
    ----------
    document
        result.json.
    """
    return (document.get("provenance") or {}).get("pixels_sha256")


@contextmanager
def new_scan_result(folder: Path, say: Say) -> Iterator[Path]:
    """A hidden folder for a scan's new result, as of `new_result`; corrections of its images stay where they are.

    Parameters
    ----------
    folder
        The result's; made if missing. An earlier result in it moves to ``earlier/<n>/``, and the corrections with
        it if they are of other images.
    say
        Told what became of the corrections, once the new result is in its place.

    Yields
    ------
    Path
        The hidden folder, empty.

    Raises
    ------
    OutputError
        If it cannot be written; then the old result is still there, with its corrections.
    """
    said: list[str] = []

    def staying(making: Path) -> set[str]:
        there = numbered(folder / CORRECTIONS)
        if not there:  # a correction that is being written finds its folder where it was
            return {CORRECTIONS}
        images = _images_in(making)
        same = {int(path.name) for path in there if images and _images_in(path) == images}
        if images and not same and _images_in(folder) != images:
            said.append(_moved(len(there)))
            return set()
        said.append(_stay(len(there), images is not None, int(there[-1].name) in same, there[-1]))
        return {CORRECTIONS}

    with new_result(folder, NAMES, staying) as making:
        yield making
    for sentence in said:
        say(sentence)


def _images_in(folder: Path) -> object:
    try:
        return images_of(json.loads((folder / "result.json").read_text("utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


def _stay(count: int, measured: bool, last_fits: bool, last: Path) -> str:
    kept = f"{_counted(count)} kept"
    if not measured:
        return f"{kept}; this run gave no number, and no correction counts until its images are measured again"
    if not last_fits or read_correction(last) is None:
        return (
            f"{kept}; the last one, {CORRECTIONS}/{last.name}, cannot be used: its files are missing or were "
            "changed, or it was drawn on other images"
        )
    return f"{kept} and counts" if count == 1 else f"{kept}; the last one counts"


def _moved(count: int) -> str:
    return (
        f"{_counted(count)} moved to {EARLIER}/ with the earlier result, as drawn on other images than those "
        "measured now: the automatic numbers count"
    )


def _counted(count: int) -> str:
    return "1 correction of a reader was" if count == 1 else f"{count} corrections of a reader were"
