"""Small folders of labelled slices, as `volumetry evaluate` and `train` read them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_dataset(
    folder: Path, labels: dict[int, str], slices: dict[str, np.ndarray], suffix: str = ".png"
) -> Path:
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f'{value} = "{meaning}"' for value, meaning in labels.items())
    (folder / "dataset.toml").write_text(f'name = "{folder.name}"\n[labels]\n{rows}\n', "utf-8")
    for name, values in slices.items():
        grey = np.where(values == 0, 150, 30 + 40 * values).astype(np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"{name}{suffix}", lossless=True)
        Image.fromarray(values.astype(np.uint8)).save(folder / "labels" / f"{name}{suffix}", lossless=True)
    return folder
