"""The real files of zoo.toml: taken out of their packages, put before the gate, held against what it should say.

Nothing of them is kept: they are unpacked into a temporary folder, and only names, verdicts and reasons are in the
project. Headers of real CT images are also put over the pixels of the sample series, so that a habit seen in one
lone slice is tried in a whole volume.
"""

import re
import shutil
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from volumetry.config import Config, load_config
from volumetry.domain import Finding, ScanRefusedError, Segmenter
from volumetry.pipeline import analyse_scan
from volumetry.scan import Inspection, inspect_folder

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parents[1] / "data-sample" / "phantom-001"
_VOLUME_FILES = (".nii.gz", ".nrrd")


@dataclass(frozen=True)
class Animal:
    """One line of the table: which files, and what must be said of them.

    `kind` is ``alone`` (each file that the pattern meets, in a folder of its own), ``folder`` (the folder as it
    is), ``beside`` (the files put into the folder of the sample series) or ``header`` (the header of each over the
    sample's pixels).
    """

    package: str
    path: str | tuple[str, ...]
    kind: str
    want: str
    why: str
    codes: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    says: str = ""
    except_for: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind} {self.package}: {self.patterns[0]}"

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclass(frozen=True)
class Chest:
    """One line of the table of whole scans that are really measured."""

    package: str
    path: str
    status: tuple[str, ...]
    why: str
    code: str = ""
    lung_ml: tuple[float, float] = (0.0, 0.0)

    @property
    def name(self) -> str:
        return f"{self.package}: {self.path}"


def table() -> tuple[list[Animal], list[Chest], dict[str, str]]:
    """The lines of zoo.toml, and the folder within each package that their paths start from."""
    text = tomllib.loads((HERE / "zoo.toml").read_text("utf-8"))
    animals = [Animal(**_tuples(line)) for line in text["animal"]]
    chests = [Chest(**_tuples(line)) for line in text["chest"]]
    return animals, chests, text["root"]


def _tuples(line: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in line.items()}


def unpacked(packages: Path, into: Path) -> dict[str, Path]:
    """Unpack every archive that pip has fetched; the folder of each package that zoo.toml names."""
    roots = {}
    for package, inside in table()[2].items():
        stem = re.sub(r"[-_.]+", "[-_.]", package)
        archive = next(p for p in sorted(packages.iterdir()) if re.match(rf"{stem}-\d", p.name, re.IGNORECASE))
        folder = into / package
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for member in wheel.namelist():
                    if member.startswith(inside):
                        wheel.extract(member, folder)
        else:
            with tarfile.open(archive) as source:
                wanted = [m for m in source.getmembers() if f"/{inside}" in m.name and m.isfile()]
                source.extractall(folder, wanted, filter="data")
        roots[package] = next(path for path in (folder / inside, *folder.glob(f"*/{inside}")) if path.is_dir())
    return roots


def places(animal: Animal, root: Path) -> list[Path]:
    """Every file, or for ``folder`` every folder, that the line speaks of."""
    met = sorted({path for pattern in animal.patterns for path in root.glob(pattern)})
    return [p for p in met if p.name not in animal.except_for and p.is_dir() == (animal.kind == "folder")]


def faults(animal: Animal, root: Path, scratch: Path, config: Config) -> list[str]:
    """What is not as the table says, each with the name of its file; empty if all is."""
    met = places(animal, root)
    if not met:
        return ["no such file: the table and the package disagree"]
    if animal.kind == "beside" and not _of_these(animal, met, scratch, config):
        return []  # none of them all does harm; else each is tried by itself, to name it
    return [f"{p.name}: {fault}" for p in met for fault in _of_these(animal, [p], scratch, config)]


def _of_these(animal: Animal, met: list[Path], scratch: Path, config: Config) -> list[str]:
    shutil.rmtree(scratch, ignore_errors=True)
    before_the_gate = scratch
    if animal.kind == "folder" or (animal.kind == "alone" and met[0].name.endswith(_VOLUME_FILES)):
        before_the_gate = met[0]
    elif animal.kind == "header":
        scratch.mkdir()
        put_over_sample(met[0], scratch)
    else:
        shutil.copytree(SAMPLE, scratch) if animal.kind == "beside" else scratch.mkdir()
        for path in met:
            shutil.copy(path, scratch / f"zoo-{path.name}")
    return [*_unlike(animal, inspect_folder(before_the_gate, config, pixels=animal.kind != "beside"))]


