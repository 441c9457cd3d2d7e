"""Real files from public packages meet the verdicts of zoo.toml.

The packages are not part of the project and are fetched only by `.ci/run`; elsewhere these tests are skipped. By
hand: ``pip download --no-deps --require-hashes -r tests/zoo/packages.txt -d DIR``, then ``VOLUMETRY_ZOO=DIR`` for
pytest, or ``python tests/zoo/run.py DIR`` for a table.
"""

import os
import warnings
from pathlib import Path

import pytest
from zoo.animals import Animal, Chest, faults, measuring_faults, table, unpacked

from volumetry.config import Config, load_config

ANIMALS, CHESTS, _ = table()


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    packages = os.environ.get("VOLUMETRY_ZOO")
    if not packages or not any(Path(packages).glob("*")):
        pytest.skip("the packages of tests/zoo are not here (VOLUMETRY_ZOO): .ci/run fetches them")
    return unpacked(Path(packages), tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def segmenter(roots, config: Config):
    """The shipped model; after `roots`, so that nothing is loaded where there is nothing to measure."""
    from volumetry.segment.network import load_segmenter

    return load_segmenter(config)


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_the_gate_says_of_real_files_what_is_right(animal: Animal, roots, tmp_path, config: Config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of headers that are odd on purpose
        assert not faults(animal, roots[animal.package], tmp_path / "in", config), animal.why


@pytest.mark.parametrize("animal", [a for a in ANIMALS if a.kind == "beside"], ids=lambda animal: animal.name)
def test_real_files_beside_a_series_cost_a_trial_nothing(animal: Animal, roots, tmp_path):
    assert not faults(animal, roots[animal.package], tmp_path / "in", load_config(Path("core-lab"))), animal.why


@pytest.mark.parametrize("chest", CHESTS, ids=lambda chest: chest.name)
def test_real_volumes_are_measured_or_refused_for_what_they_are(chest: Chest, roots, segmenter):
    assert not measuring_faults(chest, roots[chest.package], segmenter), chest.why
