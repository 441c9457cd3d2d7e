"""Folders of labelled 8-bit slices: ``images/``, ``labels/`` of the same names, ``dataset.toml``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel

from volumetry.errors import InputError
from volumetry.storage.toml_file import load_toml
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID, SOME_LESION, SOME_LUNG, Truth

SUFFIXES = (".png", ".webp")
KNOWN_LABELS = {"lung": AERATED, "lesion": SOME_LESION, "ground_glass": GROUND_GLASS, "solid": SOLID}
HINT = "The folder needs images/, labels/ with the same names, and dataset.toml; see docs/training.md."


class _Description(BaseModel):
    """What ``dataset.toml`` must say; whatever else it says is for people."""

    name: str
    labels: dict[int, str]


@dataclass(frozen=True, slots=True)
class SliceFolder:
    """A labelled dataset on disk.

    Parameters
    ----------
    name
        As its ``dataset.toml`` says.
    labels
        What each label value means: ``lung`` (lung that is not lesion), ``lesion`` (one class), ``ground_glass``,
        ``solid``.
    pairs
        Image and label files, sorted by name.
    """

    name: str
    labels: dict[int, str]
    pairs: tuple[tuple[Path, Path], ...]

    @property
    def known(self) -> frozenset[str]:
        """What these labels can judge, of ``lung``, ``lesion``, ``ground_glass`` and ``solid``.

        Lesion is known where it is labelled as one class, or as ground glass and solid both; one of the two alone
        does not show where the other is.
        """
        named = frozenset(self.labels.values())
        return named | {"lesion"} if {"ground_glass", "solid"} <= named else named

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Name, grey picture and truth map of each slice."""
        for image, label in self.pairs:
            picture, values = _grey(image), _label_values(label)
            if picture.shape != values.shape:
                raise InputError(
                    f"{image.name}: the picture is {picture.shape}, its label {values.shape}", hint=HINT
                )
            yield image.stem, picture, self._truth(values, label.name)

    def _truth(self, values: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        strange = set(np.unique(values).tolist()) - {0, *self.labels}
        if strange:
            raise InputError(f"{name}: label {min(strange)} is not in dataset.toml", hint=HINT)
        unlabelled = Truth(0) if "lung" in self.known else Truth.LUNG_UNKNOWN
        if "lesion" not in self.known:
            unlabelled |= Truth.LESION_UNKNOWN | Truth.SOLID_UNKNOWN
        table = np.full(256, int(unlabelled), np.uint8)
        for value, meaning in self.labels.items():
            table[value] = int(KNOWN_LABELS[meaning])
            if meaning == "lung" and "lesion" not in self.known:
                table[value] = int(SOME_LUNG)
        return table[values]


def case_of(name: str) -> str:
    """The patient of a slice: its name up to the first underscore."""
    return name.split("_", 1)[0]


def open_slices(folder: Path) -> SliceFolder:
    """Read a dataset's description and find its files.

    Raises
    ------
    InputError
        If the description is missing or wrong, or an image has no label.
    """
    file = folder / "dataset.toml"
    described = load_toml(file, _Description, called=f"{folder.name}/{file.name}", stop=InputError, hint=HINT)
    labels = described.labels
    unknown = sorted(set(labels.values()) - set(KNOWN_LABELS))
    if unknown or not labels or not all(0 < value < 256 for value in labels):
        raise InputError(
            f"{folder.name}: dataset.toml has labels this program does not know: {unknown}", hint=HINT
        )
    images, masks = _by_stem(folder / "images"), _by_stem(folder / "labels")
    if not images:
        raise InputError(f"{folder.name}: no PNG or WebP files in images/", hint=HINT)
    lonely = sorted(set(images) - set(masks))
    if lonely:
        raise InputError(f"{folder.name}: {len(lonely)} images have no label, the first is {lonely[0]}", hint=HINT)
    return SliceFolder(described.name, labels, tuple((images[stem], masks[stem]) for stem in sorted(images)))


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES}


def _grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(_opened(path).convert("L"))


def _label_values(path: Path) -> NDArray[np.uint8]:
    image = _opened(path)
    # A palette's indices are the labels; converting it to grey would give the colours' brightness.
    return np.asarray(image if image.mode in ("L", "P") else image.convert("L"), np.uint8)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, UnidentifiedImageError) as wrong:
        raise InputError(f"{path.name}: not a readable picture ({type(wrong).__name__})", hint=HINT) from wrong
