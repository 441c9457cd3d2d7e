"""Put the network of the slices and the network of the whole chest into one model folder.

Run as ``python -m volumetry.training.two_looks SLICES CHEST OUT --version 0.6.0``; both were made by
``volumetry train`` and stay as they are.
"""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from volumetry.config import load_config
from volumetry.errors import ModelError
from volumetry.segment.card import CARD, StoredFile, read_card, verified_bytes
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.thorax_weights import read_context_card
from volumetry.segment.weights import load_model
from volumetry.storage.atomic import write_whole
from volumetry.training.card import as_toml
from volumetry.training.continued import PARTS, copy_context


def join(slices: Path, chest: Path, out: Path, version: str, lung_probability: float = 0.5) -> Path:
    """Write a model folder whose lesions lie in lung as the chest's network sees it.

    Parameters
    ----------
    slices
        Model folder of the slices' network; if it has a chest's network already, that one is replaced.
    chest
        Folder of the chest's network.
    out
        Where the new folder goes.
    version
        Of the model that they make together.
    lung_probability
        From which probability on the chest's network calls a voxel of its grid lung.

    Returns
    -------
    Path
        The folder, ``<name of the slices' model>-<version>``, loaded once with its probes.

    Raises
    ------
    ModelError
        If a folder is not a model, a file was changed, or the new folder exists.
    """
    fine, coarse = read_card(slices), read_context_card(chest)
    folder = out / f"{fine.name}-{version}"
    if folder.exists():
        raise ModelError(f"{folder.name} exists", hint="Give another version.")
    folder.mkdir(parents=True)
    card = {**tomllib.loads((slices / CARD).read_text("utf-8")), "version": version}
    for part in PARTS:
        stored: StoredFile = getattr(fine, part)
        write_whole(folder / stored.file, verified_bytes(slices, stored))
    context = tomllib.loads((chest / CARD).read_text("utf-8")) | {"lung_probability": lung_probability}
    files = {part: getattr(coarse, part) for part in PARTS}
    context |= copy_context(chest, files, folder, f"{coarse.name}_")
    story: dict[str, Any] = card.pop("story", {})
    write_whole(folder / CARD, as_toml({**card, "context": context, "story": story}).encode())
    NetworkSegmenter(load_model(folder), load_config().segment)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slices", type=Path)
    parser.add_argument("chest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--lung-probability", type=float, default=0.5)
    given = parser.parse_args()
    made = join(given.slices, given.chest, given.out, given.version, given.lung_probability)
    print(f"made {made.name}")  # noqa: T201  a command of its own
