"""The zoo as a table: ``python tests/zoo/run.py FOLDER``, FOLDER being what pip has fetched of packages.txt.

Prints every line of zoo.toml with what is wrong with it, then a count; exits 1 if anything is. With ``--no-model``
nothing is measured.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.animals import faults, measuring_faults, table, unpacked

from volumetry.config import load_config


def main(packages: Path, with_model: bool) -> int:
    """Hold every line of the table against what is said today."""
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").disabled = True
    animals, chests, _ = table()
    with tempfile.TemporaryDirectory() as name:
        roots = unpacked(packages, Path(name))
        scratch, config = Path(name) / "in", load_config()
        wrong = 0
        for animal in animals:
            wrong += _told(animal.name, faults(animal, roots[animal.package], scratch, config))
        if with_model:
            from volumetry.segment.network import load_segmenter

            segmenter = load_segmenter(config)
            for chest in chests:
                wrong += _told(f"measured {chest.name}", measuring_faults(chest, roots[chest.package], segmenter))
    total = len(animals) + len(chests) * with_model
    sys.stdout.write(f"{total - wrong} of {total} lines as they should be\n")
    return int(wrong > 0)


def _told(name: str, found: list[str]) -> bool:
    lines = [f"ok    {name}"] if not found else [f"wrong {name}", *(f"      {fault}" for fault in found)]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--no-model" not in sys.argv))
