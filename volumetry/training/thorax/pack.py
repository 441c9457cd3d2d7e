"""Chests of a training configuration in one small file, for a machine that has a GPU and not the data.

::

    python -m volumetry.training.thorax.pack configs/train-thorax3d.toml DATA chests.zip
    # on the other machine, with this program, chests.zip, torch, monai, pydantic and safetensors:
    python -m volumetry.training.thorax.train configs/train-thorax3d.toml chests.zip runs cuda

The second line needs none of the libraries that read DICOM. A run that was stopped goes on when it is started
again. Its folder may be carried from one machine to the other: the steps that are left follow from the seed as
before, but another kind of device draws other random fields and rounds otherwise.

The file holds patients' images at a few millimetres: it goes where the data may go, and into no repository.
"""

import sys
import zipfile
from pathlib import Path

from volumetry.training.thorax.chest_files import read_chest
from volumetry.training.thorax.chests import SUFFIX, packed
from volumetry.training.thorax.config import ThoraxConfig, load_thorax_config


def pack(config: ThoraxConfig, root: Path, file: Path) -> None:
    """All chests in one compressed file, to be carried where the data root is not."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for spec in config.data.chests:
            archive.writestr(f"{spec.name}{SUFFIX}", packed(read_chest(spec, root, config)))


if __name__ == "__main__":
    configuration, root, file = (Path(argument) for argument in sys.argv[1:])
    pack(load_thorax_config(configuration), root, file)
