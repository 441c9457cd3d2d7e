"""From which images a study's result was measured: a part of them that comes again does not replace it.

The list lies beside result.json and moves to ``earlier/`` with it. It holds digests of UIDs.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from volumetry.archive.study_folders import digest
from volumetry.deliver.delivery import RECEIVED
from volumetry.errors import OutputError
from volumetry.scan.headers.values import quiet_pydicom
from volumetry.storage.atomic import numbered, write_json
from volumetry.storage.placing import EARLIER, settle

Images = Mapping[str, frozenset[str]]
"""Digests of the instances of each series, by the digest of the series."""
_FEWEST_POOLED = 3
"""So many series of one image each are one series whose slices have a UID each, as for the gate."""


@dataclass(frozen=True, slots=True)
class Part:
    """What has come of series of which there is a result, if it is not all.

    Parameters
    ----------
    missing, measured
        How many images have not come again, of how many.
    """

    missing: int
    measured: int


def result_folder(out: Path, study: str) -> Path:
    """Where the result of a received study lies.

    Parameters
    ----------
    out
        Folder of all results.
    study
        Digest of its UID, from the name of its folder.
    """
    return out / f"study-{study[:16]}"


def write_received(study: Path, making: Path) -> None:
    """List the images of a study's folder in the folder of its new result.

    Parameters
    ----------
    study
        What was measured.
    making
        The result's folder, which has not got its name yet.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    series = {uid: sorted(instances) for uid, instances in _images_of(study).items()}
    write_json(making / RECEIVED, {"series": series})


def part_of(study: Path, result: Path) -> Part | None:
    """Whether a study's folder holds a part alone of a series that was measured.

    Parameters
    ----------
    study
        What has come.
    result
        The study's result, if there is one; those that it replaced count as well.

    Returns
    -------
    Part or None
        None if every series that has come has come whole, or none of them was measured before.
    """
    measured = _measured(result)
    if not measured:
        return None
    came = _images_of(study)
    concerned = {uid for uid in measured if uid in came}
    single = {uid for uid, instances in measured.items() if len(instances) == 1}
    if len(single) >= _FEWEST_POOLED and concerned & single:
        concerned |= single
    wanted = frozenset[str]().union(*(measured[uid] for uid in concerned))
    missing = wanted.difference(*came.values())
    return Part(len(missing), len(wanted)) if missing else None


def _images_of(study: Path) -> Images:
    series: dict[str, set[str]] = defaultdict(set)
    for path in study.glob("*.dcm"):
        with suppress(Exception), quiet_pydicom():  # a damaged file raises anything; the gate says what it is
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
            uid, instance = (str(header.get(tag, "")).encode() for tag in ("SeriesInstanceUID", "SOPInstanceUID"))
            series[digest(uid)].add(digest(instance))
    return {uid: frozenset(instances) for uid, instances in series.items()}


def _measured(result: Path) -> Images:
    """Of each series the images of its latest result."""
    with suppress(OutputError):  # what a killed run began to move; measuring would say so
        settle(result)
    measured: dict[str, frozenset[str]] = {}
    for folder in (*numbered(result / EARLIER), result):
        measured.update(_listed(folder / RECEIVED))
    return measured


def _listed(path: Path) -> Iterator[tuple[str, frozenset[str]]]:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        document: dict[str, Any] = json.loads(path.read_bytes())
        for uid, instances in document["series"].items():
            yield uid, frozenset(instances)