def _unlike(animal: Animal, found: Inspection) -> Iterator[str]:
    said: Sequence[Finding] = [*found.findings, *(f for stack in found.stacks for f in stack.findings)]
    if animal.want == "measurable":
        if found.verdict != "measurable":
            yield f"refused with {found.verdict}, and is measurable"
    elif found.verdict == "measurable":
        yield "would be measured, and must not be"
    elif animal.codes and found.verdict not in animal.codes:
        yield f"refused with {found.verdict}, and not with {' or '.join(animal.codes)}"
    seen = {finding.code for finding in said}
    yield from (f"{code} must not appear" for code in sorted(seen & set(animal.never)))
    yield from (f"{code} is missing" for code in sorted(set(animal.also) - seen))
    if animal.says and animal.says.lower() not in " ".join(f"{f.message} {f.hint}" for f in said).lower():
        yield f"nothing that is said holds the words {animal.says!r}"


_OF_SAMPLE = (
    *("Rows", "Columns", "BitsAllocated", "PixelData", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("SliceThickness", "SliceLocation", "SpacingBetweenSlices"),
)


def put_over_sample(source: Path, folder: Path) -> None:
    """Write the sample series with the header of `source`: its elements, private ones too, over our pixels.

    Of the sample stay what the pixels need (matrix, places, spacing) and the number of images. Values are stored
    in the source's own bits, sign and rescale, where those can hold HU. What it left empty or absent stays so.
    """
    theirs = pydicom.dcmread(source)
    for number, (ours, hu) in enumerate(_sample_in_hu(), 1):
        image = deepcopy(theirs)
        for keyword in _OF_SAMPLE:
            image.pop(keyword, None)
            if keyword in ours and (keyword not in _MAY_BE_EMPTY or theirs.get(keyword) not in (None, "")):
                image[keyword] = ours[keyword]
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            image.pop(keyword, None)
        _store(image, ours, hu)
        if theirs.get("SOPInstanceUID"):
            image.SOPInstanceUID = generate_uid(entropy_srcs=[source.name, str(number)])
        if theirs.get("InstanceNumber") is not None:
            image.InstanceNumber = number
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=False)


_MAY_BE_EMPTY = frozenset({"SliceThickness", "SliceLocation", "SpacingBetweenSlices"})


@lru_cache(maxsize=1)
def _sample_in_hu() -> list[tuple[pydicom.Dataset, np.ndarray]]:
    images = [pydicom.dcmread(path) for path in sorted(SAMPLE.glob("*.dcm"))]
    return [(i, i.pixel_array * float(i.RescaleSlope) + float(i.RescaleIntercept)) for i in images]


def _store(image: pydicom.Dataset, ours: pydicom.Dataset, hu: np.ndarray) -> None:
    """HU of the sample in the bits, sign and rescale of `image`; in the sample's, where those cannot hold air."""
    if _stored_range(image)[0] * float(image.RescaleSlope) + float(image.RescaleIntercept) > _AIR_HU:
        for keyword in _VALUE_FORM:
            image[keyword] = ours[keyword]
    stored = np.rint((hu - float(image.RescaleIntercept)) / float(image.RescaleSlope))
    kind = np.int16 if image.PixelRepresentation else np.uint16
    image.add_new("PixelData", "OW", np.clip(stored, *_stored_range(image)).astype(kind).tobytes())


_AIR_HU = -1000.0
_VALUE_FORM = ("BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope")


def _stored_range(image: pydicom.Dataset) -> tuple[int, int]:
    values = 2 ** int(image.BitsStored)
    return (-values // 2, values // 2 - 1) if image.PixelRepresentation else (0, values - 1)


def measuring_faults(chest: Chest, root: Path, segmenter: Segmenter) -> list[str]:
    """What is not as the table says of a scan that is really measured; empty if all is."""
    settings = load_config(overrides={"interval": {"slices": 0}})  # the interval is not what is looked at
    try:
        result = analyse_scan(root / chest.path, segmenter, settings).result
    except ScanRefusedError as stop:
        return [] if (stop.code,) == (chest.code,) else [f"refused with {stop.code}"]
    lung_ml = result.measurement.volumes_ml.lung
    if result.status not in chest.status:
        return [f"{result.status} with {lung_ml:.0f} mL of lung, and not {' or '.join(chest.status)}"]
    low, high = chest.lung_ml
    return [] if low <= lung_ml <= high else [f"{lung_ml:.0f} mL of lung, and not {low:.0f} to {high:.0f}"]
